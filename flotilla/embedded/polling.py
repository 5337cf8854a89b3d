"""Waiting for what can only be looked at again and again, such as the end of a process that is not our child."""

import asyncio
from collections.abc import Callable

POLL_SECONDS = 0.01


async def comes_true(
    condition: Callable[[], bool], *, seconds: float | None = None, every: float = POLL_SECONDS
) -> bool:
    """Wait until the condition holds; False if it did not within `seconds`, None being for ever.

    Args:
        every: Seconds between two looks.
    """
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - nobody will tell us
                await asyncio.sleep(every)
    except TimeoutError:
        return False
    return True
