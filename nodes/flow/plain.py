"""FLOW nodes that say in one line what happens: NOOP, STOP_AND_ERROR, SUB_WORKFLOW."""

from typing import Annotated, Any, Literal

import msgspec

from nodes.bounds import TIMEOUT_SECONDS
from nodes.context import Child, Context, Failure, FailureKind, Outputs, Wait, WaitKind
from nodes.parameters import parameter
from nodes.registry import node

AnyJson = Annotated[
    Any | msgspec.UnsetType, parameter(is_json=True, description="Default: the input")
]


class Noop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of FLOW.NOOP."""

    data: AnyJson = msgspec.UNSET


class StopAndError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of FLOW.STOP_AND_ERROR."""

    message: Annotated[str, msgspec.Meta(min_length=1)]
    code: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] = "stopped"
    details: Annotated[dict[str, Any], parameter(description="Stands in the failure")] = (
        msgspec.field(default_factory=dict)
    )


class SubWorkflow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of FLOW.SUB_WORKFLOW."""

    workflow_id: Annotated[
        str,
        msgspec.Meta(min_length=1),
        parameter(description="Its id, or a name that only one workflow has"),
    ]
    input: AnyJson = msgspec.UNSET
    mode: Annotated[
        Literal["wait", "start"],
        parameter(
            aliases=("wait_for_completion",),
            value_aliases={"true": "wait", "false": "start"},
            description="start: goes on at once, with the child's `execution_id`",
        ),
    ] = "wait"


@node("FLOW.NOOP", title="No operation", timeout=TIMEOUT_SECONDS, is_brief=True)
def noop(context: Context, parameters: Noop) -> Outputs:
    """Hand on the input, or what `data` says."""
    return Outputs(main=context.input if parameters.data is msgspec.UNSET else parameters.data)


@node(
    "FLOW.STOP_AND_ERROR",
    title="Stop and error",
    outputs={},
    through=None,
    timeout=TIMEOUT_SECONDS,
    is_brief=True,
)
def stop_and_error(context: Context, parameters: StopAndError) -> Failure:
    """End the execution with a failure of your own, whatever the error policies say."""
    return Failure(FailureKind.ERROR, parameters.code, parameters.message, dict(parameters.details))


@node("FLOW.SUB_WORKFLOW", title="Sub-workflow", timeout=TIMEOUT_SECONDS, is_brief=True)
def sub_workflow(context: Context, parameters: SubWorkflow) -> Wait:
    """Start another workflow as a child, and give its output once it is over."""
    child = Child(
        workflow=parameters.workflow_id,
        input=context.input if parameters.input is msgspec.UNSET else parameters.input,
        is_detached=parameters.mode == "start",
    )
    return Wait(WaitKind.CHILD, child=child)


HANDLERS = (noop, stop_and_error, sub_workflow)
