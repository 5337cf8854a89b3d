"""`redrive`, with a gateway that says what a test tells it to."""

import json
from typing import Any

import pytest

from flotilla.cli.exits import Exit
from tests.support.command_line import CommandLine
from tests.support.http_stub import HttpStub, Request, ok, problem

LETTERS = "/v1/dead-letters"
AT = "2026-03-01T10:00:00.000000Z"


def redriven(request: Request) -> Any:
    """Answer with a letter that was put back to work: a task if its id is a number."""
    letter_id = request.groups[0]
    letter = {"id": letter_id, "source": "COMMAND", "redriven_at": AT}
    task = {"source": "TASK", "redriven_as": "e"} if letter_id.isdecimal() else {}
    return ok({**letter, **task}, 202)


def test_letters_that_are_named(client_commands: CommandLine, api: HttpStub) -> None:
    api.on("POST", f"{LETTERS}/([^/]+)/redrive", redriven)

    ended = client_commands("redrive", "1", "b")

    assert ended.code == Exit.DONE
    assert [line.split() for line in ended.out.splitlines()] == [
        ["ID", "SOURCE", "REDRIVEN", "EXECUTION"],
        ["1", "TASK", AT, "e"],
        ["b", "COMMAND", AT, "-"],
    ]


def test_a_refusal_ends_with_4(client_commands: CommandLine, api: HttpStub) -> None:
    api.on("POST", f"{LETTERS}/1/redrive", problem(409, "not_finished"))

    ended = client_commands("redrive", "1")

    assert (ended.code, ended.out) == (Exit.REFUSED, "")
    assert "not_finished: because of not_finished" in ended.err


def test_all_that_fit_page_by_page(client_commands: CommandLine, api: HttpStub) -> None:
    pages = [
        {"matched": 1000, "done": 7, "skipped": 993, "next_cursor": "more"},
        {"matched": 3, "done": 2, "skipped": 1, "next_cursor": None},
    ]
    api.on("POST", f"{LETTERS}/bulk/redrive", lambda _: ok(pages.pop(0)))

    ended = client_commands(
        "redrive", "--source", "TASK", "--source", "RESULT", "--created-before", AT, "-o", "json"
    )

    assert json.loads(ended.out) == {"matched": 1003, "done": 9, "skipped": 994}
    body = {"filter": {"source": ["TASK", "RESULT"], "created_before": AT}, "dry_run": False}
    asked = [each.json for each in api.asked("POST", f"{LETTERS}/bulk/redrive")]
    assert asked == [body, {**body, "cursor": "more"}]


def test_a_dry_run_says_so(client_commands: CommandLine, api: HttpStub) -> None:
    counts = {"matched": 3, "done": 0, "skipped": 1, "next_cursor": None}
    api.on("POST", f"{LETTERS}/bulk/redrive", ok(counts))

    ended = client_commands("redrive", "--execution", "e", "--reason", "UNREADABLE", "--dry-run")

    assert ended.out.split() == ["matched", "3", "done", "0", "skipped", "1"]
    (asked,) = api.asked("POST", f"{LETTERS}/bulk/redrive")
    assert asked.json["dry_run"] is True


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="nothing"),
        pytest.param(("1", "--source", "TASK"), id="both"),
        pytest.param(("1", "--dry-run"), id="dry run of one"),
    ],
)
def test_it_must_be_clear_what_is_meant(
    client_commands: CommandLine, arguments: tuple[str, ...]
) -> None:
    ended = client_commands("redrive", *arguments)

    assert (ended.code, ended.out) == (Exit.USAGE, "")
