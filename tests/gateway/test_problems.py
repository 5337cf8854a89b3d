"""Problems: one body for every exit that is no success."""

import json

import pytest

from contracts.problems import Problem
from gateway import problems
from gateway.problems import CODES, ErrorEntry, Refused


def test_a_refusal_becomes_a_problem_with_the_status_and_title_of_its_code() -> None:
    refused = Refused("not_published", "Publish it first.")

    body = json.loads(problems.body_of(refused, "abc"))

    assert body == {
        "type": "urn:flotilla:problem:not_published",
        "title": CODES["not_published"].title,
        "status": 409,
        "detail": "Publish it first.",
        "instance": "urn:flotilla:request:abc",
        "code": "not_published",
        "trace_id": "abc",
    }


def test_what_is_to_be_repeated_says_when_in_body_and_header() -> None:
    refused = problems.unavailable("NATS")

    assert json.loads(problems.body_of(refused, "t"))["retry_after"] == 1
    assert (b"retry-after", b"1") in problems.headers_of(refused)


def test_problems_of_a_document_keep_their_pointers_and_nodes() -> None:
    refused = problems.invalid_document((Problem("/nodes/0/type", "cycle", "a, b", "a"),))

    assert refused.errors == (ErrorEntry("/nodes/0/type", "cycle", "a, b", "a"),)
    assert "/nodes/0/type" in refused.detail


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_stands_for_a_status_that_is_no_success(code: str) -> None:
    assert 400 <= CODES[code].status < 600
