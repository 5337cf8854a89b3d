"""Continuous pull: a consumer's messages as they come, with requests always open at the server.

A request asks for up to `n` messages within `expires`. The server may owe us several at once and fills
them in turn; a request that ends unfilled tells how much of it was left. What it owes us in sum is
booked in `bus.requests`. One task per pull, the keeper, writes all requests: it is woken when the demand is
half uncovered, when a request ended badly, and when nothing was heard for too long. The callback only books.

How much to ask for:

- Without `want`, `batch` messages are kept on order or untaken (a scheduler: it folds whatever comes).
- With `want`, at most `want()` of them (a worker: its free slots), and no more than the *window*. The window
  begins small, doubles when the server has filled all we asked for, and is small again when a request
  expired unfilled. So of fifty node types on one worker the idle ones keep no slots on order, and a larger
  request expires soon (`BURST_EXPIRES`).

What ends badly, and what follows:

- The connection breaks: the server forgets the requests, and so do we; they are written anew on reconnect.
- 503 or "Consumer Deleted": the consumer or its stream is missing, or JetStream not up yet. `on_missing` is
  called, then the request repeated, with a growing pause.
- Any other refusal (leadership change, server shutdown): logged, repeated after a pause.
- Silence: the server promises a sign of life every `heartbeat` while a request is open. If two are
  missing though the connection answers, the requests are lost and written anew. So it ends with a request
  beyond the consumer's `max_waiting`, too: nats-server 2.15 drops one that asks for heartbeats
  without a word.

A repeated request may come beside the one believed lost, so up to twice the demand may arrive in such a
moment; nothing arrives unbidden otherwise.
"""

import asyncio
import contextlib
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

import structlog

from bus.api import nanoseconds
from bus.client import Bus, Subscription
from bus.ending import end
from bus.errors import BusClosed, BusError
from bus.message import Message, Source
from bus.requests import Requests
from bus.wire import Headers

log = structlog.get_logger()

BATCH: Final = 512
IDLE: Final = 2
EXPIRES: Final = timedelta(seconds=30)
BURST_EXPIRES: Final = timedelta(seconds=2)
HEARTBEAT: Final = timedelta(seconds=5)
MISSED_HEARTBEATS: Final = 2.2
PAUSE_SECONDS: Final = 0.05
PAUSE_DOUBLINGS: Final = 5  # 0.05 s, 0.1 s, ... 1.6 s

TIMED_OUT: Final = "408"
HEARTBEAT_STATUS: Final = "100"
NO_RESPONDERS: Final = "503"
CONSUMER_DELETED: Final = "Consumer Deleted"
STATUS: Final = "Status"
DESCRIPTION: Final = "Description"
PENDING: Final = "Nats-Pending-Messages"


