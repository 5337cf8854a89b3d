"""Waiting for the end of executions.

One subscription of the process hears of every end, and wakes whoever waits for it. A core message may
be lost, so it is only a hint: the row in PostgreSQL is what counts, and it is read again now and then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
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
        self._waiting: dict[str, set[Expected]] = {}
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
        with self.expecting(execution_id) as expected:
            found = await look()
            return found if found is not None else await expected.wait(seconds, look)

    @contextmanager
    def expecting(self, execution_id: str) -> Iterator["Expected"]:
        """Listen for one end, within the block. Whoever begins before an execution exists has nothing to look at first."""
        expected = Expected(self._lifecycle)
        self._waiting.setdefault(execution_id, set()).add(expected)
        try:
            yield expected
        finally:
            self._forget(execution_id, expected)

    async def _ended(self, message: CoreMessage) -> None:
        execution_id = message.subject.split(".")[_EXECUTION]
        for expected in self._waiting.get(execution_id, ()):
            expected.hear()

    def _forget(self, execution_id: str, expected: "Expected") -> None:
        waiting = self._waiting[execution_id]
        waiting.discard(expected)
        if not waiting:
            del self._waiting[execution_id]


class Expected:
    """The end of one execution, waited for by one. `is_heard`: there was word of it."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.is_heard = False
        self._lifecycle = lifecycle
        self._woken = asyncio.Event()

    def hear(self) -> None:
        """Take word of the end."""
        self.is_heard = True
        self._woken.set()

    async def wait(self, seconds: float, look: Callable[[], Awaitable[T | None]]) -> T | None:
        """`Endings.wait`, but for the first look: nothing is looked at before there was word, or time has passed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        with self._lifecycle.telling(self._woken.set):
            while (left := deadline - loop.time()) > 0 and not self._lifecycle.is_draining:
                await _wait(self._woken, min(left, POLL_SECONDS))
                self._woken.clear()
                if (found := await look()) is not None:
                    return found
        return None


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
