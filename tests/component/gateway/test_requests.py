"""Bad requests: each is a problem with a pointer, none is a failure of ours, and nothing is stored."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from gateway.app import GatewayApp
from gateway.auth import PUBLIC_PATHS, PUBLIC_ROUTES
from gateway.routes import OPERATIONS
from tests.support import gateways
from tests.support.gateways import HELLO, TOKEN, make_workflow, refused

pytestmark = pytest.mark.component

JSON = {"content-type": "application/json"}


def document(**fields: Any) -> dict[str, Any]:
    """Return HELLO with other fields."""
    return {**HELLO, **fields}


def nodes(*given: dict[str, Any]) -> list[dict[str, Any]]:
    """Return nodes that do nothing, but for what is given."""
    return [{"type": "FLOW.NOOP", **node} for node in given]


REFUSED_AT_ONCE = [
    pytest.param(document(nodes=nodes({"id": "a", "type": "FLOW.NOPE"})), "/nodes/0/type", id="unknown type"),
    pytest.param(document(connections=[{"from": "start", "to": "gone"}]), "/connections/0/to", id="dangling connection"),
    pytest.param(document(nodes=nodes({"id": "a"}, {"id": "a"}), connections=[]), "/nodes/1/id", id="duplicate id"),
    pytest.param(document(nodes=[]), "/nodes", id="no nodes"),
    pytest.param(document(nodes=nodes(*({"id": f"n{i}"} for i in range(1001))), connections=[]), "/nodes", id="too many nodes"),
    pytest.param(document(user_id="x"), "/user_id", id="user_id"),
    pytest.param(document(nodez=[]), "/nodez", id="unknown field"),
    pytest.param(document(name=""), "/name", id="empty name"),
    pytest.param(document(active="yes"), "/active", id="active"),
    pytest.param([], "", id="no object"),
]  # fmt: skip

REFUSED_TO_RUN = [
    pytest.param(
        document(nodes=nodes({"id": "a"}, {"id": "b"}), connections=[{"from": "a", "to": "b"}, {"from": "b", "to": "a"}]),
        "cycle",
        id="cycle",
    ),
    pytest.param(document(nodes=nodes({"id": "a", "type": "FLOW.IF"}), connections=[]), "missing_parameter", id="missing parameter"),
    pytest.param(
        document(connections=[{"from": "start", "to": "hello", "from_port": "sideways"}]), "unknown_port", id="wrong port"
    ),
    pytest.param(
        document(nodes=nodes({"id": "a", "parameters": {"data": "{{ " + "(" * 5000 + " }}"}}), connections=[]),
        "invalid_expression",
        id="expression bomb: nesting",
    ),
    pytest.param(
        document(nodes=nodes({"id": "a", "parameters": {"data": "{{ 1" + "+1" * 50_000 + " }}"}}), connections=[]),
        "invalid_expression",
        id="expression bomb: length",
    ),
]  # fmt: skip

MALFORMED = [
    pytest.param(b"", id="empty"),
    pytest.param(b"{", id="cut off"),
    pytest.param(b'{"name": NaN}', id="NaN"),
    pytest.param(b'{"name": 1e999}', id="infinite"),
    pytest.param(b'{"name": 123456789012345678901234567890}', id="beyond 64 bits"),
    pytest.param(b'{"name": "a", "name": "b"}', id="duplicate keys"),
    pytest.param(b'{"name": "\xff\xfe"}', id="invalid UTF-8"),
    pytest.param(b'{"name": "\\ud800"}', id="lone surrogate"),
    pytest.param(b'{"name": "\\u0000"}', id="NUL"),
    pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
    pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep nesting"),
    pytest.param(b"[" * 4_000_000, id="deep nesting without end"),
    pytest.param(b'{"a":' * 65 + b"1" + b"}" * 65, id="one level too deep"),
]


async def nothing_stored(api: httpx.AsyncClient) -> bool:
    """Whether there is neither a workflow nor an execution."""
    lists = [await api.get("/v1/workflows"), await api.get("/v1/executions")]
    return all(answer.json()["items"] == [] for answer in lists)


@pytest.mark.parametrize(("sent", "pointer"), REFUSED_AT_ONCE)
async def test_a_document_that_cannot_be_saved(
    api: httpx.AsyncClient, sent: Any, pointer: str
) -> None:
    answer = await api.post("/v1/workflows", json=sent)

    assert answer.status_code == 422, answer.text
    refused(answer, 422, answer.json()["code"], pointer)
    assert await nothing_stored(api)


@pytest.mark.parametrize(("sent", "code"), REFUSED_TO_RUN)
async def test_a_document_that_cannot_be_executed(
    api: httpx.AsyncClient, sent: Any, code: str
) -> None:
    location = await make_workflow(api, sent)

    for action in ("publish", "execute"):
        answer = await api.post(f"{location}/{action}")

        refused(answer, 422, "invalid_document")
        errors = answer.json()["errors"]
        assert code in [each["code"] for each in errors]
        assert all(each["pointer"] for each in errors if each["code"] == code)
    assert (await api.get("/v1/executions")).json()["items"] == []


@pytest.mark.parametrize("sent", MALFORMED)
async def test_a_body_that_is_no_json(api: httpx.AsyncClient, sent: bytes) -> None:
    workflow = await make_workflow(api)

    for address in ("/v1/workflows", "/v1/workflows/validate", f"{workflow}/execute"):
        if not sent and address.endswith("/execute"):
            continue
        refused(await api.post(address, content=sent, headers=JSON), 400, "malformed_json")
    refused(await api.put(workflow, content=sent, headers=JSON), 400, "malformed_json")
    assert (await api.get("/v1/executions")).json()["items"] == []


async def test_a_document_of_10_mib_is_too_large(api: httpx.AsyncClient) -> None:
    sent = json.dumps(document(description="x" * 10 * 1024 * 1024)).encode()

    refused(await api.post("/v1/workflows", content=sent, headers=JSON), 413, "body_too_large")
    assert await nothing_stored(api)


async def test_a_body_without_length_is_cut_off_at_the_limit(address: str) -> None:
    """The limit holds while the body streams in: the answer comes before the end of it."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v1/workflows HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer %s\r\ntransfer-encoding: chunked\r\n\r\n" % TOKEN.encode()
    )
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    for _ in range(81):  # one more than 5 MiB
        writer.write(chunk)
    await writer.drain()

    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")

    assert b" 413 " in head.splitlines()[0]
    assert b"application/problem+json" in head
    writer.close()


