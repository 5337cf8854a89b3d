"""Tasks end, whatever becomes of the first cancellation."""

import asyncio

from bus import ending
from bus.ending import end


async def test_a_task_that_swallowed_its_cancellation_is_asked_again() -> None:
    asked = 0

    async def stubborn() -> None:
        nonlocal asked
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                asked += 1
                if asked == 2:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)

    async with asyncio.timeout(20 * ending.ASK_AGAIN_S):
        await end(task)

    assert task.cancelled()
    assert asked == 2


async def test_an_outcome_stays_with_its_task() -> None:
    async def fails() -> None:
        raise ValueError("as it was")

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)

    await end(task)

    assert isinstance(task.exception(), ValueError)
