"""JetStream publishes, many in flight, each acknowledgement read.

All acknowledgements come to one inbox, where the last token of the subject tells whose it is. That costs a
dictionary entry per publish; a request of nats-py costs a task. What is published together is written
together, and waits for its acknowledgements as one.

A publish that gets no answer is *in doubt*, not failed: it may sit in a buffer and be stored after the
reconnect. So what is published needs an identity of its own, such as a subject per attempt.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from types import TracebackType
from typing import Final, NamedTuple, Self, assert_never

import msgspec
import structlog

from bus.client import Bus, Subscription
from bus.errors import (
    NoStream,
    PayloadTooLarge,
    PublishInDoubt,
    PublishRefused,
    StreamFull,
)
from bus.wire import Headers

log = structlog.get_logger()

ACK_TIMEOUT: Final = timedelta(seconds=5)
MAX_OUTSTANDING: Final = 4096  # the server buffers 10,000 per stream and refuses what goes beyond

STORE_FAILED: Final = 10077  # by a limit of the stream; the description tells which
STILL_THERE: Final = "maximum messages per subject exceeded"
STREAM_NOT_FOUND: Final = 10059
MESSAGE_TOO_LARGE: Final = 10054
NO_ROOM: Final = frozenset({10002, 10023, 10028, 10047, 10167})
"""Account, server, memory and storage limits, and too many publishes at once."""


class Ack(StrEnum):
    """What became of a publish. Only STORED and STILL_THERE are good."""

    STORED = "STORED"  # or, with a Nats-Msg-Id, stored before under the same id
    STILL_THERE = "STILL_THERE"  # the stream holds one message per subject, and has it
    STREAM_FULL = "STREAM_FULL"  # not stored
    NO_STREAM = "NO_STREAM"  # not stored
    TOO_LARGE = "TOO_LARGE"  # not stored
    REFUSED = "REFUSED"  # not stored; the reason is in the log
    IN_DOUBT = "IN_DOUBT"  # no answer in time, or no connection

    @property
    def is_good(self) -> bool:
        """Whether the stream has the message."""
        return self is Ack.STORED or self is Ack.STILL_THERE


class Outgoing(NamedTuple):
    """A message to be published."""

    subject: str
    data: bytes
    headers: Headers | None = None


class Publisher:
    """Publishes to JetStream over one shared inbox. Use it as an async context manager.

    Args:
        timeout: After it a publish without acknowledgement is in doubt.
        max_outstanding: Publishes that may wait for their acknowledgement; the next ones wait for room.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        timeout: timedelta = ACK_TIMEOUT,
        max_outstanding: int = MAX_OUTSTANDING,
    ) -> None:
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout.total_seconds()
        self._max_outstanding = max_outstanding
        self._prefix = f"{bus.new_inbox()}."
        self._number = 0
        self._outstanding: dict[int, _Single | _Batch] = {}  # by number, the oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._subscription = await self._bus.listen(f"{self._prefix}*", self._receive)
        self._bus.attach(self)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Forget the outstanding publishes as in doubt."""
        assert self._subscription is not None
        self._bus.detach(self)
        await self._subscription.unsubscribe()
        self.disconnected()
        if self._timer is not None:
            self._timer.cancel()

    @property
    def outstanding(self) -> int:
        """Publishes that wait for their acknowledgement."""
        return len(self._outstanding)

    async def publish(self, subject: str, data: bytes, headers: Headers | None = None) -> Ack:
        """Publish and wait for the acknowledgement. Raises InvalidSubject and BusClosed."""
        return await (await self.send(subject, data, headers))

    async def store(self, subject: str, data: bytes, headers: Headers | None = None) -> Ack:
        """Publish, and return STORED or STILL_THERE.

        Raises StreamFull, NoStream, PublishRefused, PublishInDoubt, PayloadTooLarge, InvalidSubject and BusClosed.
        """
        ack = await self.publish(subject, data, headers)
        match ack:
            case Ack.STORED | Ack.STILL_THERE:
                return ack
            case Ack.TOO_LARGE:
                raise PayloadTooLarge(subject, size=len(data), limit=self._bus.max_payload)
            case Ack.STREAM_FULL:
                raise StreamFull(subject, "the stream is full")
            case Ack.NO_STREAM:
                raise NoStream(subject, "no stream listens")
            case Ack.REFUSED:
                raise PublishRefused(subject, "the server refused")
            case Ack.IN_DOUBT:
                raise PublishInDoubt(subject, "no acknowledgement")
            case _:
                assert_never(ack)

    async def publish_all(self, messages: Iterable[Outgoing]) -> list[Ack]:
        """Publish all, then wait for all acknowledgements, in the order of the messages.

        Raises InvalidSubject and BusClosed; some of the messages may have been sent then.
        """
        sent = await self.send_all(messages)
        return [ack for each in sent for ack in await each]

    async def send_all(self, messages: Iterable[Outgoing]) -> list[asyncio.Future[list[Ack]]]:
        """Write all, and return the acknowledgements to come, in the order of the messages. Raises like `publish_all`."""
        left = list(messages)
        sent: list[asyncio.Future[list[Ack]]] = []
        while left:
            room = await self._room()
            sent.append((await self._send_all(left[:room])).done)
            left = left[room:]
        return sent

    async def send(
        self, subject: str, data: bytes, headers: Headers | None = None
    ) -> asyncio.Future[Ack]:
        """Write a message, and return the acknowledgement to come; it always comes, at the latest as IN_DOUBT.

        Without a connection nothing is written: a later reconnect does not send what the caller may
        have published again by then. Raises InvalidSubject and BusClosed.
        """
        await self._room()
        single = _Single(self._loop, self._deadline())
        if self._is_cut_off:
            single.settle(0, Ack.IN_DOUBT)
            return single.done
        self._number = number = self._number + 1
        self._outstanding[number] = single
        try:
            await self._bus.publish(subject, data, headers, reply=f"{self._prefix}{number}")
        except PayloadTooLarge:
            self._settle(number, Ack.TOO_LARGE)
        except BaseException:
            self._settle(number, Ack.IN_DOUBT)
            raise
        return single.done

    async def _send_all(self, messages: Sequence[Outgoing]) -> "_Batch":
        """`send` for messages that are written together."""
        first = self._number + 1
        numbers = range(first, first + len(messages))
        batch = _Batch(self._loop, self._deadline(), first, len(messages))
        if self._is_cut_off:
            for number in numbers:
                batch.settle(number, Ack.IN_DOUBT)
            return batch
        self._number += len(messages)
        self._outstanding.update(dict.fromkeys(numbers, batch))
        try:
            refused = await self._bus.publish_all(
                [
                    (subject, data, headers, f"{self._prefix}{number}")
                    for number, (subject, data, headers) in zip(numbers, messages, strict=True)
                ]
            )
            for position, error in refused.items():
                if not isinstance(error, PayloadTooLarge):
                    raise error
                self._settle(first + position, Ack.TOO_LARGE)
        except BaseException:
            for number in numbers:
                self._settle(number, Ack.IN_DOUBT)
            raise
        return batch

    @property
    def _is_cut_off(self) -> bool:
        """Whether what is written now would have to wait for a reconnect."""
        return not self._bus.is_connected and not self._bus.is_closed

    def _deadline(self) -> float:
        """Return when a publish of now is in doubt, and see to it."""
        deadline = self._loop.time() + self._timeout
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._expire)
        return deadline

    def disconnected(self) -> None:
        """Acknowledgements of the old connection never come."""
        for number in list(self._outstanding):
            self._settle(number, Ack.IN_DOUBT)

    def reconnected(self) -> None:
        """The subscription to our inbox is back already."""

    async def _room(self) -> int:
        """Return how many more messages may wait for their acknowledgement: one at least."""
        while (room := self._max_outstanding - len(self._outstanding)) <= 0:
            number, oldest = next(iter(self._outstanding.items()))
            await asyncio.wait([oldest.done])
            self._outstanding.pop(number, None)  # it is still there if its caller was cancelled
        return room

    def _receive(self, subject: str, _reply: str, data: bytes, _headers: Headers | None) -> None:
        self._settle(int(subject[len(self._prefix) :]), read_ack(data))

    def _settle(self, number: int, ack: Ack) -> None:
        waiting = self._outstanding.pop(number, None)
        if waiting is not None:
            waiting.settle(number, ack)

    def _expire(self) -> None:
        """Give up on the oldest publishes, and come again when the next one is due."""
        now = self._loop.time()
        while self._outstanding:
            number, oldest = next(iter(self._outstanding.items()))
            if oldest.deadline > now:
                self._timer = self._loop.call_at(oldest.deadline, self._expire)
                return
            self._settle(number, Ack.IN_DOUBT)
        self._timer = None


class _Single:
    """The acknowledgement of one message; `deadline` by the event loop's clock."""

    __slots__ = ("deadline", "done")

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        self.deadline = deadline
        self.done: asyncio.Future[Ack] = loop.create_future()

    def settle(self, _number: int, ack: Ack) -> None:
        """Take it."""
        if not self.done.done():
            self.done.set_result(ack)


