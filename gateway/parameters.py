"""Types that bodies and query strings share. Their bounds are those of the columns behind them."""

from datetime import datetime
from typing import Annotated, Final

import msgspec

from gateway.problems import ErrorEntry

_UUID: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

Uuid = Annotated[str, msgspec.Meta(pattern=_UUID)]
Text = Annotated[str, msgspec.Meta(max_length=1_000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Number = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
At = Annotated[datetime, msgspec.Meta(tz=True, description="An instant, RFC 3339")]
Priority = Annotated[int, msgspec.Meta(ge=-10, le=10)]
Reason = Annotated[str, msgspec.Meta(max_length=1_000)]
WaitSeconds = Annotated[
    float,
    msgspec.Meta(ge=0, le=60, description="Seconds to wait for the end of the execution"),
]


def wrong(pointer: str, message: str) -> ErrorEntry:
    """Return the entry of a value that is well formed and still not possible."""
    return ErrorEntry(pointer, "invalid_value", message)
