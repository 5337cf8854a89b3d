"""The operations that steer executions, make others of them, and answer what they ask; a part of the table in `routes`."""

from typing import Any, Final

from gateway import bulk, commands, explaining, interactions, steering, successors
from gateway.bodies import NO_BODY, Body
from gateway.execution_views import Execution
from gateway.executions import WaitQuery
from gateway.interactions import Interaction, InteractionSummary
from gateway.operations import Operation, Returns
from gateway.pages import Page
from gateway.queries import NoQuery

EXECUTION: Final = Returns(description="The execution", type=Execution)
ACCEPTED: Final = Returns(
    description="The execution is committed",
    type=Execution,
    headers=("Location", "Idempotent-Replayed"),
)
OVER: Final = Returns(
    description="The execution is over", type=Execution, headers=("Idempotent-Replayed",)
)
KEYED: Final = ("idempotency_key_reused", "idempotency_in_progress")
"""Problems of operations that take an Idempotency-Key."""

_KEY: Final = ("Idempotency-Key",)
_BULK: Final = Returns(description="What was done", type=bulk.BulkResult)
_BULK_NOTE: Final = (
    "Takes the filters of the list, at least one, and up to 1,000 executions at a time, newest first: "
    "repeat it with `next_cursor` until that is null. With `dry_run` nothing is done."
)
_CONFIRMED: Final = "The answer is what the scheduler committed; repeating is safe."
_ANSWER_NOTE: Final = (
    "Approvals, reviews and confirmations take `approved`, choices take `choice`; `port` says the same "
    "by the port that is yielded on. `data` is the form that `fields` describes, `value` what is shown "
    "as edited."
)

BULK: Final[tuple[Operation[Any, Any], ...]] = (
    Operation(
        method="POST",
        path="/v1/executions/bulk/cancel",
        scope="execute",
        tag="executions",
        summary="Cancel executions",
        description=_BULK_NOTE,
        handler=bulk.cancel_many,
        query=NoQuery,
        body=Body(type=bulk.BulkCancelBody),
        example={"filter": {"status": ["RUNNING", "WAITING"]}, "dry_run": True},
        returns={200: _BULK},
    ),
    Operation(
        method="POST",
        path="/v1/executions/bulk/retry",
        scope="execute",
        tag="executions",
        summary="Retry executions",
        description=_BULK_NOTE,
        handler=bulk.retry_many,
        query=NoQuery,
        body=Body(type=bulk.BulkRetryBody),
        example={"filter": {"status": "ERROR", "created_after": "2026-01-01T00:00:00Z"}},
        returns={200: _BULK},
    ),
    Operation(
        method="POST",
        path="/v1/workflows/{workflow_id}/execute/batch",
        scope="execute",
        tag="executions",
        summary="Start executions",
        description="All or none, of one version.",
        handler=bulk.execute_batch,
        query=NoQuery,
        body=Body(type=bulk.BatchBody),
        example={"items": [{"input": {"name": "Ada"}}, {"input": {"name": "Grace"}}]},
        request_headers=_KEY,
        returns={
            202: Returns(
                description="The executions are committed",
                type=bulk.BatchStarted,
                headers=("Idempotent-Replayed",),
            )
        },
        problems=("invalid_document", "limit_exceeded", *KEYED),
    ),
)

STEERING: Final[tuple[Operation[Any, Any], ...]] = (
    Operation(
        method="POST",
        path="/v1/executions/{execution_id}/cancel",
        scope="execute",
        tag="executions",
        summary="Cancel an execution",
        description=_CONFIRMED,
        handler=steering.cancel_execution,
        query=NoQuery,
        body=Body(type=steering.CancelBody, is_optional=True),
        example={"reason": "Started by mistake"},
        returns={200: EXECUTION},
        problems=("already_finished",),
    ),
    Operation(
        method="POST",
        path="/v1/executions/{execution_id}/pause",
        scope="execute",
        tag="executions",
        summary="Pause an execution",
        description=f"Nothing more is dispatched; what runs may finish. {_CONFIRMED}",
        handler=steering.pause_execution,
        query=NoQuery,
        body=Body(type=steering.PauseBody, is_optional=True),
        example={"reason": "The shop is down"},
        returns={200: EXECUTION},
        problems=("already_finished",),
    ),
    Operation(
        method="POST",
        path="/v1/executions/{execution_id}/resume",
        scope="execute",
        tag="executions",
        summary="Resume an execution",
        description=(
            "Without a body it ends a pause. Else it ends the one wait that fits `interaction_id`, "
            "`node_id` and `iteration`, or `signal`: a timer early, a question with an answer as in "
            f"respond. {_CONFIRMED}"
        ),
        handler=steering.resume_execution,
        query=NoQuery,
        body=Body(type=steering.ResumeBody, is_optional=True),
        example={"node_id": "wait", "data": {"paid": True}},
        returns={200: EXECUTION},
        problems=(
            "already_finished",
            "not_paused",
            "not_waiting",
            "ambiguous_target",
            "already_answered",
        ),
    ),
    Operation(
        method="POST",
        path="/v1/executions/{execution_id}/signal",
        scope="execute",
        tag="executions",
        summary="Send a signal to an execution",
        description=(
            "The first wait of that name takes it; it is kept if nothing waits for it yet. One of a "
            f"`signal_id` is applied once. {_CONFIRMED}"
        ),
        handler=steering.signal_execution,
        query=NoQuery,
        body=Body(type=steering.SignalBody),
        example={"name": "paid", "data": {"amount": 12}, "signal_id": "payment-17"},
        returns={200: EXECUTION},
        problems=("already_finished", "limit_exceeded"),
        statuses=commands.STATUSES,
    ),
    Operation(
        method="GET",
        path="/v1/executions/{execution_id}/explain",
        scope="read",
        tag="executions",
        summary="Explain an execution",
        description="Why it is where it is, and what it waits for; at its end, how that came.",
        handler=explaining.explain_execution,
        query=NoQuery,
        body=NO_BODY,
        returns={200: Returns(description="Why", type=explaining.Explained)},
    ),
)

