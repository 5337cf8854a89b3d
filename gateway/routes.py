"""The table of operations: everything the API can do, in the order in which paths are tried."""

from typing import Any, Final, get_args

from contracts.history import EventMessage
from contracts.model import Document
from gateway import (
    account,
    bulk,
    executing,
    executions,
    health,
    node_types,
    operating,
    payloads,
    redriving,
    reference,
    webhooks,
    workflows,
)
from gateway.bodies import NO_BODY, Body
from gateway.credential_routes import CREDENTIALS, INTEGRATIONS
from gateway.execution_routes import (
    ACCEPTED,
    BULK,
    EXECUTION,
    INTERACTIONS,
    KEYED,
    OVER,
    STEERING,
    SUCCESSORS,
)
from gateway.execution_views import ExecutionSummary, NodeRun, NodeRunSummary
from gateway.operations import Method, Operation, Returns
from gateway.pages import Page
from gateway.queries import AnyQuery, NoQuery
from gateway.schedule_routes import SCHEDULES
from gateway.workflow_views import (
    Validation,
    Version,
    VersionSummary,
    Workflow,
    WorkflowSummary,
)

_DOCUMENT: Final = Body(type=Document, is_document=True)
_DOCUMENT_NOTE: Final = (
    "The schema shows the normalised form; the other spellings of the format are read too. "
    "What a workflow has besides its document may be sent back: all but `active` is ignored."
)
_EXAMPLE: Final = {
    "name": "Hello",
    "nodes": [
        {"id": "start", "type": "TRIGGER.MANUAL"},
        {"id": "hello", "type": "FLOW.NOOP", "parameters": {"data": "{{ input.name }}"}},
    ],
    "connections": [{"from": "start", "to": "hello"}],
}

_WORKFLOW: Final = Returns(description="The workflow", type=Workflow, headers=("ETag",))
_VERSION: Final = Returns(description="The version", type=Version)
_REVISION: Final = ("If-Match",)

EXECUTIONS: Final[tuple[Operation[Any, Any], ...]] = (
    Operation(
        method="POST",
        path="/v1/workflows/{workflow_id}/execute",
        scope="execute",
        tag="executions",
        summary="Start an execution",
        description=(
            "Takes the published version, or the draft while there is none. With `wait`, the answer "
            "is 200 and the final execution if it ends in time, whatever its status."
        ),
        handler=executing.execute_workflow,
        query=executions.WaitQuery,
        body=Body(type=executing.ExecuteBody, is_optional=True),
        example={"input": {"name": "Ada"}},
        request_headers=("Idempotency-Key",),
        returns={
            200: OVER,
            202: ACCEPTED,
        },
        problems=(
            "invalid_document",
            "limit_exceeded",
            *KEYED,
        ),
    ),
    Operation(
        method="GET",
        path="/v1/executions/{execution_id}",
        scope="read",
        tag="executions",
        summary="Read an execution",
        description="With `wait`, the answer comes once the execution is over, or the time is.",
        handler=executions.get_execution,
        query=executions.WaitQuery,
        body=NO_BODY,
        returns={200: EXECUTION},
    ),
    Operation(
        method="GET",
        path="/v1/executions",
        scope="read",
        tag="executions",
        summary="List executions",
        handler=executions.list_executions,
        query=executions.AllExecutionsQuery,
        body=NO_BODY,
        returns={200: Returns(description="A page", type=Page[ExecutionSummary])},
    ),
    Operation(
        method="GET",
        path="/v1/workflows/{workflow_id}/executions",
        scope="read",
        tag="executions",
        summary="List the executions of a workflow",
        handler=executions.list_workflow_executions,
        query=executions.ExecutionsQuery,
        body=NO_BODY,
        returns={200: Returns(description="A page", type=Page[ExecutionSummary])},
    ),
    Operation(
        method="GET",
        path="/v1/executions/{execution_id}/node-runs",
        scope="read",
        tag="executions",
        summary="List the node runs of an execution",
        description="In the order of the document, then of the iterations.",
        handler=executions.list_node_runs,
        query=executions.NodeRunsQuery,
        body=NO_BODY,
        returns={200: Returns(description="A page", type=Page[NodeRunSummary])},
    ),
    Operation(
        method="GET",
        path="/v1/executions/{execution_id}/node-runs/{node_id}",
        scope="read",
        tag="executions",
        summary="Read a node run",
        handler=executions.get_node_run,
        query=executions.IterationQuery,
        body=NO_BODY,
        returns={200: Returns(description="The node run", type=NodeRun)},
    ),
    Operation(
        method="GET",
        path="/v1/executions/{execution_id}/history",
        scope="read",
        tag="executions",
        summary="Read the history of an execution",
        description="By seq, oldest first.",
        handler=executions.list_history,
        query=executions.HistoryQuery,
        body=NO_BODY,
        returns={200: Returns(description="A page", type=Page[EventMessage])},
    ),
    Operation(
        method="GET",
        path="/v1/executions/{execution_id}/events",
        scope="read",
        tag="executions",
        summary="Follow an execution",
        description=(
            "Server-sent events: past ones first, then as they happen, without a gap. `id` is the "
            "seq (unrecorded kinds have none), `event` the kind, `data` the event. A comment comes "
            "every 15 s; the stream ends after the last event."
        ),
        handler=executions.stream_events,
        query=executions.EventsQuery,
        body=NO_BODY,
        request_headers=("Last-Event-ID",),
        returns={200: Returns(description="The events", type=str, media_type="text/event-stream")},
        problems=("rate_limited",),
    ),
    Operation(
        method="GET",
        path="/v1/executions/{execution_id}/payloads/{payload_id}",
        scope="read",
        tag="executions",
        summary="Read a large value",
        description=(
            "Values above LIMIT_INLINE_BYTES stand in executions, node runs and events as "
            '`{"$payload": {"id": "sha256:...", "size": 1234}}`; this is the value of such an id.'
        ),
        handler=payloads.get_payload,
        query=NoQuery,
        body=NO_BODY,
        returns={200: Returns(description="The value", type=Any)},
    ),
)

