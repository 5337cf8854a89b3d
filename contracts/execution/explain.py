"""Why an execution is where it is: causes that follow from its state, and from what is known of the engine around it.

Whoever asks gathers the facts; here they are put together. There is never no cause.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

import msgspec

from contracts.execution import values
from contracts.execution.plan import Plan, PlannedConnection
from contracts.execution.state import ExecutionState, NodeRun, OpenQuestion
from contracts.failures import Failure
from contracts.history import By, Wait
from contracts.ids import Iteration, RunKey, iteration_text
from contracts.statuses import ExecutionStatus, NodeRunStatus, WaitKind

MOST_CAUSES: Final = 100
SLACK: Final = timedelta(seconds=5)
"""How late a timer may be before somebody is behind."""

_CODE_OF_WAIT: Final = {
    WaitKind.TIMER: "waiting_timer",
    WaitKind.SIGNAL: "waiting_signal",
    WaitKind.INTERACTION: "waiting_interaction",
    WaitKind.CHILD: "waiting_child",
}


class WorkerFact(msgspec.Struct, frozen=True, kw_only=True):
    """A live worker."""

    id: str
    slots: int
    busy: int
    last_seen_at: datetime


class TaskFact(msgspec.Struct, frozen=True, kw_only=True):
    """Where the task of a node run is: with a worker, or queued; in neither case it is on its way.

    Of a queued one so many are `ahead`, if that is known. `worker_id` and `started_at` are known of attempts that
    have taken a moment.
    """

    is_delivered: bool = False
    is_queued: bool = False
    ahead: int | None = None
    worker_id: str | None = None
    started_at: datetime | None = None


class LineFact(msgspec.Struct, frozen=True, kw_only=True):
    """Where a ready task stands that is not queued: behind `ahead` others, for `window` places, all taken."""

    node_type: str
    ahead: int
    queued: int
    window: int


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asked for, and why."""

    at: datetime
    by: By
    reason: str | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known besides the history, at the instant `now`.

    `schedulers` counts those at work; `leader` is the one that leads the execution, if it answers: `is_led` says so,
    None if nobody could be asked. It has a `backlog` of inputs, and tasks of the execution wait `in_line`.
    `workers` are alive, by the node type that they serve; `queues` says
    how many tasks of a node type wait for a worker, None if NATS cannot be asked. `tasks` are those that
    were looked for. `holders` are executions that have the slots which this one needs. `paused` and
    `canceled` are the last words of history on either.
    """

    now: datetime
    schedulers: int = 1
    is_led: bool | None = True
    leader: str | None = None
    backlog: int = 0
    in_line: dict[RunKey, LineFact] = {}
    workers: dict[str, tuple[WorkerFact, ...]] = {}
    queues: dict[str, int] | None = {}
    tasks: dict[RunKey, TaskFact] = {}
    holders: tuple[str, ...] = ()
    paused: Said | None = None
    canceled: Said | None = None


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """One reason; `since` when it holds, and until when at the latest, where that is known."""

    code: str
    message: str
    since: datetime
    until: datetime | None = None
    node_id: str | None = None
    iteration: Iteration | None = None
    details: dict[str, Any] = {}


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why an execution is where it is; `causes` are at least one."""

    status: ExecutionStatus
    summary: str
    causes: tuple[Cause, ...]


def explain(plan: Plan, state: ExecutionState, facts: Facts) -> Explanation:
    """Return why an execution is where it is."""
    causes = list(_Explainer(plan, state, facts).causes())
    shown = tuple(causes[:MOST_CAUSES])
    more = len(causes) - 1
    also = f" (and {more} more {'cause' if more == 1 else 'causes'})" if more else ""
    return Explanation(
        status=state.status, summary=f"{state.status}: {shown[0].message}{also}", causes=shown
    )


def looked_for(state: ExecutionState, most: int) -> list[RunKey]:
    """Return node runs whose tasks are outstanding, those that wait for longest first."""
    keys = [key for key, run in state.runs.items() if run.has_task]
    return sorted(keys, key=lambda key: _dispatched(state, state.runs[key]))[:most]


def _dispatched(state: ExecutionState, run: NodeRun) -> datetime:
    return run.dispatched_at or state.updated_at


