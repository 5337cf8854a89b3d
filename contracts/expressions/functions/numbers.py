"""Functions of numbers."""

import decimal
import math
from collections.abc import Callable
from typing import Any, Final

from contracts.expressions.errors import ExpressionError
from contracts.expressions.evaluation import Evaluation
from contracts.expressions.functions import arguments
from contracts.expressions.functions.signature import Function, Table
from contracts.expressions.operators import add, check_order
from contracts.expressions.values import WHOLE_MAX, Value, number

_DIGITS_MOST: Final = 15
_WIDE: Final = decimal.Context(prec=400)
"""Holds every binary64 to fifteen decimals, so that rounding one is exact."""


def least(evaluation: Evaluation, *values: Value) -> Value:
    """Return the least of the arguments, or of one list."""
    return _extreme(evaluation, values, lambda a, b: a < b)


def most(evaluation: Evaluation, *values: Value) -> Value:
    """Return the greatest of the arguments, or of one list."""
    return _extreme(evaluation, values, lambda a, b: a > b)


def _extreme(
    evaluation: Evaluation, values: tuple[Value, ...], before: Callable[[Any, Any], bool]
) -> Value:
    only = values[0]
    candidates = only if len(values) == 1 and isinstance(only, list) else list(values)
    evaluation.spend(len(candidates))
    if not candidates:
        raise _empty()
    found = candidates[0]
    check_order(evaluation, found, found)
    for value in candidates[1:]:
        check_order(evaluation, value, found)
        if before(value, found):
            found = value
    return found


def absolute(evaluation: Evaluation, value: Value) -> int | float:
    """Return a number without its sign."""
    return number(abs(arguments.numeric(value)))


def rounded(evaluation: Evaluation, value: Value, digits: Value = 0) -> int | float:
    """Return a number rounded to decimals as it is written, half away from zero."""
    exact, places = number(arguments.numeric(value)), arguments.whole(digits)
    if abs(places) > _DIGITS_MOST:
        raise ExpressionError("value", f"digits are between -{_DIGITS_MOST} and {_DIGITS_MOST}")
    if type(exact) is int and places >= 0:
        return exact
    step = decimal.Decimal(1).scaleb(-places, _WIDE)
    written = decimal.Decimal(repr(exact))
    return number(float(written.quantize(step, decimal.ROUND_HALF_UP, _WIDE)))


def floor(evaluation: Evaluation, value: Value) -> int | float:
    """Return the greatest whole number that is not above."""
    return _to_whole(arguments.numeric(value), math.floor)


def ceil(evaluation: Evaluation, value: Value) -> int | float:
    """Return the least whole number that is not below."""
    return _to_whole(arguments.numeric(value), math.ceil)


def _to_whole(value: int | float, cut: Callable[[float], int]) -> int | float:
    # Decimals beyond 2^53 are whole already.
    checked = number(value)
    return cut(checked) if abs(checked) <= WHOLE_MAX else checked


def total(evaluation: Evaluation, values: Value) -> Value:
    """Return the sum of a list of numbers; of an empty one 0."""
    summands = arguments.entries(values)
    evaluation.spend(len(summands))
    result: Value = 0
    for summand in summands:
        result = add(evaluation, result, arguments.numeric(summand))
    return result


def average(evaluation: Evaluation, values: Value) -> int | float:
    """Return the arithmetic mean of a list of numbers that is not empty."""
    if not (summands := arguments.entries(values)):
        raise _empty()
    return number(arguments.numeric(total(evaluation, summands)) / len(summands))


def _empty() -> ExpressionError:
    return ExpressionError("value", "the list is empty", hint="size(list) > 0 ? … : …")


FUNCTIONS: Final[Table] = {
    "min": Function(least, 1, None),
    "max": Function(most, 1, None),
    "abs": Function(absolute, 1, 1),
    "round": Function(rounded, 1, 2, steps=3),
    "floor": Function(floor, 1, 1),
    "ceil": Function(ceil, 1, 1),
    "sum": Function(total, 1, 1),
    "avg": Function(average, 1, 1),
}
