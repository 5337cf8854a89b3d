"""Operations on schedules: what the clock starts, held up by hand and started by hand."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

import db.schedules
from contracts.execution.occurrences import created_by_schedule
from contracts.expressions.errors import ExpressionError
from contracts.ids import is_uuid
from contracts.problems import pointer
from contracts.schedules import RESOLUTION
from contracts.times import rfc3339
from db.executions import NewExecution
from db.schedules import ScheduleRow
from gateway.answers import Answer, ok
from gateway.bodies import Nothing
from gateway.calls import Call
from gateway.executing import accepted
from gateway.instants import Instant, shown
from gateway.pages import DEFAULT_LIMIT, Cursor, Limit, page_of, read_cursor
from gateway.parameters import Uuid, wrong
from gateway.problems import ErrorEntry, Refused, invalid_request, not_found
from gateway.queries import NoQuery
from gateway.services import Gateway
from gateway.versions import CompiledVersion
from gateway.workflows import new_id

START = "START"


class SchedulesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a list of schedules is narrowed to."""

    workflow_id: tuple[Uuid, ...] = ()
    paused: bool | None = None
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """What the clock starts: by `cron` or every `interval` seconds.

    `next_at` is null while it starts nothing: it is paused, its workflow is not active, or no occurrence is left.
    """

    id: str
    workflow_id: str
    node_id: str
    purpose: str
    cron: str | UnsetType = UNSET
    interval: float | UnsetType = UNSET
    timezone: str
    next_at: Instant | None
    last_at: Instant | UnsetType = UNSET
    paused: bool


async def list_schedules(gateway: Gateway, call: Call[SchedulesQuery, Nothing]) -> Answer:
    """Answer with the user's schedules, newest first."""
    query = call.query
    rows, place = await db.schedules.page(
        gateway.store,
        call.user_id,
        workflow_ids=query.workflow_id,
        paused=query.paused,
        limit=query.limit,
        after=read_cursor(query.cursor, is_uuid),
    )
    return ok(page_of((_view(gateway, row) for row in rows), place))


async def get_schedule(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with one schedule."""
    return ok(_view(gateway, await _read(gateway, call)))


async def pause_schedule(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Let a schedule start nothing more, and answer with it."""
    row = await _read(gateway, call)
    await db.schedules.pause(gateway.store, call.user_id, row.id)
    return ok(_view(gateway, await _read(gateway, call)))


async def resume_schedule(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Let a paused schedule begin now, and answer with it."""
    row = await _read(gateway, call)
    await db.schedules.resume(gateway.store, call.user_id, row.id)
    return ok(_view(gateway, await _read(gateway, call)))


async def run_schedule(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Start what a schedule starts, now and besides its occurrences."""
    row = await _read(gateway, call)
    if row.purpose != START:
        raise Refused("invalid_request", "This schedule looks for news; it starts nothing itself.")
    if row.version_id is None:
        raise Refused("not_published", "The workflow has no published version; publish it first.")
    version = await gateway.versions.by_id(row.version_id)
    return await accepted(gateway, call, _new_execution(gateway, call, row, version), version)


def _new_execution(
    gateway: Gateway, call: Call[Any, Any], row: ScheduleRow, version: CompiledVersion
) -> NewExecution:
    now = datetime.now(UTC)
    try:
        made = created_by_schedule(
            version.plan,
            node_id=row.node_id,
            user_id=row.user_id,
            timezone=row.timing.timezone,
            at=now,
            traceparent=call.trace.traceparent,
            regex=gateway.regex,
        )
    except ExpressionError as error:
        message = f"The schedule's data cannot be evaluated: {error}"
        raise invalid_request(wrong("", message)) from error
    if made.cannot_start is not None:
        message = made.cannot_start.message
        raise invalid_request(ErrorEntry(pointer("settings"), "invalid_value", message))
    return NewExecution(
        id=new_id(),
        user_id=row.user_id,
        workflow_id=row.workflow_id,
        version_id=version.id,
        mode=made.mode,
        priority=made.priority,
        created=made,
        at=now,
        schedule_id=row.id,
    )


def _view(gateway: Gateway, row: ScheduleRow) -> Schedule:
    timing = row.timing
    return Schedule(
        id=row.id,
        workflow_id=row.workflow_id,
        node_id=row.node_id,
        purpose=row.purpose,
        cron=UNSET if timing.cron is None else timing.cron,
        interval=UNSET if timing.interval_s is None else timing.interval_s,
        timezone=timing.timezone,
        next_at=_next_at(gateway, row),
        last_at=shown(row.last_at),
        paused=row.paused,
    )


def _next_at(gateway: Gateway, row: ScheduleRow) -> Instant | None:
    """Return the next occurrence: what is stored is no more than an instant that none lies before."""
    if row.paused or row.next_at is None:
        return None
    series = gateway.calendar.series(row.timing, since=row.next_at)
    following = series.after(row.next_at - RESOLUTION)
    return None if following is None else rfc3339(following)


async def _read(gateway: Gateway, call: Call[Any, Any]) -> ScheduleRow:
    schedule_id = call.path["schedule_id"]
    row = None
    if is_uuid(schedule_id):
        row = await db.schedules.get(gateway.store, call.user_id, schedule_id)
    if row is None:
        raise not_found()
    return row
