"""Lists as node types take them: which list is meant, going through a long one, telling items apart."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final, TypeVar

from contracts.expressions.budget import Budget, Limits
from contracts.expressions.values import canonical_text
from contracts.failures import Failure, FailureKind
from nodes.answers import Failed

T = TypeVar("T")

LIST_FIELDS: Final = ("items", "data", "results")
BREATH_SECONDS: Final = 0.01
"""How long a handler may compute before it lets others run and hears of a cancel."""

_COMPARING: Final = Limits(steps=10_000_000)


def find_list(value: Any) -> list[Any] | None:
    """Return the list that a value means: itself, or its first list among items, data, results."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        found = (value[name] for name in LIST_FIELDS if isinstance(value.get(name), list))
        return next(found, None)
    return None


def the_list(value: Any) -> list[Any]:
    """Return the list that an input means, or fail with `not_a_list`."""
    found = find_list(value)
    if found is None:
        message = "the input is no list and has none under items, data or results"
        raise Failed(Failure(FailureKind.INVALID_INPUT, "not_a_list", message))
    return found


async def paced(items: Iterable[T]) -> AsyncIterator[tuple[int, T]]:
    """Yield each item with its index, pausing where the work on them keeps everybody else waiting."""
    breath_at = time.monotonic() + BREATH_SECONDS
    for index, item in enumerate(items):
        if time.monotonic() >= breath_at:
            await asyncio.sleep(0)
            breath_at = time.monotonic() + BREATH_SECONDS
        yield index, item


def identity(value: Any) -> str:
    """Return a key that two values share exactly if the language calls them equal: 1 and 1.0, not 1 and true."""
    return canonical_text(value, Budget(_COMPARING))
