"""Traces: spans of requests and attempts, exported over OTLP/HTTP where somebody collects them.

The trace context of an execution is that of the request that started it (`traceparent`, W3C), and travels in history, tasks and the calls
of handlers. So the span of every attempt is a child of that request's span, and one trace spans the whole execution. Without an endpoint
there is no tracer, and nothing is even imported.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

HEADER: Final = "traceparent"
CLOSE_SECONDS: Final = 3.0

Attributes = Mapping[str, str | int]

_propagator: Final = TraceContextTextMapPropagator()


class KnownIds(RandomIdGenerator):
    """Gives a span the ids that it was known by before it was made."""

    def __init__(self) -> None:
        self._next: SpanContext | None = None

    @contextmanager
    def next_is(self, context: SpanContext) -> Iterator[None]:
        """Within, spans get these ids; nothing may be awaited there."""
        self._next = context
        try:
            yield
        finally:
            self._next = None

    def generate_span_id(self) -> int:
        """The known id, else chance."""
        return super().generate_span_id() if self._next is None else self._next.span_id

    def generate_trace_id(self) -> int:
        """The known id, else chance."""
        return super().generate_trace_id() if self._next is None else self._next.trace_id


class SpanTracer:
    """Makes the spans of one process; `close` sends those that wait."""

    def __init__(self, provider: TracerProvider, ids: KnownIds) -> None:
        self._provider = provider
        self._ids = ids
        self._tracer = provider.get_tracer("flotilla")

    @contextmanager
    def attempt(
        self, traceparent: str | None, name: str, attributes: Attributes
    ) -> Iterator[str | None]:
        """Span one attempt below `traceparent`; gives the trace context that its calls carry on."""
        with self._tracer.start_as_current_span(
            name, _context_of(traceparent), kind=SpanKind.CONSUMER, attributes=attributes
        ) as span:
            yield _traceparent_of(span)

    def request(
        self,
        traceparent: str,
        parent: str | None,
        name: str,
        attributes: Attributes,
        *,
        started_ns: int,
        is_error: bool,
    ) -> None:
        """Record a request that is over, as the span that `traceparent` names."""
        own = trace.get_current_span(_context_of(traceparent)).get_span_context()
        above = _context_of(parent)
        if trace.get_current_span(above).get_span_context().trace_id != own.trace_id:
            above = _context_of(None)
        with self._ids.next_is(own):
            span = self._tracer.start_span(
                name, above, kind=SpanKind.SERVER, attributes=attributes, start_time=started_ns
            )
        if is_error:
            span.set_status(StatusCode.ERROR)
        span.end()

    def close(self) -> None:
        """Send what waits to be sent, for three seconds at most: spans are worth no longer wait."""
        # OpenTelemetry itself would retry for half a minute.
        closing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def tracer(endpoint: str, *, service: str, version: str) -> SpanTracer:
    """A tracer that exports to an OTLP/HTTP endpoint; headers, sampling and more are OpenTelemetry's own variables."""
    resource = Resource.create({"service.name": service, "service.version": version})
    ids = KnownIds()
    provider = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return SpanTracer(provider, ids)


def _context_of(traceparent: str | None) -> Context:
    """The context that a header names; an empty one, so never the current span's, without it."""
    return _propagator.extract({} if traceparent is None else {HEADER: traceparent}, Context())


def _traceparent_of(span: trace.Span) -> str | None:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span))
    return carrier.get(HEADER)
