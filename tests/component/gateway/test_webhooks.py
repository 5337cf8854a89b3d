"""Deliveries over HTTP: what they start, once each, and what their senders are answered."""

import asyncio
import json
from typing import Any

import httpx
import msgspec
import pytest

import db.executions
import db.webhooks
from bus.client import Bus
from contracts.failures import Failure, FailureKind
from contracts.history import ExecutionFailed, ExecutionStarted, ExecutionSucceeded, NodeSucceeded
from contracts.messages import StartExecution
from db.store import Store
from gateway.app import create_app
from gateway.settings import GatewayLimits
from nodes.regex import Re2
from tests.support import gateways
from tests.support.gateways import USER, SchedulerStandIn, make_workflow, refused

pytestmark = pytest.mark.component


def document(*, second: dict[str, Any] | None = None, **parameters: Any) -> dict[str, Any]:
    """Return a document whose trigger receives whatever anybody sends to /orders, unless told otherwise."""
    given = {"path": "orders", "authentication": "NONE", **parameters}
    nodes = [
        {"id": "start", "type": "TRIGGER.WEBHOOK", "parameters": given},
        {"id": "hello", "type": "FLOW.NOOP"},
    ]
    wires = [{"from": "start", "to": "hello"}]
    if second is not None:
        nodes.append({"id": "second", "type": "TRIGGER.WEBHOOK", "parameters": second})
        wires.append({"from": "second", "to": "hello"})
    return {"name": "Orders", "nodes": nodes, "connections": wires, "static_data": {"least": 10}}


async def listen(api: httpx.AsyncClient, **parameters: Any) -> str:
    """Publish a workflow with a webhook, and return its address."""
    return await make_workflow(api, document(**parameters), publish=True)


async def count(store: Store) -> int:
    """Return how many executions there are."""
    row = await store.fetch_row("select count(*) from workflow_executions")
    assert row is not None
    return int(row[0])


