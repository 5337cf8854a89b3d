"""What the checker reads of the whole installation, page by page, and the repairs that are safe at any time.

What belongs together is read in one snapshot (`Store.snapshot`), so that a live system cannot look torn. Only what
executions leave behind when they are over is ever changed here: their state is the scheduler's.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from db import queries
from db.executions import HistoryRow, history_row
from db.store import Row, Session, Store

_SQL: Final = queries.load("verification")


class VerifiedRow(msgspec.Struct, frozen=True, kw_only=True):
    """An execution as its row has it; nothing was committed for it in the last `silent_s` seconds."""

    id: str
    user_id: str
    version_id: str
    status: str
    version: int
    paused: bool
    concurrency_key: str | None
    has_slot: bool
    parent_waits: str | None
    failure: bytes | None
    started_at: datetime | None
    finished_at: datetime | None
    silent_s: float


class SlotKey(NamedTuple):
    """A concurrency key under way: executions that hold a slot, that wait for one, and that go on without."""

    workflow_id: str
    key: str
    held: int
    waiting: int
    without: int
    newest: str
    silent_s: float


class Outcome(NamedTuple):
    """How much a check found when it ran last, in seconds since 1970."""

    check: str
    findings: int
    ran_at: float


async def page(session: Session, after: str | None, limit: int) -> tuple[VerifiedRow, ...]:
    """Return executions beyond an id, in the order of their ids."""
    return tuple(map(_verified, await session.fetch(_SQL["page_executions"], after, limit)))


async def by_ids(session: Session, ids: Sequence[str]) -> tuple[VerifiedRow, ...]:
    """Return those of the executions that exist."""
    return tuple(map(_verified, await session.fetch(_SQL["executions_by_id"], ids)))


async def histories(
    session: Session, after: Mapping[str, int], most: int
) -> dict[str, list[HistoryRow]]:
    """Return at most `most` events of each execution that follow a seq, also beyond its version."""
    rows = await session.fetch(_SQL["history_after"], list(after), list(after.values()), most)
    found: dict[str, list[HistoryRow]] = {execution_id: [] for execution_id in after}
    for event in map(history_row, rows):
        found[event.execution_id].append(event)
    return found


async def timers(session: Session, ids: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the timers of executions by key, and for how many seconds each has been due."""
    found: dict[str, dict[str, float]] = {execution_id: {} for execution_id in ids}
    for row in await session.fetch(_SQL["timers_of"], ids):
        found[str(row["execution_id"])][row["key"]] = row["overdue_s"]
    return found


async def open_interactions(session: Session, ids: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return the ids of the questions that are open, by execution."""
    found: dict[str, set[str]] = {execution_id: set() for execution_id in ids}
    for row in await session.fetch(_SQL["open_interactions_of"], ids):
        found[str(row["execution_id"])].add(str(row["id"]))
    return {execution_id: frozenset(each) for execution_id, each in found.items()}


async def stray_timers(session: Session, after: str | None, limit: int) -> tuple[str, ...]:
    """Return ids of executions that are not there but have timers."""
    rows = await session.fetch(_SQL["stray_timers"], after, limit)
    return tuple(str(row["execution_id"]) for row in rows)


async def slot_keys(
    session: Session, after: tuple[str, str] | None, limit: int
) -> tuple[SlotKey, ...]:
    """Return concurrency keys that have executions under way, beyond a workflow and key."""
    workflow_id, key = after or (None, "")
    rows = await session.fetch(_SQL["slot_keys"], workflow_id, key, limit)
    return tuple(
        SlotKey(
            str(row["workflow_id"]),
            row["concurrency_key"],
            row["held"],
            row["waiting"],
            row["without"],
            str(row["newest"]),
            row["silent_s"],
        )
        for row in rows
    )


async def creations(session: Session, ids: Sequence[str]) -> dict[str, bytes]:
    """Return the data of the first events of executions, as JSON."""
    rows = await session.fetch(_SQL["creations"], ids)
    return {str(row["execution_id"]): row["data"].encode() for row in rows}


async def missing_payloads(
    session: Session, values: Sequence[tuple[str, bytes]]
) -> frozenset[tuple[str, bytes]]:
    """Return those of some values, by user and hash, that are not stored."""
    if not values:
        return frozenset()
    rows = await session.fetch(_SQL["missing_payloads"], *zip(*values, strict=True))
    return frozenset((str(row["user_id"]), row["sha256"]) for row in rows)


async def clear_timers(store: Store, ids: Sequence[str]) -> int:
    """Drop the timers of those of the executions that are over or not there, and return how many."""
    row = await store.fetch_row(_SQL["clear_timers"], ids)
    assert row is not None
    return int(row["number"])


async def close_interactions(store: Store, ids: Sequence[str]) -> int:
    """Close the questions of those of the executions that are over or not there, and return how many."""
    row = await store.fetch_row(_SQL["close_interactions"], ids)
    assert row is not None
    return int(row["number"])


async def record(store: Store, findings: Mapping[str, int]) -> None:
    """Keep how much each check of a whole verification found."""
    await store.execute(_SQL["record_outcome"], list(findings), list(findings.values()))


async def outcomes(store: Store) -> tuple[Outcome, ...]:
    """Return what the last verification found; nothing if there was none."""
    rows = await store.fetch(_SQL["outcomes"])
    return tuple(Outcome(row["check_name"], row["findings"], row["ran_at"]) for row in rows)


def _verified(row: Row) -> VerifiedRow:
    return VerifiedRow(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        version_id=str(row["version_id"]),
        status=row["status"],
        version=row["version"],
        paused=row["paused"],
        concurrency_key=row["concurrency_key"],
        has_slot=row["has_slot"],
        parent_waits=row["parent_waits"],
        failure=None if row["failure"] is None else row["failure"].encode(),
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        silent_s=row["silent_s"],
    )
