"""What was read from outside, made into JSON values that every later reader understands alike.

Whole numbers beyond ±(2^53 - 1) and decimals of databases become text with all their digits, NaN and
infinities null, NUL characters and lone surrogates U+FFFD, instants RFC 3339 in UTC, bytes base64.
"""

import base64
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from contracts.expressions.values import WHOLE_MAX, duration_seconds, timestamp_text

MAX_DEPTH: Final = 64
MAX_ENTRIES: Final = 2_000_000
"""How many values one document may hold once references inside it are followed."""

_SUSPECT: Final = re.compile(rb"[0-9]{16}|\\u(?:0000|[dD][89a-fA-F])|NaN|Infinity")
_UNTELLABLE: Final = re.compile("[\x00\ud800-\udfff]")
_WHOLE_DIGITS: Final = 15  # so many digits always fit


class NotJson(ValueError):
    """The text or value cannot be made into JSON."""


def read_json(data: bytes | str) -> Any:
    """Return the JSON value that a text spells, in UTF-8 if it is bytes. Raises NotJson.

    Numbers and characters that others write but JSON cannot carry are replaced, not refused.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if not _SUSPECT.search(raw):
        try:
            return msgspec.json.decode(raw)
        except RecursionError:
            raise NotJson("it is nested too deep") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # read again, by a reader that takes more
    try:
        return clean(_lenient.decode(raw.decode("utf-8-sig", "replace")))
    except json.JSONDecodeError as error:
        raise NotJson(f"it is no JSON: {error}") from error
    except RecursionError:
        raise NotJson("it is nested too deep") from None


def clean(value: Any) -> Any:
    """Return `value` as JSON. Raises NotJson for what has no JSON form, too much of it, or too deep."""
    return _Cleaning().cleaned(value, 0)


def clean_text(text: str) -> str:
    """Return the text with U+FFFD for what JSON or a database cannot carry."""
    return _UNTELLABLE.sub("\ufffd", text) if _UNTELLABLE.search(text) else text


def whole_number(value: int) -> int | str:
    """Return the number, or its digits where a double could not hold them all."""
    return value if -WHOLE_MAX <= value <= WHOLE_MAX else str(value)


class _Cleaning:
    """One walk, which counts: references inside a document can make it far larger than its text."""

    def __init__(self) -> None:
        self._entries_left = MAX_ENTRIES

    def cleaned(self, value: Any, depth: int) -> Any:
        self._entries_left -= 1
        if self._entries_left < 0:
            raise NotJson(f"it holds more than {MAX_ENTRIES} values")
        match value:
            case None | bool():
                return value
            case str():
                return clean_text(value)
            case int():
                return whole_number(value)
            case float():
                return value if math.isfinite(value) else None
            case Mapping() | list() | tuple() | set() | frozenset():
                return self._container(value, depth + 1)
            case _:
                return _scalar(value)

    def _container(self, value: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise NotJson(f"it is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            return {_key(key): self.cleaned(each, depth) for key, each in value.items()}
        return [self.cleaned(each, depth) for each in value]


def _key(key: Any) -> str:
    if isinstance(key, str):
        return clean_text(key)
    if key is None or isinstance(key, bool | int | float):
        return msgspec.json.encode(key).decode()
    return str(_scalar(key))


def _scalar(value: Any) -> Any:
    match value:
        case datetime():
            return timestamp_text(value if value.tzinfo else value.replace(tzinfo=UTC))
        case date() | time():
            return value.isoformat()
        case timedelta():
            return duration_seconds(value)
        case Decimal():
            return str(value) if value.is_finite() else None
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
        case _:
            return _by_msgspec(value)


def _by_msgspec(value: Any) -> Any:
    """Return Structs, dataclasses, enums and UUIDs as msgspec writes them."""
    try:
        return clean(msgspec.to_builtins(value))
    except (TypeError, RecursionError) as error:
        raise NotJson(f"a {type(value).__name__} is no JSON value") from error


def _read_whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= _WHOLE_DIGITS else _read_long(digits)


def _read_long(digits: str) -> int | str:
    return digits if len(digits) > 4000 else whole_number(int(digits))


def _read_constant(name: str) -> None:
    """Return null for NaN and infinities."""


_lenient: Final = json.JSONDecoder(
    strict=False, parse_int=_read_whole, parse_constant=_read_constant
)
