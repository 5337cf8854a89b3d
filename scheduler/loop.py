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
And what lacks large values is held back: they are read, and it is decided anew.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import msgspec
import structlog
from msgspec import UNSET

from bus.errors import BusClosed, BusError
from bus.message import ACK, Message
from bus.publisher import Ack, Outgoing, Publisher
from bus.wire import Sendable
from contracts import subjects
from contracts.execution.state import ExecutionState
from contracts.ids import RunKey
from contracts.limits import CORE_LIMITS, CoreLimits
from contracts.messages import (
    CancelNotice,
    CommandAnswer,
    PauseNotice,
    Result,
    encode,
)
from db.advances import AdvanceSession
from db.errors import CommitInDoubt, StoreUnavailable
from scheduler import families
from scheduler.admission import Admission, Waiting
from scheduler.answers import answer
from scheduler.assembling import Assembling
from scheduler.core.advance import advance
from scheduler.core.decision import (
    EARLY,
    NOTHING,
    Admitted,
    AttemptLost,
    Decision,
    Reported,
)
from scheduler.dispatch import Dispatch
from scheduler.entries import Entry
from scheduler.executions import Executions, Live
from scheduler.intake import Intake
from scheduler.lookups import Lookups
from scheduler.pending import Pending, advance_of, creation, event_message
from scheduler.slots import Slots
from scheduler.values import LargeValues, PayloadsNeeded

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
    replays: int = 0


