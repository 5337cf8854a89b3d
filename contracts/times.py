"""Instants as text: RFC 3339 in UTC with microseconds."""

from datetime import UTC, datetime

import msgspec


def rfc3339(at: datetime) -> str:
    """Return an aware instant as RFC 3339 text in UTC with microseconds."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    if not utc.microsecond:
        return f"{utc.isoformat(timespec='microseconds')[:-6]}Z"
    text: str = msgspec.to_builtins(utc)  # the same text, at a tenth of the cost
    return text
