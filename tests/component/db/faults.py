"""Faults between us and PostgreSQL: answers that never arrive, and backends that wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg

PATIENCE_SECONDS = 10


async def waiting_for_a_lock(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """Wait until a backend of this database waits for a row that somebody has locked, and return its pid."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            pid = await connection.fetchval(
                "select pid from pg_stat_activity "
                "where datname = current_database() and wait_event_type = 'Lock'"
            )
            if pid is not None:
                assert isinstance(pid, int)
                return pid


class Proxy:
    """Stands before PostgreSQL and hands bytes on, until it is told to lose an answer."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._swallows = False
        self._port = 0

    @classmethod
    @asynccontextmanager
    async def before(cls, url: str) -> AsyncIterator[Self]:
        """Listen on a free port."""
        proxy = cls(url)
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy._port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            await server.wait_closed()

    @property
    def url(self) -> str:
        """The database, through this proxy."""
        account = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{account}@127.0.0.1:{self._port}"))

    def swallow_the_next_answer(self) -> None:
        """Break the connection instead of handing on what the server says next."""
        self._swallows = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._parts.hostname is not None
        from_server, to_server = await asyncio.open_connection(
            self._parts.hostname, self._parts.port
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hand_on(reader, to_server))
            group.create_task(self._answer(from_server, writer))

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self._swallows:
                self._swallows = False
                break
            writer.write(data)
        writer.close()
