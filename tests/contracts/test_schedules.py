"""Schedules: what a document says of them, and the series of their occurrences."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.model import Document, Node, Settings
from contracts.schedules import Calendar, Policy, Schedule, Timing, latest, schedules_of
from contracts.specs import Catalogue
from contracts.validation import examine
from flotilla.cron import read_cron
from nodes.catalogue import builtin_specs
from tests.support.documents import document, node

CALENDAR = Calendar(read_cron)
CATALOGUE = Catalogue(builtin_specs())
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def cron_node(node_id: str, **parameters: Any) -> Node:
    return Node(id=node_id, name=node_id, type="TRIGGER.CRON", parameters=parameters)


def problems(**parameters: Any) -> list[tuple[str, str]]:
    """Return pointers and codes of a document with a schedule of these parameters."""
    raw = document([node("c", "TRIGGER.CRON", **parameters)])
    found = examine(raw, CATALOGUE, cron_fault=CALENDAR.fault).problems
    return [(each.pointer.removeprefix("/nodes/0/parameters/"), each.code) for each in found]


def test_a_document_has_the_schedules_of_its_enabled_triggers() -> None:
    nodes = (
        cron_node("a", cron="0 3 * * *", timezone="Europe/Berlin", data={"a": 1}),
        cron_node("b", interval="90", catch_up="ALL", max_catch_up="5", overlap="SKIP"),
        Node(id="c", name="c", type="TRIGGER.CRON", parameters={"interval": 5}, disabled=True),
        Node(id="d", name="d", type="TRIGGER.MANUAL"),
    )
    settings = Settings(timezone="Asia/Tokyo")

    assert schedules_of(Document(name="n", nodes=nodes, settings=settings)) == (
        Schedule("a", Timing("0 3 * * *", None, "Europe/Berlin"), Policy("LAST", 3, "ALLOW")),
        Schedule("b", Timing(None, 90.0, "Asia/Tokyo"), Policy("ALL", 5, "SKIP")),
    )


def test_what_is_left_out_is_what_the_spec_says() -> None:
    spec = CATALOGUE.get("TRIGGER.CRON")
    assert spec is not None
    said = {each.name: each.default for each in spec.parameters}

    left_out = Policy()

    assert left_out.catch_up == said["catch_up"]
    assert left_out.max_catch_up == said["max_catch_up"]
    assert left_out.overlap == said["overlap"]


VALID = {
    "a cron text": {"cron": "0 3 * * *"},
    "a nickname by an alias": {"cron_expression": "@hourly"},
    "an interval as text": {"interval": "60"},
    "everything": {
        "cron": "*/5 * * * * *", "timezone": "Europe/Berlin", "catch_up": "all", "max_missed_runs": 10,
        "overlap": "skip", "data": {"day": "{{ dateFormat(now, '%d') }}", "who": "{{ static.who }}"},
    },
}  # fmt: skip

INVALID = {
    "neither": ({}, [("cron", "missing_parameter")]),
    "both": ({"cron": "0 3 * * *", "interval": 60}, [("interval", "invalid_parameter")]),
    "an interval of less than a second": ({"interval": 0.5}, [("interval", "invalid_parameter")]),
    "an interval of more than a year": ({"interval": 4e7}, [("interval", "invalid_parameter")]),
    "no interval": ({"interval": None}, [("interval", "invalid_parameter")]),
    "an interval of no number": ({"interval": "nan"}, [("interval", "invalid_parameter")]),
    "no cron text": ({"cron": "every day"}, [("cron", "invalid_cron")]),
    "a number as cron text": ({"cron": 5}, [("cron", "invalid_cron")]),
    "a cron text to be rendered": ({"cron": "{{ static.cron }}"}, [("cron", "invalid_cron")]),
    "no time zone": ({"interval": 9, "timezone": "Mars"}, [("timezone", "invalid_parameter")]),
    "a number as time zone": ({"interval": 9, "timezone": 1}, [("timezone", "invalid_parameter")]),
    "too many to catch up": ({"interval": 9, "max_catch_up": 11}, [("max_catch_up", "invalid_parameter")]),
    "input in the data": ({"interval": 9, "data": "{{ input }}"}, [("data", "invalid_expression")]),
}  # fmt: skip


@pytest.mark.parametrize("parameters", VALID.values(), ids=VALID)
def test_a_valid_schedule_has_no_problems(parameters: dict[str, Any]) -> None:
    assert problems(**parameters) == []


@pytest.mark.parametrize(("parameters", "expected"), INVALID.values(), ids=INVALID)
def test_a_schedule_that_could_not_run_is_refused(
    parameters: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert problems(**parameters) == expected


def test_an_interval_keeps_its_distance_whenever_it_is_looked_at() -> None:
    series = CALENDAR.series(Timing(None, 90.0, "Europe/Berlin"), since=NOON)

    assert series.after(NOON - timedelta(days=1)) == NOON
    assert series.after(NOON) == NOON + timedelta(seconds=90)
    assert series.after(NOON + timedelta(seconds=89)) == NOON + timedelta(seconds=90)
    assert series.after(NOON + timedelta(seconds=90)) == NOON + timedelta(seconds=180)
    assert series.after(NOON + timedelta(days=1)) == NOON + timedelta(days=1, seconds=90)


@pytest.mark.parametrize("timing", [
    Timing("*/20 * * * *", None, "Europe/Berlin"),
    Timing("0 3 * * MON", None, "UTC"),
    Timing("* * * * * *", None, "America/New_York"),
    Timing(None, 1.5, "UTC"),
], ids=str)  # fmt: skip
def test_the_last_occurrence_is_found_over_any_distance(timing: Timing) -> None:
    series = CALENDAR.series(timing, since=NOON)
    first = series.after(NOON)
    assert first is not None
    for distance in (
        timedelta(0),
        timedelta(seconds=59),
        timedelta(hours=25),
        timedelta(days=1000),
    ):
        until = first + distance

        last = latest(series, first, until)

        following = series.after(last)
        assert first <= last <= until
        assert following is not None
        assert following > until
        assert series.after(last - timedelta(microseconds=1)) == last
