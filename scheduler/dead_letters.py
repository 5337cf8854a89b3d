"""Dead letters: messages that nobody can work on, kept for an operator, and tasks that killed workers.

A letter is stored before its message is acknowledged, so none is lost; stored twice it counts once,
because its id derives from what it is about.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import msgspec
import structlog

from bus.client import Bus
from bus.errors import BusError
from bus.message import Message
from bus.tasks import delete_message, get_message
from contracts import subjects
from contracts.failures import Failure, FailureKind
from contracts.ids import derived_uuid7, is_uuid
from contracts.messages import UnreadableTask
from db import dead_letters
from db.dead_letters import DeadLetter
from db.errors import StoreError, StoreUnavailable
from db.store import Store
from scheduler.core.decision import AttemptLost
from scheduler.entries import Entry, Handed
from scheduler.intake import Intake

log: Final = structlog.get_logger()

STORE_PAUSE_S: Final = 1.0


class Letters:
    """Stores dead letters in the background, in order, and acknowledges their messages after."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: asyncio.Queue[tuple[DeadLetter, Handed | None]] = asyncio.Queue()

    def add(self, letter: DeadLetter, message: Handed | None) -> None:
        """Let a letter be stored, and its message be acknowledged once it is."""
        log.warning(
            "dead_letter",
            source=letter.source,
            reason=letter.reason,
            subject=letter.subject,
            error=letter.error,
            execution_id=letter.execution_id,
        )
        self._waiting.put_nowait((letter, message))

    async def run(self) -> None:
        """Store letters until canceled."""
        while True:
            letter, message = await self._waiting.get()
            await self.store(letter)
            if message is not None:
                await message.ack()

    async def store(self, letter: DeadLetter) -> None:
        """Store a letter, or, if it cannot be stored as it is, the bytes alone: one letter must not hold up all."""
        for each in (letter, _bare(letter)):
            try:
                await self._try(each)
            except StoreError as error:
                log.error("dead_letter_refused", letter_id=letter.id, error=str(error))
            else:
                return

    async def _try(self, letter: DeadLetter) -> None:
        while True:
            try:
                await dead_letters.add(self._store, [letter])
            except StoreUnavailable as error:
                log.warning("dead_letter_waits", error=str(error))
                await asyncio.sleep(STORE_PAUSE_S)
            else:
                return


class Advisory(msgspec.Struct, frozen=True):
    """What JetStream says of a message, as far as it matters here."""

    type: str = ""
    stream_seq: int = 0
    deliveries: int = 0


_decode_advisory: Final = msgspec.json.Decoder(Advisory).decode


class Advisories:
    """Reads what JetStream says of tasks that were delivered too often, and ends them.

    Such a task killed or hung its workers: the attempt fails as WORKER_LOST, the task becomes a dead
    letter and leaves the stream. Who does not lead the execution (`leads`) hands the advisory on: only its leader knows what is
    queued of it.
    """

    def __init__(
        self,
        bus: Bus,
        intake: Intake,
        letters: Letters,
        leads: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._bus = bus
        self._leads = leads
        self._intake = intake
        self._letters = letters

    async def receive(self, message: Message) -> None:
        """Take one advisory; anything but exhausted deliveries of a task is only acknowledged."""
        try:
            advisory = _decode_advisory(message.data)
        except msgspec.DecodeError:
            advisory = Advisory()
        if not advisory.type.endswith("max_deliver"):
            await message.ack()
            return
        try:
            await self._exhausted(advisory, message)
        except BusError as error:
            log.warning("advisory_waits", error=str(error))
            await message.nak(timedelta(seconds=STORE_PAUSE_S))

    async def _exhausted(self, advisory: Advisory, message: Message) -> None:
        task = await get_message(self._bus, subjects.TASKS, advisory.stream_seq)
        if task is None:
            await message.ack()
            return
        address = subjects.read_task(task.subject)
        if address is not None and not self._leads(address.execution_id):
            await message.nak(timedelta(seconds=STORE_PAUSE_S))
            return
        error = f"delivered {advisory.deliveries} times, and no worker came back with a result"
        letter = DeadLetter(
            id=derived_uuid7(task.timestamp, task.subject),
            user_id=_namespace(address),
            source="TASK",
            reason="DELIVERIES_EXHAUSTED",
            subject=task.subject,
            headers=dict(task.headers or {}),
            body=task.data,
            error=error,
            execution_id=address.execution_id if address else None,
            node_id=address.node_id if address else None,
        )
        await self._letters.store(letter)
        exhausted = Exhausted(self._bus, advisory.stream_seq, message)
        if address is None:
            await exhausted.ack()
            return
        failure = Failure(FailureKind.WORKER_LOST, "deliveries_exhausted", error)
        lost = AttemptLost(address.node_id, address.iteration, address.attempt, failure)
        self._intake.put(Entry(execution_id=address.execution_id, given=lost, message=exhausted))


class Exhausted:
    """A task that was given up. It leaves the stream with its advisory, once the end of its attempt is committed."""

    def __init__(self, bus: Bus, stream_seq: int, advisory: Message) -> None:
        self._bus = bus
        self._stream_seq = stream_seq
        self._advisory = advisory

    @property
    def num_delivered(self) -> int:
        """How often the advisory was delivered."""
        return self._advisory.num_delivered

    async def ack(self) -> None:
        """Delete the task, then take the advisory off the stream; if it cannot be deleted now, the advisory comes again."""
        try:
            await delete_message(self._bus, subjects.TASKS, self._stream_seq)
        except BusError as error:
            log.warning("task_not_deleted", stream_seq=self._stream_seq, error=str(error))
        else:
            await self._advisory.ack()


def letter_of(message: Message, source: str, reason: str, error: str) -> DeadLetter:
    """Return the letter that keeps a message of the inbox or of a trigger."""
    return DeadLetter(
        id=_letter_id(message),
        user_id=None,
        source=source,
        reason=reason,
        subject=message.subject,
        headers=dict(message.headers or {}),
        body=message.data,
        error=error,
        execution_id=None,
        node_id=None,
    )


def letter_of_task(
    message: Message, report: UnreadableTask, address: subjects.TaskAddress | None
) -> DeadLetter:
    """Return the letter that keeps a task which a worker could not read; without `address` it is nobody's."""
    return DeadLetter(
        id=_letter_id(message),
        user_id=_namespace(address),
        source="TASK",
        reason="UNREADABLE",
        subject=report.subject,
        headers=report.headers,
        body=report.body,
        error=report.error,
        execution_id=address.execution_id if address else None,
        node_id=address.node_id if address else None,
    )


def _letter_id(message: Message) -> str:
    """Return the same id however often the message comes."""
    stored = message.metadata
    return derived_uuid7(stored.timestamp, f"{stored.stream}:{stored.stream_seq}")


def _bare(letter: DeadLetter) -> DeadLetter:
    """Return what can be stored of any letter: its user may be gone, its texts no texts."""
    return msgspec.structs.replace(
        letter,
        user_id=None,
        headers={},
        subject=_storable(letter.subject),
        error=_storable(letter.error),
        execution_id=None,
        node_id=None,
    )


def _storable(text: str) -> str:
    return text.encode(errors="replace").decode().replace("\x00", "\ufffd")


def _namespace(address: subjects.TaskAddress | None) -> str | None:
    if address is None or not is_uuid(address.namespace):
        return None
    return address.namespace
