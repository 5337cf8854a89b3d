"""JSON as the contract reads it: nothing that another reader could understand differently.

Refused are NaN and infinities, numbers that overflow, integers beyond 64 bits, NUL characters, lone
surrogates, repeated keys, bytes that are no UTF-8, a byte order mark, and nesting past a limit.
`read_json` reads bytes, `check_value` applies the same rules to values that YAML gave.
"""

import codecs
import json
import math
import re
from datetime import date
from typing import Any, Final, NoReturn

from contracts.problems import pointer

MAX_DEPTH: Final = 64
MAX_BYTES: Final = 5 * 1024 * 1024

_LEAST_INTEGER: Final = -(2**63)
_GREATEST_INTEGER: Final = 2**64 - 1
_LONGEST_INTEGER: Final = 20  # digits, or digits and a sign


class MalformedJson(ValueError):
    """The text is refused. `position` counts its characters from 0; `pointer` (RFC 6901) names a value."""

    def __init__(
        self, message: str, *, position: int | None = None, pointer: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.pointer = pointer


def read_json(data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Return the value that `data` spells. Raises MalformedJson; time is linear in the length."""
    text = _decoded(data)
    _check_depth(data, max_depth)
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise MalformedJson(f"this is no JSON: {error.msg}", position=error.pos) from None
    # Raw NUL characters and surrogates never get this far, so only escapes can hide one.
    if _SUSPECT_ESCAPE.search(data):
        check_value(value, max_depth=max_depth, max_bytes=len(data))
    return value


def check_value(value: Any, *, max_depth: int = MAX_DEPTH, max_bytes: int = MAX_BYTES) -> Any:
    """Return `value` as JSON: dates become text, everything else that JSON cannot say is refused.

    Values may share parts, as YAML's aliases do: what they are written out is held to `max_bytes`,
    and a value that contains itself runs into `max_depth`. Raises MalformedJson.
    """
    return _Check(max_depth, max_bytes).checked(value, ())


_SUSPECT_ESCAPE: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_TEXT: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_OPENING: Final = b"[{"


def _decoded(data: bytes) -> str:
    if data.startswith(codecs.BOM_UTF8):
        raise MalformedJson("a byte order mark stands before the JSON; send it without", position=0)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is no UTF-8; JSON is sent as UTF-8"
        raise MalformedJson(message, position=error.start) from None


def _check_depth(data: bytes, max_depth: int) -> None:
    """Refuse nesting past the limit before anything recursive sees the text."""
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return
    depth = 0
    # An unterminated text runs to the end, so every byte is looked at once.
    for bracket in _TEXT.sub(b"", data).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in _OPENING else -1
        if depth > max_depth:
            raise _too_deep(max_depth)


def _too_deep(max_depth: int, at: str | None = None) -> MalformedJson:
    message = f"lists and objects are nested more than {max_depth} deep (LIMIT_JSON_DEPTH)"
    return MalformedJson(message, pointer=at)


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise MalformedJson(f"the key {repeated!r:.80} stands twice in one object; keep one")
    return members


def _read_integer(text: str) -> int:
    if len(text) <= _LONGEST_INTEGER:
        value = int(text)
        if _LEAST_INTEGER <= value <= _GREATEST_INTEGER:
            return value
    raise _too_large(text)


def _read_decimal(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise MalformedJson(f"the number {text:.40} is too large; send it as text")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedJson(f"{name} is no JSON; send null or a text")


def _too_large(text: str, at: str | None = None) -> MalformedJson:
    message = f"the integer {text:.40} does not fit into 64 bits; send it as text"
    return MalformedJson(message, pointer=at)


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_read_object,
    parse_int=_read_integer,
    parse_float=_read_decimal,
    parse_constant=_refuse_constant,
)


class _Check:
    """One walk over a value: counts what it would be written out, and copies what has to change."""

    def __init__(self, max_depth: int, max_bytes: int) -> None:
        self._max_depth = max_depth
        self._max_bytes = max_bytes
        self._bytes = 0

    def checked(self, value: Any, path: tuple[str | int, ...]) -> Any:
        match value:
            case None | bool():
                self._count(4)
            case str():
                self._check_text(value, path)
            case int():
                self._check_integer(value, path)
            case float():
                self._check_decimal(value, path)
            case date():  # datetime too
                return value.isoformat()
            case dict() | list():
                return self._container(value, path)
            case _:
                kind = type(value).__name__
                raise MalformedJson(f"a {kind} is no JSON value", pointer=pointer(*path))
        return value

    def _container(self, value: dict[Any, Any] | list[Any], path: tuple[str | int, ...]) -> Any:
        if len(path) >= self._max_depth:
            raise _too_deep(self._max_depth, pointer(*path))
        self._count(2)
        if isinstance(value, list):
            return [self.checked(item, (*path, index)) for index, item in enumerate(value)]
        return {
            self._key(key, path): self.checked(item, (*path, key)) for key, item in value.items()
        }

    def _key(self, key: Any, path: tuple[str | int, ...]) -> str:
        if not isinstance(key, str):
            message = f"the key {key!r:.80} is no text; put it into quotes"
            raise MalformedJson(message, pointer=pointer(*path))
        self._check_text(key, path)
        return key

    def _check_text(self, text: str, path: tuple[str | int, ...]) -> None:
        self._count(len(text) + 2)
        if "\0" in text:
            raise MalformedJson("a NUL character (\\u0000) is refused", pointer=pointer(*path))
        if not text.isascii() and _SURROGATE.search(text):
            raise MalformedJson("half of a surrogate pair is no text", pointer=pointer(*path))

    def _check_integer(self, value: int, path: tuple[str | int, ...]) -> None:
        self._count(1)
        if not _LEAST_INTEGER <= value <= _GREATEST_INTEGER:
            # Python refuses to write out very long integers, so their length is told instead.
            text = str(value) if value.bit_length() < 200 else f"of {value.bit_length()} bits"
            raise _too_large(text, pointer(*path))

    def _check_decimal(self, value: float, path: tuple[str | int, ...]) -> None:
        self._count(1)
        if not math.isfinite(value):
            raise MalformedJson(f"{value} is no JSON; send null or a text", pointer=pointer(*path))

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._max_bytes:
            raise MalformedJson(
                f"the value is longer than {self._max_bytes} bytes when written out"
            )


_SURROGATE: Final = re.compile("[\ud800-\udfff]")
