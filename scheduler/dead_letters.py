"""Dead letters: messages that nobody can work on, kept for an operator, and tasks that killed workers.

A letter is stored before its message is acknowledged, so none is lost; stored twice it counts once,
because its id derives from what it is about.
"""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import structlog

from bus.client import Bus
from bus.errors import BusError
from bus.message import Message
from bus.tasks import delete_message, get_message
from contracts import subjects
from contracts.failures import Failure, FailureKind
from contracts.ids import derived_uuid7, is_uuid, uuid7
from contracts.messages import UnreadableTask
from db import dead_letters
from db.dead_letters import DeadLetter
from db.errors import StoreError
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
            await self._store_one(letter)
            if message is not None:
                await message.ack()

    async def _store_one(self, letter: DeadLetter) -> None:
        while True:
            try:
                await dead_letters.add(self._store, [letter])
            except StoreError as error:
                log.warning("dead_letter_waits", error=str(error))
                await asyncio.sleep(STORE_PAUSE_S)
            else:
                return


class Advisories:
    """Reads what JetStream says of tasks that were delivered too often, and ends them.

    Such a task killed or hung its workers: the attempt fails as WORKER_LOST, the task becomes a dead
    letter and leaves the stream.
    """

    def __init__(self, bus: Bus, intake: Intake, letters: Letters) -> None:
        self._bus = bus
        self._intake = intake
        self._letters = letters

    async def receive(self, message: Message) -> None:
        """Take one advisory; anything but exhausted deliveries of a task is only acknowledged."""
        try:
            advisory: dict[str, Any] = msgspec.json.decode(message.data)
        except msgspec.DecodeError:
            advisory = {}
        if not str(advisory.get("type", "")).endswith("max_deliver"):
            await message.ack()
            return
        try:
            await self._exhausted(int(advisory["stream_seq"]), int(advisory["deliveries"]), message)
        except BusError as error:
            log.warning("advisory_waits", error=str(error))
            await message.nak(timedelta(seconds=STORE_PAUSE_S))

    async def _exhausted(self, stream_seq: int, deliveries: int, message: Message) -> None:
        task = await get_message(self._bus, subjects.TASKS, stream_seq)
        if task is None:
            await message.ack()
            return
        address = subjects.read_task(task.subject)
        error = f"delivered {deliveries} times, and no worker came back with a result"
        letter = DeadLetter(
            id=derived_uuid7(datetime.now(UTC), task.subject),
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
        self._letters.add(letter, message)
        if address is not None:
            failure = Failure(FailureKind.WORKER_LOST, "deliveries_exhausted", error)
            lost = AttemptLost(address.node_id, address.iteration, address.attempt, failure)
            self._intake.put(Entry(execution_id=address.execution_id, given=lost))
        await delete_message(self._bus, subjects.TASKS, stream_seq)


def letter_of(message: Message, source: str, reason: str, error: str) -> DeadLetter:
    """Return the letter that keeps a message of the inbox or of a trigger."""
    return DeadLetter(
        id=uuid7(datetime.now(UTC), os.urandom(10)),
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


def letter_of_task(report: UnreadableTask) -> DeadLetter:
    """Return the letter that keeps a task which a worker could not read."""
    address = subjects.read_task(report.subject)
    return DeadLetter(
        id=uuid7(datetime.now(UTC), os.urandom(10)),
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


def _namespace(address: subjects.TaskAddress | None) -> str | None:
    if address is None or not is_uuid(address.namespace):
        return None
    return address.namespace
