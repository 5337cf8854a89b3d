"""One decision in the making: folds each event as it is decided and collects what follows from it."""

from collections import deque
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

import msgspec
from msgspec import UNSET

from contracts.execution import fold, values
from contracts.execution.plan import Plan, PlannedNode
from contracts.execution.state import ExecutionState, LoopRun, NodeRun, added
from contracts.failures import Failure, FailureKind
from contracts.history import (
    NULL,
    Event,
    EventData,
    ExecutionCreated,
    ExecutionFailed,
    ExecutionSucceeded,
    IterationFinished,
    LoopRules,
    NodeFailed,
    NodeRunRef,
    NodesSkipped,
    NodeSucceeded,
    Parent,
    Timing,
    Usage,
    Wait,
)
from contracts.ids import RunKey, derived_uuid7, idempotency_key, iteration_text
from contracts.limits import CoreLimits
from contracts.messages import Result, encode
from contracts.model import OnError
from contracts.specs import TIMEOUT_PORT
from contracts.statuses import Mode, NodeRunStatus, SkipReason, TimerKind
from contracts.times import rfc3339
from scheduler.core import results, retries
from scheduler.core.decision import (
    Assemble,
    AssemblyFailed,
    ChangedInteraction,
    ClosedInteraction,
    Decision,
    NewChild,
    NewInteraction,
    Target,
    Timer,
)


def wait_timer_key(key: RunKey, attempt: int, kind: TimerKind) -> str:
    """Return the key of a timer that a wait after an attempt has: no two waits share one."""
    return f"{kind.lower()}:{key[0]}:{iteration_text(key[1])}:{attempt}"


def join_timer_key(key: RunKey) -> str:
    """Return the key of the timer after which a join goes on, or fails, with what has arrived."""
    return f"join:{key[0]}:{iteration_text(key[1])}"


