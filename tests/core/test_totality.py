"""Every input in every status is answered: taken where it fits, refused where it does not, never an exception."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from contracts.interactions import Answer, Responder
from contracts.messages import LoopOrder, Result, WaitOrder
from contracts.model import Settings
from contracts.statuses import ExecutionStatus, ItemError, TimerKind, WaitKind
from scheduler.core.decision import (
    Admitted,
    AnswerGiven,
    AttemptLost,
    CallFinished,
    CancelAsked,
    ChildEnded,
    EndWaitAsked,
    HandlerStarts,
    Input,
    PauseAsked,
    Reported,
    SignalSent,
    TaskReturned,
    TimerDue,
    UnpauseAsked,
)
from tests.core.graphs import CONTINUE, ONE_TRY, RETRY, run
from tests.support.engine import (
    EXECUTION,
    SOMEBODY,
    START,
    Engine,
    compiled,
    document,
    failure,
    key_of,
    node,
    raw,
    timer_of,
)

# --- node runs -----------------------------------------------------------------------------------


def _pending() -> Engine:
    return run("before x:CUSTOM.GOES_ON", "before -> x")


def _pausing() -> Engine:
    engine = run("x:CUSTOM.GOES_ON", fields={"x": {"retry_policy": RETRY}})
    engine.fail("x", retryable=True)
    return engine


def _held() -> Engine:
    engine = run("before x:CUSTOM.GOES_ON", "before -> x")
    engine.pause()
    engine.succeed("before")
    return engine


def _running() -> Engine:
    return run("x:CUSTOM.GOES_ON other", fields={"x": CONTINUE})


def _waiting() -> Engine:
    engine = _running()
    engine.wait("x", WaitKind.SIGNAL, signal="go", seconds=60, check_seconds=10)
    return engine


def _waiting_for_a_child() -> Engine:
    engine = _running()
    engine.start_child("x")
    return engine


def _succeeded() -> Engine:
    engine = _running()
    engine.succeed("x")
    return engine


def _failed() -> Engine:
    engine = _running()
    engine.fail("x")
    return engine


def _skipped() -> Engine:
    engine = run("before x:CUSTOM.GOES_ON other", "before.a -> x")
    engine.report("before", ports={})
    return engine


def _canceled() -> Engine:
    engine = run(
        "each:FLOW.LOOP bad x:CUSTOM.GOES_ON other",
        "each.iteration -> bad",
        "each.iteration -> x",
        fields={"bad": ONE_TRY},
    )
    engine.iterate("each", [1], on_item_error=ItemError.DROP)
    engine.fail("bad@0")
    return engine


NODE_RUNS: Final[dict[str, tuple[str, Callable[[], Engine]]]] = {
    "PENDING": ("x", _pending),
    "PENDING in a retry pause": ("x", _pausing),
    "PENDING and held": ("x", _held),
    "RUNNING": ("x", _running),
    "WAITING": ("x", _waiting),
    "WAITING for a child": ("x", _waiting_for_a_child),
    "SUCCESS": ("x", _succeeded),
    "ERROR": ("x", _failed),
    "SKIPPED": ("x", _skipped),
    "CANCELED": ("x@0", _canceled),
}


def result(name: str, attempt: int, **outcome: Any) -> Reported:
    """Return a report of an attempt."""
    node_id, iteration = key_of(name)
    return Reported(
        Result(
            execution_id=EXECUTION,
            node_id=node_id,
            iteration=iteration,
            attempt=attempt,
            token="",
            worker_id="worker",
            started_at="2026-03-28T12:00:00Z",
            finished_at="2026-03-28T12:00:01Z",
            **outcome,
        )
    )


def inputs_about(name: str, attempt: int, child_id: str) -> dict[str, Input]:
    """Return every input about a node run."""
    key = key_of(name)
    timers: dict[str, Input] = {
        f"TimerDue {kind}": TimerDue(timer_of(name, kind, attempt), kind, *key)
        for kind in TimerKind
        if kind is not TimerKind.EXECUTION_TIMEOUT
    }
    wait = WaitOrder(kind=WaitKind.SIGNAL, signal="go")
    return timers | {
        "Reported ports": result(name, attempt, ports={"main": raw(1)}),
        "Reported failure": result(name, attempt, failure=failure()),
        "Reported wait": result(name, attempt, wait=wait),
        "Reported loop": result(name, attempt, loop=LoopOrder()),
        "AttemptLost": AttemptLost(*key, attempt, failure()),
        "HandlerStarts": HandlerStarts(*key, attempt, "w", "d"),
        "CallFinished": CallFinished(*key, attempt, "k", raw(1)),
        "TaskReturned": TaskReturned(*key, attempt, "w", ()),
        "EndWaitAsked": EndWaitAsked(signal_id="s", node_id=key[0], iteration=key[1], by=SOMEBODY),
        "ChildEnded": ChildEnded(
            node_id=key[0],
            iteration=key[1],
            child_execution_id=child_id,
            status=ExecutionStatus.SUCCESS,
        ),
    }


FITTING: Final[dict[str, set[str]]] = {
    "PENDING in a retry pause": {"TimerDue RETRY"},
    "RUNNING": {
        "Reported ports",
        "Reported failure",
        "Reported wait",
        "Reported loop",
        "AttemptLost",
        "HandlerStarts",
        "TaskReturned",
        "CallFinished",
    },
    "WAITING": {"TimerDue CHECK", "TimerDue DUE", "EndWaitAsked"},
    "WAITING for a child": {"ChildEnded"},
}
"""By status of a node run: what is taken. All else changes nothing."""

REFUSALS: Final = {"stale_result", "stale_timer", "stale_child", "not_waiting"}


@pytest.mark.parametrize("given", sorted(inputs_about("x", 1, "")))
@pytest.mark.parametrize("status", list(NODE_RUNS))
def test_every_input_about_a_node_run_in_every_status(status: str, given: str) -> None:
    name, made = NODE_RUNS[status]
    engine = made()
    run_of_x = engine.state.runs[key_of(name)]
    child_id = next(iter(engine.children), "unknown")
    assert str(run_of_x.status) == status.split()[0]

    decision = engine.feed(inputs_about(name, run_of_x.attempt, child_id)[given])

    if given in FITTING.get(status, set()):
        assert decision.refused is None
    else:
        assert decision.refused in REFUSALS
        assert decision.events == ()


@pytest.mark.parametrize("attempt", [0, 2, -1])
@pytest.mark.parametrize(
    "given", sorted(inputs_about("x", 1, "").keys() - {"EndWaitAsked", "ChildEnded"})
)
def test_inputs_about_another_attempt_change_nothing(given: str, attempt: int) -> None:
    for made in (_running, _waiting, _pausing):
        engine = made()

        assert engine.feed(inputs_about("x", attempt, "")[given]).refused in REFUSALS


@pytest.mark.parametrize("given", sorted(inputs_about("x", 1, "")))
@pytest.mark.parametrize("name", ["gone", "x@0", "x@0-3"])
def test_inputs_about_a_node_run_that_is_not_there_change_nothing(given: str, name: str) -> None:
    engine = _running()

    assert engine.feed(inputs_about(name, 1, "")[given]).refused in REFUSALS


# --- executions ----------------------------------------------------------------------------------


def _timed(*, waits: bool = False) -> Engine:
    nodes = [node("x", "CUSTOM.GOES_ON", **ONE_TRY)]
    engine = Engine(compiled(document(nodes, [], Settings(timeout=60))))
    if waits:
        engine.start().wait("x", WaitKind.SIGNAL, signal="go")
    return engine


def _ended(status: ExecutionStatus) -> Engine:
    engine = _timed().start()
    match status:
        case ExecutionStatus.SUCCESS:
            engine.succeed("x")
        case ExecutionStatus.ERROR:
            engine.fail("x")
        case _:
            engine.cancel()
    return engine


EXECUTIONS: Final[dict[str, Callable[[], Engine]]] = {
    "NEW": _timed,
    "RUNNING": lambda: _timed().start(),
    "WAITING": lambda: _timed(waits=True),
    "SUCCESS": lambda: _ended(ExecutionStatus.SUCCESS),
    "ERROR": lambda: _ended(ExecutionStatus.ERROR),
    "CANCELED": lambda: _ended(ExecutionStatus.CANCELED),
}

INPUTS: Final[dict[str, Input]] = inputs_about("x", 1, "c") | {
    "Admitted": Admitted(),
    "CancelAsked": CancelAsked(SOMEBODY),
    "PauseAsked": PauseAsked(SOMEBODY),
    "UnpauseAsked": UnpauseAsked(SOMEBODY),
    "SignalSent": SignalSent(signal_id="s", name="go", by=SOMEBODY),
    "AnswerGiven": AnswerGiven(
        signal_id="s",
        interaction_id="i",
        answer=Answer(port="approved", responder=Responder(channel="API"), responded_at=START),
        by=SOMEBODY,
    ),
    "TimerDue EXECUTION_TIMEOUT": TimerDue("execution_timeout", TimerKind.EXECUTION_TIMEOUT),
}

AT_ANY_TIME: Final = {"CancelAsked", "PauseAsked", "SignalSent"}
TAKEN: Final[dict[str, set[str]]] = {
    "NEW": AT_ANY_TIME | {"Admitted"},
    "RUNNING": AT_ANY_TIME
    | (FITTING["RUNNING"] - {"TaskReturned"})  # it is answered, and changes nothing
    | {"TimerDue EXECUTION_TIMEOUT"},
    "WAITING": AT_ANY_TIME | {"EndWaitAsked", "TimerDue EXECUTION_TIMEOUT"},
}
"""By status of an execution: what is taken. One that is over takes nothing."""


@pytest.mark.parametrize("given", sorted(INPUTS))
@pytest.mark.parametrize("status", list(EXECUTIONS))
def test_every_input_in_every_status_of_the_execution(status: str, given: str) -> None:
    engine = EXECUTIONS[status]()
    seq = engine.state.seq
    assert engine.status == status

    decision = engine.feed(INPUTS[given])

    if given in TAKEN.get(status, set()):
        assert decision.refused is None
        assert engine.state.seq > seq
    else:
        assert decision.refused is not None or decision.returned is not None
        assert engine.state.seq == seq
    if engine.status.is_terminal and status == engine.status:
        assert decision.refused == "already_finished"
    if isinstance(INPUTS[given], TimerDue) and decision.refused is not None:
        assert decision.cleared == (INPUTS[given].key,)  # type: ignore[union-attr]


def test_a_result_that_says_nothing_is_a_failure() -> None:
    engine = _running()

    engine.feed(result("x", 1))

    assert engine.statuses["x"] == "ERROR"
    assert engine.value("x", "error")["error"]["code"] == "invalid_result"
