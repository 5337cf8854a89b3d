"""Occurrences across clock changes: what is skipped comes at once, what occurs twice comes once, a rhythm goes on."""

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from contracts.cron import CronPattern, instant_after
from flotilla.cron import read_cron

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
MICROSECOND = timedelta(microseconds=1)


def occurrences(text: str, zone: ZoneInfo, begin: datetime) -> Iterator[datetime]:
    """Yield the occurrences from an instant on."""
    at = instant_after(read_cron(text), zone, begin - MICROSECOND)
    while at is not None:
        yield at
        at = instant_after(read_cron(text), zone, at)


def shown(text: str, zone_name: str, begin: str, count: int) -> list[str]:
    """Return the first occurrences from a local time on, as local times with their offset from UTC in hours."""
    zone = ZoneInfo(zone_name)
    found = itertools.islice(
        occurrences(text, zone, datetime.fromisoformat(begin).replace(tzinfo=zone)), count
    )
    return [f"{at.astimezone(zone):%d %H:%M:%S %z}" for at in found]


PLAIN = {
    "every day": ("0 3 * * *", "2026-06-30", ["30 03:00:00", "01 03:00:00"]),
    "seconds first": ("15,45 0 3 * * *", "2026-06-30", ["30 03:00:15", "30 03:00:45"]),
    "every second": ("* * * * * *", "2026-06-30", ["30 00:00:00", "30 00:00:01"]),
    "steps in a range": ("10-30/10 8 * * *", "2026-06-30", ["30 08:10:00", "30 08:20:00"]),
    "weekdays by name": ("0 9 * * MON-FRI", "2026-06-26T10:00", ["29 09:00:00", "30 09:00:00"]),
    "a month by name": ("0 0 1 feb *", "2026-06-30", ["01 00:00:00"]),
    "a day or a weekday": ("0 0 13 * FRI", "2026-07-09", ["10 00:00:00", "13 00:00:00"]),
    "a leap day": ("0 0 29 2 *", "2026-06-30", ["29 00:00:00"]),
    "a nickname": ("@weekly", "2026-06-30", ["05 00:00:00", "12 00:00:00"]),
}


@pytest.mark.parametrize(("text", "begin", "expected"), PLAIN.values(), ids=PLAIN)
def test_a_pattern_comes_when_its_fields_fit(text: str, begin: str, expected: list[str]) -> None:
    found = shown(text, "UTC", begin, len(expected))

    assert found == [f"{each} +0000" for each in expected]


FORWARD = {
    # Berlin goes from 02:00 to 03:00 on 29 March 2026.
    "a skipped time": (BERLIN, "30 2 * * *", "2026-03-29", ["29 03:00:00 +0200", "30 02:30:00 +0200"]),
    "a skipped time with seconds": (BERLIN, "30 30 2 * * *", "2026-03-29", ["29 03:00:00 +0200", "30 02:30:30 +0200"]),
    "several skipped times come once": (BERLIN, "*/20 2 * * *", "2026-03-29", ["29 03:00:00 +0200", "30 02:00:00 +0200"]),
    "a skipped time that meets another": (BERLIN, "0 2,3 * * *", "2026-03-29", ["29 03:00:00 +0200", "30 02:00:00 +0200"]),
    "the last time before": (BERLIN, "59 1 * * *", "2026-03-29", ["29 01:59:00 +0100", "30 01:59:00 +0200"]),
    "every quarter": (BERLIN, "*/15 * * * *", "2026-03-29T01:30", ["29 01:30:00 +0100", "29 01:45:00 +0100", "29 03:00:00 +0200", "29 03:15:00 +0200"]),
    "every hour": (BERLIN, "0 * * * *", "2026-03-29T01:00", ["29 01:00:00 +0100", "29 03:00:00 +0200", "29 04:00:00 +0200"]),
    "every second goes on": (BERLIN, "* * * * * *", "2026-03-29T01:59:59", ["29 01:59:59 +0100", "29 03:00:00 +0200", "29 03:00:01 +0200"]),
    # New York goes from 02:00 to 03:00 on 8 March 2026.
    "a skipped time in New York": (NEW_YORK, "15 2 * * *", "2026-03-08", ["08 03:00:00 -0400", "09 02:15:00 -0400"]),
    "a skipped weekly time": (NEW_YORK, "0 30 2 * * SUN", "2026-03-02", ["08 03:00:00 -0400", "15 02:30:00 -0400"]),
    # Lord Howe goes from 02:00 to 02:30 on 4 October 2026.
    "half an hour is skipped": (LORD_HOWE, "15 2 * * *", "2026-10-04", ["04 02:30:00 +1100", "05 02:15:00 +1100"]),
    "hourly over half an hour": (LORD_HOWE, "0 * * * *", "2026-10-04T01:00", ["04 01:00:00 +1030", "04 02:30:00 +1100", "04 03:00:00 +1100"]),
    "quarters over half an hour": (LORD_HOWE, "0 */15 * * * *", "2026-10-04T01:30", ["04 01:30:00 +1030", "04 01:45:00 +1030", "04 02:30:00 +1100", "04 02:45:00 +1100"]),
    "behind half an hour": (LORD_HOWE, "45 2 * * *", "2026-10-04", ["04 02:45:00 +1100", "05 02:45:00 +1100"]),
    # Apia had no 30 December 2011.
    "a skipped day": ("Pacific/Apia", "0 9 * * *", "2011-12-29", ["29 09:00:00 -1000", "31 00:00:00 +1400", "31 09:00:00 +1400"]),
    # Cairo goes from 00:00 to 01:00 on 24 April 2026.
    "a skipped midnight": ("Africa/Cairo", "@daily", "2026-04-23", ["23 00:00:00 +0200", "24 01:00:00 +0300", "25 00:00:00 +0300"]),
}  # fmt: skip


