"""What one batch decided for one execution, and the rows that it becomes."""

from typing import Final, NamedTuple

import msgspec

from contracts import history
from contracts.execution.state import ExecutionState
from contracts.history import (
    ChildFinished,
    Event,
    EventMessage,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    IterationFinished,
    MaybeRaw,
    NodeFailed,
    NodeRunRef,
    Slot,
)
from contracts.ids import RunKey
from contracts.interactions import Answer
from contracts.messages import encode
from db.advances import Advance, ChangeRow, ChildRow, EventRow, InteractionRow, TimerRow
from scheduler.core.decision import (
    ChangedInteraction,
    ClosedInteraction,
    Decision,
    NewChild,
    NewInteraction,
    Timer,
)
from scheduler.entries import Entry
from scheduler.executions import Live
from scheduler.values import PayloadsNeeded

FAILURES: Final = frozenset({NodeFailed, IterationFinished})
PAUSES: Final = frozenset({ExecutionPaused, ExecutionResumed})


class Recorded(NamedTuple):
    """An event to commit, its data encoded once, and the node runs dispatched with it."""

    event: Event
    data: bytes
    dispatched: tuple[RunKey, ...]


class Pending:
    """What one batch decided for one execution: events to commit and what follows from them."""

    __slots__ = (
        "changed",
        "children",
        "cleared",
        "closed",
        "entries",
        "events",
        "fails",
        "given_up",
        "live",
        "needs",
        "opened",
        "pauses",
        "released",
        "stop",
        "tasks",
        "timers",
        "was",
    )

    def __init__(self, live: Live) -> None:
        self.live = live
        self.was = live.state.seq
        self.entries: list[tuple[Entry, Decision]] = []
        self.events: list[Recorded] = []
        self.tasks: dict[RunKey, None] = {}
        self.timers: dict[str, Timer] = {}
        self.cleared: list[str] = []
        self.children: list[NewChild] = []
        self.opened: dict[str, NewInteraction] = {}
        self.closed: dict[str, ClosedInteraction] = {}
        self.changed: dict[str, ChangedInteraction] = {}
        self.released: list[str] = []
        self.given_up: list[str] = []
        self.stop = False
        self.pauses = False
        self.fails = (
            False  # attempts may have ended, here or in a whole iteration, that nobody reports
        )
        self.needs: PayloadsNeeded | None = None

    def add(self, entry: Entry, decision: Decision) -> None:
        """Collect one decision; the last event of it carries what it dispatched."""
        self.entries.append((entry, decision))
        begun = decision.dispatched + decision.gone_on if decision.gone_on else decision.dispatched
        for event in decision.events:
            dispatched = begun if event is decision.events[-1] else ()
            self.events.append(Recorded(event, history.encode_data(event.data), dispatched))
            if type(event.data) is ChildFinished:
                self.released.append(event.data.child_execution_id)
            self.fails = self.fails or type(event.data) in FAILURES
            self.pauses = self.pauses or type(event.data) in PAUSES
        self.tasks.update(dict.fromkeys(decision.dispatched))
        # Most decisions have none of what follows, and every step comes by here.
        if decision.cleared or decision.timers:
            self._add_timers(decision)
        if decision.children or decision.orphans:
            self.children.extend(decision.children)
            self.given_up.extend(decision.orphans)
        if decision.opened or decision.closed or decision.changed:
            self._add_questions(decision)
        self.stop = self.stop or decision.stop_workers

    def _add_timers(self, decision: Decision) -> None:
        for key in decision.cleared:
            self.timers.pop(key, None)  # set and cleared within one batch
        self.timers.update({timer.key: timer for timer in decision.timers})
        self.cleared.extend(decision.cleared)

    def _add_questions(self, decision: Decision) -> None:
        self.opened.update((each.id, each) for each in decision.opened)
        for each in decision.closed:
            self.closed.setdefault(each.id, each)
        for change in decision.changed:
            before = self.changed.get(change.id)
            self.changed[change.id] = change if before is None else merged(before, change)

    @property
    def must_commit(self) -> bool:
        """Whether anything is to be stored."""
        return bool(self.events or self.cleared)

    @property
    def refuses(self) -> bool:
        """Whether an input changed nothing, which is true only of a state that is not behind."""
        return any(
            decision.refused is not None or decision.returned is not None
            for _, decision in self.entries
        )

    @property
    def slot_wanted(self) -> Slot | None:
        """The slot without which the execution cannot start."""
        wants = any(decision.refused == "no_slot" for _, decision in self.entries)
        return self.live.state.created.slot if wants else None

    @property
    def slot_freed(self) -> Slot | None:
        """The slot that the execution gives back with its end."""
        is_over = bool(self.events) and self.live.state.is_terminal
        return self.live.state.created.slot if is_over else None


def creation(pending: Pending) -> tuple[Recorded, ...]:
    """Return the creation of an execution that was admitted just now, for it is told with its first advance."""
    state = pending.live.state
    if not pending.events or not (pending.was == 1 or (state.carried and _starts(pending))):
        return ()
    created = Event(1, state.created_at, state.created)
    return (Recorded(created, history.encode_data(state.created), ()),)


def _starts(pending: Pending) -> bool:
    """Whether the execution starts with this advance: what it carries over was stored with its creation."""
    return any(type(recorded.event.data) is ExecutionStarted for recorded in pending.events)


