"""Workers: their last signs of life. That one is lost is seen by the age of its last sign, so nobody has to write it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from contracts.messages import Heartbeat
from db import queries
from db.pages import Page, page_of
from db.store import Row, Store

LOST_AFTER_SECONDS: Final = 15.0

_SQL: Final = queries.load("workers")


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A worker. `status`: ALIVE, DRAINING or LOST."""

    id: str
    node_types: tuple[str, ...]
    slots: int
    busy: int
    version: str
    host: str
    status: str
    started_at: datetime
    last_seen_at: datetime


class WorkerFilters(msgspec.Struct, frozen=True, kw_only=True):
    """What a list is narrowed to; of several values of one field any will do, an empty field asks nothing."""

    node_type: tuple[str, ...] = ()
    status: tuple[str, ...] = ()


async def beat(store: Store, heartbeats: Sequence[Heartbeat]) -> None:
    """Write signs of life, seen now by the database's clock; of several of one worker the last counts."""
    latest = {heartbeat.worker_id: heartbeat for heartbeat in heartbeats}
    if latest:
        columns = zip(*(_columns(latest[worker_id]) for worker_id in sorted(latest)), strict=True)
        await store.execute(_SQL["beat"], *columns)


async def page(
    store: Store, filters: WorkerFilters, limit: int, after: str | None
) -> Page[WorkerRow]:
    """Return workers, newest first, that follow the id `after`, and the id to go on from."""
    rows = await store.fetch(
        _SQL["page_workers"],
        after,
        limit + 1,
        filters.node_type or None,
        filters.status or None,
        LOST_AFTER_SECONDS,
    )
    return page_of([_worker(row) for row in rows], limit, key=lambda row: row.id)


def _columns(heartbeat: Heartbeat) -> tuple[object, ...]:
    return (
        heartbeat.worker_id,
        msgspec.json.encode(heartbeat.node_types).decode(),
        heartbeat.slots,
        heartbeat.busy,
        heartbeat.version,
        heartbeat.host,
        heartbeat.status,
        heartbeat.started_at,
    )


def _worker(row: Row) -> WorkerRow:
    return WorkerRow(
        id=row["id"],
        node_types=tuple(row["node_types"]),
        slots=row["slots"],
        busy=row["busy"],
        version=row["version"],
        host=row["host"],
        status=row["status"],
        started_at=row["started_at"],
        last_seen_at=row["last_seen_at"],
    )
