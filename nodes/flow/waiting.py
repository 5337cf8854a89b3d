"""FLOW.WAIT: for a while, until an instant, for a signal, or until a condition holds.

The engine suspends the node run and calls the handler again with what ended the wait. A wait for a
condition is ended by every signal and every look in between, and goes on if the condition does not hold:
`state` keeps since when, so that `max_wait` counts from the beginning.
"""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar, assert_never

import msgspec

from contracts.expressions import instants
from contracts.expressions.errors import ExpressionError
from contracts.specs import TIMEOUT_PORT
from contracts.times import rfc3339
from nodes.answers import invalid_parameter
from nodes.bounds import TIMEOUT_SECONDS, Seconds, checked_wait
from nodes.context import Context, Failure, FailureKind, Outputs, Resumption, Wait, WaitKind
from nodes.parameters import Json, parameter
from nodes.registry import node

T = TypeVar("T")

SignalName = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Waiting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of FLOW.WAIT."""

    wait_type: Annotated[
        Literal["duration", "until", "signal", "condition"],
        parameter(
            value_aliases={
                "fixed_delay": "duration",
                "time": "duration",
                "until_time": "until",
                "for_signal": "signal",
                "event": "signal",
                "until_condition": "condition",
            }
        ),
    ]
    duration: Annotated[
        Seconds | None,
        parameter(
            aliases=("duration_seconds",),
            schema={"type": "number", "minimum": 0},
            description="Seconds",
        ),
    ] = None
    until: Annotated[
        str | None,
        parameter(
            schema={"type": "string"},
            description="RFC 3339; without zone in the workflow's; one that is over is not waited for",
        ),
    ] = None
    signal: Annotated[
        SignalName | None,
        parameter(
            aliases=("event_name",),
            schema={"type": "string", "minLength": 1, "maxLength": 255},
            description="Its name; of a condition the id of the node, if left out",
        ),
    ] = None
    condition: Annotated[
        str | None,
        parameter(
            "expr",
            aliases=("wait_condition",),
            scope=("signal",),
            description="Asked at the start, at each signal and every `check_interval`",
        ),
    ] = None
    check_interval: Annotated[
        float,
        msgspec.Meta(ge=0.1),
        parameter(aliases=("check_interval_seconds",), description="Seconds"),
    ] = 10
    max_wait: Annotated[
        Seconds | None,
        parameter(
            aliases=("max_wait_seconds", "timeout_seconds"),
            description="Seconds, of a signal or condition; null: as long as any wait may take",
        ),
    ] = 3600


@node(
    "FLOW.WAIT",
    title="Wait",
    outputs={"main": None, TIMEOUT_PORT: {"data": Json, "waited_seconds": float}},
    timeout=TIMEOUT_SECONDS,
    after_wait="dispatch",
    presets={"FLOW.DELAY": {"wait_type": "duration"}},
    is_brief=True,
)
def wait(context: Context, parameters: Waiting) -> Outputs | Wait | Failure:
    """Wait for a while, until an instant, for a signal, or until a condition holds."""
    resumed = context.resumed
    if resumed is None:
        return _begun(context, parameters)
    match resumed.by:
        case "DUE":
            return _too_late(context, parameters, resumed)
        case "SIGNAL" if parameters.wait_type == "signal":
            return _with_signal(context, resumed)
        case "SIGNAL" | "CHECK":
            return _looked(context, parameters, resumed)
        case _:
            return Outputs(main=context.input)  # the instant has come, or somebody ended it early


def _begun(context: Context, parameters: Waiting) -> Outputs | Wait:
    match parameters.wait_type:
        case "duration":
            seconds = _given("duration", parameters.duration)
            return Wait(WaitKind.TIMER, seconds=checked_wait(context, seconds))
        case "until":
            return _until(context, _given("until", parameters.until))
        case "signal":
            signal = _given("signal", parameters.signal)
            return Wait(WaitKind.SIGNAL, seconds=_longest(context, parameters), signal=signal)
        case "condition":
            if context.condition(_condition(parameters), signal=None):
                return Outputs(main=context.input)
            return _until_it_holds(context, parameters, _longest(context, parameters))
        case _:
            assert_never(parameters.wait_type)


def _until(context: Context, text: str) -> Outputs | Wait:
    due_at = _instant(text, context.node.timezone)
    now = context.clock.now()
    if due_at <= now:
        return Outputs(main=context.input)
    checked_wait(context, (due_at - now).total_seconds())
    return Wait(WaitKind.TIMER, due_at=due_at)


def _instant(text: str, timezone: str) -> datetime:
    """Return the instant that a text names. Raises Failed."""
    zone = instants.zone(timezone)
    try:
        return instants.parse(text, zone)
    except ExpressionError as error:
        try:
            local = datetime.fromisoformat(text)
        except ValueError:
            raise invalid_parameter("until", f"is no instant: {error}") from error
        return instants.utc(local if local.tzinfo else local.replace(tzinfo=zone))


def _looked(context: Context, parameters: Waiting, resumed: Resumption) -> Outputs | Wait | Failure:
    """Ask the condition again, with the signal that came if one did, and go on waiting if it does not hold."""
    signal = None if resumed.by == "CHECK" else _signal(resumed) | {"received_at": resumed.at}
    if context.condition(_condition(parameters), signal=signal, now=resumed.at):
        return Outputs(main=context.input) if signal is None else _with_signal(context, resumed)
    since = _since(resumed)
    left = _longest(context, parameters) - (resumed.at - since).total_seconds()
    if left <= 0:
        return _too_late(context, parameters, resumed)
    return _until_it_holds(context, parameters, left, {"since": rfc3339(since)})


def _until_it_holds(
    context: Context, parameters: Waiting, seconds: float, state: Any = msgspec.UNSET
) -> Wait:
    return Wait(
        WaitKind.SIGNAL,
        seconds=seconds,
        check_seconds=parameters.check_interval,
        signal=parameters.signal or context.node.id,
        state=state,
    )


def _since(resumed: Resumption) -> datetime:
    """Return when the node run began to wait, however often it was looked at since."""
    if resumed.state is None:
        return resumed.waited_since
    return datetime.fromisoformat(resumed.state["since"])


def _too_late(context: Context, parameters: Waiting, resumed: Resumption) -> Outputs | Failure:
    waited = resumed.at - _since(resumed)
    if TIMEOUT_PORT in context.wired:
        late = {"data": context.input, "waited_seconds": waited / timedelta(seconds=1)}
        return Outputs(**{TIMEOUT_PORT: late})
    awaited = f"{parameters.wait_type} of node {context.node.id}"
    message = f"the {awaited} did not come in time; wire its port timeout, or raise max_wait"
    return Failure(FailureKind.TIMEOUT, "wait_timeout", message)


def _with_signal(context: Context, resumed: Resumption) -> Outputs:
    return Outputs(main={"data": context.input, "signal": _signal(resumed)})


def _signal(resumed: Resumption) -> dict[str, Any]:
    return {
        "name": resumed.signal,
        "data": resumed.data,
        "received_at": rfc3339(resumed.at),
    }


def _longest(context: Context, parameters: Waiting) -> float:
    if parameters.max_wait is None:
        return context.limits.wait_s
    return checked_wait(context, parameters.max_wait)


def _condition(parameters: Waiting) -> str:
    return _given("condition", parameters.condition)


def _given(name: str, value: T | None) -> T:
    if value is None:
        raise invalid_parameter(name, f"is required by wait_type {name}")
    return value


HANDLERS = (wait,)
