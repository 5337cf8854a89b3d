"""The connection of a process to NATS: it reconnects for ever, and what it loses meanwhile is said here.

Core messages (`publish`, `subscribe`) are at most once. While the connection is away, up to 2 MiB of them
are kept and written after the reconnect; what goes beyond is dropped and counted in `Bus.dropped`. So
`publish` never raises for want of a connection. JetStream publishes go through `bus.publisher`, which
knows what became of each.

The connection ends for good only by `close`, or when the server throws us out in a way that nats-py does
not recover from. `lost` waits for the latter and raises: a process keeps it in its TaskGroup.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Final, Protocol, Self
from urllib.parse import urlsplit

import structlog
from nats import errors as nats_errors
from nats.aio.client import Server
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription

from bus.errors import (
    BusClosed,
    BusError,
    BusUnavailable,
    InvalidSubject,
    NoResponders,
    PayloadTooLarge,
)
from bus.wire import (
    PENDING_BYTES,
    Headers,
    OrderedClient,
    Receive,
    Sendable,
    Wire,
    line,
)
from contracts.subjects import TRACEPARENT_HEADER

log = structlog.get_logger()

CONNECT_PATIENCE: Final = timedelta(seconds=10)
REQUEST_TIMEOUT: Final = timedelta(seconds=5)
FLUSH_SECONDS: Final = 5
DRAIN_SECONDS: Final = 5
PING_SECONDS: Final = 10
RECONNECT_SECONDS: Final = 0.05
RECONNECT_DOUBLINGS: Final = 5  # 0.05 s, 0.1 s, ... 1.6 s


class Listener(Protocol):
    """Who wants to know when the connection goes and comes. Both are called in the event loop, and return at once."""

    def disconnected(self) -> None:
        """The connection is gone: what the server knew of our subscriptions and requests is forgotten."""

    def reconnected(self) -> None:
        """The connection is back, subscriptions included."""


class CoreMessage:
    """A core NATS message: delivered once or never, and not acknowledged."""

    __slots__ = ("_bus", "data", "headers", "reply", "subject")

    def __init__(self, bus: "Bus", msg: Msg) -> None:
        self._bus = bus
        self.subject = msg.subject
        self.reply = msg.reply
        self.data = msg.data
        self.headers: Headers = msg.headers or {}

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context that came along."""
        return self.headers.get(TRACEPARENT_HEADER)

    async def respond(self, data: bytes, headers: Headers | None = None) -> None:
        """Answer a request; does nothing if no answer is wanted. Raises like `Bus.publish`."""
        if self.reply:
            await self._bus.publish(self.reply, data, headers)


class Subscription:
    """Interest in a subject, until `unsubscribe` or the end of the connection."""

    def __init__(self, bus: "Bus", subscription: NatsSubscription) -> None:
        self._bus = bus
        self._subscription = subscription

    async def unsubscribe(self) -> None:
        """Lose interest at once; messages that wait for the callback are dropped."""
        self._bus.ignore(self._subscription)
        try:
            await self._subscription.unsubscribe()
        except nats_errors.Error as error:
            log.debug("already_unsubscribed", subject=self._subscription.subject, error=str(error))

    async def drain(self) -> None:
        """Lose interest, and return after the callback has seen all that the server had sent until then."""
        if not self._bus.is_connected:
            await self.unsubscribe()
            return
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._subscription.drain()  # type: ignore[no-untyped-call]
        except (nats_errors.Error, OSError, TimeoutError) as error:
            log.warning(
                "drain_failed", subject=self._subscription.subject, error=str(error) or repr(error)
            )
        self._bus.ignore(self._subscription)


