"""Executions that follow from others: a retry, a rerun, a fork; and one node alone, on what others have yielded.

The old execution never changes. What the new one takes over is decided by `contracts.execution.carry`, and
committed with its creation.
"""

from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

import db.workflows
from contracts import payloads
from contracts.execution import carry
from contracts.execution.plan import Plan, PlannedNode
from contracts.execution.state import ExecutionState
from contracts.graph import start_trigger
from contracts.history import (
    CarriedRun,
    ExecutionCreated,
    Forked,
    MaybeRaw,
    Slot,
    TriggerNode,
)
from contracts.model import Document
from contracts.statuses import ExecutionStatus, Mode
from db.executions import ExecutionRow, NewExecution
from db.workflows import WorkflowRow
from gateway.answers import Answer
from gateway.calls import Call
from gateway.executing import accepted, chosen_version, hash_of, idempotency_key, raw_of
from gateway.execution_reading import Folded, find_row, folded, is_over, read_row
from gateway.executions import WaitQuery
from gateway.parameters import Number, Text, Uuid, wrong
from gateway.payloads import whole
from gateway.problems import Refused, invalid_request, not_found, unavailable
from gateway.queries import NoQuery
from gateway.services import Gateway
from gateway.versions import CompiledVersion
from gateway.workflow_reading import read_workflow
from gateway.workflows import new_id

From = Literal["FAILED", "START"]
OldVersion = Number | Literal["same", "published", "draft"]

FAILED: Final = "FAILED"


class RetryBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From where an execution is tried again, and under which version."""

    from_: From = msgspec.field(name="from", default="FAILED")
    version: OldVersion = "same"


class ForkBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """At which node an execution is forked, with what in place of its input, and under which version."""

    node_id: Text
    input: Any | UnsetType = UNSET
    version: OldVersion = "same"


class NodeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a node alone is executed with: its input, parameters laid over its own, and whose outputs it may name."""

    input: Any = {}
    parameters: dict[str, Any] = {}
    version: Number | Literal["published", "draft"] = "draft"
    upstream_from: Uuid | None = None


async def retry_execution(gateway: Gateway, call: Call[NoQuery, RetryBody]) -> Answer:
    """Start an execution that takes over what succeeded in an old one, or begins it anew."""
    check_bus(gateway)
    row = await read_row(gateway.store, call.user_id, call.path["execution_id"])
    new, version = await retried(
        gateway,
        row,
        from_=call.body.from_,
        version=call.body.version,
        traceparent=call.trace.traceparent,
    )
    route = f"POST /v1/executions/{row.id}/retry"
    return await accepted(gateway, call, _keyed(new, call, route), version)


async def fork_execution(gateway: Gateway, call: Call[NoQuery, ForkBody]) -> Answer:
    """Start an execution that takes over all that does not lie behind a node of an old one."""
    check_bus(gateway)
    row = await read_row(gateway.store, call.user_id, call.path["execution_id"])
    old = await folded(gateway, row)
    version = await _version(gateway, row, call.body.version)
    node = _forkable(old, version.plan, call.body.node_id)
    limits = gateway.settings.limits.payloads
    given = call.body.input
    value: MaybeRaw = UNSET if given is UNSET else raw_of("input", given, limits)
    light, large = payloads.moved(value, limits)
    created = await _created(gateway, old, version, call.trace.traceparent)
    created = msgspec.structs.replace(created, forked_from=Forked(row.id, node.id))
    if node.is_trigger and light is not UNSET:
        created = msgspec.structs.replace(created, input=light)
    carried = carry.carried_for_fork(old.plan, old.state, version.plan, node.id, light)
    new = _new(call.user_id, row.workflow_id, created, carried, large)
    route = f"POST /v1/executions/{row.id}/fork"
    return await accepted(gateway, call, _keyed(new, call, route), version)


