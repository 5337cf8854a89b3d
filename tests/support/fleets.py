"""Workers that do as a test says, for a real scheduler behind the gateway."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx

from contracts.messages import Heartbeat, Task
from contracts.specs import NodeSpec, Port
from contracts.statuses import WaitKind
from db import node_types as types
from db import workers
from db.store import Store
from nodes.regex import Re2
from scheduler.service import SchedulerSettings, run_scheduler
from tests.support.engine import ANY, LOOP, MANUAL
from tests.support.gateways import CALENDAR, USER
from tests.support.plain_worker import Outcome, PlainWorker

HUMAN = NodeSpec(
    type="CUSTOM.HUMAN",
    title="Asks, and yields what was answered",
    outputs=(Port("main"), Port("approved"), Port("rejected"), Port("timeout")),
)
SPECS = (ANY, LOOP, MANUAL, HUMAN)
DONE = {"SUCCESS", "ERROR", "CANCELED"}


def line(*nodes: str, **fields: dict[str, Any]) -> dict[str, Any]:
    """Return a document of nodes one after the other; each fails for good at once."""
    made = [
        {"id": each, "type": "CUSTOM.ANY", "retry_policy": None, **fields.get(each, {})}
        for each in nodes
    ]
    wires = [{"from": one, "to": other} for one, other in itertools.pairwise(nodes)]
    return {"name": "Line", "nodes": made, "connections": wires}


class Fleet:
    """Workers whose attempts a test decides: by node, one outcome after the other, then success."""

    def __init__(self) -> None:
        self.outcomes: dict[str, list[Outcome | Callable[[], Awaitable[Outcome]]]] = {}
        self.ran: Counter[str] = Counter()

    async def behave(self, node_id: str, task: Task) -> Outcome:
        """Return the next outcome of a node."""
        self.ran[node_id] += 1
        planned = self.outcomes.get(node_id)
        if not planned:
            return {"ports": {"main": {"from": node_id, "attempt": task.attempt}}}
        outcome = planned.pop(0)
        return await outcome() if callable(outcome) else outcome


async def until(api: httpx.AsyncClient, path: str, found: Callable[[Any], bool]) -> Any:
    """Return what is at a path once it is as wanted."""
    async with asyncio.timeout(20):
        while True:
            answer = await api.get(path)
            assert answer.status_code == 200, answer.text
            if found(answer.json()):
                return answer.json()


async def end_of(api: httpx.AsyncClient, execution_id: str) -> Any:
    """Return an execution once it is over."""
    answer = await api.get(f"/v1/executions/{execution_id}?wait=20")
    assert answer.json()["status"] in DONE, answer.text
    return answer.json()


async def waiting_at(api: httpx.AsyncClient, execution_id: str, node_id: str) -> Any:
    """Return a node run once it waits."""
    path = f"/v1/executions/{execution_id}/node-runs/{node_id}"
    return await until(api, path, lambda run: run["status"] == "WAITING")


@asynccontextmanager
async def scheduling(database_url: str, nats_url: str) -> AsyncIterator[None]:
    """Run a scheduler."""
    stop, ready = asyncio.Event(), asyncio.Event()
    settings = SchedulerSettings(
        database_url=database_url, nats_url=nats_url, default_namespace=USER
    )
    run = run_scheduler(settings, regex=Re2(), calendar=CALENDAR, stop=stop, ready=ready)
    running = asyncio.create_task(run)
    async with asyncio.timeout(30):
        await ready.wait()
    yield
    stop.set()
    async with asyncio.timeout(30):
        await running


@asynccontextmanager
async def working(nats_url: str, fleet: Fleet, *specs: NodeSpec) -> AsyncIterator[None]:
    """Run workers for these node types."""
    async with AsyncExitStack() as stack:
        for spec in specs:
            await stack.enter_async_context(PlainWorker(nats_url, spec.type, fleet.behave))
        yield


async def make_known(store: Store) -> None:
    """Let the database know the node types of these tests."""
    await types.store(store, SPECS)


def waits(kind: WaitKind, **order: Any) -> Outcome:
    """Return the outcome of an attempt that waits."""
    return {"wait": {"kind": kind, **order}}


FAILS: Outcome = {"failure": {"kind": "ERROR", "code": "broken", "message": "It broke."}}


async def beat(store: Store, *node_types: str, worker_id: str = "plain") -> None:
    """Let a worker of these node types be alive that says so."""
    heartbeat = Heartbeat(
        worker_id=worker_id,
        node_types=node_types,
        slots=8,
        busy=1,
        version="1",
        host="here",
        started_at=datetime.now(UTC),
    )
    await workers.beat(store, [heartbeat])
