"""Workflows over HTTP: the draft, its validation, and the versions that are published from it."""

import asyncio
from typing import Any

import httpx
import pytest

import db.triggers
import db.workflows
from bus.client import Bus
from contracts.expressions.budget import Limits
from contracts.limits import DocumentLimits
from contracts.model import Document, Node
from db.store import Store
from gateway.app import create_app
from gateway.catalogue import MISS_SECONDS
from gateway.settings import GatewayLimits
from nodes.regex import Re2
from tests.support import gateways
from tests.support.gateways import (
    HELLO,
    STRANGER,
    USER,
    SchedulerStandIn,
    make_execution,
    make_workflow,
    refused,
)

pytestmark = pytest.mark.component

INCOMPLETE: dict[str, Any] = {
    "name": "Incomplete",
    "nodes": [{"id": "check", "type": "FLOW.IF"}],
}
LISTENING: dict[str, Any] = {
    "name": "Listening",
    "nodes": [
        {
            "id": "ordered",
            "type": "TRIGGER.EVENT",
            "parameters": {"subject": "orders.*", "filter": "message.data.total > 0"},
        },
        {
            "id": "ignored",
            "type": "TRIGGER.EVENT",
            "parameters": {"subject": "x"},
            "disabled": True,
        },
        {"id": "work", "type": "FLOW.NOOP"},
    ],
    "connections": [{"from": "ordered", "to": "work"}, {"from": "ignored", "to": "work"}],
}


async def strangers_workflow(store: Store) -> str:
    """Return the id of a workflow of somebody else."""
    document = Document(name="Theirs", nodes=(Node(id="a", name="a", type="FLOW.NOOP"),))
    row = await db.workflows.create(
        store,
        user_id=STRANGER,
        workflow_id="019a0000-0000-7000-8000-000000000bbb",
        document=document,
        problems=(),
        active=True,
    )
    return row.id


async def test_a_workflow_is_created_read_listed_and_deleted(api: httpx.AsyncClient) -> None:
    made = await api.post("/v1/workflows", json=HELLO)

    assert made.status_code == 201, made.text
    workflow = made.json()
    assert made.headers["location"] == f"/v1/workflows/{workflow['id']}"
    assert made.headers["etag"] == '"1"'
    assert workflow["valid"]
    assert workflow["active"]
    assert "published_version" not in workflow
    assert [node["type"] for node in workflow["nodes"]] == ["TRIGGER.MANUAL", "FLOW.NOOP"]

    read = await api.get(made.headers["location"])
    assert read.json() == workflow

    listed = await api.get("/v1/workflows", params={"name": "Hello"})
    assert [each["id"] for each in listed.json()["items"]] == [workflow["id"]]
    assert "nodes" not in listed.json()["items"][0]

    gone = await api.delete(made.headers["location"])
    assert gone.status_code == 204
    assert gone.content == b""
    refused(await api.get(made.headers["location"]), 404, "not_found")
    assert (await api.get("/v1/workflows")).json() == {"items": [], "next_cursor": None}


async def test_what_is_returned_may_be_sent_back(api: httpx.AsyncClient) -> None:
    location = await make_workflow(api, {**HELLO, "settings": {"timezone": "Europe/Berlin"}})
    before = (await api.get(location)).json()

    after = (await api.put(location, json=before)).json()

    changed = {"revision", "updated_at"}
    assert {k: v for k, v in after.items() if k not in changed} == {
        k: v for k, v in before.items() if k not in changed
    }
    copied = await api.post("/v1/workflows", json=before)
    assert copied.status_code == 201
    assert copied.json()["id"] != before["id"]
    assert copied.json()["nodes"] == before["nodes"]


