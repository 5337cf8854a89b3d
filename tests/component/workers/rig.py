"""A worker in this process, handlers that wait to be told, and a view of what the worker says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from bus.client import Bus, CoreMessage
from bus.publisher import Publisher
from contracts import subjects
from contracts.messages import Report, Task, decode_report, encode
from contracts.subjects import TaskAddress
from nodes.context import Context, Outputs
from nodes.registry import Handler, node
from tests.support.tasks import EXECUTION_ID, task, task_node
from workers.worker import Worker, WorkerSettings, run_worker

T = TypeVar("T")

PATIENCE = 10
GATED = "CUSTOM.GATED"


class Gate:
    """Handlers of GATED wait here; `started` has the contexts of those that came, in order."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.started: asyncio.Queue[Context] = asyncio.Queue()
        self.running = 0
        self.most_running = 0
        self.was_cancelled = asyncio.Event()

    def handler(self) -> Handler:
        """Return a handler that answers once the gate is open."""

        async def pass_through(context: Context, parameters: NoParameters) -> Outputs:
            """Wait for the gate."""
            self.running += 1
            self.most_running = max(self.running, self.most_running)
            self.started.put_nowait(context)
            try:
                await self.open.wait()
            except asyncio.CancelledError:
                self.was_cancelled.set()
                raise
            finally:
                self.running -= 1
            return Outputs(main=context.input)

        return node(GATED)(pass_through)


class NoParameters(msgspec.Struct, frozen=True):
    """GATED takes none."""


class Rig:
    """What a test holds: the bus, and the worker's reports and live events as they come."""

    def __init__(self, bus: Bus, publisher: Publisher) -> None:
        self.bus = bus
        self.publisher = publisher
        self.reports: asyncio.Queue[tuple[str, Report]] = asyncio.Queue()
        self.live: asyncio.Queue[CoreMessage] = asyncio.Queue()

    async def listen(self) -> None:
        """Begin to hear what the worker says."""

        async def hear_report(message: CoreMessage) -> None:
            self.reports.put_nowait((message.subject, decode_report(message.data)))

        async def hear_live(message: CoreMessage) -> None:
            self.live.put_nowait(message)

        await self.bus.subscribe(f"{subjects.INBOX_PREFIX}.*.result.>", hear_report)
        await self.bus.subscribe(f"{subjects.LIVE_PREFIX}.>", hear_live)

    async def send(self, node_id: str = "n1", **fields: Any) -> str:
        """Publish a task for GATED, or for the node given; return its subject."""
        body = task(task_node(id=node_id, type=GATED, **fields), trigger={"from": node_id})
        return await self.send_task(body, node_id)

    async def send_task(self, body: Task, node_id: str = "n1") -> str:
        """Publish a task as it is."""
        subject = task_subject(node_id)
        await self.publisher.store(subject, encode(body))
        return subject

    async def report(self) -> Report:
        """Wait for the next report."""
        return (await self.next(self.reports))[1]

    async def next(self, queue: asyncio.Queue[T]) -> T:
        """Wait for the next of something."""
        async with asyncio.timeout(PATIENCE):
            return await queue.get()


def task_subject(node_id: str = "n1") -> str:
    """Return the subject of a task for GATED."""
    return subjects.task(TaskAddress(GATED, "acme", EXECUTION_ID, node_id, (), 1))


@asynccontextmanager
async def working(url: str, *handlers: Handler, **settings: Any) -> AsyncIterator[asyncio.Event]:
    """Run a worker; gives the event that stops it, and ends once it has stopped."""
    stop = asyncio.Event()
    told = WorkerSettings(**{"nats_url": url, "worker_id": "w1", **settings})
    async with asyncio.TaskGroup() as group:
        running = group.create_task(run_worker(told, handlers, stop))
        try:
            yield stop
        finally:
            stop.set()
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait([running])


async def until(is_true: Callable[[], Any]) -> None:
    """Ask again and again, for what the server tells no one by itself."""
    async with asyncio.timeout(PATIENCE):
        while not await is_true():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.01)


__all__ = ["Gate", "Rig", "Worker", "task_subject", "until", "working"]
