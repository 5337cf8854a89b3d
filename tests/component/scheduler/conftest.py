"""A running scheduler in the test's own event loop, on a real PostgreSQL and a NATS server of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bus.client import Bus
from bus.publisher import Publisher
from contracts.schedules import Calendar
from db import node_types
from db.sealing import Keyring
from db.store import Store
from flotilla.cron import read_cron
from flotilla.embedded.nats import NatsServer
from nodes.regex import Re2
from scheduler.service import SchedulerSettings, run_scheduler
from tests.support import servers
from tests.support.engine import ANY, EVENT, MANUAL
from tests.support.installation import Installation


class Processes:
    """Schedulers that tests start and stop."""

    def __init__(self, database_url: str, nats_url: str, namespace: str) -> None:
        self.database_url = database_url
        self.nats_url = nats_url
        self.namespace = namespace
        self.keyring = Keyring()

    @asynccontextmanager
    async def scheduler(self, scheduler_id: str = "one") -> AsyncIterator[asyncio.Task[None]]:
        """Run a scheduler; leaving stops it in order."""
        stop = asyncio.Event()
        settings = SchedulerSettings(
            database_url=self.database_url,
            nats_url=self.nats_url,
            default_namespace=self.namespace,
            scheduler_id=scheduler_id,
            keyring=self.keyring,
        )
        ready = asyncio.Event()
        calendar = Calendar(read_cron)
        run = run_scheduler(settings, regex=Re2(), calendar=calendar, stop=stop, ready=ready)
        running = asyncio.create_task(run)
        looking = asyncio.create_task(ready.wait())
        try:
            async with asyncio.timeout(30):
                await asyncio.wait([running, looking], return_when=asyncio.FIRST_COMPLETED)
            yield running
        finally:
            stop.set()
            looking.cancel()
            async with asyncio.timeout(30):
                await asyncio.wait([running])
            if not running.cancelled():
                running.result()


@pytest.fixture
async def nats_alone() -> AsyncIterator[NatsServer]:
    """A NATS server of this test alone: the engine's streams have fixed names."""
    with servers.server_folder() as folder:
        server = NatsServer(folder / "nats")
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


@pytest.fixture
async def installation(database_url: str, nats_alone: NatsServer) -> AsyncIterator[Installation]:
    """A user with nothing yet."""
    store = await Store.open(database_url)
    await node_types.store(store, (ANY, MANUAL, EVENT))
    async with await Bus.connect(nats_alone.url, name="test") as bus, Publisher(bus) as publisher:
        yield await Installation(store, bus, publisher).prepare()
    await store.close()


@pytest.fixture
def processes(database_url: str, nats_alone: NatsServer, installation: Installation) -> Processes:
    """Starts schedulers."""
    return Processes(database_url, nats_alone.url, installation.user_id)
