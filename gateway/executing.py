"""Starting an execution by API."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

import db.executions
import db.idempotency
import db.versions
import db.workflows
from contracts import payloads
from contracts.execution import fold
from contracts.graph import MANUAL_TRIGGER, start_trigger
from contracts.history import ExecutionCreated, TriggerNode
from contracts.model import Document
from contracts.payloads import PayloadLimits
from contracts.problems import Problem, pointer
from contracts.statuses import Mode
from db.executions import NewExecution
from db.workflows import WorkflowHead, WorkflowRow
from gateway.answers import Answer, created, ok
from gateway.calls import Call
from gateway.endings import Expected
from gateway.execution_reading import folded, folded_as, is_over, read_row
from gateway.execution_views import Execution, execution_of
from gateway.executions import WaitQuery, ended
from gateway.input_schemas import BadSchema
from gateway.parameters import Number, Priority, Text, wrong
from gateway.problems import ErrorEntry, Refused, invalid_document, invalid_request, unavailable
from gateway.services import Gateway
from gateway.versions import CompiledVersion
from gateway.workflow_reading import draft_of, read_workflow
from gateway.workflows import new_id

REPLAYED: Final = (b"idempotent-replayed", b"true")
"""Says that an answer is that to an earlier request with the same key."""

_LONGEST_KEY: Final = 255


class ExecuteBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to execute, and with what. `trigger_data` and `input_data` are other names of `input`."""

    input: Any | UnsetType = UNSET
    trigger_data: Any | UnsetType = UNSET
    input_data: Any | UnsetType = UNSET
    trigger_node_id: Text | None = None
    version: Number | Literal["draft"] | None = None
    metadata: dict[Annotated[str, msgspec.Meta(max_length=255)], Any] = {}
    priority: Priority | None = None


async def execute_workflow(gateway: Gateway, call: Call[WaitQuery, ExecuteBody]) -> Answer:
    """Commit a new execution; with `wait`, answer with its end if it comes in time."""
    if not gateway.bus.is_connected:
        raise unavailable("NATS")
    workflow = await gateway.workflow_heads.read(call.user_id, call.path["workflow_id"])
    version = await chosen_version(gateway, workflow, call.body.version)
    new = new_execution(gateway, call, workflow, version, call.body)
    key = idempotency_key(call, "Idempotency-Key")
    if key is not None:
        route = f"POST /v1/workflows/{workflow.id}/execute"
        new = msgspec.structs.replace(
            new, idempotency=(route, key), request_hash=hash_of(call.body)
        )
    await check_input(gateway, version, new.created.trigger, call.body)
    return await accepted(gateway, call, new, version, wait=call.query.wait)


async def accepted(
    gateway: Gateway,
    call: Call[Any, Any],
    new: NewExecution,
    version: CompiledVersion,
    *,
    wait: float = 0,
) -> Answer:
    """Commit a new execution, and answer with it, or with the one that its key has started before.

    With `wait`, the answer is its end if that comes within so many seconds.
    """
    with gateway.endings.expecting(new.id) as expected:
        if not await gateway.starter.create(new):
            return await _replayed(gateway, call, new, wait)
        call.facts["execution_id"] = new.id
        if not wait:
            state = fold.replay(version.plan, new.id, new.events)
            view = execution_of(state, version=version.number)
            return created(view, location_of(new.id), status=202)
        over = await expected.wait(wait, lambda: _over(gateway, new, version, expected))
    if over is not None:
        return ok(over)
    folded_, _ = await folded_as(gateway, version, new.id)  # it went on while we waited
    return created(folded_.view, location_of(new.id), status=202)


async def _over(
    gateway: Gateway, new: NewExecution, version: CompiledVersion, expected: Expected
) -> Execution | None:
    """Return an execution if it is over. Without word of its end, the row is asked before a long history is read."""
    if not expected.is_heard and not is_over(await read_row(gateway.store, new.user_id, new.id)):
        return None
    view = (await folded_as(gateway, version, new.id))[0].view
    return view if view.status.is_terminal else None


