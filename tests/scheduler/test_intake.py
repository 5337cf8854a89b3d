"""The intake hands out what is there, and lets those who can wait do so."""

import asyncio

import pytest

from contracts.messages import Result
from scheduler.core.decision import Reported
from scheduler.entries import Entry
from scheduler.intake import MOST_WAITING, Intake


def entry(number: int) -> Entry:
    """Return an entry to tell apart."""
    return Entry(execution_id=str(number))


async def test_everything_that_queued_is_handed_out_at_once_up_to_the_limit() -> None:
    intake = Intake()
    for number in range(5):
        intake.put(entry(number))

    taken = await intake.take(3)

    assert [each.execution_id for each in taken] == ["0", "1", "2"]
    assert len(intake) == 2


async def test_taking_waits_for_the_first_entry() -> None:
    intake = Intake()
    taking = asyncio.create_task(intake.take(10))
    await asyncio.sleep(0)
    assert not taking.done()

    intake.put(entry(1))

    async with asyncio.timeout(5):
        assert len(await taking) == 1


async def test_after_closing_what_is_left_is_handed_out_and_then_nothing() -> None:
    intake = Intake()
    intake.put(entry(1))
    intake.close()

    assert len(await intake.take(10)) == 1
    assert await intake.take(10) == []


async def test_there_is_no_room_until_the_loop_has_caught_up() -> None:
    intake = Intake()
    for number in range(MOST_WAITING):
        intake.put(entry(number))
    waiting = asyncio.create_task(intake.room())
    await asyncio.sleep(0)
    assert not waiting.done()

    await intake.take(1)

    async with asyncio.timeout(5):
        await waiting


async def test_what_waited_has_passed_once_the_loop_asks_for_more() -> None:
    intake = Intake()
    intake.put(entry(1))
    intake.put(entry(2))
    passing = asyncio.create_task(intake.passed())
    await intake.take(1)
    await intake.take(1)
    await asyncio.sleep(0)
    assert not passing.done()
    intake.put(entry(3))

    await intake.take(1)

    async with asyncio.timeout(5):
        await passing
    intake.close()
    assert await intake.take(1) == []
    await intake.passed()


def in_a_segment(execution_id: str) -> Entry:
    """Return the result of a node whose worker has gone on."""
    result = Result(
        execution_id=execution_id,
        node_id="a",
        attempt=1,
        token="t",
        worker_id="w",
        started_at="",
        finished_at="",
        ports={},
        goes_on="b",
    )
    return Entry(execution_id=execution_id, given=Reported(result))


async def test_what_nobody_waits_for_lets_others_join_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.intake.LEISURE_S", 3600.0)
    intake = Intake()
    intake.put(in_a_segment("1"))
    taking = asyncio.create_task(intake.take(10))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not taking.done()

    intake.put(in_a_segment("2"))
    intake.put(Entry(execution_id="3"))

    async with asyncio.timeout(5):
        assert [entry.execution_id for entry in await taking] == ["1", "2", "3"]


async def test_what_nobody_waits_for_is_taken_all_the_same() -> None:
    intake = Intake()

    for round_ in ("1", "2"):
        intake.put(in_a_segment(round_))
        async with asyncio.timeout(5):
            assert [entry.execution_id for entry in await intake.take(10)] == [round_]


async def test_a_closed_intake_lets_nothing_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.intake.LEISURE_S", 3600.0)
    intake = Intake()
    intake.put(in_a_segment("1"))
    intake.close()

    async with asyncio.timeout(5):
        assert len(await intake.take(10)) == 1
        assert await intake.take(10) == []