class Step:
    """Events of one decision, and what is to be done once they are committed."""

    def __init__(
        self,
        plan: Plan,
        state: ExecutionState,
        at: datetime,
        *,
        input_of: Assemble,
        result_of: Assemble,
        failure_target: Target | None,
        limits: CoreLimits,
    ) -> None:
        self.plan = plan
        self.state = state
        self.at = at
        self.limits = limits
        self._input_of = input_of
        self._result_of = result_of
        self._failure_target = failure_target
        self.events: list[Event] = []
        self.dispatched: list[RunKey] = []
        self.gone_on: list[RunKey] = []
        self.timers: list[Timer] = []
        self.cleared: list[str] = []
        self.children: list[NewChild] = []
        self.orphans: list[str] = []
        self.opened: list[NewInteraction] = []
        self.closed: list[ClosedInteraction] = []
        self.changed: list[ChangedInteraction] = []
        self.stop_workers = False
        self._touched: deque[fold.Touched] = deque()

    # --- events ------------------------------------------------------------------------------

    def record(
        self, data: EventData, key: RunKey | None = None, attempt: int | None = None
    ) -> None:
        """Decide an event and fold it; what it killed is told in an event of its own."""
        node_id, iteration = key or (None, None)
        event = Event(self.state.seq + 1, self.at, data, node_id, iteration, attempt)
        self.events.append(event)
        touched = fold.apply(self.plan, self.state, event)
        self._touched.append(touched)
        if touched.dead:
            refs = tuple(NodeRunRef(node_id, path) for node_id, path in touched.dead)
            self.record(NodesSkipped(refs, SkipReason.DEAD))

    def decision(self) -> Decision:
        """Carry out what follows, end what is over, and return the whole."""
        self._follow()
        if not self.state.open_runs and not self.state.is_terminal:
            self.succeed()
            self._follow()
        is_over = self.state.is_terminal
        return Decision(
            events=tuple(self.events),
            dispatched=() if is_over else self._tasks(),
            gone_on=tuple(self.gone_on),
            timers=() if is_over else tuple(self.timers),
            cleared=tuple(self.cleared),
            children=tuple(self.children),
            orphans=tuple(self.orphans),
            opened=() if is_over else tuple(self.opened),
            closed=tuple(self.closed),
            changed=tuple(self.changed),
            stop_workers=self.stop_workers,
        )

    def _tasks(self) -> tuple[RunKey, ...]:
        """Return the dispatched node runs in document order, without those that ended since."""
        keys = dict.fromkeys(key for key in self.dispatched if self.state.runs[key].has_task)
        if len(keys) < 2:
            return tuple(keys)
        return tuple(sorted(keys, key=self._order))

    def _order(self, key: RunKey) -> tuple[int, tuple[int, ...]]:
        return self.plan.nodes[key[0]].index, key[1]

    # --- what follows ------------------------------------------------------------------------

    def _follow(self) -> None:
        """Carry out what the events brought about, and what that brings about, until nothing is left."""
        while self._touched:
            touched = self._touched.popleft()
            self.dispatched.extend(touched.dispatched)
            self.gone_on.extend(touched.gone_on)
            for wait in touched.closed:
                self.close(wait)
            if self.state.is_terminal:
                continue
            for key in sorted(touched.standing, key=self._order):
                self._pass_on(key)
            for key in touched.yielding:
                self._give_what_came(key)
            for key in touched.joining:
                self._limit_join(key)
            for key in touched.overdue:
                self._fail_join(key)
            for over in touched.results_due:
                self._finish_item(over)
            for key, failure in touched.loops_failed:
                self._fail_loop(key, failure)
            for key in touched.loops_over:
                self.complete_loop(key)

    def _is(self, key: RunKey, status: NodeRunStatus) -> bool:
        """Whether a node run still is where an event left it: another one may have ended it since."""
        return not self.state.is_terminal and self.state.runs[key].status is status

    def _pass_on(self, key: RunKey) -> None:
        """Let a pin or the input of a disabled node stand for its output."""
        if not self._is(key, NodeRunStatus.PENDING):
            return
        node = self.plan.nodes[key[0]]
        if node.disabled:
            ports: dict[str, msgspec.Raw] = {}
            if node.pass_through is not None and not node.is_trigger:
                ports[node.pass_through] = msgspec.Raw(encode(self.input_or_null(key)))
            self.record(NodesSkipped((NodeRunRef(*key, ports),), SkipReason.DISABLED))
        else:
            assert node.pinned is not None
            self.record(NodeSucceeded(ports=node.pinned, pinned=True), key)

    def _give_what_came(self, key: RunKey) -> None:
        """End a node run with what its wait brought."""
        if not self._is(key, NodeRunStatus.WAITING):
            return
        run = self.state.runs[key]
        resumed = run.resumed
        assert resumed is not None
        node = self.plan.nodes[key[0]]
        is_late = resumed.by == TimerKind.DUE
        ports = {resumed.port or (TIMEOUT_PORT if is_late else "main"): resumed.data}
        failure = results.ports_failure(node, ports)
        if is_late and TIMEOUT_PORT not in node.wired_ports:
            message = f"node {key[0]} waited in vain; wire its port timeout, or let it wait longer"
            failure = Failure(FailureKind.TIMEOUT, "wait_timeout", message)
        if failure is not None:
            self.fail(key, run, failure, timing=run.timing)
        else:
            given = NodeSucceeded(ports=ports, tries=run.tries, timing=run.timing)
            self.record(given, key, run.attempt)

    def _limit_join(self, key: RunKey) -> None:
        """Set the timer after which a join does not wait any more."""
        join = self.plan.nodes[key[0]].join
        if join is None or join.max_wait is None or self.state.runs[key].ready_at is not None:
            return
        due_at = self.at + timedelta(seconds=join.max_wait)
        self.timers.append(Timer(join_timer_key(key), TimerKind.DUE, due_at, *key))

    def _fail_join(self, key: RunKey) -> None:
        """Fail a join that waited in vain: nothing was tried, so nothing is tried again."""
        if not self._is(key, NodeRunStatus.PENDING):
            return
        node = self.plan.nodes[key[0]]
        assert node.join is not None
        assert node.join.max_wait is not None
        message = (
            f"{self.state.runs[key].unresolved} of the connections into node {key[0]} brought nothing "
            f"within {node.join.max_wait:g} s of the first one; raise max_wait, or set on_timeout to "
            "PROCEED"
        )
        self._fail_for_good(key, Failure(FailureKind.TIMEOUT, "merge_timeout", message))

    def _finish_item(self, over: RunKey) -> None:
        """Record what came back from an iteration, or the failure of its mapping."""
        loop_id, path = over
        loop = self.state.loops.get((loop_id, path[:-1]))
        if self.state.is_terminal or loop is None or path[-1] not in loop.active:
            return
        try:
            value = msgspec.Raw(encode(self._result_of(self.plan, self.state, over)))
        except AssemblyFailed as failed:
            failure = msgspec.structs.replace(failed.failure, node_id=loop_id, iteration=path)
            self.record(IterationFinished(failure=failure), over)
        else:
            self.record(IterationFinished(value=value), over)

    def complete_loop(self, key: RunKey, rules: LoopRules | None = None) -> None:
        """End a loop without any iteration left: its port `complete` yields what they gave."""
        if not self._is(key, NodeRunStatus.RUNNING):
            return
        run = self.state.runs[key]
        loop = self.state.loops.get(key) or LoopRun(rules or LoopRules(), [], 0)
        value = loop_value(loop)
        failure = results.size_failure(key[0], "complete", value, self.limits.value_bytes)
        if failure is not None:
            self._fail_for_good(key, failure)
            return
        done = NodeSucceeded(
            ports={"complete": value},
            tries=run.tries,
            timing=run.timing,
            worker_id=run.worker_id,
        )
        self.record(done, key, run.attempt or None)

    # --- failures ----------------------------------------------------------------------------

    def fail(
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
        retry_at = self.at + timedelta(seconds=pause) if pause is not None else None
        failed = NodeFailed(
            failure=failure,
            tries=tries,
            timing=timing,
            worker_id=result.worker_id if result else None,
            usage=result.usage if result else None,
            logs=result.logs if result else UNSET,
            retry_at=retry_at,
            policy=None if retry_at else node.on_error,
            ports=None if retry_at else self._continued(key, node, failure, run),
        )
        self.record(failed, key, attempt)
        if retry_at is not None:
            timer_key = wait_timer_key(key, attempt, TimerKind.RETRY)
            self.timers.append(Timer(timer_key, TimerKind.RETRY, retry_at, *key))
        elif node.on_error is OnError.STOP:
            self._stop(key, failure)

    def _fail_loop(self, key: RunKey, failure: Failure) -> None:
        """Fail a loop with the failure of one of its iterations: nothing of it is tried again."""
        if not self._is(key, NodeRunStatus.RUNNING):
            return
        self._fail_for_good(key, failure)

    def _fail_for_good(self, key: RunKey, failure: Failure) -> None:
        """Record a failure that no attempt follows, and that no attempt reported."""
        node = self.plan.nodes[key[0]]
        run = self.state.runs[key]
        failed = NodeFailed(
            failure=failure,
            tries=run.tries + 1,
            timing=run.timing,
            worker_id=run.worker_id,
            policy=node.on_error,
            ports=self._continued(key, node, failure, run),
        )
        self.record(failed, key, run.attempt or None)
        if node.on_error is OnError.STOP:
            self._stop(key, failure)

    def _stop(self, key: RunKey, failure: Failure) -> None:
        """Let a failure end the execution; inside of a loop it has ended the iteration."""
        if key[1]:
            return
        if failure.node_id is None:
            failure = msgspec.structs.replace(failure, node_id=key[0], iteration=key[1])
        self.fail_execution(failure)

    def _continued(
        self, key: RunKey, node: PlannedNode, failure: Failure, run: NodeRun
    ) -> dict[str, msgspec.Raw] | None:
        """Return what a failed node yields when the execution goes on, or None under STOP."""
        if node.on_error is OnError.STOP:
            return None
        port = "error" if node.on_error is OnError.CONTINUE_ERROR else node.pass_through
        if port is None:
            return {}
        error = msgspec.to_builtins(failure) | {
            "node_id": failure.node_id or key[0],
            "attempts": run.attempt,
            "at": rfc3339(self.at),
        }
        value = self.input_or_null(key)
        base = value if isinstance(value, dict) else {"input": value}
        return {port: msgspec.Raw(encode({**base, "error": error}))}

    # --- ends --------------------------------------------------------------------------------

    def fail_execution(self, failure: Failure) -> None:
        """End the execution with a failure, and start the workflow that is there for that."""
        self.record(ExecutionFailed(failure, self.state.continued_errors, self.usage()))
        self.stop_workers = True
        target = self._failure_target
        if target is None or self.state.created.is_of_failure:
            return
        told = {
            "execution_id": self.state.id,
            "workflow_id": self.state.created.workflow_id,
            "failure": failure,
        }
        self.start(
            derived_uuid7(self.at, f"{self.state.id}:failure"),
            target,
            msgspec.Raw(encode(told)),
            is_of_failure=True,
        )

    def succeed(self) -> None:
        """End the execution with the values of its leaves."""
        output = values.pasted(leaf_outputs(self.plan, self.state))
        self.record(ExecutionSucceeded(output, self.state.continued_errors, self.usage()))

    def usage(self) -> Usage | None:
        """Return what all node runs used up together, or None if nothing."""
        return reduce(added, (run.usage for run in self.state.runs.values()), None)

    # --- children and questions --------------------------------------------------------------

    def start(
        self,
        child_id: str,
        target: Target,
        value: msgspec.Raw,
        *,
        parent: Parent | None = None,
        is_of_failure: bool = False,
    ) -> None:
        """Start an execution with the commit."""
        created = self.state.created
        child = ExecutionCreated(
            workflow_id=target.workflow_id,
            version_id=target.version_id,
            user_id=created.user_id,
            mode=Mode.TRIGGER,
            input=value,
            parent=parent,
            slot=target.slot,
            cannot_start=target.cannot_start,
            depth=created.depth + (parent is not None),
            is_of_failure=is_of_failure or created.is_of_failure,
            priority=target.priority,
            traceparent=created.traceparent,
        )
        self.children.append(NewChild(child_id, child, self.at))

    def close(self, wait: Wait) -> None:
        """Let go of what a wait that nobody needs any more was for."""
        if wait.child_execution_id is not None:
            self.orphans.append(wait.child_execution_id)
        if wait.interaction_id is not None:
            self.closed.append(ClosedInteraction(id=wait.interaction_id, status="CANCELED"))

    def input_or_null(self, key: RunKey) -> Any:
        """Return the input of a node run; null where a mapping fails, for that is told where it happened."""
        try:
            return self._input_of(self.plan, self.state, key)
        except ValueError:
            return None


def leaf_outputs(plan: Plan, state: ExecutionState) -> dict[str, msgspec.Raw]:
    """Return the execution's output: the value of each leaf, by node id in document order."""
    alone = state.created.single_node_id
    if alone is None:
        outside = (node.id for node in plan.nodes.values() if not node.loops)
        return values.leaves(plan, state, outside, ())
    ports = state.runs[alone, ()].ports or {}
    port = plan.nodes[alone].main_output(ports)
    return {} if port is None else {alone: ports[port]}


def loop_value(loop: LoopRun) -> msgspec.Raw:
    """Return what a loop's port `complete` yields."""
    results = [loop.results[index] for index in sorted(loop.results)]
    errors = sorted(loop.failures, key=lambda each: each.index)
    fields = {
        "results": values.listed(results),
        "count": msgspec.Raw(str(loop.begun).encode()),
        "failed": msgspec.Raw(str(len(errors)).encode()),
        "errors": msgspec.Raw(encode(errors)),
        "last": results[-1] if results else NULL,
    }
    if not loop.rules.collect:
        del fields["results"]
    return values.pasted(fields)
