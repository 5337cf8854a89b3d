"""Watches everything that is written, told and acknowledged, and objects to what must never be.

It folds every event by itself as it is committed. So at any instant it knows what is true, whatever the schedulers believe.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from contracts import subjects
from contracts.execution import fold
from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState
from contracts.history import (
    Event,
    EventMessage,
    ExecutionCreated,
    ExecutionStarted,
    NodeSucceeded,
    TimerFired,
)
from contracts.ids import RunKey, derived_uuid7, idempotency_key, iteration_text
from contracts.messages import (
    CancelExecution,
    Checkpoint,
    EndChild,
    EndWait,
    PauseExecution,
    Result,
    SendSignal,
    StartExecution,
    Starting,
    decode_answer,
)
from contracts.statuses import EXECUTION_MOVES, NODE_RUN_MOVES, NodeRunStatus
from db.executions import history_row
from scheduler.executions import event_of
from scheduler.tokens import Tokens
from tests.simulator.database import Database, HistoryRow, Timer
from tests.support import invariants

_decode_event: Final = msgspec.json.Decoder(EventMessage).decode


class Violation(AssertionError):
    """Something happened that must not."""


class Witness:
    """What is true of each execution, and what was done about it. The first violation is kept in `objection`.

    Args:
        plans: The plan of each version.
        now: The database's time.

    `on_birth`, `on_advance`, `on_end` and `on_objection` may be set by who wants to know. `names` are those by which executions are
    known in every run of a seed, whatever their ids: children and failure workflows are named after who started them.
    """

    def __init__(
        self,
        plans: Mapping[str, Plan],
        tokens: Tokens,
        now: Callable[[], datetime],
    ) -> None:
        self._plans = plans
        self._tokens = tokens
        self._now = now
        self.names: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self.states: dict[str, ExecutionState] = {}
        self.histories: dict[str, list[Event]] = {}
        self._data: dict[tuple[str, int], str] = {}
        self._fired: list[Timer] = []
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.moves: set[tuple[str, str]] = set()
        self.objection: str | None = None
        self.on_objection: Callable[[], None] = lambda: None
        self.on_birth: Callable[[str], None] = lambda _: None
        self.on_advance: Callable[[ExecutionState], None] = lambda _: None
        self.on_end: Callable[[str], None] = lambda _: None

    def name(self, execution_id: str, name: str) -> None:
        """Call an execution by a name that is the same in every run of the seed."""
        if name in self.ids and self.ids[name] != execution_id:
            self.object(f"{name} was started twice: {self.ids[name]} and {execution_id}")
        self.names[execution_id] = name
        self.ids[name] = execution_id

    def object(self, text: str) -> None:
        """Say what must not be. Nothing is raised: it would reach the engine, and might be handled there."""
        if self.objection is None:
            self.objection = text
            self.on_objection()

    # --- what is written -------------------------------------------------------------------------

    def created(self, rows: Sequence[HistoryRow]) -> None:
        """An execution comes into being."""
        execution_id = rows[0][0]
        events = [event_of(history_row(_record(row))) for row in rows]
        created = events[0].data
        assert isinstance(created, ExecutionCreated)
        plan = self._plans[created.version_id]
        if execution_id not in self.names:
            self._name_started(execution_id, created, events[0].at)
        self.states[execution_id] = fold.replay(plan, execution_id, events)
        for row, event in zip(rows, events, strict=True):
            self._keep(row, event)
        self.on_birth(execution_id)

    def _name_started(self, execution_id: str, created: ExecutionCreated, at: datetime) -> None:
        """Name an execution that another one starts: each try of a node run has one child, each failure one workflow."""
        parent = created.parent
        if parent is None:
            failed = msgspec.json.decode(created.input)["execution_id"]
            key, name = f"{failed}:failure", f"{self.names[failed]}/failure"
            self.counts["failure workflows"] += 1
        else:
            run = self.states[parent.execution_id].runs[parent.node_id, parent.iteration]
            own = idempotency_key(parent.execution_id, parent.node_id, parent.iteration)
            key = f"{own}:child:{run.tries}"
            path = iteration_text(parent.iteration)
            name = f"{self.names[parent.execution_id]}/{parent.node_id}:{path}:{run.tries}"
            self.counts["children, detached" if parent.is_detached else "children"] += 1
        if derived_uuid7(at, key) != execution_id:
            self.object(f"{execution_id} is not the id that {name} has")
        self.name(execution_id, name)

    def advanced(
        self,
        execution_id: str,
        rows: Sequence[HistoryRow],
        timers: Sequence[Timer],
        believed: ExecutionState | None,
    ) -> None:
        """A commit of an execution is about to be written."""
        state = self.states[execution_id]
        was = state.status
        self.counts["advances"] += 1
        if state.is_terminal:
            return self.object(f"{execution_id} is over, and was changed")
        try:
            for row in rows:
                self._apply(state, row, timers)
        except Exception as error:  # noqa: BLE001  # whatever the fold says, this history is wrong
            return self.object(f"the history of {execution_id} cannot be folded: {error!r}")
        if state.status is not was and state.status not in EXECUTION_MOVES[was]:
            self.object(f"{execution_id} went from {was} to {state.status}")
        self._compare(state, believed)
        self.on_advance(state)
        if self.states[execution_id].is_terminal:
            self.on_end(execution_id)
        return None

    def committed(self, database: Database, execution_id: str) -> None:
        """A commit is written: nothing may contradict itself, or be stuck."""
        state = self.states[execution_id]
        timers: Any = database.timers[execution_id]
        for timer in self._fired:
            if timer.execution_id == execution_id and timers.get(timer.key) is timer:
                self.object(f"{execution_id}: a timer fired, and is still there: {timer}")
        try:
            invariants.check(self._plans[state.created.version_id], state, timers)
        except AssertionError as error:
            self.object(f"{execution_id} at {state.seq}: {error!r}")
        for question_id, key in state.questions.items():
            question = database.interactions.get(question_id)
            if question is None or question.status != "PENDING":
                self.object(f"{execution_id}: {key} waits for {question}, which is not open")

    def _check_slots(self, state: ExecutionState) -> None:
        """An execution starts: no more than the limit of its key are under way."""
        slot = state.created.slot
        if slot is None:
            return
        under_way = [
            each
            for each in self.states.values()
            if each.created.workflow_id == state.created.workflow_id
            and each.created.slot == slot
            and each.started_at is not None
            and not each.is_terminal
        ]
        self.counts["slots taken"] += 1
        if len(under_way) > slot.limit:
            self.object(f"{len(under_way)} executions of {slot} are under way")

    def _apply(self, state: ExecutionState, row: HistoryRow, timers: Sequence[Timer]) -> None:
        event = event_of(history_row(_record(row)))
        before = {key: (run.status, run.attempt) for key, run in state.runs.items()}
        was_paused = state.paused
        if isinstance(event.data, TimerFired):
            self._check_timer(row, event.data.timer, timers)
        if event.at < state.updated_at:
            self.object(f"{state.id}: event {event.seq} lies before the one before it")
        fold.apply(self._plans[state.created.version_id], state, event)
        self._keep(row, event)
        for key, (status, _) in before.items():
            self._check_move(state, key, status)
        if was_paused and state.paused:
            self._check_pause(state, before, event)
        if isinstance(event.data, ExecutionStarted):
            self._check_slots(state)

    def _check_pause(
        self,
        state: ExecutionState,
        before: Mapping[RunKey, tuple[NodeRunStatus, int]],
        event: Event,
    ) -> None:
        """Nothing is dispatched while an execution is paused; but a worker may have gone on before it heard of that."""
        goes_on = event.data.goes_on if isinstance(event.data, NodeSucceeded) else None
        gone_on = None if goes_on is None else (goes_on, event.iteration or ())
        self.counts["events while paused"] += 1
        for key, run in state.runs.items():
            _, attempt = before.get(key, (None, 0))
            if run.attempt != attempt and not (key == gone_on and run.head is not None):
                self.object(f"{state.id}: {key} was dispatched while the execution is paused")

    def _check_move(self, state: ExecutionState, key: Any, was: NodeRunStatus) -> None:
        now = state.runs[key].status
        if now is was:
            return
        self.moves.add((was, now))
        # One event may take a node run through RUNNING to its end.
        if now not in NODE_RUN_MOVES[was] and not any(
            now in NODE_RUN_MOVES[middle] for middle in NODE_RUN_MOVES[was]
        ):
            self.object(f"{state.id}: node run {key} went from {was} to {now}")

    def _check_timer(self, row: HistoryRow, kind: str, timers: Sequence[Timer]) -> None:
        """A timer fires once, and not before it is due: the commit that records it takes its row away."""
        execution_id, _, _, _, node_id, iteration, *_ = row
        armed = [
            timer
            for timer in timers
            if (timer.kind, timer.node_id) == (kind, node_id)
            and (node_id is None or timer.iteration == iteration)
        ]
        if not armed:
            self.object(f"{execution_id}: a timer fired that was not armed: {row}")
        elif all(timer.due_at > self._now() for timer in armed):
            self.object(f"{execution_id}: a timer fired before it was due: {row}")
        else:
            self._fired = [timer for timer in armed if timer.due_at <= self._now()]

    def _compare(self, state: ExecutionState, believed: ExecutionState | None) -> None:
        """Whoever commits must believe exactly what the committed history folds into."""
        if believed is None or believed.seq != state.seq:
            return
        self.counts["states compared"] += 1
        if believed != state:
            self.object(
                f"{state.id}: the state in memory is not the fold of history at {state.seq}"
            )

    def _keep(self, row: HistoryRow, event: Event) -> None:
        self.histories.setdefault(row[0], []).append(event)
        self._data[row[0], row[1]] = row[-1]
        self.kinds[row[3]] += 1

    def check_all(self, database: Database) -> None:
        """Compare what is stored with what is true, once more and from the beginning."""
        for execution_id, rows in database.history.items():
            state = self.states[execution_id]
            stored = database.executions[execution_id]
            plan = self._plans[state.created.version_id]
            events = [event_of(history_row(_record(row))) for row in rows]
            if fold.replay(plan, execution_id, events) != state:
                self.object(f"{execution_id}: replay gives another state")
            if (stored.status, stored.version, stored.finished_at) != (
                state.status,
                state.seq,
                state.finished_at,
            ):
                self.object(f"{execution_id}: {stored} does not fit its history")
            if state.is_terminal:
                self._check_end(database, execution_id)

    def _check_end(self, database: Database, execution_id: str) -> None:
        """Nothing is left of an execution that is over: no timer, no question, nobody who waits for it or for whom it waits."""
        if database.timers[execution_id]:
            self.object(f"{execution_id} is over and has timers")
        for question in database.interactions.values():
            if question.execution_id == execution_id and question.status == "PENDING":
                self.object(f"{execution_id} is over and has an open question: {question}")
        for child in database.executions.values():
            if child.parent_execution_id == execution_id and child.parent_waits == "YES":
                self.object(f"{execution_id} is over, and {child} believes that it waits")

    # --- what is told ----------------------------------------------------------------------------

    def told(self, subject: str, data: bytes) -> None:
        """A scheduler sends a message: nothing may be told, or asked of workers, that is not committed."""
        kind = subject.split(".", 2)[1]
        if kind == "task":
            self._check_task(subject)
        elif kind == "event":
            self._check_event(data)
        elif kind == "answer":
            self._check_answer(data)

    def _check_task(self, subject: str) -> None:
        address = subjects.read_task(subject)
        assert address is not None
        self.counts["tasks published"] += 1
        state = self.states.get(address.execution_id)
        run = state.runs.get((address.node_id, address.iteration)) if state else None
        if run is None or run.attempt < address.attempt:
            self.object(
                f"a task was published that does not follow from what is committed: {subject}"
            )
        elif run.attempt > address.attempt or not run.has_task:
            self.counts["tasks published that were over"] += 1

    def _check_event(self, data: bytes) -> None:
        told = _decode_event(data)
        if self._data.get((told.execution_id, told.seq)) != bytes(told.data).decode():
            self.object(
                f"{told.execution_id}: event {told.seq} was told and is not in history: {told.kind}"
            )

    def _check_answer(self, data: bytes) -> None:
        answer = decode_answer(data)
        self.counts["answers"] += 1
        state = self.states.get(answer.execution_id)
        if state is None or answer.version > state.seq:
            self.object(f"an answer tells of what is not committed: {answer}")
        elif answer.version == state.seq and answer.status != state.status:
            self.object(f"an answer tells another status than {state.status}: {answer}")

    # --- what is acknowledged --------------------------------------------------------------------

    def acknowledged(self, body: Any) -> None:
        """A scheduler acknowledges a message of the inbox: what follows from it must be committed."""
        check = ACKNOWLEDGED.get(type(body))
        if check is None:
            return
        self.counts["acknowledgements checked"] += 1
        state = self.states.get(body.execution_id)
        if state is not None and not check(self, state, body):
            self.object(f"{state.id}: acknowledged without effect: {body}")

    def _current(self, state: ExecutionState, report: Result | Starting | Checkpoint) -> Any:
        """Return the node run if a report is of its attempt under way, and by the worker that was asked for it."""
        key = (report.node_id, report.iteration)
        run = state.runs.get(key)
        if run is None or not run.has_task or run.attempt != report.attempt:
            return None
        return run if self._tokens.fits(report.token, state.id, key, report.attempt) else None

    def _is_settled(self, state: ExecutionState, result: Result) -> bool:
        return self._current(state, result) is None

    def _is_started(self, state: ExecutionState, starting: Starting) -> bool:
        run = self._current(state, starting)
        return run is None or run.started_as is not None

    def _is_saved(self, state: ExecutionState, checkpoint: Checkpoint) -> bool:
        run = self._current(state, checkpoint)
        return run is None or checkpoint.key in run.checkpoints

    def _is_heard(self, state: ExecutionState, signal: SendSignal) -> bool:
        return signal.signal_id in state.heard or state.is_terminal

    def _is_answered(self, state: ExecutionState, asked: EndWait) -> bool:
        """Whether an answer closed its question. An end of another wait may have been refused: it was not waiting."""
        return asked.interaction_id not in state.questions or state.is_terminal

    def _was_paused(self, state: ExecutionState, _: PauseExecution) -> bool:
        kinds = (event.kind for event in self.histories[state.id])
        return state.is_terminal or "execution_paused" in kinds

    def _was_told(self, state: ExecutionState, ended: EndChild) -> bool:
        key = (ended.node_id, ended.iteration)
        if key not in state.waits:
            return True
        wait = state.runs[key].wait
        return wait is None or wait.child_execution_id != ended.child_execution_id


ACKNOWLEDGED: Final[dict[type, Callable[[Witness, ExecutionState, Any], bool]]] = {
    Result: Witness._is_settled,
    Starting: Witness._is_started,
    Checkpoint: Witness._is_saved,
    StartExecution: lambda _, state, __: (
        state.started_at is not None or state.is_terminal or state.created.slot is not None
    ),
    CancelExecution: lambda _, state, __: state.is_terminal,
    PauseExecution: Witness._was_paused,
    SendSignal: Witness._is_heard,
    EndWait: Witness._is_answered,
    EndChild: Witness._was_told,
}
"""For each message of the inbox: whether the committed state has what had to follow from it.

Of UnpauseExecution it cannot be said: somebody may have paused again. It is seen at the end, which no paused execution reaches.
"""


def _record(row: HistoryRow) -> Any:
    """Return a row as the driver's type: it is one as far as it is read."""
    return row
