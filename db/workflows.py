"""Workflows: drafts that users edit, and the versions that are published from them.

Every change that a user can see raises `revision`, which the API hands out as ETag. Changes of one workflow follow each other:
each transaction begins by locking its row.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from contracts.model import Document, encode_document
from contracts.problems import Problem
from contracts.schedules import Schedule
from contracts.webhooks import Webhook
from db import errors, projections, queries, schedules, triggers, versions, webhooks
from db.pages import Page, page_of
from db.store import Row, Session, Store
from db.triggers import EventTrigger
from db.versions import VersionRow

_SQL: Final = queries.load("workflows")
_decode_problems: Final = msgspec.json.Decoder(tuple[Problem, ...]).decode


class WorkflowRow(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow. `draft` is its encoded document, None in lists; `published_version` is a number, None: never published."""

    id: str
    user_id: str
    name: str
    description: str
    draft: bytes | None
    problems: tuple[Problem, ...]
    active: bool
    revision: int
    published_version: int | None
    published_version_id: str | None
    created_at: datetime
    updated_at: datetime
    tags: tuple[str, ...]


class WorkflowHead(msgspec.Struct, frozen=True):
    """What starting an execution needs to know of a workflow."""

    id: str
    user_id: str
    revision: int
    published_version_id: str | None


class WorkflowFilters(msgspec.Struct, frozen=True, kw_only=True):
    """What a list is narrowed to; of several values of one field any will do, an empty field asks nothing.

    `search` is looked for in name and description; `node_type` is written `TYPE.SUBTYPE`.
    """

    name: tuple[str, ...] = ()
    search: str | None = None
    tag: tuple[str, ...] = ()
    active: bool | None = None
    node_type: tuple[str, ...] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None


async def create(
    store: Store,
    *,
    user_id: str,
    workflow_id: str,
    document: Document,
    problems: Sequence[Problem],
    active: bool,
) -> WorkflowRow:
    """Create a workflow. Raises Conflict if the id is taken or the user unknown."""
    encoded = encode_document(document)
    async with store.transaction() as session:
        await session.execute(
            _SQL["insert_workflow"],
            workflow_id,
            user_id,
            document.name,
            document.description,
            encoded.decode(),
            content_hash(encoded),
            _json(problems),
            active,
            document.tags,
        )
        await projections.write(session, workflow_id, document)
        return await _read(session, user_id, workflow_id)


async def get(store: Store, user_id: str, workflow_id: str) -> WorkflowRow | None:
    """Return a user's workflow with its draft, or None."""
    row = await store.fetch_row(_SQL["get_workflow"], user_id, workflow_id)
    return None if row is None else _workflow(row, with_draft=True)


async def heads(
    store: Store, keys: Sequence[tuple[str, str]]
) -> Mapping[tuple[str, str], WorkflowHead]:
    """Return what there is of workflows that are asked for by user and id, by these."""
    rows = await store.fetch(
        _SQL["get_workflow_heads"], [user for user, _ in keys], [each for _, each in keys]
    )
    found = (
        WorkflowHead(
            str(row["id"]), str(row["user_id"]), row["revision"], _text(row["published_version_id"])
        )
        for row in rows
    )
    return {(head.user_id, head.id): head for head in found}


async def page(
    store: Store, user_id: str, filters: WorkflowFilters, limit: int, after: str | None
) -> Page[WorkflowRow]:
    """Return a user's workflows, newest first, that follow the id `after`, and the id to go on from."""
    rows = await store.fetch(
        _SQL["page_workflows"],
        user_id,
        after,
        limit + 1,
        filters.name or None,
        filters.search,
        filters.tag or None,
        filters.active,
        filters.node_type or None,
        filters.created_after,
        filters.created_before,
    )
    found = [_workflow(row, with_draft=False) for row in rows]
    return page_of(found, limit, key=lambda row: row.id)


