"""`advance`: fold an input into an execution's state and decide what follows.

Total: late, repeated and impossible inputs give a refusal, never an exception. Deterministic: the same
state and input give the same bytes. The state is changed in place; whoever loses the commit drops it.
"""

from datetime import datetime, timedelta
from typing import assert_never

import msgspec
from msgspec import UNSET

from contracts.execution import values
from contracts.execution.plan import Plan, PlannedNode
from contracts.execution.state import ExecutionState, NodeRun
from contracts.failures import Failure, FailureKind
from contracts.graph import start_trigger
from contracts.history import (
    CheckpointSaved,
    ChildFinished,
    ExecutionCanceled,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    LoopContinued,
    LoopStarted,
    NodeRunRef,
    NodesSkipped,
    NodeStarted,
    NodeSucceeded,
    NodeWaiting,
    Parent,
    SignalReceived,
    TimerFired,
    Timing,
    Wait,
)
from contracts.ids import RunKey, derived_uuid7, idempotency_key, iteration_text
from contracts.messages import ChildOrder, LoopOrder, Result, WaitOrder, encode
from contracts.statuses import ExecutionStatus, NodeRunStatus, SkipReason, TimerKind, WaitKind
from contracts.times import rfc3339
from scheduler.core.decision import (
    Admitted,
    Assemble,
    AttemptLost,
    CallFinished,
    CancelAsked,
    ChildEnded,
    ClosedInteraction,
    Decision,
    EndWaitAsked,
    HandlerStarts,
    Input,
    NewInteraction,
    PauseAsked,
    Reported,
    SignalSent,
    Target,
    Timer,
    TimerDue,
    UnpauseAsked,
    refuse,
)
from scheduler.core.step import Step, join_timer_key, wait_timer_key

EXECUTION_TIMEOUT_KEY = "execution_timeout"
MOST_SIGNALS_KEPT = 1_000
MOST_CHECKPOINTS = 10_000
DEEPEST_CHILD = 8


def advance(
    plan: Plan,
    state: ExecutionState,
    given: Input,
    *,
    at: datetime,
    input_of: Assemble,
    result_of: Assemble | None = None,
    failure_target: Target | None = None,
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
        case PauseAsked():
            return _pause_asked(step, given)
        case UnpauseAsked():
            return _unpause_asked(step, given)
        case SignalSent():
            return _signal_sent(step, given)
        case EndWaitAsked():
            return _end_wait_asked(step, given)
        case ChildEnded():
            return _child_ended(step, given)
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
    step.record(ExecutionStarted())
    if step.plan.timeout is not None:
        due_at = step.at + timedelta(seconds=step.plan.timeout)
        step.timers.append(Timer(EXECUTION_TIMEOUT_KEY, TimerKind.EXECUTION_TIMEOUT, due_at))
    if state.created.single_node_id is None:
        _start_triggers(step)
    return step.decision()


def _start_triggers(step: Step) -> None:
    """Let the start trigger yield and skip the others."""
    started_by = step.state.created.trigger
    chosen = start_trigger(step.plan.document, started_by.node_id if started_by else None)
    skipped = []
    for node in step.plan.triggers:
        if node.id == chosen:
            step.record(NodeSucceeded(ports={"main": step.state.created.input}), (node.id, ()))
        else:
            skipped.append(NodeRunRef(node.id))
    if skipped:
        step.record(NodesSkipped(tuple(skipped), SkipReason.OTHER_TRIGGER))


# --- attempts ------------------------------------------------------------------------------------


def _current(step: Step, key: RunKey, attempt: int) -> NodeRun | None:
    """Return the node run if this is its attempt under way."""
    run = step.state.runs.get(key)
    if run is None or not run.has_task or run.attempt != attempt:
        return None
    return run


def _reported(step: Step, given: Reported) -> Decision:
    """Take the result of the current attempt; any other is refused."""
    result = given.result
    key = (result.node_id, result.iteration)
    run = _current(step, key, result.attempt)
    if run is None:
        return refuse("stale_result")
    dispatched_at = rfc3339(run.dispatched_at) if run.dispatched_at else None
    timing = Timing(dispatched_at, result.started_at, result.finished_at)
    node = step.plan.nodes[key[0]]
    failure = result.failure or _strange(node, result)
    if failure is not None:
        step.fail(key, run, failure, result=result, timing=timing)
    elif result.wait is not None:
        _wait(step, key, run, given, result.wait, timing)
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
        )
        step.record(succeeded, key, run.attempt)
    return step.decision()


