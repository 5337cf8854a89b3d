"""What the parser and the interpreter know of a function."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from contracts.expressions.values import Value


class Function(msgspec.Struct, frozen=True):
    """A function of the language; `call` takes the evaluation before the arguments."""

    call: Callable[..., Value]
    least: int
    most: int | None
    """How many arguments it takes; no `most`: any number."""
    steps: int = 1
    """What a call costs beside what it reads and writes; more than 1 where it takes longer."""
    pattern: int | None = None
    """Which argument is a regular expression."""


Table: TypeAlias = dict[str, Function]