class _Batch:
    """The acknowledgements of messages with numbers in a row from `first` on; `deadline` by the event loop's clock."""

    __slots__ = ("_acks", "_first", "_missing", "deadline", "done")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, deadline: float, first: int, count: int
    ) -> None:
        self.deadline = deadline
        self.done: asyncio.Future[list[Ack]] = loop.create_future()
        self._first = first
        self._acks = [Ack.IN_DOUBT] * count
        self._missing = count

    def settle(self, number: int, ack: Ack) -> None:
        """Take the acknowledgement of one message."""
        self._acks[number - self._first] = ack
        self._missing -= 1
        if not self._missing and not self.done.done():
            self.done.set_result(self._acks)


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def read_ack(data: bytes) -> Ack:
    """Return what an answer to a publish says. An answer without body comes from a server without such a stream."""
    if not data:
        return Ack.NO_STREAM
    try:
        error = _decode(data).error
    except msgspec.DecodeError:
        log.error("publish_answer_unreadable", data=data[:200])
        return Ack.IN_DOUBT
    return Ack.STORED if error is None else _ack_of(error)


def _ack_of(error: _Error) -> Ack:
    if error.err_code == STORE_FAILED:
        return Ack.STILL_THERE if error.description == STILL_THERE else Ack.STREAM_FULL
    if error.err_code in NO_ROOM:
        return Ack.STREAM_FULL
    if error.err_code == STREAM_NOT_FOUND:
        return Ack.NO_STREAM
    if error.err_code == MESSAGE_TOO_LARGE:
        return Ack.TOO_LARGE
    log.error("publish_refused", code=error.err_code, description=error.description)
    return Ack.REFUSED
