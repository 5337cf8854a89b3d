"""What leaves an evaluation: JSON, and no more of it than may be.

Lists and maps that the evaluation made are copied, with timestamps and durations as JSON. Those of
the scope are passed on as they are, however large; only where the same one stands in a result a
second time does it count by its size, since it will be written twice.
"""

from collections.abc import Container
from datetime import datetime, timedelta

from contracts.expressions.budget import LIST_ENTRY_BYTES, Budget, Limits, exhausted
from contracts.expressions.values import (
    CONTAINERS,
    JSON,
    Value,
    duration_seconds,
    number_text,
    plain_number,
    timestamp_text,
    type_error,
)


class Departure:
    """One result, or one rendered parameter, on its way out."""

    __slots__ = ("_budget", "_seen", "limits", "size")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.size = 0
        """Bytes that the result takes, without what is passed on for the first time."""
        self._budget = Budget(limits)
        self._seen: set[int] = set()

    def leave(self, value: Value, made: Container[int]) -> JSON:
        """Return a value as JSON, copying what the evaluation made."""
        return self._leave(value, made, 0)

    def _leave(self, value: Value, made: Container[int], depth: int) -> JSON:
        if isinstance(value, CONTAINERS):
            if id(value) not in made:
                return self._pass_on(value)
            self._budget.check_depth(depth + 1)
            self._budget.spend(len(value))
            self.size += len(value) * LIST_ENTRY_BYTES
            if isinstance(value, list):
                return [self._leave(entry, made, depth + 1) for entry in value]
            return {key: self._leave(entry, made, depth + 1) for key, entry in value.items()}
        if isinstance(value, str):
            return self._pass_on_text(value)
        return plain(value)

    def _pass_on(self, value: Value) -> JSON:
        if id(value) in self._seen:
            self._count(value)
        else:
            self._seen.add(id(value))
        passed: JSON = value  # type: ignore[assignment]  # what a scope holds is JSON
        return passed

    def _pass_on_text(self, text: str) -> str:
        # No evaluation can make a text longer than `string_bytes`: a longer one is passed on.
        if id(text) in self._seen:
            self._budget.produce(len(text))
            self.size += len(text)
        else:
            self._seen.add(id(text))
            self.size += len(text) if len(text) <= self.limits.string_bytes else 0
        return text

    def _count(self, value: Value) -> None:
        """Count a value that stands in the result once more."""
        pending = [value]
        while pending:
            entry = pending.pop()
            if isinstance(entry, CONTAINERS):
                self._budget.spend(len(entry) + 1)
                pending.extend(entry if isinstance(entry, list) else entry.values())
            size = len(entry) if isinstance(entry, str | list | dict) else LIST_ENTRY_BYTES
            self._budget.produce(size)
            self.size += size

    def check_size(self) -> None:
        """Refuse a rendered parameter that has become too large."""
        if self.size > self.limits.rendered_bytes:
            raise exhausted(f"makes a parameter of more than {self.limits.rendered_bytes} bytes")


def plain(value: Value) -> JSON:
    """Return a scalar as JSON."""
    match value:
        case None | bool() | str():
            return value
        case int():
            number_text(value)
            return value
        case float():
            number_text(value)
            return plain_number(value)
        case datetime():
            return timestamp_text(value)
        case timedelta():
            return duration_seconds(value)
        case _:
            raise type_error("a JSON value", value)
