"""W3C trace context: a request joins the trace that its `traceparent` names, or begins one."""

import os
import re
from typing import Final

import msgspec

_PATTERN: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16


class Trace(msgspec.Struct, frozen=True):
    """The trace that a request belongs to, and the span of the request in it."""

    trace_id: str
    span_id: str
    flags: str = "01"

    @property
    def traceparent(self) -> str:
        """The header that what follows from this request carries on."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def read_trace(header: bytes | None) -> Trace:
    """Return a new span in the trace of `header`; a missing or malformed one begins a new trace."""
    span_id = os.urandom(8).hex()
    match = _PATTERN.fullmatch(header) if header is not None else None
    if match is not None:
        trace_id, parent, flags = (part.decode() for part in match.groups())
        if trace_id != _NO_TRACE and parent != _NO_SPAN:
            return Trace(trace_id, span_id, flags)
    return Trace(os.urandom(16).hex(), span_id)
