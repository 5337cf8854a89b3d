"""What the tests of the core exercised: every input in every status, every event in every status it can follow in.

These run last. An entry of the tables says why a pair cannot be, and is itself proven: neither the tests
that say what they are about, nor those by chance, have ever seen it.
"""

import itertools
from fnmatch import fnmatch
from typing import Final, get_args

import pytest

from contracts.history import DATA_OF
from contracts.statuses import ExecutionStatus, NodeRunStatus, SkipReason, TimerKind
from scheduler.core.decision import Input
from tests.support import exercised
from tests.support.exercised import Pair

pytestmark = pytest.mark.usefixtures("all_ran")

ABOUT_NODE_RUNS: Final = (
    "Reported ports",
    "Reported failure",
    "Reported wait",
    "Reported loop",
    "AttemptLost",
    "HandlerStarts",
    "CallFinished",
    "TaskReturned",
    "EndWaitAsked",
    "ChildEnded",
    *(f"TimerDue {kind}" for kind in TimerKind if kind is not TimerKind.EXECUTION_TIMEOUT),
)
ABOUT_EXECUTIONS: Final = (
    "Admitted",
    "CancelAsked",
    "PauseAsked",
    "UnpauseAsked",
    "SignalSent",
    "AnswerGiven",
    f"TimerDue {TimerKind.EXECUTION_TIMEOUT}",
)

NODE_EVENTS: Final = (
    "node_started",
    "node_handed_back",
    "node_succeeded",
    "node_failed",
    "node_failed for good",
    "node_waiting",
    "loop_started",
    "loop_continued",
    "checkpoint_saved",
    "signal_received",
    "signal_received open",
    "child_finished",
    *(f"nodes_skipped {reason}" for reason in SkipReason),
    *(f"timer_fired {kind}" for kind in TimerKind if kind is not TimerKind.EXECUTION_TIMEOUT),
)
EXECUTION_EVENTS: Final = (
    *NODE_EVENTS,
    "iteration_finished",
    "signal_received kept",
    f"timer_fired {TimerKind.EXECUTION_TIMEOUT}",
    "outputs_carried",
    "execution_started",
    "execution_paused",
    "execution_resumed",
    "execution_succeeded",
    "execution_failed",
    "execution_canceled",
    "execution_created",
)

CANNOT_FOLLOW: Final[tuple[tuple[str, str, str], ...]] = (
    ("execution SUCCESS", "*", "a terminal status never changes"),
    ("execution ERROR", "*", "a terminal status never changes"),
    ("execution CANCELED", "*", "a terminal status never changes"),
    ("execution *", "execution_created", "it is the first event: there is no status before"),
    ("execution [!N]*", "outputs_carried", "outputs are carried before the start"),
    ("execution [!N]*", "execution_started", "an execution starts once"),
    ("execution NEW", "node_*", "nothing runs before the start"),
    ("execution NEW", "nodes_skipped *", "nothing is skipped before the start"),
    ("execution NEW", "loop_*", "nothing runs before the start"),
    ("execution NEW", "iteration_finished", "nothing runs before the start"),
    ("execution NEW", "checkpoint_saved", "nothing runs before the start"),
    ("execution NEW", "child_finished", "nothing waits before the start"),
    ("execution NEW", "signal_received", "nothing waits before the start"),
    ("execution NEW", "signal_received open", "nobody is asked before the start"),
    ("execution NEW", "timer_fired *", "timers are set from the start on"),
    ("execution NEW", "execution_succeeded", "it starts before it succeeds"),
    ("execution RUNNING", "execution_succeeded", "with the last node run nothing is under way"),
    ("execution WAITING", "node_started", "nothing is under way while an execution waits"),
    ("execution WAITING", "node_handed_back", "nothing is under way while an execution waits"),
    ("execution WAITING", "node_waiting", "nothing is under way while an execution waits"),
    ("execution WAITING", "loop_*", "nothing is under way while an execution waits"),
    ("execution WAITING", "checkpoint_saved", "nothing is under way while an execution waits"),
    ("node run SUCCESS", "*", "a terminal status never changes"),
    ("node run ERROR", "*", "a terminal status never changes"),
    ("node run CANCELED", "*", "a terminal status never changes"),
    ("node run SKIPPED", "[!n]*", "a terminal status never changes"),
    ("node run SKIPPED", "node_*", "a terminal status never changes"),
    ("node run SKIPPED", "nodes_skipped DISABLED", "a terminal status never changes"),
    ("node run SKIPPED", "nodes_skipped OTHER_TRIGGER", "a terminal status never changes"),
    ("node run [!S]*", "nodes_skipped DEAD", "it tells of what an event before has skipped"),
    ("node run [RW]*", "nodes_skipped *", "what runs or waits is not skipped"),
    ("node run PENDING", "node_started", "it has no attempt under way"),
    ("node run PENDING", "node_handed_back", "it has no attempt under way"),
    ("node run PENDING", "node_failed", "it has no attempt to be tried again after"),
    ("node run PENDING", "node_waiting", "it has no attempt under way"),
    ("node run PENDING", "loop_*", "it has no attempt under way"),
    ("node run PENDING", "checkpoint_saved", "it has no attempt under way"),
    ("node run PENDING", "signal_received", "it does not wait"),
    ("node run PENDING", "child_finished", "it does not wait"),
    ("node run PENDING", "timer_fired WAIT", "it does not wait"),
    ("node run PENDING", "timer_fired CHECK", "it does not wait"),
    ("node run PENDING", "timer_fired REMINDER", "it does not wait"),
    ("node run RUNNING", "signal_received", "it does not wait"),
    ("node run RUNNING", "child_finished", "it does not wait"),
    ("node run RUNNING", "timer_fired *", "its waits are over"),
    ("node run WAITING", "node_started", "its attempt is over"),
    ("node run WAITING", "node_handed_back", "its attempt is over"),
    ("node run WAITING", "node_waiting", "its attempt is over"),
    ("node run WAITING", "loop_*", "its attempt is over"),
    ("node run WAITING", "checkpoint_saved", "its attempt is over"),
    ("node run WAITING", "timer_fired RETRY", "it is in no retry pause"),
)
"""(statuses, events, why not): an event of this kind is never decided in this status."""


