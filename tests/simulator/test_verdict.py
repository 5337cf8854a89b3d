"""Histories that never should have been are recognised without the fold."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from contracts.failures import Failure, FailureKind
from contracts.history import (
    Event,
    EventData,
    ExecutionCreated,
    ExecutionStarted,
    ExecutionSucceeded,
    NodeFailed,
    NodeRunRef,
    NodesSkipped,
    NodeSucceeded,
    TimerFired,
)
from contracts.model import OnError
from contracts.statuses import Mode, SkipReason, TimerKind
from tests.simulator import verdict
from tests.support.engine import START, USER, compiled, document, node, raw, wire

JOIN = compiled(document([node("a"), node("b"), node("c")], [wire("a -> c"), wire("b.a -> c")]))
CREATED = ExecutionCreated(workflow_id="w", version_id="v", user_id=USER, mode=Mode.TRIGGER)
DONE = ExecutionSucceeded()
BROKEN = Failure(FailureKind.ERROR, "broken", "it broke", retryable=True)
PAUSED = NodeFailed(failure=BROKEN, tries=1, retry_at=START)
FAILED = NodeFailed(failure=BROKEN, tries=1, policy=OnError.CONTINUE_REGULAR, ports={})
RETRIED = TimerFired(TimerKind.RETRY)

Step = tuple[str, int, EventData]


def success(*ports: str) -> NodeSucceeded:
    """Return a success on some ports."""
    return NodeSucceeded(ports={port: raw(1) for port in ports or ("main",)})


def history(*steps: Step, end: Sequence[EventData] = (DONE,)) -> list[Event]:
    """Return a whole history with these steps of node runs: node, attempt, what happened."""
    data: list[Any] = [("", 0, CREATED), ("", 0, ExecutionStarted()), *steps]
    data += [("", 0, each) for each in end]
    return [
        Event(seq, START + timedelta(seconds=seq), each, node_id or None, (), attempt or None)
        for seq, (node_id, attempt, each) in enumerate(data, 1)
    ]


def test_a_sound_history_has_no_problem() -> None:
    sound = history(
        ("a", 1, PAUSED),
        ("a", 2, RETRIED),
        ("b", 1, success()),
        ("a", 2, success()),
        ("c", 1, success()),
    )

    assert list(verdict.problems(JOIN, sound)) == []


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        pytest.param(
            history(("a", 1, success()), ("c", 1, success())),
            "ran before",
            id="a join that does not wait",
        ),
        pytest.param(
            history(("a", 1, success("b")), ("b", 1, success()), ("c", 1, success())),
            "nothing was delivered",
            id="a dead path that ran",
        ),
        pytest.param(
            history(("a", 1, success()), ("a", 1, success())), "ended, and then", id="ended twice"
        ),
        pytest.param(
            history(("a", 1, FAILED), ("a", 2, success())),
            "ended, and then",
            id="ran after its end",
        ),
        pytest.param(
            history(("a", 1, PAUSED), ("a", 1, success())), "out of order", id="an attempt twice"
        ),
        pytest.param(
            history(("a", 1, PAUSED), ("a", 2, success())),
            "out of order",
            id="no pause before a retry",
        ),
        pytest.param(history(("a", 2, RETRIED)), "there was none", id="a retry without a failure"),
        pytest.param(
            history(
                ("a", 1, success()),
                ("", 0, NodesSkipped((NodeRunRef("a"),), SkipReason.DEAD)),
            ),
            "ended twice",
            id="skipped after its end",
        ),
        pytest.param(history(("", 0, ExecutionStarted())), "started twice", id="started twice"),
        pytest.param(history(end=()), "one end", id="no end"),
        pytest.param(history(end=(DONE, DONE)), "one end", id="two ends"),
        pytest.param(history(end=(DONE, success())), "one end", id="something after the end"),
        pytest.param(history()[:2] + history()[1:], "gap", id="a gap"),
        pytest.param(
            [*history()[:-1], Event(3, START, DONE)], "backwards", id="instants run backwards"
        ),
    ],
)
def test_what_never_should_have_been_is_found(events: list[Event], problem: str) -> None:
    found = list(verdict.problems(JOIN, events))

    assert any(problem in each for each in found), found
