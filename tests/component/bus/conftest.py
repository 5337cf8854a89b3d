"""A NATS server for each test: they own the real stream names, and may kill it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.client import Bus
from bus.publisher import Publisher
from flotilla.embedded.nats import NatsServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def bus(server: NatsServer) -> AsyncIterator[Bus]:
    async with await Bus.connect(server.url, name="test") as connected:
        yield connected


@pytest.fixture
async def publisher(bus: Bus) -> AsyncIterator[Publisher]:
    async with Publisher(bus) as running:
        yield running
