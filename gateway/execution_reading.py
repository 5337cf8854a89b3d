"""Executions as they are read: the row that says whose it is, and the fold of its history."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

import db.executions
from contracts.execution import fold
from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState
from contracts.history import Event, EventMessage, decode_data
from contracts.ids import is_uuid
from contracts.statuses import ExecutionStatus
from db.executions import ExecutionRow, HistoryRow
from db.store import Store
from gateway.execution_views import Execution, execution_of
from gateway.histories import FIRST_EVENTS
from gateway.problems import not_found
from gateway.services import Gateway
from gateway.versions import CompiledVersion

HISTORY_PAGE: Final = 1_000


class Folded(NamedTuple):
    """An execution: its plan, and the state that its history folds into."""

    plan: Plan
    state: ExecutionState
    version: int | None

    @property
    def view(self) -> Execution:
        """The execution as the API shows it."""
        return execution_of(self.state, version=self.version)


async def read_row(store: Store, user_id: str, execution_id: str) -> ExecutionRow:
    """Return a user's execution. Raises Refused for unknown, foreign and malformed ids alike."""
    row = await find_row(store, user_id, execution_id)
    if row is None:
        raise not_found()
    return row


async def find_row(store: Store, user_id: str, execution_id: str) -> ExecutionRow | None:
    """Return a user's execution, or None."""
    return await db.executions.get(store, user_id, execution_id) if is_uuid(execution_id) else None


def is_over(row: ExecutionRow) -> bool:
    """Whether an execution has ended."""
    return ExecutionStatus(row.status).is_terminal


async def folded(gateway: Gateway, row: ExecutionRow) -> Folded:
    """Fold an execution's whole history."""
    execution, _ = await folded_with_rows(gateway, row)
    return execution


async def folded_with_rows(
    gateway: Gateway, row: ExecutionRow
) -> tuple[Folded, Sequence[HistoryRow]]:
    """Fold an execution's whole history, and return it too."""
    return await folded_as(gateway, await gateway.versions.by_id(row.version_id), row.id)


async def folded_as(
    gateway: Gateway, version: CompiledVersion, execution_id: str
) -> tuple[Folded, Sequence[HistoryRow]]:
    """Fold the whole history of an execution of a version, and return it too.

    Page by page: folding takes long where a loop was large, and other requests have their turn in between.
    """
    rows: list[HistoryRow] = []
    state: ExecutionState | None = None
    async for page in _history_pages(gateway, execution_id):
        rows += page
        if state is None:
            state = fold.replay(version.plan, execution_id, _events(page))
            continue
        for event in _events(page):
            fold.apply(version.plan, state, event)
    assert state is not None, "an execution has a history"
    return Folded(version.plan, state, version.number), rows


def message_of(row: HistoryRow) -> EventMessage:
    """Return a stored event as the API and streams show it."""
    return EventMessage(
        execution_id=row.execution_id,
        seq=row.seq,
        at=row.at,
        kind=row.kind,
        data=msgspec.Raw(row.data),
        node_id=row.node_id,
        iteration=row.iteration,
        attempt=row.attempt,
    )


async def _history_pages(
    gateway: Gateway, execution_id: str
) -> AsyncIterator[Sequence[HistoryRow]]:
    """Yield the whole history of an execution; its first page has the creation."""
    page, limit = await gateway.histories.first(execution_id), FIRST_EVENTS
    after_seq = len(page)
    yield page
    while len(page) == limit:
        limit = HISTORY_PAGE
        page = await db.executions.history(
            gateway.store, execution_id, after_seq=after_seq, limit=limit
        )
        after_seq += len(page)
        yield page


def _events(rows: Sequence[HistoryRow]) -> Iterator[Event]:
    for row in rows:
        data = decode_data(row.kind, row.data)
        yield Event(row.seq, row.at, data, row.node_id, row.iteration, row.attempt)
