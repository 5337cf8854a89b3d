"""`python -m bench`: how many steps per second the whole engine completes, on embedded servers.

Starts PostgreSQL (fsync on) and NATS (file storage) in a temporary folder, one scheduler and one worker
as processes of their own, and runs executions of FLOW.NOOP nodes one after the other. Counts
completions, not starts. Compare ratios within one run, never figures of two machines.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psutil
import uvloop

from bus.client import Bus, CoreMessage
from bus.publisher import Outgoing, Publisher
from contracts import subjects
from contracts.history import TERMINAL_KINDS, ExecutionCreated
from contracts.ids import uuid7
from contracts.messages import start_of
from contracts.model import Connection, Document, Node
from contracts.statuses import Mode
from db import executions, migrations, users, workflows
from db.executions import NewExecution
from db.store import Store
from flotilla.embedded.nats import NatsServer
from flotilla.embedded.postgres import PostgresServer
from flotilla.embedded.stack import running
from nodes.catalogue import builtin_specs

CREATE_AT_ONCE = 100


def new_id() -> str:
    """Return a fresh id."""
    return uuid7(datetime.now(UTC), os.urandom(10))


def line_of_noops(steps: int) -> Document:
    """Return a workflow of `steps` FLOW.NOOP nodes one after the other."""
    nodes = [Node(id=f"n{n}", name=f"n{n}", type="FLOW.NOOP") for n in range(steps)]
    wires = [Connection(source=f"n{n}", target=f"n{n + 1}") for n in range(steps - 1)]
    return Document(name=f"{steps} steps", nodes=tuple(nodes), connections=tuple(wires))


@contextlib.asynccontextmanager
async def process(
    *arguments: str, env: dict[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process of the engine; end it in order."""
    command = [sys.executable, "-m", "flotilla", *arguments]
    child = await asyncio.create_subprocess_exec(*command, env={**os.environ, **env})
    try:
        yield child
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


def cpu_seconds(pids: dict[str, int]) -> dict[str, float]:
    """Return the processor time that each process and its children have used so far."""
    own = os.getpid()
    return {name: _cpu_of(psutil.Process(pid), alone=pid == own) for name, pid in pids.items()}


def _cpu_of(process: psutil.Process, *, alone: bool) -> float:
    total = 0.0
    for each in (process, *(() if alone else process.children(recursive=True))):
        times = each.cpu_times()
        total += times.user + times.system
    return total


def nats_messages(monitoring_url: str) -> int:
    """Return how many messages the server has taken and given so far."""
    with urllib.request.urlopen(f"{monitoring_url}/varz") as answer:  # noqa: S310  # our own server
        varz = msgspec.json.decode(answer.read())
    return int(varz["in_msgs"]) + int(varz["out_msgs"])