async def test_a_client_that_leaves_early_leaves_nothing_behind(
    address: str, api: httpx.AsyncClient
) -> None:
    host, port = address.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v1/workflows HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer %s\r\ncontent-length: 1000\r\n\r\n{" % TOKEN.encode()
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert await nothing_stored(api)
    assert (await api.get("/health/ready")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"content-type": "text/plain"}, id="text"),
        pytest.param({"content-type": "application/json; charset=latin-1"}, id="another charset"),
        pytest.param({"content-type": "multipart/form-data"}, id="a form"),
        pytest.param({**JSON, "content-encoding": "gzip"}, id="compressed"),
    ],
)
async def test_a_body_of_another_type(api: httpx.AsyncClient, headers: dict[str, str]) -> None:
    sent = json.dumps(HELLO).encode()

    answer = await api.post("/v1/workflows", content=sent, headers=headers)

    refused(answer, 415, "unsupported_media_type")
    assert await nothing_stored(api)


async def test_json_with_its_charset_is_fine(api: httpx.AsyncClient) -> None:
    headers = {"content-type": "Application/JSON; charset=UTF-8"}

    answer = await api.post("/v1/workflows", content=json.dumps(HELLO), headers=headers)

    assert answer.status_code == 201


async def test_a_header_that_decides_may_stand_once(api: httpx.AsyncClient) -> None:
    headers = [("authorization", "Bearer x"), ("authorization", f"Bearer {TOKEN}")]

    refused(await api.get("/v1/me", headers=headers), 400, "malformed_request")


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/v1",
        "/v1/",
        "/v1/workflows/",
        "/v1/Workflows",
        "//v1/workflows",
        "/v1/webhooks/x",
    ],
)
async def test_a_path_that_is_none(api: httpx.AsyncClient, path: str) -> None:
    refused(await api.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", "/v1/workflows", {"GET", "HEAD", "POST"}),
        ("DELETE", "/v1/me", {"GET", "HEAD"}),
        ("GET", "/v1/workflows/validate", {"POST"}),
        ("OPTIONS", "/v1/executions", {"GET", "HEAD"}),
        ("TRACE", "/health", {"GET", "HEAD"}),
        ("PROPFIND", "/health", {"GET", "HEAD"}),
    ],
)
async def test_a_method_that_a_path_does_not_take(
    api: httpx.AsyncClient, method: str, path: str, allow: set[str]
) -> None:
    answer = await api.request(method, path)

    refused(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == allow


async def test_without_a_token_only_the_public_paths_answer(address: str) -> None:
    async with gateways.client(address, token=None) as anybody:
        for path in {operation.path for operation in OPERATIONS}:
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
                for address_ in (path, f"{path}/", f"/{path}", path.upper(), f"{path}%2f"):
                    answer = await anybody.request(method, address_)
                    if address_ in PUBLIC_PATHS | PUBLIC_ROUTES:
                        assert answer.status_code != 401
                    elif method == "HEAD":
                        assert answer.status_code == 401
                    else:
                        refused(answer, 401, "unauthenticated")
                        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "query", ["?x=1", "?limit=0", "?limit=501", "?cursor=x", "?limit=1&limit=2"]
)
async def test_a_query_that_does_not_fit(api: httpx.AsyncClient, query: str) -> None:
    name = query[1:].partition("=")[0]

    refused(await api.get(f"/v1/workflows{query}"), 422, "invalid_request", f"/{name}")


async def test_every_list_refuses_unknown_parameters_and_foreign_cursors(
    api: httpx.AsyncClient,
) -> None:
    for path in ("workflows", "executions", "node-types", "workers", "dead-letters"):
        refused(await api.get(f"/v1/{path}?nope=1"), 422, "invalid_request", "/nope")
        refused(await api.get(f"/v1/{path}?cursor=AA"), 422, "invalid_request", "/cursor")


async def test_a_mistake_of_ours_tells_nothing_of_itself(
    api: httpx.AsyncClient, app: GatewayApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("secret internals")

    monkeypatch.setattr(app.gateway.documents, "savable", broken)

    answer = await api.post("/v1/workflows", json=HELLO)

    refused(answer, 500, "internal")
    assert "secret" not in answer.text


async def test_what_is_no_http_is_a_problem_too(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"NONSENSE\r\n\r\n")

    async with asyncio.timeout(5):
        answer = await reader.read()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "malformed_request"
    writer.close()
