"""ACTION.HTTP_REQUEST with a credential: how it is sent, where to, and what follows when it is refused."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from contracts.credentials import Credential, CredentialAnswer
from contracts.failures import Failure, FailureKind
from nodes.answers import Failed
from nodes.context import Outputs
from nodes.http_auth import Tokens
from nodes.http_client import HttpClient
from nodes.http_request import http_request
from tests.nodes.test_credentials import Store
from tests.support.http_server import HttpServer, Received, Reply, serving
from tests.support.tasks import context, task_node

JSON = {"content-type": "application/json"}


def credential(allowed_hosts: tuple[str, ...] = (), **data: Any) -> Credential:
    return Credential(type="http", data=data, id="c1", name="shop", allowed_hosts=allowed_hosts)


class Clock:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def request(
    http: HttpClient,
    url: str,
    given: Credential,
    *,
    template: str | None = None,
    tokens: Tokens | None = None,
    **parameters: Any,
) -> Any:
    """Return what the node gives on `main`, or its failure, both as they leave the worker."""
    stored: dict[str, Any] = {"credentials": Store(CredentialAnswer(given))}
    if tokens is not None:
        stored["tokens"] = tokens
    node = task_node(
        type="ACTION.HTTP_REQUEST",
        parameters={"url": template or url},
        credentials={"http": "shop"},
    )
    made = context(http=http, node=node, stored=stored)
    read = http_request.reader.read({"url": url, **parameters})
    try:
        answer = await http_request(made, read)
    except Failed as failed:
        answer = failed.failure
    if isinstance(answer, Failure):
        return made.masker.failure(answer) if made.masker else answer
    assert isinstance(answer, Outputs)
    return made.masked(answer.ports["main"])


def token_server(lasts: float | None = 3600, status: int = 200) -> Callable[[Received], Reply]:
    """Return what gives tokens, a new one each time, and takes the calls that carry one."""
    given: list[str] = []

    def answer(received: Received) -> Reply:
        if received.target != "/token":
            return Reply(200, b"{}", JSON)
        given.append(f"canary-token-{len(given) + 1}")
        body: dict[str, Any] = {"access_token": given[-1], "token_type": "Bearer"}
        if lasts is not None:
            body["expires_in"] = lasts
        return Reply(status, json.dumps(body).encode(), JSON)

    return answer


def oauth(server: HttpServer, **data: Any) -> Credential:
    return credential(
        type="OAUTH2",
        token_url=server.url("/token"),
        client_id="id",
        client_secret="canary secret",
        **data,
    )


def sent(server: HttpServer, target: str = "/x") -> list[Received]:
    """Return the calls of a path."""
    return [each for each in server.received if urlsplit(each.target).path == target]


@pytest.mark.parametrize(
    ("data", "header", "value"),
    [
        pytest.param({"type": "BEARER", "token": "canary"}, "authorization", "Bearer canary", id="bearer"),
        pytest.param({"type": "BASIC", "username": "ada", "password": "canary"}, "authorization",
                     "Basic " + base64.b64encode(b"ada:canary").decode(), id="basic"),
        pytest.param({"type": "API_KEY", "api_key": "canary"}, "x-api-key", "canary", id="key"),
        pytest.param({"type": "API_KEY", "api_key": "canary", "key_name": "X-Shop", "key_location": "header"},
                     "x-shop", "canary", id="key by another name"),
    ],
)  # fmt: skip
async def test_a_credential_goes_along_in_its_header(
    http: HttpClient, data: dict[str, Any], header: str, value: str
) -> None:
    async with serving(
        lambda received: Reply(200, json.dumps(received.headers).encode(), JSON)
    ) as server:
        found = await request(
            http,
            server.url("/x"),
            credential(**data),
            headers={"Authorization": "mine", "X-Api-Key": "mine"},
        )

    (received,) = sent(server)
    assert received.headers[header] == value
    assert value.rpartition(" ")[2] not in json.dumps(found), "what a server echoes is masked"
    assert found["body"][header].endswith("***")


async def test_a_key_in_the_query_is_sent_and_not_told(http: HttpClient) -> None:
    key = credential(type="API_KEY", api_key="canary key", key_name="key", key_location="query")

    async with serving(Reply(200, b"{}", JSON)) as server:
        found = await request(http, server.url("/x?a=1"), key, query={"b": "2"})

    (received,) = sent(server)
    assert parse_qs(urlsplit(received.target).query) == {
        "a": ["1"],
        "b": ["2"],
        "key": ["canary key"],
    }
    assert found["url"] == server.url("/x?a=1&b=2")


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_credential_is_said_to_be_one(http: HttpClient, status: int) -> None:
    async with serving(Reply(status, b"canary is wrong")) as server:
        failure = await request(http, server.url("/x"), credential(type="BEARER", token="canary"))
        ignored = await request(
            http,
            server.url("/x"),
            credential(type="BEARER", token="canary"),
            ignore_http_errors=True,
        )

    assert (failure.kind, failure.code) == (FailureKind.CREDENTIALS_MISSING, "credential_refused")
    assert "slot http" in failure.message
    assert not failure.retryable
    assert ignored["status_code"] == status
    assert ignored["body"] == "*** is wrong"


async def test_other_failures_stay_what_they_are_and_tell_no_secret(http: HttpClient) -> None:
    async with serving(Reply(503, b"busy with canary")) as server:
        failure = await request(http, server.url("/x"), credential(type="BEARER", token="canary"))

    assert (failure.code, failure.retryable) == ("unavailable", True)
    assert failure.details["body"] == "busy with ***"


@pytest.mark.parametrize("by", ["allowed_hosts", "base_url"])
async def test_a_credential_is_sent_to_its_hosts_alone(http: HttpClient, by: str) -> None:
    async with serving(Reply(200, b"{}", JSON)) as own, serving(Reply(200, b"{}", JSON)) as other:
        hosts = (f"127.0.0.1:{own.port}",) if by == "allowed_hosts" else ()
        extra = {"base_url": own.url("/api")} if by == "base_url" else {}
        shop = credential(hosts, type="BEARER", token="canary", **extra)

        taken = await request(http, own.url("/x"), shop)
        refused = await request(http, other.url("/x"), shop)
        by_name = await request(http, own.url("/x", host="localhost"), shop)

    assert taken["status_code"] == 200
    for failure in (refused, by_name):
        assert (failure.kind, failure.code) == (FailureKind.REJECTED, "host_not_allowed")
        assert f"127.0.0.1:{own.port}" in failure.message
    assert other.received == []


async def test_without_hosts_it_goes_where_the_document_says(http: HttpClient) -> None:
    shop = credential(type="BEARER", token="canary")
    async with serving(Reply(200, b"{}", JSON)) as server:
        url = server.url("/x")
        path = await request(http, url, shop, template=server.url("/{{ input.path }}"))
        host = await request(http, url, shop, template="http://{{ input.host }}/x")
        whole = await request(http, url, shop, template="{{ input.url }}")

    assert path["status_code"] == 200
    for failure in (host, whole):
        assert (failure.kind, failure.code) == (FailureKind.REJECTED, "host_not_allowed")
        assert "allowed_hosts" in failure.message
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"type": "BEARER", "token": "canary"}, id="bearer"),
        pytest.param({"type": "API_KEY", "api_key": "canary", "key_name": "X-Shop"}, id="own header"),
        pytest.param({"type": "API_KEY", "api_key": "canary", "key_name": "k", "key_location": "query"}, id="query"),
    ],
)  # fmt: skip
async def test_a_redirect_to_another_origin_takes_no_credential_along(
    http: HttpClient, data: dict[str, Any]
) -> None:
    async with serving(Reply(200, b"{}", JSON)) as other:
        moved = Reply(302, headers={"location": other.url("/x")})
        async with serving(moved) as server:
            found = await request(http, server.url("/x"), credential(**data))

    assert found["url"] == other.url("/x")
    assert "canary" in str(server.received)
    assert "canary" not in str(other.received)


async def test_a_redirect_within_the_origin_takes_the_credential_along(http: HttpClient) -> None:
    def answer(received: Received) -> Reply:
        is_first = received.target == "/x"
        return Reply(302, headers={"location": "/y"}) if is_first else Reply(200, b"{}", JSON)

    async with serving(answer) as server:
        await request(http, server.url("/x"), credential(type="API_KEY", api_key="canary"))

    assert [each.headers.get("x-api-key") for each in server.received] == ["canary", "canary"]


async def test_pages_of_the_same_origin_alone_get_the_credential(http: HttpClient) -> None:
    key = credential(type="API_KEY", api_key="canary", key_name="k", key_location="query")
    async with serving(Reply(200, b'{"next": null}', JSON)) as other:
        pages = {"/x": "/y", "/y": other.url("/z")}

        def answer(received: Received) -> Reply:
            path = urlsplit(received.target).path
            return Reply(200, json.dumps({"next": pages[path]}).encode(), JSON)

        async with serving(answer) as server:
            found = await request(http, server.url("/x"), key, next_url="response.body.next")

    assert len(found["pages"]) == 3
    assert [each.target for each in server.received] == ["/x?k=canary", "/y?k=canary"]
    assert [each.target for each in other.received] == ["/z"]


async def test_a_token_is_fetched_once_and_renewed_a_minute_before_its_end(
    http: HttpClient,
) -> None:
    clock = Clock()
    tokens = Tokens(clock)
    async with serving(token_server(lasts=100)) as server:
        shop = oauth(server, scope="orders")
        for seconds in (0, 39, 2):
            clock.now += seconds
            found = await request(http, server.url("/x"), shop, tokens=tokens)
            assert found["status_code"] == 200

    asked = sent(server, "/token")
    assert len(asked) == 2
    assert asked[0].method == "POST"
    assert (
        asked[0].headers["authorization"]
        == "Basic " + base64.b64encode(b"id:canary+secret").decode()
    )
    assert parse_qs(asked[0].body.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["orders"],
    }
    used = [each.headers["authorization"] for each in sent(server)]
    assert used == ["Bearer canary-token-1", "Bearer canary-token-1", "Bearer canary-token-2"]


async def test_of_many_that_need_a_token_one_fetches_it(http: HttpClient) -> None:
    tokens = Tokens(Clock())
    async with serving(token_server()) as server:
        shop = oauth(server)
        await asyncio.gather(
            *(request(http, server.url("/x"), shop, tokens=tokens) for _ in range(5))
        )

    assert len(sent(server, "/token")) == 1
    assert len(sent(server)) == 5


async def test_another_secret_gets_another_token(http: HttpClient) -> None:
    tokens = Tokens(Clock())
    async with serving(token_server(lasts=None)) as server:
        await request(http, server.url("/x"), oauth(server), tokens=tokens)
        await request(http, server.url("/x"), oauth(server, scope="more"), tokens=tokens)
        await request(http, server.url("/x"), oauth(server), tokens=tokens)

    assert len(sent(server, "/token")) == 2


async def test_a_token_that_is_refused_is_fetched_anew_the_next_time(http: HttpClient) -> None:
    tokens = Tokens(Clock())
    take = token_server()

    def answer(received: Received) -> Reply:
        is_stale = received.headers.get("authorization") == "Bearer canary-token-1"
        return Reply(401) if is_stale else take(received)

    async with serving(answer) as server:
        first = await request(http, server.url("/x"), oauth(server), tokens=tokens)
        second = await request(http, server.url("/x"), oauth(server), tokens=tokens)

    assert first.code == "credential_refused"
    assert second["status_code"] == 200


@pytest.mark.parametrize(
    ("reply", "kind", "code", "retryable"),
    [
        pytest.param(Reply(401, b"canary secret"), "CREDENTIALS_MISSING", "credential_refused", False, id="refused"),
        pytest.param(Reply(400, b"{}"), "CREDENTIALS_MISSING", "credential_refused", False, id="invalid client"),
        pytest.param(Reply(503, b"canary secret"), "ERROR", "unavailable", True, id="away"),
        pytest.param(Reply(200, b"hello"), "ERROR", "invalid_response", False, id="no JSON"),
        pytest.param(Reply(200, b'{"access_token": 5}'), "ERROR", "invalid_response", False, id="no text"),
        pytest.param(Reply(302, headers={"location": "/x"}), "ERROR", "invalid_response", False, id="elsewhere"),
    ],
)  # fmt: skip
async def test_without_a_token_nothing_is_called(
    http: HttpClient, reply: Reply, kind: str, code: str, retryable: bool
) -> None:
    async with serving(reply) as server:
        failure = await request(http, server.url("/x"), oauth(server), tokens=Tokens(Clock()))

    assert (failure.kind, failure.code, failure.retryable) == (kind, code, retryable)
    assert "canary" not in str(failure)
    assert sent(server) == []


async def test_a_token_that_fails_once_is_asked_for_again(http: HttpClient) -> None:
    tokens = Tokens(Clock())
    replies = iter([Reply(503)])
    take = token_server()
    async with serving(lambda received: next(replies, None) or take(received)) as server:
        first = await request(http, server.url("/x"), oauth(server), tokens=tokens)
        second = await request(http, server.url("/x"), oauth(server), tokens=tokens)

    assert first.code == "unavailable"
    assert second["status_code"] == 200


async def test_a_node_that_names_no_credential_asks_for_none(http: HttpClient) -> None:
    store = Store(CredentialAnswer(credential(type="BEARER", token="canary")))
    async with serving(Reply(200, b"{}", JSON)) as server:
        made = context(http=http, stored={"credentials": store})
        await http_request(made, http_request.reader.read({"url": server.url("/x")}))

    assert store.asked == []
    assert "authorization" not in server.received[0].headers
