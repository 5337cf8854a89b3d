"""`python -m bench.scale waiting|backlog`: what executions cost that only wait, and those that no worker serves.

`waiting` creates executions that wait for a signal that never comes, lets the engine come to rest, and reads processor time
and memory of each process. `backlog` measures steps per second of lines of FLOW.NOOP, then creates executions whose
first node is of a type that no worker serves, and measures again. All on embedded servers, through the real processes.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil
import uvloop

from bench.__main__ import Load, line_of_noops, new_id, process
from bus.client import Bus
from bus.publisher import Publisher
from contracts import subjects
from contracts.history import TERMINAL_KINDS
from contracts.model import Connection, Document, Node
from db import migrations, users, workflows
from db.store import Store
from flotilla.embedded.nats import NatsServer
from flotilla.embedded.postgres import PostgresServer
from flotilla.embedded.stack import running
from nodes.catalogue import builtin_specs

CREATE_AT_ONCE = 500
MOST_AHEAD = 5_000
MIB = 1024 * 1024

WAITS = Document(
    name="waits",
    nodes=(
        Node(
            id="wait",
            name="wait",
            type="FLOW.WAIT",
            parameters={"wait_type": "signal", "signal": "go"},
        ),
        Node(id="after", name="after", type="FLOW.NOOP"),
    ),
    connections=(Connection(source="wait", target="after"),),
)
UNSERVED = Document(
    name="unserved",
    nodes=(
        Node(
            id="call",
            name="call",
            type="ACTION.HTTP_REQUEST",
            parameters={"url": "http://127.0.0.1:1"},
        ),
    ),
    connections=(),
)


class Watch:
    """Processor time and memory of processes, each with its children."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}

    def used(self) -> dict[str, float]:
        """Return the seconds of processor time so far."""
        return {
            name: sum(sum(each.cpu_times()[:2]) for each in _family(process))
            for name, process in self._processes.items()
        }

    async def rest(self, seconds: float) -> dict[str, dict[str, float]]:
        """Return percent of one core over some seconds, and memory in MiB: RSS of one process, PSS of several."""
        before = self.used()
        await asyncio.sleep(seconds)
        used = self.used()
        return {
            name: {
                "percent": round((used[name] - before[name]) / seconds * 100, 2),
                "mib": round(sum(_memory(each) for each in _family(process)) / MIB, 1),
            }
            for name, process in self._processes.items()
        }


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _memory(process: psutil.Process) -> int:
    return int(process.memory_full_info().pss)


class Scene:
    """A user with workflows on running servers, and the load that starts executions of them."""

    def __init__(self, store: Store, bus: Bus, publisher: Publisher, user_id: str) -> None:
        self.store = store
        self._bus = bus
        self._publisher = publisher
        self._user_id = user_id

    async def load_of(self, document: Document) -> Load:
        """Store a workflow, and return what starts executions of it."""
        workflow_id, version_id = new_id(), new_id()
        await workflows.create(
            self.store,
            user_id=self._user_id,
            workflow_id=workflow_id,
            document=document,
            problems=(),
            active=True,
        )
        version_id = await workflows.snapshot(
            self.store,
            user_id=self._user_id,
            workflow_id=workflow_id,
            version_id=version_id,
            document=document,
        )
        load = Load(self.store, self._publisher, self._user_id, (workflow_id, version_id))
        for kind in TERMINAL_KINDS:
            await self._bus.subscribe(subjects.events_of_kind(kind), load.ended)
        return load

    async def fill(self, load: Load, count: int, status: str) -> float:
        """Create executions, and wait until so many have a status; return the seconds it took."""
        begin = time.perf_counter()
        created = 0
        while (there := await self.count(status)) < count:
            if created < count and created - there < MOST_AHEAD:
                await load._start(CREATE_AT_ONCE)
                created += CREATE_AT_ONCE
            else:
                await asyncio.sleep(0.5)
        return time.perf_counter() - begin

    async def count(self, status: str) -> int:
        """Return how many executions have a status."""
        row = await self.store.fetch_row(
            "select count(*) as count from workflow_executions where status = $1", status
        )
        assert row is not None
        return int(row["count"])


