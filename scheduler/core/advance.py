"""`advance`: fold an input into an execution's state and decide what follows.

Total: late, repeated and impossible inputs give a refusal, never an exception. Deterministic: the same
state and input give the same bytes. The state is changed in place; whoever loses the commit drops it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, assert_never

import msgspec
from msgspec import UNSET

from contracts.execution import fold
from contracts.execution.plan import Plan, PlannedNode
from contracts.execution.state import ExecutionState, NodeRun
from contracts.failures import Failure, FailureKind
from contracts.graph import start_trigger
from contracts.history import (
    Event,
    EventData,
    ExecutionCanceled,
    ExecutionFailed,
    ExecutionStarted,
    ExecutionSucceeded,
    NodeFailed,
    NodeRunRef,
    NodesSkipped,
    NodeSucceeded,
    TimerFired,
    Timing,
    Usage,
)
from contracts.ids import RunKey, idempotency_key, iteration_text
from contracts.messages import Result, encode
from contracts.model import OnError
from contracts.statuses import NodeRunStatus, SkipReason
from contracts.times import rfc3339
from scheduler.core import retries
from scheduler.core.decision import (
    Admitted,
    AttemptLost,
    CancelAsked,
    Decision,
    Input,
    Reported,
    Timer,
    TimerDue,
    refuse,
)

RETRY = "RETRY"
EXECUTION_TIMEOUT = "EXECUTION_TIMEOUT"
EXECUTION_TIMEOUT_KEY = "execution_timeout"

InputOf = Callable[[Plan, ExecutionState, RunKey], Any]
"""Assembles the input of a node run, mappings applied; raises ValueError if one fails."""


def advance(
    plan: Plan, state: ExecutionState, given: Input, *, at: datetime, input_of: InputOf
) -> Decision:
    """Fold one input into the state and return what follows from it."""
    if state.is_terminal:
        return refuse("already_finished", *_key_of(given))
    step = _Step(plan, state, at, input_of)
    match given:
        case Reported():
            return step.reported(given.result)
        case Admitted():
            return step.admitted()
        case AttemptLost():
            return step.attempt_lost(given)
        case CancelAsked():
            return step.cancel_asked(given)
        case TimerDue():
            return step.timer_due(given)
        case _:
            assert_never(given)


def retry_timer_key(key: RunKey, attempt: int) -> str:
    """Return the key of the timer that ends the pause after an attempt: no two pauses share one."""
    return f"retry:{key[0]}:{iteration_text(key[1])}:{attempt}"


def _key_of(given: Input) -> tuple[str, ...]:
    return (given.key,) if isinstance(given, TimerDue) else ()


class _Step:
    """One decision in the making: folds each event as it is decided and collects what follows."""

    __slots__ = (
        "at",
        "cleared",
        "dispatched",
        "events",
        "input_of",
        "plan",
        "state",
        "stop_workers",
        "timers",
    )

    def __init__(self, plan: Plan, state: ExecutionState, at: datetime, input_of: InputOf) -> None:
        self.plan = plan
        self.state = state
        self.at = at
        self.input_of = input_of
        self.events: list[Event] = []
        self.dispatched: list[RunKey] = []
        self.timers: list[Timer] = []
        self.cleared: list[str] = []
        self.stop_workers = False

    # --- inputs ------------------------------------------------------------------------------

    def admitted(self) -> Decision:
        """Start: the trigger yields the trigger data, the other triggers are skipped."""
        if self.state.started_at is not None:
            return refuse("already_started")
        touched = self.record(ExecutionStarted())
        ready = touched.ready
        if self.plan.timeout is not None:
            due_at = self.at + timedelta(seconds=self.plan.timeout)
            self.timers.append(Timer(EXECUTION_TIMEOUT_KEY, EXECUTION_TIMEOUT, due_at))
        ready.extend(self.start_triggers())
        self.follow(ready)
        return self.decision()

    def reported(self, result: Result) -> Decision:
        """Take the result of the current attempt; any other is refused."""
        key = (result.node_id, result.iteration)
        run = self.current(key, result.attempt)
        if run is None:
            return refuse("stale_result")
        timing = Timing(
            rfc3339(run.dispatched_at) if run.dispatched_at else None,
            result.started_at,
            result.finished_at,
        )
        failure = result.failure or _port_failure(self.plan.nodes[key[0]], result)
        if failure is not None:
            self.failed(key, run, failure, result=result, timing=timing)
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
            self.follow(self.record(succeeded, key, run.attempt).ready)
        return self.decision()

    def attempt_lost(self, lost: AttemptLost) -> Decision:
        """Fail an attempt whose result will not come."""
        key = (lost.node_id, lost.iteration)
        run = self.current(key, lost.attempt)
        if run is None:
            return refuse("stale_result")
        self.failed(key, run, lost.failure)
        return self.decision()

    def cancel_asked(self, asked: CancelAsked) -> Decision:
        """End the execution: nothing new starts, running attempts are told to stop."""
        self.record(ExecutionCanceled(asked.by, asked.reason, self.usage()))
        self.stop_workers = True
        return self.decision()

    def timer_due(self, due: TimerDue) -> Decision:
        """Take a timer that came due; one that no longer matters is only cleared."""
        if due.kind == EXECUTION_TIMEOUT and self.plan.timeout is not None:
            self.record(TimerFired(EXECUTION_TIMEOUT))
            self.fail_execution(_execution_timeout(self.plan.timeout))
            return self.decision()
        key: RunKey = (due.node_id or "", due.iteration)
        run = self.state.runs.get(key)
        if run is None or run.retry_at is None or due.key != retry_timer_key(key, run.attempt):
            return refuse("stale_timer", due.key)
        self.record(TimerFired(RETRY), key, run.attempt + 1)
        self.dispatched.append(key)
        self.cleared.append(due.key)
        return self.decision()

    # --- what follows ------------------------------------------------------------------------

    def start_triggers(self) -> list[RunKey]:
        """Let the start trigger yield and skip the others; return what became ready."""
        started_by = self.state.created.trigger
        fired = started_by.node_id if started_by else None
        chosen = start_trigger(self.plan.document, fired)
        ready: list[RunKey] = []
        skipped = []
        for node in self.plan.triggers:
            if node.id == chosen:
                yielded = NodeSucceeded(ports={"main": self.state.created.input})
                ready.extend(self.record(yielded, (node.id, ())).ready)
            else:
                skipped.append(NodeRunRef(node.id))
        if skipped:
            self.record(NodesSkipped(tuple(skipped), SkipReason.OTHER_TRIGGER))
        return ready

    def follow(self, ready: list[RunKey]) -> None:
        """Dispatch what became ready, pass on what needs no task, and end what is over."""
        while ready:
            ready.sort(key=lambda key: (self.plan.nodes[key[0]].index, key[1]))
            passed: list[RunKey] = []
            for key in ready:
                node = self.plan.nodes[key[0]]
                if not fold.stands_in(self.state, node):
                    self.dispatched.append(key)
                elif not self.state.is_terminal:
                    passed.extend(self.pass_on(key, node))
            ready = passed
        if not self.state.open_runs and not self.state.is_terminal:
            self.succeed()

    def pass_on(self, key: RunKey, node: PlannedNode) -> list[RunKey]:
        """Let a pin or the input of a disabled node stand for its output."""
        if node.disabled:
            return self.skip_disabled(key, node)
        assert node.pinned is not None
        pinned = NodeSucceeded(ports=node.pinned, pinned=True)
        return self.record(pinned, key).ready

    def skip_disabled(self, key: RunKey, node: PlannedNode) -> list[RunKey]:
        ports: dict[str, msgspec.Raw] = {}
        if node.pass_through is not None and not node.is_trigger:
            ports[node.pass_through] = msgspec.Raw(encode(self.input_or_null(key)))
        skipped = NodeRunRef(key[0], key[1], ports)
        return self.record(NodesSkipped((skipped,), SkipReason.DISABLED)).ready

    def failed(
        self,
        key: RunKey,
        run: NodeRun,
        failure: Failure,
        *,
        result: Result | None = None,
        timing: Timing | None = None,
    ) -> None:
        """Record a failed attempt: a retry later, or the node's error policy now."""
        node = self.plan.nodes[key[0]]
        tries = run.tries + 1
        pause = retries.pause_before_retry(
            node.retry_policy,
            failure,
            delivery=node.delivery,
            tries=tries,
            key=idempotency_key(self.state.id, *key),
        )
        attempt = run.attempt
        final = NodeFailed(
            failure=failure,
            tries=tries,
            timing=timing,
            worker_id=result.worker_id if result else None,
            usage=result.usage if result else None,
            logs=result.logs if result else UNSET,
            retry_at=self.at + timedelta(seconds=pause) if pause is not None else None,
            policy=None if pause is not None else node.on_error,
            ports=None if pause is not None else self.continued(key, node, failure, run),
        )
        ready = self.record(final, key, attempt).ready
        if final.retry_at is not None:
            self.timers.append(Timer(retry_timer_key(key, attempt), RETRY, final.retry_at, *key))
        elif node.on_error is OnError.STOP:
            self.fail_execution(msgspec.structs.replace(failure, node_id=key[0], iteration=key[1]))
        else:
            self.follow(ready)

    def continued(
        self, key: RunKey, node: PlannedNode, failure: Failure, run: NodeRun
    ) -> dict[str, msgspec.Raw] | None:
        """Return what a failed node yields when the execution goes on, or None under STOP."""
        if node.on_error is OnError.STOP:
            return None
        port = "error" if node.on_error is OnError.CONTINUE_ERROR else node.pass_through
        if port is None:
            return {}
        error = msgspec.to_builtins(failure) | {
            "node_id": key[0],
            "attempts": run.attempt,
            "at": rfc3339(self.at),
        }
        value = self.input_or_null(key)
        base = value if isinstance(value, dict) else {"input": value}
        return {port: msgspec.Raw(encode({**base, "error": error}))}

    def fail_execution(self, failure: Failure) -> None:
        self.record(ExecutionFailed(failure, self.state.continued_errors, self.usage()))
        self.stop_workers = True

    def succeed(self) -> None:
        output = msgspec.Raw(encode(leaf_outputs(self.plan, self.state)))
        self.record(ExecutionSucceeded(output, self.state.continued_errors, self.usage()))

    # --- bookkeeping -------------------------------------------------------------------------

    def record(
        self, data: EventData, key: RunKey | None = None, attempt: int | None = None
    ) -> fold.Touched:
        """Decide an event and fold it; what it killed is told in an event of its own."""
        node_id, iteration = key or (None, None)
        event = Event(self.state.seq + 1, self.at, data, node_id, iteration, attempt)
        self.events.append(event)
        touched = fold.apply(self.plan, self.state, event)
        if touched.dead:
            refs = tuple(NodeRunRef(node_id, iteration) for node_id, iteration in touched.dead)
            self.record(NodesSkipped(refs, SkipReason.DEAD))
        return touched

    def current(self, key: RunKey, attempt: int) -> NodeRun | None:
        """Return the node run if this is its attempt under way."""
        run = self.state.runs.get(key)
        if run is None or run.status is not NodeRunStatus.RUNNING or run.attempt != attempt:
            return None
        return run

    def input_or_null(self, key: RunKey) -> Any:
        try:
            return self.input_of(self.plan, self.state, key)
        except ValueError:
            return None  # a mapping failed: that failure is told where it happened

    def usage(self) -> Usage | None:
        """Return what all node runs used up together, or None if nothing."""
        parts = [run.usage for run in self.state.runs.values() if run.usage is not None]
        if not parts:
            return None
        return Usage(
            *(sum(values) for values in zip(*map(msgspec.structs.astuple, parts), strict=True))
        )

    def decision(self) -> Decision:
        terminal = self.state.is_terminal
        return Decision(
            events=tuple(self.events),
            dispatched=() if terminal else tuple(self.dispatched),
            timers=() if terminal else tuple(self.timers),
            cleared=tuple(self.cleared),
            stop_workers=self.stop_workers,
        )


