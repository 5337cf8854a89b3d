"""The fold: what each event of history does to the state.

Readiness, joins and dead paths are not recorded; they follow here, once, for everybody. A node run is
ready when all its incoming connections are resolved and one is live; when all are dead it is skipped,
and its own connections are dead.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import assert_never

from contracts.execution.plan import Plan, PlannedNode
from contracts.execution.state import ExecutionState, NodeRun
from contracts.history import (
    Event,
    ExecutionCanceled,
    ExecutionCreated,
    ExecutionFailed,
    ExecutionStarted,
    ExecutionSucceeded,
    NodeFailed,
    NodesSkipped,
    NodeSucceeded,
    TimerFired,
)
from contracts.ids import RunKey
from contracts.statuses import (
    TERMINAL_NODE_RUN,
    ExecutionStatus,
    Mode,
    NodeRunStatus,
    SkipReason,
)

PENDING = NodeRunStatus.PENDING
RUNNING = NodeRunStatus.RUNNING


class Touched:
    """What one event brought about: node runs that became ready, and those skipped as dead."""

    __slots__ = ("dead", "ready")

    def __init__(self) -> None:
        self.ready: list[RunKey] = []
        self.dead: list[RunKey] = []


def create(plan: Plan, execution_id: str, event: Event) -> ExecutionState:
    """Return the state after `execution_created`: every node run exists and waits."""
    created = event.data
    assert isinstance(created, ExecutionCreated)
    assert event.seq == 1
    runs: dict[RunKey, NodeRun] = {
        (node.id, ()): NodeRun(len(node.incoming)) for node in plan.nodes.values()
    }
    return ExecutionState(
        id=execution_id,
        created=created,
        created_at=event.at,
        updated_at=event.at,
        runs=runs,
        open_runs=len(runs),
    )


def replay(plan: Plan, execution_id: str, events: Iterable[Event]) -> ExecutionState:
    """Return the state that a whole history folds into. The first event must be its creation."""
    remaining = iter(events)
    state = create(plan, execution_id, next(remaining))
    for event in remaining:
        apply(plan, state, event)
    return state


def apply(plan: Plan, state: ExecutionState, event: Event) -> Touched:
    """Fold one event into the state and return what it brought about."""
    assert event.seq == state.seq + 1, "history has no gap"
    assert not state.is_terminal, "a terminal status never changes"
    state.seq = event.seq
    state.updated_at = event.at
    touched = Touched()
    match event.data:
        case NodeSucceeded():
            _node_succeeded(plan, state, event, event.data, touched)
        case NodeFailed():
            _node_failed(plan, state, event, event.data, touched)
        case NodesSkipped():
            _nodes_skipped(plan, state, event, event.data, touched)
        case TimerFired():
            _timer_fired(state, event)
        case ExecutionStarted():
            _started(plan, state, event.at, touched)
        case ExecutionSucceeded():
            state.output = event.data.output
            _finish(state, ExecutionStatus.SUCCESS, event.at)
        case ExecutionFailed():
            state.failure = event.data.failure
            _finish(state, ExecutionStatus.ERROR, event.at)
        case ExecutionCanceled():
            _finish(state, ExecutionStatus.CANCELED, event.at)
        case ExecutionCreated():
            raise AssertionError("an execution is created once")
        case _:
            assert_never(event.data)
    if not state.is_terminal:
        state.status = _status(state)
    return touched


def run_of(state: ExecutionState, event: Event) -> NodeRun:
    """Return the node run that an event is about."""
    assert event.node_id is not None
    return state.runs[event.node_id, event.iteration or ()]


def _status(state: ExecutionState) -> ExecutionStatus:
    if state.started_at is None:
        return ExecutionStatus.NEW
    return ExecutionStatus.RUNNING if state.outstanding else ExecutionStatus.WAITING


def _started(plan: Plan, state: ExecutionState, at: datetime, touched: Touched) -> None:
    state.started_at = at
    for node in plan.nodes.values():
        if node.is_root and not node.is_trigger:
            _become_ready(state, node, state.runs[node.id, ()], (node.id, ()), at, touched)


def _node_succeeded(
    plan: Plan, state: ExecutionState, event: Event, data: NodeSucceeded, touched: Touched
) -> None:
    run = run_of(state, event)
    _reported(run, data)
    run.ports = data.ports
    run.pinned = data.pinned
    _end(state, run, NodeRunStatus.SUCCESS, event.at)
    assert event.node_id is not None
    _resolve(plan, state, (event.node_id, event.iteration or ()), event.at, touched)


def _node_failed(
    plan: Plan, state: ExecutionState, event: Event, data: NodeFailed, touched: Touched
) -> None:
    run = run_of(state, event)
    _reported(run, data)
    run.failure = data.failure
    run.policy = data.policy
    if data.retry_at is not None:
        _pause_before_retry(state, run, data.retry_at)
        return
    run.ports = data.ports
    _end(state, run, NodeRunStatus.ERROR, event.at)
    if data.ports is not None:
        state.continued_errors += 1
        assert event.node_id is not None
        _resolve(plan, state, (event.node_id, event.iteration or ()), event.at, touched)


def _reported(run: NodeRun, data: NodeSucceeded | NodeFailed) -> None:
    """Take over what a worker reports of an attempt, however it ended."""
    run.tries = data.tries
    run.timing = data.timing
    run.worker_id = data.worker_id
    run.usage = data.usage
    run.logs = data.logs


def _pause_before_retry(state: ExecutionState, run: NodeRun, retry_at: datetime) -> None:
    assert run.status is RUNNING
    run.retry_at = retry_at
    run.status = PENDING
    state.outstanding -= 1


def _timer_fired(state: ExecutionState, event: Event) -> None:
    if event.node_id is None:
        return
    run = run_of(state, event)
    run.retry_at = None
    _dispatched(state, run, event.at)


def _nodes_skipped(
    plan: Plan, state: ExecutionState, event: Event, data: NodesSkipped, touched: Touched
) -> None:
    if data.reason is SkipReason.DEAD:
        return  # dead paths follow from the event before; this one tells people
    for ref in data.node_runs:
        key = (ref.node_id, tuple(ref.iteration))
        run = state.runs[key]
        run.skip_reason = data.reason
        run.ports = ref.ports
        _end(state, run, NodeRunStatus.SKIPPED, event.at)
        _resolve(plan, state, key, event.at, touched)


def _resolve(
    plan: Plan, state: ExecutionState, source: RunKey, at: datetime, touched: Touched
) -> None:
    """Resolve the connections out of a node run that ended, and of all that is skipped by it."""
    ended = [source]
    while ended:
        node_id, iteration = ended.pop()
        ports = state.runs[node_id, iteration].ports
        for connection in plan.nodes[node_id].outgoing:
            key = (connection.target, iteration)
            run = state.runs[key]
            run.unresolved -= 1
            if ports is not None and connection.from_port in ports:
                run.live += 1
            if run.unresolved:
                continue
            if run.live:
                _become_ready(state, plan.nodes[connection.target], run, key, at, touched)
            else:
                _skip_dead(state, run, at)
                touched.dead.append(key)
                ended.append(key)


def _become_ready(
    state: ExecutionState,
    node: PlannedNode,
    run: NodeRun,
    key: RunKey,
    at: datetime,
    touched: Touched,
) -> None:
    run.ready_at = at
    touched.ready.append(key)
    if not stands_in(state, node):
        _dispatched(state, run, at)


def stands_in(state: ExecutionState, node: PlannedNode) -> bool:
    """Whether a ready node run needs no task: it is disabled, or a pin stands for its output."""
    return node.disabled or (node.pinned is not None and state.created.mode is Mode.MANUAL)


def _dispatched(state: ExecutionState, run: NodeRun, at: datetime) -> None:
    run.status = RUNNING
    run.attempt += 1
    run.dispatched_at = at
    state.outstanding += 1


def _skip_dead(state: ExecutionState, run: NodeRun, at: datetime) -> None:
    run.skip_reason = SkipReason.DEAD
    _end(state, run, NodeRunStatus.SKIPPED, at)


def _end(state: ExecutionState, run: NodeRun, status: NodeRunStatus, at: datetime) -> None:
    assert run.status not in TERMINAL_NODE_RUN, "a terminal status never changes"
    if run.status is RUNNING:
        state.outstanding -= 1
    run.status = status
    run.retry_at = None
    run.finished_at = at
    state.open_runs -= 1


def _finish(state: ExecutionState, status: ExecutionStatus, at: datetime) -> None:
    state.status = status
    state.finished_at = at
    if not state.open_runs:
        return
    for run in state.runs.values():
        if run.status not in TERMINAL_NODE_RUN:
            _end(state, run, NodeRunStatus.CANCELED, at)
