"""Schedules by the API: refused with a reason, armed by publishing, and in step with what is active."""

import asyncio
from typing import Any

import httpx
import pytest

from contracts.times import rfc3339
from db.store import Store
from tests.support.fleets import Fleet, end_of, line
from tests.support.gateways import STRANGER, SchedulerStandIn, make_workflow, refused

pytestmark = pytest.mark.component


def scheduled(**parameters: Any) -> dict[str, Any]:
    """Return a document that a schedule starts."""
    clock = {"id": "clock", "type": "TRIGGER.SCHEDULE", "parameters": parameters}
    return {"name": "Daily", "settings": {"timezone": "Asia/Tokyo"}, "nodes": [clock]}


async def rows(store: Store) -> list[tuple[Any, ...]]:
    """Return the schedules there are: when they come, and whether they are armed."""
    found = await store.fetch(
        "select node_id, cron, interval_s, timezone, isfinite(next_at) from schedules order by node_id"
    )
    return [tuple(row) for row in found]


async def test_publishing_arms_the_schedules(api: httpx.AsyncClient, store: Store) -> None:
    location = await make_workflow(api, scheduled(cron_expression="0 3 * * *"))
    assert await rows(store) == []

    await api.post(f"{location}/publish")
    assert await rows(store) == [("clock", "0 3 * * *", None, "Asia/Tokyo", True)]

    await api.post(f"{location}/deactivate")
    assert await rows(store) == [("clock", "0 3 * * *", None, "Asia/Tokyo", False)]

    await api.put(location, json={**scheduled(interval=60), "active": True})
    assert await rows(store) == [("clock", "0 3 * * *", None, "Asia/Tokyo", True)], "of the version"

    await api.post(f"{location}/publish")
    assert await rows(store) == [("clock", None, 60.0, "Asia/Tokyo", True)]

    await api.post(f"{location}/publish", json={"from_version": 1})
    assert await rows(store) == [("clock", "0 3 * * *", None, "Asia/Tokyo", True)]

    await api.delete(location)
    assert await rows(store) == []


async def test_a_cron_text_that_cannot_be_read_stays_in_a_draft_and_is_not_published(
    api: httpx.AsyncClient, store: Store
) -> None:
    location = await make_workflow(api, scheduled(cron="0 24 * * *"))

    (problem,) = (await api.get(location)).json()["problems"]
    answer = await api.post(f"{location}/publish")

    assert (problem["pointer"], problem["code"]) == ("/nodes/0/parameters/cron", "invalid_cron")
    assert "the hour '24' cannot be read; it takes 0 to 23" in problem["message"]
    refused(answer, 422, "invalid_document", "/nodes/0/parameters/cron")
    assert await rows(store) == []