class Bus:
    """A connection to NATS. Use it as an async context manager, or `close` it.

    `connected_event` is set while there is a connection. The counters only grow: `dropped` core messages,
    `permission_violations`, `reconnects`.
    """

    def __init__(self) -> None:
        self.connected_event = asyncio.Event()
        self.dropped = 0
        self.permission_violations = 0
        self.reconnects = 0
        self._client = OrderedClient()
        self._wire = Wire(self._client)
        self._listeners: list[Listener] = []
        self._last_error = "no server answered"
        self._was_refused = False
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        name: str,
        credentials: str | None = None,
        inbox_prefix: str | None = None,
        patience: timedelta = CONNECT_PATIENCE,
    ) -> Self:
        """Connect to the first server that answers, trying for as long as `patience`. Raises BusUnavailable.

        Args:
            url: One or more, separated by commas; user and password may stand in it.
            name: Shown by the server for this connection.
            credentials: Path of a credentials file.
            inbox_prefix: Where answers come in, if permissions tell apart whose; without wildcards.
        """
        bus = cls()
        servers = [part.strip() for part in url.split(",")]
        try:
            async with asyncio.timeout(patience.total_seconds()):
                await bus._open(
                    servers, name=name, credentials=credentials, inbox_prefix=inbox_prefix
                )
        except TimeoutError as error:
            await bus._client.close()
            where = ", ".join(urlsplit(server).netloc.rpartition("@")[2] for server in servers)
            raise BusUnavailable(f"cannot connect to {where}: {bus._last_error}") from error
        bus.connected_event.set()
        return bus

    async def _open(
        self, servers: list[str], *, name: str, credentials: str | None, inbox_prefix: str | None
    ) -> None:
        await self._client.connect(
            servers,
            name=name,
            user_credentials=credentials,
            inbox_prefix=inbox_prefix or "_INBOX",
            # -1: the default gives up after two minutes, for good.
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,  # between first tries only; afterwards the handler decides
            reconnect_to_server_handler=_next_server,
            ping_interval=PING_SECONDS,
            flush_timeout=FLUSH_SECONDS,
            drain_timeout=DRAIN_SECONDS,
            pending_size=PENDING_BYTES,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnect,
            reconnected_cb=self._on_reconnect,
            closed_cb=self._on_close,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as known: a dead peer is noticed after 30 s at the latest."""
        return self._client.is_connected

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended for good."""
        return self._client.is_closed

    @property
    def max_payload(self) -> int:
        """Bytes of the largest message that the server takes."""
        return self._client.max_payload

    def new_inbox(self) -> str:
        """Return a subject of our own, for answers."""
        return self._client.new_inbox()

    async def publish(
        self, subject: str, data: bytes, headers: Headers | None = None, *, reply: str = ""
    ) -> None:
        """Send a core message, at most once. Raises PayloadTooLarge, InvalidSubject and BusClosed."""
        only = line(subject, data, headers, reply=reply, limit=self._client.max_payload)
        self._check_open()
        self.dropped += await self._wire.write((only,))

    async def publish_all(self, messages: Iterable[Sendable]) -> dict[int, BusError]:
        """`publish` many in one go: several times as cheap. Raises BusClosed alone, and has sent none then.

        What cannot be sent is left out, and returned by its position: PayloadTooLarge or InvalidSubject.
        """
        lines: list[bytes] = []
        refused: dict[int, BusError] = {}
        limit = self.max_payload
        for position, (subject, data, headers, reply) in enumerate(messages):
            try:
                lines.append(line(subject, data, headers, reply=reply, limit=limit))
            except (PayloadTooLarge, InvalidSubject) as error:
                refused[position] = error
        self._check_open()
        self.dropped += await self._wire.write(lines)
        return refused

    def _check_open(self) -> None:
        if self._client.is_closed or self._client.is_draining_pubs:
            raise BusClosed(self._reason())

    async def request(
        self,
        subject: str,
        data: bytes,
        headers: Headers | None = None,
        *,
        within: timedelta = REQUEST_TIMEOUT,
    ) -> CoreMessage:
        """Send a core message and return the first answer, waiting for a connection if there is none.

        Raises NoResponders, BusUnavailable after `within`, PayloadTooLarge, InvalidSubject and BusClosed.
        """
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self.connected_event.wait()
                answer = await self._client.request(
                    subject, data, within.total_seconds(), headers=headers
                )
        except TimeoutError as error:
            reason = f"no answer on {subject} within {within.total_seconds():g} s"
            raise BusUnavailable(reason) from error
        except nats_errors.NoRespondersError as error:
            raise NoResponders(subject) from error
        except nats_errors.OutboundBufferLimitError as error:
            raise BusUnavailable("the connection broke") from error
        except nats_errors.MaxPayloadError as error:
            raise PayloadTooLarge(subject, size=len(data), limit=self.max_payload) from error
        except (nats_errors.BadSubjectError, nats_errors.BadHeaderError) as error:
            raise InvalidSubject(subject) from error
        except (nats_errors.ConnectionClosedError, nats_errors.ConnectionDrainingError) as error:
            raise BusClosed(self._reason()) from error
        return CoreMessage(self, answer)

    async def subscribe(
        self, subject: str, callback: Callable[[CoreMessage], Awaitable[None]], *, queue: str = ""
    ) -> Subscription:
        """Call back for every message on a subject, one at a time; members of one `queue` share them.

        Work that takes time belongs into a task of the caller's. What the callback raises is logged, and
        the next message follows.
        """

        async def receive(msg: Msg) -> None:
            try:
                await callback(CoreMessage(self, msg))
            except Exception:
                log.exception("subscriber_failed", subject=msg.subject)

        with self._subscribing(subject):
            # Without limit in bytes; in messages nats-py has one.
            subscription = await self._client.subscribe(
                subject, queue, cb=receive, pending_bytes_limit=0
            )
        return Subscription(self, subscription)

    async def listen(self, subject: str, receive: Receive, *, queue: str = "") -> Subscription:
        """`subscribe` for the modules of `bus`: called as soon as a message is read, and returns at once.

        What it raises is logged, and the next message follows.
        """
        with self._subscribing(subject):
            subscription = await self._wire.listen(subject, queue, receive)
        return Subscription(self, subscription)

    def ignore(self, subscription: NatsSubscription) -> None:
        """Call nobody for it any more; told by the subscription."""
        self._wire.ignore(subscription)

    @contextlib.contextmanager
    def _subscribing(self, subject: str) -> Iterator[None]:
        try:
            yield
        except nats_errors.BadSubjectError as error:
            raise InvalidSubject(subject) from error
        except (nats_errors.ConnectionClosedError, nats_errors.ConnectionDrainingError) as error:
            raise BusClosed(self._reason()) from error

    async def flush(self, *, within: timedelta = REQUEST_TIMEOUT) -> None:
        """Return when the server has read all that was sent, and we what it had sent. Raises BusUnavailable."""
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self.connected_event.wait()
                await self._client.flush(FLUSH_SECONDS)
        except (TimeoutError, OSError) as error:
            raise BusUnavailable("the server does not answer") from error
        except nats_errors.Error as error:
            raise BusClosed(self._reason()) from error

    def attach(self, listener: Listener) -> None:
        """Tell a listener about every disconnect and reconnect from now on."""
        self._listeners.append(listener)

    def detach(self, listener: Listener) -> None:
        """Tell it no more; a second time does nothing."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    async def lost(self) -> None:
        """Wait until the connection has ended for good: returns after `close`, else raises BusClosed."""
        reason = await asyncio.shield(self._end)
        if reason:
            raise BusClosed(reason)

    async def close(self) -> None:
        """Let callbacks finish with what has arrived, send what was published, and disconnect; at most 10 s."""
        if not self._end.done():
            self._end.set_result("")
        try:
            async with asyncio.timeout(DRAIN_SECONDS * 2):
                if self._client.is_connected:
                    await self._client.drain()
        except (nats_errors.Error, OSError, TimeoutError) as error:
            log.warning("drain_failed", error=str(error) or repr(error))
        await self._client.close()
        self.connected_event.clear()

    def _reason(self) -> str:
        return (self._end.done() and self._end.result()) or "by this process"

    async def _on_error(self, error: Exception) -> None:
        """Called by nats-py for whatever has no caller; permission violations show nowhere else."""
        text = str(error) or repr(error)
        if not isinstance(error, OSError) or not self._was_refused:
            self._last_error = text  # a refusal says more than the broken pipe that follows it
            self._was_refused = not isinstance(error, OSError)
        if "permissions violation" in text.lower():
            self.permission_violations += 1
            log.error("permission_denied", error=text)
        elif isinstance(error, nats_errors.SlowConsumerError):
            self.dropped += 1
            log.error("message_dropped", subject=error.subject)
        elif self._client.is_connected:
            log.warning("bus_error", error=text)
        else:
            log.debug("bus_error", error=text)  # once per try to reconnect

    async def _on_disconnect(self) -> None:
        self.connected_event.clear()
        if not self._end.done():
            log.warning("bus_disconnected", error=self._last_error)
        for listener in list(self._listeners):
            listener.disconnected()

    async def _on_reconnect(self) -> None:
        self.reconnects += 1
        self._was_refused = False
        self.connected_event.set()
        log.info("bus_reconnected", reconnects=self.reconnects)
        for listener in list(self._listeners):
            listener.reconnected()

    async def _on_close(self) -> None:
        self.connected_event.clear()
        if not self._end.done():
            log.error("bus_closed", error=self._last_error)
            self._end.set_result(str(self._client.last_error or self._last_error))


def _next_server(servers: list[Server], _info: object) -> tuple[Server, float]:
    """Choose whom to try to reconnect to, and after how many seconds: a little later each time, at random."""
    server = min(servers, key=lambda candidate: candidate.reconnects)
    ceiling = RECONNECT_SECONDS * 2 ** min(server.reconnects, RECONNECT_DOUBLINGS)
    return server, random.uniform(ceiling / 2, ceiling)  # noqa: S311  # spreads load, guards nothing