class Arrivals:
    """Messages that wait to be taken, in the order they came; of one pull, or shared by several."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._changed = asyncio.Event()
        self._error: BaseException | None = None

    def __len__(self) -> int:
        return len(self._messages)

    async def take(self, limit: int) -> list[Message]:
        """Wait for a message, and return all that are here, up to `limit`.

        Cancelling loses none. Raises what a pull has died of, and BusClosed once the connection has ended.
        """
        while not self._messages:
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
        return self.take_now(limit)

    def take_now(self, limit: int) -> list[Message]:
        """Return what is here, up to `limit`; perhaps nothing."""
        taken = [self._messages.popleft() for _ in range(min(limit, len(self._messages)))]
        for source, count in Counter(message.source for message in taken).items():
            source.released(count)
        return taken

    def put(self, message: Message) -> None:
        """Add a message; for pulls."""
        self._messages.append(message)
        self._changed.set()

    def withdraw(self, source: Source) -> list[Message]:
        """Remove and return the messages of a pull."""
        mine = [message for message in self._messages if message.source is source]
        self._messages = deque(m for m in self._messages if m.source is not source)
        return mine

    def fail(self, error: BaseException) -> None:
        """Let `take` raise once nothing is here any more."""
        self._error = error
        self._changed.set()


class Pull:
    """A running pull of one consumer. Use it as an async context manager; leaving it stops in order.

    Args:
        batch: Messages that may be on order or untaken.
        want: How many messages this pull may have on order or untaken *now*, for a demand that changes;
            asked again when messages arrive or are taken, and on `nudge`. It is called often: keep it cheap.
        arrivals: Where messages wait to be taken, if it is to be shared with other pulls.
        on_missing: Awaited when the consumer or its stream is missing, to provision it. A BusError is
            logged and the call repeated; any other exception ends the pull and comes out of `take`.
        heartbeat: How often the server tells that it has not forgotten us.
    """

    def __init__(
        self,
        bus: Bus,
        stream: str,
        consumer: str,
        *,
        batch: int = BATCH,
        want: Callable[[], int] | None = None,
        arrivals: Arrivals | None = None,
        on_missing: Callable[[], Awaitable[None]] | None = None,
        heartbeat: timedelta = HEARTBEAT,
    ) -> None:
        self.stream = stream
        self.consumer = consumer
        self.arrivals = Arrivals() if arrivals is None else arrivals
        self._owns_arrivals = arrivals is None
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._batch = batch
        self._want = want
        self._on_missing = on_missing
        self._heartbeat = heartbeat
        self._inbox = bus.new_inbox()
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._requests = Requests()
        self._held = 0
        self._window = batch if want is None else min(IDLE, batch)
        self._heard_at = self._loop.time()
        self._failures = 0
        self._trouble: str | None = None
        self._is_missing = False
        self._wake = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        # Messages are delivered to the inbox of their request but keep their own subject, statuses do not.
        self._subscription = await self._bus.listen(f"{self._inbox}.*", self._receive)
        self._bus.attach(self)
        self._wake.set()
        self._keeper = asyncio.create_task(self._keep(), name=f"pull {self.stream} {self.consumer}")
        self._keeper.add_done_callback(self._on_keeper_done)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def take(self, limit: int) -> list[Message]:
        """`Arrivals.take` of this pull's arrivals."""
        return await self.arrivals.take(limit)

    @property
    def outstanding(self) -> int:
        """Messages on order: the server may deliver that many at any moment."""
        return self._requests.owed

    @property
    def held(self) -> int:
        """Messages that arrived and were not taken yet."""
        return self._held

    def nudge(self) -> None:
        """The demand may have grown: ask `want` again soon. Cheap, and many calls are one."""
        self._wake.set()

    def released(self, messages: int) -> None:
        """Some of ours were taken; called by the arrivals."""
        self._held -= messages
        self._wake.set()

    async def stop(self) -> None:
        """Order no more, wait for what is on its way, and hand back what nobody took, for others to have at once.

        Handed back messages count as delivered once more. A second call does nothing.
        """
        if self._keeper is None:
            return
        assert self._subscription is not None
        keeper, self._keeper = self._keeper, None
        await end(keeper)
        self._bus.detach(self)
        await self._subscription.drain()
        await self._hand_back()
        if self._owns_arrivals:
            self.arrivals.fail(BusClosed(f"the pull of {self.consumer} was stopped"))

    async def _hand_back(self) -> None:
        messages = self.arrivals.withdraw(self)
        self._held = 0
        if self._bus.is_closed:
            return
        for message in messages:
            await message.nak()

    def disconnected(self) -> None:
        """Told by the bus: the server drops requests of a connection that is gone."""
        self._requests.forget()

    def reconnected(self) -> None:
        """Told by the bus."""
        self._heard_at = self._loop.time()
        self._wake.set()

    def _receive(self, subject: str, reply: str, data: bytes, headers: Headers | None) -> None:
        """Book a message or a status. Only messages have a reply subject."""
        self._heard_at = self._loop.time()
        if not reply:
            self._read_status(subject, headers or {})
            return
        self._failures = 0
        self._requests.delivered()
        self._held += 1
        self.arrivals.put(Message(self._bus, self, subject, reply, data, headers))
        if not self._requests.owed:
            self._widen()
        if self._requests.owed * 2 <= self._window:
            self._wake.set()

    def _widen(self) -> None:
        """All that was asked for came, so there may be more."""
        self._window = min(self._window * 2, self._batch)

    def _read_status(self, subject: str, headers: Headers) -> None:
        number = int(subject.rpartition(".")[2])
        status = headers.get(STATUS, "")
        description = headers.get(DESCRIPTION, "")
        if status == HEARTBEAT_STATUS:
            self._failures = 0
        elif status == TIMED_OUT:
            self._failures = 0
            self._expired(number, headers)
        elif status == NO_RESPONDERS or description == CONSUMER_DELETED:
            self._requests.ended(number)
            self._is_missing = True
        else:
            self._requests.ended(number, left=_left(headers))
            self._trouble = f"{status} {description}"
        if status != HEARTBEAT_STATUS:
            self._wake.set()

    def _expired(self, number: int, headers: Headers) -> None:
        self._requests.ended(number, left=_left(headers))
        if self._want is not None:
            self._window = min(IDLE, self._batch)

    async def _keep(self) -> None:
        """Keep requests open, as long as the pull runs."""
        while True:
            await self._woken()
            self._requests.lapse(self._loop.time())
            if self._bus.is_closed:
                raise BusClosed("no more messages can come")
            if not self._bus.is_connected:
                continue
            if self._is_missing:
                await self._restore()
            elif self._trouble is not None:
                await self._recover(self._trouble)
            elif self._is_silent():
                await self._find_lost_requests()
            await self._order()

    async def _woken(self) -> None:
        """Wait for a reason to look, and look every heartbeat without one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._heartbeat.total_seconds()):
                await self._wake.wait()
        self._wake.clear()

    async def _order(self) -> None:
        """Write one request for all that is missing, once that is half of what may be covered."""
        allowed = self._window if self._want is None else min(self._window, self._want())
        missing = allowed - self._requests.owed - self._held
        if missing <= 0 or missing * 2 < allowed or not self._bus.is_connected:
            return
        is_idle = self._want is None or missing <= IDLE
        expires = EXPIRES if is_idle else BURST_EXPIRES
        heartbeat = min(self._heartbeat, expires / 2)
        now = self._loop.time()
        if not self._requests.owed:
            self._heard_at = now
        lapse = expires.total_seconds() + MISSED_HEARTBEATS * self._heartbeat.total_seconds()
        number = self._requests.opened(missing, lapses_at=now + lapse)
        body = b'{"batch":%d,"expires":%d,"idle_heartbeat":%d}' % (
            missing,
            nanoseconds(expires),
            nanoseconds(heartbeat),
        )
        await self._bus.publish(self._subject, body, reply=f"{self._inbox}.{number}")

    def _is_silent(self) -> bool:
        patience = MISSED_HEARTBEATS * self._heartbeat.total_seconds()
        return self._requests.owed > 0 and self._loop.time() - self._heard_at > patience

    async def _find_lost_requests(self) -> None:
        """Order anew if the server was silent; if it was our event loop that stood still, we hear it now."""
        try:
            await self._bus.flush(within=self._heartbeat)
        except BusError:
            return  # the connection is as good as gone, and the reconnect orders anew
        if self._is_silent():
            log.warning("pull_requests_lost", stream=self.stream, consumer=self.consumer)
            self._requests.forget()

    async def _restore(self) -> None:
        """Have the consumer provisioned. The first time the next request follows at once."""
        self._is_missing = False
        self._requests.forget()
        if self._failures == 0:
            log.warning("consumer_missing", stream=self.stream, consumer=self.consumer)
        if self._failures > 0 or self._on_missing is None:
            await self._pause()
        self._failures += 1
        if self._on_missing is not None:
            try:
                await self._on_missing()
            except BusError as error:
                log.warning("provisioning_failed", consumer=self.consumer, error=str(error))
                self._is_missing = True
                self._wake.set()

    async def _recover(self, trouble: str) -> None:
        log.warning("pull_refused", stream=self.stream, consumer=self.consumer, status=trouble)
        self._trouble = None
        await self._pause()
        self._failures += 1

    async def _pause(self) -> None:
        """Wait a little longer after each failure in a row, at random so that a fleet does not march in step."""
        ceiling = PAUSE_SECONDS * 2 ** min(self._failures, PAUSE_DOUBLINGS)
        await asyncio.sleep(random.uniform(ceiling / 2, ceiling))  # noqa: S311  # guards nothing

    def _on_keeper_done(self, keeper: asyncio.Task[None]) -> None:
        if keeper.cancelled():
            return
        error = keeper.exception()
        assert error is not None, "the keeper runs until it is cancelled"
        log.error("pull_died", stream=self.stream, consumer=self.consumer, error=repr(error))
        self.arrivals.fail(error)


def _left(headers: Headers) -> int | None:
    """How much of a request was unfilled when it ended, if the status tells."""
    text = headers.get(PENDING)
    return int(text) if text is not None else None
