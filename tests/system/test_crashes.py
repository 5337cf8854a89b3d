"""Processes that are killed with -9 in the middle of work: nothing is lost, nothing happens twice."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bus.client import Bus, CoreMessage
from bus.publisher import Publisher
from contracts import subjects
from db import migrations
from db.store import Store
from flotilla.embedded.nats import NatsServer
from flotilla.embedded.postgres import PostgresServer
from nodes.catalogue import builtin_specs
from tests.support import servers
from tests.support.engine import document, node, wire
from tests.support.installation import Installation

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

EXECUTIONS = 200
STEPS = 6
IDS = [f"n{n}" for n in range(STEPS)]
LINE = document(
    [node(each, "FLOW.NOOP") for each in IDS],
    [wire(f"n{n} -> n{n + 1}") for n in range(STEPS - 1)],
)


class Engine:
    """A scheduler and a worker as processes, each replaced when it is killed."""

    def __init__(self, database_url: str, nats_url: str, *, segments: bool) -> None:
        self._env = {
            **os.environ,
            "DATABASE_URL": database_url,
            "NATS_URL": nats_url,
            "SEGMENTS": "true" if segments else "false",
        }
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str) -> None:
        """Start a process of the engine."""
        self._processes[name] = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "flotilla", name, env=self._env
        )

    async def kill(self, name: str) -> None:
        """Kill a process with -9 and start its successor."""
        process = self._processes[name]
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        await self.start(name)

    async def stop(self) -> None:
        """Stop everything in order."""
        for process in self._processes.values():
            if process.returncode is None:
                process.terminate()
        for process in self._processes.values():
            await asyncio.wait_for(process.wait(), 40)


@asynccontextmanager
async def engine(
    database_url: str, nats_url: str, *, segments: bool = True
) -> AsyncIterator[Engine]:
    """Run scheduler and worker."""
    running = Engine(database_url, nats_url, segments=segments)
    try:
        await running.start("scheduler")
        await running.start("worker")
        yield running
    finally:
        await running.stop()


class Progress:
    """Counts the node runs that the scheduler has told of, so that a kill hits the middle of the work."""

    def __init__(self) -> None:
        self.steps = 0
        self._grown = asyncio.Event()

    async def on_event(self, _: CoreMessage) -> None:
        """Count one finished node run."""
        self.steps += 1
        self._grown.set()

    async def reaches(self, steps: int) -> None:
        """Wait until so many are finished."""
        async with asyncio.timeout(60):
            while self.steps < steps:
                self._grown.clear()
                await self._grown.wait()


@pytest.fixture
async def nats_alone() -> AsyncIterator[NatsServer]:
    """A NATS server of this test alone."""
    with servers.server_folder() as folder:
        async with NatsServer(folder / "nats") as server:
            yield server


@pytest.mark.parametrize(
    "segments", [pytest.param(False, id="node by node"), pytest.param(True, id="in segments")]
)
async def test_killed_processes_lose_nothing_and_repeat_nothing(
    database_url: str, nats_alone: NatsServer, *, segments: bool
) -> None:
    store = await Store.open(database_url)
    progress = Progress()
    async with (
        await Bus.connect(nats_alone.url, name="test") as bus,
        Publisher(bus) as publisher,
        engine(database_url, nats_alone.url, segments=segments) as running,
    ):
        installation = await Installation(store, bus, publisher).prepare()
        await bus.subscribe(subjects.events_of_kind("node_succeeded"), progress.on_event)
        ids = await installation.add(LINE)

        started = await installation.start(ids, EXECUTIONS, say=False)
        await progress.reaches(EXECUTIONS)
        await running.kill("scheduler")
        await progress.reaches(2 * EXECUTIONS)
        await running.kill("worker")
        rows = await installation.finished(started, seconds=120)

        assert Counter(row.status for row in rows) == {"SUCCESS": EXECUTIONS}
        for execution_id in started:
            history = await installation.history(execution_id)
            assert [row.seq for row in history] == list(range(1, len(history) + 1))
            nodes = [row.node_id for row in history if row.kind == "node_succeeded"]
            assert nodes == IDS
    await store.close()


async def test_a_killed_database_delays_and_loses_nothing(nats_alone: NatsServer) -> None:
    with servers.server_folder() as folder:
        async with PostgresServer(folder / "postgres") as database:
            await migrations.migrate(database.url, builtin_specs())
            store = await Store.open(database.url)
            async with (
                await Bus.connect(nats_alone.url, name="test") as bus,
                Publisher(bus) as publisher,
                engine(database.url, nats_alone.url),
            ):
                installation = await Installation(store, bus, publisher).prepare()
                progress = Progress()
                await bus.subscribe(subjects.events_of_kind("node_succeeded"), progress.on_event)
                ids = await installation.add(LINE)
                started = await installation.start(ids, 100, say=False)
                await progress.reaches(100)

                assert database.pid is not None
                reviving = asyncio.create_task(database.keep_running())
                os.kill(database.pid, signal.SIGKILL)
                rows = await installation.finished(started, seconds=120)
                reviving.cancel()

                assert Counter(row.status for row in rows) == {"SUCCESS": 100}
                for execution_id in started:
                    history = await installation.history(execution_id)
                    nodes = [row.node_id for row in history if row.kind == "node_succeeded"]
                    assert nodes == IDS
            await store.close()
