"""Schedules: what a TRIGGER.CRON says of when to start, and the instants that follow from it."""

from datetime import datetime, timedelta
from typing import Final, Literal, Protocol
from zoneinfo import ZoneInfo

import msgspec

from contracts.cron import BadCron, CronPattern, ReadCron, instant_after
from contracts.model import Document

CRON_TRIGGER: Final = "TRIGGER.CRON"
RESOLUTION: Final = timedelta(microseconds=1)
"""Of instants: what lies this much before an occurrence is the last instant before it."""

_SOME_TIME: Final = datetime(2000, 1, 1)  # noqa: DTZ001  # a local time


class Timing(msgspec.Struct, frozen=True):
    """When a schedule comes: by a cron text in a time zone, or every so many seconds."""

    cron: str | None
    interval_s: float | None
    timezone: str


class Policy(msgspec.Struct, frozen=True):
    """What becomes of occurrences that were missed, or come while an execution of theirs is under way."""

    catch_up: Literal["LAST", "ALL", "NONE"] = "LAST"
    max_catch_up: int = 3
    overlap: Literal["ALLOW", "SKIP"] = "ALLOW"

    @property
    def caught_up(self) -> int:
        """How many of the occurrences that were missed are started."""
        return {"NONE": 0, "LAST": 1, "ALL": self.max_catch_up}[self.catch_up]


class Schedule(msgspec.Struct, frozen=True):
    """The schedule of one trigger of a document."""

    node_id: str
    timing: Timing
    policy: Policy


class Series(Protocol):
    """The occurrences of a schedule, in order."""

    def after(self, at: datetime) -> datetime | None:
        """Return the first occurrence after an instant, in UTC, or None if there is none in 50 years."""


class Calendar:
    """Says when schedules come. What reads cron texts is handed in; it has no state of its own."""

    def __init__(self, read: ReadCron) -> None:
        self._read = read

    def fault(self, cron: str) -> str | None:
        """Return what is wrong with a cron text, to go on after a colon, or None."""
        try:
            pattern = self._read(cron)
        except BadCron as error:
            return error.reason
        if pattern.after(_SOME_TIME) is None:
            return "it never comes: no date has what it asks for"
        return None

    def series(self, timing: Timing, since: datetime) -> Series:
        """Return the occurrences of a schedule. Those of an interval begin at `since`. Raises BadCron."""
        if timing.cron is not None:
            return _ByCron(self._read(timing.cron), ZoneInfo(timing.timezone))
        assert timing.interval_s is not None, "a schedule has a cron text or an interval"
        return _ByInterval(since, timedelta(seconds=timing.interval_s))


class _ByCron(msgspec.Struct, frozen=True):
    pattern: CronPattern
    zone: ZoneInfo

    def after(self, at: datetime) -> datetime | None:
        return instant_after(self.pattern, self.zone, at)


class _ByInterval(msgspec.Struct, frozen=True):
    first: datetime
    interval: timedelta

    def after(self, at: datetime) -> datetime | None:
        if at < self.first:
            return self.first
        return self.first + ((at - self.first) // self.interval + 1) * self.interval


def latest(series: Series, known: datetime, until: datetime) -> datetime:
    """Return the last occurrence up to an instant, given one that is not after it.

    Takes time by the logarithm of the distance, not by the number of occurrences in it.
    """
    while (following := series.after(known)) is not None and following <= until:
        known, bound = following, until
        while bound - known > RESOLUTION:
            middle = known + (bound - known) / 2
            following = series.after(middle)
            if following is None or following > until:
                bound = middle
            else:
                known = following
    return known


def schedules_of(document: Document) -> tuple[Schedule, ...]:
    """Return the schedules of a document that can be published."""
    return tuple(
        _schedule(node.id, node.parameters, document.settings.timezone)
        for node in document.nodes
        if node.type == CRON_TRIGGER and not node.disabled
    )


class _Parameters(Policy, frozen=True):
    """The parameters as they are stored: numbers may be text."""

    cron: str | None = None
    interval: float | None = None
    timezone: str | None = None


def _schedule(node_id: str, parameters: object, timezone: str) -> Schedule:
    given = msgspec.convert(parameters, _Parameters, strict=False)
    return Schedule(
        node_id,
        Timing(given.cron, given.interval, given.timezone or timezone),
        Policy(given.catch_up, given.max_catch_up, given.overlap),
    )
