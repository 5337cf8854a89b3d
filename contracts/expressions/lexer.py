"""Source text into tokens, in one pass and in linear time."""

import math
import re
from typing import Final, NamedTuple

from contracts.expressions import hints
from contracts.expressions.errors import ExpressionError
from contracts.expressions.values import WHOLE_MAX


class Token(NamedTuple):
    """A piece of source: `kind` is `literal`, `name`, `end`, or the operator itself."""

    kind: str
    text: str
    value: str | int | float | None
    position: int


_TOKEN: Final = re.compile(
    r"""
      (?P<blank>[ \t\r\n\f]+)
    | (?P<number>0[xX][0-9A-Fa-f]+[uU]?|[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?[uU]?)
    | (?P<raw>[rR](?:'[^']*+'|"[^"]*+"))
    | (?P<string>'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+")
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<operator>===|!==|==|!=|<=|>=|=>|&&|\|\||\?\?|\?\.(?![0-9])|\*\*|//|[-+*/%!<>?:.,()\[\]{}=&|`])
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL
)
_SIMPLE_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}


def tokens(source: str, start: int = 0, end: int | None = None) -> list[Token]:
    """Return the tokens of the source between two positions, and one of kind `end` behind them."""
    found: list[Token] = []
    position, end = start, len(source) if end is None else end
    while position < end:
        match = _TOKEN.match(source, position, end)
        if match is None:
            raise _unreadable(source, position, end)
        if match.lastgroup != "blank":
            found.append(_token(match))
        position = match.end()
    found.append(Token("end", "", None, end))
    return found


def _token(match: re.Match[str]) -> Token:
    text, position = match[0], match.start()
    match match.lastgroup:
        case "number":
            return Token("literal", text, _number(match), position)
        case "raw":
            return Token("literal", text, _clean(text[2:-1], position), position)
        case "string":
            return Token("literal", text, _unescape(text[1:-1], position), position)
        case "name":
            return _name(match)
        case _:
            return _operator(text, position)


def _operator(text: str, position: int) -> Token:
    if text == "//":
        raise ExpressionError("syntax", "comments are not part of the language", position=position)
    if text in hints.OPERATORS:
        raise ExpressionError(
            "syntax", f"unknown operator {text}", position=position, hint=hints.OPERATORS[text]
        )
    return Token(text, text, None, position)


def _name(match: re.Match[str]) -> Token:
    text, after = match[0], match.string[match.end() : match.end() + 1]
    if text in ("b", "B", "br", "rb", "bR", "rB") and after in ("'", '"') and after:
        raise ExpressionError(
            "syntax", "bytes are not part of the language", position=match.start(), hint="'text'"
        )
    return Token("name", text, None, match.start())


def _number(match: re.Match[str]) -> int | float:
    text, position = match[0], match.start()
    after = match.string[match.end() : match.end() + 1]
    if after.isalnum() or after == "_":
        raise ExpressionError("syntax", "a number runs into a name", position=position)
    digits = text.rstrip("uU")
    if digits[:2] in ("0x", "0X"):
        return _whole(int(digits, 16), position)
    if digits.isdigit():
        # Python refuses to read thousands of digits, and none of those is in range.
        return _whole(int(digits) if len(digits.lstrip("0")) <= 16 else WHOLE_MAX + 1, position)
    if digits != text:
        raise ExpressionError("syntax", "u stands behind whole numbers only", position=position)
    value = float(digits)
    if not math.isfinite(value):
        raise ExpressionError("overflow", "a number beyond binary64", position=position)
    return int(value) if value.is_integer() and value <= WHOLE_MAX else value


def _whole(value: int, position: int) -> int:
    if value > WHOLE_MAX:
        raise ExpressionError("overflow", "a whole number beyond 2^53 - 1", position=position)
    return value


def _unescape(content: str, position: int) -> str:
    if "\\" in content:
        content = _ESCAPE.sub(lambda escape: _character(escape, position + 1), content)
    return _clean(content, position)


def _character(escape: re.Match[str], start: int) -> str:
    digits = escape[1] or escape[2] or escape[3]
    if digits is None:
        if (simple := _SIMPLE_ESCAPES.get(escape[4])) is not None:
            return simple
    elif (code := int(digits, 16)) <= 0x10FFFF:
        return chr(code)
    raise ExpressionError(
        "syntax", f"unknown escape {escape[0][:10]}", position=start + escape.start(), hint="\\\\"
    )


def _clean(content: str, position: int) -> str:
    """Refuse the characters that no JSON value of Flotilla may hold."""
    if not content.isascii() and any("\ud800" <= character <= "\udfff" for character in content):
        raise ExpressionError("syntax", "half of a surrogate pair", position=position)
    if "\0" in content:
        raise ExpressionError("syntax", "a NUL character", position=position)
    return content


def _unreadable(source: str, position: int, end: int) -> ExpressionError:
    character = source[position]
    if character in "'\"":
        return ExpressionError("syntax", "a string without its end", position=position)
    hint = hints.for_dollar(source[position:end]) if character == "$" else None
    message = f"unexpected character {character!r}"
    return ExpressionError("syntax", message, position=position, hint=hint)