async def test_validation_says_what_is_wrong_with_a_schedule(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/workflows/validate", json=scheduled(cron="@reboot"))

    (error,) = answer.json()["errors"]
    assert error["code"] == "invalid_cron"
    assert "@hourly" in error["message"]


async def published(api: httpx.AsyncClient, **parameters: Any) -> tuple[str, Any]:
    """Publish a workflow with a schedule, and return its address and the schedule."""
    location = await make_workflow(api, scheduled(**parameters), publish=True)
    workflow_id = location.rpartition("/")[2]
    (schedule,) = (await api.get(f"/v1/schedules?workflow_id={workflow_id}")).json()["items"]
    return location, schedule


async def test_schedules_are_listed_and_shown(api: httpx.AsyncClient, store: Store) -> None:
    location, daily = await published(api, cron="0 3 * * *")
    _, often = await published(api, interval=60)

    shown = await api.get(f"/v1/schedules/{daily['id']}")
    listed = (await api.get("/v1/schedules")).json()
    first = (await api.get("/v1/schedules?limit=1")).json()
    rest = (await api.get(f"/v1/schedules?limit=1&cursor={first['next_cursor']}")).json()

    assert shown.json() == daily
    assert daily == {
        "id": daily["id"],
        "workflow_id": location.rpartition("/")[2],
        "node_id": "clock",
        "purpose": "START",
        "cron": "0 3 * * *",
        "timezone": "Asia/Tokyo",
        "next_at": daily["next_at"],
        "paused": False,
    }
    assert daily["next_at"].endswith("T18:00:00.000000Z"), "three in the morning, in Tokyo"
    assert (often["interval"], "cron" in often) == (60, False)
    assert [each["id"] for each in listed["items"]] == [often["id"], daily["id"]]
    assert [each["id"] for each in (*first["items"], *rest["items"])] == [often["id"], daily["id"]]
    assert rest["next_cursor"] is None

    await store.execute("update schedules set last_at = '2026-01-01T18:00:00Z'")
    assert (await api.get(f"/v1/schedules/{daily['id']}")).json()["last_at"] == (
        "2026-01-01T18:00:00.000000Z"
    )


async def test_a_schedule_is_held_up(api: httpx.AsyncClient) -> None:
    _, schedule = await published(api, interval=3600)
    _, other = await published(api, interval=3600)
    path = f"/v1/schedules/{schedule['id']}"

    paused = await api.post(f"{path}/pause")
    again = await api.post(f"{path}/pause")
    listed = (await api.get("/v1/schedules?paused=true")).json()["items"]
    others = (await api.get("/v1/schedules?paused=false")).json()["items"]
    resumed = await api.post(f"{path}/resume")

    assert paused.status_code == 200, paused.text
    assert (paused.json()["paused"], paused.json()["next_at"]) == (True, None)
    assert again.json() == paused.json()
    assert listed == [paused.json()]
    assert [each["id"] for each in others] == [other["id"]]
    assert (resumed.status_code, resumed.json()["paused"]) == (200, False)
    assert resumed.json()["next_at"] > schedule["next_at"]


async def test_a_pause_outlives_publishing_and_activating(api: httpx.AsyncClient) -> None:
    location, schedule = await published(api, interval=3600)
    path = f"/v1/schedules/{schedule['id']}"
    await api.post(f"{path}/pause")

    await api.put(location, json=scheduled(interval=60))
    await api.post(f"{location}/publish")
    await api.post(f"{location}/deactivate")
    off = (await api.post(f"{path}/resume")).json()
    await api.post(f"{path}/pause")
    await api.post(f"{location}/activate")
    on = (await api.get(path)).json()

    assert (off["interval"], off["next_at"], off["paused"]) == (60, None, False)
    assert (on["next_at"], on["paused"]) == (None, True)


async def test_a_schedule_is_run_by_hand(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    _, schedule = await published(api, cron="0 3 * * *", data={"who": "{{ workflow.name }}"})
    path = f"/v1/schedules/{schedule['id']}"
    await api.post(f"{path}/pause")

    started = await api.post(f"{path}/run")
    twice = await api.post(f"{path}/run")

    assert started.status_code == 202, started.text
    execution = started.json()
    assert started.headers["location"] == f"/v1/executions/{execution['id']}"
    assert (execution["mode"], execution["trigger"]["node_id"]) == ("TRIGGER", "clock")
    assert execution["input"]["data"] == {"who": "Daily"}
    assert execution["input"]["timezone"] == "Asia/Tokyo"
    assert execution["workflow_version"] == 1
    assert twice.json()["id"] != execution["id"]
    assert (await scheduler.starts.get()).execution_id == execution["id"]
    after = (await api.get(path)).json()
    assert (after["paused"], "last_at" in after) == (True, False)
    rows = await store.fetch("select distinct schedule_id::text from workflow_executions")
    assert [row["schedule_id"] for row in rows] == [schedule["id"]]


@pytest.mark.parametrize(
    ("parameters", "settings"),
    [
        ({"interval": 60, "data": "{{ static.none }}"}, {}),
        ({"interval": 60}, {"concurrency": {"limit": 1, "key": "input.data.who"}}),
    ],
)
async def test_what_cannot_be_evaluated_is_told_who_runs_it(
    api: httpx.AsyncClient, parameters: dict[str, Any], settings: dict[str, Any]
) -> None:
    location = await make_workflow(
        api, scheduled(**parameters) | {"settings": settings}, publish=True
    )
    query = f"workflow_id={location.rpartition('/')[2]}"
    (schedule,) = (await api.get(f"/v1/schedules?{query}")).json()["items"]

    refused(await api.post(f"/v1/schedules/{schedule['id']}/run"), 422, "invalid_request")


async def test_schedules_of_others_are_not_found(api: httpx.AsyncClient, store: Store) -> None:
    _, schedule = await published(api, interval=60)
    await store.execute("update schedules set user_id = $1", STRANGER)

    for schedule_id in (schedule["id"], "x", "%00"):
        path = f"/v1/schedules/{schedule_id}"
        refused(await api.get(path), 404, "not_found")
        for verb in ("pause", "resume", "run"):
            refused(await api.post(f"{path}/{verb}"), 404, "not_found")
    assert (await api.get("/v1/schedules")).json()["items"] == []
    (row,) = await store.fetch("select paused from schedules")
    assert row["paused"] is False


async def test_one_run_by_hand_keeps_the_next_occurrence_away(
    api: httpx.AsyncClient, fleet: Fleet, store: Store
) -> None:
    """On a real scheduler: SKIP asks of any execution of the schedule."""
    go_on = asyncio.Event()
    entered = asyncio.Event()

    async def slowly() -> dict[str, Any]:
        entered.set()
        await go_on.wait()
        return {"ports": {"main": 1}}

    fleet.outcomes["a"] = [slowly]
    document = line("clock", "a", clock={"type": "TRIGGER.CRON", "retry_policy": {}})
    document["nodes"][0]["parameters"] = {"interval": 86_400, "overlap": "SKIP"}
    location = await make_workflow(api, document, publish=True)
    query = f"workflow_id={location.rpartition('/')[2]}"
    (schedule,) = (await api.get(f"/v1/schedules?{query}")).json()["items"]
    by_hand = (await api.post(f"/v1/schedules/{schedule['id']}/run")).json()["id"]
    await entered.wait()

    async def come() -> Any:
        """Let the schedule be due, and return it once the scheduler has looked at it."""
        await store.execute("update schedules set next_at = clock_timestamp()")
        async with asyncio.timeout(20):
            while True:
                (row,) = await store.fetch(
                    "select last_at, next_at > clock_timestamp() as moved from schedules"
                )
                if row["moved"]:
                    return row["last_at"]

    skipped = await come()
    go_on.set()
    await end_of(api, by_hand)
    started = await come()

    assert skipped is None
    found = (await api.get(f"{location}/executions")).json()["items"]
    assert len(found) == 2
    occurrence = await end_of(api, found[0]["id"])
    assert occurrence["status"] == "SUCCESS"
    assert occurrence["input"]["scheduled_at"] == rfc3339(started)
