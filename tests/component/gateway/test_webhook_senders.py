"""Who may deliver: a token or a signature is checked over what came, before anything of it is read."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from bus.client import Bus
from db.sealing import Keyring
from db.store import Store
from gateway.app import GatewayApp, create_app
from gateway.settings import GatewayLimits
from nodes.regex import Re2
from tests.component.gateway.test_webhooks import count
from tests.support import gateways
from tests.support.gateways import STRANGER, USER, make_credential, make_workflow, refused

pytestmark = pytest.mark.component

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
BODY = b'{"id":  7}'


def signed(
    body: bytes = BODY,
    *,
    message_id: str = "msg_1",
    age: float = 0,
    key: bytes = KEY,
    before: str = "",
) -> dict[str, str]:
    """Return the headers of a delivery that Standard Webhooks would send; `before` are further signatures."""
    timestamp = str(int(time.time() - age))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"{before}v1,{base64.b64encode(digest).decode()}",
    }


def hooked(credential: str, **parameters: Any) -> dict[str, Any]:
    """Return a document whose webhook verifies its senders by a credential."""
    hook = {
        "id": "hook",
        "type": "TRIGGER.WEBHOOK",
        "parameters": {"path": "orders", **parameters},
        "credentials": {"webhook": credential},
    }
    return {"name": "Orders", "nodes": [hook]}


async def listen(api: httpx.AsyncClient, credential: str = "shop", **parameters: Any) -> str:
    """Publish such a workflow."""
    return await make_workflow(api, hooked(credential, **parameters), publish=True)


@pytest.fixture
async def outside(address: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token of ours."""
    async with gateways.client(address, token=None) as client:
        yield client


async def deliver(
    outside: httpx.AsyncClient, headers: dict[str, str], body: bytes = BODY
) -> httpx.Response:
    return await outside.post("/v1/webhooks/orders", content=body, headers=headers)


async def test_who_knows_the_token_may_deliver(
    api: httpx.AsyncClient, outside: httpx.AsyncClient, store: Store
) -> None:
    location = await make_credential(api, data={"secret": "the-token"})
    await listen(api, location.rpartition("/")[2], header="X-Shop-Token")

    for headers in (
        {},
        {"x-shop-token": ""},
        {"x-shop-token": "the-toke"},
        {"x-shop-token": "the-token-"},
        {"x-webhook-token": "the-token"},
        {"authorization": "Bearer the-token"},
    ):
        refused(await deliver(outside, headers), 401, "unauthenticated")
    assert await count(store) == 0
    accepted = await deliver(
        outside, {"x-shop-token": "the-token", "content-type": "application/json", "cookie": "a=b"}
    )

    assert accepted.status_code == 202, accepted.text
    data = (await api.get(accepted.headers["location"])).json()["input"]
    assert data["body"] == {"id": 7}
    assert not {"x-shop-token", "cookie", "authorization"} & set(data["headers"])
    assert "the-token" not in json.dumps(data)


async def test_a_signature_over_the_raw_body_lets_in_once_per_delivery(
    api: httpx.AsyncClient, outside: httpx.AsyncClient, store: Store
) -> None:
    await make_credential(api, data={"secret": SECRET})
    await listen(api, authentication="SIGNATURE")

    first = await deliver(outside, signed())
    again = await deliver(outside, signed(age=1))
    rotated = await deliver(outside, signed(message_id="msg_2", before="v1,AAAA v2,x "))

    assert first.status_code == 202, first.text
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert rotated.json() != first.json()
    assert await count(store) == 2


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param(lambda: signed(key=b"x" * 32), BODY, id="another key"),
        pytest.param(lambda: signed(), b'{"id": 7}', id="the same value, spelled otherwise"),
        pytest.param(lambda: signed(age=400), BODY, id="too old"),
        pytest.param(lambda: signed(age=-400), BODY, id="too new"),
        pytest.param(lambda: {**signed(), "webhook-id": "msg_2"}, BODY, id="another id"),
        pytest.param(
            lambda: {**signed(), "webhook-signature": "v1,"}, BODY, id="an empty signature"
        ),
        pytest.param(lambda: {"x-webhook-token": SECRET}, BODY, id="the secret itself"),
        pytest.param(
            lambda: signed(b"{", key=b"x" * 32), b"{", id="what is no JSON is verified first"
        ),
    ],
)
async def test_a_wrong_signature_is_refused_before_the_body_is_read(
    api: httpx.AsyncClient,
    outside: httpx.AsyncClient,
    store: Store,
    headers: Callable[[], dict[str, str]],
    body: bytes,
) -> None:
    await make_credential(api, data={"secret": SECRET})
    await listen(api, authentication="SIGNATURE")

    answer = await deliver(outside, headers(), body)

    refused(answer, 401, "unauthenticated")
    assert await count(store) == 0


