"""Schedules: which published workflows are started by the clock, and when they are due.

Every published version has the rows of its schedules. They are armed, which is to say that `next_at` is finite, while
their workflow is active; to arm one is to let it begin now, whatever it missed before. All instants are those of the
database's clock.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from contracts.schedules import Policy, Schedule, Timing
from db import queries
from db.pages import Page, page_of
from db.store import Row, Session, Store

_SQL: Final = queries.load("schedules")
_decode_policy: Final = msgspec.json.Decoder(Policy).decode


class DueSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule with at least one instant to look at that is not after `now`; `version_id` is what it starts."""

    id: str
    user_id: str
    workflow_id: str
    version_id: str
    node_id: str
    timing: Timing
    policy: Policy
    next_at: datetime
    last_at: datetime | None
    now: datetime


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as users see it, with the version that it starts; `next_at` is None where it is not armed."""

    id: str
    user_id: str
    workflow_id: str
    version_id: str | None
    node_id: str
    purpose: str
    timing: Timing
    next_at: datetime | None
    last_at: datetime | None
    paused: bool


class Move(msgspec.Struct, frozen=True):
    """Where a schedule goes on, None: nowhere. `last_at` is the occurrence that was started last, None: none was."""

    schedule_id: str
    next_at: datetime | None
    last_at: datetime | None


async def replace(
    session: Session, user_id: str, workflow_id: str, wanted: Sequence[Schedule]
) -> None:
    """Make these the schedules of a workflow, in the transaction that publishes or deletes it.

    Who comes at the same times as before keeps his place; whoever is new, or comes at other times, begins now.
    """
    await session.execute(
        _SQL["delete_schedules"], workflow_id, [schedule.node_id for schedule in wanted]
    )
    if wanted:
        await session.execute(
            _SQL["write_schedules"],
            workflow_id,
            user_id,
            [schedule.node_id for schedule in wanted],
            [schedule.timing.cron for schedule in wanted],
            [schedule.timing.interval_s for schedule in wanted],
            [schedule.timing.timezone for schedule in wanted],
            [msgspec.json.encode(schedule.policy).decode() for schedule in wanted],
        )
        await arm(session, workflow_id)


async def arm(session: Session, workflow_id: str) -> None:
    """Arm or disarm the schedules of a workflow, as it is active or not, in the transaction that says so."""
    await session.execute(_SQL["arm_schedules"], workflow_id)


async def get(store: Store, user_id: str, schedule_id: str) -> ScheduleRow | None:
    """Return a user's schedule, or None."""
    row = await store.fetch_row(_SQL["get_schedule"], user_id, schedule_id)
    return None if row is None else _schedule(row)


async def page(
    store: Store,
    user_id: str,
    *,
    workflow_ids: Sequence[str],
    paused: bool | None,
    limit: int,
    after: str | None,
) -> Page[ScheduleRow]:
    """Return a user's schedules, newest first, that follow the id `after`, and the id to go on from."""
    rows = await store.fetch(
        _SQL["page_schedules"], user_id, after, limit + 1, workflow_ids or None, paused
    )
    return page_of([_schedule(row) for row in rows], limit, key=lambda row: row.id)


async def pause(store: Store, user_id: str, schedule_id: str) -> None:
    """Let a schedule start nothing more; what was started goes on."""
    await store.execute(_SQL["pause_schedule"], user_id, schedule_id)


async def resume(store: Store, user_id: str, schedule_id: str) -> None:
    """Let a paused schedule begin now, whatever it missed."""
    await store.execute(_SQL["resume_schedule"], user_id, schedule_id)


async def claim(session: Session, put_off: Sequence[str], limit: int) -> list[DueSchedule]:
    """Return schedules that are due and hold them until the transaction ends, without those that are `put_off`."""
    rows = await session.fetch(_SQL["claim_schedules"], put_off, limit)
    return [_due(row) for row in rows]


async def busy(
    session: Session, schedule_ids: Sequence[str], execution_ids: Sequence[str]
) -> set[str]:
    """Return the schedules of which an execution is not over. `execution_ids` are the last occurrences of some."""
    if not schedule_ids:
        return set()
    rows = await session.fetch(_SQL["busy_schedules"], schedule_ids, execution_ids)
    return {str(row["id"]) for row in rows}


async def move(session: Session, moves: Sequence[Move]) -> None:
    """Let claimed schedules go on, in the transaction that created the executions they start."""
    await session.execute(
        _SQL["move_schedules"],
        [each.schedule_id for each in moves],
        [each.next_at for each in moves],
        [each.last_at for each in moves],
    )


async def seconds_to_next(store: Store, within_s: float) -> float:
    """Return for how long no further schedule will be due, at most `within_s`."""
    row = await store.fetch_row(_SQL["next_schedule"], within_s)
    if row is None or row["seconds"] is None:
        return within_s
    seconds: float = row["seconds"]
    return seconds


def _schedule(row: Row) -> ScheduleRow:
    version_id = row["version_id"]
    return ScheduleRow(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        workflow_id=str(row["workflow_id"]),
        version_id=None if version_id is None else str(version_id),
        node_id=row["node_id"],
        purpose=row["purpose"],
        timing=Timing(row["cron"], row["interval_s"], row["timezone"]),
        next_at=row["comes_at"],
        last_at=row["last_at"],
        paused=row["paused"],
    )


def _due(row: Row) -> DueSchedule:
    return DueSchedule(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        workflow_id=str(row["workflow_id"]),
        version_id=str(row["version_id"]),
        node_id=row["node_id"],
        timing=Timing(row["cron"], row["interval_s"], row["timezone"]),
        policy=_decode_policy(row["policy"]),
        next_at=row["next_at"],
        last_at=row["last_at"],
        now=row["now"],
    )