class Load:
    """Starts executions and waits for their ends, at most `in_flight` at once."""

    def __init__(
        self, store: Store, publisher: Publisher, user_id: str, version: tuple[str, str]
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._user_id = user_id
        self._workflow_id, self._version_id = version
        self._started: dict[str, float] = {}
        self.seconds: list[float] = []
        self.kinds: dict[str, int] = {}
        self._ended = asyncio.Event()

    async def ended(self, message: CoreMessage) -> None:
        """Take the last event of an execution."""
        execution_id, kind = message.subject.split(".")[-2:]
        started = self._started.pop(execution_id, None)
        if started is not None:
            self.seconds.append(time.perf_counter() - started)
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
            self._ended.set()

    async def run(self, count: int, in_flight: int) -> float:
        """Run `count` executions and return the seconds it took."""
        begin = time.perf_counter()
        left = count
        while left or self._started:
            room = min(left, in_flight - len(self._started), CREATE_AT_ONCE)
            if room > 0 and (room == left or room >= min(CREATE_AT_ONCE, in_flight) // 2):
                await self._start(room)
                left -= room
            else:
                self._ended.clear()
                await asyncio.wait_for(self._ended.wait(), 30)
        return time.perf_counter() - begin

    async def _start(self, count: int) -> None:
        new = [self._execution() for _ in range(count)]
        now = time.perf_counter()
        self._started.update({each.id: now for each in new})
        await executions.create(self._store, new)
        await self._publisher.publish_all(
            Outgoing(
                subjects.command("start", each.id),
                start_of(each.id, each.created, each.at),
            )
            for each in new
        )

    def _execution(self) -> NewExecution:
        created = ExecutionCreated(
            workflow_id=self._workflow_id,
            version_id=self._version_id,
            user_id=self._user_id,
            mode=Mode.MANUAL,
            input=msgspec.Raw(b'{"x":1}'),
        )
        return NewExecution(
            id=new_id(),
            user_id=self._user_id,
            workflow_id=self._workflow_id,
            version_id=self._version_id,
            mode=Mode.MANUAL,
            priority=0,
            metadata={},
            created=created,
            at=datetime.now(UTC),
            idempotency=None,
        )


async def measure(
    arguments: argparse.Namespace, env: dict[str, str], pids: dict[str, int], monitoring_url: str
) -> dict[str, Any]:
    """Run the load against a running engine and return the figures."""
    store = await Store.open(env["DATABASE_URL"])
    user = new_id()
    await users.ensure(store, user, "bench@example.org", "bench")
    document = line_of_noops(arguments.steps)
    workflow_id, version_id = new_id(), new_id()
    await workflows.create(
        store, user_id=user, workflow_id=workflow_id, document=document, problems=(), active=True
    )
    version_id = await workflows.snapshot(
        store, user_id=user, workflow_id=workflow_id, version_id=version_id, document=document
    )
    async with await Bus.connect(env["NATS_URL"], name="bench") as bus, Publisher(bus) as publisher:
        load = Load(store, publisher, user, (workflow_id, version_id))
        for kind in TERMINAL_KINDS:
            await bus.subscribe(subjects.events_of_kind(kind), load.ended)
        await load.run(min(200, arguments.executions), 50)
        load.seconds.clear()
        before, messages = cpu_seconds(pids), nats_messages(monitoring_url)
        seconds = await load.run(arguments.executions, arguments.in_flight)
        used = {name: after - before[name] for name, after in cpu_seconds(pids).items()}
        messages = nats_messages(monitoring_url) - messages
    await store.close()
    load.seconds.sort()
    steps = arguments.executions * arguments.steps
    return {
        "executions": arguments.executions,
        "steps": arguments.steps,
        "in_flight": arguments.in_flight,
        "seconds": round(seconds, 2),
        "steps_per_s": round(steps / seconds),
        "p50_ms": round(statistics.median(load.seconds) * 1000, 1),
        "p99_ms": round(load.seconds[int(len(load.seconds) * 0.99)] * 1000, 1),
        "cpu_us_per_step": {name: round(each / steps * 1e6) for name, each in used.items()},
        "nats_messages_per_step": round(messages / steps, 1),
        "ends": load.kinds,
    }


async def bench(arguments: argparse.Namespace) -> None:
    """Start everything, measure, print one line of JSON."""
    with tempfile.TemporaryDirectory(prefix="flotilla-bench-", dir=arguments.dir) as folder:
        os.chmod(folder, 0o755)  # noqa: S103  # the database's own user must reach its folder below
        data = Path(folder)
        nats = NatsServer(data / "nats")
        servers = [PostgresServer(data / "postgres"), nats]
        async with running(servers) as (database_url, nats_url):
            env = {"DATABASE_URL": database_url, "NATS_URL": nats_url, "LOG_LEVEL": "WARNING"}
            await migrations.migrate(database_url, builtin_specs())
            async with (
                process("scheduler", env=env) as scheduler,
                process("worker", "--concurrency", str(arguments.concurrency), env=env) as worker,
            ):
                pids = {"scheduler": scheduler.pid, "worker": worker.pid, "bench": os.getpid()}
                pids |= {server.name: server.pid or 0 for server in servers}
                figures = await measure(arguments, env, pids, nats.monitoring_url)
                print(msgspec.json.encode(figures).decode(), flush=True)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--executions", type=int, default=3_000)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--in-flight", type=int, default=500)
    parser.add_argument("--concurrency", type=int, default=256, help="slots of the worker")
    parser.add_argument("--dir", default=None, help="where the servers keep their data")
    uvloop.run(bench(parser.parse_args()))


if __name__ == "__main__":
    main()
