"""A pinned start trigger needs no input; what becomes of the pin is the core's (tests/core/test_pins.py)."""

from typing import Any

import httpx
import pytest

from tests.support.gateways import HELLO, make_workflow, refused

pytestmark = pytest.mark.component

SCHEMA = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
PINNED: dict[str, Any] = {
    **HELLO,
    "nodes": [
        {"id": "start", "type": "TRIGGER.MANUAL", "parameters": {"input_schema": SCHEMA}},
        HELLO["nodes"][1],
    ],
    "pin_data": {"start": {"name": "Ada"}},
}


async def test_without_an_input_the_pin_stands_for_it(api: httpx.AsyncClient) -> None:
    answer = await api.post(f"{await make_workflow(api, PINNED)}/execute")

    assert answer.status_code == 202, answer.text
    assert answer.json()["input"] == {}


async def test_an_input_that_is_posted_has_to_fit(api: httpx.AsyncClient) -> None:
    workflow = await make_workflow(api, PINNED)

    answer = await api.post(f"{workflow}/execute", json={"input": {"name": 1}})

    refused(answer, 422, "invalid_request", "/input/name")


async def test_without_its_pin_the_published_version_asks_for_one(api: httpx.AsyncClient) -> None:
    workflow = await make_workflow(api, PINNED, publish=True)

    refused(await api.post(f"{workflow}/execute"), 422, "invalid_request", "/input/name")
