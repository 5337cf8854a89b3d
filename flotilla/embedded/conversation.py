"""A plain TCP conversation with a server on loopback, to ask it in its own protocol whether it is ready."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from flotilla.ports import LOOPBACK


@contextlib.asynccontextmanager
async def conversation(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect, and close the connection in the end; raises OSError if nobody listens."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):  # the other side may have been faster
            await writer.wait_closed()