@pytest.mark.parametrize(("zone", "text", "begin", "expected"), FORWARD.values(), ids=FORWARD)
def test_what_the_clock_skips_comes_at_the_first_instant_after_it(
    zone: str, text: str, begin: str, expected: list[str]
) -> None:
    assert shown(text, zone, begin, len(expected)) == expected


BACK = {
    # Berlin goes from 03:00 back to 02:00 on 25 October 2026.
    "a time that occurs twice": (BERLIN, "30 2 * * *", "2026-10-25", ["25 02:30:00 +0200", "26 02:30:00 +0100"]),
    "with seconds": (BERLIN, "5 30 2 * * *", "2026-10-25", ["25 02:30:05 +0200", "26 02:30:05 +0100"]),
    "several times of that hour": (BERLIN, "*/30 2 * * *", "2026-10-25", ["25 02:00:00 +0200", "25 02:30:00 +0200", "26 02:00:00 +0100"]),
    "some hours of the day": (BERLIN, "0 1-3 * * *", "2026-10-25", ["25 01:00:00 +0200", "25 02:00:00 +0200", "25 03:00:00 +0100"]),
    "every other hour": (BERLIN, "0 */2 * * *", "2026-10-25", ["25 00:00:00 +0200", "25 02:00:00 +0200", "25 04:00:00 +0100"]),
    # New York goes from 02:00 back to 01:00 on 1 November 2026.
    "a time that occurs twice in New York": (NEW_YORK, "30 1 * * *", "2026-11-01", ["01 01:30:00 -0400", "02 01:30:00 -0500"]),
    "midnight occurs once": (NEW_YORK, "0 0 * * *", "2026-11-01", ["01 00:00:00 -0400", "02 00:00:00 -0500"]),
    # Lord Howe goes from 02:00 back to 01:30 on 5 April 2026.
    "half an hour occurs twice": (LORD_HOWE, "45 1 * * *", "2026-04-05", ["05 01:45:00 +1100", "06 01:45:00 +1030"]),
    "where the clock goes back": (LORD_HOWE, "0 2 * * *", "2026-04-05", ["05 02:00:00 +1030", "06 02:00:00 +1030"]),
}  # fmt: skip


@pytest.mark.parametrize(("zone", "text", "begin", "expected"), BACK.values(), ids=BACK)
def test_what_occurs_twice_comes_the_first_time(
    zone: str, text: str, begin: str, expected: list[str]
) -> None:
    assert shown(text, zone, begin, len(expected)) == expected