WORKFLOWS: Final[tuple[Operation[Any, Any], ...]] = (
    Operation(
        method="POST",
        path="/v1/workflows",
        scope="write",
        tag="workflows",
        summary="Create a workflow",
        description=_DOCUMENT_NOTE,
        handler=workflows.create_workflow,
        query=NoQuery,
        body=_DOCUMENT,
        example=_EXAMPLE,
        returns={
            201: Returns(description="The workflow", type=Workflow, headers=("Location", "ETag"))
        },
        problems=("invalid_document",),
    ),
    Operation(
        method="GET",
        path="/v1/workflows",
        scope="read",
        tag="workflows",
        summary="List workflows",
        handler=workflows.list_workflows,
        query=workflows.WorkflowsQuery,
        body=NO_BODY,
        returns={200: Returns(description="A page", type=Page[WorkflowSummary])},
    ),
    Operation(
        method="POST",
        path="/v1/workflows/validate",
        scope="write",
        tag="workflows",
        summary="Validate a document",
        description=f"Stores nothing. {_DOCUMENT_NOTE}",
        handler=workflows.validate_document,
        query=NoQuery,
        body=_DOCUMENT,
        example=_EXAMPLE,
        returns={200: Returns(description="What was found", type=Validation)},
    ),
    Operation(
        method="GET",
        path="/v1/workflows/{workflow_id}",
        scope="read",
        tag="workflows",
        summary="Read a workflow",
        handler=workflows.get_workflow,
        query=NoQuery,
        body=NO_BODY,
        returns={200: _WORKFLOW},
    ),
    Operation(
        method="PUT",
        path="/v1/workflows/{workflow_id}",
        scope="write",
        tag="workflows",
        summary="Change the draft of a workflow",
        description=(
            "Only fields that are sent change; null resets one; lists and objects are replaced whole, "
            f"`settings` field by field. {_DOCUMENT_NOTE}"
        ),
        handler=workflows.update_workflow,
        query=NoQuery,
        body=_DOCUMENT,
        example={"description": "Says hello"},
        request_headers=_REVISION,
        returns={200: _WORKFLOW},
        problems=("invalid_document", "webhook_path_taken", "revision_mismatch"),
    ),
    Operation(
        method="DELETE",
        path="/v1/workflows/{workflow_id}",
        scope="write",
        tag="workflows",
        summary="Delete a workflow",
        description="Disarms it, cancels its executions and hides it at once.",
        handler=workflows.delete_workflow,
        query=NoQuery,
        body=NO_BODY,
        request_headers=_REVISION,
        returns={204: Returns(description="It is gone")},
        problems=("revision_mismatch",),
    ),
    Operation(
        method="POST",
        path="/v1/workflows/{workflow_id}/publish",
        scope="write",
        tag="workflows",
        summary="Publish a workflow",
        description="Freezes the draft as the next version, or makes `from_version` current again.",
        handler=workflows.publish_workflow,
        query=NoQuery,
        body=Body(type=workflows.PublishBody, is_optional=True),
        example={"note": "First release"},
        request_headers=_REVISION,
        returns={
            200: Returns(description="Nothing changed", type=Version),
            201: Returns(description="The version", type=Version, headers=("Location",)),
        },
        problems=("invalid_document", "webhook_path_taken", "revision_mismatch"),
    ),
    Operation(
        method="POST",
        path="/v1/workflows/{workflow_id}/activate",
        scope="write",
        tag="workflows",
        summary="Arm the triggers of a workflow",
        handler=workflows.activate_workflow,
        query=NoQuery,
        body=NO_BODY,
        request_headers=_REVISION,
        returns={200: _WORKFLOW},
        problems=("webhook_path_taken", "revision_mismatch"),
    ),
    Operation(
        method="POST",
        path="/v1/workflows/{workflow_id}/deactivate",
        scope="write",
        tag="workflows",
        summary="Disarm the triggers of a workflow",
        handler=workflows.deactivate_workflow,
        query=NoQuery,
        body=NO_BODY,
        request_headers=_REVISION,
        returns={200: _WORKFLOW},
        problems=("revision_mismatch",),
    ),
    Operation(
        method="GET",
        path="/v1/workflows/{workflow_id}/versions",
        scope="read",
        tag="workflows",
        summary="List the versions of a workflow",
        handler=workflows.list_versions,
        query=workflows.VersionsQuery,
        body=NO_BODY,
        returns={200: Returns(description="A page", type=Page[VersionSummary])},
    ),
    Operation(
        method="GET",
        path="/v1/workflows/{workflow_id}/versions/{version}",
        scope="read",
        tag="workflows",
        summary="Read a version of a workflow",
        handler=workflows.get_version,
        query=NoQuery,
        body=NO_BODY,
        returns={200: _VERSION},
    ),
)

