"""Durable timers: rows that come due by the database's clock, handed to the loop one by one.

A timer is cleared by the commit that takes it, so it fires once whoever reads it how often.
"""

import asyncio
import math
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Final

import structlog

from db import advances
from db.clock import DatabaseClock
from db.errors import StoreError
from db.store import Store
from scheduler.core.decision import TimerDue
from scheduler.entries import Entry
from scheduler.intake import Intake

log: Final = structlog.get_logger()

LIMIT: Final = 1_000
LONGEST_PAUSE_S: Final = 5.0
"""How late a timer may be that somebody else set in a partition of ours; of our own we know, and of a new one we look."""
SHORTEST_PAUSE_S: Final = 0.01


class Timers:
    """Looks for due timers of the partitions that this scheduler owns."""

    def __init__(
        self,
        store: Store,
        clock: DatabaseClock,
        intake: Intake,
        owned: Callable[[], Collection[int]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._intake = intake
        self._owned = owned
        self._looks_at = math.inf
        self._sooner = asyncio.Event()

    def expect(self, due_at: datetime) -> None:
        """A timer was set by this scheduler: it may be due before the next look."""
        until = (due_at - self._clock.now()).total_seconds()
        if asyncio.get_running_loop().time() + until < self._looks_at:
            self._sooner.set()

    def look_now(self) -> None:
        """Partitions were gained: their timers may be due."""
        self._sooner.set()

    async def run(self) -> None:
        """Hand out due timers until canceled; sleeps until the next one, at most LONGEST_PAUSE_S."""
        while True:
            await self._intake.room()
            self._looks_at = math.inf  # what is set from here on, this look may not see
            self._sooner.clear()
            try:
                pause = await self.look()
            except StoreError as error:
                log.warning("timers_wait", error=str(error))
                pause = LONGEST_PAUSE_S
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        """Wait, or until a timer is set that does not wait so long."""
        loop = asyncio.get_running_loop()
        self._looks_at = loop.time() + seconds
        alarm = loop.call_at(self._looks_at, self._sooner.set)
        try:
            await self._sooner.wait()
        finally:
            alarm.cancel()

    async def look(self) -> float:
        """Hand out what is due and return the seconds until it is worth looking again."""
        partitions = sorted(self._owned())
        if not partitions:
            return LONGEST_PAUSE_S
        due, next_due = await advances.due_timers(self._store, partitions, LIMIT)
        for row in due:
            given = TimerDue(row.key, row.kind, row.node_id, tuple(row.iteration or ()))
            self._intake.put(Entry(execution_id=row.execution_id, given=given))
        if len(due) == LIMIT:
            await self._intake.passed()  # those are cleared then, and more are due
            return SHORTEST_PAUSE_S
        if next_due is None:
            return LONGEST_PAUSE_S
        until = (next_due - self._clock.now()).total_seconds()
        return min(max(until, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
