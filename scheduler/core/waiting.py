"""Waits, from the order of a worker to what ends them: a timer, a signal, an answer, a child."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec
from msgspec import UNSET

from contracts.execution import waits
from contracts.execution.state import NodeRun
from contracts.failures import Failure, FailureKind
from contracts.history import (
    NULL,
    ChildFinished,
    NodeSucceeded,
    NodeWaiting,
    Parent,
    SignalReceived,
    TimerFired,
    Timing,
    Wait,
)
from contracts.ids import RunKey, derived_uuid7, idempotency_key
from contracts.interactions import Rules
from contracts.messages import ChildOrder, InteractionOrder, WaitOrder, encode
from contracts.statuses import ExecutionStatus, TimerKind, WaitKind
from scheduler.core.decision import (
    ChangedInteraction,
    ChildEnded,
    ClosedInteraction,
    Decision,
    EndWaitAsked,
    NewInteraction,
    Reported,
    SignalSent,
    Target,
    Timer,
    TimerDue,
    refuse,
)
from scheduler.core.results import invalid
from scheduler.core.step import Step, wait_timer_key

# --- the beginning of a wait ---------------------------------------------------------------------


def suspend(
    step: Step, key: RunKey, run: NodeRun, given: Reported, order: WaitOrder, timing: Timing
) -> None:
    """Suspend a node run; a child is started and a question opened with the same commit."""
    result = given.result
    if not _may_wait_for(run, order):
        foreign = invalid(f"interaction {order.interaction_id} is no question of node {key[0]}")
        step.fail(key, run, foreign, result=result, timing=timing)
        return
    child_id: str | None = None
    if order.child is not None:
        failure = _refusal_of_child(step, given)
        if failure is not None:
            step.fail(key, run, failure, result=result, timing=timing)
            return
        assert isinstance(given.child, Target)
        child_id = _start_child(step, key, run, given.child, order.child)
        if order.child.is_detached:
            _go_on_without(step, key, run, given, child_id, timing)
            return
    due_at = order.due_at
    if order.seconds is not None:
        due_at = _after(step.at, order.seconds)
    wait = Wait(
        kind=order.kind,
        due_at=due_at,
        check_at=_after(step.at, order.check_seconds),
        is_reminder=order.is_reminder and order.check_seconds is not None,
        signal=order.signal,
        interaction_id=_question(step, key, run, order, due_at),
        question=_rules(step, order),
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
        step.timers.extend(timers_of(key, attempt, wait))


def timers_of(key: RunKey, attempt: int, wait: Wait) -> Iterator[Timer]:
    """Yield the timers of a wait. A child has none: it ends by itself, and has a timeout of its own."""
    if wait.kind is WaitKind.CHILD:
        return
    if wait.due_at is not None:
        kind = TimerKind.WAIT if wait.kind is WaitKind.TIMER else TimerKind.DUE
        yield Timer(wait_timer_key(key, attempt, kind), kind, wait.due_at, *key)
    if wait.check_at is not None:
        kind = TimerKind.REMINDER if wait.is_reminder else TimerKind.CHECK
        yield Timer(wait_timer_key(key, attempt, kind), kind, wait.check_at, *key)


def _after(at: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else at + timedelta(seconds=max(seconds, 0))


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


def _may_wait_for(run: NodeRun, order: WaitOrder) -> bool:
    """Whether the question that an order goes on waiting for is the one that its node run put."""
    asked = order.interaction_id
    return asked is None or (run.wait is not None and run.wait.interaction_id == asked)


def _rules(step: Step, order: WaitOrder) -> Rules | None:
    """Return what is new of the rules of an order's question: all of a new one, who else is asked of an open one."""
    if order.interaction is not None:
        return rules_of(order.interaction)
    if not order.approvers or order.interaction_id is None:
        return None
    question = step.state.questions.get(order.interaction_id)
    if question is None or question.rules is None:
        return None
    rules = question.rules.extended(order.approvers, step.state.created.user_id)
    step.changed.append(ChangedInteraction(id=order.interaction_id, approvers=rules.approvers))
    return msgspec.structs.replace(rules, value=UNSET)


def rules_of(order: InteractionOrder) -> Rules:
    """Return the rules of a question that is put."""
    return Rules(
        kind=order.kind,
        approvals=order.approvals_required,
        rejections=order.rejections_required,
        approvers=order.approvers,
        is_for_all=not order.approvers,
        value=order.value,
    )


# --- children ------------------------------------------------------------------------------------


def _refusal_of_child(step: Step, given: Reported) -> Failure | None:
    """Return why a child that a result wants cannot be started, or None."""
    if not isinstance(given.child, Target):
        return given.child or invalid("nobody looked up the workflow of the child")
    depth, most = step.state.created.depth, step.limits.child_depth
    if depth < most:
        return None
    message = (
        f"a child of a child, {depth} deep, may start no further ones; the limit is {most} "
        "(LIMIT_CHILD_DEPTH); does a workflow call itself without end?"
    )
    return Failure(FailureKind.REJECTED, "child_depth", message)


def _start_child(step: Step, key: RunKey, run: NodeRun, target: Target, order: ChildOrder) -> str:
    """Start a child: its id derives from the node run and the try, so that each try has one."""
    name = f"{idempotency_key(step.state.id, *key)}:child:{run.tries}"
    child_id = derived_uuid7(step.at, name)
    parent = Parent(step.state.id, *key, is_detached=order.is_detached)
    step.start(child_id, target, order.input, parent=parent)
    return child_id


