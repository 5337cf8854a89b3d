"""The sweeper: finds executions that nothing will move, and publishes what they wait for again.

NATS may lose a task, a result or a start; PostgreSQL knows what is outstanding. Publishing a task that
is still queued or being worked on is refused by its subject, so sweeping too often does no harm.
"""

import asyncio
from collections.abc import Collection
from typing import Final

import structlog

from contracts.history import By
from db import advances
from db.errors import StoreError
from db.store import Store
from scheduler.core.decision import CancelAsked
from scheduler.entries import Entry
from scheduler.families import Families
from scheduler.intake import Intake

log: Final = structlog.get_logger()

PERIOD_S: Final = 15.0
SILENT_S: Final = 60.0
"""Twice the time after which JetStream delivers an unacknowledged task again."""
NEW_SILENT_S: Final = 10.0
PAGE: Final = 500


class Sweeper:
    """Sweeps owned partitions: at once when they are taken over or NATS lost its store, then by time."""

    def __init__(self, store: Store, intake: Intake, families: Families) -> None:
        self._store = store
        self._families = families
        self._intake = intake
        self._owned: frozenset[int] = frozenset()
        self._at_once: set[int] = set()
        self._wake = asyncio.Event()
        self.swept = 0

    def own(self, partitions: Collection[int]) -> None:
        """Say which partitions are owned; those that are new are swept at once."""
        gained = frozenset(partitions) - self._owned
        self._owned = frozenset(partitions)
        self._at_once &= self._owned
        if gained:
            self._at_once |= gained
            self._wake.set()

    def sweep_all(self) -> None:
        """Sweep everything now: the streams were made anew, what they held is gone."""
        self._at_once = set(self._owned)
        self._wake.set()

    async def run(self) -> None:
        """Sweep until canceled."""
        while True:
            try:
                await self._sweep()
            except StoreError as error:
                log.warning("sweep_waits", error=str(error))
            await self._pause()

    async def _sweep(self) -> None:
        if self._at_once:
            partitions, self._at_once = sorted(self._at_once), set()
            try:
                await self._pass(partitions, ("NEW", "RUNNING"), silent_s=0.0)
            except StoreError:
                self._at_once |= set(partitions)
                raise
        elif self._owned:
            await self._pass(sorted(self._owned), ("NEW",), silent_s=NEW_SILENT_S)
            await self._pass(sorted(self._owned), ("RUNNING",), silent_s=SILENT_S)
            await self._cancel_abandoned()
            await self._families.sweep(self._owned)

    async def _pass(
        self, partitions: list[int], statuses: tuple[str, ...], silent_s: float
    ) -> None:
        after: str | None = None
        while page := await advances.unfinished(
            self._store,
            partitions,
            statuses=statuses,
            after=after,
            limit=PAGE,
            silent_for_seconds=silent_s,
        ):
            after = next(reversed(page))
            self.swept += len(page)
            for execution_id, version in page.items():
                self._intake.put(Entry(execution_id=execution_id, version=version))
            await self._intake.room()

    async def _cancel_abandoned(self) -> None:
        """End executions whose workflow was deleted by somebody who died before he could cancel them."""
        for execution_id in await advances.abandoned(self._store, sorted(self._owned), PAGE):
            given = CancelAsked(By("SYSTEM"), "the workflow was deleted")
            self._intake.put(Entry(execution_id=execution_id, given=given))

    async def _pause(self) -> None:
        self._wake.clear()
        if self._at_once:
            await asyncio.sleep(1.0)
            return
        try:
            async with asyncio.timeout(PERIOD_S):
                await self._wake.wait()
        except TimeoutError:
            return
