"""The fold: what each event of history does to the state.

Readiness, joins, dead paths and the steps of loops are not recorded; they follow here, once, for
everybody. A node run is ready when all its incoming connections are resolved and one is live; when all
are dead it is skipped, and its own connections are dead.
"""

from collections.abc import Iterable
from typing import assert_never

import msgspec

from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState, NodeRun, added
from contracts.execution.transition import Touched, Transition, stands_in
from contracts.history import (
    CheckpointSaved,
    ChildFinished,
    Event,
    ExecutionCanceled,
    ExecutionCreated,
    ExecutionFailed,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSucceeded,
    IterationFinished,
    LoopContinued,
    LoopStarted,
    NodeFailed,
    NodeHandedBack,
    NodesSkipped,
    NodeStarted,
    NodeSucceeded,
    NodeWaiting,
    OutputsCarried,
    SignalReceived,
    TimerFired,
)
from contracts.ids import RunKey
from contracts.messages import Head, Resumed
from contracts.model import OnError
from contracts.statuses import (
    TERMINAL_NODE_RUN,
    ExecutionStatus,
    NodeRunStatus,
    SkipReason,
    TimerKind,
    WaitKind,
)

__all__ = ["Touched", "apply", "create", "key_of", "replay", "stands_in"]


def create(plan: Plan, execution_id: str, event: Event) -> ExecutionState:
    """Return the state after `execution_created`: every node run outside of loops exists and waits."""
    created = event.data
    assert isinstance(created, ExecutionCreated)
    assert event.seq == 1
    alone = created.single_node_id
    runs: dict[RunKey, NodeRun] = {
        (node.id, ()): NodeRun(len(node.incoming) if alone is None else 0)
        for node in plan.nodes.values()
        if (not node.loops if alone is None else node.id == alone)
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
    step = Transition(plan, state, event.at)
    _apply(step, event)
    step.settle()
    if not state.is_terminal:
        state.status = _status(state)
    return step.touched


def key_of(event: Event) -> RunKey:
    """Return the node run that an event is about."""
    assert event.node_id is not None
    return event.node_id, event.iteration or ()


def _apply(step: Transition, event: Event) -> None:
    state = step.state
    match event.data:
        case NodeSucceeded():
            _node_succeeded(step, event, event.data)
        case NodeFailed():
            _node_failed(step, key_of(event), event.data)
        case NodesSkipped():
            _nodes_skipped(step, event.data)
        case NodeWaiting():
            _node_waiting(step, key_of(event), event.data)
        case LoopStarted():
            _loop_started(step, key_of(event), event.data)
        case LoopContinued():
            step.reported(state.runs[key_of(event)])
            step.begin_item(key_of(event))
        case IterationFinished():
            _iteration_finished(step, key_of(event), event.data)
        case TimerFired():
            _timer_fired(step, event, event.data.timer)
        case SignalReceived():
            _signal_received(step, event, event.data)
        case ChildFinished():
            state.waits.pop(key_of(event), None)
        case CheckpointSaved():
            run = state.runs[key_of(event)]
            run.checkpoints[event.data.key] = event.data.value
            run.usage = added(run.usage, event.data.usage)
        case NodeStarted():
            run = state.runs[key_of(event)]
            run.started_as, run.worker_id = event.data.delivery, event.data.worker_id
        case NodeHandedBack():
            run = state.runs[key_of(event)]
            step.reported(run)
            run.status = NodeRunStatus.PENDING
            step.dispatch(key_of(event), run)
        case ExecutionPaused():
            state.paused = True
        case ExecutionResumed():
            state.paused = False
            step.release()
        case ExecutionStarted():
            _started(step)
        case OutputsCarried():
            for each in event.data.node_runs:
                state.carried[each.node_id, each.iteration] = each
        case ExecutionSucceeded():
            state.output = event.data.output
            _finish(step, ExecutionStatus.SUCCESS)
        case ExecutionFailed():
            state.failure = event.data.failure
            _finish(step, ExecutionStatus.ERROR)
        case ExecutionCanceled():
            _finish(step, ExecutionStatus.CANCELED)
        case ExecutionCreated():
            raise AssertionError("an execution is created once")
        case _:
            assert_never(event.data)


def _status(state: ExecutionState) -> ExecutionStatus:
    if state.started_at is None:
        return ExecutionStatus.NEW
    is_under_way = state.outstanding or state.held
    return ExecutionStatus.RUNNING if is_under_way else ExecutionStatus.WAITING


def _started(step: Transition) -> None:
    state = step.state
    state.started_at = step.at
    alone = state.created.single_node_id
    for node in step.plan.nodes.values():
        key = (node.id, ())
        is_first = node.id == alone if alone else node.is_root and not node.is_trigger
        if is_first:
            step.become_ready(node, state.runs[key], key)


def _node_succeeded(step: Transition, event: Event, data: NodeSucceeded) -> None:
    key = key_of(event)
    run = step.state.runs[key]
    _reported(run, data)
    run.ports = data.ports
    run.pinned = data.pinned
    if data.goes_on is not None:
        assert event.attempt is not None
        step.go_on((data.goes_on, key[1]), run.head or Head(key[0], event.attempt))
    step.end(key, run, NodeRunStatus.SUCCESS)
    step.give(key)


def _node_failed(step: Transition, key: RunKey, data: NodeFailed) -> None:
    state = step.state
    run = state.runs[key]
    _reported(run, data)
    run.failure = data.failure
    run.policy = data.policy
    if data.retry_at is not None:
        step.reported(run)
        run.retry_at = data.retry_at
        run.status = NodeRunStatus.PENDING
        return
    run.ports = data.ports
    step.cancel_loop(key)
    step.end(key, run, NodeRunStatus.ERROR)
    if data.ports is not None:
        state.continued_errors += 1
        step.give(key)
    if data.policy is OnError.STOP and key[1]:
        loops = step.plan.nodes[key[0]].loops
        failure = data.failure
        if failure.node_id is None:
            failure = msgspec.structs.replace(failure, node_id=key[0], iteration=key[1])
        step.item_failed((loops[-1], key[1]), failure)


def _reported(run: NodeRun, data: NodeSucceeded | NodeFailed | NodeWaiting) -> None:
    """Take over what a worker reports of an attempt, however it ended; what all used up is added up."""
    run.tries = data.tries
    run.timing = data.timing
    run.worker_id = data.worker_id
    run.usage = added(run.usage, data.usage)
    run.logs = data.logs


def _nodes_skipped(step: Transition, data: NodesSkipped) -> None:
    if data.reason is SkipReason.DEAD:
        return  # dead paths follow from the event before; this one tells people
    for ref in data.node_runs:
        key = (ref.node_id, ref.iteration)
        run = step.state.runs[key]
        run.skip_reason = data.reason
        run.ports = ref.ports
        step.end(key, run, NodeRunStatus.SKIPPED)
        step.give(key)


def _node_waiting(step: Transition, key: RunKey, data: NodeWaiting) -> None:
    run = step.state.runs[key]
    _reported(run, data)
    step.wait(key, run, data.wait)


def _loop_started(step: Transition, key: RunKey, data: LoopStarted) -> None:
    run = step.state.runs[key]
    run.timing, run.worker_id = data.timing, data.worker_id
    step.begin_loop(key, data)


def _iteration_finished(step: Transition, over: RunKey, data: IterationFinished) -> None:
    if data.failure is not None:
        step.item_failed(over, data.failure)
    else:
        step.item_succeeded(over, data.value)


def _timer_fired(step: Transition, event: Event, kind: TimerKind) -> None:
    if event.node_id is None:
        return  # the execution's timeout: its failure follows
    key = key_of(event)
    run = step.state.runs[key]
    if kind is TimerKind.RETRY:
        run.retry_at = None
        step.dispatch(key, run)
    elif key in step.state.waits:
        assert run.wait is not None
        assert run.waiting_since is not None
        question = step.state.questions.get(run.wait.interaction_id or "")
        if question is not None and kind is TimerKind.REMINDER:
            question.reminders += 1
        resumed = Resumed(
            by=kind,
            at=event.at,
            waited_since=run.waiting_since,
            state=run.wait.state,
            interaction_id=run.wait.interaction_id,
            answers=() if question is None else question.answers,
        )
        step.end_wait(key, run, resumed)
        if kind is TimerKind.DUE:
            step.close_question(run.wait)
    else:
        step.join_due(key, run)


def _signal_received(step: Transition, event: Event, data: SignalReceived) -> None:
    step.state.heard.add(data.signal_id)
    if data.stays_open:
        _answer_noted(step, data)
        return
    step.close_question(data)
    if event.node_id is None:
        step.state.signals.append((data, event.at))
        return
    key = key_of(event)
    run = step.state.runs[key]
    wait, since = run.wait, run.waiting_since
    assert wait is not None
    assert since is not None
    resumed = Resumed(
        by=_reason(data, wait.kind),
        at=event.at,
        waited_since=since,
        state=wait.state,
        signal=data.name,
        interaction_id=data.interaction_id,
        data=data.data,
        port=data.port,
        answered_by=data.by,
    )
    step.end_wait(key, run, resumed)


def _answer_noted(step: Transition, data: SignalReceived) -> None:
    """Keep one of the answers to a question that more people have to answer."""
    assert data.interaction_id is not None
    assert data.answer is not None
    question = step.state.questions[data.interaction_id]
    question.answers = (*question.answers, data.answer)


def _reason(data: SignalReceived, kind: WaitKind) -> str:
    if data.interaction_id is not None:
        return "INTERACTION"
    return "SIGNAL" if data.name is not None and kind is WaitKind.SIGNAL else "RESUME"


def _finish(step: Transition, status: ExecutionStatus) -> None:
    state = step.state
    state.status = status
    state.finished_at = step.at
    if not state.open_runs:
        return
    for loop in state.loops.values():
        loop.active.clear()
    for key, run in state.runs.items():
        if run.status not in TERMINAL_NODE_RUN:
            step.end(key, run, NodeRunStatus.CANCELED)