async def update(
    store: Store,
    *,
    user_id: str,
    workflow_id: str,
    document: Document,
    problems: Sequence[Problem],
    active: bool | None,
    received: Sequence[Webhook] = (),
    expected_revision: int | None,
) -> WorkflowRow:
    """Replace the draft; nothing published changes, but `active` arms or disarms.

    `received` are the webhooks of the published version. Raises NotFound, RevisionMismatch, WebhookPathTaken.
    """
    encoded = encode_document(document)
    async with store.transaction() as session:
        workflow = await _lock(session, user_id, workflow_id, expected_revision)
        await session.execute(
            _SQL["update_workflow"],
            workflow_id,
            document.name,
            document.description,
            encoded.decode(),
            content_hash(encoded),
            _json(problems),
            active,
            document.tags,
        )
        await schedules.arm(session, workflow_id)
        if active is not None:
            await webhooks.replace(
                session, user_id, workflow_id, workflow.published_version_id, received
            )
        await projections.write(session, workflow_id, document)
        return await _read(session, user_id, workflow_id)


async def delete(
    store: Store, *, user_id: str, workflow_id: str, expected_revision: int | None = None
) -> tuple[str, ...]:
    """Hide a workflow, disarm it, and return the ids of its executions that are not over, to cancel them.

    Raises NotFound, RevisionMismatch.
    """
    async with store.transaction() as session:
        await _lock(session, user_id, workflow_id, expected_revision)
        await session.execute(_SQL["hide_workflow"], workflow_id)
        await triggers.replace(session, user_id, workflow_id, None, ())
        await webhooks.replace(session, user_id, workflow_id, None, ())
        await schedules.replace(session, user_id, workflow_id, ())
        rows = await session.fetch(_SQL["unfinished_executions"], workflow_id)
    return tuple(str(row["id"]) for row in rows)


async def set_active(
    store: Store,
    *,
    user_id: str,
    workflow_id: str,
    active: bool,
    triggers: Sequence[EventTrigger],
    received: Sequence[Webhook] = (),
    expected_revision: int | None = None,
) -> WorkflowRow:
    """Arm the triggers of the published version, or disarm them; `received` are its webhooks.

    Raises NotFound, RevisionMismatch, WebhookPathTaken.
    """
    async with store.transaction() as session:
        workflow = await _lock(session, user_id, workflow_id, expected_revision)
        await _set_published(
            session, workflow, workflow.published_version_id, workflow.last_version, active
        )
        if active:
            await _arm(session, workflow, workflow.published_version_id, triggers, received)
        else:
            await webhooks.replace(session, user_id, workflow_id, None, ())
        return await _read(session, user_id, workflow_id)


async def publish(
    store: Store,
    *,
    user_id: str,
    workflow_id: str,
    version_id: str,
    document: Document,
    note: str,
    created_by: str | None,
    active: bool | None,
    triggers: Sequence[EventTrigger],
    schedules: Sequence[Schedule] = (),
    received: Sequence[Webhook] = (),
    expected_revision: int | None = None,
) -> tuple[VersionRow, bool]:
    """Freeze a document as the next version and make it the published one; says whether there is a new version.

    A document equal to the published one makes no new version. Raises NotFound, RevisionMismatch, WebhookPathTaken.
    """
    encoded = encode_document(document)
    hash_ = content_hash(encoded)
    async with store.transaction() as session:
        workflow = await _lock(session, user_id, workflow_id, expected_revision)
        current = await versions.of_id(session, workflow.published_version_id)
        is_new = current is None or current.content_hash != hash_
        number = workflow.last_version + 1 if is_new else workflow.last_version
        if is_new:
            current = await versions.insert(
                session,
                version_id=version_id,
                workflow_id=workflow_id,
                number=number,
                content_hash=hash_,
                document=encoded,
                note=note,
                created_by=created_by,
            )
        assert current is not None
        await _set_published(session, workflow, current.id, number, active)
        await _arm(session, workflow, current.id, triggers, received)
        await _schedule(session, workflow, schedules)
        return current, is_new


