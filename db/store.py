"""The store: a pool of connections with explicit limits, and errors that do not name the driver.

Behind a pooler in transaction mode (Supabase's on port 6543, or `?pooler=transaction`) two statements may run in two server
sessions. Then nothing is kept in the session: no statement cache, no settings; and each statement has its own transaction,
because asyncpg sends its preparation and its execution apart, and both must reach the same session.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

from db import errors

POOL_SIZE: Final = 10
CONNECT_SECONDS: Final = 10.0
ACQUIRE_SECONDS: Final = 5.0
COMMAND_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 10.0
STATEMENT_CACHE: Final = 200
POOLER_PORT: Final = 6543

Row: TypeAlias = asyncpg.Record
_Connection: TypeAlias = "asyncpg.Connection[Row] | PoolConnectionProxy[Row]"

# Plans are made once and kept, perhaps from a time when the tables were empty. Without scans of whole tables a lookup by key
# stays one as they grow, and a list goes along its index instead of sorting everything that a user has.
SESSION: Final = {
    "application_name": "flotilla",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}
# The hot loop's plan must not even depend on statistics, such as that nearly every execution is over. Left with index scans and
# hash joins it is always the same, and locks rows in the order of their keys.
HOT_SESSION: Final = SESSION | {
    "enable_nestloop": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    "statement_timeout": "30s",
}


class Address(msgspec.Struct, frozen=True):
    """Where PostgreSQL is, and whether a pooler in transaction mode stands before it."""

    url: str
    is_pooled: bool


def read_address(url: str) -> Address:
    """Read DATABASE_URL; what is ours in its query does not reach the server."""
    parts = urlsplit(url)
    parameters = parse_qsl(parts.query, keep_blank_values=True)
    ours = [value for name, value in parameters if name == "pooler"]
    if any(value != "transaction" for value in ours):
        raise errors.InvalidValue("?pooler= can only be transaction")
    kept = urlencode([(name, value) for name, value in parameters if name != "pooler"])
    return Address(urlunsplit(parts._replace(query=kept)), bool(ours) or parts.port == POOLER_PORT)


class Session:
    """One connection within one transaction: its statements happen all or not at all."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def fetch(self, query: str, *arguments: object) -> list[Row]:
        """Run a statement and return its rows."""
        with errors.translated():
            return await self._connection.fetch(query, *arguments)

    async def fetch_row(self, query: str, *arguments: object) -> Row | None:
        """Run a statement and return its first row, or None."""
        with errors.translated():
            return await self._connection.fetchrow(query, *arguments)

    async def execute(self, query: str, *arguments: object) -> None:
        """Run a statement."""
        with errors.translated():
            await self._connection.execute(query, *arguments)


class Store:
    """A pool of connections to PostgreSQL, shared by everything in a process but the hot loop."""

    def __init__(self, address: Address, pool: "asyncpg.Pool[Row]") -> None:
        self._address = address
        self._pool = pool

    @classmethod
    async def open(cls, url: str, *, pool_size: int = POOL_SIZE) -> Self:
        """Connect. Raises StoreUnavailable if PostgreSQL does not answer."""
        address = read_address(url)
        with errors.translated():
            pool = await asyncpg.create_pool(
                address.url,
                min_size=1,
                max_size=pool_size,
                reset=_leave_as_is,
                command_timeout=COMMAND_SECONDS,
                **_options(address, SESSION),
            )
        return cls(address, pool)

    async def close(self) -> None:
        """Wait for what is under way, then close every connection."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def ping(self) -> None:
        """Ask for a sign of life. Raises StoreUnavailable."""
        await self.fetch_row("select 1")

    async def fetch(self, query: str, *arguments: object) -> list[Row]:
        """Run one statement and return its rows."""
        async with self._session() as session:
            return await session.fetch(query, *arguments)

    async def fetch_row(self, query: str, *arguments: object) -> Row | None:
        """Run one statement and return its first row, or None."""
        async with self._session() as session:
            return await session.fetch_row(query, *arguments)

    async def execute(self, query: str, *arguments: object) -> None:
        """Run one statement."""
        async with self._session() as session:
            await session.execute(query, *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Give a session whose statements are committed together at the end of the block."""
        async with self._acquired() as connection:
            with errors.translated():
                async with connection.transaction():
                    yield Session(connection)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Session]:
        """Give a session that only reads, and sees the database as it was at its first statement."""
        async with self._acquired() as connection:
            with errors.translated():
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    yield Session(connection)

    async def dedicated(self) -> "asyncpg.Connection[Row]":
        """Open a connection that belongs to the caller alone, set up for the hot loop.

        It has no timeout of its own, because the driver would cancel what is under way: the server has one.
        """
        with errors.translated():
            return await asyncpg.connect(self._address.url, **_options(self._address, HOT_SESSION))

    @property
    def is_pooled(self) -> bool:
        """Whether a pooler in transaction mode stands between us and the server."""
        return self._address.is_pooled

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        if self._address.is_pooled:
            async with self.transaction() as session:
                yield session
        else:
            async with self._acquired() as connection:
                yield Session(connection)

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator["PoolConnectionProxy[Row]"]:
        with errors.translated():
            connection = await self._pool.acquire(timeout=ACQUIRE_SECONDS)
        try:
            yield connection
        finally:
            with errors.translated():
                await self._pool.release(connection)


async def connect(url: str) -> "asyncpg.Connection[Row]":
    """Open one connection for a short task of its own, such as a migration."""
    address = read_address(url)
    with errors.translated():
        return await asyncpg.connect(address.url, **_options(address, SESSION))


def _options(address: Address, session: dict[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "timeout": CONNECT_SECONDS,
        "statement_cache_size": 0 if address.is_pooled else STATEMENT_CACHE,
    }
    if not address.is_pooled:
        options["server_settings"] = session
    return options


async def _leave_as_is(_: object) -> None:
    """Spare the round trip of asyncpg's reset: nothing of ours outlives its transaction in a session."""
