"""What must be true of executions that are over: of the history of each, of those that belong together, and compared with a run in
which nothing went wrong.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

import msgspec

from contracts.execution import values
from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState, NodeRun
from contracts.failures import FailureKind
from contracts.history import (
    TERMINAL_KINDS,
    ChildFinished,
    Event,
    NodeHandedBack,
    NodeWaiting,
    OutputsCarried,
    SignalReceived,
    TimerFired,
)
from contracts.statuses import ExecutionStatus, TimerKind
from tests.simulator.reading import Reading
from tests.simulator.shapes import Ends, Exactness, Job, Work
from tests.simulator.simulation import Outcome

_INSTANT: Final = re.compile(rb'"at":"[^"]*"')
_ID: Final = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")

SKEW: Final = timedelta(seconds=0.2)
"""How far the clocks of two schedulers may be apart."""


# --- one history ---------------------------------------------------------------------------------


def problems(plan: Plan, events: Sequence[Event]) -> Iterator[str]:
    """Yield what is wrong with the history of an execution that is over."""
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        yield "history has a gap"
    if [event for event in events if event.kind in TERMINAL_KINDS] != [events[-1]]:
        yield "history does not have one end, at its end"
    if any(later.at < earlier.at for earlier, later in pairwise(events)):
        yield "history runs backwards"
    reading = Reading(plan)
    for event in events:
        problem = reading.read(event)
        if problem is not None:
            yield f"event {event.seq}: {problem}"


# --- executions that belong together -------------------------------------------------------------


def family_problems(work: Work, outcome: Outcome) -> Iterator[str]:
    """Yield what is wrong between executions, and between them and the questions that they asked."""
    yield from _unheard_failures(work, outcome)
    for execution_id, events in outcome.histories.items():
        for event in events:
            if isinstance(event.data, NodeWaiting):
                child_id = event.data.wait.child_execution_id
                if child_id is not None and child_id not in outcome.states:
                    yield f"{execution_id} waits for {child_id}, which nobody started"
            elif isinstance(event.data, ChildFinished):
                yield from _told_wrong(execution_id, event.data, outcome)
            elif isinstance(event.data, OutputsCarried):
                yield from _carried_wrong(execution_id, event.data, outcome)
    for question in outcome.questions.values():
        expected = _status_of(question.id, outcome.histories[question.execution_id])
        if question.status != expected:
            yield f"{question} is to be {expected}"
        if len(question.answers) != (expected == "ANSWERED"):
            yield f"{question} has {len(question.answers)} answers"


def _unheard_failures(work: Work, outcome: Outcome) -> Iterator[str]:
    """Every failed execution starts the workflow that is there for that, unless it is one itself."""
    if any(_asks(job, Ends.WORKFLOW) for job in work.jobs):
        return
    known = set(outcome.names.values())
    for state in outcome.states.values():
        name = outcome.names[state.id]
        is_heard = state.created.is_of_failure or f"{name}/failure" in known
        failed = state.status is ExecutionStatus.ERROR
        if failed and work.plans[state.created.version_id].failure_workflow and not is_heard:
            yield f"{name} failed, and its failure workflow was not started"


def _told_wrong(execution_id: str, told: ChildFinished, outcome: Outcome) -> Iterator[str]:
    child = outcome.states[told.child_execution_id]
    if told.status is not child.status:
        yield f"{execution_id} was told that {child.id} ended in {told.status}: it did in {child.status}"
    elif child.output is not None:
        leaves = msgspec.json.decode(child.output, type=dict[str, msgspec.Raw])
        if told.output != values.only_value(leaves):
            yield f"{execution_id} was told another output than {child.id} had"


def _carried_wrong(execution_id: str, carried: OutputsCarried, outcome: Outcome) -> Iterator[str]:
    """What is taken over is what the old execution has."""
    created = outcome.states[execution_id].created
    assert created.retry_of is not None or created.forked_from is not None
    origin = created.retry_of or (created.forked_from and created.forked_from.execution_id) or ""
    old, new = outcome.states[origin], outcome.states[execution_id]
    for each in carried.node_runs:
        key = (each.node_id, each.iteration)
        if each.ports is None:
            continue
        if old.runs[key].ports != each.ports:
            yield f"{execution_id} carries other outputs of {key} than {origin} has"
        run = new.runs.get(key)
        if run is not None and run.attempt:
            yield f"{execution_id}: {key} was carried, and dispatched"


def _status_of(question_id: str, events: Sequence[Event]) -> str:
    """Return how a question must have been closed: by its answer, by its time, or with what asked it."""
    asked: dict[Any, str | None] = {}
    for event in events:
        key = (event.node_id, event.iteration)
        if isinstance(event.data, NodeWaiting):
            asked[key] = event.data.wait.interaction_id
        elif isinstance(event.data, SignalReceived):
            if event.data.interaction_id == question_id:
                return "ANSWERED"
        elif isinstance(event.data, TimerFired):
            is_late = event.data.timer is TimerKind.DUE
            if is_late and asked.get(key) == question_id:
                return "TIMED_OUT"
    return "CANCELED"


# --- compared with a run in which nothing went wrong ---------------------------------------------


class Comparison:
    """Two runs of a seed, by the names of their executions: what belongs together has the same beginning."""

    def __init__(self, work: Work, troubled: Outcome, calm: Outcome) -> None:
        self._work = work
        self._troubled = {name: troubled.states[each] for each, name in troubled.names.items()}
        self._calm = {name: calm.states[each] for each, name in calm.names.items()}
        self._handed_back = {
            troubled.names[each]
            for each, events in troubled.histories.items()
            if any(isinstance(event.data, NodeHandedBack) for event in events)
        }

    def differences(self) -> Iterator[str]:
        """Yield what ended differently though nothing explains that."""
        for job in self._work.jobs:
            own = sorted(name for name in self._names if family_of(name) == job.name)
            for name in own:
                if name in self._troubled:
                    yield from self._ends_by_itself(job, name)
            is_alike = self._work.exactness is not Exactness.NOT_AT_ALL
            if is_alike and not any(self._is_disturbed(job, name) for name in own):
                for name in own:
                    yield from self._different(name)

    @property
    def _names(self) -> frozenset[str]:
        return frozenset(self._troubled) | frozenset(self._calm)

    def _ends_by_itself(self, job: Job, name: str) -> Iterator[str]:
        state = self._troubled[name]
        if state.status is ExecutionStatus.CANCELED:
            if not self._may_be_canceled(job, name):
                yield f"{name} was canceled, and nobody asked for it"
        elif _timed_out(state):
            problem = _too_early(self._work.plans[state.created.version_id], state)
            if problem is not None:
                yield f"{name} {problem}"

    def _may_be_canceled(self, job: Job, name: str) -> bool:
        """Whether somebody asked for it, or no slot was free, or who waited for it is over without success."""
        state = self._troubled[name]
        slot = state.created.slot
        return (
            (name == job.name and _asks(job, Ends.EXECUTION))
            or any(
                _asks(each, Ends.WORKFLOW)
                for each in self._work.jobs
                if each.plan.workflow_id == state.created.workflow_id
            )
            or (slot is not None and slot.on_limit == "DROP")
            or (state.created.parent is not None and self._has_given_up(name))
        )

    def _has_given_up(self, name: str) -> bool:
        """Whether a node run that waited for this child has ended without it: its execution, or its iteration, did."""
        parent = self._troubled[name.rpartition("/")[0]]
        if parent.status is not ExecutionStatus.SUCCESS:
            return True
        origin = self._troubled[name].created.parent
        assert origin is not None
        return parent.runs[origin.node_id, origin.iteration].status == "CANCELED"

    def _is_disturbed(self, job: Job, name: str) -> bool:
        """Whether an execution ended as it did because of time, or of deliveries, or because people wanted it.

        A node that was handed back has an attempt more than in a calm run, and attempts decide how it ends.
        """
        if name in self._handed_back:
            return True
        for states in (self._troubled, self._calm):
            state = states.get(name)
            if state is not None and (_timed_out(state) or _lost_a_worker(state)):
                return True
        state = self._troubled.get(name)
        return (
            state is not None
            and state.status is ExecutionStatus.CANCELED
            and (state.created.parent is None or not self._has_given_up(name))
        )

    def _different(self, name: str) -> Iterator[str]:
        above = [self._calm.get(each) for each in ancestors_of(name)]
        if any(each is None or each.status is not ExecutionStatus.SUCCESS for each in above):
            return  # when its parent ended decides how far it came
        troubled, calm = self._troubled.get(name), self._calm.get(name)
        if troubled is None or calm is None:
            if self._was_canceled_with_its_iteration(name):
                return
            yield f"{name} is only in the run {'with' if calm is None else 'without'} trouble"
        elif troubled.status is not calm.status:
            if ExecutionStatus.CANCELED not in (troubled.status, calm.status):
                yield f"{name} ended in {troubled.status} in place of {calm.status}"
        elif calm.status is ExecutionStatus.SUCCESS:
            difference = different_runs(troubled, calm, self._work.exactness)
            if difference is not None:
                yield f"{name}: {difference}"

    def _was_canceled_with_its_iteration(self, name: str) -> bool:
        """Whether it depends on time whether there is such a child: another node run ended its iteration."""
        parent, _, call = name.rpartition("/")
        node_id, _, _ = call.partition(":")
        state = self._calm.get(parent)
        if state is None:
            return False
        plan = self._work.plans[state.created.version_id]
        return node_id in plan.nodes and bool(plan.nodes[node_id].loops)


def family_of(name: str) -> str:
    """Return the name of the job that an execution comes from."""
    return re.split(r"[/+]", name, maxsplit=1)[0]


def ancestors_of(name: str) -> Iterator[str]:
    """Yield the names of the executions that an execution comes from."""
    for found in re.finditer(r"[/+]", name):
        yield name[: found.start()]


def _asks(job: Job, ends: Ends) -> bool:
    return any(asked.ends is ends for asked in job.asked)


def different_runs(
    troubled: ExecutionState, calm: ExecutionState, exactness: Exactness
) -> str | None:
    """Return which node run ended differently, and how."""
    canceled = {
        path
        for state in (troubled, calm)
        for (_, path), run in state.runs.items()
        if run.status == "CANCELED"
    }
    for key, run in calm.runs.items():
        if key[1] and exactness is not Exactness.VALUES:
            continue  # which iterations there were to the end is a matter of time
        if any(key[1][: len(path)] == path for path in canceled):
            continue  # of an iteration that failed the rest was canceled, at some point
        other = troubled.runs.get(key)
        expected = essence(run, exactness)
        found = None if other is None else essence(other, exactness)
        if expected != found:
            return f"node run {key} ended as {found} in place of {expected}"
    expected_errors, errors = calm.continued_errors, troubled.continued_errors
    if exactness is Exactness.VALUES and not canceled and errors != expected_errors:
        return f"{errors} errors were continued in place of {expected_errors}"
    return None


def essence(run: NodeRun, exactness: Exactness) -> tuple[Any, ...]:
    """Return what must not depend on the order of messages."""
    shape = (run.status, run.tries, run.attempt, run.skip_reason, run.policy)
    if exactness is not Exactness.VALUES:
        return (*shape, sorted(run.ports or {}))
    ports = {port: _timeless(value) for port, value in (run.ports or {}).items()}
    return (*shape, ports, run.usage, sorted(run.checkpoints))


def _timeless(value: msgspec.Raw) -> bytes:
    """Return a value without the instants of the failures that are told in it, and without ids."""
    return _ID.sub(b"", _INSTANT.sub(b"", bytes(value)))


def _timed_out(state: ExecutionState) -> bool:
    return state.failure is not None and state.failure.code == "execution_timeout"


def _too_early(plan: Plan, state: ExecutionState) -> str | None:
    assert state.started_at is not None
    assert state.finished_at is not None
    if plan.timeout is None:
        return "timed out without a timeout"
    if state.finished_at - state.started_at < timedelta(seconds=plan.timeout) - SKEW:
        return "timed out too early"
    return None


def _lost_a_worker(state: ExecutionState) -> bool:
    return any(
        run.failure is not None and run.failure.kind is FailureKind.WORKER_LOST
        for run in state.runs.values()
    )