SUCCESSORS: Final[tuple[Operation[Any, Any], ...]] = (
    Operation(
        method="POST",
        path="/v1/executions/{execution_id}/retry",
        scope="execute",
        tag="executions",
        summary="Retry an execution",
        description=(
            "Starts a new execution; the old one never changes. `FAILED` takes over the outputs of node "
            "runs that succeeded and lie behind none that did not, `START` nothing."
        ),
        handler=successors.retry_execution,
        query=NoQuery,
        body=Body(type=successors.RetryBody, is_optional=True),
        example={"from": "FAILED"},
        request_headers=_KEY,
        returns={202: ACCEPTED},
        problems=(
            "not_finished",
            "already_finished",
            "not_published",
            "invalid_document",
            *KEYED,
        ),
    ),
    Operation(
        method="POST",
        path="/v1/executions/{execution_id}/fork",
        scope="execute",
        tag="executions",
        summary="Fork an execution at a node",
        description=(
            "Starts a new execution that takes over every finished output that does not lie behind the "
            "node. `input` stands in place of the assembled one. The old execution never changes."
        ),
        handler=successors.fork_execution,
        query=NoQuery,
        body=Body(type=successors.ForkBody),
        example={"node_id": "hello", "input": {"name": "Grace"}},
        request_headers=_KEY,
        returns={202: ACCEPTED},
        problems=("node_not_reached", "not_published", "invalid_document", *KEYED),
    ),
    Operation(
        method="POST",
        path="/v1/workflows/{workflow_id}/nodes/{node_id}/execute",
        scope="execute",
        tag="executions",
        summary="Execute one node alone",
        description=(
            "With what is lent to it, and no pin. `parameters` are laid over the node's own; its "
            "expressions may name outputs of the execution `upstream_from`. With `wait`, the answer is "
            "200 and the final execution if it ends in time."
        ),
        handler=successors.execute_node,
        query=WaitQuery,
        body=Body(type=successors.NodeBody, is_optional=True),
        example={"input": {"name": "Ada"}},
        request_headers=_KEY,
        returns={200: OVER, 202: ACCEPTED},
        problems=("not_published", "invalid_document", *KEYED),
    ),
)

INTERACTIONS: Final[tuple[Operation[Any, Any], ...]] = (
    Operation(
        method="GET",
        path="/v1/interactions",
        scope="read",
        tag="interactions",
        summary="List interactions",
        description="Those of the user, and of others in which he is named among the approvers.",
        handler=interactions.list_interactions,
        query=interactions.InteractionsQuery,
        body=NO_BODY,
        returns={200: Returns(description="A page", type=Page[InteractionSummary])},
    ),
    Operation(
        method="GET",
        path="/v1/interactions/{interaction_id}",
        scope="read",
        tag="interactions",
        summary="Read an interaction",
        handler=interactions.get_interaction,
        query=NoQuery,
        body=NO_BODY,
        returns={200: Returns(description="The interaction", type=Interaction)},
    ),
    Operation(
        method="POST",
        path="/v1/interactions/{interaction_id}/respond",
        scope="execute",
        tag="interactions",
        summary="Answer an interaction",
        description=(
            f"{_ANSWER_NOTE} It stays PENDING until enough have answered; each person counts once, and an "
            "edit voids the approvals before it. An answer that comes too late is refused with the first one."
        ),
        handler=interactions.respond,
        query=NoQuery,
        body=Body(type=interactions.RespondBody),
        example={"approved": True, "reason": "Looks good"},
        returns={200: Returns(description="The interaction", type=Interaction)},
        problems=("already_answered", "not_waiting"),
    ),
)
