"""The bare loop: the least that a durable engine of this shape has to do, as a measure for the one around it.

Two processes, as with the engine. The scheduler commits what has arrived since its last commit in one statement
(compare-and-set of versions, history of the winners), then publishes the next tasks, then acknowledges; the worker
stores each result before it acknowledges the task. No retries, joins, expressions, leases, tokens, timers or events.

    python -m bench.bare_loop scheduler      python -m bench.bare_loop worker

Both are told on stdin, in lines of JSON, because addresses hold passwords: first where the servers are, then
the scheduler a `Run` a line, which it answers on stdout with what the run gave.
"""

import asyncio
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Final

import asyncpg
import msgspec
import uvloop
from nats.aio.msg import Msg

from bench import jetstream
from bench.queries import SQL

TASKS: Final = "BENCH_TASKS"
RESULTS: Final = "BENCH_RESULTS"
TASK_PREFIX: Final = "bench.task.FLOW.NOOP"
RESULT_PREFIX: Final = "bench.result.0"
BATCH: Final = 500
START_AT_ONCE: Final = 200
READY: Final = b"ready"

_encode: Final = msgspec.json.Encoder().encode


class Told(msgspec.Struct, frozen=True):
    """Where the servers are."""

    database_url: str
    nats_url: str


class Run(msgspec.Struct, frozen=True):
    """So many executions of so many steps, and how many of them at once."""

    executions: int
    in_flight: int
    steps: int


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What a run gave: its seconds, those of each execution and of each commit."""

    seconds: float
    each: list[float]
    commits: list[float]


class Task(msgspec.Struct, frozen=True):
    """What a worker is asked to do."""

    execution_id: str
    node_id: str
    attempt: int
    type: str
    parameters: dict[str, str]
    inputs: dict[str, int]
    idempotency_key: str


class Result(msgspec.Struct, frozen=True):
    """What a worker has done."""

    execution_id: str
    node_id: str
    attempt: int
    ports: dict[str, dict[str, int]]
    started_at: float
    finished_at: float


class Execution:
    """An execution under way: its version is the number of its steps that are over."""

    __slots__ = ("id", "started", "version")

    def __init__(self, id: uuid.UUID) -> None:
        self.id = id
        self.version = 0
        self.started = time.perf_counter()


_decode_task: Final = msgspec.json.Decoder(Task).decode
_decode_result: Final = msgspec.json.Decoder(Result).decode


class Scheduler:
    """Advances executions, a batch at a time."""

    def __init__(
        self,
        publisher: jetstream.Publisher,
        pull: jetstream.Pull,
        committing: "asyncpg.Connection[asyncpg.Record]",
        creating: "asyncpg.Connection[asyncpg.Record]",
    ) -> None:
        self._publisher = publisher
        self._pull = pull
        self._committing = committing
        self._creating = creating
        self._executions: dict[str, Execution] = {}
        self._created: list[Execution] = []
        self._room = asyncio.Event()
        self._each: list[float] = []
        self._commits: list[float] = []

    async def run(self, run: Run) -> Ran:
        """Carry a run through to its end."""
        self._each, self._commits = [], []
        begin = time.perf_counter()
        starting = asyncio.create_task(self._start(run), name="start")
        while len(self._each) < run.executions:
            await self._advance(await self._pull.take(BATCH), run.steps)
        await starting
        return Ran(seconds=time.perf_counter() - begin, each=self._each, commits=self._commits)

    async def _start(self, run: Run) -> None:
        """Create executions, always as many as there is room for."""
        left = run.executions
        while left:
            room = min(run.in_flight - len(self._executions), left, START_AT_ONCE)
            if room <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            new = [Execution(uuid.uuid4()) for _ in range(room)]
            self._executions.update({str(each.id): each for each in new})
            await self._creating.execute(SQL["create_executions"], [each.id for each in new])
            self._created += new
            self._pull.wake()
            left -= room

    async def _advance(self, messages: Sequence[Msg], steps: int) -> None:
        """Commit what has arrived, publish what follows, acknowledge."""
        created, self._created = self._created, []
        advanced = await self._commit([_decode_result(each.data) for each in messages], steps)
        going_on = [each for each in advanced if each.version < steps]
        await self._publisher.store([_task_of(each) for each in (*created, *going_on)])
        await self._pull.ack(messages)
        for execution in advanced:
            if execution.version == steps:
                del self._executions[str(execution.id)]
                self._each.append(time.perf_counter() - execution.started)
                self._room.set()

    async def _commit(self, results: Sequence[Result], steps: int) -> Sequence[Execution]:
        """Commit results that belong to the steps that are due, and return the executions that go on with them."""
        due = [
            (execution, result)
            for result in results
            if (execution := self._executions.get(result.execution_id)) is not None
            and result.node_id == f"n{execution.version}"
        ]
        if not due:
            return ()
        begin = time.perf_counter()
        await self._committing.execute(
            SQL["commit_batch"],
            [execution.id for execution, _ in due],
            [execution.version for execution, _ in due],
            ["SUCCESS" if each.version + 1 == steps else "RUNNING" for each, _ in due],
            [execution.version + 1 for execution, _ in due],
            [result.node_id for _, result in due],
            [_recorded(result) for _, result in due],
        )
        self._commits.append(time.perf_counter() - begin)
        for execution, _ in due:
            execution.version += 1
        return [execution for execution, _ in due]


def _task_of(execution: Execution) -> tuple[str, bytes]:
    execution_id, node_id = str(execution.id), f"n{execution.version}"
    task = Task(
        execution_id,
        node_id,
        1,
        "FLOW.NOOP",
        {"url": "{{ input.x }}"},
        {"n": execution.version},
        f"{execution_id}:{node_id}:",
    )
    return f"{TASK_PREFIX}.{execution_id}.{node_id}.1", _encode(task)


def _recorded(result: Result) -> str:
    data = {
        "ports": result.ports,
        "started_at": result.started_at,
        "finished_at": result.finished_at,
    }
    return _encode(data).decode()


async def _schedule() -> None:
    told = msgspec.json.decode(await _line(), type=Told)
    client = await jetstream.connect(told.nats_url)
    committing = await asyncpg.connect(told.database_url)
    creating = await asyncpg.connect(told.database_url)
    await committing.execute(SQL["create_tables"])
    await jetstream.create_stream(client, TASKS, f"{TASK_PREFIX}.>", one_each=True)
    await jetstream.create_stream(client, RESULTS, f"{RESULT_PREFIX}.>")
    publisher = await jetstream.Publisher(client).start()
    pull = await jetstream.Pull(client, RESULTS, 2 * BATCH).start()
    scheduler = Scheduler(publisher, pull, committing, creating)
    _say(READY)
    while line := await _line():
        _say(_encode(await scheduler.run(msgspec.json.decode(line, type=Run))))
    await committing.execute(SQL["drop_tables"])
    for stream in (TASKS, RESULTS):
        await jetstream.delete_stream(client, stream)
    for connection in (committing, creating):
        await connection.close()
    await client.close()


async def _work() -> None:
    told = msgspec.json.decode(await _line(), type=Told)
    client = await jetstream.connect(told.nats_url)
    publisher = await jetstream.Publisher(client).start()
    pull = await jetstream.Pull(client, TASKS, BATCH).start()

    async def attempt(message: Msg) -> None:
        task, started_at = _decode_task(message.data), time.time()
        ports = {"main": {"ok": 1, "n": task.inputs["n"]}}
        result = Result(
            task.execution_id, task.node_id, task.attempt, ports, started_at, time.time()
        )
        subject = f"{RESULT_PREFIX}.{task.execution_id}"
        await (await publisher.send(subject, _encode(result)))
        await pull.ack([message])

    async def serve() -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                for message in await pull.take(BATCH):
                    group.create_task(attempt(message))

    serving = asyncio.create_task(serve(), name="serve")
    _say(READY)
    while await _line():
        pass
    serving.cancel()
    await asyncio.wait({serving})
    await client.close()


async def _line() -> bytes:
    """Return the next line that we are told; empty once there is none any more."""
    return await asyncio.to_thread(sys.stdin.buffer.readline)


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(_schedule() if sys.argv[1] == "scheduler" else _work())
