"""Several embedded servers as one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from flotilla.embedded.server import Server


@contextlib.asynccontextmanager
async def running(servers: Sequence[Server]) -> AsyncIterator[Sequence[str]]:
    """Start the servers all at once and yield their URLs; stop them in the end, the last one first.

    Raises what `Server.start` raises, of the first server that fails; then none is left running.
    """
    try:
        yield await _start_all(servers)
    finally:
        for server in reversed(servers):
            await server.stop()


async def keep_running(servers: Sequence[Server]) -> None:
    """Start again whichever server ends by itself, until cancelled; raises ServerError when one does not come back."""
    async with asyncio.TaskGroup() as group:
        for server in servers:
            group.create_task(server.keep_running(), name=f"keep {server.name} running")


async def _start_all(servers: Sequence[Server]) -> Sequence[str]:
    try:
        async with asyncio.TaskGroup() as group:
            starts = [
                group.create_task(server.start(), name=f"start {server.name}") for server in servers
            ]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [start.result() for start in starts]
