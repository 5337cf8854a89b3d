"""What an expression or a mapping can fail with.

ExpressionError   the failure kind INVALID_EXPRESSION; `code` says in which way
MappingError      the failure kind INVALID_INPUT; a mapping could not make the target's input
"""

from typing import Literal

Code = Literal["syntax", "unknown_name", "missing", "type", "overflow", "budget", "value"]

SOURCE_CHARS_SHOWN = 200


class ExpressionError(Exception):
    """An expression that cannot be read or evaluated.

    `position` counts code points from the start of `source`; both are filled in on the way out,
    by those who know them.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        position: int | None = None,
        hint: str | None = None,
        source: str | None = None,
    ) -> None:
        super().__init__(f"{message}; try {hint}" if hint else message)
        self.code: Code = code
        self.message = message
        self.position = position
        self.hint = hint
        self.source = source

    def details(self) -> dict[str, str | int]:
        """Return the details of an INVALID_EXPRESSION, for the caller to add its parameter."""
        details: dict[str, str | int] = {"source": (self.source or "")[:SOURCE_CHARS_SHOWN]}
        if self.position is not None:
            details["position"] = self.position
        if self.hint is not None:
            details["hint"] = self.hint
        return details


class MappingError(Exception):
    """A mapping whose result the target cannot take: `path` is the place in the target's input."""

    def __init__(
        self, code: Literal["required_field", "not_an_object"], message: str, *, path: str
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path
