"""Which worker holds an attempt, asked of all of them: for what no event told, or was told before this gateway listened."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final

from bus.client import Bus, CoreMessage
from contracts import messages, subjects
from gateway.attempts import Attempt, Heard

PATIENCE_SECONDS: Final = 0.5
"""How long workers may take to answer. Who holds none of it says nothing, and old ones never do."""


async def ask(bus: Bus, execution_id: str, wanted: Collection[Attempt]) -> dict[Attempt, Heard]:
    """Return who holds these attempts of an execution, as far as workers say so in time. Raises BusClosed."""
    found: dict[Attempt, Heard] = {}
    complete = asyncio.Event()

    async def receive(message: CoreMessage) -> None:
        told = messages.decode_held(message.data)
        now = datetime.now(UTC)
        for each in told.attempts:
            attempt = Attempt(execution_id, each.node_id, each.iteration, each.attempt)
            if attempt in wanted:
                since = now - timedelta(seconds=each.seconds or 0)
                found[attempt] = Heard(told.worker_id, since)
        if len(found) == len(wanted):
            complete.set()

    inbox = bus.new_inbox()
    subscription = await bus.subscribe(inbox, receive)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await bus.publish(subjects.attempts(execution_id), b"", reply=inbox)
            await complete.wait()
    except TimeoutError:
        pass  # what was not said is not known
    finally:
        await subscription.unsubscribe()
    return found
