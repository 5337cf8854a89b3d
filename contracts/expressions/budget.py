"""How much one evaluation may do and produce.

Steps bound time, bytes bound memory. Nothing here reads a clock: each operation pays for the list
entries and characters it goes through *before* it goes through them, and asks for room before it
builds a value, so that the worst expression ends within tens of milliseconds. A value that is
only passed on is neither read nor produced and costs nothing.
"""

from typing import Final

import msgspec

from contracts.expressions.errors import ExpressionError

LIST_ENTRY_BYTES: Final = 8
MAP_ENTRY_BYTES: Final = 64
VALUE_DEPTH: Final = 64
"""How deep a value may be nested that is read as a whole or leaves an expression (JSON_DEPTH)."""


class Limits(msgspec.Struct, frozen=True):
    """The budgets of expressions; settings change those that carry a `LIMIT_` name."""

    source_chars: int = 4_096
    """LIMIT_EXPRESSION_CHARS"""
    steps: int = 100_000
    """LIMIT_EXPRESSION_STEPS"""
    produced_bytes: int = 4 * 1024 * 1024
    """LIMIT_EXPRESSION_BYTES: all strings, lists and maps that one evaluation makes."""
    string_bytes: int = 256 * 1024
    """One produced string, in UTF-8."""
    entries: int = 10_000
    """One produced list or map."""
    nesting: int = 32
    """Brackets, calls, conditionals and unary operators inside each other."""
    template_expressions: int = 100
    """Expressions in one template."""
    rendered_bytes: int = 1024 * 1024
    """One rendered parameter."""


DEFAULT_LIMITS: Final = Limits()


class Budget:
    """What is left of the limits of one evaluation, and which containers it made."""

    __slots__ = ("bytes_left", "limits", "made", "steps_left")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self.steps_left = limits.steps
        self.bytes_left = limits.produced_bytes
        self.made: dict[int, object] = {}
        """The lists and maps made here by id; all others are passed on as they are."""

    def spend(self, steps: int) -> None:
        """Pay for steps, one per list entry or evaluated element of syntax."""
        self.steps_left -= steps
        if self.steps_left < 0:
            raise exhausted(f"takes more than {self.limits.steps} steps")

    def read(self, text: str) -> None:
        """Pay for reading a text, one step per 64 characters."""
        self.spend((len(text) + 63) >> 6)

    def produce(self, size: int) -> None:
        """Take bytes from what one evaluation may produce."""
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise exhausted(f"produces more than {self.limits.produced_bytes} bytes")

    def check_text(self, size: int) -> None:
        """Make sure that a string of so many bytes may be built at all."""
        if size > self.limits.string_bytes:
            raise exhausted(f"makes a string of more than {self.limits.string_bytes} bytes")

    def room_for_text(self, size: int) -> None:
        """Make sure that a string of so many bytes may be built, and pay for it."""
        self.check_text(size)
        self.produce(size)
        self.spend((size + 63) >> 6)

    def room_for_list(self, count: int) -> None:
        """Make sure that a list of so many entries may be built, and pay for its bytes."""
        if count > self.limits.entries:
            raise exhausted(f"makes a list of more than {self.limits.entries} entries")
        self.produce(count * LIST_ENTRY_BYTES)

    def room_for_map(self, count: int) -> None:
        """Make sure that a map of so many entries may be built, and pay for its bytes."""
        if count > self.limits.entries:
            raise exhausted(f"makes a map of more than {self.limits.entries} entries")
        self.produce(count * MAP_ENTRY_BYTES)

    def check_depth(self, depth: int) -> None:
        """Refuse to follow a value deeper than JSON may be nested."""
        if depth > VALUE_DEPTH:
            raise exhausted(f"handles a value nested deeper than {VALUE_DEPTH} levels")


def exhausted(what: str) -> ExpressionError:
    """Return the error for a budget that is used up."""
    return ExpressionError("budget", f"the expression {what}")


def text_bytes(text: str) -> int:
    """Return the size of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
