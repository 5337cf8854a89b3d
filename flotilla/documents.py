"""Documents in files: JSON, or the part of YAML that says the same as JSON.

YAML is read from the parser's events by a loop of our own, so neither tags nor nesting can make it do anything: scalars follow the core
schema of YAML 1.2 (`on`, `12:30` and dates are text), tags other than `!!str`, repeated keys and further documents are refused, aliases
are expanded up to the size limit. Each value's line is kept for messages.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from contracts.problems import pointer
from contracts.strict_json import MAX_BYTES, MAX_DEPTH, MalformedJson, check_value, read_json

Lines = Mapping[str, int]
"""JSON pointer of a value → its line, from 1."""

JSON_SUFFIX: Final = ".json"
YAML_SUFFIXES: Final = (".yaml", ".yml")

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT_TAG: Final = "tag:yaml.org,2002:str"
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_DECIMAL: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_LONGEST_NUMBER: Final = 400


class UnreadableDocument(Exception):
    """The file is no document that could be sent."""

    def __init__(self, source: str, reason: str, line: int | None = None) -> None:
        self.source = source
        self.reason = reason
        self.line = line
        where = source if line is None else f"{source}:{line}"
        super().__init__(f"{where}: {reason}")


class Document(msgspec.Struct, frozen=True):
    """A value as it stands in a file."""

    value: dict[str, Any]
    source: str
    lines: Lines

    def line_of(self, place: str) -> int | None:
        """The line of the value that a JSON pointer names, else that of the nearest value around it."""
        while place and place not in self.lines:
            place = place.rpartition("/")[0]
        return self.lines.get(place)


def read_file(path: Path) -> Document:
    """Read the document in a file. Raises UnreadableDocument."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableDocument(str(path), error.strerror or str(error)) from None
    return read(data, source=str(path))


def read(data: bytes, *, source: str) -> Document:
    """Read a document; the name of its source tells JSON from YAML, else its first character. Raises UnreadableDocument."""
    if len(data) > MAX_BYTES:
        raise UnreadableDocument(
            source, f"{len(data)} bytes are more than the {MAX_BYTES} of a document"
        )
    value, lines = _read_json(data, source) if _is_json(data, source) else _read_yaml(data, source)
    if not isinstance(value, dict):
        raise UnreadableDocument(source, "a document is an object with `name` and `nodes`", 1)
    return Document(value, source, lines)


def _is_json(data: bytes, source: str) -> bool:
    suffix = Path(source).suffix.lower()
    if suffix in (JSON_SUFFIX, *YAML_SUFFIXES):
        return suffix == JSON_SUFFIX
    return data.lstrip()[:1] == b"{"


def _read_json(data: bytes, source: str) -> tuple[Any, Lines]:
    try:
        value = read_json(data)
    except MalformedJson as error:
        line = (
            None
            if error.position is None
            else data.decode(errors="replace").count("\n", 0, error.position) + 1
        )
        raise UnreadableDocument(source, error.message, line) from None
    return value, _lines_of_json(data)


def _lines_of_json(data: bytes) -> Lines:
    """JSON is nearly YAML; what YAML does not read (tabs before values) has no lines."""
    try:
        return _parsed(data, "")[1]
    except UnreadableDocument:
        return {}


def _read_yaml(data: bytes, source: str) -> tuple[Any, Lines]:
    value, lines = _parsed(data, source)
    try:
        return check_value(value), lines
    except MalformedJson as error:
        raise UnreadableDocument(source, error.message, lines.get(error.pointer or "")) from None


