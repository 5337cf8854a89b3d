"""Pages of lists. Queries read one row more than asked for: it tells whether there is a next page."""

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

T = TypeVar("T")

Page: TypeAlias = tuple[tuple[T, ...], str | None]
"""Rows, and what to hand in as `after` to go on; None at the end."""


def page_of(rows: Sequence[T], limit: int, *, key: Callable[[T], str]) -> Page[T]:
    """Return the page of at most `limit` rows, given one more if there is one."""
    assert limit > 0
    has_next = len(rows) > limit
    return tuple(rows[:limit]), key(rows[limit - 1]) if has_next else None