def pairs(
    statuses: type[ExecutionStatus] | type[NodeRunStatus], prefix: str, names: tuple[str, ...]
) -> set[Pair]:
    """Return every pair of a status and a name."""
    return {(f"{prefix} {status}", name) for status, name in itertools.product(statuses, names)}


INPUTS: Final = pairs(ExecutionStatus, "execution", ABOUT_NODE_RUNS + ABOUT_EXECUTIONS) | pairs(
    NodeRunStatus, "node run", ABOUT_NODE_RUNS
)
EVENTS: Final = pairs(ExecutionStatus, "execution", EXECUTION_EVENTS) | pairs(
    NodeRunStatus, "node run", NODE_EVENTS
)


def listed(found: set[Pair]) -> str:
    """Return pairs as text, one in each line."""
    return "\n".join(f"{status}: {name}" for status, name in sorted(found))


def test_every_input_met_every_status() -> None:
    assert listed(INPUTS - exercised.INPUTS) == ""


def test_every_event_followed_in_every_status_that_it_can_follow_in() -> None:
    possible = {pair for pair in EVENTS if _why_not(pair) is None}

    assert listed(possible - exercised.EVENTS) == ""


def test_what_is_said_to_be_impossible_was_never_seen() -> None:
    seen = exercised.EVENTS | exercised.EVENTS_BY_CHANCE

    assert listed({pair for pair in seen if _why_not(pair) is not None}) == ""


def test_every_reason_is_needed() -> None:
    needless = [each for each in CANNOT_FOLLOW if not any(_fits(pair, each) for pair in EVENTS)]

    assert needless == []


def test_the_tables_know_every_kind_of_event_and_input() -> None:
    known = {name.split()[0] for name in EXECUTION_EVENTS}

    assert known == set(DATA_OF)
    assert {name for _, name in exercised.EVENTS} <= set(EXECUTION_EVENTS)
    names = {*ABOUT_NODE_RUNS, *ABOUT_EXECUTIONS}
    assert {name for _, name in exercised.INPUTS} - names <= {"Reported nothing", "TimerDue WHAT"}
    assert {name.split()[0] for name in names} == {kind.__name__ for kind in get_args(Input)}


def _why_not(pair: Pair) -> str | None:
    return next((each[2] for each in CANNOT_FOLLOW if _fits(pair, each)), None)


def _fits(pair: Pair, entry: tuple[str, str, str]) -> bool:
    return fnmatch(pair[0], entry[0]) and fnmatch(pair[1], entry[1])