class Loop:
    """Advances executions, one batch after the other."""

    def __init__(
        self,
        *,
        intake: Intake,
        executions: Executions,
        session: AdvanceSession,
        publisher: Publisher,
        tell: Callable[[Sequence[Sendable]], Awaitable[Mapping[int, BusError]]],
        now: Callable[[], datetime],
        values: LargeValues,
        assembling: Assembling,
        lookups: Lookups,
        dispatch: Dispatch,
        slots: Slots,
        admission: Admission,
        bury: Callable[[Entry, Exception], None],
        purge: Callable[[str, str], None],
        stream_missing: Callable[[], None],
        timer_set: Callable[[datetime], None],
        unpublished: Callable[[Iterable[str]], None] = lambda _: None,
        limits: CoreLimits = CORE_LIMITS,
    ) -> None:
        self._intake = intake
        self._executions = executions
        self._session = session
        self._publisher = publisher
        self._tell = tell
        self._now = now
        self._values = values
        self._assembling = assembling
        self._lookups = lookups
        self._dispatch = dispatch
        self._slots = slots
        self._admission = admission
        self._bury = bury
        self._purge = purge
        self._stream_missing = stream_missing
        self._timer_set = timer_set
        self._unpublished = unpublished
        self._limits = limits
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

    async def caught_up(self) -> None:
        """Wait until what waits now is handled, published and acknowledged, while the loop goes on."""
        await self._intake.passed()
        if self._following is not None:
            await asyncio.wait((self._following,))

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
        await self._look_up(batch)
        collected, unknown = self.decide(batch)
        decided = [pending for pending in collected if pending.needs is None]
        again = await self._fetch(collected) if len(decided) < len(collected) else []
        won = await self._commit(decided, fresh)
        lost = [pending for pending in decided if pending.live.state.id not in won]
        self._executions.drop(pending.live.state.id for pending in lost)
        self._values.forget(pending.live.state.id for pending in decided)
        winners = [pending for pending in decided if pending.live.state.id in won]
        await self._follow(winners, unknown)
        return again + self._again(lost)

    async def _fetch(self, collected: Iterable[Pending]) -> list[Entry]:
        """Read what executions were held back for, and return their entries; their states are half decided."""
        held_back = [pending for pending in collected if pending.needs is not None]
        self._executions.drop(pending.live.state.id for pending in held_back)
        await self._values.load(pending.needs for pending in held_back if pending.needs)
        return [entry for pending in held_back for entry, _ in pending.entries]

    async def _load(self, batch: Sequence[Entry]) -> frozenset[str]:
        """Have the executions of a batch in memory; return those that were read just now."""
        for entry in batch:
            if entry.created is not UNSET and entry.created_at is not None:
                await self._executions.admit(entry.execution_id, entry.created, entry.created_at)
        self._executions.drop([each.execution_id for each in batch if self._is_behind(each)])
        fresh = await self._executions.load({entry.execution_id for entry in batch})
        self.counters.replays += len(fresh)
        for execution_id in fresh:
            self._settle(self._executions.get(execution_id))
        return fresh

    def _settle(self, live: Live | None) -> None:
        """Free the places of attempts that ended without a result that came here."""
        if live is not None:
            self._admission.settle(live.state.id, partial(is_under_way, live.state))

    def _is_behind(self, entry: Entry) -> bool:
        """Whether another scheduler took an execution further than our memory: healing from that would be in vain."""
        live = self._executions.get(entry.execution_id)
        return live is not None and live.state.seq < entry.version

    async def _look_up(self, batch: Sequence[Entry]) -> None:
        """Find the workflows that decisions may start: the core reads nothing."""
        for entry in batch:
            live = self._executions.get(entry.execution_id)
            if live is None or live.state.is_terminal:
                continue
            if self._lookups.wants(entry, live):
                await self._lookups.complete(entry, live)

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
            self._decide_into(collected, entry, at)
        return list(pending.values()), unknown

    def _decide_into(self, pending: Pending, entry: Entry, at: datetime) -> None:
        """Decide an entry, unless its execution is held back for want of large values, or has to be now."""
        if pending.needs is None:
            try:
                pending.add(entry, self._decide_one(pending.live, entry, at))
            except PayloadsNeeded as needs:
                pending.needs = needs
            else:
                return
        pending.entries.append((entry, NOTHING))

    def _decide_one(self, live: Live, entry: Entry, at: datetime) -> Decision:
        given = entry.given
        if given is None and live.state.started_at is not None:
            return Decision(dispatched=entry.admitted or outstanding(live.state))
        # Instants of one history never run backwards, whatever the clocks of two schedulers say.
        at = max(at, live.state.updated_at)
        decision = advance(
            live.plan,
            live.state,
            given or Admitted(),
            at=at,
            input_of=self._assembling.input_of,
            result_of=self._assembling.result_of,
            failure_target=live.failure_target,
            limits=self._limits,
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
        for pending in storing:
            if any(self._values.is_large(recorded.data) for recorded in pending.events):
                await self._put_apart(pending)
        won = frozenset[str]()
        for batch in in_order(storing):
            won |= await self._session.commit([advance_of(pending) for pending in batch])
        self.counters.events += sum(
            len(pending.events) for pending in storing if pending.live.state.id in won
        )
        self.counters.conflicts += len(storing) - len(won)
        return won | unchanged

    async def _put_apart(self, pending: Pending) -> None:
        """Store large values of what was decided by themselves. The state has them in place, so it is folded anew."""
        state = pending.live.state
        self._executions.drop((state.id,))
        pending.events = [
            recorded._replace(
                data=await self._values.light_event(state.created.user_id, recorded.event.data)
            )
            if self._values.is_large(recorded.data)
            else recorded
            for recorded in pending.events
        ]

    async def _follow(self, winners: Sequence[Pending], unknown: Sequence[Entry]) -> None:
        """Publish what follows from the commit: tasks, live events, notices and answers.

        The acknowledgements of the tasks are waited for while the next batch is decided and committed.
        """
        await self.settled()
        self._free(winners)
        outgoing = [
            message
            for pending in winners
            for key in pending.tasks
            if self._is_admitted(pending.live, key)
            and (message := self._dispatch.message(pending.live, key)) is not None
        ]
        if self._dispatch.has_heavy:
            outgoing += await self._dispatch.lightened()
        outgoing += [message for pending in winners for message in kin(pending)]
        sent = await self._send(outgoing)  # first of all: workers wait for it
        told = [message for pending in winners for message in self._told(pending)]
        await self._say(told + await self._dispatch.returned(winners))
        for pending in winners:
            self._leave(pending)
        if sent is not None:
            finishing = self._finish(sent, winners, unknown)
            self._following = asyncio.create_task(finishing, name="acknowledge")

    async def _send(
        self, outgoing: Iterable[Outgoing]
    ) -> Sequence[Awaitable[Sequence[Ack]]] | None:
        """Write tasks and commands; None if that failed, when what they follow from is not acknowledged."""
        try:
            return await self._publisher.send_all(outgoing)
        except BusError as error:
            _not_acknowledged(error)
            return None

    async def _finish(
        self,
        sent: Iterable[Awaitable[Sequence[Ack]]],
        winners: Sequence[Pending],
        unknown: Sequence[Entry],
    ) -> None:
        """Acknowledge the inputs of a batch, once the tasks that follow from them are stored."""
        try:
            if not self._count([ack for each in sent for ack in await each]):
                self._unpublished(each.live.state.id for each in winners if each.tasks)
            await self._acknowledge(winners, unknown)
        except BusError as error:
            _not_acknowledged(error)

    def _free(self, winners: Iterable[Pending]) -> None:
        """Free the places of attempts that are over, and let those in whose turn it is."""
        for pending in winners:
            if pending.live.state.is_terminal:
                self._admission.forget(pending.live.state.id)
                continue
            if pending.fails:
                self._settle(pending.live)
            for entry, _ in pending.entries:
                given = entry.given
                over = given.result if isinstance(given, Reported) else given
                if isinstance(over, Result | AttemptLost):
                    key = (over.node_id, over.iteration)
                    self._admission.ended((entry.execution_id, key, over.attempt))
        for turn in self._admission.next():
            execution_id, key, _ = turn.attempt
            self._intake.put(Entry(execution_id=execution_id, admitted=(key,)))

    def _is_admitted(self, live: Live, key: RunKey) -> bool:
        """Whether a task may be queued now; else it has its turn later."""
        run = live.state.runs[key]
        if not run.has_task:
            return False  # a later input of the same batch ended it
        created = live.state.created
        return self._admission.offer(
            Waiting(
                (live.state.id, key, run.attempt),
                live.plan.nodes[key[0]].fleet,
                created.user_id,
                created.priority,
            )
        )

    def _told(self, pending: Pending) -> Iterator[Sendable]:
        """Return what others hear of a commit: live events, that workers are to stop, answers to who asked."""
        state = pending.live.state
        created = state.created
        for recorded in (*creation(pending), *pending.events):
            kind = recorded.event.kind
            subject = subjects.event(created.user_id, created.workflow_id, state.id, kind)
            yield subject, encode(event_message(state.id, recorded)), None, ""
        if pending.stop:
            notice = CancelNotice(state.id, state.status)
            yield subjects.cancel(state.id), encode(notice), None, ""
        elif pending.pauses:
            yield subjects.pause(state.id), encode(PauseNotice(state.id, state.paused)), None, ""
        for entry, decision in pending.entries:
            if entry.reply_to is not None and decision.returned is None and not is_early(decision):
                yield entry.reply_to, encode(answer(state, entry, decision)), None, ""

    def _leave(self, pending: Pending) -> None:
        """Let this process follow a commit: queued tasks go, slots are given on, timers expected, and what is over forgotten."""
        state = pending.live.state
        if pending.stop:
            self._purge(state.created.user_id, state.id)
        self._tell_slots(pending)
        if pending.timers:
            self._timer_set(min(timer.due_at for timer in pending.timers.values()))
        if state.is_terminal:
            self._executions.drop((state.id,))
        elif pending.events:
            self._executions.grew(
                pending.live, sum([len(recorded.data) for recorded in pending.events])
            )

    def _tell_slots(self, pending: Pending) -> None:
        state = pending.live.state
        if state.created.slot is None:
            return
        if (wanted := pending.slot_wanted) is not None:
            self._slots.wanted(state.id, state.created.workflow_id, wanted)
        if (freed := pending.slot_freed) is not None:
            self._slots.freed(state.created.workflow_id, freed)

    async def _say(self, messages: Sequence[Sendable]) -> None:
        """Send core messages. What cannot be sent is only logged: all of it can be read in history."""
        for error in (await self._tell(messages)).values():
            log.warning("not_told", error=str(error))

    def _count(self, acks: Sequence[Ack]) -> bool:
        """Count acknowledgements, and return whether all tasks are stored."""
        self.counters.tasks += len(acks)
        refused = [ack for ack in acks if not ack.is_good]
        self.counters.republished += sum(ack is Ack.STILL_THERE for ack in acks)
        if refused:
            # The tasks stay outstanding in PostgreSQL: the sweeper has them published again.
            log.warning("tasks_not_published", count=len(refused), first=refused[0].name)
        if Ack.NO_STREAM in refused:
            self._stream_missing()
        return not refused

    async def _acknowledge(self, winners: Iterable[Pending], unknown: Iterable[Entry]) -> None:
        handled = [each for pending in winners for each in pending.entries]
        for _, decision in handled:
            self._count_refusal(decision.refused)
        answers: list[Sendable] = []
        for entry in unknown:
            self._count_refusal("unknown")
            if entry.reply_to is not None:
                refusal = CommandAnswer(entry.execution_id, code="not_found")
                answers.append((entry.reply_to, encode(refusal), None, ""))
        done = (*(entry for entry, decision in handled if not is_early(decision)), *unknown)
        messages = [each.message for each in done if each.message is not None]
        acks = [each.sendable(ACK) for each in messages if isinstance(each, Message)]
        await self._say([*answers, *acks])
        for each in messages:
            if not isinstance(each, Message):
                await each.ack()  # it takes more than one message

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


def outstanding(state: ExecutionState) -> tuple[RunKey, ...]:
    """Return the node runs whose task has no accepted result yet."""
    if not state.outstanding:
        return ()
    return tuple(key for key, run in state.runs.items() if run.has_task)


def is_under_way(state: ExecutionState, key: RunKey, attempt: int) -> bool:
    """Whether an attempt still is what its node run waits for."""
    run = state.runs.get(key)
    return run is not None and run.has_task and run.attempt == attempt


def in_order(storing: Sequence[Pending]) -> Iterator[Sequence[Pending]]:
    """Yield what is stored together: who lets go of a child goes after the child's own advance.

    One statement changes a row once.
    """
    ids = {pending.live.state.id for pending in storing}
    late = [each for each in storing if not ids.isdisjoint((*each.released, *each.given_up))]
    if not late:
        yield storing
        return
    yield [each for each in storing if each not in late]
    for each in late:
        yield [each]


def is_early(decision: Decision) -> bool:
    """Whether an input is left unacknowledged and unanswered: it comes again, after what it follows from."""
    return decision.refused == EARLY


def kin(pending: Pending) -> Iterator[Outgoing]:
    """Yield what an advance tells other executions: children to start or to end, a parent that waits."""
    for child in pending.children:
        yield families.start_of_child(child)
    for execution_id in pending.given_up:
        yield families.end_of_orphan(execution_id)
    if pending.events and (news := families.news_for_parent(pending.live.state)) is not None:
        yield news


def _not_acknowledged(error: BusError) -> None:
    """Say that a batch comes again; if the connection is closed for good, the next word that is sent says so."""
    log.warning("batch_not_acknowledged", error=str(error))
