"""Workflows as they are read: the row that says whose it is, and its view."""

import msgspec
from msgspec import UNSET

import db.workflows
from contracts.ids import is_uuid
from contracts.model import Document, decode_document
from contracts.times import rfc3339
from db.store import Store
from db.versions import VersionRow
from db.workflows import WorkflowRow
from gateway.problems import entry_of, not_found
from gateway.workflow_views import Version, VersionSummary, Workflow, WorkflowSummary


async def read_workflow(store: Store, user_id: str, workflow_id: str) -> WorkflowRow:
    """Return a user's workflow. Raises Refused for unknown, foreign and malformed ids alike."""
    row = await db.workflows.get(store, user_id, workflow_id) if is_uuid(workflow_id) else None
    if row is None:
        raise not_found()
    return row


def draft_of(row: WorkflowRow) -> Document:
    """Return the document of a workflow that was read singly."""
    assert row.draft is not None, "only lists leave the draft out"
    return decode_document(row.draft)


def etag_of(row: WorkflowRow) -> tuple[bytes, bytes]:
    """Return the header that says at which revision a workflow is."""
    return (b"etag", b'"%d"' % row.revision)


def workflow_of(row: WorkflowRow) -> Workflow:
    """Return a workflow as the API shows it."""
    return Workflow(
        **msgspec.structs.asdict(draft_of(row)),
        id=row.id,
        active=row.active,
        valid=not row.problems,
        problems=tuple(map(entry_of, row.problems)),
        revision=row.revision,
        published_version=_published(row),
        created_at=rfc3339(row.created_at),
        updated_at=rfc3339(row.updated_at),
    )


def workflow_summary(row: WorkflowRow) -> WorkflowSummary:
    """Return a workflow as lists show it."""
    return WorkflowSummary(
        id=row.id,
        name=row.name,
        description=row.description,
        tags=row.tags,
        active=row.active,
        valid=not row.problems,
        revision=row.revision,
        published_version=_published(row),
        created_at=rfc3339(row.created_at),
        updated_at=rfc3339(row.updated_at),
    )


def version_of(row: VersionRow) -> Version:
    """Return a numbered version as the API shows it."""
    assert row.document is not None, "only lists leave the document out"
    return Version(
        **msgspec.structs.asdict(version_summary(row)), document=decode_document(row.document)
    )


def version_summary(row: VersionRow) -> VersionSummary:
    """Return a numbered version as lists show it."""
    assert row.version is not None, "snapshots are shown with executions only"
    return VersionSummary(
        id=row.id,
        workflow_id=row.workflow_id,
        version=row.version,
        note=row.note,
        content_hash=row.content_hash,
        created_at=rfc3339(row.created_at),
        created_by=UNSET if row.created_by is None else row.created_by,
    )


def _published(row: WorkflowRow) -> int | msgspec.UnsetType:
    return UNSET if row.published_version is None else row.published_version
