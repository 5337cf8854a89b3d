"""The regular expression matcher that callers hand in: RE2 by syntax and by linear time."""

from collections.abc import Iterator
from typing import Protocol


class Regex(Protocol):
    """What the functions of regular expressions need; `nodes.regex` has the one over RE2.

    Every method raises `ExpressionError` with the code `value` for a pattern it cannot read.
    """

    def weight(self, pattern: str) -> int:
        """Check a pattern and return how many steps 64 characters of text cost at worst."""

    def search(self, pattern: str, text: str) -> bool:
        """Return whether the pattern matches somewhere in the text."""

    def extract(self, pattern: str, text: str) -> str | None:
        """Return the first group of the first match, or all of it without groups; else None."""

    def replace(self, pattern: str, text: str, new: str) -> Iterator[str]:
        r"""Yield the text in pieces, each match replaced; `\1` names a group, `\0` the match.

        Pieces come one by one so that the caller can stop when they become too much.
        """