async def execute_node(gateway: Gateway, call: Call[WaitQuery, NodeBody]) -> Answer:
    """Start an execution of one node alone, with what is lent to it."""
    check_bus(gateway)
    workflow = await read_workflow(gateway.store, call.user_id, call.path["workflow_id"])
    version = await _of_workflow(gateway, workflow, call.body.version)
    if call.body.parameters:
        version = await _laid_over(gateway, call, workflow, version)
    node = _executable(version, call.path["node_id"])
    upstream = await _upstream(gateway, call, workflow)
    limits = gateway.settings.limits.payloads
    value, large = payloads.moved(raw_of("input", call.body.input, limits), limits)
    state = upstream.state if upstream else None
    created = ExecutionCreated(
        workflow_id=workflow.id,
        version_id=version.id,
        user_id=call.user_id,
        mode=Mode.MANUAL,
        input=value if state is None else state.created.input,
        trigger=None if state is None else state.created.trigger,
        single_node_id=node.id,
        priority=version.document.settings.priority,
        traceparent=call.trace.traceparent,
    )
    carried = () if state is None else carry.carried_for_node(state, version.plan, node.id, value)
    new = _new(call.user_id, workflow.id, created, carried, large)
    route = f"POST /v1/workflows/{workflow.id}/nodes/{node.id}/execute"
    return await accepted(gateway, call, _keyed(new, call, route), version, wait=call.query.wait)


async def retried(
    gateway: Gateway,
    row: ExecutionRow,
    *,
    from_: From,
    version: OldVersion = "same",
    traceparent: str | None,
) -> tuple[NewExecution, CompiledVersion]:
    """Return the execution that tries an old one again, and its version. Raises Refused."""
    if not is_over(row):
        detail = f"The execution is {row.status}; cancel it, or wait for its end."
        raise Refused("not_finished", detail)
    if from_ == FAILED and row.status == ExecutionStatus.SUCCESS:
        detail = "The execution succeeded: there is nothing to try again. START runs all of it."
        raise Refused("already_finished", detail)
    old = await folded(gateway, row)
    chosen = await _version(gateway, row, version)
    alone = old.state.created.single_node_id
    if alone is not None:
        _executable(chosen, alone, "/version")
    created = await _created(gateway, old, chosen, traceparent)
    created = msgspec.structs.replace(created, retry_of=row.id, single_node_id=alone)
    carried = (
        carry.carried_for_retry(old.plan, old.state, chosen.plan)
        if from_ == FAILED
        else carry.carried_for_rerun(old.state, chosen.plan)
    )
    return _new(row.user_id, row.workflow_id, created, carried), chosen


def can_be_retried(row: ExecutionRow, from_: From) -> bool:
    """Whether an execution is over, and has something to try again."""
    return is_over(row) and not (from_ == FAILED and row.status == ExecutionStatus.SUCCESS)


async def _created(
    gateway: Gateway, old: Folded, version: CompiledVersion, traceparent: str | None
) -> ExecutionCreated:
    """Return the creation of an execution that begins as an old one did."""
    before, document = old.state.created, version.document
    return ExecutionCreated(
        workflow_id=before.workflow_id,
        version_id=version.id,
        user_id=before.user_id,
        mode=Mode.RETRY,
        input=before.input,
        trigger=_trigger(document, before.trigger),
        slot=await _slot(gateway, old.state, document),
        depth=before.depth,
        is_of_failure=before.is_of_failure,
        priority=before.priority,
        metadata=before.metadata,
        traceparent=traceparent,
    )


def _new(
    user_id: str,
    workflow_id: str,
    created: ExecutionCreated,
    carried: tuple[CarriedRun, ...],
    large: dict[str, bytes] | None = None,
) -> NewExecution:
    return NewExecution(
        id=new_id(),
        user_id=user_id,
        workflow_id=workflow_id,
        version_id=created.version_id,
        mode=created.mode,
        priority=created.priority,
        metadata=created.metadata,
        created=created,
        carried=carry.in_events(carried),
        at=datetime.now(UTC),
        large=large or {},
    )


def _keyed(new: NewExecution, call: Call[Any, Any], route: str) -> NewExecution:
    """Return the execution under the key of the request, if it has one."""
    key = idempotency_key(call, "Idempotency-Key")
    if key is None:
        return new
    return msgspec.structs.replace(new, idempotency=(route, key), request_hash=hash_of(call.body))


async def _version(gateway: Gateway, row: ExecutionRow, asked: OldVersion) -> CompiledVersion:
    """Return the version that a successor of an execution runs. Raises Refused."""
    workflow = await read_workflow(gateway.store, row.user_id, row.workflow_id)
    if asked == "same":
        return await gateway.versions.by_id(row.version_id)
    return await _of_workflow(gateway, workflow, asked)


async def _of_workflow(
    gateway: Gateway, workflow: WorkflowRow, asked: int | str
) -> CompiledVersion:
    if asked != "published":
        return await chosen_version(gateway, workflow, asked)
    if workflow.published_version_id is None:
        raise Refused("not_published", "The workflow has no published version; publish it first.")
    return await gateway.versions.by_id(workflow.published_version_id)


