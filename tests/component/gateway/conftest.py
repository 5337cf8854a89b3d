"""A gateway on its own port, over a database of the test and a NATS server of the module."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from bus.client import Bus
from bus.provision import ensure
from db import node_types, users
from db.store import Store
from flotilla.embedded.nats import NatsServer
from gateway.app import GatewayApp, create_app
from nodes.regex import Re2
from tests.support import gateways, servers
from tests.support.engine import ANY, LOOP
from tests.support.fleets import HUMAN, Fleet, make_known, scheduling, working
from tests.support.gateways import STRANGER, USER, SchedulerStandIn
from tests.support.specs import SPECS


@pytest.fixture(scope="module")
def engine_nats() -> Iterator[str]:
    """A NATS server with the streams of the engine, whose names are fixed."""
    with servers.server_folder() as folder, servers.running(NatsServer(folder / "nats")) as url:
        servers.wait_for(_provision(url))
        yield url


async def _provision(url: str) -> None:
    async with await Bus.connect(url, name="provision") as bus:
        await ensure(bus, ())


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """A store with two users and the node types of the tests."""
    store = await Store.open(database_url)
    try:
        await users.ensure(store, USER, "ada@example.com", "Ada", "admin")
        await users.ensure(store, STRANGER, "eve@example.com", "Eve")
        await node_types.store(store, SPECS)
        yield store
    finally:
        await store.close()


@pytest.fixture
async def bus(engine_nats: str) -> AsyncIterator[Bus]:
    """The connection of the gateway."""
    async with await Bus.connect(engine_nats, name="gateway") as bus:
        yield bus


@pytest.fixture
async def app(store: Store, bus: Bus) -> GatewayApp:
    """The application, not served yet."""
    return create_app(gateways.settings(), store, bus, Re2(), gateways.CALENDAR)


@pytest.fixture
async def address(app: GatewayApp) -> AsyncIterator[str]:
    """Where the gateway is served."""
    async with gateways.served(app, asyncio.Event()) as address:
        yield address


@pytest.fixture
async def api(address: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the dev token."""
    async with gateways.client(address) as client:
        yield client


@pytest.fixture
async def scheduler(store: Store, engine_nats: str) -> AsyncIterator[SchedulerStandIn]:
    """A stand-in for the scheduler."""
    async with (
        await Bus.connect(engine_nats, name="scheduler") as bus,
        SchedulerStandIn(store, bus) as stand_in,
    ):
        yield stand_in


@pytest.fixture
async def fleet(store: Store, database_url: str, engine_nats: str) -> AsyncIterator[Fleet]:
    """A scheduler, and workers for all node types of these tests."""
    await make_known(store)
    fleet = Fleet()
    async with scheduling(database_url, engine_nats), working(engine_nats, fleet, ANY, LOOP, HUMAN):
        yield fleet
