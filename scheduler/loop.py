"""The loop: take what has arrived, decide, commit it in one statement, then publish, then acknowledge.

    take -> read -> load -> decide -> commit -> publish -> acknowledge

The batch is whatever queued while the previous commit was in flight; there is no timer to tune.

What a crash leaves behind at each point:
- before the commit: nothing happened; the messages come again.
- after the commit, before the publish: the outstanding tasks of an execution are a function of its
  state. A message that comes again is refused as stale, and because it comes again the tasks are
  published again; the sweeper does the same for what no message comes back for. The stream refuses
  what is still there.
- after the publish, before the acknowledgement: the message comes again and changes nothing.

A loser of the compare-and-set wrote nothing: its state is dropped, folded anew, and decided again. So is
what would be refused on a state from memory, for no compare-and-set has checked that it is not behind.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from msgspec import UNSET

from bus.errors import BusClosed, BusError
from bus.publisher import Ack, Outgoing, Publisher
from contracts import history, inputs, subjects
from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState
from contracts.expressions.budget import DEFAULT_LIMITS
from contracts.expressions.errors import ExpressionError, MappingError
from contracts.expressions.regex import Regex
from contracts.failures import Failure, FailureKind
from contracts.history import Event, EventMessage, NodeRunRef
from contracts.ids import RunKey
from contracts.messages import CancelNotice, CommandAnswer, decode_task_execution, encode
from contracts.statuses import ExecutionStatus, NodeRunStatus
from db.advances import Advance, AdvanceSession, EventRow, TimerRow
from db.errors import CommitInDoubt, StoreUnavailable
from scheduler.core import tasks
from scheduler.core.advance import advance
from scheduler.core.decision import Admitted, AttemptLost, CancelAsked, Decision, Timer
from scheduler.entries import Entry
from scheduler.executions import Executions, Live
from scheduler.intake import Intake
from scheduler.tokens import Tokens

log: Final = structlog.get_logger()

BATCH_LIMIT: Final = 500
MOST_TRIES_AFTER_CONFLICT: Final = 20
STORE_PAUSE_S: Final = 0.5


class Counters(msgspec.Struct):
    """What the loop did, for metrics and tests."""

    batches: int = 0
    inputs: int = 0
    events: int = 0
    tasks: int = 0
    conflicts: int = 0
    poisonous: int = 0
    refused: dict[str, int] = {}
    republished: int = 0


class Recorded(NamedTuple):
    """An event to commit, its data encoded once, and the node runs dispatched with it."""

    event: Event
    data: bytes
    dispatched: tuple[RunKey, ...]


class Pending:
    """What one batch decided for one execution: events to commit and what follows from them."""

    __slots__ = ("cleared", "entries", "events", "live", "stop", "tasks", "timers", "was")

    def __init__(self, live: Live) -> None:
        self.live = live
        self.was = live.state.seq
        self.entries: list[tuple[Entry, Decision]] = []
        self.events: list[Recorded] = []
        self.tasks: dict[RunKey, None] = {}
        self.timers: dict[str, Timer] = {}
        self.cleared: list[str] = []
        self.stop = False

    def add(self, entry: Entry, decision: Decision) -> None:
        """Collect one decision; the last event of it carries what it dispatched."""
        self.entries.append((entry, decision))
        for position, event in enumerate(decision.events, 1):
            last = position == len(decision.events)
            dispatched = decision.dispatched if last else ()
            self.events.append(Recorded(event, history.encode_data(event.data), dispatched))
        self.tasks.update(dict.fromkeys(decision.dispatched))
        for key in decision.cleared:
            self.timers.pop(key, None)  # set and cleared within one batch
        self.timers.update({timer.key: timer for timer in decision.timers})
        self.cleared.extend(decision.cleared)
        self.stop = self.stop or decision.stop_workers

    @property
    def must_commit(self) -> bool:
        """Whether anything is to be stored."""
        return bool(self.events or self.cleared)

    @property
    def refuses(self) -> bool:
        """Whether an input changed nothing, which is true only of a state that is not behind."""
        return any(decision.refused is not None for _, decision in self.entries)


class Loop:
    """Advances executions, one batch after the other."""

    def __init__(
        self,
        *,
        intake: Intake,
        executions: Executions,
        session: AdvanceSession,
        publisher: Publisher,
        publish: Callable[[str, bytes], Awaitable[None]],
        tokens: Tokens,
        now: Callable[[], datetime],
        max_payload: Callable[[], int],
        regex: Regex,
        bury: Callable[[Entry, Exception], None],
        purge: Callable[[str, str], None],
        stream_missing: Callable[[], None],
    ) -> None:
        self._intake = intake
        self._executions = executions
        self._session = session
        self._publisher = publisher
        self._publish = publish
        self._tokens = tokens
        self._now = now
        self._max_payload = max_payload
        self._regex = regex
        self._bury = bury
        self._purge = purge
        self._stream_missing = stream_missing
        self._following: asyncio.Task[None] | None = None
        self.counters = Counters()

    async def run(self) -> None:
        """Handle batches until the intake is closed and empty."""
        while batch := await self._intake.take(BATCH_LIMIT):
            await self.handle(batch)
        await self.settled()

    async def settled(self) -> None:
        """Wait until everything that was committed is published and acknowledged."""
        if self._following is not None:
            following, self._following = self._following, None
            await following

    async def handle(self, batch: Sequence[Entry]) -> None:
        """Carry one batch through; entries whose commit lost are decided again."""
        self.counters.batches += 1
        self.counters.inputs += len(batch)
        waiting: Sequence[Entry] = batch
        while waiting:
            try:
                waiting = await self._advance(waiting)
            except BusClosed:
                raise  # the process goes down, and what was taken comes again
            except (StoreUnavailable, CommitInDoubt) as error:
                self._forget(waiting)
                log.warning("store_unavailable", error=str(error), waiting=len(waiting))
                await asyncio.sleep(STORE_PAUSE_S)
            except Exception as error:  # noqa: BLE001  # the edge of the loop: one entry must not stop all
                self._forget(waiting)
                waiting = await self._isolate(waiting, error)

    async def _isolate(self, batch: Sequence[Entry], error: Exception) -> Sequence[Entry]:
        """Find the entry that can never be handled, so that it stops nobody else; it becomes a dead letter."""
        if len(batch) == 1:
            entry = batch[0]
            log.error("entry_poisonous", execution_id=entry.execution_id, exc_info=error)
            self.counters.poisonous += 1
            self._bury(entry, error)
            return ()
        log.warning("batch_split", size=len(batch), error=repr(error))
        half = len(batch) // 2
        await self.handle(batch[:half])
        return batch[half:]

    def _forget(self, batch: Iterable[Entry]) -> None:
        """Drop what is in memory of these executions: it may be ahead of what is stored."""
        for entry in batch:
            entry.created = UNSET
            entry.in_doubt = True
            self._executions.drop((entry.execution_id,))

    async def _advance(self, batch: Sequence[Entry]) -> Sequence[Entry]:
        """Decide and commit a batch, let follow what won, and return what must be decided again."""
        fresh = await self._load(batch)
        decided, unknown = self.decide(batch)
        won = await self._commit(decided, fresh)
        lost = [pending for pending in decided if pending.live.state.id not in won]
        self._executions.drop(pending.live.state.id for pending in lost)
        winners = [pending for pending in decided if pending.live.state.id in won]
        await self._follow(winners, unknown)
        return self._again(lost)

    async def _load(self, batch: Sequence[Entry]) -> frozenset[str]:
        """Have the executions of a batch in memory; return those that were read just now."""
        for entry in batch:
            if entry.created is not UNSET and entry.created_at is not None:
                await self._executions.admit(entry.execution_id, entry.created, entry.created_at)
        return await self._executions.load({entry.execution_id for entry in batch})

    def decide(self, batch: Sequence[Entry]) -> tuple[list[Pending], list[Entry]]:
        """Let the core decide every entry; return what it decided, and entries without execution."""
        at = self._now()
        pending: dict[str, Pending] = {}
        unknown: list[Entry] = []
        for entry in batch:
            live = self._executions.get(entry.execution_id)
            if live is None:
                unknown.append(entry)
                continue
            collected = pending.get(entry.execution_id)
            if collected is None:
                collected = pending[entry.execution_id] = Pending(live)
            collected.add(entry, self._decide_one(live, entry, at))
        return list(pending.values()), unknown

    def _decide_one(self, live: Live, entry: Entry, at: datetime) -> Decision:
        given = entry.given
        if given is None and live.state.started_at is not None:
            return Decision(dispatched=outstanding(live.state))
        # Instants of one history never run backwards, whatever the clocks of two schedulers say.
        at = max(at, live.state.updated_at)
        decision = advance(
            live.plan, live.state, given or Admitted(), at=at, input_of=self._input_of
        )
        if decision.refused is None:
            return decision
        if entry.is_repeat:
            return msgspec.structs.replace(decision, dispatched=outstanding(live.state))
        return decision

    async def _commit(self, decided: Iterable[Pending], fresh: frozenset[str]) -> frozenset[str]:
        """Store what was decided, and return who won.

        What changed nothing has won already. But a refusal on a state from memory has lost: another scheduler
        may have gone on meanwhile, and the input be refused, acknowledged and gone though it is next.
        """
        storing = [pending for pending in decided if pending.must_commit]
        unchanged = frozenset(
            pending.live.state.id
            for pending in decided
            if not pending.must_commit and (pending.live.state.id in fresh or not pending.refuses)
        )
        if not storing:
            return unchanged
        won = await self._session.commit([advance_of(pending) for pending in storing])
        self.counters.events += sum(
            len(pending.events) for pending in storing if pending.live.state.id in won
        )
        self.counters.conflicts += len(storing) - len(won)
        return won | unchanged

    async def _follow(self, winners: Sequence[Pending], unknown: Sequence[Entry]) -> None:
        """Publish what follows from the commit: tasks, live events, notices and answers.

        The acknowledgements of the tasks are waited for while the next batch is decided and committed.
        """
        await self.settled()
        outgoing = [
            message
            for pending in winners
            for key in pending.tasks
            if (message := self._task(pending.live, key)) is not None
        ]
        sending = asyncio.ensure_future(self._publisher.publish_all(outgoing))
        for pending in winners:
            await self._tell(pending)
        finishing = self._finish(sending, winners, unknown)
        self._following = asyncio.create_task(finishing, name="acknowledge")

    async def _finish(
        self,
        sending: Awaitable[Sequence[Ack]],
        winners: Sequence[Pending],
        unknown: Sequence[Entry],
    ) -> None:
        """Acknowledge the inputs of a batch, once the tasks that follow from them are stored."""
        try:
            self._count(await sending)
            await self._acknowledge(winners, unknown)
        except BusError as error:
            # What was not acknowledged comes again; if the connection is closed for good, the next word says so.
            log.warning("batch_not_acknowledged", error=str(error))

    def _task(self, live: Live, key: RunKey) -> Outgoing | None:
        """Return the message of a node run's task, or let the attempt fail if it is too large."""
        run = live.state.runs[key]
        if run.status is not NodeRunStatus.RUNNING:
            return None  # a later input of the same batch ended it
        token = self._tokens.make(live.state.id, key, run.attempt)
        task = tasks.build(live.plan, live.state, key, execution=live.task_execution, token=token)
        data = encode(task)
        if len(data) > self._max_payload():
            self._intake.put(too_large(live.state, key, len(data), self._max_payload()))
            return None
        return Outgoing(subjects.task(tasks.address(live.plan, live.state, key)), data)

    async def _tell(self, pending: Pending) -> None:
        """Send live events, tell workers to stop, and answer who asked."""
        state = pending.live.state
        created = state.created
        for recorded in (*_creation(pending), *pending.events):
            kind = recorded.event.kind
            subject = subjects.event(created.user_id, created.workflow_id, state.id, kind)
            await self._say(subject, encode(event_message(state.id, recorded)))
        if pending.stop:
            await self._say(subjects.cancel(state.id), encode(CancelNotice(state.id, state.status)))
            self._purge(created.user_id, state.id)
        for entry, decision in pending.entries:
            if entry.reply_to is not None:
                await self._say(entry.reply_to, encode(answer(state, entry, decision)))
        if state.is_terminal:
            self._executions.drop((state.id,))

    async def _say(self, subject: str, data: bytes) -> None:
        """Send a core message. What cannot be sent is only logged: all of it can be read in history."""
        try:
            await self._publish(subject, data)
        except BusClosed:
            raise
        except BusError as error:
            log.warning("not_told", subject=subject, error=str(error))

    def _count(self, acks: Sequence[Ack]) -> None:
        self.counters.tasks += len(acks)
        refused = [ack for ack in acks if not ack.is_good]
        self.counters.republished += sum(ack is Ack.STILL_THERE for ack in acks)
        if refused:
            # The tasks stay outstanding in PostgreSQL: the sweeper publishes them again.
            log.warning("tasks_not_published", count=len(refused), first=refused[0].name)
        if Ack.NO_STREAM in refused:
            self._stream_missing()

    async def _acknowledge(self, winners: Iterable[Pending], unknown: Iterable[Entry]) -> None:
        for pending in winners:
            for entry, decision in pending.entries:
                self._count_refusal(decision.refused)
                if entry.message is not None:
                    await entry.message.ack()
        for entry in unknown:
            self._count_refusal("unknown")
            if entry.reply_to is not None:
                refusal = CommandAnswer(entry.execution_id, code="not_found")
                await self._say(entry.reply_to, encode(refusal))
            if entry.message is not None:
                await entry.message.ack()

    def _count_refusal(self, reason: str | None) -> None:
        if reason is not None:
            self.counters.refused[reason] = self.counters.refused.get(reason, 0) + 1

    def _again(self, lost: Iterable[Pending]) -> list[Entry]:
        """Return the entries of losers that may try once more."""
        again = []
        for pending in lost:
            for entry, _ in pending.entries:
                entry.retries += 1
                entry.created = UNSET
                assert entry.retries < MOST_TRIES_AFTER_CONFLICT, "somebody always wins"
                again.append(entry)
        return again

    def _input_of(self, plan: Plan, state: ExecutionState, key: RunKey) -> Any:
        """Assemble a node run's input as its worker would. Raises ValueError if a mapping fails."""
        execution = tasks.task_execution(state)
        task = tasks.build(plan, state, key, execution=execution, token="")
        node = plan.nodes[key[0]].task_node
        scope = inputs.scope_of(node, decode_task_execution(execution), task)
        try:
            return inputs.assemble(
                task.deliveries, task.trigger, scope, DEFAULT_LIMITS, self._regex
            )
        except (ExpressionError, MappingError) as error:
            raise ValueError(str(error)) from error


