"""Objects that were sent, read field by field.

`open_fields` settles the names once (aliases, camelCase, ignored and unknown fields); the methods of
`Fields` then take typed values. Whatever is wrong goes into the report, and a default is returned,
so that reading goes on and everything is reported at once.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeGuard

import msgspec

from contracts.problems import pointer
from contracts.reading.report import Report
from contracts.reading.reserved import payload_references
from contracts.spelling import snake_case

USER_ID_REFUSED: Final = (
    "user_id is not read from documents: the token says whose they are; remove it"
)


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an object: their names, other spellings of them, and names that are dropped."""

    what: str
    names: frozenset[str]
    aliases: dict[str, str] = {}
    ignored: frozenset[str] = frozenset()


class Fields:
    """The fields of one object under their own names, each with the pointer at which it was sent."""

    def __init__(
        self, report: Report, *, sent: str, stored: str, node_id: str | None, own_names: bool
    ) -> None:
        self.report = report
        self.sent = sent
        self.stored = stored
        self.node_id = node_id
        self.own_names = own_names
        self.values: dict[str, Any] = {}
        self._places: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def put(self, name: str, value: Any, *, at: str) -> None:
        """Take `value`, sent at the pointer `at`, as a field; a second value for it is a problem."""
        if name in self.values:
            message = f"{name} is given twice, at {self._places[name]} and at {at}; keep one"
            self.problem_at(at, "invalid_value", message)
            return
        self.values[name] = value
        self._places[name] = at
        self.report.moved(sent=at, stored=self.stored + pointer(name))

    def at(self, name: str) -> str:
        """Return the pointer at which the field was sent, or would have been."""
        return self._places.get(name, self.sent + pointer(name))

    def problem(self, name: str, code: str, message: str) -> None:
        """Record a problem of the field `name`."""
        self.problem_at(self.at(name), code, message)

    def problem_at(self, at: str, code: str, message: str) -> None:
        """Record a problem at a pointer of what was sent."""
        self.report.add(at, code, message, node_id=self.node_id)

    def missing(self, name: str, what: str) -> None:
        """Record that a field which must be there is not."""
        self.problem(name, "missing_field", f"{name} is missing; give {what}")

    def wrong_type(self, name: str, expected: str) -> None:
        """Record that a field holds another type of value."""
        found = type_name(self.values.get(name))
        self.problem(name, "invalid_type", f"{name} must be {expected}, not {found}")

    def text(self, name: str, *, default: str = "", least: int = 0, most: int = 10_000) -> str:
        """Return a string of `least` to `most` characters."""
        value = self.values.get(name, default)
        if not isinstance(value, str):
            self.wrong_type(name, "a string")
            return default
        if not least <= len(value) <= most:
            message = f"{name} must have {least} to {most} characters, not {len(value)}"
            self.problem(name, "invalid_value", message)
            return default
        return value

    def optional_text(self, name: str, *, most: int = 255) -> str | None:
        """Return a string that is not empty, or null."""
        if self.values.get(name) is None:
            return None
        return self.text(name, least=1, most=most) or None

    def flag(self, name: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self.values.get(name, default)
        if isinstance(value, bool):
            return value
        self.wrong_type(name, "true or false")
        return default

    def integer(
        self, name: str, *, default: int, least: int, most: int, limit: str | None = None
    ) -> int:
        """Return a whole number between `least` and `most`; `limit` names the setting behind `most`."""
        value = self.number(name, default=default, least=least, most=most, limit=limit)
        if value != int(value):
            self.wrong_type(name, "a whole number")
            return default
        return int(value)

    def number(
        self,
        name: str,
        *,
        default: float,
        least: float,
        most: float,
        limit: str | None = None,
    ) -> float:
        """Return a number between `least` and `most`; `limit` names the setting behind `most`."""
        value = self.values.get(name, default)
        if name not in self.values:
            return default
        if not is_number(value):
            self.wrong_type(name, "a number")
        elif limit and value > most:
            message = f"{name} is {value}; the limit is {most:g} (LIMIT_{limit})"
            self.problem(name, "limit_exceeded", message)
        elif not least <= value <= most:
            message = f"{name} must be between {least:g} and {most:g}, not {value}"
            self.problem(name, "invalid_value", message)
        else:
            return value
        return default

    def seconds(self, name: str, *, most: float, limit: str) -> float | None:
        """Return a duration above 0 and up to `most`, or null."""
        value = self.values.get(name)
        if value is None:
            return None
        if is_number(value) and value <= 0:
            self.problem(name, "invalid_value", f"{name} must be more than 0 seconds, not {value}")
            return None
        found = self.number(name, default=math.inf, least=0, most=most, limit=limit)
        return None if math.isinf(found) else found

    def mapping(self, name: str) -> dict[str, Any]:
        """Return an object, empty if absent."""
        value = self.values.get(name)
        if isinstance(value, dict):
            return value
        if name in self.values:
            self.wrong_type(name, "an object")
        return {}

    def values_of_users(self, name: str) -> dict[str, Any]:
        """Return an object of free values, none of which may pass for a payload reference."""
        value = self.mapping(name)
        for at in payload_references(value, self.at(name)):
            message = "an object with the lone key $payload is what the engine writes; add a key or rename it"
            self.problem_at(at, "invalid_value", message)
        return value

    def items(self, name: str) -> list[Any]:
        """Return a list, empty if absent."""
        value = self.values.get(name)
        if isinstance(value, list | tuple):
            return list(value)
        if name in self.values:
            self.wrong_type(name, "a list")
        return []

    def choice(
        self, name: str, read: Callable[[str], str | None], allowed: tuple[str, ...]
    ) -> str | None:
        """Return the spelling among `allowed` that `read` finds for the text, or null."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.wrong_type(name, "a string")
            return None
        found = read(value)
        if found is None:
            message = f"{name} must be one of {', '.join(allowed)}, not {value!r:.80}"
            self.problem(name, "invalid_value", message)
        return found


def open_fields(
    raw: Mapping[Any, Any],
    shape: Shape,
    report: Report,
    *,
    sent: str,
    stored: str | None = None,
    node_id: str | None = None,
    own_names: bool = False,
) -> Fields:
    """Return the fields of `raw` under the names of `shape`.

    With `own_names` problems point to a field's own name instead of the name that was sent.
    """
    stored = sent if stored is None else stored
    fields = Fields(report, sent=sent, stored=stored, node_id=node_id, own_names=own_names)
    for key, value in raw.items():
        _settle(fields, shape, str(key), value)
    return fields


def _settle(fields: Fields, shape: Shape, key: str, value: Any) -> None:
    """Put one field under its own name, or say why it is dropped or refused."""
    spelling = key if key in shape.names else snake_case(key)
    name = shape.aliases.get(spelling, spelling)
    at = fields.sent + pointer(key)
    if name in shape.names:
        fields.put(name, value, at=fields.sent + pointer(name) if fields.own_names else at)
    elif spelling == "user_id":
        fields.problem_at(at, "unknown_field", USER_ID_REFUSED)
    elif spelling in shape.ignored:
        fields.problem_at(at, "ignored_field", f"{key} is not used by this engine and was dropped")
    else:
        near = fields.report.hints.nearest(key, shape.names)
        fields.problem_at(at, "unknown_field", f"{shape.what} has no field {key!r:.80}{near}")


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether `value` is a number that JSON carries exactly; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else value.bit_length() <= 64


def type_name(value: Any) -> str:
    """Return what JSON calls the type of `value`."""
    for kinds, name in _TYPE_NAMES:
        if isinstance(value, kinds):
            return name
    return type(value).__name__


_TYPE_NAMES: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    (type(None), "null"),
    (bool, "a boolean"),
    ((int, float), "a number"),
    (str, "a string"),
    ((list, tuple), "a list"),
    (dict, "an object"),
)
