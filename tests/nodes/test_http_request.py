"""ACTION.HTTP_REQUEST against a server that checks what it is sent."""

import base64
import json
from typing import Any

import pytest

from contracts.expressions.errors import ExpressionError
from contracts.failures import Failure, FailureKind
from nodes.answers import Failed
from nodes.context import Outputs
from nodes.http_client import HttpClient
from nodes.http_request import http_request
from tests.support.http_server import HttpServer, Received, Reply, serving
from tests.support.tasks import context

JSON = {"Content-Type": "application/json"}


async def request(http: HttpClient, url: str, **parameters: Any) -> Any:
    """Return what the node gives on `main`, or its failure."""
    read = http_request.reader.read({"url": url, **parameters})
    try:
        answer = await http_request(context(http=http), read)
    except Failed as failed:
        return failed.failure
    if isinstance(answer, Failure):
        return answer
    assert isinstance(answer, Outputs)
    return answer.ports["main"]


def sent(server: HttpServer) -> Received:
    """Return the one request that came in."""
    (received,) = server.received
    return received


async def test_a_get_returns_status_headers_body_and_url(http: HttpClient) -> None:
    reply = Reply(200, b'{"a": 1}', {**JSON, "X-Kind": "test"})

    async with serving(reply) as server:
        found = await request(http, server.url("/x"))

    assert (found["status_code"], found["body"], found["url"]) == (200, {"a": 1}, server.url("/x"))
    assert found["headers"]["x-kind"] == "test"
    assert found["seconds"] > 0
    assert "pages" not in found
    assert "content-type" not in sent(server).headers


async def test_the_query_is_added_to_the_url(http: HttpClient) -> None:
    query = {"q": "a b&c", "n": 5, "yes": True, "tag": ["x", "y"], "left_out": None}

    async with serving(Reply()) as server:
        await request(http, server.url("/?page=1"), query=query)

    assert sent(server).target == "/?page=1&q=a+b%26c&n=5&yes=true&tag=x&tag=y"


@pytest.mark.parametrize(
    ("parameters", "content_type", "body"),
    [
        pytest.param({"body": {"a": [1]}}, "application/json", b'{"a":[1]}', id="json"),
        pytest.param({"body": "text"}, "application/json", b'"text"', id="json of a text"),
        pytest.param({"body": '{"a": 1}'}, "application/json", b'{"a": 1}', id="json as text"),
        pytest.param({"body": None}, "application/json", b"null", id="json null"),
        pytest.param(
            {"body": {"a": "x y", "b": [1, 2]}, "body_type": "form"},
            "application/x-www-form-urlencoded",
            b"a=x+y&b=1&b=2",
            id="form",
        ),
        pytest.param(
            {"body": '{"a": 1}', "body_type": "raw"},
            "text/plain; charset=utf-8",
            b'{"a": 1}',
            id="raw text stays as it is",
        ),
        pytest.param(
            {"body": "<a/>", "body_type": "raw", "headers": {"Content-Type": "text/xml"}},
            "text/xml",
            b"<a/>",
            id="the author's media type wins",
        ),
        pytest.param({"body": {"a": 1}, "body_type": "none"}, None, b"", id="none"),
        pytest.param({}, None, b"", id="json without a body"),
    ],
)
async def test_a_body_is_sent_by_its_type(
    http: HttpClient, parameters: dict[str, Any], content_type: str | None, body: bytes
) -> None:
    async with serving(Reply()) as server:
        await request(http, server.url(), method="POST", **parameters)

    assert sent(server).headers.get("content-type") == content_type
    assert sent(server).body == body


async def test_a_multipart_body_has_fields_and_files(http: HttpClient) -> None:
    file = {
        "name": "report",
        "filename": "a.txt",
        "content_type": "text/plain",
        "content": base64.b64encode(b"contents").decode(),
    }

    async with serving(Reply()) as server:
        await request(
            http,
            server.url(),
            method="POST",
            body={"title": "x", "count": 2},
            body_type="multipart",
            files=[file],
        )

    assert sent(server).headers["content-type"].startswith("multipart/form-data; boundary=")
    body = sent(server).body
    assert b'name="title"\r\n\r\nx\r\n' in body
    assert b'name="count"\r\n\r\n2\r\n' in body
    assert b'name="report"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\ncontents' in body


async def test_a_post_carries_the_idempotency_key(http: HttpClient) -> None:
    async with serving(Reply()) as server:
        await request(http, server.url(), method="POST")

    assert sent(server).headers["idempotency-key"] == context().idempotency_key


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b'{"a":1}', {"a": 1}),
        ("application/problem+json; charset=utf-8", b"[1]", [1]),
        ("application/json", b"", None),
        ("text/html; charset=iso-8859-1", "gr\u00fcn".encode("latin-1"), "gr\u00fcn"),
        ("application/xml", b"<a/>", "<a/>"),
        ("text/plain", b"a\x00b", "a\ufffdb"),
        ("image/png", b"\x89PNG", base64.b64encode(b"\x89PNG").decode()),
        (None, b"plain", "plain"),
        (None, b"\xff\xfe", base64.b64encode(b"\xff\xfe").decode()),
    ],
)
async def test_a_body_is_read_by_its_media_type(
    http: HttpClient, content_type: str | None, body: bytes, expected: Any
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}

    async with serving(Reply(body=body, headers=headers)) as server:
        found = await request(http, server.url())

    assert found["body"] == expected


