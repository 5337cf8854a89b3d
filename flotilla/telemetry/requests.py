"""Spans of requests, put around the gateway from outside.

The gateway gives every request a span of its own, whether or not anybody collects spans, and what starts from the request names it as its
parent. So it is recorded here under the very ids that the gateway has chosen.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from flotilla.telemetry.traces import SpanTracer
from gateway.answers import AsgiScope, Receive, Send
from gateway.edge import EXCHANGE, Exchange

App = Callable[[AsgiScope, Receive, Send], Awaitable[None]]

UNTRACED: Final = ("/health", "/health/live", "/health/ready", "/metrics")


def traced(app: Any, tracer: SpanTracer) -> App:
    """The application, with a span for every request but those of probes."""

    async def serve(scope: AsgiScope, receive: Receive, send: Send) -> None:
        started_ns = time.time_ns()
        try:
            await app(scope, receive, send)
        finally:
            exchange: Exchange | None = scope.get(EXCHANGE)
            if exchange is not None and exchange.route not in UNTRACED:
                _record(tracer, scope["method"], exchange, started_ns)

    return serve


def _record(tracer: SpanTracer, method: str, exchange: Exchange, started_ns: int) -> None:
    sent = exchange.headers.get(b"traceparent")
    tracer.request(
        exchange.trace.traceparent,
        None if sent is None else sent.decode("latin-1"),
        f"{method} {exchange.route}",
        {
            "http.request.method": method,
            "http.route": exchange.route,
            "http.response.status_code": exchange.status,
            **{f"flotilla.{name}": value for name, value in exchange.facts.items()},
        },
        started_ns=started_ns,
        is_error=exchange.status >= 500,
    )