def _strange(node: PlannedNode, result: Result) -> Failure | None:
    """Return the failure of a result that says nothing, or what its node cannot."""
    if result.wait is not None:
        return None
    if result.loop is not None:
        return None if node.loop is not None else _invalid(f"{node.type} is no loop")
    if result.ports is None:
        return _invalid("the worker reported neither outputs nor a failure; update the worker")
    strange = next((port for port in result.ports if port not in node.output_ports), None)
    if strange is None:
        return None
    message = (
        f"the handler yielded on port {strange!r}, which {node.type} does not have; "
        f"its ports are {', '.join(node.output_ports)}"
    )
    return Failure(FailureKind.ERROR, "undeclared_port", message, {"port": strange})


def _invalid(message: str) -> Failure:
    return Failure(FailureKind.ERROR, "invalid_result", message)


def _attempt_lost(step: Step, lost: AttemptLost) -> Decision:
    """Fail an attempt whose result will not come."""
    key = (lost.node_id, lost.iteration)
    run = _current(step, key, lost.attempt)
    if run is None:
        return refuse("stale_result")
    step.fail(key, run, lost.failure)
    return step.decision()


def _handler_starts(step: Step, given: HandlerStarts) -> Decision:
    """Let one delivery of an at-most-once attempt call its handler; after another one, its outcome is unknown."""
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
    return step.decision()


def _call_finished(step: Step, given: CallFinished) -> Decision:
    """Keep the value of a finished call, once."""
    key = (given.node_id, given.iteration)
    run = _current(step, key, given.attempt)
    if run is None:
        return refuse("stale_result")
    if given.key in run.checkpoints:
        return refuse("repeated")
    if len(run.checkpoints) >= MOST_CHECKPOINTS:
        return refuse("limit_exceeded", detail=f"a node run has {MOST_CHECKPOINTS} checkpoints")
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


# --- waits ---------------------------------------------------------------------------------------


def _wait(
    step: Step, key: RunKey, run: NodeRun, given: Reported, order: WaitOrder, timing: Timing
) -> None:
    """Suspend a node run; a child is started and a question opened with the same commit."""
    result = given.result
    child_id: str | None = None
    if order.child is not None:
        if not isinstance(given.child, Target):
            failure = given.child or _invalid("nobody looked up the workflow of the child")
            step.fail(key, run, failure, result=result, timing=timing)
            return
        if step.state.created.depth >= DEEPEST_CHILD:
            step.fail(key, run, _too_deep(), result=result, timing=timing)
            return
        child_id = _start_child(step, key, run, given.child, order.child)
        if order.child.is_detached:
            _started_apart(step, key, run, result, child_id, timing)
            return
    due_at = order.due_at
    if order.seconds is not None:
        due_at = step.at + timedelta(seconds=order.seconds)
    wait = Wait(
        kind=order.kind,
        due_at=due_at,
        check_at=_after(step.at, order.check_seconds),
        signal=order.signal,
        interaction_id=_question(step, key, run, order, due_at),
        child_execution_id=child_id,
        state=order.state,
    )
    waiting = NodeWaiting(
        wait=wait,
        tries=run.tries,
        timing=timing,
        worker_id=result.worker_id,
        usage=result.usage,
        logs=result.logs,
    )
    attempt = run.attempt
    step.record(waiting, key, attempt)
    if key in step.state.waits:  # else what it waits for came before
        step.timers.extend(_timers_of(key, attempt, wait))


def _timers_of(key: RunKey, attempt: int, wait: Wait) -> list[Timer]:
    """Return the timers of a wait. A child has none: it ends by itself, and has a timeout of its own."""
    if wait.kind is WaitKind.CHILD:
        return []
    timers = []
    if wait.due_at is not None:
        kind = TimerKind.WAIT if wait.kind is WaitKind.TIMER else TimerKind.DUE
        timers.append(Timer(wait_timer_key(key, attempt, kind), kind, wait.due_at, *key))
    if wait.check_at is not None:
        timer_key = wait_timer_key(key, attempt, TimerKind.CHECK)
        timers.append(Timer(timer_key, TimerKind.CHECK, wait.check_at, *key))
    return timers


