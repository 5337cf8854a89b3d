"""The links of the fault harness break what goes through them, and heal."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from flotilla.embedded.polling import comes_true
from tests.faults.links import LEAST_REQUEST, Link, Way

LARGE = b"x" * (LEAST_REQUEST + 1)


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[Link, list[bytes]]]:
    """Run a server that answers with what it is sent, behind a link; and what it was sent."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                heard.append(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = Link("test", server.sockets[0].getsockname()[1])
    await link.open()
    try:
        yield link, heard
    finally:
        await link.close()
        server.close()


async def asked(link: Link, data: bytes) -> bytes:
    """Return the answer over a new connection, nothing if it ends before."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        try:
            writer.write(data)
            return await reader.readexactly(len(data))
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        finally:
            writer.transport.abort()


async def test_a_good_link_is_not_noticed() -> None:
    async with echo() as (link, _):
        assert await asked(link, LARGE) == LARGE


async def test_a_cut_link_refuses_until_it_is_healed() -> None:
    async with echo() as (link, heard):
        link.cut()
        assert await asked(link, LARGE) == b""
        assert heard == []
        link.heal()
        assert await asked(link, LARGE) == LARGE


async def test_an_answer_is_cut_after_the_request_has_arrived() -> None:
    async with echo() as (link, heard):
        link.cut_next_answer()
        assert await asked(link, LARGE) == b""
        assert heard == [LARGE]
        assert await asked(link, LARGE) == LARGE


@pytest.mark.parametrize("way", list(Way))
async def test_what_is_swallowed_one_way_never_arrives(way: Way) -> None:
    async with echo() as (link, heard):
        link.swallow(frozenset({way}))
        asking = asyncio.create_task(asked(link, LARGE))
        assert await comes_true(lambda: link.lost == len(LARGE), seconds=20)
        assert bool(heard) is (way is Way.BACK)
        assert not asking.done()
        link.heal()
        assert await asking == b""
        assert await asked(link, LARGE) == LARGE