AROUND: Final[tuple[Operation[Any, Any], ...]] = (
    Operation(
        method="GET",
        path="/v1/node-types",
        scope="read",
        tag="node types",
        summary="List node types",
        handler=node_types.list_node_types,
        query=node_types.NodeTypesQuery,
        body=NO_BODY,
        returns={200: Returns(description="A page", type=Page[node_types.NodeType])},
    ),
    Operation(
        method="GET",
        path="/v1/node-types/{node_type}",
        scope="read",
        tag="node types",
        summary="Read a node type",
        handler=node_types.get_node_type,
        query=NoQuery,
        body=NO_BODY,
        returns={200: Returns(description="The node type", type=node_types.NodeType)},
    ),
    Operation(
        method="GET",
        path="/v1/me",
        scope="read",
        tag="account",
        summary="Read who asks",
        handler=account.get_me,
        query=NoQuery,
        body=NO_BODY,
        returns={200: Returns(description="The user and the token's scopes", type=account.Me)},
        problems=("not_found",),
    ),
    Operation(
        method="GET",
        path="/v1/workers",
        scope="admin",
        tag="operations",
        summary="List workers",
        handler=operating.list_workers,
        query=operating.WorkersQuery,
        body=NO_BODY,
        returns={200: Returns(description="A page", type=Page[operating.Worker])},
    ),
    Operation(
        method="GET",
        path="/v1/dead-letters",
        scope="read",
        tag="operations",
        summary="List dead letters",
        handler=operating.list_dead_letters,
        query=operating.DeadLettersQuery,
        body=NO_BODY,
        returns={200: Returns(description="A page", type=Page[operating.DeadLetterSummary])},
    ),
    Operation(
        method="GET",
        path="/v1/dead-letters/{dead_letter_id}",
        scope="read",
        tag="operations",
        summary="Read a dead letter",
        handler=operating.get_dead_letter,
        query=NoQuery,
        body=NO_BODY,
        returns={200: Returns(description="The dead letter", type=operating.DeadLetter)},
    ),
    Operation(
        method="DELETE",
        path="/v1/dead-letters/{dead_letter_id}",
        scope="write",
        tag="operations",
        summary="Delete a dead letter",
        handler=operating.delete_dead_letter,
        query=NoQuery,
        body=NO_BODY,
        returns={204: Returns(description="It is gone")},
    ),
    Operation(
        method="POST",
        path="/v1/dead-letters/bulk/redrive",
        scope="execute",
        tag="operations",
        summary="Redrive dead letters",
        description=(
            "Takes the filters of the list, at least one, and up to 1,000 dead letters at a time, newest "
            "first: repeat it with `next_cursor` until that is null. With `dry_run` nothing is done."
        ),
        handler=redriving.redrive_many,
        query=NoQuery,
        body=Body(type=redriving.BulkRedriveBody),
        example={"filter": {"source": "TASK", "reason": "DELIVERIES_EXHAUSTED"}},
        returns={200: Returns(description="What was done", type=bulk.BulkResult)},
    ),
    Operation(
        method="POST",
        path="/v1/dead-letters/{dead_letter_id}/redrive",
        scope="execute",
        tag="operations",
        summary="Redrive a dead letter",
        description=(
            "Of a task: starts a retry of its execution, which stands for all dead letters of that "
            "execution's tasks. Of a message: publishes it again on its subject. One that was redriven "
            "before is answered with what came of it, and nothing happens."
        ),
        handler=redriving.redrive_letter,
        query=NoQuery,
        body=NO_BODY,
        returns={
            202: Returns(
                description="It is put back to work",
                type=operating.DeadLetterSummary,
                headers=("Location", "Idempotent-Replayed"),
            )
        },
        problems=("not_finished", "already_finished"),
    ),
)

