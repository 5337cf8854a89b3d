"""Operations on workflows: the draft that users edit, and the versions that are published from it."""

import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec

import db.versions
import db.workflows
from contracts.ids import is_uuid, uuid7
from contracts.model import Document, decode_document
from contracts.schedules import schedules_of
from contracts.spelling import snake_case
from contracts.webhooks import Webhook, webhooks_of
from db.errors import RevisionMismatch
from db.triggers import EventTrigger
from db.webhooks import WebhookPathTaken
from db.workflows import WorkflowFilters, WorkflowRow
from gateway.answers import NO_CONTENT, Answer, created, ok
from gateway.bodies import Nothing
from gateway.calls import Call
from gateway.pages import DEFAULT_LIMIT, Cursor, Limit, is_number, page_of, read_cursor
from gateway.parameters import At, Number, Text, wrong
from gateway.problems import (
    ErrorEntry,
    Refused,
    entry_of,
    invalid_request,
    not_found,
    unavailable,
)
from gateway.queries import NoQuery
from gateway.services import Gateway
from gateway.webhook_secrets import check_secrets
from gateway.workflow_reading import (
    draft_of,
    etag_of,
    read_workflow,
    version_of,
    version_summary,
    workflow_of,
    workflow_summary,
)
from gateway.workflow_views import OWN_FIELDS, Validation

T = TypeVar("T")

EVENT_TRIGGER: Final = "TRIGGER.EVENT"
WRITE_TRIES: Final = 5
"""How often a change without If-Match is made anew when others change the workflow meanwhile."""


class WorkflowsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a list of workflows is narrowed to."""

    name: tuple[Text, ...] = ()
    search: Text | None = None
    tag: tuple[Text, ...] = ()
    active: bool | None = None
    node_type: tuple[Text, ...] = ()
    created_after: At | None = None
    created_before: At | None = None
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class VersionsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which page of a list."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class PublishBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to publish: the draft, or `from_version`, which makes that one current again."""

    note: Text = ""
    active: bool | None = None
    from_version: Number | None = None


async def create_workflow(gateway: Gateway, call: Call[NoQuery, Any]) -> Answer:
    """Create a workflow from a document."""
    refuse_idempotency_key(call)
    sent = _object(call.body)
    active = _active(sent)
    document, problems = await gateway.documents.savable(_document_fields(sent), call.user_id)
    row = await db.workflows.create(
        gateway.store,
        user_id=call.user_id,
        workflow_id=new_id(),
        document=document,
        problems=problems,
        active=True if active is None else active,
    )
    call.facts["workflow_id"] = row.id
    return created(workflow_of(row), f"/v1/workflows/{row.id}", headers=(etag_of(row),))


async def list_workflows(gateway: Gateway, call: Call[WorkflowsQuery, Nothing]) -> Answer:
    """Answer with the user's workflows, newest first."""
    query = call.query
    filters = WorkflowFilters(
        name=query.name,
        search=query.search,
        tag=query.tag,
        active=query.active,
        node_type=query.node_type,
        created_after=query.created_after,
        created_before=query.created_before,
    )
    after = read_cursor(query.cursor, is_uuid)
    rows, place = await db.workflows.page(gateway.store, call.user_id, filters, query.limit, after)
    return ok(page_of(map(workflow_summary, rows), place))


