"""What commands print: results on stdout, in the format that was asked for, and all else on stderr.

Tables are plain aligned columns, never cut, so that they can be searched and split; characters that would steer a terminal are replaced.
"""

import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, assert_never

import msgspec
import typer

GAP: Final = "  "


class Format(StrEnum):
    """How a result is written."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


FormatOption = Annotated[
    Format, typer.Option("-o", "--output", help="Format of the result on stdout.")
]


def emit(value: Any, format: Format, table: str) -> None:
    """Write a result to stdout: `table`, or the value as JSON or YAML."""
    match format:
        case Format.TABLE:
            _print(table)
        case Format.JSON:
            _print(as_json(value))
        case Format.YAML:
            _print(as_yaml(value))
        case _:
            assert_never(format)


def note(text: str) -> None:
    """Write a line for people, to stderr."""
    sys.stderr.write(f"{printable(text)}\n")


def as_json(value: Any) -> str:
    """Indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def as_yaml(value: Any) -> str:
    """YAML in the value's own order."""
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def columns(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows below their heads, each column as wide as its longest cell."""
    table = [list(heads), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )


def facts(pairs: Iterable[tuple[str, Any]]) -> str:
    """Names and values, one pair a line; what has no value is left out."""
    known = [(name, _cell(value)) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in known), default=0)
    return "\n".join(f"{name:<{width}}{GAP}{value}" for name, value in known)


def printable(text: str) -> str:
    """The text without characters that would steer a terminal."""
    return "".join(each if each.isprintable() or each == "\n" else "�" for each in text)


def _print(text: str) -> None:
    sys.stdout.write(f"{text.rstrip()}\n")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return printable(text).replace("\n", " ")
