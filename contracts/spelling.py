"""Spelling: camelCase read as snake_case, and the known words nearest to an unknown one."""

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Final

_LONGEST: Final = 100
"""Characters of a word that are looked at; no known word is longer."""

_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def snake_case(word: str) -> str:
    """Return `word` in snake_case: `onError` as `on_error`."""
    return _HUMP.sub("_", word).lower()


class Hints:
    """Says which known words are nearest to an unknown one, for the first hundred that are asked about.

    Comparing with many words takes time, and nobody reads more hints than that.
    """

    def __init__(self, most: int = 100) -> None:
        self._left = most

    def nearest(self, word: str, known: Collection[str], count: int = 1) -> str:
        """Return the end of a sentence: `; the nearest is url`, or nothing."""
        if not known or self._left <= 0:
            return ""
        self._left -= 1
        verb = "is" if count == 1 else "are"
        return f"; the nearest {verb} {', '.join(nearest(word, known, count))}"


def nearest(word: str, known: Iterable[str], count: int = 1) -> list[str]:
    """Return the `count` known words most like `word`, best first, by the pairs of letters they share."""
    pairs = _pairs(word[:_LONGEST].lower())
    return sorted(known, key=lambda other: (-_likeness(pairs, _pairs(other.lower())), other))[
        :count
    ]


@lru_cache(maxsize=1024)
def _pairs(word: str) -> frozenset[str]:
    framed = f"^{word}$"
    return frozenset(framed[i : i + 2] for i in range(len(framed) - 1))


def _likeness(first: frozenset[str], second: frozenset[str]) -> float:
    return 2 * len(first & second) / (len(first) + len(second))