async def get_workflow(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with a workflow."""
    return _answer(await read_workflow(gateway.store, call.user_id, call.path["workflow_id"]))


async def update_workflow(gateway: Gateway, call: Call[NoQuery, Any]) -> Answer:
    """Change the fields of a draft that were sent; null resets one, a list is replaced whole."""
    sent = _object(call.body)
    active = _active(sent)
    changes = _document_fields(sent)

    async def change(row: WorkflowRow) -> WorkflowRow:
        draft = draft_of(row)
        merged = merge(msgspec.to_builtins(draft), changes)
        document, problems = await gateway.documents.savable(merged, call.user_id, before=draft)
        return await db.workflows.update(
            gateway.store,
            user_id=call.user_id,
            workflow_id=row.id,
            document=document,
            problems=problems,
            active=active,
            received=await _published_webhooks(gateway, row) if active else (),
            expected_revision=row.revision,
        )

    return _answer(await _changed(gateway, call, change))


async def delete_workflow(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Hide a workflow at once, disarm it, and have its executions canceled."""
    if not gateway.bus.is_connected:
        raise unavailable("NATS")

    async def change(row: WorkflowRow) -> tuple[str, ...]:
        return await db.workflows.delete(
            gateway.store,
            user_id=call.user_id,
            workflow_id=row.id,
            expected_revision=row.revision,
        )

    for execution_id in await _changed(gateway, call, change):
        await gateway.starter.publish_cancel(execution_id, user_id=call.user_id)
    return NO_CONTENT


async def validate_document(gateway: Gateway, call: Call[NoQuery, Any]) -> Answer:
    """Answer with everything that is wrong with a document, and with what it reads as."""
    checked = await gateway.documents.check(_document_fields(_object(call.body)), call.user_id)
    return ok(
        Validation(
            valid=not checked.errors,
            errors=tuple(map(entry_of, checked.errors)),
            warnings=tuple(map(entry_of, checked.warnings)),
            document=checked.document,
            manifest=checked.manifest,
        )
    )


async def publish_workflow(gateway: Gateway, call: Call[NoQuery, PublishBody]) -> Answer:
    """Freeze the draft as the next version, or make an older version current again."""
    if call.body.from_version is not None:
        return await _publish_existing(gateway, call, call.body.from_version)

    async def change(row: WorkflowRow) -> tuple[db.versions.VersionRow, bool]:
        document = msgspec.structs.replace(draft_of(row), pin_data={})
        await gateway.documents.check_stored(document, call.user_id)
        received = webhooks_of(document, await gateway.catalogue.current())
        await check_secrets(gateway, call.user_id, document, received)
        return await db.workflows.publish(
            gateway.store,
            user_id=call.user_id,
            workflow_id=row.id,
            version_id=new_id(),
            document=document,
            note=call.body.note,
            created_by=call.user_id,
            active=call.body.active,
            triggers=event_triggers(document),
            schedules=schedules_of(document),
            received=received,
            expected_revision=row.revision,
        )

    return _published(*await _changed(gateway, call, change))


async def activate_workflow(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Arm the triggers of the published version; without one, they are armed by publishing."""
    return await _set_active(gateway, call, active=True)


async def deactivate_workflow(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Disarm the triggers. Executions by API and of children go on."""
    return await _set_active(gateway, call, active=False)


async def list_versions(gateway: Gateway, call: Call[VersionsQuery, Nothing]) -> Answer:
    """Answer with the published versions of a workflow, newest first."""
    workflow = await read_workflow(gateway.store, call.user_id, call.path["workflow_id"])
    after = read_cursor(call.query.cursor, is_number)
    rows, place = await db.versions.page(
        gateway.store,
        call.user_id,
        workflow.id,
        call.query.limit,
        None if after is None else int(after),
    )
    return ok(page_of(map(version_summary, rows), None if place is None else str(place)))


async def get_version(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with a published version."""
    workflow = await read_workflow(gateway.store, call.user_id, call.path["workflow_id"])
    number = call.path["version"]
    if not is_number(number):
        raise not_found()
    row = await db.versions.of_number(gateway.store, call.user_id, workflow.id, int(number))
    if row is None:
        raise not_found()
    return ok(version_of(row))


def new_id() -> str:
    """Return a fresh id."""
    return uuid7(datetime.now(UTC), os.urandom(10))


def merge(stored: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a document with the fields of `changes` in place of its own; null resets a field.

    `settings` is changed by its own fields likewise; everything else is replaced whole.
    """
    merged = dict(stored)
    for name, value in changes.items():
        field = snake_case(name)
        if value is None:
            merged.pop(field, None)
        elif field == "settings" and isinstance(value, dict):
            merged[field] = _merge_settings(stored["settings"], value)
        else:
            merged[field] = value
    return merged


def event_triggers(document: Document) -> tuple[EventTrigger, ...]:
    """Return what a published document listens to."""
    return tuple(
        EventTrigger(node.id, node.parameters["subject"], node.parameters.get("filter"))
        for node in document.nodes
        if node.type == EVENT_TRIGGER and not node.disabled
    )


def refuse_idempotency_key(call: Call[Any, Any]) -> None:
    """Raise Refused for a key where none is kept: to take it silently would promise what is not done."""
    if b"idempotency-key" in call.headers:
        detail = "Idempotency-Key is not supported here yet; send the request without it."
        raise Refused("malformed_request", detail)


def _merge_settings(stored: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    canonical = {snake_case(name): value for name, value in changes.items()}
    kept = {name: value for name, value in stored.items() if name not in canonical}
    if "error_policy" in canonical:  # an older name of on_error, and the one that was sent counts
        kept.pop("on_error", None)
    return kept | {name: value for name, value in canonical.items() if value is not None}


def _object(sent: Any) -> dict[str, Any]:
    if not isinstance(sent, dict):
        raise invalid_request(ErrorEntry("", "invalid_type", "A document is an object."))
    return sent


def _active(sent: dict[str, Any]) -> bool | None:
    active = sent.get("active")
    if active is not None and not isinstance(active, bool):
        raise invalid_request(ErrorEntry("/active", "invalid_type", "`active` is true or false."))
    return active


def _document_fields(sent: dict[str, Any]) -> dict[str, Any]:
    """Return what belongs to the document: what a workflow has besides is ignored when it is sent back."""
    return {name: value for name, value in sent.items() if name not in OWN_FIELDS}


async def _changed(
    gateway: Gateway,
    call: Call[NoQuery, Any],
    change: Callable[[WorkflowRow], Awaitable[T]],
) -> T:
    """Return what `change` makes of the workflow as it is, or as If-Match wants it to be.

    `change` writes only if the revision is still that of the row it was given.
    """
    expected = call.header(b"if-match")
    for _ in range(WRITE_TRIES):
        row = await read_workflow(gateway.store, call.user_id, call.path["workflow_id"])
        if expected is not None and not _matches(expected, row):
            raise _mismatch(row.revision)
        try:
            return await change(row)
        except RevisionMismatch as mismatch:
            if expected is not None:
                raise _mismatch(mismatch.found) from None
        except WebhookPathTaken as taken:
            raise _path_taken(taken.path) from None
    raise Refused("revision_mismatch", "Others change this workflow all the time. Try again.")


async def _published_webhooks(gateway: Gateway, row: WorkflowRow) -> tuple[Webhook, ...]:
    """Return where the published version of a workflow receives deliveries, while it is active."""
    if row.published_version_id is None:
        return ()
    published = await gateway.versions.by_id(row.published_version_id)
    return webhooks_of(published.document, await gateway.catalogue.current())


def _path_taken(path: str) -> Refused:
    detail = (
        f"Another active workflow receives deliveries at the path `{path}`. Choose another path, or "
        "leave it out to get a random one."
    )
    return Refused("webhook_path_taken", detail)


def _matches(expected: str, row: WorkflowRow) -> bool:
    tags = {tag.strip() for tag in expected.split(",")}
    return "*" in tags or f'"{row.revision}"' in tags


def _mismatch(found: int) -> Refused:
    return Refused(
        "revision_mismatch", f"The workflow is at revision {found}. Read it again, then change it."
    )


def _answer(row: WorkflowRow) -> Answer:
    return ok(workflow_of(row), headers=(etag_of(row),))


async def _publish_existing(
    gateway: Gateway, call: Call[NoQuery, PublishBody], number: int
) -> Answer:
    async def change(row: WorkflowRow) -> tuple[db.versions.VersionRow, bool]:
        chosen = await db.versions.of_number(gateway.store, call.user_id, row.id, number)
        if chosen is None or chosen.document is None:
            raise invalid_request(wrong("/from_version", f"There is no version {number}."))
        document = decode_document(chosen.document)
        await gateway.documents.check_stored(document, call.user_id)
        received = webhooks_of(document, await gateway.catalogue.current())
        await check_secrets(gateway, call.user_id, document, received)
        return await db.workflows.publish_existing(
            gateway.store,
            user_id=call.user_id,
            workflow_id=row.id,
            version=number,
            active=call.body.active,
            triggers=event_triggers(document),
            schedules=schedules_of(document),
            received=received,
            expected_revision=row.revision,
        )

    return _published(*await _changed(gateway, call, change))


def _published(version: db.versions.VersionRow, is_new: bool) -> Answer:
    view = version_of(version)
    if not is_new:
        return ok(view)
    return created(view, f"/v1/workflows/{version.workflow_id}/versions/{version.version}")


async def _set_active(gateway: Gateway, call: Call[NoQuery, Nothing], *, active: bool) -> Answer:
    async def change(row: WorkflowRow) -> WorkflowRow:
        triggers: tuple[EventTrigger, ...] = ()
        if active and row.published_version_id is not None:
            published = await gateway.versions.by_id(row.published_version_id)
            triggers = event_triggers(published.document)
        return await db.workflows.set_active(
            gateway.store,
            user_id=call.user_id,
            workflow_id=row.id,
            active=active,
            triggers=triggers,
            received=await _published_webhooks(gateway, row) if active else (),
            expected_revision=row.revision,
        )

    return _answer(await _changed(gateway, call, change))
