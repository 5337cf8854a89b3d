"""Explaining an execution: the facts that its history does not tell are gathered here, and `contracts` judges."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog
from msgspec import UNSET, UnsetType

import db.leases
import db.slots
import db.workers
from bus import underway
from bus.errors import ApiError, BusUnavailable
from bus.underway import Queued
from contracts import messages, subjects
from contracts.execution import explain
from contracts.execution.explain import (
    Cause,
    Explanation,
    Facts,
    LineFact,
    Said,
    TaskFact,
    WorkerFact,
)
from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState
from contracts.history import ExecutionCanceled, ExecutionPaused, decode_data
from contracts.ids import RunKey, partition_of
from contracts.messages import LinesAsked, LinesTold
from contracts.statuses import ExecutionStatus
from contracts.subjects import TaskAddress
from contracts.times import rfc3339
from db.executions import HistoryRow
from db.workers import WorkerFilters
from gateway import holders
from gateway.answers import Answer, ok
from gateway.attempts import Attempt
from gateway.bodies import Nothing
from gateway.calls import Call
from gateway.execution_reading import folded_with_rows, read_row
from gateway.instants import Instant, shown
from gateway.pages import MAX_LIMIT
from gateway.queries import NoQuery
from gateway.services import Gateway

log = structlog.get_logger("gateway")

MOST_TASKS = 20
"""Tasks that are looked for one by one."""

LEADER_PATIENCE = timedelta(seconds=1)
"""How long a scheduler may take to answer. It does so between two batches."""

LOOK_SECONDS = 3.0
"""How long NATS may take to say where they are."""


class CauseView(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why an execution is where it is; `since` when it holds, and until when at the latest."""

    code: str
    message: str
    since: Instant
    details: dict[str, Any]
    node_id: str | UnsetType = UNSET
    iteration: tuple[int, ...] | UnsetType = UNSET
    until: Instant | UnsetType = UNSET


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """Why an execution is where it is; there is always a cause."""

    status: ExecutionStatus
    summary: str
    causes: tuple[CauseView, ...]


