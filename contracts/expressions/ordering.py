"""Sorting by value: stable, one kind of value, null last in both orders."""

import operator
from typing import Any, Final

from contracts.expressions.errors import ExpressionError
from contracts.expressions.evaluation import Evaluation
from contracts.expressions.operators import ORDERED
from contracts.expressions.values import Value, kind, type_error

_KEY: Final[Any] = operator.itemgetter(0)


def sort(
    evaluation: Evaluation, entries: list[Value], keys: list[Value], order: Value
) -> list[Value]:
    """Return the entries sorted by their keys, in the order `asc` or `desc`."""
    descending = _is_descending(order)
    ranked = [pair for pair in zip(keys, entries, strict=True) if pair[0] is not None]
    _check(evaluation, [key for key, _ in ranked])
    ranked.sort(key=_KEY, reverse=descending)
    found = [entry for _, entry in ranked]
    found.extend(entry for key, entry in zip(keys, entries, strict=True) if key is None)
    return evaluation.new_list(found)


def _is_descending(order: Value) -> bool:
    if order in ("asc", "desc"):
        return order == "desc"
    if isinstance(order, str):
        raise ExpressionError("value", "an order is 'asc' or 'desc'")
    raise type_error("an order", order, hint="'asc' or 'desc'")


def _check(evaluation: Evaluation, keys: list[Value]) -> None:
    """Refuse keys without an order, and pay for comparing long texts again and again."""
    rounds = len(keys).bit_length()
    expected = kind(keys[0]) if keys else "number"
    for key in keys:
        if kind(key) != expected or expected not in ORDERED:
            raise ExpressionError("type", f"no order between {expected} and {kind(key)}")
        if isinstance(key, str):
            evaluation.spend((len(key) >> 6) * rounds)
