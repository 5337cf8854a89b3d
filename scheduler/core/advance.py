"""`advance`: fold an input into an execution's state and decide what follows.

Total: late, repeated and impossible inputs give a refusal, never an exception. Deterministic: the same
state and input give the same bytes. The state is changed in place; whoever loses the commit drops it.
"""

from datetime import datetime, timedelta
from typing import assert_never

import msgspec
from msgspec import UNSET

from contracts.execution import fold, segments, values
from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState, NodeRun
from contracts.failures import Failure, FailureKind
from contracts.graph import start_trigger
from contracts.history import (
    CheckpointSaved,
    ExecutionCanceled,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    LoopContinued,
    LoopStarted,
    NodeHandedBack,
    NodeRunRef,
    NodesSkipped,
    NodeStarted,
    NodeSucceeded,
    TimerFired,
    Timing,
)
from contracts.ids import Iteration, RunKey
from contracts.limits import CORE_LIMITS, CoreLimits
from contracts.messages import Head, LoopOrder, Result
from contracts.statuses import NodeRunStatus, SkipReason, TimerKind
from contracts.times import rfc3339
from scheduler.core import answering, results, waiting
from scheduler.core.decision import (
    EARLY,
    Admitted,
    AnswerGiven,
    Assemble,
    AttemptLost,
    CallFinished,
    CancelAsked,
    ChildEnded,
    Decision,
    EndWaitAsked,
    HandlerStarts,
    Input,
    PauseAsked,
    Reported,
    SignalSent,
    Target,
    TaskReturned,
    Timer,
    TimerDue,
    UnpauseAsked,
    refuse,
)
from scheduler.core.step import Step, join_timer_key, wait_timer_key

EXECUTION_TIMEOUT_KEY = "execution_timeout"


def advance(
    plan: Plan,
    state: ExecutionState,
    given: Input,
    *,
    at: datetime,
    input_of: Assemble,
    result_of: Assemble | None = None,
    failure_target: Target | None = None,
    limits: CoreLimits = CORE_LIMITS,
) -> Decision:
    """Fold one input into the state and return what follows from it.

    `result_of` assembles what came back from an iteration; `failure_target` is the version of the
    plan's failure workflow, if it has one.
    """
    if state.is_terminal:
        cleared = (given.key,) if isinstance(given, TimerDue) else ()
        return refuse("already_finished", *cleared)
    step = Step(
        plan,
        state,
        at,
        input_of=input_of,
        result_of=result_of or input_of,
        failure_target=failure_target,
        limits=limits,
    )
    match given:
        case Reported():
            return _reported(step, given)
        case Admitted():
            return _admitted(step, given)
        case TimerDue():
            return _timer_due(step, given)
        case AttemptLost():
            return _attempt_lost(step, given)
        case CancelAsked():
            return _cancel_asked(step, given)
        case HandlerStarts():
            return _handler_starts(step, given)
        case CallFinished():
            return _call_finished(step, given)
        case TaskReturned():
            return _task_returned(step, given)
        case PauseAsked():
            return _pause_asked(step, given)
        case UnpauseAsked():
            return _unpause_asked(step, given)
        case SignalSent():
            return waiting.signal_sent(step, given)
        case EndWaitAsked():
            return waiting.end_wait_asked(step, given)
        case AnswerGiven():
            return answering.answer_given(step, given)
        case ChildEnded():
            return waiting.child_ended(step, given)
        case _:
            assert_never(given)


# --- the beginning -------------------------------------------------------------------------------


def _admitted(step: Step, given: Admitted) -> Decision:
    """Start: the trigger yields the trigger data, the other triggers are skipped."""
    state = step.state
    if state.started_at is not None:
        return refuse("already_started")
    if state.created.slot is not None and not given.has_slot:
        return refuse("no_slot")
    if state.created.cannot_start is not None:
        step.fail_execution(state.created.cannot_start)
        return step.decision()
    step.record(ExecutionStarted())
    if step.plan.timeout is not None:
        due_at = step.at + timedelta(seconds=step.plan.timeout)
        step.timers.append(Timer(EXECUTION_TIMEOUT_KEY, TimerKind.EXECUTION_TIMEOUT, due_at))
    if state.created.single_node_id is None:
        _start_triggers(step)
    elif not state.runs:
        step.fail_execution(_nothing_to_run(state.created.single_node_id))
    return step.decision()


def _nothing_to_run(node_id: str) -> Failure:
    message = f"node {node_id} has no run of its own: it is not there, or it is only lent to others"
    return Failure(FailureKind.INVALID_INPUT, "unknown_node", message)


