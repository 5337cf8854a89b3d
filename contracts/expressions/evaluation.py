"""The state of one evaluation: its budget, its scope and what its macros have bound."""

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo

from contracts.expressions import instants
from contracts.expressions.budget import Budget, Limits
from contracts.expressions.errors import ExpressionError
from contracts.expressions.regex import Regex
from contracts.expressions.values import Value, type_error

ZONE_STEPS = 1_000
"""What the first use of a time zone costs: it may have to be read from the zone database."""
PATTERN_STEPS = 200
"""What the first use of a regular expression costs: it may have to be compiled."""
PATTERN_CHARS = 512


class Evaluation(Budget):
    """One evaluation under way; lives as long as it and is never shared."""

    __slots__ = ("_now", "_patterns", "_zones", "regex", "scope", "variables")

    def __init__(
        self, scope: Mapping[str, Value], limits: Limits, regex: Regex | None, variables: int
    ) -> None:
        super().__init__(limits)
        self.scope = scope
        self.regex = regex
        self.variables: list[Value] = [None] * variables
        self._now: datetime | None = None
        self._patterns: dict[str, int] | None = None
        self._zones: dict[str, tzinfo] | None = None

    def new_list(self, entries: list[Value]) -> list[Value]:
        """Remember a list as made here, so that it is looked through when it leaves."""
        self.made[id(entries)] = entries
        return entries

    def new_map(self, entries: dict[str, Value]) -> dict[str, Value]:
        """Remember a map as made here, so that it is looked through when it leaves."""
        self.made[id(entries)] = entries
        return entries

    def now(self) -> datetime:
        """Return the instant that the scope calls `now`."""
        if self._now is None:
            self._now = self._read_now()
        return self._now

    def _read_now(self) -> datetime:
        match self.scope.get("now"):
            case datetime() as instant:
                return instants.utc(instant if instant.tzinfo else instant.replace(tzinfo=UTC))
            case str(text):
                return instants.parse(text, UTC)
            case None:
                raise ExpressionError("unknown_name", "now is not in scope here")
            case other:
                raise type_error("an instant as now", other)

    def zone(self, name: str | None = None) -> tzinfo:
        """Return a time zone by its IANA name, or else the workflow's."""
        if self._zones is None:
            self._zones = {}
        key = name or ""
        if key not in self._zones:
            if name is not None:
                self.spend(ZONE_STEPS)
            self._zones[key] = instants.zone(name if name is not None else self._own_zone())
        return self._zones[key]

    def _own_zone(self) -> str:
        workflow = self.scope.get("workflow")
        name = workflow.get("timezone") if isinstance(workflow, Mapping) else None
        return name if isinstance(name, str) else "UTC"

    def matcher(self, pattern: str, text: str) -> Regex:
        """Return the matcher, after paying for reading the text with this pattern."""
        if self.regex is None:
            raise ExpressionError("value", "regular expressions are not available here")
        self.spend((len(text) * self._weight(self.regex, pattern) + 63) >> 6)
        return self.regex

    def _weight(self, regex: Regex, pattern: str) -> int:
        if self._patterns is None:
            self._patterns = {}
        weight = self._patterns.get(pattern)
        if weight is None:
            self.spend(PATTERN_STEPS)
            weight = self._patterns[pattern] = check_pattern(regex, pattern)
            self.spend(weight)
        return weight


def check_pattern(regex: Regex, pattern: str) -> int:
    """Return the weight of a pattern, refusing what is too long or no RE2."""
    if len(pattern) > PATTERN_CHARS:
        message = f"a regular expression of more than {PATTERN_CHARS} characters"
        raise ExpressionError("value", message)
    return regex.weight(pattern)
