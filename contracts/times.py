"""Instants as text: RFC 3339 in UTC with microseconds."""

from datetime import UTC, datetime


def rfc3339(at: datetime) -> str:
    """Return an aware instant as RFC 3339 text in UTC with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
