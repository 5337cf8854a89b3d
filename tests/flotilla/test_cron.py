"""Cron texts: what is read, and what is wrong with what is not."""

import pytest

from contracts.cron import BadCron
from contracts.schedules import Calendar
from flotilla.cron import NICKNAMES, read_cron

FAULTS = {
    "nothing": ("", "5 or 6 fields are needed, and it has 0"),
    "too few fields": ("0 3 * *", "5 or 6 fields are needed, and it has 4"),
    "too many fields": ("0 0 3 * * * 2026", "5 or 6 fields are needed, and it has 7"),
    "a second": ("60 * * * * *", "the second '60' cannot be read; it takes 0 to 59"),
    "a minute": ("61 * * * *", "the minute '61' cannot be read; it takes 0 to 59"),
    "an hour": ("0 24 * * *", "the hour '24' cannot be read"),
    "a day": ("0 0 0 * *", "the day of month '0' cannot be read"),
    "a day that no month has": ("0 0 31 2,4 *", "the day of month '31' cannot be read"),
    "a month": ("0 0 1 FOO *", "the month 'FOO' cannot be read; it takes 1 to 12, JAN to DEC"),
    "a weekday": ("0 0 * * 8", "the day of week '8' cannot be read"),
    "a range that goes back": ("30-10 * * * *", "the minute '30-10' cannot be read"),
    "a step of nothing": ("*/0 * * * *", "the minute '*/0' cannot be read"),
    "a digit that is none": ("0 9 * * ²L", "the day of week '²L' cannot be read"),
    "a huge number": (f"{'9' * 150} * * * *", "the minute '999"),
    "a huge text": ("1," * 200 + "1 * * * *", "it has 409 characters; at most 200 are read"),
    "an unknown nickname": ("@reboot", "of such names there are @yearly, @annually"),
    "what never comes": ("0 0 */20 * 1L", "it never comes"),
}


@pytest.mark.parametrize(("text", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_fault_says_what_is_wrong(text: str, fault: str) -> None:
    assert (Calendar(read_cron).fault(text) or "").startswith(fault)


@pytest.mark.parametrize(
    "text",
    ["* * * * *", "*/5 * * * * *", " 0\t3 * * mon-fri ", "0 0 L * *", "0 0 * * MON#2", *NICKNAMES],
)
def test_what_can_be_read_has_no_fault(text: str) -> None:
    assert Calendar(read_cron).fault(text) is None


@pytest.mark.parametrize(
    ("text", "runs_every_hour"),
    [
        ("* * * * *", True),
        ("30 0-23 * * *", True),
        ("@HOURLY", True),
        ("0 30 */1 * * *", True),
        ("0 1-23 * * *", False),
        ("*/5 */2 * * *", False),
        ("@daily", False),
    ],
)
def test_a_pattern_knows_whether_it_runs_in_every_hour(text: str, *, runs_every_hour: bool) -> None:
    assert read_cron(text).runs_every_hour is runs_every_hour


def test_what_cannot_be_read_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(BadCron):
            read_cron("no cron")
