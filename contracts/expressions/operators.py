"""What the operators do; none of them converts."""

import math
import operator
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, TypeGuard

from contracts.expressions import instants
from contracts.expressions.budget import Budget, text_bytes
from contracts.expressions.errors import ExpressionError
from contracts.expressions.evaluation import Evaluation
from contracts.expressions.values import Value, kind, number, type_error

Operator = Callable[[Evaluation, Value, Value], Value]

ORDERED: Final = frozenset({"number", "string", "bool", "timestamp", "duration"})


def is_number(value: Value) -> TypeGuard[int | float]:
    """Return whether a value is a number; booleans are none."""
    return type(value) is int or type(value) is float


def add(evaluation: Evaluation, a: Value, b: Value) -> Value:
    """Return the sum of numbers or times, or strings or lists one behind the other."""
    if type(a) is int and type(b) is int:
        return number(a + b)
    if is_number(a) and is_number(b):
        return _arithmetic(operator.add, a, b)
    if isinstance(a, str) and isinstance(b, str):
        evaluation.room_for_text(text_bytes(a) + text_bytes(b))
        return a + b
    if isinstance(a, list) and isinstance(b, list):
        evaluation.room_for_list(len(a) + len(b))
        evaluation.spend(len(a) + len(b))
        return evaluation.new_list(a + b)
    if isinstance(a, timedelta) and isinstance(b, datetime | timedelta):
        return _shift(operator.add, b, a)
    if isinstance(a, datetime) and isinstance(b, timedelta):
        return _shift(operator.add, a, b)
    raise _no_operation("+", a, b, hint="string(x)" if str in (type(a), type(b)) else None)


def subtract(evaluation: Evaluation, a: Value, b: Value) -> Value:
    """Return the difference of numbers or times."""
    if type(a) is int and type(b) is int:
        return number(a - b)
    if is_number(a) and is_number(b):
        return _arithmetic(operator.sub, a, b)
    if isinstance(a, datetime) and isinstance(b, datetime | timedelta):
        return _shift(operator.sub, a, b)
    if isinstance(a, timedelta) and isinstance(b, timedelta):
        return _shift(operator.sub, a, b)
    raise _no_operation("-", a, b)


def multiply(evaluation: Evaluation, a: Value, b: Value) -> Value:
    """Return the product of numbers."""
    if is_number(a) and is_number(b):
        return _arithmetic(operator.mul, a, b)
    raise _no_operation("*", a, b)


def divide(evaluation: Evaluation, a: Value, b: Value) -> Value:
    """Return the exact quotient of numbers."""
    if is_number(a) and is_number(b):
        return _arithmetic(operator.truediv, a, b)
    raise _no_operation("/", a, b)


def remainder(evaluation: Evaluation, a: Value, b: Value) -> Value:
    """Return the remainder of a division, with the sign of the dividend."""
    if type(a) is int and type(b) is int:
        return _arithmetic(_whole_remainder, a, b)
    if is_number(a) and is_number(b):
        return _arithmetic(_decimal_remainder, a, b)
    raise _no_operation("%", a, b)


def _whole_remainder(a: int, b: int) -> int:
    rest = abs(a) % abs(b)
    return rest if a >= 0 else -rest


def _decimal_remainder(a: float, b: float) -> float:
    if b == 0:
        raise ZeroDivisionError
    return math.fmod(a, b) if math.isfinite(a) and not math.isnan(b) else math.nan


def _arithmetic(operation: Callable[..., int | float], a: float, b: float) -> int | float:
    try:
        return number(operation(a, b))
    except ZeroDivisionError:
        raise ExpressionError("overflow", "a division by zero") from None
    except OverflowError:
        raise ExpressionError("overflow", "a number beyond binary64") from None


def _shift(operation: Callable[..., Value], a: Value, b: Value) -> Value:
    try:
        return operation(a, b)
    except OverflowError:
        raise instants.out_of_range() from None


def negate(value: Value) -> Value:
    """Return a number or duration with its sign turned."""
    if is_number(value):
        return number(-value)
    if isinstance(value, timedelta):
        return _shift(operator.sub, timedelta(), value)
    raise type_error("a number or duration behind -", value)


def equal(budget: Budget, a: Value, b: Value) -> bool:
    """Return whether two values are equal: deep, by value, never across types."""
    if a is b:
        return True
    pairs = [(a, b)]
    while pairs:
        a, b = pairs.pop()
        if isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            budget.spend(len(a))
            pairs.extend(zip(reversed(a), reversed(b), strict=True))
        elif isinstance(a, dict) and isinstance(b, dict):
            if len(a) != len(b):
                return False
            budget.spend(len(a))
            if a.keys() != b.keys():
                return False
            pairs.extend((entry, b[key]) for key, entry in a.items())
        elif not _same_scalar(budget, a, b):
            return False
    return True


def _same_scalar(budget: Budget, a: Value, b: Value) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        if len(a) == len(b) and len(a) > 64:
            budget.read(a)
        return a == b
    return (type(a) is type(b) or (is_number(a) and is_number(b))) and a == b


def not_equal(budget: Budget, a: Value, b: Value) -> bool:
    """Return whether two values differ."""
    return not equal(budget, a, b)


def _comparison(compare: Callable[[Any, Any], bool]) -> Operator:
    def run(evaluation: Evaluation, a: Value, b: Value) -> bool:
        if not (type(a) is int and type(b) is int):
            check_order(evaluation, a, b)
        return compare(a, b)

    return run


def check_order(budget: Budget, a: Value, b: Value) -> None:
    """Fail unless there is an order between two values, and pay for comparing them."""
    if isinstance(a, str) and isinstance(b, str):
        budget.spend(min(len(a), len(b)) >> 6)
    elif kind(a) != kind(b) or kind(a) not in ORDERED:
        raise ExpressionError("type", f"no order between {kind(a)} and {kind(b)}")


def contained(evaluation: Evaluation, a: Value, b: Value) -> bool:
    """Return whether a is an element of the list, or a key of the map, b."""
    if isinstance(b, list):
        return has_element(evaluation, b, a)
    if isinstance(b, dict):
        if isinstance(a, str):
            return a in b
        raise type_error("a string before in with a map", a)
    hint = "x.contains(y)" if isinstance(b, str) else None
    raise type_error("a list or map behind in", b, hint=hint)


def has_element(budget: Budget, entries: list[Value], wanted: Value) -> bool:
    """Return whether a list has an element equal to the wanted value."""
    for entry in entries:
        budget.spend(1)
        if equal(budget, entry, wanted):
            return True
    return False


def _no_operation(symbol: str, a: Value, b: Value, *, hint: str | None = None) -> ExpressionError:
    return ExpressionError("type", f"no {kind(a)} {symbol} {kind(b)}", hint=hint)


OPERATORS: Final[dict[str, Operator]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
    "==": equal,
    "!=": not_equal,
    "<": _comparison(operator.lt),
    "<=": _comparison(operator.le),
    ">": _comparison(operator.gt),
    ">=": _comparison(operator.ge),
    "in": contained,
}
"""The operators that evaluate both sides."""
