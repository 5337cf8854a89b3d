"""Durable timers on a real database: however many are due, each is handed to the loop, and no page waits for a pause."""

import asyncio

import pytest

from contracts.ids import PARTITIONS
from db.clock import DatabaseClock
from scheduler import timers
from scheduler.core.decision import TimerDue
from scheduler.intake import Intake
from scheduler.timers import Timers
from tests.support.engine import document, node
from tests.support.installation import Installation

pytestmark = pytest.mark.component

ONE = document([node("a")], [])


async def test_more_timers_than_a_page_holds_are_handed_out_one_page_after_the_other(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "LIMIT", 2)
    monkeypatch.setattr(timers, "LONGEST_PAUSE_S", 3600.0)
    store = installation.store
    started = await installation.start(await installation.add(ONE), 7, say=False)
    await store.execute(
        "insert into timers (execution_id, key, kind, due_at)"
        " select id, 'k', 'WAIT', now() from unnest($1::uuid[]) as id",
        started,
    )
    intake = Intake()
    clock = await DatabaseClock.measured(store)
    looking = Timers(store, clock, intake, lambda: range(PARTITIONS))
    running = asyncio.create_task(looking.run())

    fired: list[str] = []
    async with asyncio.timeout(30):
        while len(fired) < len(started):
            for entry in await intake.take(10):
                assert isinstance(entry.given, TimerDue)
                fired.append(entry.execution_id)
                await store.execute(
                    "delete from timers where execution_id = $1", entry.execution_id
                )
    running.cancel()

    assert sorted(fired) == sorted(started)


async def test_timers_of_partitions_that_were_gained_are_looked_for_at_once(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "LONGEST_PAUSE_S", 3600.0)
    store = installation.store
    (execution_id,) = await installation.start(await installation.add(ONE), say=False)
    await store.execute(
        "insert into timers (execution_id, key, kind, due_at) values ($1, 'k', 'WAIT', now())",
        execution_id,
    )
    owned: list[int] = []
    asked = asyncio.Event()

    def partitions() -> list[int]:
        asked.set()
        return owned

    intake = Intake()
    looking = Timers(store, await DatabaseClock.measured(store), intake, partitions)
    running = asyncio.create_task(looking.run())
    async with asyncio.timeout(30):
        await asked.wait()

        owned.extend(range(PARTITIONS))
        looking.look_now()

        (entry,) = await intake.take(1)
    running.cancel()
    assert entry.execution_id == execution_id
