"""Starting executions over HTTP: what is committed, what the scheduler is told, and what the client gets."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from msgspec import UNSET

import db.executions
from contracts.history import ExecutionCreated, ExecutionStarted, decode_data
from db.store import Store
from gateway.app import GatewayApp
from tests.support.gateways import (
    HELLO,
    USER,
    SchedulerStandIn,
    make_execution,
    make_workflow,
    refused,
)

pytestmark = pytest.mark.component

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_an_execution_is_committed_and_the_scheduler_told(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    workflow = await make_workflow(api)

    accepted = await api.post(
        f"{workflow}/execute",
        json={"input": {"name": "Ada"}, "metadata": {"ticket": 7}, "priority": 3},
        headers={"traceparent": TRACEPARENT},
    )

    assert accepted.status_code == 202, accepted.text
    execution = accepted.json()
    assert accepted.headers["location"] == f"/v1/executions/{execution['id']}"
    assert accepted.headers["traceparent"].split("-")[1] == TRACEPARENT.split("-")[1]
    assert execution["status"] == "NEW"
    assert execution["mode"] == "MANUAL"
    assert execution["input"] == {"name": "Ada"}
    assert execution["metadata"] == {"ticket": 7}
    assert execution["trigger"] == {"node_id": "start", "type": "TRIGGER.MANUAL"}
    assert execution["node_counts"] == {"PENDING": 2}
    assert execution["workflow_version"] is None

    start = await asyncio.wait_for(scheduler.starts.get(), 5)
    (created,) = await db.executions.history(store, execution["id"], limit=10)
    told = decode_data("execution_created", bytes(start.created or b""))
    assert start.execution_id == execution["id"]
    assert start.created_at == created.at
    assert told == decode_data(created.kind, created.data)
    assert isinstance(told, ExecutionCreated)
    assert told.user_id == USER
    assert told.priority == 3
    assert (told.traceparent or "").split("-")[1] == TRACEPARENT.split("-")[1]
    assert (await api.get(accepted.headers["location"])).json() == execution


async def test_waiting_gives_the_final_execution(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    scheduler.on_start = scheduler.answer_starts
    workflow = await make_workflow(api)

    final = await api.post(f"{workflow}/execute?wait=10")

    assert final.status_code == 200, final.text
    assert final.json()["status"] == "SUCCESS"
    assert final.json()["output"] == {"hello": "hello"}
    assert final.json()["node_counts"] == {"SUCCESS": 2}
    assert final.elapsed.total_seconds() < 1.5, "the event wakes the wait, not the poll"


async def test_waiting_in_vain_gives_the_execution_as_it_is_by_then(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    workflow = await make_workflow(api)

    waiting = asyncio.create_task(api.post(f"{workflow}/execute?wait=1"))
    start = await asyncio.wait_for(scheduler.starts.get(), 5)
    await scheduler.record(start.execution_id, ExecutionStarted())
    accepted = await waiting

    assert accepted.status_code == 202
    assert accepted.json()["started_at"] is not None


async def test_an_end_that_no_message_tells_is_still_seen(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    execution_id = await make_execution(api, await make_workflow(api))
    waiting = asyncio.create_task(api.get(f"/v1/executions/{execution_id}?wait=30"))

    await scheduler.cancel_silently(execution_id)

    assert (await waiting).json()["status"] == "CANCELED"


async def test_the_published_version_is_taken_unless_another_is_asked_for(
    api: httpx.AsyncClient,
) -> None:
    workflow = await make_workflow(api)
    draft = await api.post(f"{workflow}/execute")
    await api.post(f"{workflow}/publish")
    published = await api.post(f"{workflow}/execute")
    await api.put(workflow, json={"description": "second"})
    await api.post(f"{workflow}/publish")
    await api.put(workflow, json={"description": "draft again"})

    newest = await api.post(f"{workflow}/execute")
    older = await api.post(f"{workflow}/execute", json={"version": 1})
    explicit = await api.post(f"{workflow}/execute", json={"version": "draft"})
    again = await api.post(f"{workflow}/execute", json={"version": "draft"})
    unknown = await api.post(f"{workflow}/execute", json={"version": 7})

    assert draft.json()["workflow_version"] is None
    assert published.json()["workflow_version"] == 1
    assert newest.json()["workflow_version"] == 2
    assert older.json()["version_id"] == published.json()["version_id"]
    assert explicit.json()["workflow_version"] is None
    assert explicit.json()["version_id"] == again.json()["version_id"]
    assert explicit.json()["version_id"] != draft.json()["version_id"]
    refused(unknown, 422, "invalid_request", "/version")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(None, {}, id="no body"),
        pytest.param({}, {}, id="empty"),
        pytest.param({"trigger_data": [1, 2.5, None]}, [1, 2.5, None], id="trigger_data"),
        pytest.param({"input_data": "text ü 🎈"}, "text ü 🎈", id="input_data"),
        pytest.param({"input": None}, None, id="null"),
        pytest.param({"input": 2**64 - 1}, 2**64 - 1, id="64 bits"),
        pytest.param({"input": {"b": 1, "a": 2}}, {"b": 1, "a": 2}, id="order kept"),
    ],
)
async def test_input_is_any_json_under_three_names(
    api: httpx.AsyncClient, body: Any, expected: Any
) -> None:
    workflow = await make_workflow(api)

    accepted = await api.post(f"{workflow}/execute", json=body)

    assert accepted.status_code == 202, accepted.text
    assert accepted.json()["input"] == expected
    read = (await api.get(accepted.headers["location"])).json()
    assert read["input"] == expected
    assert json.dumps(read["input"]) == json.dumps(expected)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        pytest.param({"inputs": {}}, "/inputs", id="unknown field"),
        pytest.param({"input": 1, "trigger_data": 2}, "/trigger_data", id="two names"),
        pytest.param({"input": {"a": [{"$payload": {}}]}}, "/input", id="a payload reference"),
        pytest.param({"priority": 11}, "/priority", id="priority"),
        pytest.param({"version": "newest"}, "/version", id="version"),
        pytest.param({"version": True}, "/version", id="a boolean as version"),
        pytest.param({"trigger_node_id": "hello"}, "/trigger_node_id", id="no trigger"),
        pytest.param({"trigger_node_id": "nobody"}, "/trigger_node_id", id="no node"),
        pytest.param({"metadata": []}, "/metadata", id="metadata"),
        pytest.param({"user_id": USER}, "/user_id", id="user_id"),
        pytest.param([], "", id="no object"),
    ],
)
async def test_what_does_not_fit_is_refused_and_nothing_started(
    api: httpx.AsyncClient, body: Any, pointer: str
) -> None:
    workflow = await make_workflow(api)

    refused(await api.post(f"{workflow}/execute", json=body), 422, "invalid_request", pointer)

    assert (await api.get("/v1/executions")).json()["items"] == []


async def test_metadata_has_a_limit(api: httpx.AsyncClient) -> None:
    workflow = await make_workflow(api)

    answer = await api.post(f"{workflow}/execute", json={"metadata": {"a": "x" * 70_000}})

    refused(answer, 422, "limit_exceeded", "/metadata")


async def test_a_trigger_can_be_named(api: httpx.AsyncClient) -> None:
    nodes = [
        {"id": "one", "type": "TRIGGER.MANUAL"},
        {"id": "two", "type": "TRIGGER.EVENT", "parameters": {"subject": "x"}},
        {"id": "work", "type": "FLOW.NOOP"},
    ]
    connections = [{"from": "one", "to": "work"}, {"from": "two", "to": "work"}]
    workflow = await make_workflow(api, {"name": "Two", "nodes": nodes, "connections": connections})

    default = await api.post(f"{workflow}/execute")
    named = await api.post(f"{workflow}/execute", json={"trigger_node_id": "two"})

    assert default.json()["trigger"]["node_id"] == "one"
    assert named.json()["trigger"] == {"node_id": "two", "type": "TRIGGER.EVENT"}


async def test_a_large_input_is_stored_and_the_scheduler_told_of_a_reference(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    workflow = await make_workflow(api)
    text = "x" * 3_000_000

    accepted = await api.post(f"{workflow}/execute", json={"input": text})

    assert accepted.status_code == 202
    start = await asyncio.wait_for(scheduler.starts.get(), 5)
    assert start.execution_id == accepted.json()["id"]
    assert start.created is not UNSET
    told = json.loads(bytes(start.created))["input"]
    assert told["$payload"]["size"] == len(text) + 2
    assert (await api.get(accepted.headers["location"])).json()["input"] == told


async def test_many_starts_at_once_are_all_committed_once(
    api: httpx.AsyncClient, app: GatewayApp, scheduler: SchedulerStandIn, store: Store
) -> None:
    workflow = await make_workflow(api, publish=True)

    answers = await asyncio.gather(
        *(api.post(f"{workflow}/execute", json={"input": n}) for n in range(100))
    )

    assert {answer.status_code for answer in answers} == {202}
    ids = {answer.json()["id"] for answer in answers}
    assert len(ids) == 100
    told = {(await asyncio.wait_for(scheduler.starts.get(), 5)).execution_id for _ in ids}
    assert told == ids
    rows = await store.fetch("select id from workflow_executions")
    assert {str(row["id"]) for row in rows} == ids
    assert "flotilla_gateway_executions_created_total 100.0" in (await api.get("/metrics")).text


async def test_a_repeated_request_with_its_key_starts_nothing_again(
    api: httpx.AsyncClient, store: Store
) -> None:
    workflow = await make_workflow(api)
    key = {"idempotency-key": "order-17"}

    first = await api.post(f"{workflow}/execute", json={"input": {"a": 1, "b": 2}}, headers=key)
    again = await api.post(f"{workflow}/execute", json={"input": {"a": 1, "b": 2}}, headers=key)
    other = await api.post(f"{workflow}/execute", json={"input": {"a": 2}}, headers=key)
    elsewhere = await api.post(f"{await make_workflow(api, HELLO)}/execute", headers=key)

    assert first.status_code == again.status_code == elsewhere.status_code == 202
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    refused(other, 422, "idempotency_key_reused")
    assert elsewhere.json()["id"] != first.json()["id"]
    rows = await store.fetch("select id from workflow_executions")
    assert len(rows) == 2


async def test_of_requests_with_one_key_at_once_one_starts_something(
    api: httpx.AsyncClient, store: Store
) -> None:
    workflow = await make_workflow(api)
    key = {"idempotency-key": "k"}

    answers = await asyncio.gather(
        *(api.post(f"{workflow}/execute", headers=key) for _ in range(20))
    )

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len(await store.fetch("select id from workflow_executions")) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tinside"])
async def test_a_key_has_to_be_one(api: httpx.AsyncClient, key: str) -> None:
    workflow = await make_workflow(api)

    answer = await api.post(f"{workflow}/execute", headers={"idempotency-key": key})

    refused(answer, 400, "malformed_request")


def asking(schema: Any, *, trigger: str = "start") -> dict[str, Any]:
    """Return a document whose manual trigger of that name asks for a schema."""
    start = {"id": trigger, "type": "TRIGGER.MANUAL", "parameters": {"input_schema": schema}}
    return {
        **HELLO,
        "nodes": [start, HELLO["nodes"][1]],
        "connections": [{"from": trigger, "to": "hello"}],
    }


NAMED = {"type": "object", "required": ["name"], "properties": {"name": {"pattern": "^[A-Z]"}}}


@pytest.mark.parametrize("schema", [NAMED, json.dumps(NAMED)], ids=["object", "text"])
@pytest.mark.parametrize("is_published", [False, True], ids=["draft", "published"])
async def test_an_input_must_fit_the_schema_of_its_trigger(
    api: httpx.AsyncClient, schema: Any, is_published: bool
) -> None:
    workflow = await make_workflow(api, asking(schema), publish=is_published)

    bad = await api.post(f"{workflow}/execute", json={"input": {"name": "ada"}})
    alias = await api.post(f"{workflow}/execute", json={"trigger_data": {"name": 3, "x": 1}})
    nothing = await api.post(f"{workflow}/execute")
    good = await api.post(f"{workflow}/execute", json={"input_data": {"name": "Ada"}})

    refused(bad, 422, "invalid_request", "/input/name")
    assert bad.json()["errors"][0]["message"] == 'Must match ^[A-Z], not "ada".'
    assert alias.status_code == 202, "a pattern is about texts alone"
    refused(nothing, 422, "invalid_request", "/input/name")
    assert good.status_code == 202
    stored = (await api.get(f"{workflow}/executions")).json()["items"]
    assert [each["id"] for each in stored] == [good.json()["id"], alias.json()["id"]]


async def test_a_misfit_is_told_under_the_name_that_was_sent(api: httpx.AsyncClient) -> None:
    workflow = await make_workflow(api, asking(NAMED))

    answer = await api.post(f"{workflow}/execute", json={"trigger_data": {}})

    refused(answer, 422, "invalid_request", "/trigger_data/name")


async def test_the_schema_is_that_of_the_trigger_that_is_asked_for(api: httpx.AsyncClient) -> None:
    document = asking(NAMED)
    document["nodes"].append({"id": "other", "type": "TRIGGER.MANUAL"})
    document["connections"].append({"from": "other", "to": "hello"})
    workflow = await make_workflow(api, document)

    first = await api.post(f"{workflow}/execute", json={"input": {}})
    other = await api.post(
        f"{workflow}/execute", json={"input": {"name": 1}, "trigger_node_id": "other"}
    )
    named = await api.post(f"{workflow}/execute", json={"input": {}, "trigger_node_id": "start"})

    refused(first, 422, "invalid_request", "/input/name")
    assert other.status_code == 202
    refused(named, 422, "invalid_request", "/input/name")


async def test_a_schema_that_is_none_hinders_publishing_and_executing(
    api: httpx.AsyncClient,
) -> None:
    document = asking({"$ref": "https://a.example/schema.json"})
    pointer = "/nodes/0/parameters/input_schema"
    workflow = await make_workflow(api, document)

    validated = (await api.post("/v1/workflows/validate", json=document)).json()
    draft = (await api.get(workflow)).json()

    refused(await api.post(f"{workflow}/publish"), 422, "invalid_document", pointer)
    refused(await api.post(f"{workflow}/execute"), 422, "invalid_document", pointer)
    (error,) = validated["errors"]
    assert (error["pointer"], error["code"]) == (pointer, "invalid_parameter")
    assert "nothing is fetched" in error["message"]
    assert [each["pointer"] for each in draft["problems"]] == [pointer]


async def test_a_version_published_with_a_schema_that_is_none_is_not_executed(
    api: httpx.AsyncClient, store: Store
) -> None:
    workflow = await make_workflow(api, asking({"type": "object"}), publish=True)
    await store.execute(
        "alter table workflow_versions disable trigger user",
    )
    await store.execute(
        "update workflow_versions set document ="
        " jsonb_set(document::jsonb, '{nodes,0,parameters,input_schema}', '{\"type\": 3}')::json"
    )

    answer = await api.post(f"{workflow}/execute")

    refused(answer, 422, "invalid_document", "/nodes/0/parameters/input_schema")
