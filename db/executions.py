"""Executions: their creation, and what users read of them. Only the scheduler changes them, by `db.advances`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from contracts import history as events
from contracts.history import Event, ExecutionCreated, OutputsCarried
from contracts.payloads import PayloadLimits, digest_of, moved
from contracts.statuses import Mode
from db import payloads, queries
from db.idempotency import KEEP_SECONDS
from db.pages import Page, page_of
from db.payloads import Payload
from db.store import Row, Session, Store

_SQL: Final = queries.load("executions")


class NewExecution(msgspec.Struct, frozen=True, kw_only=True):
    """An execution to create at the instant `at`; `created` becomes its first event, `carried` those after it.

    `idempotency` (route and key) makes a second start of the same user have the effect of once; `request_hash` tells a
    repetition from a reuse of its key. `schedule_id` is the schedule that starts it. `large` are the values that `created` refers to, by the id of their reference.
    """

    id: str
    user_id: str
    workflow_id: str
    version_id: str
    mode: Mode
    priority: int = 0
    metadata: dict[str, object] = {}
    created: ExecutionCreated
    carried: tuple[OutputsCarried, ...] = ()
    at: datetime
    idempotency: tuple[str, str] | None = None
    request_hash: bytes = b""
    large: Mapping[str, bytes] = {}
    schedule_id: str | None = None

    def lightened(self, limits: PayloadLimits) -> "NewExecution":
        """Return the same execution with a large input apart; the input is the only value in `created`."""
        if len(self.created.input) <= min(limits.inline, limits.message):
            return self
        created, large = moved(self.created, limits)
        if not large:
            return self
        return msgspec.structs.replace(self, created=created, large={**self.large, **large})

    @property
    def events(self) -> tuple[Event, ...]:
        """The events that it begins with."""
        following = (Event(seq, self.at, data) for seq, data in enumerate(self.carried, 2))
        return (Event(1, self.at, self.created), *following)


class ExecutionRow(msgspec.Struct, frozen=True, kw_only=True):
    """An execution as it is listed. `workflow_version` is None for a snapshot of a draft; `metadata` and `failure` are JSON."""

    id: str
    user_id: str
    workflow_id: str
    version_id: str
    workflow_version: int | None
    status: str
    version: int
    paused: bool
    mode: str
    priority: int
    concurrency_key: str | None
    parent_execution_id: str | None
    parent_node_id: str | None
    retry_of: str | None
    forked_from: str | None
    metadata: bytes
    failure: bytes | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ExecutionFilters(msgspec.Struct, frozen=True, kw_only=True):
    """What a list is narrowed to; of several values of one field any will do, an empty field asks nothing."""

    workflow_id: tuple[str, ...] = ()
    version: tuple[int, ...] = ()
    status: tuple[str, ...] = ()
    mode: tuple[str, ...] = ()
    paused: bool | None = None
    parent_execution_id: tuple[str, ...] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None


class HistoryRow(msgspec.Struct, frozen=True):
    """An event as it is stored; `data` is JSON."""

    execution_id: str
    seq: int
    at: datetime
    kind: str
    node_id: str | None
    iteration: tuple[int, ...] | None
    attempt: int | None
    data: bytes


async def create(store: Store | Session, batch: Sequence[NewExecution]) -> frozenset[str]:
    """Create executions with their first events, all in one commit, and return the ids of those that are new.

    Left out are ids that exist already and idempotency keys that were used in the last 24 hours, here or before.
    """
    if not batch:
        return frozenset()
    large = [payload for each in batch if each.large for payload in _large(each)]
    if large and isinstance(store, Store):
        async with store.transaction() as session:
            return await create(session, batch)
    await payloads.put(store, large)
    columns = zip(*map(_columns, batch), strict=True)
    carried = _carried({new.id: new for new in batch}.values())
    rows = await store.fetch(_SQL["create_executions"], *columns, KEEP_SECONDS, *carried)
    return frozenset(str(row["id"]) for row in rows)


async def get(store: Store, user_id: str, execution_id: str) -> ExecutionRow | None:
    """Return a user's execution, or None."""
    row = await store.fetch_row(_SQL["get_execution"], user_id, execution_id)
    return None if row is None else _execution(row)


