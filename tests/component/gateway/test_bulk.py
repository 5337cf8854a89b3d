"""Many executions in one request: batches that start all or none, and filters that end or retry what fits."""

import asyncio
from typing import Any

import httpx
import pytest

from db.store import Store
from gateway import bulk
from tests.support.gateways import SchedulerStandIn, make_execution, make_workflow, refused

pytestmark = pytest.mark.component


async def many(api: httpx.AsyncClient, what: str, **body: Any) -> Any:
    """Ask for an operation on many, and return what was done."""
    answer = await api.post(f"/v1/executions/bulk/{what}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_what_fits_and_is_not_over_is_canceled(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    workflow, other = await make_workflow(api), await make_workflow(api)
    ids = [await make_execution(api, workflow) for _ in range(3)]
    await scheduler.succeed(ids[0])
    untouched = await make_execution(api, other)
    wanted = {"workflow_id": workflow.rsplit("/", 1)[-1]}

    dry = await many(api, "cancel", filter=wanted, dry_run=True)
    done = await many(api, "cancel", filter=wanted, reason="clean up")
    again = await many(api, "cancel", filter=wanted)

    assert dry == {"matched": 3, "done": 0, "skipped": 1, "next_cursor": None}
    assert done == {"matched": 3, "done": 2, "skipped": 1, "next_cursor": None}
    assert again == {"matched": 3, "done": 0, "skipped": 3, "next_cursor": None}
    commands = [scheduler.cancels.get_nowait() for _ in range(2)]
    assert {each.execution_id for each in commands} == set(ids[1:])
    assert {each.reason for each in commands} == {"clean up"}
    assert (await api.get(f"/v1/executions/{untouched}")).json()["status"] == "NEW"


async def test_a_page_ends_with_where_to_go_on(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MOST", 2)
    workflow = await make_workflow(api)
    for _ in range(3):
        await make_execution(api, workflow)

    first = await many(api, "cancel", filter={"status": "NEW"})
    second = await many(api, "cancel", filter={"mode": "MANUAL"}, cursor=first["next_cursor"])

    assert (first["matched"], first["done"]) == (2, 2)
    assert (second["matched"], second["done"], second["next_cursor"]) == (1, 1, None)


async def test_without_the_schedulers_word_nothing_is_claimed(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CANCEL_SECONDS", 0.3)
    await make_execution(api, await make_workflow(api))
    asked = asyncio.Event()

    async def ignore(_: Any) -> None:
        asked.set()

    scheduler.on_cancel = ignore

    answer = await api.post("/v1/executions/bulk/cancel", json={"filter": {"status": "NEW"}})

    refused(answer, 503, "unavailable")
    assert asked.is_set()


async def test_what_failed_is_retried(api: httpx.AsyncClient, scheduler: SchedulerStandIn) -> None:
    workflow = await make_workflow(api)
    canceled, over, running = [await make_execution(api, workflow) for _ in range(3)]
    await scheduler.cancel_silently(canceled)
    await scheduler.succeed(over)

    dry = await many(api, "retry", filter={"mode": ["MANUAL"]}, dry_run=True)
    done = await many(api, "retry", filter={"mode": ["MANUAL"]})
    anew = await many(api, "retry", filter={"status": ["COMPLETED"]}, **{"from": "START"})

    assert dry == {"matched": 3, "done": 0, "skipped": 2, "next_cursor": None}
    assert done == {"matched": 3, "done": 1, "skipped": 2, "next_cursor": None}
    assert (anew["matched"], anew["done"]) == (1, 1)
    retries = (await api.get("/v1/executions?mode=RETRY")).json()["items"]
    assert [each["retry_of"] for each in retries] == [over, canceled]
    assert running not in {each["retry_of"] for each in retries}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        pytest.param({"filter": {}}, "/filter", id="nothing asked for"),
        pytest.param({}, "/filter", id="no filter"),
        pytest.param({"filter": {"status": "DONE"}}, "/filter/status", id="status"),
        pytest.param({"filter": {"workflow_id": "x"}}, "/filter/workflow_id", id="id"),
        pytest.param({"filter": {"state": "NEW"}}, "/filter/state", id="unknown field"),
        pytest.param({"filter": {"status": "NEW"}, "cursor": "x"}, "/cursor", id="cursor"),
    ],
)
async def test_a_filter_has_to_be_one(
    api: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    for what in ("cancel", "retry"):
        answer = await api.post(f"/v1/executions/bulk/{what}", json=body)

        refused(answer, 422, "invalid_request", pointer)


async def test_a_batch_starts_all_in_order(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    workflow = await make_workflow(api, publish=True)

    accepted = await api.post(
        f"{workflow}/execute/batch",
        json={"items": [{"input": n, "metadata": {"n": n}} for n in range(20)] + [{}]},
    )

    assert accepted.status_code == 202, accepted.text
    ids = [each["execution_id"] for each in accepted.json()["items"]]
    assert len(set(ids)) == 21
    executions = [(await api.get(f"/v1/executions/{each}")).json() for each in ids]
    assert [each["input"] for each in executions] == [*range(20), {}]
    assert executions[3]["metadata"] == {"n": 3}
    assert {each["workflow_version"] for each in executions} == {1}
    told = {(await asyncio.wait_for(scheduler.starts.get(), 5)).execution_id for _ in ids}
    assert told == set(ids)


async def test_a_batch_starts_nothing_if_one_does_not_fit(
    api: httpx.AsyncClient, store: Store
) -> None:
    workflow = await make_workflow(api)

    answer = await api.post(
        f"{workflow}/execute/batch", json={"items": [{"input": 1}, {"input": {"$payload": 1}}]}
    )

    refused(answer, 422, "invalid_request", "/items/1/input")
    assert await store.fetch("select id from workflow_executions") == []


@pytest.mark.parametrize(
    "items", [pytest.param([], id="none"), pytest.param([{}] * 1_001, id="too many")]
)
async def test_a_batch_has_a_size(api: httpx.AsyncClient, items: list[Any]) -> None:
    workflow = await make_workflow(api)

    answer = await api.post(f"{workflow}/execute/batch", json={"items": items})

    refused(answer, 422, "invalid_request", "/items")


async def test_a_batch_is_started_once_per_key(api: httpx.AsyncClient, store: Store) -> None:
    workflow = await make_workflow(api)
    path, key = f"{workflow}/execute/batch", {"idempotency-key": "k"}
    body = {"items": [{"input": 1}, {"input": 2}]}

    answers = await asyncio.gather(*(api.post(path, json=body, headers=key) for _ in range(5)))
    longer = await api.post(path, json={"items": [{}] * 3}, headers=key)

    assert {each.status_code for each in answers} == {202}, answers[0].text
    assert len({each.text for each in answers}) == 1
    assert sum("idempotent-replayed" not in each.headers for each in answers) == 1
    refused(longer, 422, "idempotency_key_reused")
    assert len(await store.fetch("select id from workflow_executions")) == 2