async def explain_execution(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with why an execution is where it is."""
    row = await read_row(gateway.store, call.user_id, call.path["execution_id"])
    execution, rows = await folded_with_rows(gateway, row)
    facts = await _facts(gateway, execution.plan, execution.state, rows)
    return ok(_view(explain.explain(execution.plan, execution.state, facts)))


async def _facts(
    gateway: Gateway, plan: Plan, state: ExecutionState, rows: Sequence[HistoryRow]
) -> Facts:
    now = datetime.now(UTC)
    canceled = _said(rows, "execution_canceled")
    if state.is_terminal:
        return Facts(now=now, canceled=canceled)
    keys = explain.looked_for(state, MOST_TASKS)
    fleets = explain.node_types(plan, (key for key, run in state.runs.items() if run.has_task))
    (queues, tasks), lines = await asyncio.gather(
        _queues(gateway, plan, state, keys, fleets), _lines(gateway, state)
    )
    workers = await _workers(gateway, fleets)
    if gateway.bus.is_connected:
        tasks = await _with_holders(gateway, plan, state, tasks, workers)
    return Facts(
        now=now,
        schedulers=len(await db.leases.holders(gateway.store)),
        is_led=lines is not None if gateway.bus.is_connected else None,
        leader=None if lines is None else lines.scheduler_id,
        backlog=0 if lines is None else lines.backlog,
        in_line=_in_line(state, lines),
        workers=workers,
        queues=queues,
        tasks=tasks,
        holders=await _holders(gateway, state),
        paused=_said(rows, "execution_paused"),
    )


async def _lines(gateway: Gateway, state: ExecutionState) -> LinesTold | None:
    """Return what the scheduler that leads an execution says of it, or None if it does not answer."""
    leader = await db.leases.holder(gateway.store, partition_of(state.id))
    if leader is None:
        return None
    asked = LinesAsked(state.id, state.created.user_id, MOST_TASKS)
    try:
        answer = await gateway.bus.request(
            subjects.lines(leader), messages.encode(asked), within=LEADER_PATIENCE
        )
    except BusUnavailable as error:
        log.warning("scheduler_silent", scheduler_id=leader, error=str(error))
        return None
    return messages.decode_lines(answer.data)


def _in_line(state: ExecutionState, lines: LinesTold | None) -> dict[RunKey, LineFact]:
    """Return the tasks that wait for their turn, of attempts that are under way as far as we know."""
    return {
        key: LineFact(
            node_type=each.node_type, ahead=each.ahead, queued=each.queued, window=each.window
        )
        for each in (() if lines is None else lines.waiting)
        if (run := state.runs.get(key := (each.node_id, each.iteration))) is not None
        and run.attempt == each.attempt
    }


async def _workers(gateway: Gateway, fleets: Iterable[str]) -> dict[str, tuple[WorkerFact, ...]]:
    """Return the live workers of these node types."""
    found: dict[str, tuple[WorkerFact, ...]] = {}
    for fleet in fleets:
        filters = WorkerFilters(node_type=(fleet,), status=("ALIVE", "DRAINING"))
        alive, _ = await db.workers.page(gateway.store, filters, MAX_LIMIT, None)
        found[fleet] = tuple(
            WorkerFact(id=each.id, slots=each.slots, busy=each.busy, last_seen_at=each.last_seen_at)
            for each in alive
        )
    return found


async def _queues(
    gateway: Gateway,
    plan: Plan,
    state: ExecutionState,
    keys: Sequence[RunKey],
    fleets: Iterable[str],
) -> tuple[dict[str, int] | None, dict[RunKey, TaskFact]]:
    """Return the length of each queue, and where the tasks of these node runs are; None if NATS does not say."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            queues = {fleet: await underway.queue_of(gateway.bus, fleet) for fleet in fleets}
            addresses = {key: _address(plan, state, key) for key in keys}
            places = await underway.places(gateway.bus, addresses.values())
            after = {
                seq: await underway.tasks_after(gateway.bus, address.node_type, seq)
                for address, seq in places.items()
                if seq > queues[address.node_type].delivered_seq
            }
    except (BusUnavailable, ApiError, TimeoutError) as error:
        log.warning("queues_unknown", error=str(error))
        return None, {}
    tasks = {}
    for key, address in addresses.items():
        seq = places.get(address)
        is_delivered = seq is not None and seq <= queues[address.node_type].delivered_seq
        heard = gateway.attempts.of(Attempt(state.id, *key, state.runs[key].attempt))
        tasks[key] = TaskFact(
            is_delivered=is_delivered,
            is_queued=seq is not None and not is_delivered,
            ahead=_ahead(queues[address.node_type], after.get(seq or 0)),
            worker_id=heard.worker_id if heard else None,
            started_at=heard.at if heard else None,
        )
    return {fleet: queue.pending for fleet, queue in queues.items()}, tasks


async def _with_holders(
    gateway: Gateway,
    plan: Plan,
    state: ExecutionState,
    tasks: dict[RunKey, TaskFact],
    workers: dict[str, tuple[WorkerFact, ...]],
) -> dict[RunKey, TaskFact]:
    """Return the facts with who holds the tasks of which that was not heard; of a lone worker it goes without saying."""
    unknown = {
        Attempt(state.id, *key, state.runs[key].attempt): key
        for key, fact in tasks.items()
        if fact.is_delivered
        and fact.worker_id is None
        and len(workers.get(plan.nodes[key[0]].fleet, ())) > 1
    }
    if not unknown:
        return tasks
    held = await holders.ask(gateway.bus, state.id, unknown.keys())
    told = {
        unknown[attempt]: msgspec.structs.replace(
            tasks[unknown[attempt]], worker_id=heard.worker_id, started_at=heard.at
        )
        for attempt, heard in held.items()
    }
    return {**tasks, **told}


def _ahead(queue: Queued, after: int | None) -> int | None:
    """Return how many tasks of a queue come before the one that so many come after."""
    return None if after is None else max(queue.pending - after - 1, 0)


def _address(plan: Plan, state: ExecutionState, key: RunKey) -> TaskAddress:
    fleet = plan.nodes[key[0]].fleet
    return TaskAddress(fleet, state.created.user_id, state.id, *key, state.runs[key].attempt)


async def _holders(gateway: Gateway, state: ExecutionState) -> tuple[str, ...]:
    """Return who holds the slots that an execution waits for."""
    slot = state.created.slot
    if slot is None or state.started_at is not None:
        return ()
    return await db.slots.holders(gateway.store, state.created.workflow_id, slot.key, slot.limit)


def _said(rows: Sequence[HistoryRow], kind: str) -> Said | None:
    """Return who asked last for something, and why."""
    row = next((row for row in reversed(rows) if row.kind == kind), None)
    if row is None:
        return None
    data = decode_data(row.kind, row.data)
    assert isinstance(data, ExecutionPaused | ExecutionCanceled)
    return Said(at=row.at, by=data.by, reason=data.reason)


def _view(explanation: Explanation) -> Explained:
    return Explained(
        status=explanation.status,
        summary=explanation.summary,
        causes=tuple(map(_cause, explanation.causes)),
    )


def _cause(cause: Cause) -> CauseView:
    return CauseView(
        code=cause.code,
        message=cause.message,
        since=rfc3339(cause.since),
        details={name: _shown(value) for name, value in cause.details.items()},
        node_id=UNSET if cause.node_id is None else cause.node_id,
        iteration=UNSET if cause.iteration is None else cause.iteration,
        until=shown(cause.until),
    )


def _shown(value: Any) -> Any:
    return rfc3339(value) if isinstance(value, datetime) else value