async def chosen_version(
    gateway: Gateway, workflow: WorkflowHead | WorkflowRow, asked: int | str | None
) -> CompiledVersion:
    """Return the version to execute: what is asked for, else the published one, else the draft."""
    if isinstance(asked, int):
        row = await db.versions.of_number(gateway.store, workflow.user_id, workflow.id, asked)
        if row is None:
            raise invalid_request(wrong("/version", f"There is no version {asked}."))
        return await gateway.versions.by_id(row.id)
    if asked is None and workflow.published_version_id is not None:
        return await gateway.versions.by_id(workflow.published_version_id)
    return await gateway.versions.by_id(await _snapshot(gateway, workflow))


async def _snapshot(gateway: Gateway, head: WorkflowHead | WorkflowRow) -> str:
    """Return the version that the draft is kept as. Raises Refused for a draft that cannot run."""
    known = gateway.versions.snapshot(head.id, head.revision)
    if known is not None:
        return known
    workflow = await read_workflow(gateway.store, head.user_id, head.id)
    document = draft_of(workflow)
    await gateway.documents.check_stored(document, workflow.user_id)
    version_id = await db.workflows.snapshot(
        gateway.store,
        user_id=workflow.user_id,
        workflow_id=workflow.id,
        version_id=new_id(),
        document=document,
    )
    gateway.versions.keep_snapshot(workflow.id, workflow.revision, version_id)
    return version_id


def new_execution(
    gateway: Gateway,
    call: Call[Any, Any],
    workflow: WorkflowHead | WorkflowRow,
    version: CompiledVersion,
    body: ExecuteBody,
) -> NewExecution:
    """Return the execution that a body asks for. Raises Refused."""
    document, limits = version.document, gateway.settings.limits
    _check_metadata(body.metadata, limits.metadata_bytes)
    priority = document.settings.priority if body.priority is None else body.priority
    value = raw_of(*_given_input(body), limits.payloads)
    return NewExecution(
        id=new_id(),
        user_id=call.user_id,
        workflow_id=workflow.id,
        version_id=version.id,
        mode=Mode.MANUAL,
        priority=priority,
        metadata=body.metadata,
        created=ExecutionCreated(
            workflow_id=workflow.id,
            version_id=version.id,
            user_id=call.user_id,
            mode=Mode.MANUAL,
            input=value,
            trigger=_trigger(document, body.trigger_node_id),
            slot=gateway.documents.slot(document, value),
            priority=priority,
            metadata=body.metadata,
            traceparent=call.trace.traceparent,
        ),
        at=datetime.now(UTC),
    ).lightened(limits.payloads)


def raw_of(name: str, value: Any, limits: PayloadLimits) -> msgspec.Raw:
    """Return the value of a field as bytes. Raises Refused for one that is too large, or has a reference in it."""
    encoded = msgspec.json.encode(value)
    if len(encoded) > limits.value:
        detail = (
            f"`{name}` has {len(encoded)} bytes; the limit is {limits.value} (LIMIT_VALUE_BYTES)."
        )
        raise Refused("body_too_large", detail)
    if payloads.may_refer(encoded) and payloads.holds_reserved_key(value):
        raise invalid_request(
            wrong(pointer(name), f"`{payloads.KEY}` alone in an object is the engine's.")
        )
    return msgspec.Raw(encoded)


def _given_input(body: ExecuteBody) -> tuple[str, Any]:
    """Return the input, and the name under which it came."""
    given = _posted(body)
    if len(given) > 1:
        names = " and ".join(f"`{name}`" for name in given)
        raise invalid_request(wrong(f"/{list(given)[-1]}", f"{names} mean the same; send one."))
    return next(iter(given.items()), ("input", {}))


def _posted(body: ExecuteBody) -> dict[str, Any]:
    """Return what was posted under each name that means the input."""
    return {
        name: value
        for name in ("input", "trigger_data", "input_data")
        if (value := getattr(body, name)) is not UNSET
    }


