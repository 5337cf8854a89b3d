"""What functions ask of their arguments: the right type, or an error that names it."""

from datetime import datetime

from contracts.expressions.errors import ExpressionError
from contracts.expressions.operators import is_number
from contracts.expressions.values import Value, number, type_error


def text(value: Value) -> str:
    """Return a string."""
    if isinstance(value, str):
        return value
    raise type_error("a string", value, hint="string(x)" if value is not None else None)


def numeric(value: Value) -> int | float:
    """Return a number."""
    if is_number(value):
        return value
    raise type_error("a number", value, hint="number(x)" if isinstance(value, str) else None)


def whole(value: Value) -> int:
    """Return a whole number."""
    if is_number(value):
        exact = number(value)
        if type(exact) is int:
            return exact
        raise ExpressionError("type", "expected a whole number", hint="int(x)")
    raise type_error("a whole number", value)


def entries(value: Value) -> list[Value]:
    """Return a list."""
    if isinstance(value, list):
        return value
    raise type_error("a list", value)


def mapping(value: Value) -> dict[str, Value]:
    """Return a map."""
    if isinstance(value, dict):
        return value
    raise type_error("a map", value)


def instant(value: Value) -> datetime:
    """Return a timestamp."""
    if isinstance(value, datetime):
        return value
    raise type_error(
        "a timestamp", value, hint="timestamp(x)" if isinstance(value, str | int | float) else None
    )
