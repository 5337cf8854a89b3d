"""A NATS server for each test: workers own the real stream names."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus import provision
from bus.client import Bus
from bus.publisher import Publisher
from flotilla.embedded.nats import NatsServer
from tests.component.workers.rig import GATED, Rig


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def rig(server: NatsServer) -> AsyncIterator[Rig]:
    async with await Bus.connect(server.url, name="test") as bus, Publisher(bus) as publisher:
        await provision.ensure(bus, [GATED])
        rig = Rig(bus, publisher)
        await rig.listen()
        yield rig
