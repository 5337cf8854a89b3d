"""The values of the language and what they are in JSON.

`null`, `bool`, `number`, `string`, `list` and `map` are Python's own. A timestamp is an aware
`datetime` in UTC, a duration a `timedelta`; these two live inside expressions only.
"""

import json
import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from contracts.expressions.budget import Budget, exhausted, text_bytes
from contracts.expressions.errors import ExpressionError

Value: TypeAlias = object
"""Any value inside an expression; `kind` tells which."""

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

WHOLE_MAX: Final = 2**53 - 1
CONTAINERS: Final = (list, dict)

_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "bool",
    int: "number",
    float: "number",
    str: "string",
    list: "list",
    dict: "map",
    datetime: "timestamp",
    timedelta: "duration",
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))
_SORTING_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, separators=(",", ":"), sort_keys=True
)


def kind(value: Value) -> str:
    """Return the name of a value's type, as the function `type` gives it."""
    return _KINDS.get(type(value), "foreign value")


def type_error(expected: str, value: Value, *, hint: str | None = None) -> ExpressionError:
    """Return the error for a value of the wrong type."""
    return ExpressionError("type", f"expected {expected}, found {kind(value)}", hint=hint)


def number(value: int | float) -> int | float:
    """Return the result of an operation as a number, or fail when it is none."""
    if type(value) is int:
        if -WHOLE_MAX <= value <= WHOLE_MAX:
            return value
        raise ExpressionError("overflow", "a whole number beyond 2^53 - 1")
    if not math.isfinite(value):
        raise ExpressionError("overflow", "a number that is infinite or undefined")
    return plain_number(value)


def plain_number(value: int | float) -> int | float:
    """Return a decimal with a whole value as the whole number that it is."""
    if type(value) is float and value.is_integer() and -WHOLE_MAX <= value <= WHOLE_MAX:
        return int(value)
    return value


def number_text(value: int | float) -> str:
    """Return the shortest decimal text that reads back equal."""
    if type(value) is int:
        if -(2**63) <= value < 2**64:
            return str(value)
        raise ExpressionError("overflow", "a whole number beyond 64 bits")
    if not math.isfinite(value):
        raise ExpressionError("overflow", "a number that is infinite or undefined")
    return repr(plain_number(value))


def timestamp_text(value: datetime) -> str:
    """Return an instant as RFC 3339 in UTC, with microseconds where there are any."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def duration_seconds(value: timedelta) -> int | float:
    """Return a duration in seconds, whole where they are."""
    return plain_number(value / timedelta(seconds=1))


def epoch_seconds(value: datetime) -> int:
    """Return the whole seconds since 1970, cut toward zero."""
    microseconds = (value - _EPOCH) // _MICROSECOND
    return microseconds // 10**6 if microseconds >= 0 else -(-microseconds // 10**6)


def text(value: Value, budget: Budget) -> str:
    """Return the text of a value, paying for what has to be written."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return json_text(value, budget)
    written = _scalar_text(value)
    budget.room_for_text(len(written))
    return written


def _scalar_text(value: Value) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return number_text(value)
        case datetime():
            return timestamp_text(value)
        case timedelta():
            return number_text(duration_seconds(value)) + "s"
        case _:
            raise type_error("a JSON value", value)


def json_text(value: Value, budget: Budget) -> str:
    """Return a value as JSON without blanks, in its own order."""
    survey = _Survey(budget, budget.limits.string_bytes)
    survey.visit(value)
    written = _ENCODER.encode(_converted(value, _written) if survey.is_mixed else value)
    budget.room_for_text(text_bytes(written))
    return written


def canonical_text(value: Value, budget: Budget) -> str:
    """Return a text that equal values share and different ones do not.

    It is a key to compare by and no value of the language: steps alone bound its length.
    """
    survey = _Survey(budget, budget.limits.steps * 64)
    survey.visit(value)
    return _SORTING_ENCODER.encode(_converted(value, _tagged) if survey.is_mixed else value)


class _Survey:
    """Walks a value before it is written: pays, checks sizes, refuses what is no JSON."""

    __slots__ = ("budget", "is_mixed", "room")

    def __init__(self, budget: Budget, room: int) -> None:
        self.budget = budget
        self.room = room
        self.is_mixed = False
        """Whether there is something that Python would write in another way."""

    def visit(self, value: Value) -> None:
        pending: list[tuple[Iterable[Value], int]] = [((value,), 0)]
        while pending:
            group, depth = pending.pop()
            for entry in group:
                if isinstance(entry, str):
                    self._text(entry)
                elif isinstance(entry, CONTAINERS):
                    pending.append((self._inside(entry, depth + 1), depth + 1))
                else:
                    self._scalar(entry)

    def _inside(self, entries: list[Value] | dict[str, Value], depth: int) -> Iterable[Value]:
        self.budget.check_depth(depth)
        self.budget.spend(len(entries))
        self._take(2 * len(entries) + 1)
        if isinstance(entries, list):
            return entries
        for key in entries:
            self._text(key)
        return entries.values()

    def _text(self, content: str) -> None:
        if len(content) > 64:
            self.budget.read(content)
        self._take(len(content))

    def _take(self, size: int) -> None:
        self.room -= size
        if self.room < 0:
            raise exhausted(f"makes a string of more than {self.budget.limits.string_bytes} bytes")

    def _scalar(self, value: Value) -> None:
        if isinstance(value, float | datetime | timedelta):
            self.is_mixed = True
        if value is not None and not isinstance(value, bool):
            _scalar_text(value)


def _converted(value: Value, convert: Callable[[Value], Value]) -> Value:
    """Return a copy of a value of checked depth with its scalars converted."""
    if isinstance(value, list):
        return [_converted(entry, convert) for entry in value]
    if isinstance(value, dict):
        return {key: _converted(entry, convert) for key, entry in value.items()}
    return convert(value)


def _written(value: Value) -> Value:
    if isinstance(value, datetime):
        return timestamp_text(value)
    if isinstance(value, timedelta):
        return duration_seconds(value)
    return plain_number(value) if isinstance(value, float) else value


def _tagged(value: Value) -> Value:
    # No key of a JSON value holds NUL.
    if isinstance(value, datetime):
        return {"\0timestamp": value.isoformat()}
    if isinstance(value, timedelta):
        return {"\0duration": repr(value)}
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**64:
        return int(value)
    return value
