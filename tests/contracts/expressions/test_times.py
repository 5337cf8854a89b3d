"""Instants, durations and time zones (NODES.md 1.4)."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.contracts.expressions.evaluating import failure, same, value


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("timestamp('2026-03-28T22:30:00Z')", "2026-03-28T22:30:00Z"),
        ("timestamp('2026-03-28t22:30:00z')", "2026-03-28T22:30:00Z"),
        ("timestamp('2026-03-28 23:30:00+01:00')", "2026-03-28T22:30:00Z"),
        ("timestamp('2026-03-28T22:30:00.123456789Z')", "2026-03-28T22:30:00.123456Z"),
        ("timestamp('2026-03-28')", "2026-03-27T23:00:00Z"),
        ("timestamp('2026-07-01')", "2026-06-30T22:00:00Z"),
        ("timestamp(0)", "1970-01-01T00:00:00Z"),
        ("timestamp(1.5)", "1970-01-01T00:00:01.500000Z"),
        ("timestamp(-1)", "1969-12-31T23:59:59Z"),
        ("timestamp(now)", "2026-03-28T22:30:00Z"),
        ("duration('1h30m')", 5400),
        ("duration('1d2h3m4s5ms')", 93784.005),
        ("duration('1.5h')", 5400),
        ("duration('-90s')", -90),
        ("duration('PT1H30M')", 5400),
        ("duration('P1DT0.5S')", 86400.5),
        ("duration('P2W')", 1209600),
        ("duration('-PT1M')", -60),
        ("duration(1.5)", 1.5),
        ("duration(duration(1))", 1),
    ],
    ids=str,
)
def test_reading(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("timestamp('2026-03-28T22:30:00')", "value"),
        ("timestamp('2026-03-28T22:30Z')", "value"),
        ("timestamp('20260328')", "value"),
        ("timestamp('2026-02-30')", "value"),
        ("timestamp('2026-03-28T24:00:00Z')", "value"),
        ("timestamp('2026-03-28T22:30:00+99:00')", "value"),
        ("timestamp('0000-01-01')", "value"),
        ("timestamp('tomorrow')", "value"),
        ("timestamp('\uff12\uff10\uff12\uff16-03-28')", "value"),
        ("timestamp('0001-01-01T00:00:00+10:00')", "overflow"),
        ("timestamp('0001-01-01')", "overflow"),
        ("timestamp(1e300)", "overflow"),
        ("timestamp(null)", "type"),
        ("duration('')", "value"),
        ("duration('-')", "value"),
        ("duration('90')", "value"),
        ("duration('1m1h')", "value"),
        ("duration('1h1h')", "value"),
        ("duration('1y')", "value"),
        ("duration('P1Y')", "value"),
        ("duration('P')", "value"),
        ("duration('PT')", "value"),
        ("duration('1h ')", "value"),
        ("duration('999999999999999d')", "overflow"),
        ("duration(1e300)", "overflow"),
        ("duration([])", "type"),
        ("dateFormat('2026-03-28', '%Y')", "type"),
        ("dateFormat(now, '%Q')", "value"),
        ("dateFormat(now, '" + "a" * 1001 + "')", "value"),
        ("timestamp(253402300800)", "overflow"),
        ("dateFormat(now, '%')", "value"),
        ("dateFormat(now, '%Y', 'Mars/Base')", "value"),
        ("dateFormat(now, '%Y', '../etc/passwd')", "value"),
        ("dateFormat(now, '%Y', '/etc/passwd')", "value"),
        ("dateFormat(now, '%Y', 'tzdata.zi')", "value"),
        ("dateFormat(now, '%Y', 'America')", "value"),
        ("dateFormat(now, '%Y', '')", "value"),
        ("dateFormat(now, '%Y', 1)", "type"),
        ("dateAdd(now, 1, 'day')", "value"),
        ("dateAdd(now, 0.5, 'days')", "type"),
        ("dateAdd(now, 9007199254740991, 'years')", "overflow"),
        ("dateAdd(now, 9007199254740991, 'months')", "overflow"),
        ("dateAdd(now, 9007199254740991, 'days')", "overflow"),
        ("dateAdd(now, 9007199254740991, 'hours')", "overflow"),
        ("dateAdd(now, -3000, 'years')", "overflow"),
        ("dateAdd(now, 1e300, 'seconds')", "overflow"),
        ("'2026'.getFullYear()", "type"),
    ],
)
def test_what_cannot_be_read_fails(source: str, code: str) -> None:
    assert failure(source).code == code


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "dateFormat(timestamp('2026-01-04T17:05:09.000042Z'),"
            " '%Y|%y|%m|%d|%e|%H|%I|%M|%S|%f|%p|%j|%a|%A|%b|%B|%u|%G|%V|%z|%Z|%%')",
            "2026|26|01|04| 4|18|06|05|09|000042|PM|004|Sun|Sunday|Jan|January|7|2026|01|+0100|CET|%",
        ),
        ("dateFormat(now, '%H:%M %Z', 'America/New_York')", "18:30 EDT"),
        ("dateFormat(now, '%z', 'UTC')", "+0000"),
        ("dateFormat(now, '%%Y%%%m')", "%Y%03"),
        ("dateFormat(now, '')", ""),
        ("dateFormat(timestamp('2026-01-01T00:30:00Z'), '%I%p', 'UTC')", "12AM"),
        ("dateFormat(timestamp('0099-06-01T00:00:00Z'), '%Y', 'UTC')", "0099"),
    ],
    ids=str,
)
def test_formatting(source: str, expected: str) -> None:
    assert value(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # Clocks in Berlin go from 02:00 to 03:00 on 2026-03-29, and from 03:00 to 02:00 on 2026-10-25.
        ("dateAdd(timestamp('2026-03-28T12:00:00+01:00'), 1, 'days')", "2026-03-29T10:00:00Z"),
        ("dateAdd(timestamp('2026-03-28T12:00:00+01:00'), 24, 'hours')", "2026-03-29T11:00:00Z"),
        ("dateAdd(timestamp('2026-03-28T02:30:00+01:00'), 1, 'days')", "2026-03-29T01:30:00Z"),
        ("dateAdd(timestamp('2026-10-24T12:00:00+02:00'), 1, 'days')", "2026-10-25T11:00:00Z"),
        ("dateAdd(timestamp('2026-10-25T02:30:00+01:00'), 0, 'days')", "2026-10-25T01:30:00Z"),
        ("dateAdd(timestamp('2026-10-25T02:30:00+02:00'), 0, 'days')", "2026-10-25T00:30:00Z"),
        (
            "dateAdd(timestamp('2026-03-28T12:00:00+01:00'), 1, 'days', 'UTC')",
            "2026-03-29T11:00:00Z",
        ),
        ("dateAdd(timestamp('2026-03-22T12:00:00+01:00'), 1, 'weeks')", "2026-03-29T10:00:00Z"),
        ("dateAdd(timestamp('2026-01-31T12:00:00+01:00'), 1, 'months')", "2026-02-28T11:00:00Z"),
        ("dateAdd(timestamp('2028-01-31T12:00:00+01:00'), 1, 'months')", "2028-02-29T11:00:00Z"),
        ("dateAdd(timestamp('2026-01-31T12:00:00+01:00'), -2, 'months')", "2025-11-30T11:00:00Z"),
        ("dateAdd(timestamp('2028-02-29T12:00:00+01:00'), 1, 'years')", "2029-02-28T11:00:00Z"),
        ("dateAdd(timestamp('2026-12-15T12:00:00+01:00'), 1, 'months')", "2027-01-15T11:00:00Z"),
        ("dateAdd(now, 90, 'minutes')", "2026-03-29T00:00:00Z"),
        ("dateAdd(now, -0.5, 'seconds')", "2026-03-28T22:29:59.500000Z"),
        ("timestamp('2026-03-29') + duration('24h')", "2026-03-29T23:00:00Z"),
    ],
    ids=str,
)
def test_calendar_and_clock(source: str, expected: str) -> None:
    assert value(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "[now.getFullYear(), now.getMonth(), now.getDate(), now.getDayOfMonth()]",
            [2026, 2, 28, 27],
        ),
        ("[now.getDayOfWeek(), now.getDayOfYear()]", [6, 86]),
        ("timestamp('2026-03-29T12:00:00Z').getDayOfWeek()", 0),
        (
            "[now.getHours(), now.getHours('UTC'), getMinutes(now), now.getSeconds()]",
            [23, 22, 30, 0],
        ),
        ("timestamp('2026-01-01T00:00:00.987Z').getMilliseconds()", 987),
    ],
    ids=str,
)
def test_fields_of_an_instant(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize(
    "now",
    [
        "2026-03-28T22:30:00Z",
        "2026-03-28T23:30:00+01:00",
        datetime(2026, 3, 28, 23, 30, tzinfo=timezone(timedelta(hours=1))),
        datetime(2026, 3, 28, 22, 30),  # noqa: DTZ001 - read as UTC
    ],
    ids=str,
)
def test_now_may_be_text_or_a_datetime(now: Any) -> None:
    assert value("now", now=now) == "2026-03-28T22:30:00Z"
    assert value("now.getHours('UTC')", now=now) == 22


def test_the_zone_is_utc_unless_the_workflow_says_otherwise() -> None:
    assert value("now.getHours()") == 23
    assert value("now.getHours()", workflow={"timezone": "Asia/Tokyo"}) == 7
    assert value("now.getHours()", workflow={}) == 22
    assert failure("now.getHours()", workflow={"timezone": "Mars"}).code == "value"


def test_an_instant_beyond_the_local_calendar_fails() -> None:
    error = failure("timestamp(input).getHours()", input="9999-12-31T23:59:59Z")

    assert error.code == "overflow"
