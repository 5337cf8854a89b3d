"""The guarded client, against a server that checks what it is sent."""

import asyncio
import gzip
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime

import httpx
import pytest

from contracts.failures import Failure, FailureKind
from nodes.answers import Failed
from nodes.http_client import (
    Call,
    HttpAnswer,
    HttpCalls,
    HttpClient,
    retry_after,
    status_failure,
)
from tests.support.http_server import Received, Reply, serving

NOW = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)


async def failure_of(client: HttpClient, call: Call) -> Failure:
    """Return the failure that a call ends with."""
    with pytest.raises(Failed) as caught:
        await client.call(call)
    return caught.value.failure


async def test_a_call_carries_method_headers_and_body(http: HttpClient) -> None:
    async with serving(Reply(201, b"made", {"X-Kind": "test"})) as server:
        answer = await http.call(
            Call(
                method="PUT",
                url=server.url("/a?b=c"),
                headers={"X-Own": "1"},
                content=b"body",
            )
        )

    request = server.received[0]
    assert (request.method, request.target, request.body) == ("PUT", "/a?b=c", b"body")
    assert request.headers["x-own"] == "1"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert (answer.status_code, answer.content) == (201, b"made")
    assert answer.headers["x-kind"] == "test"
    assert answer.url == server.url("/a?b=c")
    assert answer.seconds > 0


async def test_connections_are_kept_for_the_next_call(http: HttpClient) -> None:
    async with serving(Reply(body=b"x")) as server:
        for _ in range(5):
            await http.call(Call(url=server.url()))

        assert server.connections == 1


async def test_no_cookie_is_kept(http: HttpClient) -> None:
    async with serving(Reply(headers={"Set-Cookie": "session=1"})) as server:
        await http.call(Call(url=server.url()))
        await http.call(Call(url=server.url()))

    assert "cookie" not in server.received[1].headers


async def test_proxies_of_the_environment_are_ignored(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    async with serving(Reply(body=b"direct")) as server:
        assert (await http.call(Call(url=server.url()))).content == b"direct"


async def test_the_name_is_resolved_once_and_the_host_header_kept() -> None:
    asked: list[tuple[str, int]] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    client = HttpClient(["shop.example"], resolve)
    async with serving(Reply()) as server:
        await client.call(Call(url=server.url("/", host="shop.example")))
        await client.call(Call(url=server.url("/", host="shop.example")))
        await client.aclose()

    assert asked == [("shop.example", server.port)]
    assert server.received[0].headers["host"] == f"shop.example:{server.port}"


async def test_a_name_that_leads_inside_is_refused_before_anything_is_sent() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with serving(Reply()) as server:
        client = HttpClient((), resolve)
        failure = await failure_of(client, Call(url=server.url("/", host="rebound.example")))
        await client.aclose()

    assert (failure.kind, failure.code) == (FailureKind.REJECTED, "address_refused")
    assert not failure.retryable
    assert server.connections == 0


async def test_a_later_connection_is_checked_anew() -> None:
    answers = [["127.0.0.1"], ["169.254.169.254"]]

    async def resolve(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    client = HttpClient(["127.0.0.0/8"], resolve)
    async with serving(Reply(headers={"Connection": "close"})) as server:
        url = server.url("/", host="flipping.example")
        await client.call(Call(url=url))
        failure = await failure_of(client, Call(url=url))
        await client.aclose()

    assert failure.code == "address_refused"


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]

    client = HttpClient(["127.0.0.0/8"], resolve)
    async with serving(Reply(body=b"found")) as server:
        answer = await client.call(Call(url=server.url("/", host="two.example")))
        await client.aclose()

    assert answer.content == b"found"


async def test_sdks_get_the_same_guard() -> None:
    client = HttpClient()

    async with httpx.AsyncClient(transport=client.transport, trust_env=False) as sdk:
        with pytest.raises(Exception, match="not public"):
            await sdk.get("http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("url", "kind", "code"),
    [
        ("ftp://example.org/", FailureKind.REJECTED, "address_refused"),
        ("file:///etc/passwd", FailureKind.REJECTED, "address_refused"),
        ("example.org", FailureKind.REJECTED, "address_refused"),
        ("http://", FailureKind.INVALID_INPUT, "invalid_parameter"),
        ("http://user:secret@example.org/", FailureKind.INVALID_INPUT, "invalid_parameter"),
        ("http://[::1/", FailureKind.INVALID_INPUT, "invalid_parameter"),
        ("http://127.0.0.1:99999/", FailureKind.INVALID_INPUT, "invalid_parameter"),
    ],
)
async def test_a_url_that_cannot_be_called_is_refused(
    http: HttpClient, url: str, kind: FailureKind, code: str
) -> None:
    failure = await failure_of(http, Call(url=url))

    assert (failure.kind, failure.code) == (kind, code)
    assert "secret@" not in failure.message


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "connection"])
async def test_headers_of_the_client_cannot_be_set(http: HttpClient, name: str) -> None:
    failure = await failure_of(http, Call(url="http://127.0.0.1/", headers={name: "1"}))

    assert (failure.kind, failure.code) == (FailureKind.INVALID_INPUT, "invalid_parameter")


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "sn\u00f6"])
async def test_a_header_that_cannot_be_sent_is_refused(http: HttpClient, value: str) -> None:
    async with serving(Reply()) as server:
        failure = await failure_of(http, Call(url=server.url(), headers={"X-Own": value}))

    assert failure.kind is FailureKind.INVALID_INPUT
    assert server.received == []