def leaf_outputs(plan: Plan, state: ExecutionState) -> dict[str, msgspec.Raw]:
    """Return the execution's output: the value of each leaf, by node id in document order.

    A leaf yielded, but on no port that is wired.
    """
    outputs = {}
    for node in plan.nodes.values():
        run = state.runs[node.id, ()]
        if not run.ports or run.status is NodeRunStatus.ERROR:
            continue
        port = node.main_output(run.ports)
        if port is not None and node.wired_ports.isdisjoint(run.ports):
            outputs[node.id] = run.ports[port]
    return outputs


def _port_failure(node: PlannedNode, result: Result) -> Failure | None:
    """Return the failure of a result that names no port, or one that the node does not have."""
    if result.ports is None:
        message = "the worker reported neither outputs nor a failure; update the worker"
        return Failure(FailureKind.ERROR, "invalid_result", message)
    strange = [port for port in result.ports if port not in node.output_ports]
    if not strange:
        return None
    message = (
        f"the handler yielded on port {strange[0]!r}, which {node.type} does not have; "
        f"its ports are {', '.join(node.output_ports)}"
    )
    return Failure(FailureKind.ERROR, "undeclared_port", message, {"port": strange[0]})


def _execution_timeout(timeout: float) -> Failure:
    message = f"the execution passed its timeout of {timeout:g} s; raise settings.timeout"
    return Failure(FailureKind.TIMEOUT, "execution_timeout", message, {"timeout": timeout})
