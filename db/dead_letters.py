"""Dead letters: messages that nobody could read or finish, kept as they came for an operator."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from db import queries
from db.pages import Page, page_of
from db.store import Row, Session, Store

_SQL: Final = queries.load("dead_letters")


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message to keep. `user_id` is None if it belongs to nobody; then admins see it."""

    id: str
    user_id: str | None
    source: str
    reason: str
    subject: str
    headers: dict[str, str] = {}
    body: bytes
    error: str = ""
    execution_id: str | None = None
    node_id: str | None = None


class DeadLetterRow(DeadLetter, frozen=True, kw_only=True):
    """A dead letter as it is kept; the last two say when it was put back to work, and as which execution."""

    created_at: datetime
    redriven_at: datetime | None
    redriven_as: str | None


class DeadLetterFilters(msgspec.Struct, frozen=True, kw_only=True):
    """What a list is narrowed to; of several values of one field any will do, an empty field asks nothing."""

    source: tuple[str, ...] = ()
    reason: tuple[str, ...] = ()
    execution_id: tuple[str, ...] = ()
    created_before: datetime | None = None


async def add(store: Store, letters: Sequence[DeadLetter]) -> None:
    """Keep dead letters; one of a known id is kept once."""
    if letters:
        await store.execute(_SQL["add_dead_letters"], *zip(*map(_columns, letters), strict=True))


async def get(store: Store, user_id: str | None, letter_id: str) -> DeadLetterRow | None:
    """Return a dead letter of a user, or for None one that belongs to nobody."""
    row = await store.fetch_row(_SQL["get_dead_letter"], user_id, letter_id)
    return None if row is None else _letter(row)


async def page(
    store: Store,
    user_id: str | None,
    filters: DeadLetterFilters,
    limit: int,
    after: str | None,
    *,
    with_nobodys: bool = False,
) -> Page[DeadLetterRow]:
    """Return the dead letters of a user, or for None of nobody, newest first, and the id to go on from.

    `with_nobodys` adds those that belong to nobody to those of the user.
    """
    rows = await store.fetch(
        _SQL["page_dead_letters"],
        user_id,
        after,
        limit + 1,
        filters.source or None,
        filters.reason or None,
        filters.execution_id or None,
        filters.created_before,
        with_nobodys,
    )
    return page_of([_letter(row) for row in rows], limit, key=lambda row: row.id)


async def hold(session: Session, letter_ids: Sequence[str]) -> frozenset[str]:
    """Return which of these messages nobody put back to work yet; until the end of the transaction nobody else can."""
    rows = await session.fetch(_SQL["hold_messages"], letter_ids)
    return frozenset(str(row["id"]) for row in rows)


async def mark_redriven(session: Session, letter_ids: Sequence[str]) -> None:
    """Say that messages were put back to work."""
    await session.execute(_SQL["mark_redriven"], letter_ids)


async def redrive_tasks(session: Session, letter: DeadLetterRow, execution_id: str) -> bool:
    """Let an execution stand for a task, and for the other tasks of its execution that nobody put back to work yet.

    False, and nothing happens, if somebody was faster.
    """
    rows = await session.fetch(
        _SQL["redrive_tasks"], letter.user_id, letter.execution_id, letter.id, execution_id
    )
    return bool(rows)


async def delete(store: Store, letter_id: str) -> None:
    """Forget a dead letter."""
    await store.execute(_SQL["delete_dead_letter"], letter_id)


def _columns(letter: DeadLetter) -> tuple[object, ...]:
    return (
        letter.id,
        letter.user_id,
        letter.source,
        letter.reason,
        letter.subject,
        msgspec.json.encode(letter.headers).decode(),
        letter.body,
        letter.error,
        letter.execution_id,
        letter.node_id,
    )


def _letter(row: Row) -> DeadLetterRow:
    return DeadLetterRow(
        id=str(row["id"]),
        user_id=_text(row["user_id"]),
        source=row["source"],
        reason=row["reason"],
        subject=row["subject"],
        headers=msgspec.json.decode(row["headers"]),
        body=row["body"],
        error=row["error"],
        execution_id=_text(row["execution_id"]),
        node_id=row["node_id"],
        created_at=row["created_at"],
        redriven_at=row["redriven_at"],
        redriven_as=_text(row["redriven_as"]),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
