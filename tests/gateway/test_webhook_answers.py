"""Answers of workflows: the value of the only leaf, the map of several, or what a leaf says."""

from typing import Any

import msgspec
import pytest

from gateway.answers import JSON
from gateway.webhook_answers import GUARDS, OURS, answer_of


def answered(**leaves: Any) -> tuple[int, bytes, bytes | None, dict[str, str]]:
    """Return status, body, media type and headers of the answer that an output stands for."""
    answer = answer_of(msgspec.json.encode(leaves))
    headers = {name.decode(): text.decode("latin-1") for name, text in answer.headers}
    for name, text in GUARDS:
        assert headers.pop(name.decode()) == text.decode()
    return answer.status, answer.body, answer.media_type, headers


@pytest.mark.parametrize(
    ("leaves", "body"),
    [
        pytest.param({"a": {"x": [1, None]}}, b'{"x":[1,null]}', id="one leaf"),
        pytest.param({"a": "text"}, b'"text"', id="one leaf that is a text"),
        pytest.param({"a": None}, b"null", id="one leaf that is null"),
        pytest.param({"b": 1, "a": 2}, b'{"b":1,"a":2}', id="several leaves"),
        pytest.param({}, b"{}", id="no leaf"),
    ],
)
def test_the_output_is_the_answer(leaves: dict[str, Any], body: bytes) -> None:
    assert answered(**leaves) == (200, body, JSON, {})


def test_values_go_out_as_the_bytes_they_are() -> None:
    assert answer_of(b'{"a":{"x": 1.0, "y":18446744073709551615}}').body == (
        b'{"x": 1.0, "y":18446744073709551615}'
    )


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param({"status": 201, "headers": {}, "body": {"a": 1}}, (201, b'{"a":1}', JSON, {}), id="JSON"),
        pytest.param({"status": 404, "headers": {}, "body": "Grüße"}, (404, "Grüße".encode(), b"text/plain; charset=utf-8", {}), id="text"),
        pytest.param({"status": 302, "headers": {"Location": "/a"}, "body": None}, (302, b"", None, {"location": "/a"}), id="no body"),
        pytest.param({"status": 200, "headers": {"Content-Type": "text/html"}, "body": "<p>"}, (200, b"<p>", b"text/html", {}), id="a media type"),
        pytest.param({"status": 200, "headers": {"X-N": 1, "X-B": True}, "body": 0}, (200, b"0", JSON, {"x-n": "1", "x-b": "true"}), id="headers that are no texts"),
        pytest.param({"status": 204, "headers": {}, "body": "gone"}, (204, b"", None, {}), id="a status without body"),
    ],
)  # fmt: skip
def test_a_leaf_may_say_the_whole_answer(told: dict[str, Any], expected: Any) -> None:
    assert answered(end=told) == expected


def test_a_leaf_that_says_the_answer_counts_among_others() -> None:
    told = {"status": 202, "headers": {}, "body": 1}

    assert answered(a={"status": 1}, b=told, c=3)[:2] == (202, b"1")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"status": 200, "body": 1}, id="headers missing"),
        pytest.param({"status": 200, "headers": {}, "body": 1, "more": 1}, id="a field more"),
        pytest.param({"status": "200", "headers": {}, "body": 1}, id="a status that is a text"),
        pytest.param({"status": 199, "headers": {}, "body": 1}, id="a status too small"),
        pytest.param({"status": 600, "headers": {}, "body": 1}, id="a status too large"),
        pytest.param({"status": True, "headers": {}, "body": 1}, id="a status that is true"),
        pytest.param({"status": 200, "headers": [], "body": 1}, id="headers that are a list"),
        pytest.param({"status": 200, "headers": {"a b": "1"}, "body": 1}, id="no name of a header"),
        pytest.param({"status": 200, "headers": {"a\n": "1"}, "body": 1}, id="a line in a name"),
        pytest.param({"status": 200, "headers": {"a": "1\r\nb: 2"}, "body": 1}, id="a line in a value"),
        pytest.param({"status": 200, "headers": {"a": "1\n"}, "body": 1}, id="a line at the end"),
        pytest.param({"status": 200, "headers": {"a": "€"}, "body": 1}, id="what no header can carry"),
        pytest.param({"status": 200, "headers": {"a": None}, "body": 1}, id="a header that is null"),
    ],
)  # fmt: skip
def test_what_is_not_exactly_an_answer_is_a_value(value: dict[str, Any]) -> None:
    assert answered(end=value) == (200, msgspec.json.encode(value), JSON, {})


@pytest.mark.parametrize("name", sorted(OURS))
def test_some_headers_are_not_the_workflows_to_set(name: str) -> None:
    told = {"status": 200, "headers": {name.title(): "1", "x-a": "2"}, "body": 1}

    assert answered(end=told)[3] == {"x-a": "2"}
