"""Ending tasks for certain.

Up to Python 3.11 `asyncio.wait_for` swallows a cancellation that arrives together with the answer it waits
for (cpython issue 86296), and libraries wait with it: whoever cancels once and then waits, may wait for ever.
"""

import asyncio
from typing import Final

ASK_AGAIN_S: Final = 0.5


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and return when all have ended, asking again those that go on; their outcome stays with them."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=ASK_AGAIN_S)
