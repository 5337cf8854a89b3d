"""Credentials over REST: stored sealed, never shown, and kept while something uses them."""

import asyncio
import json
from typing import Any

import httpx
import pytest

import db.credentials
from bus.client import Bus
from db.sealing import Keyring
from db.store import Store
from gateway.app import create_app
from nodes.regex import Re2
from tests.support import gateways
from tests.support.gateways import (
    KEYRING,
    STRANGER,
    USER,
    make_credential,
    make_workflow,
    refused,
)

pytestmark = pytest.mark.component

BEARER = {"type": "BEARER", "token": "canary-of-the-token", "base_url": "https://shop.example"}


def calling(credential: str, **node: Any) -> dict[str, Any]:
    """Return a document with a node that names a credential."""
    call = {
        "id": "call",
        "type": "ACTION.HTTP_REQUEST",
        "parameters": {"url": "https://shop.example"},
        "credentials": {"http": credential},
        **node,
    }
    return {
        "name": "Calls",
        "nodes": [{"id": "start", "type": "TRIGGER.MANUAL"}, call],
        "connections": [{"from": "start", "to": "call"}],
    }


async def test_a_credential_is_stored_sealed_and_shown_without_its_data(
    api: httpx.AsyncClient, store: Store
) -> None:
    made = await api.post(
        "/v1/credentials",
        json={
            "name": "shop-api",
            "type": "http",
            "data": BEARER,
            "allowed_hosts": ["Shop.example", "10.0.0.1:8080"],
            "expires_at": "2027-01-01T00:00:00Z",
        },
    )

    assert made.status_code == 201, made.text
    found = (await api.get(made.headers["location"])).json()
    assert made.json() == found
    assert found["fields"] == ["base_url", "token", "type"]
    assert found["allowed_hosts"] == ["shop.example", "10.0.0.1:8080"]
    assert found["expires_at"] == "2027-01-01T00:00:00.000000Z"
    listed = (await api.get("/v1/credentials")).json()
    assert listed == {"items": [found], "next_cursor": None}
    assert "canary" not in json.dumps([found, listed])
    row = await db.credentials.get(store, USER, found["id"])
    assert row is not None
    assert b"canary" not in row.sealed.ciphertext
    assert row.sealed.key_id == "test"
    assert db.credentials.opened(row, KEYRING) == BEARER