async def test_only_the_fields_that_are_sent_change(api: httpx.AsyncClient) -> None:
    location = await make_workflow(
        api,
        {
            **HELLO,
            "description": "before",
            "tags": ["a", "b"],
            "settings": {"timezone": "Europe/Berlin", "priority": 3},
        },
    )

    changed = await api.put(
        location,
        json={
            "name": "Bye",
            "tags": ["c"],
            "settings": {"priority": None, "errorPolicy": "continue"},
            "description": None,
            "active": False,
        },
    )

    assert changed.status_code == 200, changed.text
    workflow = changed.json()
    assert workflow["name"] == "Bye"
    assert workflow["tags"] == ["c"]
    assert workflow["description"] == ""
    assert workflow["settings"]["timezone"] == "Europe/Berlin"
    assert workflow["settings"]["priority"] == 0
    assert workflow["settings"]["on_error"] == "CONTINUE_REGULAR_OUTPUT"
    assert workflow["active"] is False
    assert len(workflow["nodes"]) == 2
    assert changed.headers["etag"] == '"2"'


async def test_a_change_to_a_stale_revision_is_refused(api: httpx.AsyncClient) -> None:
    location = await make_workflow(api)
    await api.put(location, json={"name": "Second"}, headers={"if-match": '"1"'})

    stale = {"if-match": '"1"'}

    refused(await api.put(location, json={"name": "x"}, headers=stale), 412, "revision_mismatch")
    refused(await api.post(f"{location}/publish", headers=stale), 412, "revision_mismatch")
    refused(await api.post(f"{location}/deactivate", headers=stale), 412, "revision_mismatch")
    refused(await api.delete(location, headers=stale), 412, "revision_mismatch")
    assert (await api.get(location)).json()["name"] == "Second"


async def test_changes_at_the_same_time_all_take_effect(api: httpx.AsyncClient) -> None:
    location = await make_workflow(api)
    fields = [{"name": "N"}, {"description": "D"}, {"tags": ["t"]}]

    answers = await asyncio.gather(*(api.put(location, json=each) for each in fields))

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    workflow = (await api.get(location)).json()
    assert (workflow["name"], workflow["description"], workflow["tags"]) == ("N", "D", ["t"])
    assert workflow["revision"] == 4


async def test_an_incomplete_draft_is_kept_but_neither_published_nor_executed(
    api: httpx.AsyncClient,
) -> None:
    location = await make_workflow(api, INCOMPLETE)

    workflow = (await api.get(location)).json()

    assert workflow["valid"] is False
    assert [each["code"] for each in workflow["problems"]] == ["missing_parameter"]
    pointer = workflow["problems"][0]["pointer"]
    refused(await api.post(f"{location}/publish"), 422, "invalid_document", pointer)
    refused(await api.post(f"{location}/execute"), 422, "invalid_document", pointer)
    assert (await api.get("/v1/executions")).json()["items"] == []


async def test_publishing_freezes_the_draft_without_its_pins(api: httpx.AsyncClient) -> None:
    location = await make_workflow(api, {**HELLO, "pin_data": {"hello": 1}})

    first = await api.post(f"{location}/publish", json={"note": "first"})
    again = await api.post(f"{location}/publish")
    await api.put(location, json={"description": "changed"})
    second = await api.post(f"{location}/publish", json={"note": "second"})

    assert first.status_code == 201, first.text
    assert first.headers["location"] == f"{location}/versions/1"
    assert first.json()["document"]["pin_data"] == {}
    assert first.json()["created_by"] == USER
    assert again.status_code == 200
    assert again.json()["version"] == 1
    assert second.json()["version"] == 2
    assert (await api.get(location)).json()["published_version"] == 2
    assert (await api.get(first.headers["location"])).json() == first.json()


