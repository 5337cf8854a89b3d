"""Trace context: a request joins a trace or begins one."""

import pytest

from gateway.traces import read_trace

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_a_request_joins_the_trace_with_a_span_of_its_own() -> None:
    trace = read_trace(f"00-{TRACE}-b7ad6b7169203331-00".encode())

    assert trace.trace_id == TRACE
    assert trace.span_id != "b7ad6b7169203331"
    assert trace.traceparent == f"00-{TRACE}-{trace.span_id}-00"


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="none"),
        pytest.param(b"", id="empty"),
        pytest.param(f"00-{'0' * 32}-b7ad6b7169203331-01".encode(), id="no trace"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01".encode(), id="no span"),
        pytest.param(f"00-{TRACE.upper()}-b7ad6b7169203331-01".encode(), id="upper case"),
        pytest.param(b"\xff" * 55, id="no ASCII"),
    ],
)
def test_a_malformed_one_begins_a_new_trace(header: bytes | None) -> None:
    trace = read_trace(header)

    assert len(trace.trace_id) == 32
    assert trace.trace_id != TRACE
