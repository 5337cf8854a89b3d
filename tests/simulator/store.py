"""One process's way to the simulated database: connections that are slow, refuse, break, and lose answers.

Faults are those of the driver and the server, so that the engine's own reading of them is put to the test too.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from db import errors
from db.store import Store
from tests.simulator import commit
from tests.simulator.chaos import Chaos
from tests.simulator.database import Believed, Database

SLOW_SECONDS: Final = 3.0


class Process:
    """A process that may be killed: from that instant on nothing it does has an effect, and nothing answers it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_alive = True

    def kill(self) -> None:
        """End it, without a word to anybody."""
        self.is_alive = False

    async def live(self) -> None:
        """Go on, or never again."""
        if not self.is_alive:
            await asyncio.get_running_loop().create_future()


class SimulatedStore(Store):
    """The store of one process. `kill` ends the process, `passing` returns what is done once seconds have passed."""

    def __init__(
        self,
        database: Database,
        chaos: Chaos,
        process: Process,
        kill: Callable[[], None],
        passing: Callable[[float], asyncio.Future[None]],
    ) -> None:
        self._passing = passing
        self.database = database
        self.chaos = chaos
        self.process = process
        self.kill = kill
        self.believed: Believed = lambda _: None

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        """Run one statement: at the beginning or at the end of its time, so that what it read may be old."""
        if not self.process.is_alive:
            await self.process.live()
        if self.chaos.strikes("read_failed"):
            await self.pass_time()
            raise errors.StoreUnavailable("simulated")
        if self.chaos.chance.random() < 0.5:
            rows = self.database.run(query, arguments)
            await self.pass_time()
        else:
            await self.pass_time()
            rows = self.database.run(query, arguments)
        if not self.process.is_alive:
            await self.process.live()
        return rows

    async def fetch_row(self, query: str, *arguments: object) -> Any:
        """Run one statement and return its first row, or None."""
        rows = await self.fetch(query, *arguments)
        return rows[0] if rows else None

    async def execute(self, query: str, *arguments: object) -> None:
        """Run one statement."""
        await self.fetch(query, *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Give a session for statements of which all but the last only read or lock."""
        yield self

    async def dedicated(self) -> Any:
        """Open a connection for commits."""
        await self.process.live()
        await self.pass_time()
        await self.process.live()
        if self.chaos.strikes("connect_failed"):
            raise errors.StoreUnavailable("simulated")
        return Connection(self)

    @property
    def is_pooled(self) -> bool:
        """Whether there is a pooler."""
        return False

    def pass_time(self) -> asyncio.Future[None]:
        """Let the time of a statement pass, or of its answer."""
        seconds = SLOW_SECONDS if self.chaos.strikes("store_slow") else self.chaos.latency()
        return self._passing(seconds)


class Prepared:
    """A prepared statement of a connection."""

    def __init__(self, connection: "Connection", text: str) -> None:
        self._connection = connection
        self._text = text

    async def fetch(self, *arguments: object) -> list[Any]:
        """Commit, or fail in any of the ways there are."""
        return await self._connection.commit(self._text, arguments)


class Connection:
    """A connection of asyncpg, as far as a session of commits uses it."""

    def __init__(self, store: SimulatedStore) -> None:
        self._store = store
        self._is_closed = False
        self._answers: list[asyncio.Future[None]] = []

    async def prepare(self, text: str) -> Prepared:
        """Prepare a statement that commits."""
        assert text in commit.TEXTS
        return Prepared(self, text)

    async def execute(self, text: str) -> None:
        """Run what follows preparing; it changes nothing."""
        assert text == commit.END_PREPARING

    def is_closed(self) -> bool:
        """Whether it is gone."""
        return self._is_closed

    async def close(self, **_: float) -> None:
        """Close it."""
        self._is_closed = True

    def terminate(self) -> None:
        """Close it without a word; nobody gets an answer any more."""
        self._is_closed = True
        for answer in self._answers:
            if not answer.done():
                answer.set_exception(asyncpg.ConnectionDoesNotExistError("simulated"))

    async def commit(self, text: str, arguments: Sequence[object]) -> list[Any]:
        """Commit, or fail in any of the ways there are."""
        store, chaos = self._store, self._store.chaos
        await store.process.live()
        if self._is_closed:
            raise asyncpg.InterfaceError("connection is closed")
        await store.pass_time()
        if chaos.strikes("killed_before_commit"):
            store.kill()
        if not store.process.is_alive and chaos.chance.random() < 0.5:
            await self._never()  # it had left, or it had not
        if chaos.strikes("commit_refused"):
            raise _refusal()
        if chaos.strikes("commit_lost_before"):
            raise asyncpg.ConnectionDoesNotExistError("simulated")
        if chaos.strikes("commit_hung_before"):
            await self._never()
        rows = store.database.run(text, arguments, store.believed)
        if chaos.strikes("killed_after_commit"):
            store.kill()
        await store.process.live()
        if chaos.strikes("commit_lost_after"):
            raise asyncpg.ConnectionDoesNotExistError("simulated")
        if chaos.strikes("commit_hung_after"):
            await self._never()
        await store.pass_time()
        await store.process.live()
        return rows

    async def _never(self) -> None:
        """Wait for an answer that does not come, until the connection is given up."""
        answer = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        await answer


def _refusal() -> Exception:
    """Return what the driver raises when the server says no and has written nothing."""
    error = asyncpg.DeadlockDetectedError("simulated")
    error.severity_en = "ERROR"
    return error