async def page(
    store: Store, user_id: str, filters: ExecutionFilters, limit: int, after: str | None
) -> Page[ExecutionRow]:
    """Return a user's executions, newest first, that follow the id `after`, and the id to go on from."""
    arguments = (
        user_id,
        after,
        limit + 1,
        filters.version or None,
        filters.status or None,
        filters.mode or None,
        filters.paused,
        filters.parent_execution_id or None,
        filters.created_after,
        filters.created_before,
    )
    if filters.workflow_id:
        workflow_ids = frozenset(filters.workflow_id)
        rows = await store.fetch(_SQL["page_executions_of_workflows"], *arguments, workflow_ids)
    else:
        rows = await store.fetch(_SQL["page_executions"], *arguments)
    return page_of([_execution(row) for row in rows], limit, key=lambda row: row.id)


async def history(
    store: Store,
    execution_id: str,
    *,
    after_seq: int = 0,
    limit: int,
    kinds: Sequence[str] | None = None,
    node_id: str | None = None,
) -> tuple[HistoryRow, ...]:
    """Return events of an execution beyond `after_seq`, in order. Whose execution it is was checked before."""
    rows = await store.fetch(
        _SQL["read_history"], execution_id, after_seq, limit, kinds or None, node_id
    )
    return tuple(map(history_row, rows))


async def beginnings(
    store: Store, execution_ids: Sequence[str], *, limit: int
) -> Mapping[str, Sequence[HistoryRow]]:
    """Return the first events of executions, at most `limit` of each, in order. Whose they are was checked before."""
    found: dict[str, list[HistoryRow]] = {}
    for row in map(history_row, await store.fetch(_SQL["read_beginnings"], execution_ids, limit)):
        found.setdefault(row.execution_id, []).append(row)
    return found


def history_row(row: Row) -> HistoryRow:
    """Read a row of the table `history`."""
    execution_id, seq, at, kind, node_id, iteration, attempt, data = row
    return HistoryRow(
        str(execution_id),
        seq,
        at,
        kind,
        node_id,
        None if iteration is None else tuple(iteration),
        attempt,
        data.encode(),
    )


def _large(execution: NewExecution) -> Iterator[Payload]:
    for payload_id, data in execution.large.items():
        yield Payload(execution.user_id, digest_of(payload_id), data)


def _columns(execution: NewExecution) -> tuple[object, ...]:
    parent = execution.created.parent
    route, key = execution.idempotency or (None, None)
    return (
        execution.id,
        execution.user_id,
        execution.workflow_id,
        execution.version_id,
        str(execution.mode),
        execution.priority,
        msgspec.json.encode(execution.metadata).decode(),
        parent.execution_id if parent else None,
        parent.node_id if parent else None,
        execution.created.retry_of,
        execution.at,
        events.encode_data(execution.created).decode(),
        route,
        key,
        execution.request_hash,
        execution.created.slot.key if execution.created.slot else None,
        execution.created.forked_from.execution_id if execution.created.forked_from else None,
        execution.schedule_id,
    )


def _carried(batch: Iterable[NewExecution]) -> tuple[Sequence[object], ...]:
    """Return the columns of what follows the first events."""
    rows = [
        (new.id, event.seq, events.encode_data(event.data).decode())
        for new in batch
        for event in new.events[1:]
    ]
    return tuple(zip(*rows, strict=True)) if rows else ((), (), ())


def _execution(row: Row) -> ExecutionRow:
    return ExecutionRow(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        workflow_id=str(row["workflow_id"]),
        version_id=str(row["version_id"]),
        workflow_version=row["workflow_version"],
        status=row["status"],
        version=row["version"],
        paused=row["paused"],
        mode=row["mode"],
        priority=row["priority"],
        concurrency_key=row["concurrency_key"],
        parent_execution_id=_text(row["parent_execution_id"]),
        parent_node_id=row["parent_node_id"],
        retry_of=_text(row["retry_of"]),
        forked_from=_text(row["forked_from"]),
        metadata=row["metadata"].encode(),
        failure=None if row["failure"] is None else row["failure"].encode(),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
