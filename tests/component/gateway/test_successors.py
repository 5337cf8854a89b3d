"""Retries, reruns, forks and nodes alone over HTTP: what is committed, and when they are refused."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

import db.executions
from contracts.failures import Failure, FailureKind
from contracts.history import (
    ExecutionCreated,
    ExecutionFailed,
    ExecutionStarted,
    NodeFailed,
    NodeRunRef,
    NodesSkipped,
    NodeSucceeded,
    OutputsCarried,
    decode_data,
)
from contracts.model import OnError
from contracts.statuses import SkipReason
from db.store import Store
from tests.support.gateways import SchedulerStandIn, make_execution, make_workflow, refused

pytestmark = pytest.mark.component

FAILURE = Failure(kind=FailureKind.ERROR, code="broken", message="It broke.")
LINE: dict[str, Any] = {
    "name": "Line",
    "nodes": [
        {"id": "start", "type": "TRIGGER.MANUAL"},
        {"id": "one", "type": "FLOW.NOOP"},
        {"id": "two", "type": "FLOW.NOOP", "parameters": {"data": "{{ nodes.one.output }}"}},
        {"id": "left", "type": "FLOW.NOOP"},
    ],
    "connections": [
        {"from": "start", "to": "one"},
        {"from": "one", "to": "two"},
        {"from": "one", "from_port": "error", "to": "left"},
    ],
}
BODY: dict[str, Any] = {
    "name": "Loop",
    "nodes": [
        {"id": "each", "type": "FLOW.LOOP", "parameters": {"items": "{{ input }}"}},
        {"id": "work", "type": "FLOW.NOOP"},
    ],
    "connections": [
        {"from": "each", "from_port": "iteration", "to": "work"},
        {"from": "work", "to": "each", "to_port": "loop_body"},
    ],
}


def yielded(value: Any) -> NodeSucceeded:
    """Return the success of a node."""
    return NodeSucceeded(ports={"main": msgspec.Raw(msgspec.json.encode(value))})


async def failed(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, workflow: str, **body: Any
) -> str:
    """Return the id of an execution of LINE whose last node failed."""
    execution_id = await make_execution(api, workflow, **body)
    await scheduler.record(
        execution_id,
        ExecutionStarted(),
        ("start", yielded("go")),
        ("one", yielded(1)),
        NodesSkipped((NodeRunRef("left"),), SkipReason.DEAD),
        ("two", NodeFailed(failure=FAILURE, tries=1, policy=OnError.STOP)),
        ExecutionFailed(failure=msgspec.structs.replace(FAILURE, node_id="two")),
    )
    while not scheduler.starts.empty():
        scheduler.starts.get_nowait()
    return execution_id


async def history_of(store: Store, execution_id: str) -> list[Any]:
    """Return the events that an execution begins with."""
    rows = await db.executions.history(store, execution_id, limit=100)
    return [decode_data(row.kind, row.data) for row in rows]


async def test_a_retry_takes_over_what_succeeded(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    workflow = await make_workflow(api, LINE, publish=True)
    old = await failed(api, scheduler, workflow, input={"n": 1}, metadata={"ticket": 7}, priority=3)

    accepted = await api.post(f"/v1/executions/{old}/retry")

    assert accepted.status_code == 202, accepted.text
    new = accepted.json()
    assert accepted.headers["location"] == f"/v1/executions/{new['id']}"
    assert (new["mode"], new["retry_of"], new["status"]) == ("RETRY", old, "NEW")
    assert (new["input"], new["metadata"], new["priority"]) == ({"n": 1}, {"ticket": 7}, 3)
    assert new["workflow_version"] == 1
    assert new["trigger"]["node_id"] == "start"
    created, carried = await history_of(store, new["id"])
    assert isinstance(created, ExecutionCreated)
    assert isinstance(carried, OutputsCarried)
    assert [(each.node_id, bytes((each.ports or {})["main"])) for each in carried.node_runs] == [
        ("one", b"1")
    ]
    start = await asyncio.wait_for(scheduler.starts.get(), 5)
    assert start.execution_id == new["id"]
    assert not start.created, "the scheduler has to read what is taken over"
    row = await db.executions.get(store, created.user_id, new["id"])
    assert row is not None
    assert (row.version, row.retry_of) == (2, old)
    assert (await api.get(f"/v1/executions/{old}")).json()["status"] == "ERROR"


async def test_a_rerun_carries_nothing(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    old = await failed(api, scheduler, await make_workflow(api, LINE))

    accepted = await api.post(f"/v1/executions/{old}/retry", json={"from": "START"})

    assert accepted.status_code == 202, accepted.text
    assert len(await history_of(store, accepted.json()["id"])) == 1
    start = await asyncio.wait_for(scheduler.starts.get(), 5)
    assert start.created


async def test_a_retry_takes_the_version_that_is_asked_for(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    workflow = await make_workflow(api, LINE, publish=True)
    old = await failed(api, scheduler, workflow)
    changed = [dict(each) for each in LINE["nodes"]]
    changed[1]["parameters"] = {"data": "other"}
    await api.put(workflow, json={"nodes": changed})
    await api.post(f"{workflow}/publish")
    await api.put(workflow, json={"description": "draft"})
    path = f"/v1/executions/{old}/retry"

    async def version_of(asked: Any) -> tuple[Any, int]:
        accepted = await api.post(path, json={"version": asked})
        assert accepted.status_code == 202, accepted.text
        events = await history_of(store, accepted.json()["id"])
        return accepted.json()["workflow_version"], len(events)

    assert await version_of("same") == (1, 2)
    assert await version_of(1) == (1, 2)
    assert await version_of(2) == (2, 1), "node one is another one there, so nothing is carried"
    assert await version_of("published") == (2, 1)
    assert await version_of("draft") == (None, 1)
    refused(await api.post(path, json={"version": 9}), 422, "invalid_request", "/version")


async def test_only_what_is_over_is_retried(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    workflow = await make_workflow(api)
    running = await make_execution(api, workflow)
    over = await make_execution(api, workflow)
    await scheduler.succeed(over)

    refused(await api.post(f"/v1/executions/{running}/retry"), 409, "not_finished")
    refused(await api.post(f"/v1/executions/{over}/retry"), 409, "already_finished")
    again = await api.post(f"/v1/executions/{over}/retry", json={"from": "START"})
    unpublished = await api.post(
        f"/v1/executions/{over}/retry", json={"from": "START", "version": "published"}
    )

    assert again.status_code == 202
    refused(unpublished, 409, "not_published")


async def test_a_canceled_execution_is_retried(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    execution_id = await make_execution(api, await make_workflow(api))
    await scheduler.cancel_silently(execution_id)

    assert (await api.post(f"/v1/executions/{execution_id}/retry")).status_code == 202


@pytest.mark.parametrize("what", ["retry", "fork"])
async def test_a_key_makes_it_happen_once(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store, what: str
) -> None:
    old = await failed(api, scheduler, await make_workflow(api, LINE))
    path, key = f"/v1/executions/{old}/{what}", {"idempotency-key": "once"}
    body: dict[str, Any] = {} if what == "retry" else {"node_id": "two"}

    first = await api.post(path, json=body, headers=key)
    again = await api.post(path, json=body, headers=key)
    other = await api.post(path, json={**body, "version": "draft"}, headers=key)

    assert first.status_code == again.status_code == 202, first.text
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    refused(other, 422, "idempotency_key_reused")
    assert len(await store.fetch("select id from workflow_executions")) == 2


async def test_a_fork_takes_over_what_does_not_lie_behind_its_node(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    old = await failed(api, scheduler, await make_workflow(api, LINE))

    accepted = await api.post(
        f"/v1/executions/{old}/fork", json={"node_id": "two", "input": {"edited": True}}
    )

    assert accepted.status_code == 202, accepted.text
    new = accepted.json()
    assert new["forked_from"] == {"execution_id": old, "node_id": "two"}
    assert new["mode"] == "RETRY"
    assert "retry_of" not in new
    _, carried = await history_of(store, new["id"])
    assert [(each.node_id, each.input) for each in carried.node_runs] == [
        ("one", msgspec.UNSET),
        ("two", msgspec.Raw(b'{"edited":true}')),
    ]
    listed = (await api.get("/v1/executions?mode=RETRY")).json()["items"]
    assert [each["forked_from"] for each in listed] == [old]


async def test_a_fork_at_the_trigger_has_another_input(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    old = await failed(api, scheduler, await make_workflow(api, LINE), input={"n": 1})

    accepted = await api.post(
        f"/v1/executions/{old}/fork", json={"node_id": "start", "input": {"n": 2}}
    )

    assert accepted.json()["input"] == {"n": 2}
    assert len(await history_of(store, accepted.json()["id"])) == 1


async def test_a_large_input_of_a_fork_is_kept_apart(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    old = await failed(api, scheduler, await make_workflow(api, LINE))

    accepted = await api.post(
        f"/v1/executions/{old}/fork", json={"node_id": "two", "input": "x" * 400_000}
    )

    assert accepted.status_code == 202, accepted.text
    _, carried = await history_of(store, accepted.json()["id"])
    assert b"$payload" in bytes(carried.node_runs[-1].input)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param({"node_id": "left"}, 409, "node_not_reached", id="skipped"),
        pytest.param({"node_id": "nobody"}, 422, "invalid_request", id="unknown node"),
        pytest.param({}, 422, "invalid_request", id="no node"),
        pytest.param({"node_id": "one", "version": "old"}, 422, "invalid_request", id="version"),
        pytest.param(
            {"node_id": "one", "input": {"$payload": 1}}, 422, "invalid_request", id="ref"
        ),
    ],
)
async def test_a_fork_needs_a_node_that_was_reached(
    api: httpx.AsyncClient,
    scheduler: SchedulerStandIn,
    body: dict[str, Any],
    status: int,
    code: str,
) -> None:
    old = await failed(api, scheduler, await make_workflow(api, LINE))

    refused(await api.post(f"/v1/executions/{old}/fork", json=body), status, code)


async def test_a_body_is_forked_at_its_loop(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    execution_id = await make_execution(api, await make_workflow(api, BODY), input=[1])
    await scheduler.record(execution_id, ExecutionStarted())
    path = f"/v1/executions/{execution_id}/fork"

    inside = await api.post(path, json={"node_id": "work"})
    loop = await api.post(path, json={"node_id": "each"})

    refused(inside, 422, "invalid_request", "/node_id")
    assert "each" in inside.json()["detail"]
    assert loop.status_code == 202, loop.text


async def test_a_fork_under_a_version_without_the_node_is_refused(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    workflow = await make_workflow(api, LINE)
    old = await failed(api, scheduler, workflow)
    await api.put(workflow, json={"nodes": LINE["nodes"][:1], "connections": []})

    answer = await api.post(
        f"/v1/executions/{old}/fork", json={"node_id": "one", "version": "draft"}
    )

    refused(answer, 422, "invalid_request", "/version")


async def test_a_node_is_executed_alone(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    workflow = await make_workflow(api, LINE, publish=True)
    await api.put(workflow, json={"description": "draft"})

    alone = await api.post(f"{workflow}/nodes/one/execute", json={"input": {"n": 1}})
    nothing = await api.post(f"{workflow}/nodes/one/execute")
    published = await api.post(f"{workflow}/nodes/one/execute", json={"version": 1})

    assert alone.status_code == 202, alone.text
    new = alone.json()
    assert (new["single_node_id"], new["mode"], new["input"]) == ("one", "MANUAL", {"n": 1})
    assert new["workflow_version"] is None
    assert new["node_counts"] == {"PENDING": 1}
    assert nothing.json()["input"] == {}
    assert published.json()["workflow_version"] == 1
    assert len(await history_of(store, new["id"])) == 1


async def test_a_node_alone_names_outputs_of_another_execution(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    workflow = await make_workflow(api, LINE)
    old = await failed(api, scheduler, workflow, input={"trigger": "data"})
    elsewhere = await failed(api, scheduler, await make_workflow(api, LINE))

    path = f"{workflow}/nodes/two/execute"
    alone = await api.post(path, json={"input": 5, "upstream_from": old})
    foreign = await api.post(path, json={"upstream_from": elsewhere})

    assert alone.status_code == 202, alone.text
    assert alone.json()["input"] == {"trigger": "data"}
    _, carried = await history_of(store, alone.json()["id"])
    assert [each.node_id for each in carried.node_runs] == ["one", "two"]
    assert carried.node_runs[1].input == msgspec.Raw(b"5")
    refused(foreign, 422, "invalid_request", "/upstream_from")


async def test_parameters_are_laid_over_for_this_time(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    workflow = await make_workflow(api, LINE)
    before = (await api.get(workflow)).json()

    path = f"{workflow}/nodes/two/execute"
    alone = await api.post(path, json={"parameters": {"data": "other"}})
    again = await api.post(path, json={"parameters": {"data": "other"}})
    plain = await api.post(path)
    bad = await api.post(path, json={"parameters": {"nonsense": 1}})

    assert alone.status_code == 202, alone.text
    assert alone.json()["version_id"] == again.json()["version_id"]
    assert alone.json()["version_id"] != plain.json()["version_id"]
    stored = await store.fetch_row(
        "select document from workflow_versions where id = $1", alone.json()["version_id"]
    )
    assert stored is not None
    nodes = msgspec.json.decode(stored["document"])["nodes"]
    assert nodes[2]["parameters"] == {"data": "other"}
    assert (await api.get(workflow)).json() == before
    refused(bad, 422, "invalid_document")


@pytest.mark.parametrize(
    ("node_id", "status", "code"),
    [
        pytest.param("nobody", 404, "not_found", id="unknown"),
        pytest.param("start", 422, "invalid_request", id="trigger"),
    ],
)
async def test_some_nodes_are_not_executed_alone(
    api: httpx.AsyncClient, node_id: str, status: int, code: str
) -> None:
    workflow = await make_workflow(api, LINE)

    refused(await api.post(f"{workflow}/nodes/{node_id}/execute"), status, code)
    parameters = {"parameters": {"data": 1}} if node_id == "nobody" else {}
    refused(await api.post(f"{workflow}/nodes/{node_id}/execute", json=parameters), status, code)


async def test_a_node_alone_is_retried_and_cannot_be_forked(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    workflow = await make_workflow(api, LINE)
    old = await failed(api, scheduler, workflow)
    alone = await api.post(f"{workflow}/nodes/two/execute", json={"input": 5, "upstream_from": old})
    path = f"/v1/executions/{alone.json()['id']}"
    await scheduler.cancel_silently(alone.json()["id"])

    retried = await api.post(f"{path}/retry")

    assert retried.json()["single_node_id"] == "two"
    _, carried = await history_of(store, retried.json()["id"])
    assert [each.node_id for each in carried.node_runs] == ["one", "two"]
    refused(await api.post(f"{path}/fork", json={"node_id": "two"}), 422, "invalid_request")


async def test_waiting_for_a_node_alone(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    async def finish(command: Any) -> None:
        await scheduler.cancel_silently(command.execution_id)

    scheduler.on_start = finish
    workflow = await make_workflow(api, LINE)

    final = await api.post(f"{workflow}/nodes/one/execute?wait=10")

    assert final.status_code == 200, final.text
    assert final.json()["status"] == "CANCELED"