def outstanding(state: ExecutionState) -> tuple[RunKey, ...]:
    """Return the node runs whose task has no accepted result yet."""
    if not state.outstanding:
        return ()
    return tuple(key for key, run in state.runs.items() if run.status is NodeRunStatus.RUNNING)


def _creation(pending: Pending) -> tuple[Recorded, ...]:
    """Return the creation of an execution that was admitted just now, for it is told with its first advance."""
    if pending.was != 1 or not pending.events:
        return ()
    state = pending.live.state
    created = Event(1, state.created_at, state.created)
    return (Recorded(created, history.encode_data(state.created), ()),)


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
        tuple(NodeRunRef(node_id, iteration) for node_id, iteration in recorded.dispatched),
    )


def answer(state: ExecutionState, entry: Entry, decision: Decision) -> CommandAnswer:
    """Return the answer to a command, as committed. A cancel of a canceled execution is no refusal."""
    code = decision.refused
    if isinstance(entry.given, CancelAsked) and state.status is ExecutionStatus.CANCELED:
        code = None
    return CommandAnswer(state.id, state.status, state.seq, code)


def too_large(state: ExecutionState, key: RunKey, size: int, limit: int) -> Entry:
    """Return the entry that fails an attempt whose task does not fit into a message."""
    message = (
        f"the task of node {key[0]!r} has {size} bytes, the limit of one message is {limit}; "
        "pass on less, or name only the fields that are needed"
    )
    failure = Failure(
        FailureKind.PAYLOAD_TOO_LARGE, "input_too_large", message, {"size": size, "limit": limit}
    )
    lost = AttemptLost(key[0], key[1], state.runs[key].attempt, failure)
    return Entry(execution_id=state.id, given=lost)
