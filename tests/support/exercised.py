"""Which inputs met which statuses, and which events followed in which: noted by the Engine, judged by tests/core/test_exercised.py."""

from collections.abc import Iterator
from typing import Final

from contracts.execution.state import ExecutionState
from contracts.history import Event, NodeFailed, NodesSkipped, SignalReceived, TimerFired
from contracts.ids import RunKey
from scheduler.core.decision import EndWaitAsked, Input, Reported, TimerDue

Pair = tuple[str, str]

INPUTS: Final[set[Pair]] = set()
"""(status before, input) of tests that say what they are about."""

EVENTS: Final[set[Pair]] = set()
"""(status before, event) of the same."""

INPUTS_BY_CHANCE: Final[set[Pair]] = set()
EVENTS_BY_CHANCE: Final[set[Pair]] = set()


def note_input(state: ExecutionState, given: Input, *, by_chance: bool) -> None:
    """Note an input that is about to be fed, with the statuses of what it is about."""
    noted = INPUTS_BY_CHANCE if by_chance else INPUTS
    name = input_name(given)
    noted.add((f"execution {state.status}", name))
    key = _about(given)
    if key is not None and key in state.runs:
        noted.add((f"node run {state.runs[key].status}", name))


def note_event(state: ExecutionState, event: Event, *, by_chance: bool) -> None:
    """Note an event that is about to be folded into the state."""
    noted = EVENTS_BY_CHANCE if by_chance else EVENTS
    name = event_name(event)
    noted.add((f"execution {state.status}", name))
    for key in _told_of(event):
        if key in state.runs:
            noted.add((f"node run {state.runs[key].status}", name))


def input_name(given: Input) -> str:
    """Return the kind of an input: of results with what they hold, of timers with what they are for."""
    name = type(given).__name__
    match given:
        case Reported():
            held = ("failure", "wait", "loop", "ports")
            told = (each for each in held if getattr(given.result, each) is not None)
            return f"{name} {next(told, 'nothing')}"
        case TimerDue():
            return f"{name} {given.kind}"
        case _:
            return name


def event_name(event: Event) -> str:
    """Return the kind of an event, with what tells apart what it does."""
    match event.data:
        case NodeFailed(retry_at=None):
            return f"{event.kind} for good"
        case NodesSkipped(reason=what) | TimerFired(timer=what):
            return f"{event.kind} {what}"
        case SignalReceived(stays_open=True):
            return f"{event.kind} open"
        case SignalReceived() if event.node_id is None:
            return f"{event.kind} kept"
        case _:
            return event.kind


def _about(given: Input) -> RunKey | None:
    """Return the node run that an input names."""
    match given:
        case Reported():
            return given.result.node_id, given.result.iteration
        case EndWaitAsked():
            return None if given.node_id is None else (given.node_id, given.iteration or ())
        case _:
            node_id = getattr(given, "node_id", None)
            return None if node_id is None else (node_id, given.iteration)  # type: ignore[union-attr]


def _told_of(event: Event) -> Iterator[RunKey]:
    if isinstance(event.data, NodesSkipped):
        yield from ((ref.node_id, ref.iteration) for ref in event.data.node_runs)
    elif event.node_id is not None:
        yield event.node_id, event.iteration or ()