@pytest.mark.parametrize(
    ("response_type", "expected"),
    [("json", {"a": 1}), ("text", '{"a": 1}'), ("base64", "eyJhIjogMX0="), ("JSON", {"a": 1})],
)
async def test_a_body_is_read_as_asked(http: HttpClient, response_type: str, expected: Any) -> None:
    async with serving(Reply(body=b'{"a": 1}')) as server:
        found = await request(http, server.url(), response_type=response_type)

    assert found["body"] == expected


async def test_numbers_that_a_double_cannot_hold_become_text(http: HttpClient) -> None:
    body = b'{"id": 9007199254740993, "ok": 9007199254740991, "x": NaN, "s": "\\ud800"}'

    async with serving(Reply(body=body, headers=JSON)) as server:
        found = await request(http, server.url())

    assert found["body"] == {
        "id": "9007199254740993",
        "ok": 9007199254740991,
        "x": None,
        "s": "\ufffd",
    }


async def test_an_answer_that_is_not_the_json_it_claims_is_invalid(http: HttpClient) -> None:
    async with serving(Reply(body=b"<html>", headers=JSON)) as server:
        failure = await request(http, server.url())

    assert (failure.kind, failure.code) == (FailureKind.ERROR, "invalid_response")


async def test_a_status_of_500_counts_more_than_its_body(http: HttpClient) -> None:
    async with serving(Reply(500, b"<html>", JSON)) as server:
        failure = await request(http, server.url())

    assert (failure.code, failure.retryable) == ("unavailable", True)


async def test_a_limit_of_the_target_says_when_to_come_again(http: HttpClient) -> None:
    async with serving(Reply(429, b"slow down", {"Retry-After": "30"})) as server:
        failure = await request(http, server.url())

    assert (failure.code, failure.retryable, failure.retry_after) == ("rate_limited", True, 30)
    assert failure.details == {"status_code": 429, "body": "slow down"}


async def test_errors_of_http_can_be_ignored(http: HttpClient) -> None:
    async with serving(Reply(404, b"gone")) as server:
        found = await request(http, server.url(), ignore_http_errors=True)

    assert (found["status_code"], found["body"]) == (404, "gone")


async def test_success_may_be_something_else(http: HttpClient) -> None:
    reply = Reply(body=b'{"ok": false}', headers=JSON)

    async with serving(reply) as server:
        failure = await request(http, server.url(), success="response.body.ok")
        found = await request(
            http, server.url("/missing"), success="response.status_code in [200, 404]"
        )

    assert (failure.code, failure.retryable) == ("unsuccessful", False)
    assert found["status_code"] == 200


async def test_a_success_that_is_no_condition_is_refused(http: HttpClient) -> None:
    async with serving(Reply()) as server:
        with pytest.raises(ExpressionError, match="true or false"):
            await request(http, server.url(), success="response.status_code")


async def test_redirects_can_be_left_alone(http: HttpClient) -> None:
    async with serving(Reply(302, headers={"Location": "/b"})) as server:
        found = await request(http, server.url("/a"), follow_redirects=False)

    assert (found["status_code"], found["headers"]["location"]) == (302, "/b")


async def test_cookies_that_are_set_are_masked(http: HttpClient) -> None:
    async with serving(Reply(headers={"Set-Cookie": "session=secret"})) as server:
        found = await request(http, server.url())

    assert found["headers"]["set-cookie"] == "***"


def paged(request: Received) -> Reply:
    """Answer with three pages that lead to each other."""
    page = int(request.target.removeprefix("/pages/") or "1")
    following = f"/pages/{page + 1}" if page < 3 else None
    return Reply(body=json.dumps({"page": page, "next": following}).encode(), headers=JSON)


async def test_pages_are_followed_to_the_last(http: HttpClient) -> None:
    async with serving(paged) as server:
        found = await request(http, server.url("/pages/1"), next_url="response.body.next")

    assert [page["page"] for page in found["pages"]] == [1, 2, 3]
    assert found["url"] == server.url("/pages/3")


async def test_pages_have_a_limit(http: HttpClient) -> None:
    async with serving(paged) as server:
        found = await request(
            http, server.url("/pages/1"), next_url="response.body.next", max_pages=2
        )

    assert len(found["pages"]) == 2
    assert len(server.received) == 2


async def test_credentials_do_not_follow_a_page_to_another_origin(http: HttpClient) -> None:
    async with serving(Reply(body=b'{"next": null}', headers=JSON)) as other:
        first = Reply(body=json.dumps({"next": other.url()}).encode(), headers=JSON)
        async with serving(first) as server:
            await request(
                http,
                server.url(),
                headers={"Authorization": "Bearer x"},
                next_url="response.body.next",
            )

    assert sent(server).headers["authorization"] == "Bearer x"
    assert "authorization" not in sent(other).headers


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"headers": {"X": {"a": 1}}}, "headers"),
        ({"query": {"x": {"a": 1}}}, "query"),
        ({"body": "[1", "body_type": "json"}, "body"),
        ({"body": [1], "body_type": "form"}, "body"),
        (
            {"body_type": "multipart", "files": [{"name": "f", "content": "no base64!"}]},
            "files",
        ),
    ],
)
async def test_what_cannot_be_sent_names_its_parameter(
    http: HttpClient, parameters: dict[str, Any], named: str
) -> None:
    async with serving(Reply()) as server:
        failure = await request(http, server.url(), method="POST", **parameters)

    assert (failure.kind, failure.code) == (FailureKind.INVALID_INPUT, "invalid_parameter")
    assert failure.details == {"parameter": named}
    assert server.received == []
