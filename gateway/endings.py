"""Waiting for the end of executions.

One subscription of the process hears of every end, and wakes whoever waits for it. A core message may
be lost, so it is only a hint: the row in PostgreSQL is what counts, and it is read again now and then.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from bus.client import Bus, CoreMessage, Subscription
from contracts import subjects
from contracts.history import TERMINAL_KINDS
from gateway.lifecycle import Lifecycle

T = TypeVar("T")

POLL_SECONDS: Final = 2.0
_EXECUTION: Final = 4  # the token of an event's subject that names its execution


class Endings:
    """Wakes those who wait when an execution may have ended."""

    def __init__(self, bus: Bus, lifecycle: Lifecycle) -> None:
        self._bus = bus
        self._lifecycle = lifecycle
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Begin to hear of ends."""
        for kind in sorted(TERMINAL_KINDS):
            subject = subjects.events_of_kind(kind)
            self._subscriptions.append(await self._bus.subscribe(subject, self._ended))

    async def stop(self) -> None:
        """Hear of no more ends; nobody may be waiting any more."""
        for subscription in self._subscriptions:
            await subscription.unsubscribe()
        self._subscriptions.clear()

    async def wait(
        self, execution_id: str, seconds: float, look: Callable[[], Awaitable[T | None]]
    ) -> T | None:
        """Return what `look` finds, as soon as it finds something, or None after `seconds`.

        `look` is called again whenever the execution may have ended. Draining ends the wait early.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        woken = asyncio.Event()
        self._waiting.setdefault(execution_id, set()).add(woken)
        try:
            with self._lifecycle.telling(woken.set):
                while (found := await look()) is None:
                    left = deadline - loop.time()
                    if left <= 0 or self._lifecycle.is_draining:
                        return None
                    await _wait(woken, min(left, POLL_SECONDS))
                    woken.clear()
                return found
        finally:
            self._forget(execution_id, woken)

    async def _ended(self, message: CoreMessage) -> None:
        execution_id = message.subject.split(".")[_EXECUTION]
        for woken in self._waiting.get(execution_id, ()):
            woken.set()

    def _forget(self, execution_id: str, woken: asyncio.Event) -> None:
        waiting = self._waiting[execution_id]
        waiting.discard(woken)
        if not waiting:
            del self._waiting[execution_id]


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