async def check_input(
    gateway: Gateway, version: CompiledVersion, trigger: TriggerNode | None, body: ExecuteBody
) -> None:
    """Raise Refused for an input that the start trigger's `input_schema` does not allow.

    None was posted to a trigger whose pin stands for what it yields: there is nothing to check.
    """
    node = None if trigger is None else version.document.node(trigger.node_id)
    if node is None or node.type != MANUAL_TRIGGER:
        return
    schema = node.parameters.get("input_schema")
    if schema is None:
        return
    if node.id in version.document.pin_data and not _posted(body):
        return
    name, value = _given_input(body)
    key = (version.id, node.id)
    try:
        errors = await gateway.input_schemas.misfits(key, schema, value, pointer(name))
    except BadSchema as error:  # published before schemas were judged as they are now
        place = pointer("nodes", version.document.nodes.index(node), "parameters", "input_schema")
        message = f"input_schema {error}"
        problem = Problem(place, "invalid_parameter", message, node.id)
        raise invalid_document((problem,)) from None
    if errors:
        raise invalid_request(*errors)


def _trigger(document: Document, asked: str | None) -> TriggerNode | None:
    chosen = start_trigger(document, asked)
    node = None if chosen is None else document.node(chosen)
    if node is not None:
        return TriggerNode(node.id, node.type)
    if asked is not None:
        message = f"The workflow has no enabled trigger `{asked:.100}`."
        raise invalid_request(wrong("/trigger_node_id", message))
    return None


def _check_metadata(metadata: dict[str, Any], limit: int) -> None:
    size = len(msgspec.json.encode(metadata)) if metadata else 0
    if size > limit:
        entry = ErrorEntry("/metadata", "limit_exceeded", f"{size} bytes; the limit is {limit}.")
        raise Refused("limit_exceeded", entry.message, errors=(entry,))


async def _replayed(
    gateway: Gateway, call: Call[Any, Any], new: NewExecution, wait: float
) -> Answer:
    """Answer a repeated request with the execution that the first one started."""
    execution_id, request_hash = await started_before(gateway, new)
    if request_hash != new.request_hash:
        raise Refused(
            "idempotency_key_reused", "This key came with another body before. Use a new key."
        )
    call.facts["execution_id"] = execution_id
    row = await read_row(gateway.store, call.user_id, execution_id)
    if wait and (over := await ended(gateway, row, wait)):
        return ok((await folded(gateway, over)).view, headers=(REPLAYED,))
    view = (await folded(gateway, row)).view
    return created(view, location_of(row.id), status=202, headers=(REPLAYED,))


async def started_before(gateway: Gateway, new: NewExecution) -> tuple[str, bytes]:
    """Return the execution that was started under the key of `new`, and the hash of its request."""
    assert new.idempotency is not None, "a fresh id is never taken"
    first = await db.idempotency.find(gateway.store, new.user_id, *new.idempotency)
    if first is None or first.resource_id is None:
        raise Refused("idempotency_in_progress", "Repeat the request in a moment.", retry_after=1)
    return first.resource_id, first.request_hash


def idempotency_key(call: Call[Any, Any], *headers: str) -> str | None:
    """Return the key in the first of these headers that is there, or None. Raises Refused."""
    for name in headers:
        key = call.header(name.lower().encode())
        if key is not None and not (1 <= len(key) <= _LONGEST_KEY and key.isprintable()):
            raise Refused("malformed_request", f"{name} has 1 to 255 printable characters.")
        if key is not None:
            return key
    return None


def hash_of(body: msgspec.Struct) -> bytes:
    """Return what tells a repeated request from another one under its key."""
    return hashlib.sha256(msgspec.json.encode(body, order="deterministic")).digest()


def location_of(execution_id: str) -> str:
    """Return the path of an execution."""
    return f"/v1/executions/{execution_id}"
