"""Which occurrences are started: on time all of them, missed ones as the policy says, under SKIP one at a time."""

from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from contracts.schedules import Calendar, Policy, Timing
from flotilla.cron import read_cron
from scheduler.core.due import ON_TIME, Due, due

CALENDAR = Calendar(read_cron)
HOURLY = Timing("0 * * * *", None, "UTC")
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NEVER_LATE = Policy("NONE")

CatchUp = Literal["LAST", "ALL", "NONE"]


def at(hour: int, minute: int = 0, second: float = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute) + timedelta(seconds=second)


def looked_at(now: datetime, policy: Policy, timing: Timing = HOURLY) -> Due:
    """Return what is due of a schedule that goes on at noon."""
    return due(CALENDAR, timing, policy, next_at=NOON, now=now)


@pytest.mark.parametrize("catch_up", ["LAST", "ALL", "NONE"])
def test_an_occurrence_on_time_is_started_under_any_policy(catch_up: CatchUp) -> None:
    found = looked_at(NOON + timedelta(seconds=1), Policy(catch_up))

    assert found == Due([NOON], at(13))


def test_nothing_is_started_before_its_time() -> None:
    found = due(CALENDAR, HOURLY, Policy(), next_at=at(11, 30), now=at(11, 59, 59.999))

    assert found == Due((), NOON)


MISSED = {
    "the last": (Policy("LAST"), [at(16)]),
    "as many as asked for": (Policy("ALL", 3), [at(14), at(15), at(16)]),
    "not more than there were": (Policy("ALL", 10), [at(12), at(13), at(14), at(15), at(16)]),
    "none": (Policy("NONE"), []),
    "one at a time": (Policy("ALL", 3, "SKIP"), [at(16)]),
}


@pytest.mark.parametrize(("policy", "expected"), MISSED.values(), ids=MISSED)
def test_missed_occurrences_are_caught_up(policy: Policy, expected: list[datetime]) -> None:
    found = looked_at(at(16, 20), policy)

    assert found == Due(expected, at(17))


ON_TIME_TOO = {
    "the last is the one on time": (Policy("LAST"), [at(16)]),
    "it counts as one of all": (Policy("ALL", 2), [at(15), at(16)]),
    "it alone was not missed": (Policy("NONE"), [at(16)]),
}


@pytest.mark.parametrize(("policy", "expected"), ON_TIME_TOO.values(), ids=ON_TIME_TOO)
def test_missed_ones_with_one_on_time(policy: Policy, expected: list[datetime]) -> None:
    assert looked_at(at(16, 0, 5), policy) == Due(expected, at(17))


def test_what_comes_every_second_loses_nothing_to_a_slow_scheduler() -> None:
    every_second = Timing("* * * * * *", None, "UTC")

    found = looked_at(NOON + timedelta(seconds=4.5), NEVER_LATE, every_second)

    assert found.starts == [NOON + timedelta(seconds=each) for each in range(5)]


def test_the_bound_between_on_time_and_missed() -> None:
    assert looked_at(NOON + ON_TIME, NEVER_LATE).starts == [NOON]
    assert looked_at(NOON + ON_TIME + timedelta(microseconds=1), NEVER_LATE).starts == []


def test_years_of_seconds_are_caught_up_at_once() -> None:
    every_second = Timing("* * * * * *", None, "Europe/Berlin")
    now = NOON + timedelta(days=1000, milliseconds=100)

    found = due(CALENDAR, every_second, Policy("ALL", 10), next_at=NOON, now=now)

    last = NOON + timedelta(days=1000)
    assert found.starts == [last - timedelta(seconds=each) for each in range(9, -1, -1)]
    assert found.next_at == last + timedelta(seconds=1)


def test_an_interval_goes_on_in_its_own_steps() -> None:
    found = looked_at(NOON + timedelta(seconds=1000), Policy("LAST"), Timing(None, 300, "UTC"))

    assert found == Due([NOON + timedelta(seconds=900)], NOON + timedelta(seconds=1200))


def test_a_schedule_may_end() -> None:
    class Once:
        runs_every_hour = False

        def after(self, local: datetime) -> datetime | None:
            only = NOON.replace(tzinfo=None)
            return only if local < only else None

    calendar = Calendar(lambda _: Once())

    assert due(calendar, HOURLY, Policy(), next_at=NOON, now=at(12, 1)) == Due([NOON], None)
    assert due(calendar, HOURLY, Policy(), next_at=at(13), now=at(14)) == Due((), None)