class _Explainer:
    def __init__(self, plan: Plan, state: ExecutionState, facts: Facts) -> None:
        self._plan = plan
        self._state = state
        self._facts = facts

    def causes(self) -> Iterator[Cause]:
        match self._state.status:
            case ExecutionStatus.SUCCESS:
                yield self._succeeded()
            case ExecutionStatus.CANCELED:
                yield self._canceled()
            case ExecutionStatus.ERROR:
                yield from self._failed()
            case ExecutionStatus.NEW:
                yield from self._not_under_way()
            case _:
                yield from self._under_way()

    # --- at the end --------------------------------------------------------------------------

    def _succeeded(self) -> Cause:
        continued = self._state.continued_errors
        message = "every node run is over, and none stopped it"
        if continued:
            message += f"; continued failures: {continued}"
        return self._at_end("succeeded", message)

    def _canceled(self) -> Cause:
        said = self._facts.canceled
        if said is None:
            return self._at_end("canceled", "somebody canceled it")
        message = f"canceled by {_who(said.by)}{_because(said.reason)}"
        return self._at_end("canceled", message, by=msgspec.to_builtins(said.by))

    def _failed(self) -> Iterator[Cause]:
        """Yield the failures of the chain: the loops that failed with it, the failure, and those of children below."""
        failure = self._state.failure
        if failure is None:
            yield self._at_end("failed", "it failed, and its history does not say why")
            return
        yield from self._failed_loops(failure)
        yield self._failure(failure, failure.node_id, failure.iteration)
        yield from self._failed_children(failure)

    def _failed_loops(self, failure: Failure) -> Iterator[Cause]:
        node = self._plan.nodes.get(failure.node_id or "")
        path = failure.iteration or ()
        for depth, loop_id in enumerate(node.loops[: len(path)] if node else ()):
            run = self._state.runs.get((loop_id, path[:depth]))
            if run is not None and run.status is NodeRunStatus.ERROR:
                message = (
                    f"loop {loop_id} failed with its iteration {path[depth]}; "
                    "its on_item_error is STOP"
                )
                yield Cause(
                    code="failed",
                    message=message,
                    since=run.finished_at or self._state.updated_at,
                    node_id=loop_id,
                    iteration=path[:depth],
                    details={"item": path[depth]},
                )

    def _failed_children(self, failure: Failure) -> Iterator[Cause]:
        """Yield the failures of children, of their children, and so on, as far as they are told."""
        while "execution_id" in failure.details:
            child_id = failure.details["execution_id"]
            told = failure.details.get("failure")
            if not isinstance(told, dict):
                return
            try:
                failure = msgspec.convert(told, Failure)
            except msgspec.ValidationError:
                return
            where = f"at node {failure.node_id} " if failure.node_id else ""
            yield self._at_end(
                "failed",
                f"the child execution {child_id} failed {where}with {failure.code}: {failure.message}",
                execution_id=child_id,
                node_id=failure.node_id,
                iteration=failure.iteration,
                **_described(failure),
            )

    def _failure(self, failure: Failure, node_id: str | None, iteration: Iteration | None) -> Cause:
        run = None if node_id is None else self._state.runs.get((node_id, iteration or ()))
        details = _described(failure)
        if run is not None:
            details |= {"attempts": run.attempt, "tries": run.tries}
        where = "" if node_id is None else f"node {_named(node_id, iteration or ())} failed with "
        return Cause(
            code="failed",
            message=f"{where}{failure.code}: {failure.message}",
            since=(run.finished_at if run else None) or self._ended_at,
            node_id=node_id,
            iteration=None if node_id is None else iteration or (),
            details=details,
        )

    def _at_end(self, code: str, message: str, /, **details: Any) -> Cause:
        return Cause(code=code, message=message, since=self._ended_at, details=details)

    @property
    def _ended_at(self) -> datetime:
        return self._state.finished_at or self._state.updated_at

    # --- before the start --------------------------------------------------------------------

    def _not_under_way(self) -> Iterator[Cause]:
        if self._state.paused:
            yield self._paused()
        slot = self._state.created.slot
        holders = self._facts.holders
        if slot is not None and len(holders) >= slot.limit:
            key = f" for {slot.key!r}" if slot.key else ""
            message = f"{slot.limit} executions are under way{key}, which is the limit"
            details = {"limit": slot.limit, "key": slot.key, "executions": list(holders)}
            yield self._since_creation("concurrency_limit", message, details)
        else:
            message = "it is accepted, and a scheduler has not taken it up yet"
            yield self._since_creation("not_admitted", message, self._backlog)
        yield from self._unled()

    def _since_creation(self, code: str, message: str, details: dict[str, Any]) -> Cause:
        return Cause(code=code, message=message, since=self._state.created_at, details=details)

    # --- on the way --------------------------------------------------------------------------

    def _under_way(self) -> Iterator[Cause]:
        found = [
            *([self._paused()] if self._state.paused else ()),
            *self._unled(),
            *self._of_runs(),
        ]
        yield from found or [self._behind("nothing is outstanding, and its next step is not taken")]

    def _of_runs(self) -> Iterator[Cause]:
        for key, run in self._state.runs.items():
            if run.has_task:
                yield from self._outstanding(key, run)
            elif key in self._state.waits:
                yield from self._waiting(key, run)
            elif run.retry_at is not None:
                yield from self._retry_pause(key, run, run.retry_at)
            elif run.status is NodeRunStatus.PENDING and run.live and run.ready_at is None:
                yield self._join(key, run)

    def _outstanding(self, key: RunKey, run: NodeRun) -> Iterator[Cause]:
        """Yield where the task of a node run is held up."""
        fleet = self._plan.nodes[key[0]].fleet
        workers = self._facts.workers.get(fleet, ())
        task = self._facts.tasks.get(key)
        line = self._facts.in_line.get(key)
        if line is not None:
            yield self._in_line(key, run, line)
        if task is not None and not task.is_delivered and not task.is_queued and line is None:
            message = f"the task of node {_named(*key)} is on its way, or its result is"
            yield self._behind(message, key, run.dispatched_at, details=self._backlog)
        elif not workers:
            yield self._no_worker(key, run, fleet)
        elif task is not None and task.is_delivered:
            yield self._running(key, run, task, workers)
        elif line is None:
            yield self._queued(key, run, fleet, workers, task)

    def _in_line(self, key: RunKey, run: NodeRun, line: LineFact) -> Cause:
        message = (
            f"node {_named(*key)} waits for its turn: {line.queued} tasks of {line.node_type} are queued, "
            f"which is all of their window; {line.ahead} are ahead of it"
        )
        details = {"attempt": run.attempt, **msgspec.to_builtins(line)}
        return self._of_run("not_admitted", message, key, run.dispatched_at, details=details)

    @property
    def _backlog(self) -> dict[str, Any]:
        """What the scheduler that leads the execution has to do, if it said so."""
        if self._facts.leader is None:
            return {}
        return {"scheduler_id": self._facts.leader, "backlog": self._facts.backlog}

    def _no_worker(self, key: RunKey, run: NodeRun, fleet: str) -> Cause:
        message = f"no live worker serves {fleet}, for which node {_named(*key)} waits; start one"
        details: dict[str, Any] = {"node_type": fleet, "attempt": run.attempt}
        if self._facts.queues is not None:
            details["queued"] = self._facts.queues.get(fleet, 0)
        return self._of_run("no_live_worker", message, key, run.dispatched_at, details=details)

    def _running(
        self, key: RunKey, run: NodeRun, task: TaskFact, workers: tuple[WorkerFact, ...]
    ) -> Cause:
        worker_id = task.worker_id or (run.worker_id if run.started_as is not None else None)
        if worker_id is None and len(workers) == 1:
            worker_id = workers[0].id
        who = "a worker" if worker_id is None else f"worker {worker_id}"
        details: dict[str, Any] = {"attempt": run.attempt}
        if worker_id is not None:
            details["worker_id"] = worker_id
            seen = next((each.last_seen_at for each in workers if each.id == worker_id), None)
            if seen is not None:
                details["last_heartbeat_at"] = seen
        message = f"{who} works on node {_named(*key)}"
        since = task.started_at or run.dispatched_at
        return self._of_run("attempt_running", message, key, since, details=details)

    def _queued(
        self,
        key: RunKey,
        run: NodeRun,
        fleet: str,
        workers: tuple[WorkerFact, ...],
        task: TaskFact | None,
    ) -> Cause:
        details: dict[str, Any] = {
            "node_type": fleet,
            "attempt": run.attempt,
            "workers": len(workers),
            "slots": sum(each.slots for each in workers),
            "busy": sum(each.busy for each in workers),
        }
        if self._facts.queues is None:
            message = (
                f"the task of node {_named(*key)} is dispatched; NATS does not answer, so nobody can "
                "tell whether a worker has it"
            )
        else:
            details["queued"] = length = self._facts.queues.get(fleet, 0)
            message = f"node {_named(*key)} is in the queue of {fleet}, which has {length} tasks"
            if task is not None and task.ahead is not None:
                details["ahead"] = task.ahead
                message += f"; {task.ahead} are ahead of it"
        return self._of_run("queued", message, key, run.dispatched_at, details=details)

    def _waiting(self, key: RunKey, run: NodeRun) -> Iterator[Cause]:
        wait = run.wait
        assert wait is not None
        what, details = _awaited(wait)
        if wait.interaction_id in self._state.questions:
            details |= _asked(self._state.questions[wait.interaction_id])
        message = f"node {_named(*key)} waits for {what}"
        yield self._of_run(
            _CODE_OF_WAIT[wait.kind],
            message,
            key,
            run.waiting_since,
            until=wait.due_at,
            details=details,
        )
        if wait.kind is not WaitKind.CHILD:
            yield from self._overdue(key, wait.due_at)

    def _retry_pause(self, key: RunKey, run: NodeRun, until: datetime) -> Iterator[Cause]:
        failure = run.failure
        why = "" if failure is None else f" with {failure.code}: {failure.message}"
        details = {"tries": run.tries, **({} if failure is None else _described(failure))}
        message = f"node {_named(*key)} failed{why}; it is tried again"
        yield self._of_run("retry_pause", message, key, None, until=until, details=details)
        yield from self._overdue(key, until)

    def _join(self, key: RunKey, run: NodeRun) -> Cause:
        """Return which connections a node run waits for that has got a value over another one."""
        missing = [
            wire
            for wire in self._plan.nodes[key[0]].incoming
            if not self._is_resolved(wire, key[1])
        ]
        sources = ", ".join(f"{wire.source}.{wire.from_port}" for wire in missing)
        message = f"node {_named(*key)} waits for {sources or 'a connection'}"
        details = {
            "connections": [
                {
                    "from": wire.source,
                    "from_port": wire.from_port,
                    "to": wire.target,
                    "to_port": wire.to_port,
                }
                for wire in missing
            ]
        }
        return self._of_run("waiting_join", message, key, None, details=details)

    def _is_resolved(self, wire: PlannedConnection, path: Iteration) -> bool:
        if values.is_delivered(self._state, wire, path):
            return True
        source = self._state.runs.get(values.source_of(wire, path))
        return source is not None and source.status.is_terminal

    def _paused(self) -> Cause:
        said = self._facts.paused
        who = "" if said is None else f" by {_who(said.by)}{_because(said.reason)}"
        held = len(self._state.held)
        runs = "node run" if held == 1 else "node runs"
        holds = f"; it holds back {held} {runs}" if held else ""
        return Cause(
            code="paused",
            message=f"the execution is paused{who}{holds}",
            since=self._state.updated_at if said is None else said.at,
            details={
                "held": [{"node_id": key[0], "iteration": key[1]} for key in self._state.held]
            },
        )

    def _overdue(self, key: RunKey, due_at: datetime | None) -> Iterator[Cause]:
        if due_at is not None and due_at + SLACK < self._facts.now:
            yield self._behind(f"the timer of node {_named(*key)} is overdue", key, due_at)

    def _unled(self) -> Iterator[Cause]:
        """Yield that no scheduler takes care of the execution, if that is so."""
        if not self._facts.schedulers:
            yield self._behind("no scheduler is at work; start one")
        elif self._facts.is_led is False:
            yield self._behind("the scheduler that leads the execution does not answer")

    def _behind(
        self,
        message: str,
        key: RunKey | None = None,
        since: datetime | None = None,
        details: dict[str, Any] | None = None,
    ) -> Cause:
        return Cause(
            code="scheduler_behind",
            message=message,
            since=since or self._state.updated_at,
            node_id=None if key is None else key[0],
            iteration=None if key is None else key[1],
            details=details or {},
        )

    def _of_run(
        self,
        code: str,
        message: str,
        key: RunKey,
        since: datetime | None,
        *,
        until: datetime | None = None,
        details: dict[str, Any],
    ) -> Cause:
        return Cause(
            code=code,
            message=message,
            since=since or self._state.updated_at,
            until=until,
            node_id=key[0],
            iteration=key[1],
            details=details,
        )