async def test_a_secret_that_cannot_sign_lets_nobody_in(
    api: httpx.AsyncClient, outside: httpx.AsyncClient
) -> None:
    location = await make_credential(api, data={"secret": SECRET})
    workflow = await listen(api, authentication="SIGNATURE")
    await api.put(location, json={"data": {"secret": "no base64 at all"}})

    refused(await deliver(outside, signed()), 401, "unauthenticated")
    again = await api.post(f"{workflow}/publish", json={"from_version": 1})
    refused(again, 422, "invalid_document", "/nodes/0/credentials/webhook")
    assert "base64" in again.json()["errors"][0]["message"]


async def test_a_workflow_is_not_published_with_a_secret_that_lets_nobody_in(
    api: httpx.AsyncClient,
) -> None:
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    await make_credential(api, "text", data={"secret": "no base64 at all"})
    await make_credential(api, "old", data={"secret": SECRET}, expires_at=past)

    for credential, authentication, message in (
        ("text", "SIGNATURE", "base64"),
        ("old", "SIGNATURE", "expired"),
        ("old", "HEADER_TOKEN", "expired"),
    ):
        workflow = await make_workflow(api, hooked(credential, authentication=authentication))
        answer = await api.post(f"{workflow}/publish")

        refused(answer, 422, "invalid_document", "/nodes/0/credentials/webhook")
        (error,) = answer.json()["errors"]
        assert (error["code"], error["node_id"]) == ("credential_missing", "hook")
        assert message in error["message"]
    await listen(api, "text")


async def test_a_change_of_the_secret_counts_from_the_next_delivery_on(
    api: httpx.AsyncClient, outside: httpx.AsyncClient
) -> None:
    location = await make_credential(api, data={"secret": "first"})
    await listen(api)
    assert (await deliver(outside, {"x-webhook-token": "first"})).status_code == 202

    await api.put(location, json={"data": {"secret": "second"}})

    refused(await deliver(outside, {"x-webhook-token": "first"}), 401, "unauthenticated")
    assert (await deliver(outside, {"x-webhook-token": "second"})).status_code == 202
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    await api.put(location, json={"expires_at": past})
    refused(await deliver(outside, {"x-webhook-token": "second"}), 401, "unauthenticated")


async def test_only_a_credential_of_the_user_verifies(
    api: httpx.AsyncClient, outside: httpx.AsyncClient, store: Store
) -> None:
    await make_credential(api, data={"secret": "first"})
    await listen(api)

    await store.execute("update credentials set user_id = $1", STRANGER)

    refused(await deliver(outside, {"x-webhook-token": "first"}), 401, "unauthenticated")
    await store.execute("update credentials set user_id = $1", USER)
    assert (await deliver(outside, {"x-webhook-token": "first"})).status_code == 202


async def test_a_secret_that_nobody_can_open_is_the_operators_fault(
    api: httpx.AsyncClient, app: GatewayApp, store: Store, bus: Bus
) -> None:
    await make_credential(api, data={"secret": "first"})
    await listen(api)
    settings = gateways.settings(keyring=Keyring([("other", b"o" * 32)]))
    other = create_app(settings, store, bus, Re2(), gateways.CALENDAR)
    async with (
        gateways.served(other, asyncio.Event()) as address,
        gateways.client(address, token=None) as outside,
    ):
        answer = await deliver(outside, {"x-webhook-token": "first"})

    refused(answer, 503, "unavailable")


async def test_a_path_takes_so_many_deliveries_a_second(store: Store, bus: Bus) -> None:
    settings = gateways.settings(limits=GatewayLimits(requests_per_s=1))
    app = create_app(settings, store, bus, Re2(), gateways.CALENDAR)
    async with (
        gateways.served(app, asyncio.Event()) as address,
        gateways.client(address, token=None) as outside,
    ):
        answers = [await deliver(outside, {}) for _ in range(20)]
        elsewhere = await outside.post("/v1/webhooks/elsewhere")

    limited = [each for each in answers if each.status_code == 429]
    refused(limited[0], 429, "rate_limited")
    assert limited[0].headers["retry-after"] == "1"
    assert "LIMIT_REQUESTS_PER_S" in limited[0].json()["detail"]
    assert [each.status_code for each in answers[:2]] == [404, 404]
    assert elsewhere.status_code == 404
