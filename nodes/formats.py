"""Data as text: JSON, CSV, YAML, XML and lines, read into JSON values and written from them.

XML: an element is a map of its attributes as `@name`, its text as `#text` and its children by name,
several of one name as a list; one with text alone is that text, an empty one null. Document type
declarations are refused, and with them entities that multiply.
"""

import csv
import io
import re
from collections.abc import Callable
from typing import Any, Final, Literal
from xml.parsers import expat
from xml.sax import saxutils  # writing alone: reading goes through expat, without a DTD

import msgspec
import yaml

from nodes.json_values import MAX_DEPTH, NotJson, clean, clean_text, read_json

Format = Literal["json", "csv", "yaml", "xml", "text"]

_YamlLoader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Knows plain values alone; the one in C, where there is one, is ten times as fast."""

_XML_NAME: Final = re.compile(r"[A-Za-z_][\w.-]*")
_XML_ATTRIBUTE, _XML_TEXT = "@", "#text"
_NO_XML_CHARACTER: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


class InvalidData(ValueError):
    """A text is not of its format, or a value has no form in it."""


def read(text: str, format_name: Format) -> Any:
    """Return the value that a text of this format spells. Raises InvalidData."""
    try:
        return _READERS[format_name](text)
    except (NotJson, csv.Error, yaml.YAMLError, expat.ExpatError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InvalidData(f"the text is no {format_name}: {reason:.300}") from error


def write(value: Any, format_name: Format) -> Any:
    """Return the text of a value in this format; for `json` the value itself. Raises InvalidData."""
    try:
        return _WRITERS[format_name](value)
    except (csv.Error, yaml.YAMLError, RecursionError) as error:
        raise InvalidData(f"the data cannot be written as {format_name}: {error}") from error


def _read_csv(text: str) -> list[Any]:
    """Return a map per row, by the names in the first one."""
    rows = csv.DictReader(io.StringIO(text, newline=""), restkey="", strict=True)
    return [_row(row) for row in rows]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    if "" in row and isinstance(row[""], list):
        raise InvalidData(
            f"the text is no csv: a row has {len(row[''])} cells more than the header"
        )
    return {
        clean_text(name): None if cell is None else clean_text(cell) for name, cell in row.items()
    }


def _write_csv(value: Any) -> str:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise InvalidData("csv is written from a list of maps")
    names = list(dict.fromkeys(name for row in value for name in row))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(cell) for name, cell in row.items()} for row in value)
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _read_yaml(text: str) -> Any:
    loader = _YamlLoader(text)
    try:
        return clean(loader.get_single_data())
    finally:
        loader.dispose()


def _write_yaml(value: Any) -> str:
    written: str = yaml.safe_dump(value, allow_unicode=True, sort_keys=False)
    return written


def _read_lines(text: str) -> list[str]:
    return text.splitlines()


def _write_lines(value: Any) -> str:
    if not isinstance(value, list):
        raise InvalidData("text is written from a list of lines")
    return "".join(f"{_cell(line)}\n" for line in value)


def _read_xml(text: str) -> Any:
    reader = _XmlReader()
    parser = expat.ParserCreate(namespace_separator=None)
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.Parse(text, True)
    return clean(reader.document)


class _XmlReader:
    """Builds the value while the parser goes through the text."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {}
        self._open: list[tuple[dict[str, Any], list[str]]] = [(self.document, [])]

    def refuse_doctype(self, *_: Any) -> None:
        raise InvalidData("the text is no plain xml: it declares a document type")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise InvalidData(f"elements are nested more than {MAX_DEPTH} deep")
        marked = {f"{_XML_ATTRIBUTE}{key}": value for key, value in attributes.items()}
        self._open.append((marked, []))

    def text(self, data: str) -> None:
        self._open[-1][1].append(data)

    def end(self, name: str) -> None:
        fields, pieces = self._open.pop()
        text = "".join(pieces).strip()
        if text and fields:
            fields[_XML_TEXT] = text
        _add_element(self._open[-1][0], name, fields or text or None)


def _add_element(parent: dict[str, Any], name: str, value: Any) -> None:
    if name not in parent:
        parent[name] = value
    elif isinstance(parent[name], list):
        parent[name].append(value)
    else:
        parent[name] = [parent[name], value]


def _write_xml(value: Any) -> str:
    if not isinstance(value, dict) or len(value) != 1:
        raise InvalidData("xml is written from a map with one key, the root element")
    (name, content), *_ = value.items()
    if isinstance(content, list):
        raise InvalidData("xml has one root element, and this is a list")
    return _element(name, content, 1)


def _element(name: str, value: Any, depth: int) -> str:
    if not _XML_NAME.fullmatch(name):
        raise InvalidData(f"{name!r:.80} cannot be the name of an xml element")
    if depth > MAX_DEPTH:
        raise InvalidData(f"elements would be nested more than {MAX_DEPTH} deep")
    if isinstance(value, list):
        return "".join(_element(name, each, depth) for each in value)
    if value is None:
        return f"<{name}/>"
    if not isinstance(value, dict):
        return f"<{name}>{_escaped(value)}</{name}>"
    attributes = "".join(
        f" {_attribute(key)}={saxutils.quoteattr(_xml_text(each))}"
        for key, each in value.items()
        if key.startswith(_XML_ATTRIBUTE)
    )
    return f"<{name}{attributes}>{_children(value, depth)}</{name}>"


def _children(value: dict[str, Any], depth: int) -> str:
    inner = [
        _escaped(each) if key == _XML_TEXT else _element(key, each, depth + 1)
        for key, each in value.items()
        if not key.startswith(_XML_ATTRIBUTE)
    ]
    return "".join(inner)


def _attribute(key: str) -> str:
    name = key.removeprefix(_XML_ATTRIBUTE)
    if not _XML_NAME.fullmatch(name):
        raise InvalidData(f"{key!r:.80} cannot be an xml attribute")
    return name


def _escaped(value: Any) -> str:
    return saxutils.escape(_xml_text(value))


def _xml_text(value: Any) -> str:
    return _NO_XML_CHARACTER.sub("\ufffd", _cell(value))


_READERS: Final[dict[Format, Callable[[str], Any]]] = {
    "json": read_json,
    "csv": _read_csv,
    "yaml": _read_yaml,
    "xml": _read_xml,
    "text": _read_lines,
}
_WRITERS: Final[dict[Format, Callable[[Any], Any]]] = {
    "json": lambda value: value,
    "csv": _write_csv,
    "yaml": _write_yaml,
    "xml": _write_xml,
    "text": _write_lines,
}