async def test_nobody_listening_is_worth_a_retry(http: HttpClient) -> None:
    async with serving(Reply()) as server:
        url = server.url()

    failure = await failure_of(http, Call(url=url))

    assert (failure.kind, failure.code, failure.retryable) == (
        FailureKind.ERROR,
        "connection_failed",
        True,
    )


async def test_an_unknown_host_is_worth_a_retry(http: HttpClient) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    failure = await failure_of(HttpClient((), resolve), Call(url="http://unknown.example/"))

    assert (failure.code, failure.retryable) == ("connection_failed", True)


async def test_a_call_ends_with_its_own_timeout(http: HttpClient) -> None:
    async with serving(Reply(is_silent=True)) as server:
        failure = await failure_of(http, Call(url=server.url(), timeout=0.05))

    assert (failure.code, failure.retryable) == ("call_timeout", True)


async def test_a_call_ends_with_the_attempt(http: HttpClient) -> None:
    async with serving(Reply(is_silent=True)) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await http.call(Call(url=server.url()))


async def test_a_redirect_is_followed_with_method_and_body(http: HttpClient) -> None:
    def answer(request: Received) -> Reply:
        if request.target == "/old":
            return Reply(307, headers={"Location": "/new"})
        return Reply(body=request.body)

    async with serving(answer) as server:
        found = await http.call(Call(method="POST", url=server.url("/old"), content=b"body"))

    assert (found.content, found.url) == (b"body", server.url("/new"))


@pytest.mark.parametrize(
    ("status", "method", "expected"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (302, "PUT", "PUT"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (308, "POST", "POST"),
    ],
)
async def test_a_redirect_goes_on_with_the_method_of_its_status(
    http: HttpClient, status: int, method: str, expected: str
) -> None:
    def answer(request: Received) -> Reply:
        if request.target == "/old":
            return Reply(status, headers={"Location": "/new"})
        return Reply()

    async with serving(answer) as server:
        await http.call(Call(method=method, url=server.url("/old"), content=b"body"))

    request = server.received[1]
    assert request.method == expected
    assert request.body == (b"body" if expected == method else b"") or method == "HEAD"


async def test_credentials_stay_with_their_origin(http: HttpClient) -> None:
    async with serving(Reply()) as other:
        away = Reply(302, headers={"Location": other.url()})
        async with serving(away) as server:
            await http.call(
                Call(
                    url=server.url(),
                    headers={"Authorization": "Bearer x", "Cookie": "a=b", "X-Api-Key": "k",
                             "X-Own": "1"},
                )
            )  # fmt: skip

    assert server.received[0].headers["authorization"] == "Bearer x"
    assert not {"authorization", "cookie", "x-api-key"} & set(other.received[0].headers)
    assert other.received[0].headers["x-own"] == "1"


async def test_credentials_follow_within_their_origin(http: HttpClient) -> None:
    def answer(request: Received) -> Reply:
        return Reply(302, headers={"Location": "/b"}) if request.target == "/a" else Reply()

    async with serving(answer) as server:
        await http.call(Call(url=server.url("/a"), headers={"Authorization": "Bearer x"}))

    assert server.received[1].headers["authorization"] == "Bearer x"


async def test_a_redirect_to_a_private_address_is_refused() -> None:
    client = HttpClient(["127.0.0.1"])
    target = "http://169.254.169.254/latest/meta-data"

    async with serving(Reply(302, headers={"Location": target})) as server:
        failure = await failure_of(client, Call(url=server.url()))
        await client.aclose()

    assert (failure.kind, failure.code) == (FailureKind.REJECTED, "redirect_refused")


@pytest.mark.parametrize(
    "location", ["ftp://example.org/", "file:///etc/passwd", "http://", "http://127.0.0.1:99999/"]
)
async def test_a_redirect_to_something_else_is_refused(http: HttpClient, location: str) -> None:
    async with serving(Reply(302, headers={"Location": location})) as server:
        failure = await failure_of(http, Call(url=server.url()))

    assert failure.code == "redirect_refused"


async def test_redirects_have_an_end(http: HttpClient) -> None:
    async with serving(Reply(302, headers={"Location": "/again"})) as server:
        failure = await failure_of(http, Call(url=server.url(), max_redirects=3))

    assert failure.code == "redirect_refused"
    assert len(server.received) == 4


async def test_a_redirect_can_be_left_to_the_caller(http: HttpClient) -> None:
    async with serving(Reply(302, headers={"Location": "/new"})) as server:
        answer = await http.call(Call(url=server.url(), max_redirects=None))

    assert answer.status_code == 302


async def test_a_body_past_its_limit_is_refused(http: HttpClient) -> None:
    async with serving(Reply(body=b"x" * 101)) as server:
        failure = await failure_of(http, Call(url=server.url(), max_response_bytes=100))
        exact = await http.call(Call(url=server.url(), max_response_bytes=101))

    assert (failure.kind, failure.code) == (FailureKind.PAYLOAD_TOO_LARGE, "response_too_large")
    assert len(exact.content) == 101


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_the_limit_holds_for_what_a_body_unpacks_to(http: HttpClient, encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    bomb = Reply(body=pack(b"\0" * 50_000_000), headers={"Content-Encoding": encoding})

    async with serving(bomb) as server:
        failure = await failure_of(http, Call(url=server.url(), max_response_bytes=1000))

    assert failure.code == "response_too_large"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"text")),
        ("deflate", zlib.compress(b"text")),
        ("deflate", zlib.compress(b"text")[2:-4]),
        ("identity", b"text"),
    ],
)
async def test_packed_bodies_are_unpacked(http: HttpClient, encoding: str, body: bytes) -> None:
    async with serving(Reply(body=body, headers={"Content-Encoding": encoding})) as server:
        assert (await http.call(Call(url=server.url()))).content == b"text"


