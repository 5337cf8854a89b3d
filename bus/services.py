"""NATS micro services (ADR-32): what `nats micro ls` shows, and endpoints that answer requests.

An endpoint handles up to `CONCURRENCY` requests at a time; members of one service share them. A refusal
goes back in the headers `Nats-Service-Error` and `Nats-Service-Error-Code`.

This is not nats.micro of nats-py, because that one handles the requests of an endpoint one after another
and drops on stop those that had arrived.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, NamedTuple, Self

import msgspec
import structlog

from bus.client import Bus, CoreMessage, Subscription
from bus.errors import BusError
from bus.wire import Headers

log = structlog.get_logger()

CONCURRENCY: Final = 64
INTERNAL_ERROR: Final = "500"
QUEUE_GROUP: Final = "q"  # what ADR-32 prescribes
NAME: Final = re.compile(r"[A-Za-z0-9_-]+")


class Call(NamedTuple):
    """A request to an endpoint."""

    subject: str
    data: bytes
    headers: Headers


class CallRefused(Exception):
    """Raised by a handler to refuse a call: `code` and `description` go into headers, `data` is the body."""

    def __init__(self, code: str, description: str, data: bytes = b"") -> None:
        self.code = code
        self.description = description
        self.data = data
        super().__init__(f"{code} {description}")


class Endpoint(NamedTuple):
    """A subject and who answers on it. What the handler returns is the body of the answer."""

    name: str
    subject: str
    handler: Callable[[Call], Awaitable[bytes]]


class Service:
    """A registered micro service. Use it as an async context manager, from within the task that serves.

    Args:
        name: Shared by all members of a fleet; letters, digits, `-` and `_`.
        version: Semantic, such as `1.2.0`.
        metadata: Shown by `nats micro info`, to whoever may ask: no secrets.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        name: str,
        version: str,
        description: str,
        metadata: dict[str, str] | None = None,
        endpoints: Sequence[Endpoint] = (),
    ) -> None:
        assert NAME.fullmatch(name), name
        self.id = bus.new_inbox().rpartition(".")[2]
        self._bus = bus
        self._name = name
        self._version = version
        self._description = description
        self._metadata = metadata or {}
        self._desks = [_Desk(endpoint) for endpoint in endpoints]
        self._started_at = datetime.now(UTC)
        self._tasks = asyncio.TaskGroup()
        self._subscriptions: list[Subscription] = []

    async def __aenter__(self) -> Self:
        """Register; the server knows it when this returns. Raises InvalidSubject, BusUnavailable and BusClosed."""
        await self._tasks.__aenter__()
        for desk in self._desks:
            await self._subscribe(desk.endpoint.subject, self._acceptor(desk), queue=QUEUE_GROUP)
        for verb, answer in (("PING", self._ping), ("INFO", self._info), ("STATS", self._stats)):
            for subject in (verb, f"{verb}.{self._name}", f"{verb}.{self._name}.{self.id}"):
                await self._subscribe(f"$SRV.{subject}", _responder(answer))
        await self._bus.flush()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take no new calls, and wait for those that have arrived."""
        await asyncio.gather(*(each.drain() for each in self._subscriptions))
        await self._tasks.__aexit__(exc_type, exc, traceback)

    async def _subscribe(
        self, subject: str, callback: Callable[[CoreMessage], Awaitable[None]], *, queue: str = ""
    ) -> None:
        self._subscriptions.append(await self._bus.subscribe(subject, callback, queue=queue))

    def _acceptor(self, desk: "_Desk") -> Callable[[CoreMessage], Awaitable[None]]:
        room = asyncio.Semaphore(CONCURRENCY)

        async def accept(message: CoreMessage) -> None:
            await room.acquire()
            task = self._tasks.create_task(desk.handle(message), name=desk.endpoint.subject)
            task.add_done_callback(lambda _: room.release())

        return accept

    def _ping(self) -> "_Ping":
        return _Ping(
            type="io.nats.micro.v1.ping_response",
            name=self._name,
            id=self.id,
            version=self._version,
            metadata=self._metadata,
        )

    def _info(self) -> "_Info":
        return _Info(
            type="io.nats.micro.v1.info_response",
            name=self._name,
            id=self.id,
            version=self._version,
            metadata=self._metadata,
            description=self._description,
            endpoints=[
                _EndpointInfo(name=desk.endpoint.name, subject=desk.endpoint.subject)
                for desk in self._desks
            ],
        )

    def _stats(self) -> "_Stats":
        return _Stats(
            type="io.nats.micro.v1.stats_response",
            name=self._name,
            id=self.id,
            version=self._version,
            metadata=self._metadata,
            started=self._started_at,
            endpoints=[desk.stats() for desk in self._desks],
        )


class _Desk:
    """An endpoint at work, and what it has done so far."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._requests = 0
        self._errors = 0
        self._last_error = ""
        self._nanoseconds = 0

    async def handle(self, message: CoreMessage) -> None:
        """Answer a call, whatever happens; a lost answer is asked for again under the same idempotency key."""
        started = time.perf_counter_ns()
        self._requests += 1
        try:
            await message.respond(*await self._answer(message))
        except BusError as error:
            log.warning("call_unanswered", endpoint=self.endpoint.name, error=str(error))
        self._nanoseconds += time.perf_counter_ns() - started

    async def _answer(self, message: CoreMessage) -> tuple[bytes, Headers | None]:
        try:
            call = Call(message.subject, message.data, message.headers)
            return await self.endpoint.handler(call), None
        except CallRefused as refusal:
            return refusal.data, self._error_headers(refusal.code, refusal.description)
        except Exception:
            log.exception("call_failed", endpoint=self.endpoint.name)
            return b"", self._error_headers(INTERNAL_ERROR, "internal error")

    def _error_headers(self, code: str, description: str) -> Headers:
        self._errors += 1
        self._last_error = f"{code}: {description}"
        return {"Nats-Service-Error-Code": code, "Nats-Service-Error": description}

    def stats(self) -> "_EndpointStats":
        """Return the figures since the start, times in nanoseconds."""
        return _EndpointStats(
            name=self.endpoint.name,
            subject=self.endpoint.subject,
            num_requests=self._requests,
            num_errors=self._errors,
            last_error=self._last_error,
            processing_time=self._nanoseconds,
            average_processing_time=self._nanoseconds // max(1, self._requests),
        )


def _responder(answer: Callable[[], msgspec.Struct]) -> Callable[[CoreMessage], Awaitable[None]]:
    async def respond(message: CoreMessage) -> None:
        await message.respond(msgspec.json.encode(answer()))

    return respond


class _Ping(msgspec.Struct, kw_only=True):
    type: str
    name: str
    id: str
    version: str
    metadata: dict[str, str]


class _EndpointInfo(msgspec.Struct, kw_only=True):
    name: str
    subject: str
    queue_group: str = QUEUE_GROUP
    metadata: dict[str, str] = {}


class _Info(_Ping, kw_only=True):
    description: str
    endpoints: list[_EndpointInfo]


class _EndpointStats(msgspec.Struct, kw_only=True):
    name: str
    subject: str
    queue_group: str = QUEUE_GROUP
    num_requests: int
    num_errors: int
    last_error: str
    processing_time: int
    average_processing_time: int


class _Stats(_Ping, kw_only=True):
    started: datetime
    endpoints: list[_EndpointStats]
