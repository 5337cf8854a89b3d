"""A pinned start trigger needs no input, and its pin is what the workflow runs on."""

from typing import Any

import httpx
import pytest

from tests.component.gateway.test_with_a_scheduler import Fleet, end_of, fleet
from tests.support.gateways import make_execution, make_workflow, refused

__all__ = ["fleet"]

pytestmark = pytest.mark.component

SCHEMA = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
PINNED: dict[str, Any] = {
    "name": "Pinned",
    "nodes": [
        {"id": "start", "type": "TRIGGER.MANUAL", "parameters": {"input_schema": SCHEMA}},
        {"id": "a", "type": "CUSTOM.ANY"},
    ],
    "connections": [{"from": "start", "to": "a"}],
    "pin_data": {"start": {"name": "Ada"}},
}


async def test_without_an_input_the_pin_stands_for_it(api: httpx.AsyncClient, fleet: Fleet) -> None:
    execution_id = await make_execution(api, await make_workflow(api, PINNED))

    over = await end_of(api, execution_id)
    start = (await api.get(f"/v1/executions/{execution_id}/node-runs/start")).json()

    assert over["status"] == "SUCCESS"
    assert (start["pinned"], start["ports"]) == (True, {"main": {"name": "Ada"}})


async def test_an_input_that_is_posted_has_to_fit(api: httpx.AsyncClient) -> None:
    workflow = await make_workflow(api, PINNED)

    answer = await api.post(f"{workflow}/execute", json={"input": {"name": 1}})

    refused(answer, 422, "invalid_request", "/input/name")


async def test_without_its_pin_the_published_version_asks_for_one(api: httpx.AsyncClient) -> None:
    workflow = await make_workflow(api, PINNED, publish=True)

    refused(await api.post(f"{workflow}/execute"), 422, "invalid_request", "/input/name")
