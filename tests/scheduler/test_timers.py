"""Reading timers holds back while the loop cannot follow."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from scheduler.entries import Entry
from scheduler.intake import MOST_WAITING, Intake
from scheduler.timers import Timers

NOW = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)


class Clock:
    """Stands still."""

    def now(self) -> datetime:
        """Always the same instant."""
        return NOW


class Looks(Timers):
    """Tells when it looks for due timers."""

    def __init__(self, intake: Intake) -> None:
        super().__init__(cast("Any", None), cast("Any", Clock()), intake, tuple)
        self.looked = asyncio.Event()

    async def look(self) -> float:
        """Find nothing."""
        self.looked.set()
        return 60.0


async def test_timers_are_not_read_again_while_those_before_wait_for_the_loop() -> None:
    intake = Intake()
    for number in range(MOST_WAITING):
        intake.put(Entry(execution_id=str(number)))
    timers = Looks(intake)
    running = asyncio.create_task(timers.run())
    await asyncio.sleep(0)
    assert not timers.looked.is_set()

    await intake.take(1)

    async with asyncio.timeout(5):
        await timers.looked.wait()
    running.cancel()


async def test_a_timer_that_is_due_before_the_next_look_brings_it_forward() -> None:
    timers = Looks(Intake())
    running = asyncio.create_task(timers.run())
    async with asyncio.timeout(5):
        await timers.looked.wait()
    timers.looked.clear()

    timers.expect(NOW + timedelta(seconds=90))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not timers.looked.is_set()
    timers.expect(NOW + timedelta(seconds=30))

    async with asyncio.timeout(5):
        await timers.looked.wait()
    running.cancel()


async def test_a_timer_that_is_set_during_a_look_is_looked_for_again() -> None:
    class SetsDuringALook(Looks):
        looks = 0

        async def look(self) -> float:
            self.looks += 1
            if self.looks == 1:
                self.expect(NOW + timedelta(seconds=90))
                return 60.0
            return await super().look()

    timers = SetsDuringALook(Intake())
    running = asyncio.create_task(timers.run())

    async with asyncio.timeout(5):
        await timers.looked.wait()
    running.cancel()