def _awaited(wait: Wait) -> tuple[str, dict[str, Any]]:
    """Return what a node run waits for, in words and as data."""
    match wait.kind:
        case WaitKind.TIMER:
            return "its time", {}
        case WaitKind.SIGNAL:
            return f"the signal {wait.signal!r}", {"signal": wait.signal}
        case WaitKind.INTERACTION:
            return "somebody's answer", {"interaction_id": wait.interaction_id}
        case WaitKind.CHILD:
            child_id = wait.child_execution_id
            return f"the child execution {child_id}", {"execution_id": child_id}
        case _:
            assert_never(wait.kind)


def _asked(question: OpenQuestion) -> dict[str, Any]:
    """Return who is asked, and how far it is decided."""
    told: dict[str, Any] = {"answers": len(question.answers), "reminders": question.reminders}
    if question.rules is not None:
        told["approvers"] = list(question.rules.approvers)
        told["approvals_required"] = question.rules.approvals
    return told


def _described(failure: Failure) -> dict[str, Any]:
    return {"kind": failure.kind, "code": failure.code, "failure": msgspec.to_builtins(failure)}


def _named(node_id: str, iteration: Iteration) -> str:
    return f"{node_id}[{iteration_text(iteration)}]" if iteration else node_id


def _who(by: By) -> str:
    if by.user_id is not None:
        return f"user {by.user_id} ({by.source})"
    return by.source


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def node_types(plan: Plan, keys: Iterable[RunKey]) -> frozenset[str]:
    """Return the node types whose workers serve these node runs."""
    return frozenset(plan.nodes[node_id].fleet for node_id, _ in keys)
