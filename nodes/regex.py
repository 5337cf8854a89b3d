"""The regular expression matcher of the expression language, over RE2.

RE2 takes time linear in the text, but up to proportional to the size of the pattern's program for
each character: that is what `weight` tells the caller, who pays for it in steps.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import re2

from contracts.expressions.errors import ExpressionError

_MEMORY_BYTES: Final = 1024 * 1024
_SMALL_PROGRAM: Final = 16
"""Up to this size all states of the automaton fit into its memory, and a character costs little."""

_GROUP: Final = re.compile(rb"\\([0-9\\])")


class Re2:
    """Implements `contracts.expressions.regex.Regex`; has no state of its own."""

    def weight(self, pattern: str) -> int:
        """Return how many steps 64 characters of text cost at worst."""
        size: int = _compiled(pattern, True).programsize
        return 1 if size <= _SMALL_PROGRAM else size // 2

    def search(self, pattern: str, text: str) -> bool:
        """Return whether the pattern matches somewhere in the text."""
        return _compiled(pattern, False).search(_encoded(text)) is not None

    def extract(self, pattern: str, text: str) -> str | None:
        """Return the first group of the first match, or all of it without groups; else None."""
        match = _compiled(pattern, True).search(_encoded(text))
        if match is None:
            return None
        found: bytes | None = match.group(1 if match.re.groups else 0)
        return None if found is None else found.decode()

    def replace(self, pattern: str, text: str, new: str) -> Iterator[str]:
        r"""Yield the text in pieces, each match replaced; `\1` names a group, `\0` the match."""
        compiled, content = _compiled(pattern, True), _encoded(text)
        parts = _replacement(_encoded(new), compiled.groups)
        position = 0
        for match in compiled.finditer(content):
            put = [part if isinstance(part, bytes) else match.group(part) or b"" for part in parts]
            yield b"".join((content[position : match.start()], *put)).decode()
            position = match.end()
        yield content[position:].decode()


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ExpressionError("value", "the text has half of a surrogate pair") from None


@lru_cache(maxsize=128)
def _compiled(pattern: str, groups: bool) -> Any:
    options = re2.Options()
    options.max_mem = _MEMORY_BYTES
    options.never_capture = not groups
    options.log_errors = False
    try:
        return re2.compile(_encoded(pattern), options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if error.args else "unreadable"
        message = f"the regular expression is no RE2: {reason}"
        raise ExpressionError("value", message) from None


def _replacement(new: bytes, groups: int) -> list[bytes | int]:
    """Return what a replacement consists of: literal text and numbers of groups."""
    parts: list[bytes | int] = []
    position = 0
    for escape in _GROUP.finditer(new):
        parts.append(new[position : escape.start()])
        parts.append(escape[1] if escape[1] == b"\\" else _group(int(escape[1]), groups))
        position = escape.end()
    parts.append(new[position:])
    return [part for part in parts if part != b""]


def _group(number: int, groups: int) -> int:
    if number > groups:
        raise ExpressionError("value", f"the regular expression has no group {number}")
    return number
