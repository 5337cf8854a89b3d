"""The server: how it stops, and what it says while PostgreSQL or NATS is away."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from bus.client import Bus
from bus.provision import ensure
from db import migrations, node_types, users
from db.store import Store
from flotilla.embedded.nats import NatsServer
from flotilla.embedded.postgres import PostgresServer
from gateway.app import create_app
from gateway.server import serve
from nodes.regex import Re2
from tests.support import gateways, servers
from tests.support.gateways import (
    HELLO,
    USER,
    SchedulerStandIn,
    make_execution,
    make_workflow,
    refused,
)
from tests.support.specs import SPECS

pytestmark = pytest.mark.component


async def test_draining_refuses_readiness_ends_streams_and_finishes_requests(
    store: Store, bus: Bus, scheduler: SchedulerStandIn
) -> None:
    stop = asyncio.Event()
    app = create_app(gateways.settings(notice_seconds=4), store, bus, Re2(), gateways.CALENDAR)
    async with gateways.served(app, stop) as address, gateways.client(address) as api:
        execution_id = await make_execution(api, await make_workflow(api))
        began = asyncio.Event()
        events = f"/v1/executions/{execution_id}/events"
        stream = asyncio.create_task(_read(api, events, began))
        waiting = asyncio.create_task(api.get(f"/v1/executions/{execution_id}?wait=60"))
        async with asyncio.timeout(5):
            await began.wait()

        stop.set()
        async with asyncio.timeout(5):
            streamed, waited = await asyncio.gather(stream, waiting)
        readiness = await api.get("/health/ready")
        last = await api.get(f"/v1/executions/{execution_id}")

        assert "execution_created" in streamed
        assert waited.json()["status"] == "NEW"
        refused(readiness, 503, "unavailable")
        assert last.status_code == 200


async def test_after_stopping_nothing_listens(store: Store, bus: Bus) -> None:
    stop = asyncio.Event()
    async with gateways.served(
        create_app(gateways.settings(), store, bus, Re2(), gateways.CALENDAR), stop
    ) as address:
        pass

    async with gateways.client(address) as api:
        with pytest.raises(httpx.ConnectError):
            await api.get("/health")


async def test_a_port_that_is_taken_is_told(store: Store, bus: Bus, address: str) -> None:
    port = int(address.rsplit(":", 1)[-1])
    app = create_app(gateways.settings(port=port), store, bus, Re2(), gateways.CALENDAR)

    with pytest.raises(OSError, match="in use"):
        await serve(app, app.gateway.settings, asyncio.Event())


async def _read(api: httpx.AsyncClient, path: str, began: asyncio.Event) -> str:
    """Read a stream to its end; `began` is set with its first part."""
    text = ""
    async with api.stream("GET", path) as answer:
        async for part in answer.aiter_text():
            text += part
            began.set()
    return text


class Installation:
    """A gateway over servers that a test may stop."""

    def __init__(self, nats: NatsServer, postgres: PostgresServer, api: httpx.AsyncClient) -> None:
        self.nats = nats
        self.postgres = postgres
        self.api = api


@pytest.fixture
async def installation() -> AsyncIterator[Installation]:
    """A gateway over a NATS server and a PostgreSQL of its own."""
    with servers.server_folder() as folder:
        nats = NatsServer(folder / "nats")
        postgres = PostgresServer(folder / "postgres", durable=False)
        nats_url, database_url = await asyncio.gather(nats.start(), postgres.start())
        try:
            await migrations.migrate(database_url, SPECS)
            store = await Store.open(database_url)
            await users.ensure(store, USER, "ada@example.com", "Ada", "admin")
            await node_types.store(store, SPECS)
            async with await Bus.connect(nats_url, name="gateway") as bus:
                await ensure(bus, ())
                app = create_app(gateways.settings(), store, bus, Re2(), gateways.CALENDAR)
                async with (
                    gateways.served(app, asyncio.Event()) as address,
                    gateways.client(address) as api,
                ):
                    yield Installation(nats, postgres, api)
            await store.close()
        finally:
            await asyncio.gather(nats.stop(), postgres.stop())


async def test_a_stopped_nats_refuses_new_work_and_nothing_else(installation: Installation) -> None:
    api = installation.api
    workflow = await make_workflow(api)
    execution_id = await make_execution(api, workflow)
    hook = {"path": "orders", "authentication": "NONE"}
    nodes = [{"id": "hook", "type": "TRIGGER.WEBHOOK", "parameters": hook}]
    await make_workflow(api, {"name": "Hook", "nodes": nodes}, publish=True)

    await installation.nats.stop()
    await _until(api, "nats", "down")

    for answer in (
        await api.post(f"{workflow}/execute"),
        await api.post(f"/v1/executions/{execution_id}/cancel"),
        await api.delete(workflow),
    ):
        refused(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
    assert (await api.get(f"/v1/executions/{execution_id}")).json()["status"] == "NEW"
    assert len((await api.get("/v1/executions")).json()["items"]) == 1
    assert (await api.put(workflow, json={"name": "changed"})).status_code == 200
    assert (await api.get("/health")).status_code == 503
    assert (await api.get("/health/live")).status_code == 200
    # Not every sender repeats a delivery, so it is taken: the scheduler finds what was not published.
    assert (await api.post("/v1/webhooks/orders")).status_code == 202
    assert "starts_unpublished_total 1.0" in (await api.get("/metrics")).text


async def test_a_stopped_postgres_refuses_what_needs_it(installation: Installation) -> None:
    api = installation.api
    workflow = await make_workflow(api)

    await installation.postgres.stop()

    for answer in (
        await api.get(workflow),
        await api.post("/v1/workflows", json=HELLO),
        await api.post(f"{workflow}/execute"),
        await api.get("/v1/executions"),
        await api.get("/v1/me"),
        await api.get("/health/ready"),
    ):
        refused(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
    health = await api.get("/health")
    assert health.status_code == 503
    assert health.json()["checks"]["postgres"] == "down"
    assert (await api.get("/health/live")).status_code == 200
    assert (await api.get("/openapi.json")).status_code == 200


async def _until(api: httpx.AsyncClient, server: str, state: str) -> None:
    async with asyncio.timeout(10):
        while (await api.get("/health")).json()["checks"][server] != state:
            pass
