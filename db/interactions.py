"""Interactions: questions put to people, who may live in other namespaces. They change with the scheduler's commits alone."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from contracts.interactions import Answer
from db import queries
from db.pages import Page, page_of
from db.store import Row, Store

_SQL: Final = queries.load("interactions")
_decode_answers: Final = msgspec.json.Decoder(tuple[Answer, ...]).decode


class InteractionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A question. `fields`, `choices`, `value` and `answers` are JSON."""

    id: str
    user_id: str
    execution_id: str
    workflow_id: str
    node_id: str
    iteration: tuple[int, ...]
    kind: str
    title: str
    message: str
    fields: bytes
    choices: bytes | None
    value: bytes | None
    editable: bool
    approvers: tuple[str, ...]
    approvals_required: int
    rejections_required: int
    channel: str
    priority: str
    status: str
    answers: bytes
    reminders: int
    reminded_at: datetime | None
    escalated_at: datetime | None
    due_at: datetime | None
    created_at: datetime
    closed_at: datetime | None

    @property
    def is_pending(self) -> bool:
        """Whether it can be answered."""
        return self.status == "PENDING"

    @property
    def answers_read(self) -> tuple[Answer, ...]:
        """What was answered, in order."""
        return _decode_answers(self.answers)


class InteractionFilters(msgspec.Struct, frozen=True, kw_only=True):
    """What a list is narrowed to; of several values of one field any will do, an empty field asks nothing."""

    status: tuple[str, ...] = ()
    execution_id: tuple[str, ...] = ()
    workflow_id: tuple[str, ...] = ()
    due_before: datetime | None = None


async def names(store: Store, user_id: str) -> tuple[str, ...]:
    """Return how a user may be named among the approvers of a question, in lower case."""
    row = await store.fetch_row(_SQL["names_of_user"], user_id)
    return (user_id,) if row is None else tuple(row["names"])


async def get(
    store: Store, user_id: str, interaction_id: str, named: Sequence[str] = ()
) -> InteractionRow | None:
    """Return an interaction of a user, or of anybody in which one of these names stands, or None."""
    row = await store.fetch_row(_SQL["get_interaction"], user_id, interaction_id, named)
    return None if row is None else _interaction(row)


async def page(
    store: Store,
    user_id: str,
    filters: InteractionFilters,
    limit: int,
    after: str | None,
    named: Sequence[str] = (),
) -> Page[InteractionRow]:
    """Return interactions of a user, or of others in which one of these names stands, newest first.

    They follow the id `after`; with them comes the id to go on from.
    """
    rows = await store.fetch(
        _SQL["page_interactions"],
        user_id,
        after,
        limit + 1,
        filters.status or None,
        filters.execution_id or None,
        filters.workflow_id or None,
        filters.due_before,
        named,
    )
    return page_of([_interaction(row) for row in rows], limit, key=lambda row: row.id)


def _interaction(row: Row) -> InteractionRow:
    return InteractionRow(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        execution_id=str(row["execution_id"]),
        workflow_id=str(row["workflow_id"]),
        node_id=row["node_id"],
        iteration=tuple(row["iteration"]),
        kind=row["kind"],
        title=row["title"],
        message=row["message"],
        fields=row["fields"].encode(),
        choices=_bytes(row["choices"]),
        value=_bytes(row["value"]),
        editable=row["editable"],
        approvers=tuple(row["approvers"]),
        approvals_required=row["approvals_required"],
        rejections_required=row["rejections_required"],
        channel=row["channel"],
        priority=row["priority"],
        status=row["status"],
        answers=row["answers"].encode(),
        reminders=row["reminders"],
        reminded_at=row["reminded_at"],
        escalated_at=row["escalated_at"],
        due_at=row["due_at"],
        created_at=row["created_at"],
        closed_at=row["closed_at"],
    )


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else value.encode()
