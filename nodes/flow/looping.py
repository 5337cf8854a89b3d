"""FLOW.LOOP: over the items of a list, over numbers, or for as long as a condition says.

The handler says what to iterate over, or whether one more iteration follows; the engine runs the body.
"""

from typing import Annotated, Any, Final, Literal, assert_never

import msgspec

from contracts.expressions.values import WHOLE_MAX
from contracts.failures import Failure, FailureKind
from contracts.graph import ITERATION, LOOP_BODY
from contracts.history import LoopRules
from contracts.specs import Port
from contracts.statuses import ItemError
from nodes.answers import Failed, invalid_parameter
from nodes.bounds import TIMEOUT_SECONDS
from nodes.context import Context, Loop
from nodes.flow.lists import list_of
from nodes.parameters import parameter
from nodes.registry import node

MAX_ITERATIONS: Final = 1000
"""Of a loop on a condition that sets none."""

Count = Annotated[int, msgspec.Meta(ge=1)]
Whole = Annotated[int, msgspec.Meta(ge=-WHOLE_MAX, le=WHOLE_MAX)]


class IterationError(msgspec.Struct, frozen=True):
    """Which iteration failed, and how."""

    index: int
    failure: Failure


class Looping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of FLOW.LOOP."""

    loop_type: Annotated[
        Literal["foreach", "for", "while", "until"],
        parameter(value_aliases={"for_each": "foreach", "for_range": "for", "times": "for"}),
    ] = "foreach"
    items: Annotated[
        str | None, parameter("expr", description="Of foreach; default: the list of the input")
    ] = None
    batch_size: Annotated[Count, parameter(description="Items per iteration")] = 1
    count: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=WHOLE_MAX)] | None,
        parameter(
            schema={"type": "integer", "minimum": 0}, description="Of for: how many iterations"
        ),
    ] = None
    start: Annotated[Whole, parameter(description="Of for: the first number")] = 0
    end: Annotated[
        Whole | None,
        parameter(
            schema={"type": "integer"}, description="Of for: the number before which it ends"
        ),
    ] = None
    step: Annotated[Whole, parameter(description="Of for: from one number to the next, not 0")] = 1
    condition: Annotated[
        str | None,
        parameter(
            "expr",
            aliases=("loop_condition", "while_condition"),
            scope=("loop",),
            description="Of while, asked before each iteration, and of until, asked after it",
        ),
    ] = None
    max_iterations: Annotated[
        Count | None,
        parameter(
            schema={"type": "integer", "minimum": 1},
            description="More fail the loop; default: 1000 on a condition, else LIMIT_LOOP_ITEMS",
        ),
    ] = None
    max_parallel: Annotated[
        Count,
        parameter(
            aliases=("parallel_execution",),
            value_aliases={"true": 10, "false": 1},
            description="Iterations at a time; on a condition always 1",
        ),
    ] = 1
    on_item_error: Annotated[
        Literal["STOP", "NULL", "DROP"],
        parameter(
            aliases=("break_on_error",),
            value_aliases={"true": "STOP", "false": "NULL"},
            description="A failed iteration fails the loop, counts as null, or is left out",
        ),
    ] = "STOP"
    collect: Annotated[
        bool, parameter(aliases=("collect_results",), description="Whether results are kept")
    ] = True


@node(
    "FLOW.LOOP",
    title="Loop",
    inputs=(Port("main"), Port(LOOP_BODY)),
    outputs={
        ITERATION: {"item": Any, "items": list[Any], "index": int, "count": int, "is_last": bool, "previous": Any},
        "complete": {
            "results": list[Any], "count": int, "failed": int, "errors": list[IterationError], "last": Any
        },
    },
    through="complete",
    timeout=TIMEOUT_SECONDS,
    presets={"FLOW.FOR_EACH": {"loop_type": "foreach"}, "FLOW.WHILE": {"loop_type": "while"}},
    is_brief=True,
)  # fmt: skip
def loop(context: Context, parameters: Looping) -> Loop:
    """Run the nodes behind the port `iteration` again and again, then go on at `complete`."""
    match parameters.loop_type:
        case "foreach":
            return _over(context, parameters, list_of(context, parameters.items))
        case "for":
            return _over(context, parameters, _numbers(parameters))
        case "while" | "until":
            return _on_condition(context, parameters)
        case _:
            assert_never(parameters.loop_type)


def _over(context: Context, parameters: Looping, items: list[Any] | range) -> Loop:
    most = _most(context, parameters, context.limits.loop_items)
    if len(items) > most:
        raise _too_many(f"{len(items)} items", most)
    most_parallel = context.limits.max_parallel
    if parameters.max_parallel > most_parallel:
        reason = f"is {parameters.max_parallel}; the limit is {most_parallel} (LIMIT_MAX_PARALLEL)"
        raise invalid_parameter("max_parallel", reason)
    rules = LoopRules(
        batch_size=parameters.batch_size,
        max_parallel=parameters.max_parallel,
        on_item_error=ItemError(parameters.on_item_error),
        collect=parameters.collect,
    )
    return Loop(items=list(items), rules=rules)


def _numbers(parameters: Looping) -> range:
    start, step, end, count = (
        parameters.start, parameters.step, parameters.end, parameters.count
    )  # fmt: skip
    if step == 0:
        raise invalid_parameter("step", "must not be 0")
    if (count is None) == (end is None):
        raise invalid_parameter("count", "or end is required by loop_type for, and not both")
    if count is not None:
        end = start + count * step
    assert end is not None
    return range(start, end, step)


def _on_condition(context: Context, parameters: Looping) -> Loop:
    """Say whether one more iteration follows: while is asked before each, until after each."""
    if parameters.condition is None:
        raise invalid_parameter("condition", f"is required by loop_type {parameters.loop_type}")
    rules = LoopRules(on_item_error=ItemError(parameters.on_item_error), collect=parameters.collect)
    if parameters.loop_type == "until" and not context.is_asked:
        return Loop(rules=rules)
    scope = context.next_loop
    assert scope is not None
    holds = context.condition(parameters.condition, loop=scope)
    goes_on = holds == (parameters.loop_type == "while")
    most = _most(context, parameters, MAX_ITERATIONS)
    if goes_on and scope["index"] >= most:
        raise _too_many("a condition that still wants more iterations", most)
    return Loop(goes_on=goes_on, rules=rules)


def _most(context: Context, parameters: Looping, default: int) -> int:
    wanted = default if parameters.max_iterations is None else parameters.max_iterations
    return min(wanted, context.limits.loop_items)


def _too_many(what: str, most: int) -> Failed:
    message = (
        f"the loop has {what}, and may have {most} iterations; raise max_iterations, up to "
        "LIMIT_LOOP_ITEMS"
    )
    details = {"limit": most}
    return Failed(Failure(FailureKind.INVALID_INPUT, "too_many_iterations", message, details))


HANDLERS = (loop,)
