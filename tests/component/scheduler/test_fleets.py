"""Heartbeats: every scheduler hears all of them, and one writes each down."""

import asyncio
from datetime import UTC, datetime
from functools import partial

import pytest

from contracts.ids import PARTITIONS
from contracts.messages import Heartbeat, encode
from db import workers
from db.workers import WorkerFilters
from scheduler.fleets import Fleets
from tests.support.installation import Installation

pytestmark = pytest.mark.component

NAMES = [f"w{n}" for n in range(40)]


def beat(name: str) -> bytes:
    """Return a worker's sign of life."""
    now = datetime.now(UTC)
    return encode(
        Heartbeat(
            worker_id=name,
            node_types=("A.B",),
            slots=1,
            busy=0,
            version="1",
            host="h",
            started_at=now,
        )
    )


async def announced(_: tuple[str, ...]) -> None:
    """Nothing is made."""


async def test_schedulers_that_share_the_partitions_write_each_worker_once(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[list[str]] = []
    both_wrote = asyncio.Event()
    write = workers.beat

    async def noting(store: object, heard: list[Heartbeat]) -> None:
        await write(installation.store, heard)
        written.append([each.worker_id for each in heard])
        if len(written) == 2:
            both_wrote.set()

    monkeypatch.setattr(workers, "beat", noting)
    shares = (frozenset(range(8)), frozenset(range(8, PARTITIONS)), frozenset[int]())
    running = []
    for share in shares:
        fleet = Fleets(installation.store, announced=announced, owned=partial(frozenset, share))
        for name in NAMES:
            fleet.heartbeat(beat(name))
        assert fleet.slots("A.B") == len(NAMES)
        running.append(asyncio.create_task(fleet.run()))
    async with asyncio.timeout(20):
        await both_wrote.wait()
    for task in running:
        task.cancel()

    assert len(written) == 2
    assert sorted(written[0] + written[1]) == sorted(NAMES)
    assert all(written)
    rows, _ = await workers.page(installation.store, WorkerFilters(), 100, None)
    assert {row.id for row in rows} == set(NAMES)
