"""Types, conversions and size."""

import re
from datetime import datetime
from typing import Final

from contracts.expressions import values
from contracts.expressions.errors import ExpressionError
from contracts.expressions.evaluation import Evaluation
from contracts.expressions.functions.signature import Function, Table
from contracts.expressions.operators import is_number
from contracts.expressions.values import Value, type_error

_NUMERIC: Final = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?")
_NUMERIC_CHARS: Final = 400
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


def type_name(evaluation: Evaluation, value: Value) -> str:
    """Return the name of a value's type."""
    return values.kind(value)


def string(evaluation: Evaluation, value: Value) -> str:
    """Return the text of a value."""
    return values.text(value, evaluation)


def number(evaluation: Evaluation, value: Value) -> int | float:
    """Return the number that a number, boolean or numeric text stands for."""
    if is_number(value):
        return values.number(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return _from_text(value)
    raise type_error("a number, bool or numeric text", value)


def _from_text(text: str) -> int | float:
    digits = text.strip() if len(text) <= _NUMERIC_CHARS else ""
    if not _NUMERIC.fullmatch(digits):
        raise ExpressionError("value", f"{text[:40]!r} is no number")
    if digits.lstrip("+-").isdigit():
        return values.number(int(digits))
    return values.number(float(digits))


def whole(evaluation: Evaluation, value: Value) -> int | float:
    """Return a number cut toward zero, or the epoch seconds of a timestamp."""
    if isinstance(value, datetime):
        return values.epoch_seconds(value)
    found = number(evaluation, value)
    # Decimals beyond 2^53 are whole already.
    return int(found) if abs(found) <= values.WHOLE_MAX else found


def boolean(evaluation: Evaluation, value: Value) -> bool:
    """Return the boolean that a boolean, number or text stands for."""
    if isinstance(value, bool):
        return value
    if is_number(value):
        return value != 0
    if isinstance(value, str):
        if value in _BOOLEANS:
            return _BOOLEANS[value]
        raise ExpressionError("value", f"{value[:40]!r} is neither 'true' nor 'false'")
    raise type_error("a bool, number or text", value)


def size(evaluation: Evaluation, value: Value) -> int:
    """Return how many code points, elements or keys there are."""
    if isinstance(value, str | list | dict):
        return len(value)
    raise type_error("a string, list or map", value)


FUNCTIONS: Final[Table] = {
    "type": Function(type_name, 1, 1),
    "string": Function(string, 1, 1),
    "number": Function(number, 1, 1),
    "double": Function(number, 1, 1),
    "int": Function(whole, 1, 1),
    "bool": Function(boolean, 1, 1),
    "size": Function(size, 1, 1),
}
