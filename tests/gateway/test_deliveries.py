"""Deliveries: whatever comes becomes trigger data, or is refused."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.calls import Request
from gateway.deliveries import MAX_FIELDS, headers_of, trigger_data
from gateway.problems import Refused
from gateway.settings import GatewayLimits

AT = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def request(*headers: tuple[str, str], query: bytes = b"", method: str = "POST") -> Request:
    """Return a request."""
    encoded = tuple((name.encode(), text.encode("latin-1")) for name, text in headers)
    return Request(method=method, query_string=query, headers=encoded, client_ip="192.0.2.7")


def read(sent: Request, body: bytes = b"", **fields: Any) -> dict[str, Any]:
    """Read a delivery."""
    given = {"path": "orders", "token_header": "X-Token", "at": AT, "limits": GatewayLimits()}
    return trigger_data(sent, body, **{**given, **fields})


def read_body(body: bytes, content_type: str | None) -> dict[str, Any]:
    """Return what a body of this type is read as."""
    headers = () if content_type is None else (("content-type", content_type),)
    data = read(request(*headers), body)
    return {name: data[name] for name in ("body", "raw_body") if name in data}


def test_a_workflow_sees_the_whole_request() -> None:
    sent = request(("host", "a.example"), ("x-kind", "paid"), query=b"a=1&b=%C3%BC&c", method="PUT")

    assert read(sent) == {
        "method": "PUT",
        "path": "orders",
        "headers": {"host": "a.example", "x-kind": "paid"},
        "query": {"a": "1", "b": "ü", "c": ""},
        "body": None,
        "client_ip": "192.0.2.7",
        "received_at": "2026-11-22T09:30:00.000000Z",
    }


def test_headers_that_hold_secrets_are_left_out() -> None:
    sent = request(
        ("authorization", "Bearer a"), ("cookie", "a=1"), ("x-token", "open"), ("x-tokens", "1")
    )

    assert read(sent)["headers"] == {"x-tokens": "1"}
    assert headers_of(sent)["x-token"] == "open"


def test_what_repeats_is_kept_whole() -> None:
    sent = request(("x-a", "1"), ("x-b", "2"), ("x-a", "é"), query=b"a=1&b=2&a=3&a=")

    data = read(sent)

    assert data["headers"] == {"x-a": "1, é", "x-b": "2"}
    assert data["query"] == {"a": ["1", "3", ""], "b": "2"}


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        pytest.param(b'{"a":[1,null]}', "application/json", {"a": [1, None]}, id="JSON"),
        pytest.param(b"7", "Application/JSON; charset=utf-8", 7, id="JSON with a charset"),
        pytest.param(b'{"a":1}', "application/cloudevents+json", {"a": 1}, id="a kind of JSON"),
        pytest.param(b"a=1&b=x+y&a=2&c", "application/x-www-form-urlencoded", {"a": ["1", "2"], "b": "x y", "c": ""}, id="a form"),
        pytest.param(b'{"a":1}', "text/plain", '{"a":1}', id="text"),
        pytest.param("grün".encode(), "application/xml", "grün", id="XML"),
        pytest.param(b"a: 1", "application/yaml", "a: 1", id="YAML"),
        pytest.param(b"hello", None, "hello", id="no type"),
        pytest.param(b"hello", "nonsense", "hello", id="a type that is none"),
        pytest.param(b"", "application/json", None, id="nothing"),
    ],
)  # fmt: skip
def test_a_body_is_read_as_its_type_says(
    body: bytes, content_type: str | None, expected: Any
) -> None:
    assert read_body(body, content_type) == {"body": expected}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(b"\xff\xd8", None, id="no text"),
        pytest.param(b"a\0b", "text/plain", id="NUL"),
        pytest.param(b"\xe9", "text/plain; charset=iso-8859-1", id="another charset"),
        pytest.param(b"abc", "image/svg+xml", id="an image"),
        pytest.param(b"abc", "application/octet-stream", id="bytes"),
        pytest.param(b"--x\r\n", "multipart/form-data; boundary=x", id="several parts"),
    ],
)
def test_what_is_no_text_comes_as_base64(body: bytes, content_type: str | None) -> None:
    assert read_body(body, content_type) == {
        "body": None,
        "raw_body": base64.b64encode(body).decode(),
    }


@pytest.mark.parametrize(
    ("sent", "body", "code"),
    [
        pytest.param(request(("content-type", "application/json")), b"{", "malformed_json", id="JSON"),
        pytest.param(request(("content-type", "application/json")), b'{"a":1,"a":2}', "malformed_json", id="a key twice"),
        pytest.param(request(("content-type", "application/json")), b'"\\u0000"', "malformed_json", id="NUL in JSON"),
        pytest.param(request(("content-type", "application/x-www-form-urlencoded")), b"a=%ff", "malformed_request", id="no UTF-8 in a form"),
        pytest.param(request(("content-type", "application/x-www-form-urlencoded")), b"a=%00", "malformed_request", id="NUL in a form"),
        pytest.param(request(query=b"%00=1"), b"", "malformed_request", id="NUL in a query"),
        pytest.param(request(query=b"a=\xff"), b"", "malformed_request", id="bytes in a query"),
        pytest.param(request(query=b"&".join([b"a=1"] * (MAX_FIELDS + 1))), b"", "malformed_request", id="too many parameters"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(sent: Request, body: bytes, code: str) -> None:
    with pytest.raises(Refused) as caught:
        read(sent, body)

    assert caught.value.code == code
    assert caught.value.status == 400