class Sender:
    """Sends deliveries from outside, without a token."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def __call__(
        self, path: str = "orders", method: str = "POST", **sent: Any
    ) -> httpx.Response:
        return await self._client.request(method, f"/v1/webhooks/{path}", **sent)


@pytest.fixture
async def send(address: str) -> Any:
    """What sends deliveries."""
    async with gateways.client(address, token=None) as client:
        yield Sender(client)


async def test_a_delivery_is_committed_with_all_that_was_sent(
    api: httpx.AsyncClient, send: Sender, scheduler: SchedulerStandIn, store: Store
) -> None:
    workflow = await listen(api)

    answer = await send(
        "orders?a=1&b=2&a=3",
        json={"id": 7, "lines": [{"sku": "x"}]},
        headers={
            "authorization": "Basic x",
            "cookie": "a=1",
            "x-webhook-token": "t",
            "x-shop": "Ulm",
        },
    )

    assert answer.status_code == 202, answer.text
    execution_id = answer.json()["execution_id"]
    assert answer.json() == {"execution_id": execution_id}
    assert answer.headers["location"] == f"/v1/executions/{execution_id}"
    start = await asyncio.wait_for(scheduler.starts.get(), 5)
    assert start.execution_id == execution_id
    execution = (await api.get(answer.headers["location"])).json()
    assert execution["workflow_id"] == workflow.rpartition("/")[2]
    assert execution["workflow_version"] == 1
    assert (execution["status"], execution["mode"]) == ("NEW", "WEBHOOK")
    assert execution["trigger"] == {"node_id": "start", "type": "TRIGGER.WEBHOOK"}
    data = execution["input"]
    assert data["method"] == "POST"
    assert data["path"] == "orders"
    assert data["query"] == {"a": ["1", "3"], "b": "2"}
    assert data["body"] == {"id": 7, "lines": [{"sku": "x"}]}
    assert data["client_ip"] == "127.0.0.1"
    assert data["received_at"] == execution["created_at"]
    assert data["headers"]["x-shop"] == "Ulm"
    assert data["headers"]["content-type"] == "application/json"
    assert not {"authorization", "cookie", "x-webhook-token"} & set(data["headers"])


async def test_only_what_is_listed_is_taken(api: httpx.AsyncClient, send: Sender) -> None:
    await listen(api, methods=["GET", "PATCH", "HEAD"])

    for method in ("GET", "PATCH", "HEAD"):
        assert (await send(method=method)).status_code == 202
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        other = await send(method=method)
        refused(other, 405, "method_not_allowed")
        assert other.headers["allow"] == "GET, HEAD, PATCH"
    refused(await send(method="TRACE"), 405, "method_not_allowed")


async def test_any_type_of_body_is_read(api: httpx.AsyncClient, send: Sender, store: Store) -> None:
    await listen(api)

    form = await send(data={"a": "1", "b": "x y"})
    text = await send(content="hello", headers={"content-type": "text/plain"})
    image = await send(content=b"\x89PNG", headers={"content-type": "image/png"})
    nothing = await send()

    async def body(answer: httpx.Response) -> Any:
        data = (await api.get(answer.headers["location"])).json()["input"]
        return data["body"], data.get("raw_body")

    assert await body(form) == ({"a": "1", "b": "x y"}, None)
    assert await body(text) == ("hello", None)
    assert await body(image) == (None, "iVBORw==")
    assert await body(nothing) == (None, None)


async def test_what_cannot_be_received_is_refused_and_starts_nothing(
    api: httpx.AsyncClient, send: Sender, store: Store
) -> None:
    await listen(api)
    as_json = {"content-type": "application/json"}

    refused(await send(content=b"{", headers=as_json), 400, "malformed_json")
    refused(await send(content=b'{"a":NaN}', headers=as_json), 400, "malformed_json")
    refused(await send("orders?a=%FF"), 400, "malformed_request")
    refused(await send(headers={"webhook-id": "x" * 256}), 400, "malformed_request")
    refused(await send(headers={"idempotency-key": ""}), 400, "malformed_request")
    twice = [("webhook-id", "a"), ("webhook-id", "b")]
    refused(await send(headers=twice), 400, "malformed_request")
    refused(await send(json={"a": [{"$payload": 1}]}), 422, "invalid_request")
    packed = {"content-encoding": "gzip"}
    refused(await send(content=b"x", headers=packed), 415, "unsupported_media_type")
    assert await count(store) == 0


async def test_a_body_past_its_limit_is_refused(
    store: Store, bus: Bus, scheduler: SchedulerStandIn
) -> None:
    settings = gateways.settings(limits=GatewayLimits(webhook_bytes=100))
    app = create_app(settings, store, bus, Re2(), gateways.CALENDAR)
    async with gateways.served(app, asyncio.Event()) as address, gateways.client(address) as api:
        await listen(api)

        fits = await api.post("/v1/webhooks/orders", content=b"x" * 100)
        large = await api.post("/v1/webhooks/orders", content=b"x" * 101)

    assert fits.status_code == 202
    refused(large, 413, "body_too_large")
    assert "LIMIT_WEBHOOK_BYTES" in large.json()["detail"]
    assert GatewayLimits().webhook_bytes == 1024 * 1024


async def test_where_nothing_listens_nothing_is_found(
    api: httpx.AsyncClient, send: Sender, store: Store
) -> None:
    refused(await send(), 404, "not_found")
    workflow = await make_workflow(api, document())
    refused(await send(), 404, "not_found")
    await api.post(f"{workflow}/publish", json={"active": False})
    refused(await send(), 404, "not_found")
    await api.post(f"{workflow}/activate")
    assert (await send()).status_code == 202
    await api.put(workflow, json={"active": False})
    refused(await send(), 404, "not_found")
    await api.put(workflow, json={"active": True})
    assert (await send()).status_code == 202
    await api.post(f"{workflow}/deactivate")
    refused(await send(), 404, "not_found")
    await api.post(f"{workflow}/activate")
    await api.delete(workflow)
    refused(await send(), 404, "not_found")
    for path in ("Orders", "orders/", "orders/x", "%00", "or%64ers%2F", "%2e%2e", "x" * 5_000):
        answer = await send(path)
        assert answer.status_code in (401, 404), path
    assert await count(store) == 2


async def test_the_published_version_runs_and_not_the_draft(
    api: httpx.AsyncClient, send: Sender
) -> None:
    workflow = await listen(api)
    await api.put(workflow, json={"nodes": document(path="invoices")["nodes"]})

    old = await send()
    unknown = await send("invoices")
    await api.post(f"{workflow}/publish")
    new = await send("invoices")
    gone = await send()
    await api.post(f"{workflow}/publish", json={"from_version": 1})

    assert (old.status_code, new.status_code) == (202, 202)
    refused(unknown, 404, "not_found")
    refused(gone, 404, "not_found")
    assert (await send()).status_code == 202
    versions = [
        each["workflow_version"] for each in (await api.get("/v1/executions")).json()["items"]
    ]
    assert versions == [1, 2, 1]


async def test_a_path_belongs_to_one_active_workflow(api: httpx.AsyncClient, store: Store) -> None:
    first = await listen(api)
    second = await make_workflow(api, document())

    taken = await api.post(f"{second}/publish")
    refused(taken, 409, "webhook_path_taken")
    assert "`orders`" in taken.json()["detail"]
    assert "published_version" not in (await api.get(second)).json()
    assert (await api.post(f"{first}/publish")).status_code == 200
    await api.post(f"{first}/deactivate")
    assert (await api.post(f"{second}/publish")).status_code == 201
    refused(await api.post(f"{first}/activate"), 409, "webhook_path_taken")
    refused(await api.put(first, json={"active": True}), 409, "webhook_path_taken")
    assert (await api.get(first)).json()["active"] is False
    await api.delete(second)
    assert (await api.post(f"{first}/activate")).status_code == 200
    found = await db.webhooks.find(store, "orders")
    assert found is not None
    assert found.workflow_id == first.rpartition("/")[2]


async def test_a_path_is_made_up_once_where_none_is_given(
    api: httpx.AsyncClient, send: Sender
) -> None:
    sent = document(path=None, second={"authentication": "NONE"})
    workflow = await make_workflow(api, sent)

    def paths(of: httpx.Response) -> list[str]:
        nodes = of.json()["nodes"]
        return [each["parameters"]["path"] for each in nodes if each["type"] == "TRIGGER.WEBHOOK"]

    made = paths(await api.get(workflow))
    again = paths(await api.put(workflow, json={"nodes": sent["nodes"], "description": "x"}))
    elsewhere = paths(await api.get(await make_workflow(api, sent)))
    await api.post(f"{workflow}/publish")

    assert len({*made, *elsewhere}) == 4
    assert all(len(each) == 32 for each in made)
    assert again == made
    for path in made:
        assert (await send(path)).status_code == 202
    validated = (await api.post("/v1/workflows/validate", json=sent)).json()
    assert "path" not in validated["document"]["nodes"][2]["parameters"]


@pytest.mark.parametrize("authentication", ["HEADER_TOKEN", "SIGNATURE"])
async def test_without_its_secret_a_workflow_is_not_published(
    api: httpx.AsyncClient, authentication: str
) -> None:
    workflow = await make_workflow(api, document(authentication=authentication))

    answer = await api.post(f"{workflow}/publish")

    refused(answer, 422, "invalid_document", "/nodes/0/credentials/webhook")
    (error,) = answer.json()["errors"]
    assert error["code"] == "credential_missing"
    assert "credentials.webhook" in error["message"]
    assert "NONE" in error["message"]
    assert (await api.get(workflow)).json()["valid"] is False


@pytest.mark.parametrize("authentication", ["HEADER_TOKEN", "SIGNATURE"])
async def test_a_webhook_whose_secret_is_not_there_lets_nobody_in(
    api: httpx.AsyncClient, send: Sender, store: Store, authentication: str
) -> None:
    await listen(api)
    await store.execute("update webhooks set auth_mode = $1", authentication)

    refused(await send(headers={"x-webhook-token": ""}), 401, "unauthenticated")
    refused(await send(headers={"x-webhook-token": "None"}), 401, "unauthenticated")
    assert await count(store) == 0


@pytest.mark.parametrize("header", ["webhook-id", "Idempotency-Key"])
async def test_a_delivery_that_is_repeated_starts_nothing_again(
    api: httpx.AsyncClient, send: Sender, store: Store, header: str
) -> None:
    workflow = await listen(api, second={"path": "other", "authentication": "NONE"})

    first = await send(json={"n": 1}, headers={header: "msg_1"})
    again = await send(json={"n": 1}, headers={header: "msg_1", "x-attempt": "2"})
    changed = await send(json={"n": 2}, headers={header: "msg_1"})
    await api.put(workflow, json={"description": "second"})
    await api.post(f"{workflow}/publish")
    later = await send(headers={header: "msg_1"})
    other = await send(headers={header: "msg_2"})
    elsewhere = await send("other", headers={header: "msg_1"})
    without = await send(json={"n": 1})

    assert first.json() == again.json() == changed.json() == later.json()
    assert first.headers["location"] == again.headers["location"]
    assert {each.status_code for each in (first, again, changed, later)} == {202}
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == later.headers["idempotent-replayed"] == "true"
    ids = {each.json()["execution_id"] for each in (first, other, elsewhere, without)}
    assert len(ids) == await count(store) == 4


async def test_the_webhook_id_counts_before_the_idempotency_key(
    api: httpx.AsyncClient, send: Sender, store: Store
) -> None:
    await listen(api)

    first = await send(headers={"webhook-id": "a", "idempotency-key": "1"})
    again = await send(headers={"webhook-id": "a", "idempotency-key": "2"})
    other = await send(headers={"webhook-id": "b", "idempotency-key": "1"})

    assert first.json() == again.json() != other.json()


async def test_a_key_that_is_a_day_old_starts_anew(
    api: httpx.AsyncClient, send: Sender, store: Store
) -> None:
    await listen(api)
    first = await send(headers={"webhook-id": "a"})
    row = await store.fetch_row("select expires_at - created_at as kept from idempotency_keys")
    assert row is not None
    assert row["kept"].total_seconds() == 24 * 3600

    await store.execute("update idempotency_keys set expires_at = now()")
    later = await send(headers={"webhook-id": "a"})

    assert later.json() != first.json()
    assert await count(store) == 2


async def test_of_deliveries_at_once_under_one_id_one_starts_something(
    api: httpx.AsyncClient, send: Sender, store: Store, scheduler: SchedulerStandIn
) -> None:
    await listen(api)

    answers = await asyncio.gather(
        *(send(json={"n": n}, headers={"webhook-id": "msg_1"}) for n in range(50))
    )

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["execution_id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert await count(store) == 1
    assert len(await store.fetch("select execution_id from history")) == 1
    await asyncio.wait_for(scheduler.starts.get(), 5)
    assert scheduler.starts.empty()


async def test_a_filter_decides_what_starts(
    api: httpx.AsyncClient, send: Sender, store: Store
) -> None:
    condition = "message.body.total > static.least && workflow.version == 1 && now > timestamp('2020-01-01T00:00:00Z')"
    await listen(api, filter=condition)

    passes = await send(json={"total": 11})
    below = await send(json={"total": 10}, headers={"webhook-id": "a"})
    fails = await send(json={})
    changed = await send(json={"total": 12}, headers={"webhook-id": "a"})

    assert passes.status_code == changed.status_code == 202
    for answer in (below, fails):
        assert answer.status_code == 200
        assert answer.json() == {"execution_id": None, "filtered": True}
    assert await count(store) == 2
    metrics = (await api.get("/metrics")).text
    assert "flotilla_gateway_webhooks_filtered_total 2.0" in metrics
    assert "flotilla_gateway_executions_created_total 2.0" in metrics


class Waiting:
    """A webhook whose sender waits: `ends` is what its executions come to."""

    def __init__(self, scheduler: SchedulerStandIn) -> None:
        self._scheduler = scheduler
        scheduler.on_start = self._end
        self.output: Any = None

    async def _end(self, command: StartExecution) -> None:
        if isinstance(self.output, Failure):
            await self._scheduler.record(
                command.execution_id, ExecutionStarted(), ExecutionFailed(self.output)
            )
            return
        value = json.dumps(self.output).encode()
        await self._scheduler.record(
            command.execution_id,
            ExecutionStarted(),
            ("start", NodeSucceeded(ports={"main": msgspec.Raw(b"null")})),
            ("hello", NodeSucceeded(ports={"main": msgspec.Raw(value)})),
            ExecutionSucceeded(output=msgspec.Raw(b'{"hello":%s}' % value)),
        )


@pytest.fixture
def waiting(scheduler: SchedulerStandIn) -> Waiting:
    """Ends every execution as a test says."""
    return Waiting(scheduler)


async def test_who_waits_is_answered_the_output(
    api: httpx.AsyncClient, send: Sender, waiting: Waiting, store: Store
) -> None:
    await listen(api, response_mode="WAIT")
    waiting.output = {"total": 12.5, "lines": [1, None]}

    first = await send(headers={"webhook-id": "a"})
    again = await send(headers={"webhook-id": "a"})

    assert first.status_code == again.status_code == 200
    assert first.json() == again.json() == {"total": 12.5, "lines": [1, None]}
    assert first.headers["content-type"] == "application/json"
    assert "sandbox" in first.headers["content-security-policy"]
    assert first.elapsed.total_seconds() < 1.5, "the event wakes the wait, not the poll"
    assert again.headers["idempotent-replayed"] == "true"
    assert await count(store) == 1


async def test_a_workflow_may_say_the_answer(
    api: httpx.AsyncClient, send: Sender, waiting: Waiting
) -> None:
    await listen(api, response_mode="WAIT", methods=["GET", "HEAD"])
    headers = {"X-Kind": "page", "Content-Type": "text/html", "Transfer-Encoding": "chunked"}
    waiting.output = {"status": 418, "headers": headers, "body": "<p>tea</p>"}

    answer = await send(method="GET")
    head = await send(method="HEAD")

    assert (answer.status_code, answer.text) == (418, "<p>tea</p>")
    assert answer.headers["x-kind"] == "page"
    assert answer.headers["content-type"] == "text/html"
    assert "transfer-encoding" not in answer.headers
    assert (head.status_code, head.content) == (418, b"")
    assert head.headers["x-kind"] == "page"


async def test_a_failure_is_told_with_its_execution_and_nothing_else(
    api: httpx.AsyncClient, send: Sender, waiting: Waiting
) -> None:
    await listen(api, response_mode="WAIT")
    waiting.output = Failure(FailureKind.ERROR, "broken", "the password is 1234")

    answer = await send()

    refused(answer, 500, "execution_failed")
    (execution,) = (await api.get("/v1/executions")).json()["items"]
    assert answer.json()["execution_id"] == execution["id"]
    assert answer.headers["location"] == f"/v1/executions/{execution['id']}"
    assert execution["status"] == "ERROR"
    assert "1234" not in answer.text


async def test_past_the_time_the_execution_is_told(
    api: httpx.AsyncClient, send: Sender, scheduler: SchedulerStandIn, store: Store
) -> None:
    await listen(api, response_mode="WAIT", response_timeout=0.1)

    answer = await send()

    assert answer.status_code == 202
    row = await db.executions.get(store, USER, answer.json()["execution_id"])
    assert row is not None
    assert row.status == "NEW"
    assert answer.headers["location"] == f"/v1/executions/{row.id}"


async def test_draining_ends_a_wait(store: Store, bus: Bus, scheduler: SchedulerStandIn) -> None:
    app = create_app(gateways.settings(), store, bus, Re2(), gateways.CALENDAR)
    stop = asyncio.Event()
    async with gateways.served(app, stop) as address, gateways.client(address) as api:
        await listen(api, response_mode="WAIT", response_timeout=60)
        sending = asyncio.create_task(api.post("/v1/webhooks/orders"))
        start = await asyncio.wait_for(scheduler.starts.get(), 5)
        stop.set()
        answer = await asyncio.wait_for(sending, 10)

    assert answer.status_code == 202
    assert answer.json() == {"execution_id": start.execution_id}
