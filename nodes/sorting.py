"""Sorting items by the values of expressions."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from contracts.expressions import values
from contracts.failures import Failure, FailureKind
from nodes.answers import Failed

Direction = Literal["asc", "desc"]


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key of a sort: an expression over the item; ascending unless something else says otherwise."""

    by: str
    order: Direction | None = None


class Keyed(NamedTuple):
    """An item with the values that it is compared by; None in place of them goes last."""

    value: Any
    item: Any


def sorted_by(keyed: Sequence[Keyed], directions: Sequence[Direction]) -> list[Any]:
    """Return the items in order, the most important key first: stable, null last in both directions.

    Raises Failed where keys have no order.
    """
    # Sorting is stable, so the most important key goes last.
    for place, direction in reversed(list(enumerate(directions))):
        keyed = _sorted(keyed, place, is_descending=direction == "desc")
    return [each.item for each in keyed]


def _sorted(keyed: Sequence[Keyed], place: int, *, is_descending: bool) -> list[Keyed]:
    def key(each: Keyed) -> Any:
        return each.value[place]

    ranked = [each for each in keyed if each.value is not None and key(each) is not None]
    kinds = {values.kind(key(each)) for each in ranked}
    if len(kinds) > 1 or not kinds <= {"number", "string", "bool"}:
        message = f"no order between {' and '.join(sorted(kinds))}; sort by one kind of value"
        raise Failed(Failure(FailureKind.INVALID_EXPRESSION, "type", message))
    ranked.sort(key=key, reverse=is_descending)
    return ranked + [each for each in keyed if each.value is None or key(each) is None]