PUBLIC: Final[tuple[Operation[Any, Any], ...]] = (
    Operation(
        method="GET",
        path="/health/live",
        scope="public",
        tag="health",
        summary="Tell whether the process runs",
        handler=health.get_liveness,
        query=NoQuery,
        body=NO_BODY,
        returns={200: Returns(description="It runs", type=health.Alive)},
    ),
    Operation(
        method="GET",
        path="/health/ready",
        scope="public",
        tag="health",
        summary="Tell whether requests may be sent here",
        handler=health.get_readiness,
        query=NoQuery,
        body=NO_BODY,
        returns={200: Returns(description="They may", type=health.Ready)},
        problems=("unavailable",),
    ),
    Operation(
        method="GET",
        path="/health",
        scope="public",
        tag="health",
        summary="Tell how everything is",
        handler=health.get_health,
        query=NoQuery,
        body=NO_BODY,
        returns={
            200: Returns(description="Requests are served", type=health.Health),
            503: Returns(description="Requests cannot be served", type=health.Health),
        },
    ),
    Operation(
        method="GET",
        path="/metrics",
        scope="public",
        tag="health",
        summary="Read the metrics",
        handler=health.get_metrics,
        query=NoQuery,
        body=NO_BODY,
        returns={200: Returns(description="Metrics", type=str, media_type="text/plain")},
    ),
    Operation(
        method="GET",
        path="/docs",
        scope="public",
        tag="reference",
        summary="Read and try the API",
        handler=reference.get_docs,
        query=NoQuery,
        body=NO_BODY,
        returns={200: Returns(description="A page", type=str, media_type="text/html")},
    ),
    Operation(
        method="GET",
        path="/redoc",
        scope="public",
        tag="reference",
        summary="Read the API",
        handler=reference.get_redoc,
        query=NoQuery,
        body=NO_BODY,
        returns={200: Returns(description="A page", type=str, media_type="text/html")},
    ),
    Operation(
        method="GET",
        path="/openapi.json",
        scope="public",
        tag="reference",
        summary="Read the OpenAPI document",
        handler=reference.get_openapi,
        query=NoQuery,
        body=NO_BODY,
        returns={200: Returns(description="The document", type=dict[str, Any])},
    ),
)


def _webhook(method: Method) -> Operation[Any, Any]:
    return Operation(
        method=method,
        path="/v1/webhooks/{path}",
        scope="public",
        tag="webhooks",
        summary=f"Deliver to a webhook by {method}",
        description=(
            "Starts the workflow whose TRIGGER.WEBHOOK listens at the path, if it takes the method. A "
            "delivery that repeats the `webhook-id` or `Idempotency-Key` of one in the last 24 hours "
            "starts nothing and is answered as that one was. With `response_mode` WAIT, the answer is "
            "the output of the execution, or what the workflow says."
        ),
        name=f"receive_webhook_by_{method.lower()}",
        handler=webhooks.receive_webhook,
        query=AnyQuery,
        body=Body(type=bytes, is_optional=True, is_raw=True),
        request_headers=("webhook-id", "Idempotency-Key"),
        returns={
            200: Returns(
                description="The output of the execution, or the filter let nothing through",
                type=Any,
                headers=("Idempotent-Replayed",),
            ),
            202: Returns(
                description="The execution is committed",
                type=webhooks.Received,
                headers=("Location", "Idempotent-Replayed"),
            ),
        },
        other=Returns(description="What the workflow answers"),
        problems=(
            "unauthenticated",
            "method_not_allowed",
            "idempotency_in_progress",
            "execution_failed",
            "rate_limited",
            "unavailable",
        ),
    )


WEBHOOKS: Final = tuple(_webhook(method) for method in get_args(Method))

OPERATIONS: Final[tuple[Operation[Any, Any], ...]] = (
    *BULK,
    *EXECUTIONS,
    *STEERING,
    *SUCCESSORS,
    *INTERACTIONS,
    *SCHEDULES,
    *WORKFLOWS,
    *CREDENTIALS,
    *INTEGRATIONS,
    *AROUND,
    *PUBLIC,
    *WEBHOOKS,
)
