"""Operations on executions: what is read of them, and canceling."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET

import db.executions
from contracts.failures import Failure
from contracts.history import EventMessage
from contracts.ids import RunKey, is_uuid, read_iteration
from contracts.statuses import (
    STATUS_ALIASES,
    ExecutionStatus,
    Mode,
    NodeRunStatus,
    read_execution_status,
)
from contracts.times import rfc3339
from db.executions import ExecutionFilters, ExecutionRow
from gateway import streams
from gateway.answers import Answer, EventStream, ok
from gateway.bodies import Nothing
from gateway.calls import Call
from gateway.execution_reading import Folded, find_row, folded, is_over, message_of, read_row
from gateway.execution_views import ExecutionSummary, node_run_of, node_run_summaries
from gateway.instants import shown
from gateway.pages import DEFAULT_LIMIT, Cursor, Limit, is_number, page_of, read_cursor
from gateway.parameters import At, Count, Number, Text, Uuid, WaitSeconds, wrong
from gateway.problems import Refused, invalid_request, not_found
from gateway.services import Gateway
from gateway.workflow_reading import read_workflow

_ITERATION: Final = r"^(_|[0-9]{1,9}(-[0-9]{1,9}){0,31})$"
_STATUS_WORDS: Final = (*ExecutionStatus, *STATUS_ALIASES)

StatusWord = Annotated[
    str,
    msgspec.Meta(
        description="A status; any of several. CANCELLED, COMPLETED and FAILED are read too",
        extra_json_schema={"examples": list(_STATUS_WORDS)},
    ),
]
IterationText = Annotated[str, msgspec.Meta(pattern=_ITERATION)]


class WaitQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long to wait."""

    wait: WaitSeconds = 0


class ExecutionsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a list of a workflow's executions is narrowed to."""

    version: tuple[Number, ...] = ()
    status: tuple[StatusWord, ...] = ()
    mode: tuple[Mode, ...] = ()
    paused: bool | None = None
    parent_execution_id: tuple[Uuid, ...] = ()
    created_after: At | None = None
    created_before: At | None = None
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class AllExecutionsQuery(ExecutionsQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a list of executions is narrowed to."""

    workflow_id: tuple[Uuid, ...] = ()


class NodeRunsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a list of node runs is narrowed to."""

    status: tuple[NodeRunStatus, ...] = ()
    node_id: tuple[Text, ...] = ()
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class IterationQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which iteration: `_` outside loops, else the indexes joined by `-`."""

    iteration: IterationText = "_"


class HistoryQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a list of events is narrowed to."""

    kind: tuple[Text, ...] = ()
    node_id: Text | None = None
    after_seq: Count = 0
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class EventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a stream begins."""

    after_seq: Count | None = None


async def list_executions(gateway: Gateway, call: Call[AllExecutionsQuery, Nothing]) -> Answer:
    """Answer with the user's executions, newest first."""
    return await _list(gateway, call.user_id, call.query, call.query.workflow_id)


async def list_workflow_executions(
    gateway: Gateway, call: Call[ExecutionsQuery, Nothing]
) -> Answer:
    """Answer with the executions of one workflow, newest first."""
    workflow = await read_workflow(gateway.store, call.user_id, call.path["workflow_id"])
    return await _list(gateway, call.user_id, call.query, (workflow.id,))


async def get_execution(gateway: Gateway, call: Call[WaitQuery, Nothing]) -> Answer:
    """Answer with an execution, once it is over or `wait` has passed."""
    row = await read_row(gateway.store, call.user_id, call.path["execution_id"])
    if call.query.wait and not is_over(row):
        row = await ended(gateway, row, call.query.wait) or row
    return ok((await folded(gateway, row)).view)


async def list_node_runs(gateway: Gateway, call: Call[NodeRunsQuery, Nothing]) -> Answer:
    """Answer with an execution's node runs, in the order of the document and of iterations."""
    folded_ = await _folded(gateway, call)
    query = call.query
    after = read_cursor(query.cursor, is_number)
    rows = [
        row
        for row in node_run_summaries(folded_.plan, folded_.state)
        if (not query.status or row.status in query.status)
        and (not query.node_id or row.node_id in query.node_id)
    ]
    begin = int(after or 0)
    end = begin + query.limit
    return ok(page_of(rows[begin:end], str(end) if len(rows) > end else None))


async def get_node_run(gateway: Gateway, call: Call[IterationQuery, Nothing]) -> Answer:
    """Answer with one node run."""
    folded_ = await _folded(gateway, call)
    key: RunKey = (call.path["node_id"], read_iteration(call.query.iteration))
    if key not in folded_.state.runs:
        raise not_found()
    return ok(node_run_of(folded_.plan, folded_.state, key))


async def list_history(gateway: Gateway, call: Call[HistoryQuery, Nothing]) -> Answer:
    """Answer with the events of an execution, by seq."""
    row = await read_row(gateway.store, call.user_id, call.path["execution_id"])
    query = call.query
    after = read_cursor(query.cursor, is_number)
    events = await db.executions.history(
        gateway.store,
        row.id,
        after_seq=query.after_seq if after is None else int(after),
        limit=query.limit + 1,
        kinds=query.kind,
        node_id=query.node_id,
    )
    shown_ = events[: query.limit]
    place = str(shown_[-1].seq) if len(events) > query.limit else None
    return ok(page_of(map(message_of, shown_), place))


async def stream_events(gateway: Gateway, call: Call[EventsQuery, Nothing]) -> EventStream:
    """Answer with an execution's events as they happen, from a seq on, until the last one."""
    row = await read_row(gateway.store, call.user_id, call.path["execution_id"])
    after_seq = min(_after_seq(call), row.version)

    async def read_history(seen: int) -> Sequence[EventMessage]:
        rows = await db.executions.history(gateway.store, row.id, after_seq=seen, limit=500)
        return [message_of(each) for each in rows]

    if is_over(row) and after_seq == row.version:
        return EventStream(_nothing())
    gateway.readers.check(call.user_id)
    events = streams.execution_events(
        gateway.bus,
        gateway.lifecycle,
        row.id,
        after_seq=after_seq,
        read_history=read_history,
        heartbeat_seconds=gateway.settings.heartbeat_seconds,
    )
    return EventStream(gateway.readers.counted(call.user_id, events))


async def ended(gateway: Gateway, row: ExecutionRow, seconds: float) -> ExecutionRow | None:
    """Return the row of an execution once it is over, or None if it is not within `seconds`."""

    async def look() -> ExecutionRow | None:
        found = await find_row(gateway.store, row.user_id, row.id)
        return found if found is not None and is_over(found) else None

    return await gateway.endings.wait(row.id, seconds, look)


async def _list(
    gateway: Gateway, user_id: str, query: ExecutionsQuery, workflow_ids: tuple[str, ...]
) -> Answer:
    filters = ExecutionFilters(
        workflow_id=workflow_ids,
        version=query.version,
        status=statuses_of(query.status, "/status"),
        mode=query.mode,
        paused=query.paused,
        parent_execution_id=query.parent_execution_id,
        created_after=query.created_after,
        created_before=query.created_before,
    )
    after = read_cursor(query.cursor, is_uuid)
    rows, place = await db.executions.page(gateway.store, user_id, filters, query.limit, after)
    return ok(page_of(map(_summary, rows), place))


def statuses_of(words: tuple[str, ...], pointer: str) -> tuple[ExecutionStatus, ...]:
    """Return the statuses that words spell. Raises Refused for another word."""
    statuses = [(word, read_execution_status(word)) for word in words]
    unknown = [word for word, status in statuses if status is None]
    if unknown:
        message = f"There is no status `{unknown[0]:.40}`; there are {', '.join(ExecutionStatus)}."
        raise invalid_request(wrong(pointer, message))
    return tuple(status for _, status in statuses if status is not None)


def _summary(row: ExecutionRow) -> ExecutionSummary:
    return ExecutionSummary(
        id=row.id,
        workflow_id=row.workflow_id,
        workflow_version=row.workflow_version,
        version_id=row.version_id,
        status=ExecutionStatus(row.status),
        paused=row.paused,
        mode=Mode(row.mode),
        metadata=msgspec.Raw(row.metadata),
        priority=row.priority,
        created_at=rfc3339(row.created_at),
        failure=UNSET if row.failure is None else msgspec.json.decode(row.failure, type=Failure),
        started_at=shown(row.started_at),
        finished_at=shown(row.finished_at),
        parent_execution_id=UNSET if row.parent_execution_id is None else row.parent_execution_id,
        retry_of=UNSET if row.retry_of is None else row.retry_of,
        forked_from=UNSET if row.forked_from is None else row.forked_from,
    )


async def _folded(gateway: Gateway, call: Call[Any, Nothing]) -> Folded:
    row = await read_row(gateway.store, call.user_id, call.path["execution_id"])
    return await folded(gateway, row)


def _after_seq(call: Call[EventsQuery, Nothing]) -> int:
    """Return where the reader was: a resumed stream's header tells more than the address it began with."""
    text = call.header(b"last-event-id")
    if not text:
        return call.query.after_seq or 0
    if not is_number(text):
        raise Refused("malformed_request", "Last-Event-ID is the seq of an event: a number.")
    return int(text)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield  # makes this an iterator