@pytest.mark.parametrize(("encoding", "body"), [("gzip", b"no gzip"), ("br", b"whatever")])
async def test_a_body_that_cannot_be_unpacked_is_an_invalid_response(
    http: HttpClient, encoding: str, body: bytes
) -> None:
    async with serving(Reply(body=body, headers={"Content-Encoding": encoding})) as server:
        failure = await failure_of(http, Call(url=server.url()))

    assert (failure.kind, failure.code) == (FailureKind.ERROR, "invalid_response")


async def test_writing_calls_of_an_attempt_carry_numbered_idempotency_keys(
    http: HttpClient,
) -> None:
    async with serving(Reply()) as server:
        calls = HttpCalls(http, "e:n:_", "00-trace")
        for method in ("POST", "GET", "DELETE"):
            await calls.call(Call(method=method, url=server.url()))
        own = Call(method="POST", url=server.url(), headers={"Idempotency-Key": "mine"})
        await calls.call(own)

    keys = [request.headers.get("idempotency-key") for request in server.received]
    assert keys == ["e:n:_", None, "e:n:_:3", "mine"]
    assert {request.headers["traceparent"] for request in server.received} == {"00-trace"}


@pytest.mark.parametrize(
    ("status", "code", "is_retryable"),
    [
        (400, "request_refused", False),
        (401, "request_refused", False),
        (404, "not_found", False),
        (408, "unavailable", True),
        (409, "conflict", False),
        (410, "not_found", False),
        (412, "conflict", False),
        (422, "request_refused", False),
        (425, "unavailable", True),
        (429, "rate_limited", True),
        (500, "unavailable", True),
        (503, "unavailable", True),
    ],
)
def test_a_status_says_what_failed(status: int, code: str, is_retryable: bool) -> None:
    answer = HttpAnswer(
        status_code=status,
        headers={"retry-after": "7"},
        content=b"x" * 5000,
        url="https://example.org/?token=secret",
        seconds=1,
    )

    failure = status_failure(answer, NOW)

    assert (failure.code, failure.retryable) == (code, is_retryable)
    assert failure.retry_after == (7 if is_retryable else None)
    assert failure.details == {"status_code": status, "body": "x" * 2048}
    assert "secret" not in failure.message


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("Sat, 28 Mar 2026 22:31:00 GMT", 60),
        ("Sat, 28 Mar 2026 22:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_an_instant(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}, NOW) == seconds
