"""Reports to the scheduler: stored in its inbox before the task they end is acknowledged."""

import asyncio
from typing import Final

import msgspec
import structlog
from msgspec import UNSET

from bus.client import Bus
from bus.message import Message
from bus.publisher import Ack, Publisher
from contracts import subjects
from contracts.failures import Failure, FailureKind
from contracts.messages import Result, UnreadableTask, encode
from contracts.subjects import TaskAddress
from workers.held import Held

LEASE_SECONDS: Final = 30.0
"""The ack wait of task consumers: a task that was not kept alive for so long belongs to somebody else."""

MAX_PAUSE_SECONDS: Final = 5.0
ENVELOPE_BYTES: Final = 4096
"""What a message needs beside the values in it."""

_UNKNOWN: Final = TaskAddress("UNREADABLE.TASK", "none", "0", "none", (), 0)
"""Stands in a report on a task whose subject tells nothing, so that it has some place: partition 0."""

_log: Final = structlog.get_logger("flotilla.workers")


class Reporter:
    """Stores results and reports on unreadable tasks, again and again until the inbox has them."""

    def __init__(self, bus: Bus, publisher: Publisher, worker_id: str) -> None:
        self._bus = bus
        self._publisher = publisher
        self._worker_id = worker_id
        self._loop = asyncio.get_running_loop()

    async def report(self, held: Held, result: Result) -> Result | None:
        """Store a result, and return it as it was stored; None once the lease was lost, when the task is somebody else's."""
        data = encode(result)
        if len(data) > self._bus.max_payload and result.logs is not UNSET:
            _log.warning("logs_dropped", execution_id=result.execution_id, node_id=result.node_id)
            result = msgspec.structs.replace(result, logs=UNSET)
            data = encode(result)
        if len(data) > self._bus.max_payload:
            failure = too_large(len(data), self._bus.max_payload)
            result = msgspec.structs.replace(result, ports=None, failure=failure, goes_on=None)
            data = encode(result)
        is_stored = await self.store(subjects.result(held.address), data, held)
        return result if is_stored else None

    async def report_unreadable(self, message: Message, error: str) -> None:
        """Report a task that cannot be understood, then let the server give it up."""
        _log.error("task_unreadable", subject=message.subject, error=error)
        most = max(0, (self._bus.max_payload - ENVELOPE_BYTES) * 3 // 4)
        report = UnreadableTask(
            subject=message.subject,
            error=error,
            worker_id=self._worker_id,
            body=message.data[:most],
            headers=message.headers,
        )
        held = Held(message, read_address(message.subject) or _UNKNOWN, self._loop.time())
        if await self.store(subjects.result(held.address), encode(report), held):
            await message.term(error)

    async def store(self, subject: str, data: bytes, held: Held) -> bool:
        """Publish until the inbox has it; False once the lease was lost.

        A publish in doubt is repeated: one result too many is refused.
        """
        pause = 0.05
        while True:
            ack = await self._publisher.publish(subject, data)
            if ack.is_good:
                return True
            _warn(ack, held)
            if self._loop.time() - held.kept_at > LEASE_SECONDS:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)


def too_large(size: int, limit: int) -> Failure:
    """Return the failure of a result that no message can carry: it would be refused again and again."""
    message = (
        f"the result has {size} bytes, the limit of one message is {limit}; "
        "answer with less, or keep the value elsewhere and pass on where it is"
    )
    details = {"size": size, "limit": limit}
    return Failure(FailureKind.PAYLOAD_TOO_LARGE, "output_too_large", message, details)


def read_address(subject: str) -> TaskAddress | None:
    """Return what the subject of a task tells, or None if no report could be attributed to it."""
    address = subjects.read_task(subject)
    if address is None or address.execution_id[-1:] not in "0123456789abcdef":
        return None
    return address


def _warn(ack: Ack, held: Held) -> None:
    _log.warning(
        "report_not_stored",
        ack=ack.value,
        execution_id=held.address.execution_id,
        node_id=held.address.node_id,
    )