def say(what: str, **facts: Any) -> None:
    """Print one line of JSON."""
    print(msgspec.json.encode({"what": what, **facts}).decode(), flush=True)


async def waiting(arguments: argparse.Namespace, scene: Scene, watch: Watch) -> None:
    """Measure at rest before and with executions that wait."""
    say("rest before", **await watch.rest(arguments.seconds))
    load = await scene.load_of(WAITS)
    took = await scene.fill(load, arguments.executions, "WAITING")
    say("filled", executions=arguments.executions, seconds=round(took, 1))
    await asyncio.sleep(arguments.settle)
    say("rest with", **await watch.rest(arguments.seconds))
    await noops(arguments, scene, watch)


async def backlog(arguments: argparse.Namespace, scene: Scene, watch: Watch) -> None:
    """Measure steps per second before and with executions that nobody serves."""
    await noops(arguments, scene, watch)
    load = await scene.load_of(UNSERVED)
    took = await scene.fill(load, arguments.executions, "RUNNING")
    say("filled", executions=arguments.executions, seconds=round(took, 1))
    await asyncio.sleep(arguments.settle)
    say("rest with", **await watch.rest(arguments.seconds))
    await noops(arguments, scene, watch)
    await noops(arguments, scene, watch)


async def noops(arguments: argparse.Namespace, scene: Scene, watch: Watch) -> None:
    """Run lines of nodes that do nothing."""
    load = await scene.load_of(line_of_noops(10))
    await load.run(200, 50)
    before = watch.used()
    seconds = await load.run(arguments.lines, 500)
    used = {name: round(each - before[name], 1) for name, each in watch.used().items()}
    say("noops", steps_per_s=round(arguments.lines * 10 / seconds), cpu_seconds=used)


async def bench(arguments: argparse.Namespace) -> None:
    """Start everything and measure."""
    with tempfile.TemporaryDirectory(prefix="flotilla-scale-", dir=arguments.dir) as folder:
        os.chmod(folder, 0o755)  # noqa: S103  # the database's own user must reach its folder below
        data = Path(folder)
        servers = [PostgresServer(data / "postgres"), NatsServer(data / "nats")]
        async with running(servers) as (database_url, nats_url):
            env = {"DATABASE_URL": database_url, "NATS_URL": nats_url, "LOG_LEVEL": "WARNING"}
            env["PORT"] = "18002"
            await migrations.migrate(database_url, builtin_specs())
            store = await Store.open(database_url)
            user = new_id()
            await users.ensure(store, user, "bench@example.org", "bench")
            async with (
                process("scheduler", env=env) as scheduler,
                process("gateway", env=env) as gateway,
                process("worker", "--types", "FLOW", "--concurrency", "256", env=env) as worker,
                await Bus.connect(nats_url, name="bench") as bus,
                Publisher(bus) as publisher,
            ):
                pids = {
                    "scheduler": scheduler.pid,
                    "gateway": gateway.pid,
                    "worker": worker.pid,
                    **{server.name: server.pid or 0 for server in servers},
                }
                scene = Scene(store, bus, publisher, user)
                measure = {"waiting": waiting, "backlog": backlog}[arguments.what]
                await asyncio.sleep(3)
                await measure(arguments, scene, Watch(pids))
            await store.close()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    parser.add_argument("what", choices=("waiting", "backlog"))
    parser.add_argument("--executions", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=60, help="how long rest is measured")
    parser.add_argument("--settle", type=float, default=90, help="seconds of rest before")
    parser.add_argument("--lines", type=int, default=3_000)
    parser.add_argument("--dir", default=None, help="where the servers keep their data")
    uvloop.run(bench(parser.parse_args()))


if __name__ == "__main__":
    main()