def _start_triggers(step: Step) -> None:
    """Let the start trigger yield and skip the others."""
    started_by = step.state.created.trigger
    chosen = start_trigger(step.plan.document, started_by.node_id if started_by else None)
    skipped = []
    for node in step.plan.triggers:
        if node.id == chosen:
            pin = node.pinned if fold.stands_in(step.state, node) else None
            ports = {"main": step.state.created.input} if pin is None else pin
            step.record(NodeSucceeded(ports=ports, pinned=pin is not None), (node.id, ()))
        else:
            skipped.append(NodeRunRef(node.id))
    if skipped:
        step.record(NodesSkipped(tuple(skipped), SkipReason.OTHER_TRIGGER))


# --- attempts ------------------------------------------------------------------------------------


def _current(step: Step, key: RunKey, attempt: int, head: Head | None = None) -> NodeRun | None:
    """Return the node run if this is its attempt under way, begun by itself or after this head."""
    run = step.state.runs.get(key)
    if run is None or not run.has_task or run.attempt != attempt or run.head != head:
        return None
    return run


def _refusal(step: Step, key: RunKey, head: Head | None) -> Decision:
    """Return why a report is refused: its attempt is over, or has not begun as far as is known yet."""
    return refuse("stale_result" if head is None or not _is_awaited(step, key, head) else EARLY)


def _is_awaited(step: Step, key: RunKey, head: Head) -> bool:
    """Whether the segment of a node run is still at a node before it: what happened there was stored before, and comes."""
    node_id, path = key
    while (wire := step.plan.nodes[node_id].follows) is not None and node_id != head.node_id:
        node_id = wire.source
        run = step.state.runs.get((node_id, path))
        if run is not None and run.has_task:
            return (run.head or Head(node_id, run.attempt)) == head
    return False


def _reported(step: Step, given: Reported) -> Decision:
    """Take the result of the current attempt; any other is refused."""
    result = given.result
    key = (result.node_id, result.iteration)
    run = _current(step, key, result.attempt, result.head)
    if run is None:
        return _refusal(step, key, result.head)
    timing = Timing(_dispatched_at(run, result), result.started_at, result.finished_at)
    failure = results.failure_of(step.plan.nodes[key[0]], result, step.at)
    if failure is not None:
        step.fail(key, run, failure, result=result, timing=timing)
    elif result.wait is not None:
        waiting.suspend(step, key, run, given, result.wait, timing)
    elif result.loop is not None:
        _loop(step, key, run, result, result.loop, timing)
    else:
        assert result.ports is not None
        succeeded = NodeSucceeded(
            ports=result.ports,
            tries=run.tries,
            timing=timing,
            worker_id=result.worker_id,
            usage=result.usage,
            logs=result.logs,
            goes_on=_goes_on(step, key, result),
        )
        step.record(succeeded, key, run.attempt)
    return step.decision()


def _dispatched_at(run: NodeRun, result: Result) -> str | None:
    """Return when an attempt could begin; of one that its worker went on to, that was when it did."""
    if run.head is not None:
        return result.started_at
    return rfc3339(run.dispatched_at) if run.dispatched_at else None


def _goes_on(step: Step, key: RunKey, result: Result) -> str | None:
    """Return the node that a worker went on with, if it may."""
    named = result.goes_on
    if named is None or not segments.may_go_on(step.plan, key[0], result.ports, named):
        return None
    return named


def _attempt_lost(step: Step, lost: AttemptLost) -> Decision:
    """Fail an attempt whose result will not come, or the one that its worker had come to in its segment."""
    key = _outstanding_under(step, lost.node_id, lost.iteration, lost.attempt)
    if key is None:
        return refuse("stale_result")
    step.fail(key, step.state.runs[key], lost.failure)
    return step.decision()


def _task_returned(step: Step, given: TaskReturned) -> Decision:
    """Tell which node run is outstanding under a task; one that its new worker does not serve is dispatched by itself."""
    key = _outstanding_under(step, given.node_id, given.iteration, given.attempt)
    if key is None:
        return refuse("stale_result")
    run = step.state.runs[key]
    if run.head is None or step.plan.nodes[key[0]].fleet in given.serves:
        return Decision(returned=key)
    step.record(NodeHandedBack(given.worker_id), key, run.attempt)
    return msgspec.structs.replace(step.decision(), refused="handed_back")


def _outstanding_under(step: Step, node_id: str, path: Iteration, attempt: int) -> RunKey | None:
    """Return the node run that the task of an attempt stands for: its own, or one in the segment that began with it."""
    run = step.state.runs.get((node_id, path))
    if run is None:
        return None
    if run.has_task and run.attempt == attempt:
        return node_id, path
    head = Head(node_id, attempt)
    runs = step.state.runs.items()
    return next(
        (key for key, run in runs if run.has_task and run.head == head and key[1] == path), None
    )


