"""Spans as a collector of OTLP over HTTP receives them."""

import gzip
from collections.abc import Iterator
from typing import Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.support.http_stub import HttpStub, Request


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One span; ids in hexadecimal digits, `parent` empty at the root."""

    name: str
    service: str
    trace: str
    id: str
    parent: str
    is_error: bool
    nanoseconds: int
    attributes: dict[str, Any]


def spans_of(collector: HttpStub) -> list[Span]:
    """All spans that arrived."""
    return [
        span for request in collector.asked("POST", "/v1/traces") for span in _spans_in(request)
    ]


def _spans_in(request: Request) -> Iterator[Span]:
    is_packed = request.headers.get("content-encoding") == "gzip"
    body = gzip.decompress(request.body) if is_packed else request.body
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _attributes(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    name=span.name,
                    service=service,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    is_error=span.status.code == Status.STATUS_CODE_ERROR,
                    nanoseconds=span.end_time_unix_nano - span.start_time_unix_nano,
                    attributes=_attributes(span.attributes),
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in pairs}