def _parsed(data: bytes, source: str) -> tuple[Any, Lines]:
    builder = _Builder(source)
    try:
        for event in yaml.parse(data.decode(), Loader=_LOADER):
            builder.take(event)
    except UnicodeDecodeError as error:
        raise UnreadableDocument(source, f"byte {error.start} is no UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise UnreadableDocument(source, f"this is no YAML: {error.problem}", line) from None
    except yaml.YAMLError as error:
        raise UnreadableDocument(source, f"this is no YAML: {error}") from None
    return builder.value, builder.lines


class _Collection:
    """A list or an object that is being read."""

    def __init__(self, value: list[Any] | dict[str, Any], path: str) -> None:
        self.value = value
        self.path = path
        self.key: str | None = None

    @property
    def awaits_key(self) -> bool:
        return isinstance(self.value, dict) and self.key is None

    @property
    def next_path(self) -> str:
        return self.path + pointer(len(self.value) if self.key is None else self.key)

    def add(self, value: Any) -> None:
        if isinstance(self.value, list):
            self.value.append(value)
        else:
            assert self.key is not None
            self.value[self.key] = value
            self.key = None


class _Builder:
    """Makes values from the events of the parser."""

    def __init__(self, source: str) -> None:
        self.value: Any = None
        self.lines: dict[str, int] = {}
        self._source = source
        self._open: list[_Collection] = []
        self._anchored: dict[str, Any] = {}
        self._documents = 0

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        match event:
            case yaml.DocumentStartEvent():
                self._begin_document(line)
            case yaml.ScalarEvent():
                self._scalar(event, line)
            case yaml.AliasEvent():
                self._alias(event, line)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._begin(event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._open.pop()
            case _:
                pass  # stream and document ends

    def _begin_document(self, line: int) -> None:
        self._documents += 1
        if self._documents > 1:
            raise self._refusal("a second document begins here; a file holds one", line)

    def _scalar(self, event: Any, line: int) -> None:
        value = self._scalar_value(event, line)
        if self._open and self._open[-1].awaits_key:
            self._begin_member(value, line)
            self._anchor(event, value)
        else:
            self._add(event, value, line)

    def _scalar_value(self, event: Any, line: int) -> Any:
        if event.tag not in (None, "!", _TEXT_TAG):
            raise self._refusal(f"the tag {event.tag} is not read; write a plain value", line)
        is_plain = event.implicit[0] and event.tag is None
        try:
            return _resolved(event.value) if is_plain else event.value
        except ValueError as error:
            raise self._refusal(str(error), line) from None

    def _begin_member(self, key: Any, line: int) -> None:
        members = self._open[-1]
        if not isinstance(key, str):
            raise self._refusal(f"the key {key!r:.80} is no text; put it into quotes", line)
        if key in members.value:
            raise self._refusal(f"the key {key!r:.80} stands twice in one object; keep one", line)
        members.key = key

    def _alias(self, event: Any, line: int) -> None:
        if event.anchor not in self._anchored or any(
            each.value is self._anchored[event.anchor] for each in self._open
        ):
            raise self._refusal(f"*{event.anchor} names nothing that is complete here", line)
        if self._open and self._open[-1].awaits_key:
            self._begin_member(self._anchored[event.anchor], line)
        else:
            self._put(self._anchored[event.anchor], line)

    def _begin(self, event: Any, line: int) -> None:
        if event.tag not in (None, "!"):
            raise self._refusal(f"the tag {event.tag} is not read; write a plain value", line)
        if self._open and self._open[-1].awaits_key:
            raise self._refusal("a key is a text, not a list or an object", line)
        if len(self._open) >= MAX_DEPTH:
            raise self._refusal(f"lists and objects are nested more than {MAX_DEPTH} deep", line)
        value: list[Any] | dict[str, Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        path = self._open[-1].next_path if self._open else ""
        self._add(event, value, line)
        self._open.append(_Collection(value, path))

    def _add(self, event: Any, value: Any, line: int) -> None:
        self._anchor(event, value)
        self._put(value, line)

    def _anchor(self, event: Any, value: Any) -> None:
        if event.anchor is not None:
            self._anchored[event.anchor] = value

    def _put(self, value: Any, line: int) -> None:
        if not self._open:
            self.lines[""] = line
            self.value = value
            return
        self.lines[self._open[-1].next_path] = line
        self._open[-1].add(value)

    def _refusal(self, reason: str, line: int) -> UnreadableDocument:
        return UnreadableDocument(self._source, reason, line)


def _resolved(text: str) -> Any:
    """Return what a plain scalar means. Raises ValueError for a number that no JSON could hold."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[:1] not in "+-.0123456789":
        return text
    if text.lower() in (".inf", "+.inf", "-.inf", ".nan"):
        raise ValueError(f"{text} is no JSON; write null or a text")
    if not (is_integer := _INTEGER.fullmatch(text)) and not _DECIMAL.fullmatch(text):
        return text
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"the number {text:.40}… is too long; put it into quotes")
    return _integer(text) if is_integer else float(text)


def _integer(text: str) -> int:
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
