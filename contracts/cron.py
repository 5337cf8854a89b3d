"""Cron across clock changes: from the local times of a cron text to the instants at which they come.

A cron text knows no time zone: it names local times. What becomes of them where the clock is changed is decided
here, alike for schedules with and without seconds:

* A local time that is skipped comes at the first instant after it. Several that are skipped at once come once.
* A local time that occurs twice comes the first time. Only a pattern that runs in every hour of the day comes both
  times: it stands for a steady rhythm, which would else pause for as long as the clock is put back.

Reading a cron text is left to a library, which whoever needs it hands in: `flotilla.cron` has the one.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Protocol

SECOND: Final = timedelta(seconds=1)


class BadCron(ValueError):
    """A text is no cron pattern. `reason` says what is wrong, to go on after a colon."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CronPattern(Protocol):
    """The local times, to the second, that a cron text names."""

    @property
    def runs_every_hour(self) -> bool:
        """Whether there is no hour of the day in which it never comes."""

    def after(self, local: datetime) -> datetime | None:
        """Return the next local time after one, both naive, or None if there is none in 50 years."""


ReadCron = Callable[[str], CronPattern]
"""Raises BadCron."""


def instant_after(pattern: CronPattern, zone: tzinfo, at: datetime) -> datetime | None:
    """Return the first occurrence after an instant, in UTC, or None if there is none."""
    local = at.astimezone(zone)
    naive = local.replace(tzinfo=None, fold=0)
    if pattern.runs_every_hour and local.fold:
        return _after_in_second_pass(pattern, zone, at, naive)
    following = next((each for each in _walk(pattern, naive) if _instant(each, zone) > at), None)
    if following is None:
        return None
    back = _back(naive, zone)
    is_in_first_pass = following - naive < back and _back(following, zone)
    if pattern.runs_every_hour and back and not is_in_first_pass:
        return _first_in_second_pass(pattern, zone, naive) or _instant(following, zone)
    return _instant(following, zone)


def _after_in_second_pass(
    pattern: CronPattern, zone: tzinfo, at: datetime, naive: datetime
) -> datetime | None:
    following = pattern.after(naive)
    if following is None:
        return None
    first = _instant(following, zone)
    return first if first > at else _instant(following, zone, fold=1)


def _first_in_second_pass(pattern: CronPattern, zone: tzinfo, naive: datetime) -> datetime | None:
    """Return the first occurrence in the second pass of the times among which `naive` is, if there is one."""
    for each in _walk(pattern, naive - _back(naive, zone) - SECOND):
        if _back(each, zone):
            return _instant(each, zone, fold=1)
        if each > naive:
            break
    return None


def _walk(pattern: CronPattern, local: datetime) -> Iterator[datetime]:
    following = pattern.after(local)
    while following is not None:
        yield following
        following = pattern.after(following)


def _back(naive: datetime, zone: tzinfo) -> timedelta:
    """Return by how much the clock is put back over a local time, zero if it occurs once or never."""
    first, second = (
        naive.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta() for fold in (0, 1)
    )
    return max(first - second, timedelta())


def _instant(naive: datetime, zone: tzinfo, *, fold: int = 0) -> datetime:
    """Return when a local time is, the first (0) or second (1) time; of a skipped one, when the clock went on."""
    at = naive.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == naive:
        return at
    # A skipped time read with the old and with the new offset lies behind the change, and before it.
    before = naive.replace(tzinfo=zone, fold=1).astimezone(UTC)
    behind = naive.replace(tzinfo=zone, fold=0).astimezone(UTC)
    offset = behind.astimezone(zone).utcoffset()
    while behind - before > SECOND:
        middle = before + (behind - before) // (2 * SECOND) * SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            behind = middle
        else:
            before = middle
    return behind
