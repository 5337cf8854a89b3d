"""Instants as answers show them."""

from datetime import datetime
from typing import Annotated

import msgspec

from contracts.times import rfc3339

Instant = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339 in UTC with microseconds."""


def shown(at: datetime | None) -> str | msgspec.UnsetType:
    """Return an instant as text, or nothing to show."""
    return msgspec.UNSET if at is None else rfc3339(at)