def _handler_starts(step: Step, given: HandlerStarts) -> Decision:
    """Let one delivery of an at-most-once attempt call its handler.

    After that, another one is refused and the attempt lost, for nobody knows what it did.
    """
    key = (given.node_id, given.iteration)
    run = _current(step, key, given.attempt)
    if run is None:
        return refuse("stale_result")
    if run.started_as is None:
        step.record(NodeStarted(given.worker_id, given.delivery), key, run.attempt)
        return step.decision()
    if run.started_as == given.delivery:
        return refuse("repeated")
    message = (
        f"worker {run.worker_id} called the handler of node {key[0]} and was lost before it "
        "reported; it may have had its effect, and delivery at_most_once forbids to try again"
    )
    step.fail(key, run, Failure(FailureKind.WORKER_LOST, "worker_lost", message))
    return msgspec.structs.replace(step.decision(), refused="outcome_unknown", detail=message)


def _call_finished(step: Step, given: CallFinished) -> Decision:
    """Keep the value of a finished call, once."""
    key = (given.node_id, given.iteration)
    run = _current(step, key, given.attempt, given.head)
    if run is None:
        return _refusal(step, key, given.head)
    if given.key in run.checkpoints:
        return refuse("repeated")
    found, most = len(run.checkpoints), step.limits.checkpoints
    if found >= most:
        detail = f"a node run has {found} checkpoints; the limit is {most} (LIMIT_CHECKPOINTS)"
        return refuse("limit_exceeded", detail=detail)
    saved = CheckpointSaved(given.key, given.value, given.usage)
    step.record(saved, key, run.attempt)
    return step.decision()


# --- loops ---------------------------------------------------------------------------------------


def _loop(
    step: Step, key: RunKey, run: NodeRun, result: Result, order: LoopOrder, timing: Timing
) -> None:
    """Begin a loop, or go on with one that runs on a condition."""
    if not order.goes_on:
        step.complete_loop(key, order.rules)
    elif key in step.state.loops:
        continued = LoopContinued(timing=timing, worker_id=result.worker_id)
        step.record(continued, key, run.attempt)
    else:
        total = None
        if order.items is not UNSET:
            total = -(-len(values.items_of(order.items)) // order.rules.batch_size)
        started = LoopStarted(
            items=order.items,
            total=total,
            rules=order.rules,
            timing=timing,
            worker_id=result.worker_id,
        )
        step.record(started, key, run.attempt)


# --- timers --------------------------------------------------------------------------------------


def _timer_due(step: Step, due: TimerDue) -> Decision:
    """Take a timer that came due; one that no longer matters is only cleared."""
    if due.key == EXECUTION_TIMEOUT_KEY:
        if step.plan.timeout is None or step.state.started_at is None:
            return refuse("stale_timer", due.key)
        step.record(TimerFired(TimerKind.EXECUTION_TIMEOUT))
        step.fail_execution(_execution_timeout(step.plan.timeout))
        return step.decision()
    key: RunKey = (due.node_id or "", due.iteration)
    run = step.state.runs.get(key)
    if run is None:
        return refuse("stale_timer", due.key)
    if due.key == join_timer_key(key):
        return _join_due(step, key, run, due)
    kind = next((kind for kind in TimerKind if kind == due.kind), None)
    if kind is None or due.key != wait_timer_key(key, run.attempt, kind):
        return refuse("stale_timer", due.key)
    if kind is TimerKind.RETRY:
        if run.retry_at is None:
            return refuse("stale_timer", due.key)
        step.record(TimerFired(kind), key, run.attempt + 1)
        step.cleared.append(due.key)
        return step.decision()
    return waiting.wait_due(step, key, run, due, kind)


def _join_due(step: Step, key: RunKey, run: NodeRun, due: TimerDue) -> Decision:
    """Let a join that waited long enough go on with what has arrived, or fail."""
    is_waiting = run.ready_at is None and run.status is NodeRunStatus.PENDING
    if step.plan.nodes[key[0]].join is None or not is_waiting or key in step.state.held:
        return refuse("stale_timer", due.key)
    step.record(TimerFired(TimerKind.DUE), key)
    step.cleared.append(due.key)
    return step.decision()


def _execution_timeout(timeout: float) -> Failure:
    message = f"the execution passed its timeout of {timeout:g} s; raise settings.timeout"
    return Failure(FailureKind.TIMEOUT, "execution_timeout", message, {"timeout": timeout})


# --- people --------------------------------------------------------------------------------------


def _cancel_asked(step: Step, asked: CancelAsked) -> Decision:
    """End the execution: nothing new starts, running attempts are told to stop."""
    step.record(ExecutionCanceled(asked.by, asked.reason, step.usage()))
    step.stop_workers = True
    return step.decision()


def _pause_asked(step: Step, asked: PauseAsked) -> Decision:
    """Hold back every dispatch from now on."""
    if step.state.paused:
        return refuse("already_paused")
    step.record(ExecutionPaused(asked.by, asked.reason))
    return step.decision()


def _unpause_asked(step: Step, asked: UnpauseAsked) -> Decision:
    """Dispatch what was held back."""
    if not step.state.paused:
        return refuse("not_paused")
    step.record(ExecutionResumed(asked.by, asked.reason))
    return step.decision()