async def publish_existing(
    store: Store,
    *,
    user_id: str,
    workflow_id: str,
    version: int,
    active: bool | None,
    triggers: Sequence[EventTrigger],
    schedules: Sequence[Schedule] = (),
    received: Sequence[Webhook] = (),
    expected_revision: int | None = None,
) -> tuple[VersionRow, bool]:
    """Make an older version the published one again; says whether it was another before.

    `triggers`, `schedules` and `received` are those of that version.
    Raises NotFound, RevisionMismatch, WebhookPathTaken.
    """
    async with store.transaction() as session:
        workflow = await _lock(session, user_id, workflow_id, expected_revision)
        chosen = await versions.of_number(session, user_id, workflow_id, version)
        if chosen is None:
            raise errors.NotFound("version", str(version))
        await _set_published(session, workflow, chosen.id, workflow.last_version, active)
        await _arm(session, workflow, chosen.id, triggers, received)
        await _schedule(session, workflow, schedules)
        return chosen, chosen.id != workflow.published_version_id


async def snapshot(
    store: Store, *, user_id: str, workflow_id: str, version_id: str, document: Document
) -> str:
    """Keep a draft as an immutable version without a number, and return its id; equal ones are kept once.

    Raises NotFound.
    """
    encoded = encode_document(document)
    hash_ = content_hash(encoded)
    kept = await versions.snapshot_of(store, user_id, workflow_id, hash_)
    if kept is not None:
        return kept
    if await store.fetch_row(_SQL["find_workflow"], user_id, workflow_id) is None:
        raise errors.NotFound("workflow", workflow_id)
    await versions.insert_snapshot(
        store,
        version_id=version_id,
        workflow_id=workflow_id,
        content_hash=hash_,
        document=encoded,
    )
    kept = await versions.snapshot_of(store, user_id, workflow_id, hash_)
    if kept is None:
        raise errors.NotFound("workflow", workflow_id)
    return kept


def content_hash(encoded: bytes) -> str:
    """Return what tells documents apart: the SHA-256 of their encoded form."""
    return hashlib.sha256(encoded).hexdigest()


class _Locked(msgspec.Struct, frozen=True):
    """What a transaction has to know of the workflow that it changes."""

    id: str
    user_id: str
    last_version: int
    published_version_id: str | None


async def _lock(
    session: Session, user_id: str, workflow_id: str, expected_revision: int | None
) -> _Locked:
    row = await session.fetch_row(_SQL["lock_workflow"], user_id, workflow_id)
    if row is None:
        raise errors.NotFound("workflow", workflow_id)
    found = row["revision"]
    if expected_revision is not None and found != expected_revision:
        raise errors.RevisionMismatch(workflow_id, expected=expected_revision, found=found)
    return _Locked(workflow_id, user_id, row["last_version"], _text(row["published_version_id"]))


async def _set_published(
    session: Session,
    workflow: _Locked,
    version_id: str | None,
    last_version: int,
    active: bool | None,
) -> None:
    """Write what differs; without a difference the revision stays. Schedules begin, or are disarmed, with `active`."""
    await session.execute(_SQL["set_published"], workflow.id, version_id, last_version, active)
    await schedules.arm(session, workflow.id)


async def _arm(
    session: Session,
    workflow: _Locked,
    version_id: str | None,
    wanted: Sequence[EventTrigger],
    received: Sequence[Webhook],
) -> None:
    """Replace the triggers by those of the published version; whether they are armed is for `active` to say."""
    await triggers.replace(session, workflow.user_id, workflow.id, version_id, wanted)
    await webhooks.replace(session, workflow.user_id, workflow.id, version_id, received)


async def _schedule(session: Session, workflow: _Locked, wanted: Sequence[Schedule]) -> None:
    """Replace the schedules by those of the published version."""
    await schedules.replace(session, workflow.user_id, workflow.id, wanted)


async def _read(session: Session, user_id: str, workflow_id: str) -> WorkflowRow:
    row = await session.fetch_row(_SQL["get_workflow"], user_id, workflow_id)
    assert row is not None, "the row was just written, or is locked"
    return _workflow(row, with_draft=True)


def _workflow(row: Row, *, with_draft: bool) -> WorkflowRow:
    return WorkflowRow(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        name=row["name"],
        description=row["description"],
        draft=row["draft"].encode() if with_draft else None,
        problems=_decode_problems(row["problems"]),
        active=row["active"],
        revision=row["revision"],
        published_version=row["published_version"],
        published_version_id=_text(row["published_version_id"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        tags=tuple(row["tags"]),
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _text(value: object) -> str | None:
    return None if value is None else str(value)
