"""Reading timers holds back while the loop cannot follow."""

import asyncio
from typing import Any, cast

from scheduler.entries import Entry
from scheduler.intake import MOST_WAITING, Intake
from scheduler.timers import Timers


class Looks(Timers):
    """Tells when it looks for due timers."""

    def __init__(self, intake: Intake) -> None:
        super().__init__(cast("Any", None), cast("Any", None), intake, tuple)
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