RHYTHMS = {
    "every quarter": (BERLIN, "*/15 * * * *", "2026-10-25T02:30", ["25 02:30:00 +0200", "25 02:45:00 +0200", "25 02:00:00 +0100", "25 02:15:00 +0100"]),
    "every hour": (BERLIN, "0 * * * *", "2026-10-25T01:00", ["25 01:00:00 +0200", "25 02:00:00 +0200", "25 02:00:00 +0100", "25 03:00:00 +0100"]),
    "every hour with seconds": (BERLIN, "7 30 * * * *", "2026-10-25T01:30", ["25 01:30:07 +0200", "25 02:30:07 +0200", "25 02:30:07 +0100", "25 03:30:07 +0100"]),
    "every second": (NEW_YORK, "* * * * * *", "2026-11-01T01:59:59", ["01 01:59:59 -0400", "01 01:00:00 -0500", "01 01:00:01 -0500"]),
    "all hours by a range": (NEW_YORK, "30 0-23 * * *", "2026-11-01T01:00", ["01 01:30:00 -0400", "01 01:30:00 -0500", "01 02:30:00 -0500"]),
    "quarters in half an hour": (LORD_HOWE, "*/15 * * * *", "2026-04-05T01:45", ["05 01:45:00 +1100", "05 01:30:00 +1030", "05 01:45:00 +1030", "05 02:00:00 +1030"]),
}  # fmt: skip


@pytest.mark.parametrize(("zone", "text", "begin", "expected"), RHYTHMS.values(), ids=RHYTHMS)
def test_what_runs_in_every_hour_does_not_pause_while_the_clock_is_put_back(
    zone: str, text: str, begin: str, expected: list[str]
) -> None:
    assert shown(text, zone, begin, len(expected)) == expected


CHANGES = [
    (BERLIN, "2026-03-29"), (BERLIN, "2026-10-25"), (NEW_YORK, "2026-03-08"), (NEW_YORK, "2026-11-01"),
    (LORD_HOWE, "2026-10-04"), (LORD_HOWE, "2026-04-05"), ("America/Havana", "2026-11-01"),
    ("Africa/Cairo", "2025-10-31"),
]  # fmt: skip


@pytest.mark.parametrize(("zone_name", "day"), CHANGES)
def test_from_any_instant_the_next_occurrence_follows(zone_name: str, day: str) -> None:
    """Compared with all local times of some days, each turned into instants by the rules, and sorted."""
    chance = random.Random(f"{zone_name} {day}")
    zone = ZoneInfo(zone_name)
    begin = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(hours=14)
    end = begin + timedelta(hours=48)
    for _ in range(12):
        text = _some_pattern(chance)
        expected = _by_hand(read_cron(text), zone, begin, end)
        for _ in range(25):
            at = begin + timedelta(seconds=chance.uniform(0, 36 * 3600))
            following = next((each for each in expected if each > at), None)
            if following is not None:
                assert instant_after(read_cron(text), zone, at) == following, (text, at)


def _some_pattern(chance: random.Random) -> str:
    minute = chance.choice(["*/7", "*/20", "0", "30", "5,45", "10-50/10"])
    hour = chance.choice(["*", "0", "1", "2", "1-3", "*/2", "0,23"])
    seconds = chance.choice(["", "0 ", "30 ", "10,50 "])
    return f"{seconds}{minute} {hour} * * *"


def _by_hand(
    pattern: CronPattern, zone: ZoneInfo, begin: datetime, end: datetime
) -> list[datetime]:
    found: set[datetime] = set()
    local = pattern.after(begin.astimezone(zone).replace(tzinfo=None) - timedelta(hours=3))
    last = end.astimezone(zone).replace(tzinfo=None) + timedelta(hours=3)
    while local is not None and local < last:
        first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if first.astimezone(zone).replace(tzinfo=None) != local:  # skipped: look for the change
            at = second.replace(second=0)
            while at.astimezone(zone).utcoffset() != first.astimezone(zone).utcoffset():
                at += timedelta(minutes=1)
            found.add(at)
        else:
            found |= {first, second} if pattern.runs_every_hour else {first}
        local = pattern.after(local)
    return sorted(each for each in found if begin < each <= end)


def test_a_pattern_without_a_further_occurrence_has_none() -> None:
    class Once:
        runs_every_hour = False

        def after(self, local: datetime) -> datetime | None:
            only = datetime(2026, 10, 25, 2, 30)  # noqa: DTZ001  # a local time
            return only if local < only else None

    zone = ZoneInfo(BERLIN)
    at = instant_after(Once(), zone, datetime(2026, 1, 1, tzinfo=UTC))

    assert at == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert instant_after(Once(), zone, at) is None
