"""Instants as text: RFC 3339 in UTC with microseconds."""

from datetime import UTC, datetime


def rfc3339(at: datetime) -> str:
    """Return an aware instant as RFC 3339 text in UTC with microseconds."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)  # the usual case costs a third
    return f"{utc.isoformat(timespec='microseconds')[:-6]}Z"