def advance_of(pending: Pending) -> Advance:
    """Return what is stored for one execution."""
    state = pending.live.state
    failure = encode(state.failure) if state.failure is not None else None
    return Advance(
        execution_id=state.id,
        was=pending.was,
        now=state.seq,
        status=state.status,
        started_at=state.started_at,
        finished_at=state.finished_at,
        failure=failure,
        events=[row_of(recorded) for recorded in pending.events],
        timers=[timer_row(state.id, timer) for timer in pending.timers.values()],
        cleared=pending.cleared,
        paused=state.paused,
        children=[child_row(pending, child) for child in pending.children],
        released=pending.released,
        given_up=pending.given_up,
        opened=[interaction_row(pending, each) for each in pending.opened.values()],
        changed=[
            change_row(pending, each)
            for each in {**pending.changed, **pending.closed}
            if each not in pending.opened
        ],
    )


def merged(before: ChangedInteraction, after: ChangedInteraction) -> ChangedInteraction:
    """Return what two changes of one question come to: a statement changes a row once."""
    return ChangedInteraction(
        id=after.id,
        answers=before.answers if after.answers is None else after.answers,
        approvers=before.approvers if after.approvers is None else after.approvers,
        reminders=before.reminders if after.reminders is None else after.reminders,
    )


def row_of(recorded: Recorded) -> EventRow:
    """Return the row of history of an event."""
    event = recorded.event
    return (
        event.seq,
        event.at,
        event.kind,
        event.node_id,
        event.iteration,
        event.attempt,
        recorded.data.decode(),
    )


def timer_row(execution_id: str, timer: Timer) -> TimerRow:
    """Return the row of a timer."""
    return TimerRow(
        execution_id, timer.key, timer.kind, timer.node_id, timer.iteration, timer.due_at
    )


def event_message(execution_id: str, recorded: Recorded) -> EventMessage:
    """Return an event as others see it."""
    event = recorded.event
    return EventMessage(
        execution_id,
        event.seq,
        event.at,
        event.kind,
        msgspec.Raw(recorded.data),
        event.node_id,
        event.iteration,
        event.attempt,
        tuple([NodeRunRef(node_id, iteration) for node_id, iteration in recorded.dispatched]),
    )


def child_row(pending: Pending, child: NewChild) -> ChildRow:
    """Return the row of an execution that another one starts, and perhaps gives up with the same commit."""
    state = pending.live.state
    created = child.created
    parent = created.parent
    waits = "NO_MORE" if child.id in pending.given_up else "YES"
    return ChildRow(
        by=state.id,
        id=child.id,
        user_id=created.user_id,
        workflow_id=created.workflow_id,
        version_id=created.version_id,
        mode=created.mode,
        priority=created.priority,
        concurrency_key=created.slot.key if created.slot else None,
        parent_execution_id=parent.execution_id if parent else None,
        parent_node_id=parent.node_id if parent else None,
        parent_waits=waits if parent is not None and not parent.is_detached else None,
        at=child.at,
        created=msgspec.Raw(history.encode_data(created)),
    )


def interaction_row(pending: Pending, opened: NewInteraction) -> InteractionRow:
    """Return the row of a question; one that the same batch closes is closed from the beginning."""
    state = pending.live.state
    order = opened.order
    closed, change = pending.closed.get(opened.id), pending.changed.get(opened.id)
    return InteractionRow(
        id=opened.id,
        user_id=state.created.user_id,
        execution_id=state.id,
        workflow_id=state.created.workflow_id,
        node_id=opened.node_id,
        iteration=opened.iteration,
        kind=order.kind,
        title=order.title,
        message=order.message,
        fields=order.fields,
        choices=order.choices,
        value=order.value,
        editable=order.editable,
        approvers=order.approvers if change is None or not change.approvers else change.approvers,
        approvals_required=order.approvals_required,
        rejections_required=order.rejections_required,
        channel=order.channel,
        priority=order.priority,
        status=closed.status if closed else "PENDING",
        answers=answers_of(pending, opened.id),
        due_at=opened.due_at,
        closed_at=state.updated_at if closed else None,
        at=state.updated_at,
    )


def change_row(pending: Pending, question_id: str) -> ChangeRow:
    """Return what an advance changes in a question."""
    state = pending.live.state
    closed = pending.closed.get(question_id)
    change = pending.changed.get(question_id) or ChangedInteraction(id=question_id)
    answers = _counted(pending, question_id)
    return ChangeRow(
        by=state.id,
        id=question_id,
        status=None if closed is None else closed.status,
        at=state.updated_at,
        answer=msgspec.UNSET if closed is None else _own_count(state, closed),
        answers=msgspec.UNSET if answers is None else msgspec.Raw(encode(answers)),
        approvers=change.approvers,
        reminders=change.reminders,
    )


def answers_of(pending: Pending, question_id: str) -> tuple[msgspec.Raw, ...]:
    """Return the answers to a question that was asked with the same commit."""
    answers = _counted(pending, question_id)
    if answers is not None:
        return tuple(msgspec.Raw(encode(each)) for each in answers)
    closed = pending.closed.get(question_id)
    own = msgspec.UNSET if closed is None else _own_count(pending.live.state, closed)
    return () if own is msgspec.UNSET else (own,)


def _counted(pending: Pending, question_id: str) -> tuple[Answer, ...] | None:
    """Return the answers that the core has counted, if they changed."""
    closed, change = pending.closed.get(question_id), pending.changed.get(question_id)
    if closed is not None and closed.answers is not None:
        return closed.answers
    return None if change is None else change.answers


def _own_count(state: ExecutionState, closed: ClosedInteraction) -> MaybeRaw:
    """Return the answer of whoever counted the answers himself, as gateways of earlier releases do."""
    if closed.status != "ANSWERED" or closed.answers is not None:
        return msgspec.UNSET
    said = {"data": closed.data, "port": closed.port, "by": closed.by, "at": state.updated_at}
    return msgspec.Raw(encode(said))
