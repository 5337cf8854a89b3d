"""Executions as they are read: the row that says whose it is, and the fold of its history."""

from collections.abc import Iterator, Sequence
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
from gateway.problems import not_found
from gateway.services import Gateway

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
    version = await gateway.versions.by_id(row.version_id)
    rows = await _whole_history(gateway.store, row.id)
    state = fold.replay(version.plan, row.id, _events(rows))
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


async def _whole_history(store: Store, execution_id: str) -> Sequence[HistoryRow]:
    rows: list[HistoryRow] = []
    while True:
        page = await db.executions.history(
            store, execution_id, after_seq=len(rows), limit=HISTORY_PAGE
        )
        rows += page
        if len(page) < HISTORY_PAGE:
            return rows


def _events(rows: Sequence[HistoryRow]) -> Iterator[Event]:
    for row in rows:
        data = decode_data(row.kind, row.data)
        yield Event(row.seq, row.at, data, row.node_id, row.iteration, row.attempt)
