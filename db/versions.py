"""Workflow versions: immutable documents. Published ones are numbered, snapshots of a draft are not."""

from datetime import datetime
from typing import Final

import msgspec

from contracts.model import Document, decode_document
from db import queries
from db.store import Row, Session, Store

_SQL: Final = queries.load("versions")


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A version; `document` is its encoded form, None in lists."""

    id: str
    workflow_id: str
    version: int | None
    content_hash: str
    note: str
    created_by: str | None
    created_at: datetime
    document: bytes | None


class StoredVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version as a plan is made from it."""

    version_id: str
    workflow_id: str
    workflow_name: str
    user_id: str
    version: int | None
    document: Document


async def load(store: Store, version_id: str) -> StoredVersion | None:
    """Return a version, also of a workflow that was deleted meanwhile, or None."""
    row = await store.fetch_row(_SQL["load_version"], version_id)
    if row is None:
        return None
    return StoredVersion(
        version_id=str(row["id"]),
        workflow_id=str(row["workflow_id"]),
        workflow_name=row["workflow_name"],
        user_id=str(row["user_id"]),
        version=row["version"],
        document=decode_document(row["document"]),
    )


async def of_number(
    session: Store | Session, user_id: str, workflow_id: str, number: int
) -> VersionRow | None:
    """Return a numbered version of a user's workflow, or None."""
    row = await session.fetch_row(_SQL["version_of_number"], user_id, workflow_id, number)
    return None if row is None else _version(row, with_document=True)


async def of_id(session: Session, version_id: str | None) -> VersionRow | None:
    """Return a version, None for None."""
    if version_id is None:
        return None
    row = await session.fetch_row(_SQL["version_of_id"], version_id)
    return None if row is None else _version(row, with_document=True)


async def page(
    store: Store, user_id: str, workflow_id: str, limit: int, after: int | None
) -> tuple[tuple[VersionRow, ...], int | None]:
    """Return the numbered versions below `after`, newest first, without documents, and the number to go on from."""
    rows = await store.fetch(_SQL["page_versions"], user_id, workflow_id, after, limit + 1)
    found = tuple(_version(row, with_document=False) for row in rows[:limit])
    return found, found[-1].version if len(rows) > limit else None


async def insert(
    session: Session,
    *,
    version_id: str,
    workflow_id: str,
    number: int,
    content_hash: str,
    document: bytes,
    note: str,
    created_by: str | None,
) -> VersionRow:
    """Write a numbered version."""
    row = await session.fetch_row(
        _SQL["insert_version"],
        version_id,
        workflow_id,
        number,
        content_hash,
        document.decode(),
        note,
        created_by,
    )
    assert row is not None
    return _version(row, with_document=True)


async def snapshot_of(
    store: Store, user_id: str, workflow_id: str, content_hash: str
) -> str | None:
    """Return the snapshot of this content, or None."""
    row = await store.fetch_row(_SQL["find_snapshot"], user_id, workflow_id, content_hash)
    return None if row is None else str(row["id"])


async def insert_snapshot(
    store: Store, *, version_id: str, workflow_id: str, content_hash: str, document: bytes
) -> None:
    """Write a version without a number, unless there is one of this content."""
    await store.execute(
        _SQL["insert_snapshot"], version_id, workflow_id, content_hash, document.decode()
    )


def _version(row: Row, *, with_document: bool) -> VersionRow:
    return VersionRow(
        id=str(row["id"]),
        workflow_id=str(row["workflow_id"]),
        version=row["version"],
        content_hash=row["content_hash"],
        note=row["note"],
        created_by=None if row["created_by"] is None else str(row["created_by"]),
        created_at=row["created_at"],
        document=row["document"].encode() if with_document else None,
    )
