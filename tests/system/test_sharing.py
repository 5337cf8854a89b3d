"""Two schedulers as processes share the work; one is killed, or stopped for longer than its leases, and nobody notices but the clock."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from bus.client import Bus, CoreMessage
from bus.publisher import Publisher
from contracts import subjects
from contracts.ids import partition_of
from db.store import Store
from flotilla.embedded.nats import NatsServer
from tests.support import servers
from tests.support.engine import document, node, wire
from tests.support.installation import Installation
from tests.support.leases import Held, held, shares_become, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

IDS = [f"n{n}" for n in range(6)]
LINE = document(
    [node(each, "FLOW.NOOP") for each in IDS],
    [wire(f"n{n} -> n{n + 1}") for n in range(len(IDS) - 1)],
)
EXECUTIONS = 200

Process = asyncio.subprocess.Process


class Advances:
    """Counts the node runs that the schedulers have told of, by partition."""

    def __init__(self) -> None:
        self.by_partition: Counter[int] = Counter()
        self._grown = asyncio.Event()

    async def on_event(self, message: CoreMessage) -> None:
        """Count one finished node run."""
        self.by_partition[partition_of(message.subject.split(".")[4])] += 1
        self._grown.set()

    async def reach(self, steps: int, partitions: frozenset[int]) -> None:
        """Wait until so many are finished in these partitions."""
        async with asyncio.timeout(60):
            while sum(self.by_partition[each] for each in partitions) < steps:
                self._grown.clear()
                await self._grown.wait()


class Scene:
    """An installation with processes of the engine, and what their owners are called."""

    def __init__(self, installation: Installation, advances: Advances, env: dict[str, str]) -> None:
        self.installation = installation
        self.advances = advances
        self._env = env
        self.processes: list[Process] = []

    async def start(self, name: str) -> Process:
        """Start a process of the engine."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "flotilla", name, env=self._env
        )
        self.processes.append(process)
        return process

    async def share(self) -> tuple[Process, Process, Held]:
        """Start two schedulers and a worker, and wait until they share the partitions."""
        first, second = await self.start("scheduler"), await self.start("scheduler")
        await self.start("worker")
        return first, second, await shares_become(self.installation.store, 8, 8)

    async def stop(self) -> None:
        """Stop everything in order."""
        for process in self.processes:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes:
            await asyncio.wait_for(process.wait(), 40)

    def of(self, process: Process, now: Held) -> frozenset[int]:
        """Return the partitions of a scheduler."""
        (mine,) = [
            partitions
            for owner, partitions in now.items()
            if owner.split("-")[-2] == f"{process.pid}"
        ]
        return mine

    async def each_node_succeeded_once(self, started: Sequence[str]) -> None:
        """Check histories: no gap, and every node once."""
        for execution_id in started:
            history = await self.installation.history(execution_id)
            assert [row.seq for row in history] == list(range(1, len(history) + 1))
            assert [row.node_id for row in history if row.kind == "node_succeeded"] == IDS


@asynccontextmanager
async def scene(database_url: str) -> AsyncIterator[Scene]:
    """Run two schedulers and a worker on a NATS server of their own."""
    store = await Store.open(database_url)
    with servers.server_folder() as folder:
        async with (
            NatsServer(folder / "nats") as nats,
            await Bus.connect(nats.url, name="test") as bus,
            Publisher(bus) as publisher,
        ):
            installation = await Installation(store, bus, publisher).prepare()
            advances = Advances()
            await bus.subscribe(subjects.events_of_kind("node_succeeded"), advances.on_event)
            env = {**os.environ, "DATABASE_URL": database_url, "NATS_URL": nats.url}
            running = Scene(installation, advances, env)
            try:
                yield running
            finally:
                await running.stop()
    await store.close()


async def test_two_schedulers_share_the_load_and_one_takes_over_from_a_killed_one(
    database_url: str,
) -> None:
    async with scene(database_url) as running:
        first, second, shared = await running.share()
        store = running.installation.store
        ids = await running.installation.add(LINE)

        started = await running.installation.start(ids, 2 * EXECUTIONS)
        for process in (first, second):
            await running.advances.reach(50, running.of(process, shared))
        assert await held(store) == shared
        second.kill()
        assert await second.wait() == -signal.SIGKILL
        rows = await running.installation.finished(started, seconds=120)

        assert Counter(row.status for row in rows) == {"SUCCESS": len(started)}
        await running.each_node_succeeded_once(started)
        (everything,) = (await shares_become(store, 16)).values()
        assert everything == running.of(first, await held(store))


async def test_a_scheduler_that_was_stopped_past_its_leases_does_no_harm(
    database_url: str,
) -> None:
    async with scene(database_url) as running:
        first, second, shared = await running.share()
        store = running.installation.store
        ids = await running.installation.add(LINE)
        started = await running.installation.start(ids, EXECUTIONS)
        await running.advances.reach(50, running.of(second, shared))

        second.send_signal(signal.SIGSTOP)
        await until(store, lambda now: len(running.of(first, now)) == 16)
        started += await running.installation.start(ids, EXECUTIONS)
        await running.advances.reach(50, running.of(second, shared))
        second.send_signal(signal.SIGCONT)
        rows = await running.installation.finished(started, seconds=120)

        assert Counter(row.status for row in rows) == {"SUCCESS": len(started)}
        await running.each_node_succeeded_once(started)
        again = await shares_become(store, 8, 8)
        assert running.of(second, again)