def _go_on_without(
    step: Step, key: RunKey, run: NodeRun, given: Reported, child_id: str, timing: Timing
) -> None:
    """End the node run that started a child without waiting for it."""
    result = given.result
    succeeded = NodeSucceeded(
        ports={"main": msgspec.Raw(encode({"execution_id": child_id}))},
        tries=run.tries,
        timing=timing,
        worker_id=result.worker_id,
        usage=result.usage,
        logs=result.logs,
    )
    step.record(succeeded, key, run.attempt)


def child_ended(step: Step, ended: ChildEnded) -> Decision:
    """Give a node run the output of the child it waited for, or fail it with the child's failure."""
    key = (ended.node_id, ended.iteration)
    if key not in step.state.waits:
        return refuse("stale_child")
    run = step.state.runs[key]
    if waits.wait_of(step.state, key).child_execution_id != ended.child_execution_id:
        return refuse("stale_child")
    finished = ChildFinished(
        child_execution_id=ended.child_execution_id,
        status=ended.status,
        output=ended.output,
        failure=ended.failure,
    )
    step.record(finished, key, run.attempt)
    if ended.status is ExecutionStatus.SUCCESS:
        output = NULL if ended.output is UNSET else ended.output
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
        details["failure"] = as_read(ended.failure)
    why = ended.failure.message if ended.failure is not None else "it does not say why"
    message = f"the child execution {child_id} failed: {why}"
    return Failure(FailureKind.ERROR, "child_failed", message, details)


def as_read(failure: Failure) -> object:
    """Return a failure as it is read from JSON, where there are no tuples: state and history must be the same."""
    return msgspec.json.decode(encode(failure))


# --- signals and answers -------------------------------------------------------------------------


def signal_sent(step: Step, sent: SignalSent) -> Decision:
    """Hand a signal to the first wait of its name, or keep it for one to come."""
    state = step.state
    if sent.signal_id in state.heard:
        return refuse("repeated")
    fitting = (key for key in state.waits if waits.wait_of(state, key).signal == sent.name)
    key = next(fitting, None)
    found, most = len(state.signals), step.limits.signals
    if key is None and found >= most:
        detail = (
            f"{found} signals are kept that nothing waits for; the limit is {most} (LIMIT_SIGNALS)"
        )
        return refuse("limit_exceeded", detail=detail)
    signal = SignalReceived(signal_id=sent.signal_id, name=sent.name, data=sent.data, by=sent.by)
    receive(step, key, signal)
    return step.decision()


def end_wait_asked(step: Step, asked: EndWaitAsked) -> Decision:
    """End the one wait that fits. A question is closed by whoever counted its answers: it has to be named for that.

    It may be answered while a handler looks at it: the answer is kept for its next wait.
    """
    state = step.state
    if asked.signal_id in state.heard:
        return refuse("repeated")
    fitting = waits.fitting(
        state,
        interaction_id=asked.interaction_id,
        node_id=asked.node_id,
        iteration=asked.iteration,
        signal=asked.signal,
    )
    if asked.interaction_id is None:
        fitting = [key for key in fitting if waits.wait_of(state, key).interaction_id is None]
    if len(fitting) > 1:
        return refuse("ambiguous_target", detail=waits.told(state, fitting))
    if fitting:
        key = fitting[0]
        _end_by_person(step, asked, key, waits.wait_of(state, key).interaction_id)
    elif asked.interaction_id in state.questions:
        _end_by_person(step, asked, None, asked.interaction_id)
    else:
        return refuse("not_waiting")
    return step.decision()


def _end_by_person(
    step: Step, asked: EndWaitAsked, key: RunKey | None, interaction_id: str | None
) -> None:
    signal = SignalReceived(
        signal_id=asked.signal_id,
        name=asked.signal,
        interaction_id=interaction_id,
        data=asked.data,
        port=asked.port,
        by=asked.by,
    )
    receive(step, key, signal)
    if interaction_id is not None:
        answered = ClosedInteraction(
            id=interaction_id,
            status="ANSWERED",
            data=asked.data,
            port=asked.port,
            by=asked.by,
        )
        step.closed.append(answered)


def receive(step: Step, key: RunKey | None, signal: SignalReceived) -> None:
    """Record a signal, and clear the timers of the wait that it ends."""
    attempt = None
    if key is not None:
        attempt = step.state.runs[key].attempt
        _clear(step, key, attempt)
    step.record(signal, key, attempt)


def _clear(step: Step, key: RunKey, attempt: int) -> None:
    wait = waits.wait_of(step.state, key)
    step.cleared.extend(timer.key for timer in timers_of(key, attempt, wait))


# --- timers --------------------------------------------------------------------------------------


def wait_due(step: Step, key: RunKey, run: NodeRun, due: TimerDue, kind: TimerKind) -> Decision:
    """Let a wait end by its own timer, or its handler look at it in between."""
    if key not in step.state.waits:
        return refuse("stale_timer", due.key)
    wait = waits.wait_of(step.state, key)
    timers = [timer.key for timer in timers_of(key, run.attempt, wait)]
    if due.key not in timers:
        return refuse("stale_timer", due.key)
    step.cleared.extend(timers)
    step.record(TimerFired(kind), key, run.attempt)
    if wait.interaction_id is not None:
        _tell_question(step, wait.interaction_id, kind)
    return step.decision()


def _tell_question(step: Step, interaction_id: str, kind: TimerKind) -> None:
    """Close a question that nobody answered in time, or count how often people were reminded of it."""
    if kind is TimerKind.DUE:
        step.closed.append(ClosedInteraction(id=interaction_id, status="TIMED_OUT"))
    elif kind is TimerKind.REMINDER:
        reminders = step.state.questions[interaction_id].reminders
        step.changed.append(ChangedInteraction(id=interaction_id, reminders=reminders))
