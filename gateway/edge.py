"""The edge: the one layer around everything else.

It gives a request its trace and its identity, counts and logs it, and turns whatever is raised inside
into a problem, so that no exit can answer otherwise.
"""

import time
from typing import Any, Final

import msgspec
import structlog
from starlette.exceptions import HTTPException

from bus.errors import BusClosed, BusUnavailable, PublishFailed
from db.errors import InvalidValue, NotFound, StoreUnavailable
from gateway.answers import AsgiScope, Message, Receive, Send
from gateway.auth import NOBODY, Guard, Identity
from gateway.bodies import ClientLeft
from gateway.metrics import Metrics
from gateway.problems import (
    ErrorEntry,
    Refused,
    body_of,
    headers_of,
    invalid_request,
    not_found,
    unavailable,
)
from gateway.traces import Trace, read_trace

log = structlog.get_logger("gateway")

EXCHANGE: Final = "flotilla.exchange"
"""Where an exchange stands in the ASGI scope."""

CLIENT_LEFT: Final = 499
"""What is logged for a request whose client did not wait for the answer."""

NO_ROUTE: Final = "none"

QUIET_ROUTES: Final = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})
"""Asked every few seconds by whoever watches over the process."""

_ONCE: Final = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"idempotency-key",
        b"if-match",
        b"last-event-id",
        b"traceparent",
        b"webhook-id",
        b"webhook-signature",
        b"webhook-timestamp",
    }
)


class Exchange(msgspec.Struct, kw_only=True):
    """A request under way, as it becomes known: shared by the edge and the resource it reaches."""

    trace: Trace
    headers: dict[bytes, bytes]
    identity: Identity = NOBODY
    route: str = NO_ROUTE
    status: int = 0
    facts: dict[str, str] = {}


class Edge:
    """The outermost ASGI layer."""

    def __init__(self, app: Any, *, guard: Guard, metrics: Metrics) -> None:
        self._app = app
        self._guard = guard
        self._metrics = metrics

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            await _refuse_websocket(receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        exchange = Exchange(trace=read_trace(headers.get(b"traceparent")), headers=headers)
        scope[EXCHANGE] = exchange
        traceparent = (b"traceparent", exchange.trace.traceparent.encode())

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"].append(traceparent)
            await send(message)

        try:
            await self._served(scope, receive, sending, exchange)
        finally:
            self._finished(scope["method"], exchange, time.perf_counter() - started)

    async def _served(
        self, scope: AsgiScope, receive: Receive, send: Send, exchange: Exchange
    ) -> None:
        try:
            _check_headers(scope["headers"], exchange.headers)
            authorization = exchange.headers.get(b"authorization")
            exchange.identity = self._guard.identify(scope["path"], authorization)
            await self._app(scope, receive, send)
        except ClientLeft:
            exchange.status = CLIENT_LEFT
        except Exception as error:
            refused = refusal_of(error)
            if exchange.status:  # the answer has begun, so breaking off is all that is left
                log.exception("answer_broken_off", trace_id=exchange.trace.trace_id)
                raise
            if refused.code == "internal":
                log.exception("request_failed", trace_id=exchange.trace.trace_id)
            await _send_refusal(refused, exchange, send)

    def _finished(self, method: str, exchange: Exchange, seconds: float) -> None:
        self._metrics.request(method, exchange.route, exchange.status, seconds)
        # Probes come every few seconds and say nothing unless they fail.
        say = log.debug if exchange.route in QUIET_ROUTES and exchange.status < 500 else log.info
        say(
            "request_finished",
            method=method,
            route=exchange.route,
            status=exchange.status,
            seconds=round(seconds, 6),
            trace_id=exchange.trace.trace_id,
            **exchange.facts,
        )


def refusal_of(error: Exception) -> Refused:
    """Return what a client is told about something that was raised."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, StoreUnavailable):
        return unavailable("PostgreSQL")
    if isinstance(error, BusUnavailable | BusClosed | PublishFailed):
        return unavailable("NATS")
    if isinstance(error, NotFound):
        return not_found()
    if isinstance(error, InvalidValue):
        return invalid_request(
            ErrorEntry("", "invalid_value", "A value is outside of what can be stored.")
        )
    if isinstance(error, HTTPException) and error.status_code == 404:
        return not_found()
    return Refused("internal", "Repeat the request; if it fails again, report the trace id.")


def _check_headers(pairs: list[tuple[bytes, bytes]], headers: dict[bytes, bytes]) -> None:
    """Refuse a header that decides something and stands twice: which one counts would be a guess."""
    if len(pairs) == len(headers):
        return
    seen: set[bytes] = set()
    for name, _ in pairs:
        if name in seen and name in _ONCE:
            raise Refused("malformed_request", f"The header {name.decode()} stands twice.")
        seen.add(name)


async def _send_refusal(refused: Refused, exchange: Exchange, send: Send) -> None:
    body = body_of(refused, exchange.trace.trace_id)
    headers = [*headers_of(refused), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _refuse_websocket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 1000})
