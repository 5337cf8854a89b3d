"""Schedules by the API: refused with a reason, armed by publishing, and in step with what is active."""

from typing import Any

import httpx
import pytest

from db.store import Store
from tests.support.gateways import make_workflow, refused

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