async def test_versions_are_listed_newest_first_and_an_old_one_can_become_current(
    api: httpx.AsyncClient,
) -> None:
    location = await make_workflow(api, publish=True)
    for number in range(2, 5):
        await api.put(location, json={"description": f"version {number}"})
        assert (await api.post(f"{location}/publish")).status_code == 201

    page = (await api.get(f"{location}/versions", params={"limit": 3})).json()
    rest = await api.get(f"{location}/versions", params={"limit": 3, "cursor": page["next_cursor"]})
    back = await api.post(f"{location}/publish", json={"from_version": 1})
    unknown = await api.post(f"{location}/publish", json={"from_version": 9})

    assert [each["version"] for each in page["items"]] == [4, 3, 2]
    assert "document" not in page["items"][0]
    assert [each["version"] for each in rest.json()["items"]] == [1]
    assert rest.json()["next_cursor"] is None
    assert back.status_code == 201
    assert (await api.get(location)).json()["published_version"] == 1
    refused(unknown, 422, "invalid_request", "/from_version")
    for name in ("9", "0", "x", "1.0", "-1", "99999999999"):
        refused(await api.get(f"{location}/versions/{name}"), 404, "not_found")


async def test_publishing_arms_the_event_triggers(api: httpx.AsyncClient, store: Store) -> None:
    location = await make_workflow(api, LISTENING)
    assert await db.triggers.armed(store, [USER]) == ()

    await api.post(f"{location}/publish")
    (armed,) = await db.triggers.armed(store, [USER])
    off = await api.post(f"{location}/deactivate")
    disarmed = await db.triggers.armed(store, [USER])
    on = await api.post(f"{location}/activate")
    rearmed = await db.triggers.armed(store, [USER])

    assert (armed.node_id, armed.subject, armed.filter) == (
        "ordered",
        "orders.*",
        "message.data.total > 0",
    )
    assert off.json()["active"] is False
    assert disarmed == ()
    assert on.json()["active"] is True
    assert rearmed == (armed,)


