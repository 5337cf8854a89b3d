"""Large values over HTTP: a large input is stored apart, shown as a reference, and read by its id."""

import asyncio

import httpx
import pytest

from bus.client import Bus
from contracts.messages import encode
from contracts.payloads import PayloadLimits, reference_to
from db import payloads
from db.payloads import Payload
from db.store import Store
from gateway.app import create_app
from gateway.settings import GatewayLimits
from nodes.regex import Re2
from tests.support import gateways
from tests.support.gateways import STRANGER, USER, make_execution, make_workflow, refused

pytestmark = pytest.mark.component

VALUE = {"name": "x" * 300_000}
REFERENCE = reference_to(encode(VALUE))


async def rows(store: Store) -> int:
    """Return how many large values there are."""
    return len(await store.fetch("select 1 from payloads"))


async def test_a_large_input_is_shown_as_a_reference_and_read_by_its_id(
    api: httpx.AsyncClient, store: Store
) -> None:
    workflow = await make_workflow(api)

    await make_execution(api, workflow, input=VALUE)
    execution = f"/v1/executions/{await make_execution(api, workflow, input=VALUE)}"

    shown = (await api.get(execution)).json()["input"]
    assert shown == {"$payload": {"id": REFERENCE.id, "size": REFERENCE.size}}
    answer = await api.get(f"{execution}/payloads/{REFERENCE.id}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == VALUE
    assert await rows(store) == 1


async def test_a_value_that_is_not_the_users_is_not_there(
    api: httpx.AsyncClient, store: Store
) -> None:
    data = b'"theirs"'
    theirs = reference_to(data)
    await payloads.put(store, [Payload(STRANGER, theirs.digest, data)])
    workflow = await make_workflow(api)
    execution = f"/v1/executions/{await make_execution(api, workflow)}"

    for address in (
        f"{execution}/payloads/{theirs.id}",
        f"{execution}/payloads/{REFERENCE.id}",
        f"{execution}/payloads/sha256:0",
        f"/v1/executions/{USER}/payloads/{theirs.id}",
    ):
        refused(await api.get(address), 404, "not_found")


@pytest.mark.parametrize("name", ["input", "trigger_data"])
async def test_an_input_beyond_the_limit_is_refused(store: Store, bus: Bus, name: str) -> None:
    limits = GatewayLimits(payloads=PayloadLimits(value=100_000))
    app = create_app(gateways.settings(limits=limits), store, bus, Re2(), gateways.CALENDAR)
    async with (
        gateways.served(app, asyncio.Event()) as address,
        gateways.client(address) as api,
    ):
        workflow = await make_workflow(api)

        answer = await api.post(f"{workflow}/execute", json={name: VALUE})

    refused(answer, 413, "body_too_large")
    assert "LIMIT_VALUE_BYTES" in answer.json()["detail"]
    assert await rows(store) == 0


async def test_a_reference_of_a_user_is_refused(api: httpx.AsyncClient, store: Store) -> None:
    workflow = await make_workflow(api)
    forged = {"$payload": {"id": REFERENCE.id, "size": REFERENCE.size}}

    answer = await api.post(f"{workflow}/execute", json={"input": {"a": [forged]}})

    refused(answer, 422, "invalid_request", "/input")