def _after(at: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else at + timedelta(seconds=seconds)


def _question(
    step: Step, key: RunKey, run: NodeRun, order: WaitOrder, due_at: datetime | None
) -> str | None:
    """Open the question of an order, and return its id or that of one that is open already."""
    if order.interaction is None:
        return order.interaction_id
    name = f"{idempotency_key(step.state.id, *key)}:interaction:{run.attempt}"
    interaction_id = derived_uuid7(step.at, name)
    step.opened.append(NewInteraction(interaction_id, *key, order.interaction, due_at))
    return interaction_id


def _start_child(step: Step, key: RunKey, run: NodeRun, target: Target, order: ChildOrder) -> str:
    """Start a child: its id derives from the node run and the try, so that each try has one."""
    name = f"{idempotency_key(step.state.id, *key)}:child:{run.tries}"
    child_id = derived_uuid7(step.at, name)
    parent = Parent(step.state.id, *key, is_detached=order.is_detached)
    step.start(child_id, target, order.input, parent=parent)
    return child_id


def _started_apart(
    step: Step, key: RunKey, run: NodeRun, result: Result, child_id: str, timing: Timing
) -> None:
    """End the node run that started a child without waiting for it."""
    started = msgspec.Raw(encode({"execution_id": child_id}))
    succeeded = NodeSucceeded(
        ports={"main": started}, tries=run.tries, timing=timing, worker_id=result.worker_id
    )
    step.record(succeeded, key, run.attempt)


def _too_deep() -> Failure:
    message = (
        f"a child of a child, {DEEPEST_CHILD} deep, may start no further ones (LIMIT_CHILD_DEPTH); "
        "does a workflow call itself without end?"
    )
    return Failure(FailureKind.REJECTED, "child_depth", message)


def _signal_sent(step: Step, sent: SignalSent) -> Decision:
    """Hand a signal to the first wait of its name, or keep it for one to come."""
    state = step.state
    if sent.signal_id in state.heard:
        return refuse("repeated")
    fitting = (key for key in state.waits if _wait_of(step, key).signal == sent.name)
    key = next(fitting, None)
    if key is None and len(state.signals) >= MOST_SIGNALS_KEPT:
        detail = f"{MOST_SIGNALS_KEPT} signals are kept that nothing waits for (LIMIT_SIGNALS)"
        return refuse("limit_exceeded", detail=detail)
    signal = SignalReceived(signal_id=sent.signal_id, name=sent.name, data=sent.data, by=sent.by)
    _receive(step, key, signal)
    return step.decision()


def _end_wait_asked(step: Step, asked: EndWaitAsked) -> Decision:
    """End the one wait that fits; an answer to a question closes it."""
    if asked.signal_id in step.state.heard:
        return refuse("repeated")
    fitting = [key for key in step.state.waits if _fits(asked, key, _wait_of(step, key))]
    if not fitting:
        return refuse("not_waiting")
    if len(fitting) > 1:
        listed = ", ".join(f"{node_id} {iteration_text(path)}" for node_id, path in fitting)
        return refuse("ambiguous_target", detail=f"these wait: {listed}; name one by node_id")
    wait = _wait_of(step, fitting[0])
    signal = SignalReceived(
        signal_id=asked.signal_id,
        name=asked.signal,
        interaction_id=wait.interaction_id,
        data=asked.data,
        port=asked.port,
        by=asked.by,
    )
    _receive(step, fitting[0], signal)
    if wait.interaction_id is not None:
        answered = ClosedInteraction(
            id=wait.interaction_id,
            status="ANSWERED",
            data=asked.data,
            port=asked.port,
            by=asked.by,
        )
        step.closed.append(answered)
    return step.decision()


def _receive(step: Step, key: RunKey | None, signal: SignalReceived) -> None:
    """Record a signal, and clear the timers of the wait that it ends."""
    attempt = None
    if key is not None:
        attempt = step.state.runs[key].attempt
        _clear(step, key, attempt)
    step.record(signal, key, attempt)


def _clear(step: Step, key: RunKey, attempt: int) -> None:
    wait = _wait_of(step, key)
    step.cleared.extend(timer.key for timer in _timers_of(key, attempt, wait))


def _wait_of(step: Step, key: RunKey) -> Wait:
    wait = step.state.runs[key].wait
    assert wait is not None
    return wait


def _fits(asked: EndWaitAsked, key: RunKey, wait: Wait) -> bool:
    """Whether a wait is the one that somebody means; children end by themselves."""
    if wait.kind is WaitKind.CHILD:
        return False
    if asked.interaction_id is not None and wait.interaction_id != asked.interaction_id:
        return False
    if asked.node_id is not None and key[0] != asked.node_id:
        return False
    if asked.iteration is not None and key[1] != asked.iteration:
        return False
    return asked.signal is None or wait.signal == asked.signal


def _child_ended(step: Step, ended: ChildEnded) -> Decision:
    """Give a node run the output of the child it waited for, or fail it with the child's failure."""
    key = (ended.node_id, ended.iteration)
    if key not in step.state.waits:
        return refuse("stale_child")
    run = step.state.runs[key]
    if _wait_of(step, key).child_execution_id != ended.child_execution_id:
        return refuse("stale_child")
    finished = ChildFinished(
        child_execution_id=ended.child_execution_id,
        status=ended.status,
        output=ended.output,
        failure=ended.failure,
    )
    _clear(step, key, run.attempt)
    step.record(finished, key, run.attempt)
    if ended.status is ExecutionStatus.SUCCESS:
        output = msgspec.Raw(b"null") if ended.output is UNSET else ended.output
        succeeded = NodeSucceeded(ports={"main": output}, tries=run.tries, timing=run.timing)
        step.record(succeeded, key, run.attempt)
    else:
        step.fail(key, run, _child_failure(ended), timing=run.timing)
    return step.decision()


def _child_failure(ended: ChildEnded) -> Failure:
    child_id = ended.child_execution_id
    details: dict[str, object] = {"execution_id": child_id}
    if ended.status is ExecutionStatus.CANCELED:
        message = f"the child execution {child_id} was canceled"
        return Failure(FailureKind.CANCELED, "child_canceled", message, details)
    if ended.failure is not None:
        details["failure"] = msgspec.to_builtins(ended.failure)
    why = ended.failure.message if ended.failure is not None else "it does not say why"
    message = f"the child execution {child_id} failed: {why}"
    return Failure(FailureKind.ERROR, "child_failed", message, details)


# --- timers --------------------------------------------------------------------------------------


def _timer_due(step: Step, due: TimerDue) -> Decision:
    """Take a timer that came due; one that no longer matters is only cleared."""
    if due.kind == TimerKind.EXECUTION_TIMEOUT and step.plan.timeout is not None:
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
    return _wait_due(step, key, run, due, kind)


def _wait_due(step: Step, key: RunKey, run: NodeRun, due: TimerDue, kind: TimerKind) -> Decision:
    """Let a wait end by its own timer, or its handler look at it in between."""
    if key not in step.state.waits:
        return refuse("stale_timer", due.key)
    wait = _wait_of(step, key)
    _clear(step, key, run.attempt)
    step.record(TimerFired(kind), key, run.attempt)
    if kind is TimerKind.DUE and wait.interaction_id is not None:
        step.closed.append(ClosedInteraction(id=wait.interaction_id, status="TIMED_OUT"))
    return step.decision()


def _join_due(step: Step, key: RunKey, run: NodeRun, due: TimerDue) -> Decision:
    """Let a join that waited long enough go on with what has arrived, or fail it."""
    join = step.plan.nodes[key[0]].join
    if join is None or run.ready_at is not None or run.status is not NodeRunStatus.PENDING:
        return refuse("stale_timer", due.key)
    step.record(TimerFired(TimerKind.DUE), key)
    step.cleared.append(due.key)
    if not join.proceeds:
        message = (
            f"{run.unresolved} of the connections into node {key[0]} brought nothing within "
            f"{join.max_wait:g} s of the first one; raise max_wait, or set on_timeout to PROCEED"
        )
        step.fail(key, run, Failure(FailureKind.TIMEOUT, "merge_timeout", message))
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