async def test_only_what_is_sent_changes_and_data_replaces_all_of_it(
    api: httpx.AsyncClient, store: Store
) -> None:
    location = await make_credential(api, type="http", data=BEARER, allowed_hosts=["a.example"])

    renamed = await api.put(location, json={"name": "new", "expires_at": "2027-01-01T00:00:00Z"})
    replaced = await api.put(
        location, json={"data": {"type": "BASIC", "username": "u", "password": "p"}}
    )
    reset = await api.put(location, json={"expires_at": None, "allowed_hosts": []})

    assert renamed.json()["name"] == "new"
    assert renamed.json()["fields"] == ["base_url", "token", "type"]
    assert replaced.json()["fields"] == ["password", "type", "username"]
    assert replaced.json()["allowed_hosts"] == ["a.example"]
    assert "expires_at" in replaced.json()
    assert "expires_at" not in reset.json()
    assert reset.json()["allowed_hosts"] == []
    row = await db.credentials.get(store, USER, renamed.json()["id"])
    assert row is not None
    assert db.credentials.opened(row, KEYRING) == {
        "type": "BASIC",
        "username": "u",
        "password": "p",
    }


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        pytest.param({"type": "htp"}, "/type", id="an unknown type"),
        pytest.param({"data": {}}, "/data", id="no data"),
        pytest.param({"data": {"secret": ""}}, "/data/secret", id="an empty secret"),
        pytest.param({"data": {"secret": "whsec_%%%"}}, "/data/secret", id="a secret that cannot sign"),
        pytest.param({"data": {"secret": "s", "tokn": "t"}}, "/data/tokn", id="an unknown field"),
        pytest.param({"data": "secret"}, "/data", id="data that is no object"),
        pytest.param({"name": ""}, "/name", id="no name"),
        pytest.param({"name": "a\nb"}, "/name", id="a name of two lines"),
        pytest.param({"name": "a\n"}, "/name", id="a name with an end of line"),
        pytest.param({"allowed_hosts": ["https://x"]}, "/allowed_hosts/0", id="an address for a host"),
        pytest.param({"expires_at": "tomorrow"}, "/expires_at", id="no instant"),
        pytest.param({"secret": "s"}, "/secret", id="an unknown field beside data"),
        pytest.param({"type": "postgresql", "data": {"dsn": "x" * 70_000}}, "/data/dsn", id="too long"),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_refused_with_its_place(
    api: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    sent = {"name": "x", "type": "webhook", "data": {"secret": "canary"}, **body}

    answer = await api.post("/v1/credentials", json=sent)

    refused(answer, 422, "invalid_request", pointer)
    assert "canary" not in answer.text


async def test_the_type_of_a_credential_stays(api: httpx.AsyncClient) -> None:
    location = await make_credential(api)

    other = await api.put(location, json={"type": "github", "data": {"token": "t"}})
    same = await api.put(location, json={"type": "webhook", "name": "x"})

    refused(other, 422, "invalid_request", "/type")
    assert same.status_code == 200


async def test_a_name_belongs_to_one_credential_of_a_user(
    api: httpx.AsyncClient, store: Store
) -> None:
    first = await make_credential(api, "one")
    second = await make_credential(api, "two")
    row = await db.credentials.get(store, USER, first.rpartition("/")[2])
    assert row is not None
    await store.execute("update credentials set user_id = $1 where id = $2", STRANGER, row.id)

    await make_credential(api, "one")

    refused(
        await api.post(
            "/v1/credentials", json={"name": "one", "type": "webhook", "data": {"secret": "s"}}
        ),
        409,
        "name_taken",
    )
    refused(await api.put(second, json={"name": "one"}), 409, "name_taken")
    refused(await api.get(first), 404, "not_found")
    refused(await api.put(first, json={"name": "mine"}), 404, "not_found")
    refused(await api.delete(first), 404, "not_found")
    refused(await api.get("/v1/credentials/nothing"), 404, "not_found")


@pytest.mark.parametrize("by", ["id", "name"])
@pytest.mark.parametrize("published", [True, False], ids=["published", "draft"])
async def test_a_credential_is_kept_while_a_workflow_names_it(
    api: httpx.AsyncClient, by: str, published: bool
) -> None:
    location = await make_credential(api, type="http", data=BEARER)
    named = location.rpartition("/")[2] if by == "id" else "shop"
    workflow = await make_workflow(api, calling(named), publish=published)
    if published:
        await api.put(workflow, json=calling(named, credentials={}))

    kept = await api.delete(location)
    renamed = await api.put(location, json={"name": "other"})
    await api.delete(workflow)
    gone = await api.delete(location)

    refused(kept, 409, "in_use")
    assert "Calls" in kept.json()["detail"]
    if by == "name":
        refused(renamed, 409, "in_use")
    else:
        assert renamed.status_code == 200
    assert gone.status_code == 204
    refused(await api.get(location), 404, "not_found")


async def test_a_credential_must_be_there_and_fit_its_slot_to_be_published(
    api: httpx.AsyncClient, store: Store
) -> None:
    missing = await make_workflow(api, calling("shop"))
    refused(
        await api.post(f"{missing}/publish"), 422, "invalid_document", "/nodes/1/credentials/http"
    )

    await make_credential(api, "shop", type="http", data=BEARER)
    await make_credential(api, "secret")
    of_another = await api.post("/v1/workflows/validate", json=calling("secret"))
    known = await api.post("/v1/workflows/validate", json=calling("shop"))
    await store.execute("update credentials set user_id = $1 where name = 'shop'", STRANGER)
    foreign = await api.post("/v1/workflows/validate", json=calling("shop"))

    (error,) = of_another.json()["errors"]
    assert (error["code"], error["node_id"]) == ("unknown_credential", "call")
    assert "webhook" in error["message"]
    assert known.json()["valid"]
    assert [each["code"] for each in foreign.json()["errors"]] == ["unknown_credential"]


async def test_a_draft_may_name_what_comes_later(api: httpx.AsyncClient) -> None:
    workflow = await make_workflow(api, calling("shop"))
    assert (await api.get(workflow)).json()["valid"] is False

    await make_credential(api, "shop", type="http", data=BEARER)

    assert (await api.post(f"{workflow}/publish")).status_code == 201


async def test_integrations_are_stored_changed_and_deleted(api: httpx.AsyncClient) -> None:
    credential = (await make_credential(api, type="github", data={"token": "t"})).rpartition("/")[2]
    body = {"provider": "github", "name": "Ours", "configuration": {"org": "x"}, "is_default": True}

    made = await api.post("/v1/integrations", json=body | {"credential_id": credential})
    location = made.headers["location"]
    changed = await api.put(location, json={"configuration": {}, "name": "Our own"})
    kept = await api.delete(f"/v1/credentials/{credential}")
    listed = (await api.get("/v1/integrations")).json()

    assert made.status_code == 201, made.text
    assert made.json()["configuration"] == {"org": "x"}
    assert changed.json()["credential_id"] == credential
    assert (changed.json()["name"], changed.json()["configuration"]) == ("Our own", {})
    assert listed["items"] == [(await api.get(location)).json()]
    refused(kept, 409, "in_use")
    assert (await api.put(location, json={"credential_id": None})).json()["credential_id"] is None
    assert (await api.delete(f"/v1/credentials/{credential}")).status_code == 204
    assert (await api.delete(location)).status_code == 204
    refused(await api.delete(location), 404, "not_found")
    refused(await api.get(location), 404, "not_found")


async def test_one_integration_of_a_provider_is_the_default_one(api: httpx.AsyncClient) -> None:
    def body(name: str, provider: str = "github") -> dict[str, Any]:
        return {"provider": provider, "name": name, "is_default": True}

    first = (await api.post("/v1/integrations", json=body("one"))).headers["location"]
    second = (await api.post("/v1/integrations", json=body("two"))).headers["location"]
    other = (await api.post("/v1/integrations", json=body("three", "slack"))).headers["location"]

    async def defaults() -> list[bool]:
        return [(await api.get(each)).json()["is_default"] for each in (first, second, other)]

    assert await defaults() == [False, True, True]
    await api.put(first, json={"is_default": True})
    assert await defaults() == [True, False, True]
    refused(await api.post("/v1/integrations", json=body("one")), 409, "name_taken")
    refused(await api.put(second, json={"name": "one"}), 409, "name_taken")


async def test_an_integration_takes_a_fitting_credential_and_no_secrets(
    api: httpx.AsyncClient, store: Store
) -> None:
    webhook = (await make_credential(api)).rpartition("/")[2]
    foreign = (await make_credential(api, "other")).rpartition("/")[2]
    await store.execute("update credentials set user_id = $1 where id = $2", STRANGER, foreign)
    body = {"provider": "github", "name": "Ours"}

    async def sent(**fields: Any) -> httpx.Response:
        return await api.post("/v1/integrations", json={**body, **fields})

    refused(await sent(credential_id=webhook), 422, "invalid_request", "/credential_id")
    refused(
        await sent(provider="webhook", credential_id=foreign),
        422,
        "invalid_request",
        "/credential_id",
    )
    refused(await sent(credential_id="x"), 422, "invalid_request", "/credential_id")
    refused(await sent(provider="Git Hub"), 422, "invalid_request", "/provider")
    leaked = await sent(configuration={"token": "canary"})
    refused(leaked, 422, "invalid_request", "/configuration/token")
    assert "canary" not in leaked.text
    assert (await sent(provider="our_own", credential_id=webhook)).status_code == 201


async def test_without_keys_nothing_is_stored(store: Store, bus: Bus) -> None:
    app = create_app(gateways.settings(keyring=Keyring()), store, bus, Re2(), gateways.CALENDAR)
    async with gateways.served(app, asyncio.Event()) as address, gateways.client(address) as api:
        answer = await api.post(
            "/v1/credentials", json={"name": "x", "type": "webhook", "data": {"secret": "s"}}
        )

    refused(answer, 503, "unavailable")
    assert "SECRET_KEYS" in answer.json()["detail"]


async def test_pages_follow_each_other(api: httpx.AsyncClient) -> None:
    for name in ("a", "b", "c"):
        await make_credential(api, name)

    first = (await api.get("/v1/credentials?limit=2")).json()
    second = (await api.get(f"/v1/credentials?limit=2&cursor={first['next_cursor']}")).json()

    assert [each["name"] for each in first["items"] + second["items"]] == ["c", "b", "a"]
    assert second["next_cursor"] is None