async def test_a_deleted_workflow_has_its_executions_canceled(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    location = await make_workflow(api)
    execution_id = await make_execution(api, location)

    gone = await api.delete(location)

    assert gone.status_code == 204
    command = await asyncio.wait_for(scheduler.cancels.get(), 5)
    assert command.execution_id == execution_id
    assert command.by.user_id == USER


@pytest.mark.parametrize(
    "workflow_id", ["x", "019A0000-0000-7000-8000-000000000001", "%00", "null"]
)
async def test_a_malformed_id_is_as_unknown_as_a_foreign_one(
    api: httpx.AsyncClient, store: Store, workflow_id: str
) -> None:
    theirs = await strangers_workflow(store)

    for location in (f"/v1/workflows/{workflow_id}", f"/v1/workflows/{theirs}"):
        for answer in (
            await api.get(location),
            await api.put(location, json={"name": "mine"}),
            await api.delete(location),
            await api.post(f"{location}/publish"),
            await api.post(f"{location}/activate"),
            await api.post(f"{location}/deactivate"),
            await api.post(f"{location}/execute"),
            await api.get(f"{location}/versions"),
            await api.get(f"{location}/versions/1"),
            await api.get(f"{location}/executions"),
        ):
            refused(answer, 404, "not_found")
    assert (await api.get("/v1/workflows")).json()["items"] == []


async def test_lists_go_on_where_a_page_ended(api: httpx.AsyncClient) -> None:
    for number in range(5):
        await make_workflow(api, {**HELLO, "name": f"W{number}", "tags": [f"t{number % 2}"]})

    names: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/v1/workflows", params=params)).json()
        names += [each["name"] for each in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    odd = await api.get("/v1/workflows?tag=t1")
    some = await api.get("/v1/workflows?name=W0&name=W3")
    found = await api.get("/v1/workflows?search=w4&active=true&node_type=FLOW.NOOP")

    assert names == ["W4", "W3", "W2", "W1", "W0"]
    assert [each["name"] for each in odd.json()["items"]] == ["W3", "W1"]
    assert [each["name"] for each in some.json()["items"]] == ["W3", "W0"]
    assert [each["name"] for each in found.json()["items"]] == ["W4"]


async def test_validation_reports_everything_and_stores_nothing(api: httpx.AsyncClient) -> None:
    sent = {
        "name": "Wrong",
        "nodes": [
            {"id": "a", "type": "FLOW.IF"},
            {"id": "b", "type": "FLOW.NOOP", "parameters": {"data": "{{ 1 + }}"}},
        ],
        "connections": {"a": {"main": [{"node": "b"}]}},
    }

    found = await api.post("/v1/workflows/validate", json=sent)
    fine = await api.post("/v1/workflows/validate", json=HELLO)

    assert found.status_code == 200, found.text
    assert found.json()["valid"] is False
    assert {"missing_parameter", "invalid_expression"} <= {
        each["code"] for each in found.json()["errors"]
    }
    assert fine.json()["valid"] is True
    assert fine.json()["errors"] == []
    assert fine.json()["manifest"]["node_types"] == ["FLOW.NOOP", "TRIGGER.MANUAL"]
    assert fine.json()["document"]["connections"][0]["to_port"] == "main"
    assert (await api.get("/v1/workflows")).json()["items"] == []


async def test_a_node_type_announced_just_now_is_known(
    api: httpx.AsyncClient, store: Store
) -> None:
    document = {"name": "New", "nodes": [{"id": "n", "type": "CUSTOM.FRESH"}]}
    refused(
        await api.post("/v1/workflows", json=document),
        422,
        "invalid_document",
        "/nodes/0/type",
    )

    await store.execute(
        "insert into node_types (type, subtype, type_version, spec) values ($1, $2, 1, $3)",
        "CUSTOM",
        "FRESH",
        '{"type": "CUSTOM.FRESH", "title": "Fresh"}',
    )
    await asyncio.sleep(MISS_SECONDS)  # what was read just now is not read again

    assert (await api.post("/v1/workflows", json=document)).status_code == 201


async def test_an_idempotency_key_is_not_taken_silently(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/workflows", json=HELLO, headers={"idempotency-key": "k"})

    refused(answer, 400, "malformed_request")
    assert (await api.get("/v1/workflows")).json()["items"] == []


async def test_no_credential_can_be_named(api: httpx.AsyncClient) -> None:
    call = {"id": "call", "type": "ACTION.HTTP_REQUEST", "parameters": {"url": "https://a.example"}}
    document = {
        "name": "Secret",
        "nodes": [
            {"id": "start", "type": "TRIGGER.MANUAL"},
            call | {"credentials": {"http": "shop"}},
        ],
        "connections": [{"from": "start", "to": "call"}],
    }
    pointer = "/nodes/1/credentials/http"
    workflow = await make_workflow(api, document)

    validated = (await api.post("/v1/workflows/validate", json=document)).json()

    assert [(each["pointer"], each["code"]) for each in validated["errors"]] == [
        (pointer, "unknown_credential")
    ]
    refused(await api.post(f"{workflow}/publish"), 422, "invalid_document", pointer)
    refused(await api.post(f"{workflow}/execute"), 422, "invalid_document", pointer)


async def test_the_limits_of_the_settings_hold_for_documents(store: Store, bus: Bus) -> None:
    limits = GatewayLimits(
        documents=DocumentLimits(nodes=2, tries=4), expressions=Limits(source_chars=8)
    )
    app = create_app(gateways.settings(limits=limits), store, bus, Re2(), gateways.CALENDAR)
    start, hello = HELLO["nodes"]
    many = {**HELLO, "nodes": [start, hello, {"id": "more", "type": "FLOW.NOOP"}]}
    stubborn = {**HELLO, "nodes": [start, {**hello, "retry_policy": {"max_tries": 5}}]}

    async with (
        gateways.served(app, asyncio.Event()) as address,
        gateways.client(address) as api,
    ):
        too_many = await api.post("/v1/workflows", json=many)
        too_stubborn = await api.post("/v1/workflows/validate", json=stubborn)
        too_long = await api.post("/v1/workflows", json=HELLO)

    refused(too_many, 422, "invalid_document", "/nodes")
    assert "LIMIT_NODES" in too_many.json()["errors"][0]["message"]
    assert "LIMIT_TRIES" in too_stubborn.json()["errors"][0]["message"]
    assert [each["code"] for each in too_long.json()["problems"]] == ["invalid_expression"]
