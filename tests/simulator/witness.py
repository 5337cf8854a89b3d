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
from contracts.history import Event, EventMessage, TimerFired
from contracts.messages import CancelExecution, Result, StartExecution, decode_answer
from contracts.statuses import EXECUTION_MOVES, NODE_RUN_MOVES, NodeRunStatus
from db.executions import history_row
from scheduler.executions import event_of
from scheduler.tokens import Tokens
from tests.simulator.database import Database, HistoryRow, Timer

_decode_event: Final = msgspec.json.Decoder(EventMessage).decode


class Violation(AssertionError):
    """Something happened that must not."""


class Witness:
    """What is true of each execution, and what was done about it. The first violation is kept in `objection`.

    Args:
        plans: The plan of each version.
        now: The database's time.

    `on_end` and `on_objection` may be set by who wants to know.
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
        self.states: dict[str, ExecutionState] = {}
        self.histories: dict[str, list[Event]] = {}
        self._data: dict[tuple[str, int], str] = {}
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.moves: set[tuple[str, str]] = set()
        self.objection: str | None = None
        self.on_objection: Callable[[], None] = lambda: None
        self.on_end: Callable[[str], None] = lambda _: None

    def object(self, text: str) -> None:
        """Say what must not be. Nothing is raised: it would reach the engine, and might be handled there."""
        if self.objection is None:
            self.objection = text
            self.on_objection()

    # --- what is written -------------------------------------------------------------------------

    def created(self, row: HistoryRow) -> None:
        """An execution comes into being."""
        event = event_of(history_row(_record(row)))
        plan = self._plans[event.data.version_id]  # type: ignore[union-attr]
        self.states[row[0]] = fold.create(plan, row[0], event)
        self._keep(row, event)

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
        if self.states[execution_id].is_terminal:
            self.on_end(execution_id)
        return None

    def _apply(self, state: ExecutionState, row: HistoryRow, timers: Sequence[Timer]) -> None:
        event = event_of(history_row(_record(row)))
        before = {key: run.status for key, run in state.runs.items()}
        if isinstance(event.data, TimerFired):
            self._check_timer(row, event.data.timer, timers)
        if event.at < state.updated_at:
            self.object(f"{state.id}: event {event.seq} lies before the one before it")
        fold.apply(self._plans[state.created.version_id], state, event)
        self._keep(row, event)
        for key, status in before.items():
            self._check_move(state, key, status)

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
            if state.is_terminal and database.timers[execution_id]:
                self.object(f"{execution_id} is over and has timers")

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

    def _is_settled(self, state: ExecutionState, result: Result) -> bool:
        key = (result.node_id, result.iteration)
        run = state.runs[key]
        if not run.has_task or run.attempt != result.attempt:
            return True
        return not self._tokens.fits(result.token, state.id, key, result.attempt)


ACKNOWLEDGED: Final[dict[type, Callable[[Witness, ExecutionState, Any], bool]]] = {
    Result: Witness._is_settled,
    StartExecution: lambda _, state, __: state.started_at is not None or state.is_terminal,
    CancelExecution: lambda _, state, __: state.is_terminal,
}
"""For each message of the inbox: whether the committed state has what had to follow from it."""


def _record(row: HistoryRow) -> Any:
    """Return a row as the driver's type: it is one as far as it is read."""
    return row
