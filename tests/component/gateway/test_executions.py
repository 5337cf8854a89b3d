"""Executions over HTTP: what is read of them, and canceling."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from contracts.failures import Failure, FailureKind
from contracts.history import (
    ExecutionFailed,
    ExecutionStarted,
    NodeFailed,
    NodeSucceeded,
    Timing,
    Usage,
)
from contracts.ids import uuid7
from contracts.model import OnError
from db.store import Store
from gateway.app import create_app
from nodes.regex import Re2
from tests.support import gateways
from tests.support.gateways import SchedulerStandIn, make_execution, make_workflow, refused

pytestmark = pytest.mark.component

FAILURE = Failure(kind=FailureKind.ERROR, code="broken", message="It broke.")


def succeeded(value: Any) -> NodeSucceeded:
    """Return an event of a node that yielded a value."""
    return NodeSucceeded(
        ports={"main": msgspec.Raw(msgspec.json.encode(value))},
        worker_id="w1",
        timing=Timing(dispatched_at="2026-01-01T00:00:00.000000Z"),
        usage=Usage(input_tokens=5, model_calls=1),
    )


async def failed_execution(api: httpx.AsyncClient, scheduler: SchedulerStandIn) -> str:
    """Return the address of an execution whose second node failed."""
    execution_id = await make_execution(api, await make_workflow(api))
    await scheduler.record(
        execution_id,
        ExecutionStarted(),
        ("start", succeeded("go")),
        ("hello", NodeFailed(failure=FAILURE, tries=1, policy=OnError.STOP)),
        ExecutionFailed(failure=msgspec.structs.replace(FAILURE, node_id="hello")),
    )
    return f"/v1/executions/{execution_id}"


async def test_an_execution_is_the_fold_of_its_history(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    location = await failed_execution(api, scheduler)

    execution = (await api.get(location)).json()

    assert execution["status"] == "ERROR"
    assert execution["failure"]["code"] == "broken"
    assert execution["failure"]["node_id"] == "hello"
    assert execution["node_counts"] == {"SUCCESS": 1, "ERROR": 1}
    assert execution["usage"]["input_tokens"] == 5
    assert execution["started_at"] <= execution["finished_at"]
    assert "output" not in execution


async def test_node_runs_are_listed_and_read(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    location = await failed_execution(api, scheduler)

    listed = (await api.get(f"{location}/node-runs")).json()
    first = (await api.get(f"{location}/node-runs?limit=1")).json()
    second = await api.get(f"{location}/node-runs?limit=1&cursor={first['next_cursor']}")
    bad = await api.get(f"{location}/node-runs?status=ERROR&node_id=hello&node_id=start")
    run = (await api.get(f"{location}/node-runs/start?iteration=_")).json()

    assert [each["node_id"] for each in listed["items"]] == ["start", "hello"]
    assert "ports" not in listed["items"][0]
    assert listed["next_cursor"] is None
    assert [each["node_id"] for each in first["items"]] == ["start"]
    assert [each["node_id"] for each in second.json()["items"]] == ["hello"]
    assert [each["failure"]["code"] for each in bad.json()["items"]] == ["broken"]
    assert run["ports"] == {"main": "go"}
    assert run["type"] == "TRIGGER.MANUAL"
    assert run["iteration"] == []
    assert run["worker_id"] == "w1"
    refused(await api.get(f"{location}/node-runs/nobody"), 404, "not_found")
    refused(await api.get(f"{location}/node-runs/start?iteration=4-17"), 404, "not_found")
    refused(
        await api.get(f"{location}/node-runs/start?iteration=x"),
        422,
        "invalid_request",
        "/iteration",
    )


async def test_history_is_listed_by_seq(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    location = await failed_execution(api, scheduler)

    whole = (await api.get(f"{location}/history")).json()
    page = (await api.get(f"{location}/history?limit=2&after_seq=1")).json()
    rest = (await api.get(f"{location}/history?cursor={page['next_cursor']}")).json()
    chosen = (await api.get(f"{location}/history?kind=node_failed&kind=node_succeeded")).json()
    of_node = (await api.get(f"{location}/history?node_id=hello")).json()

    assert [each["seq"] for each in whole["items"]] == [1, 2, 3, 4, 5]
    assert whole["items"][0]["kind"] == "execution_created"
    assert whole["items"][2]["data"]["ports"] == {"main": "go"}
    assert [each["seq"] for each in page["items"]] == [2, 3]
    assert [each["seq"] for each in rest["items"]] == [4, 5]
    assert rest["next_cursor"] is None
    assert [each["seq"] for each in chosen["items"]] == [3, 4]
    assert [each["seq"] for each in of_node["items"]] == [4]


async def test_executions_are_listed_by_filters(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    one, two = await make_workflow(api, publish=True), await make_workflow(api)
    first = await make_execution(api, one)
    second = await make_execution(api, two, metadata={"n": 2})
    await scheduler.succeed(first, 1)

    async def ids(query: str) -> list[str]:
        answer = await api.get(query)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["items"]]

    workflow_id = two.rsplit("/", 1)[-1]
    assert await ids("/v1/executions") == [second, first]
    assert await ids("/v1/executions?status=COMPLETED") == [first]
    assert await ids("/v1/executions?status=NEW&status=SUCCESS") == [second, first]
    assert await ids(f"/v1/executions?workflow_id={workflow_id}") == [second]
    assert await ids("/v1/executions?version=1&mode=MANUAL&paused=false") == [first]
    assert await ids(f"{two}/executions") == [second]
    assert await ids("/v1/executions?created_after=2100-01-01T00:00:00Z") == []
    page = (await api.get("/v1/executions?limit=1")).json()
    assert page["items"][0]["metadata"] == {"n": 2}
    assert "input" not in page["items"][0]
    assert await ids(f"/v1/executions?cursor={page['next_cursor']}") == [first]
    refused(await api.get("/v1/executions?status=DONE"), 422, "invalid_request", "/status")
    refused(await api.get(f"{two}/executions?workflow_id=x"), 422, "invalid_request")


@pytest.mark.parametrize("instant", ["0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"])
async def test_instants_at_the_edge_of_time_are_no_failure_of_ours(
    api: httpx.AsyncClient, instant: str
) -> None:
    answer = await api.get(f"/v1/executions?created_after={instant}")

    assert answer.status_code in (200, 422), answer.text


async def test_an_execution_is_canceled_as_the_scheduler_says(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    execution_id = await make_execution(api, await make_workflow(api))

    canceled = await api.post(
        f"/v1/executions/{execution_id}/cancel", json={"reason": "by mistake"}
    )
    again = await api.post(f"/v1/executions/{execution_id}/cancel")

    assert canceled.status_code == 200, canceled.text
    assert canceled.json()["status"] == "CANCELED"
    assert again.status_code == 200
    assert again.json() == canceled.json()
    command = scheduler.cancels.get_nowait()
    assert command.reason == "by mistake"
    assert command.by.source == "API"
    assert scheduler.cancels.empty()


async def test_what_is_over_cannot_be_canceled(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    location = await failed_execution(api, scheduler)

    refused(await api.post(f"{location}/cancel"), 409, "already_finished")
    assert scheduler.cancels.empty()


async def test_an_end_that_comes_before_the_cancel_wins(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    execution_id = await make_execution(api, await make_workflow(api))
    scheduler.on_cancel = scheduler.finish_first

    answer = await api.post(f"/v1/executions/{execution_id}/cancel")

    refused(answer, 409, "already_finished")


async def test_without_the_schedulers_word_there_is_no_answer(
    store: Store, bus: Any, scheduler: SchedulerStandIn
) -> None:
    app = create_app(gateways.settings(command_seconds=0.3), store, bus, Re2(), gateways.CALENDAR)
    scheduler.on_cancel = ignore
    async with (
        gateways.served(app, asyncio.Event()) as address,
        gateways.client(address) as api,
    ):
        execution_id = await make_execution(api, await make_workflow(api))

        answer = await api.post(f"/v1/executions/{execution_id}/cancel")

        refused(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert (await api.get(f"/v1/executions/{execution_id}")).json()["status"] == "NEW"


async def ignore(_: Any) -> None:
    """Answer nothing."""


ASKED: dict[str, Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]] = {
    "": lambda api, at: api.get(at),
    "node-runs": lambda api, at: api.get(f"{at}/node-runs"),
    "node-run": lambda api, at: api.get(f"{at}/node-runs/start"),
    "history": lambda api, at: api.get(f"{at}/history"),
    "events": lambda api, at: api.get(f"{at}/events"),
    "cancel": lambda api, at: api.post(f"{at}/cancel"),
}


@pytest.mark.parametrize("what", ASKED)
async def test_unknown_and_malformed_ids_are_not_found(api: httpx.AsyncClient, what: str) -> None:
    unknown = uuid7(datetime.now(UTC), bytes(10))

    for execution_id in (unknown, unknown.upper(), "x", "%00", "..%2Fme"):
        answer = await ASKED[what](api, f"/v1/executions/{execution_id}")
        refused(answer, 404, "not_found")


@pytest.mark.parametrize("what", ASKED)
async def test_executions_of_others_are_not_found(
    api: httpx.AsyncClient, store: Store, what: str
) -> None:
    execution_id = await make_execution(api, await make_workflow(api))
    await store.execute(
        "update workflow_executions set user_id = $2 where id = $1",
        execution_id,
        gateways.STRANGER,
    )

    refused(await ASKED[what](api, f"/v1/executions/{execution_id}"), 404, "not_found")
    assert (await api.get("/v1/executions")).json()["items"] == []
