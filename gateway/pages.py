"""Lists: pages of `{items, next_cursor}`, newest first, by an opaque cursor."""

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Annotated, Final, Generic, TypeVar

import msgspec

from gateway.problems import ErrorEntry, Refused, invalid_request

T = TypeVar("T")

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500

Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT, description="How many items at most")]
Cursor = Annotated[
    str, msgspec.Meta(max_length=200, description="`next_cursor` of the page before this one")
]


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list; `next_cursor` is null at its end."""

    items: tuple[T, ...]
    next_cursor: str | None


def page_of(items: Iterable[T], place: str | None) -> Page[T]:
    """Return a page that ends at `place`, which the next page begins after; None at the end."""
    return Page(tuple(items), None if place is None else cursor_of(place))


def cursor_of(place: str) -> str:
    """Return the cursor of a place in a list."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def read_cursor(cursor: str | None, is_place: Callable[[str], bool]) -> str | None:
    """Return the place that a cursor names. Raises Refused for one that this list does not give out."""
    if cursor is None:
        return None
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        text = place.decode("ascii")
    except (binascii.Error, ValueError):
        raise _unknown_cursor() from None
    if not is_place(text):
        raise _unknown_cursor()
    return text


def is_number(text: str) -> bool:
    """Whether a place is a count from 0 that fits everywhere."""
    return text.isascii() and text.isdecimal() and len(text) <= 9


def _unknown_cursor() -> Refused:
    return invalid_request(
        ErrorEntry("/cursor", "invalid_value", "Send `next_cursor` of the page before, unchanged.")
    )