def _trigger(document: Document, before: TriggerNode | None) -> TriggerNode | None:
    """Return the trigger at which an execution begins: the one it began at, if that is still there."""
    if before is not None and start_trigger(document, before.node_id) is not None:
        return before
    chosen = start_trigger(document, None)
    node = None if chosen is None else document.node(chosen)
    return None if node is None else TriggerNode(node.id, node.type)


async def _slot(gateway: Gateway, state: ExecutionState, document: Document) -> Slot | None:
    limit = document.settings.concurrency
    if limit is None:
        return None
    value = state.created.input
    if limit.key is not None and payloads.may_refer(value):
        value = msgspec.Raw(await _whole(gateway, state.created.user_id, value))
    return gateway.documents.slot(document, value)


async def _whole(gateway: Gateway, user_id: str, value: msgspec.Raw) -> bytes:
    """Return a value with all that it refers to in place. Raises Refused if that is gone."""
    try:
        return await whole(gateway, user_id, value)
    except payloads.PayloadError as error:
        raise Refused("not_found", f"The input of the execution cannot be had: {error}.") from None


def _forkable(old: Folded, plan: Plan, node_id: str) -> PlannedNode:
    """Return the node at which an execution is to be forked. Raises Refused."""
    before, node = old.plan.nodes.get(node_id), plan.nodes.get(node_id)
    if before is None:
        message = f"The execution has no node run of {node_id:.100}."
        raise invalid_request(wrong("/node_id", message))
    if node is None:
        raise invalid_request(wrong("/version", f"This version has no node {node_id:.100}."))
    if before.loops or node.loops:
        loop = (node.loops or before.loops)[0]
        message = f"Node {node_id} is in the body of a loop: fork at its LOOP, node {loop}."
        raise invalid_request(wrong("/node_id", message))
    alone = old.state.created.single_node_id
    if alone is not None:
        message = f"Only node {alone} was executed: execute it again, or fork a whole execution."
        raise invalid_request(wrong("/node_id", message))
    if not carry.was_reached(old.state, before):
        raise Refused("node_not_reached", f"The execution did not come to node {node_id}.")
    return node


def _executable(version: CompiledVersion, node_id: str, at: str = "") -> PlannedNode:
    """Return the node that is to be executed alone. Raises Refused."""
    if version.document.node(node_id) is None:
        raise not_found() if not at else invalid_request(wrong(at, "The node is not in it."))
    node = version.plan.nodes.get(node_id)
    if node is None:
        message = f"Node {node_id} is lent to another one: execute the node that it is lent to."
        raise invalid_request(wrong(at, message))
    if node.is_trigger:
        message = f"Node {node_id} is a trigger, which does nothing alone: execute the workflow."
        raise invalid_request(wrong(at, message))
    return node


async def _laid_over(
    gateway: Gateway,
    call: Call[Any, NodeBody],
    workflow: WorkflowRow,
    version: CompiledVersion,
) -> CompiledVersion:
    """Return a version of its own in which the node has these parameters laid over its own. Raises Refused."""
    node_id = call.path["node_id"]
    if version.document.node(node_id) is None:
        raise not_found()
    sent = msgspec.to_builtins(version.document)
    for node in sent["nodes"]:
        if node["id"] == node_id:
            node["parameters"] = {**node["parameters"], **call.body.parameters}
    document, _ = await gateway.documents.savable(sent, workflow.user_id, before=version.document)
    await gateway.documents.check_stored(document, workflow.user_id)
    version_id = await db.workflows.snapshot(
        gateway.store,
        user_id=workflow.user_id,
        workflow_id=workflow.id,
        version_id=new_id(),
        document=document,
    )
    return await gateway.versions.by_id(version_id)


async def _upstream(
    gateway: Gateway, call: Call[Any, NodeBody], workflow: WorkflowRow
) -> Folded | None:
    """Return the execution whose outputs may be named. Raises Refused unless it is one of the workflow."""
    if call.body.upstream_from is None:
        return None
    row = await find_row(gateway.store, call.user_id, call.body.upstream_from)
    if row is None or row.workflow_id != workflow.id:
        raise invalid_request(wrong("/upstream_from", "The workflow has no such execution."))
    return await folded(gateway, row)


def check_bus(gateway: Gateway) -> None:
    """Raise Refused unless NATS is there to hear of a new execution."""
    if not gateway.bus.is_connected:
        raise unavailable("NATS")
