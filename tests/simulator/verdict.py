"""What must be true of an execution that is over: of its history by itself, and compared with a run in which nothing went wrong.

The history is read here without the fold, so that a mistake there does not hide itself.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

import msgspec

from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState, NodeRun
from contracts.failures import FailureKind
from contracts.history import (
    TERMINAL_KINDS,
    Event,
    ExecutionStarted,
    NodeFailed,
    NodesSkipped,
    NodeSucceeded,
    TimerFired,
)
from contracts.ids import RunKey
from contracts.statuses import ExecutionStatus
from tests.simulator.shapes import Job

Ports = Mapping[str, msgspec.Raw]

_INSTANT: Final = re.compile(rb'"at":"[^"]*"')

SKEW: Final = timedelta(seconds=0.2)
"""How far the clocks of two schedulers may be apart."""


class _Reading:
    """A history read once from its beginning. Every method returns what is wrong, or None."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._is_started = False
        self._ended: dict[RunKey, Ports] = {}
        self._failures: dict[RunKey, int] = {}
        self._pausing: set[RunKey] = set()

    def read(self, event: Event) -> str | None:
        """Take the next event."""
        key = (event.node_id or "", event.iteration or ())
        match event.data:
            case ExecutionStarted():
                if self._is_started:
                    return "started twice"
                self._is_started = True
            case NodeSucceeded():
                return self._attempt_ended(key, event) or self._node_run_ended(
                    key, event.data.ports
                )
            case NodeFailed(retry_at=None):
                return self._attempt_ended(key, event) or self._node_run_ended(
                    key, event.data.ports
                )
            case NodeFailed():
                problem = self._attempt_ended(key, event)
                self._failures[key] = self._failures.get(key, 0) + 1
                self._pausing.add(key)
                return problem
            case NodesSkipped():
                skipped = [
                    ((ref.node_id, ref.iteration), ref.ports) for ref in event.data.node_runs
                ]
                return next(filter(None, (self._node_run_ended(*each) for each in skipped)), None)
            case TimerFired() if event.node_id is not None:
                if key not in self._pausing:
                    return f"the pause of {key} ended, and there was none"
                self._pausing.discard(key)
        return None

    def _attempt_ended(self, key: RunKey, event: Event) -> str | None:
        """An attempt ends once, after all attempts before it, when everything that it waits for has ended."""
        if event.attempt is None:
            return None  # a trigger, or a pin: no attempt was made
        if key in self._ended:
            return f"{key} ended, and then attempt {event.attempt} did"
        if event.attempt != self._failures.get(key, 0) + 1 or key in self._pausing:
            return f"attempt {event.attempt} of {key} ended out of order"
        return self._was_ready(key)

    def _was_ready(self, key: RunKey) -> str | None:
        node = self._plan.nodes[key[0]]
        sources = [(each, self._ended.get((each.source, key[1]))) for each in node.incoming]
        waiting = [each.source for each, _ in sources if (each.source, key[1]) not in self._ended]
        if waiting:
            return f"{key} ran before {waiting} ended"
        if node.incoming and not any(each.from_port in (ports or {}) for each, ports in sources):
            return f"{key} ran, and nothing was delivered to it"
        return None

    def _node_run_ended(self, key: RunKey, ports: Ports | None) -> str | None:
        if key in self._ended:
            return f"{key} ended twice"
        self._ended[key] = ports or {}
        return None


def problems(plan: Plan, events: Sequence[Event]) -> Iterator[str]:
    """Yield what is wrong with the history of an execution that is over."""
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        yield "history has a gap"
    if [event for event in events if event.kind in TERMINAL_KINDS] != [events[-1]]:
        yield "history does not have one end, at its end"
    if any(later.at < earlier.at for earlier, later in pairwise(events)):
        yield "history runs backwards"
    reading = _Reading(plan)
    for event in events:
        problem = reading.read(event)
        if problem is not None:
            yield f"event {event.seq}: {problem}"


def difference(
    job: Job, troubled: ExecutionState, calm: ExecutionState, *, may_end_early: bool
) -> str | None:
    """Return how a run ended differently from what it would have been without trouble, if nothing explains that."""
    if troubled.status is ExecutionStatus.CANCELED:
        return None if may_end_early else "canceled, and nobody asked for it"
    if _timed_out(troubled):
        return _too_early(job, troubled)
    if _timed_out(calm) or _lost_a_worker(troubled) or _lost_a_worker(calm):
        return None  # how long things take decides, or how often a task was delivered
    if troubled.status is not calm.status:
        return f"ended in {troubled.status} in place of {calm.status}"
    if calm.status is ExecutionStatus.ERROR:
        return None  # the first of several failures ends it: which is first is a matter of time
    return _different_runs(troubled, calm)


def _different_runs(troubled: ExecutionState, calm: ExecutionState) -> str | None:
    for key, run in calm.runs.items():
        expected, found = _essence(run), _essence(troubled.runs[key])
        if expected != found:
            return f"node run {key} ended as {found} in place of {expected}"
    if troubled.continued_errors != calm.continued_errors:
        return (
            f"{troubled.continued_errors} errors were continued in place of {calm.continued_errors}"
        )
    return None


def _essence(run: NodeRun) -> tuple[Any, ...]:
    """Return what must not depend on the order of messages."""
    ports = {port: _timeless(value) for port, value in (run.ports or {}).items()}
    return run.status, ports, run.tries, run.attempt, run.skip_reason, run.policy


def _timeless(value: msgspec.Raw) -> bytes:
    """Return a value without the instants of the failures that are told in it."""
    return _INSTANT.sub(b"", bytes(value))


def _timed_out(state: ExecutionState) -> bool:
    return state.failure is not None and state.failure.code == "execution_timeout"


def _too_early(job: Job, state: ExecutionState) -> str | None:
    assert state.started_at is not None
    assert state.finished_at is not None
    timeout = job.plan.timeout
    if timeout is None:
        return "timed out without a timeout"
    if state.finished_at - state.started_at < timedelta(seconds=timeout) - SKEW:
        return "timed out too early"
    return None


def _lost_a_worker(state: ExecutionState) -> bool:
    return any(
        run.failure is not None and run.failure.kind is FailureKind.WORKER_LOST
        for run in state.runs.values()
    )
