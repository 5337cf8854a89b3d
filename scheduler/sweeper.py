"""The sweeper: finds executions that nothing will move, and publishes what they wait for again.

NATS may lose a task, a result or a start; PostgreSQL knows what is outstanding. Publishing a task that
is still queued or being worked on is refused by its subject, so sweeping too often does no harm.

What it costs follows what is outstanding, not what waits. Executions that are suspended are not looked at. Those
whose tasks stand in line here have nothing in NATS that could be lost, and of those that wait for a slot of one
key it is enough to remind of one; of both, only a few are handed to the loop in each pass, others in the next, in case
that what is known here is wrong. And the pause after a pass grows with the time that the pass took.
"""

import asyncio
import math
import zlib
from collections.abc import Callable, Collection, Iterable
from typing import Final

import structlog

from contracts.history import By
from contracts.statuses import ExecutionStatus
from db import advances
from db.errors import StoreError
from db.store import Store
from scheduler.admission import Admission
from scheduler.core.decision import CancelAsked
from scheduler.entries import Entry
from scheduler.executions import Executions
from scheduler.families import Families
from scheduler.intake import Intake

log: Final = structlog.get_logger()

NEW: Final = ExecutionStatus.NEW

PERIOD_S: Final = 15.0
SILENT_S: Final = 60.0
"""Twice the time after which JetStream delivers an unacknowledged task again."""
NEW_SILENT_S: Final = 10.0
PAGE: Final = 500
PASSES_BETWEEN: Final = 64
"""An execution that need not be handed over is so nevertheless, once in so many passes."""
LEAST_REST: Final = 20
"""The pause after a pass is so many times as long as the pass: all sweeping takes a twentieth of the time."""
LONGEST_PERIOD_S: Final = 120.0
AGAIN_S: Final = 1.0
LONGEST_AGAIN_S: Final = 30.0
REFUSED_WITHIN_S: Final = 15.0
"""A refusal that comes so soon after a try is of that try: the longest part of it is an acknowledgement that does not come."""


class Knowledge:
    """What this scheduler knows of silent executions: which of them need not be handed to the loop now."""

    def __init__(self, admission: Callable[[], Admission], executions: Executions) -> None:
        self._admission = admission
        self._executions = executions
        self._passes = 0
        self._reminded: set[tuple[str, str]] = set()

    def begin(self) -> None:
        """Begin a pass."""
        self._passes += 1
        self._reminded.clear()

    def spares(self, execution_id: str, version: int) -> bool:
        """Whether handing it over would change nothing, as far as is known here, and it is not its turn anyway."""
        turn = (zlib.crc32(execution_id.encode()) + self._passes) % PASSES_BETWEEN
        return turn != 0 and (
            self._admission().stands_in_line(execution_id)
            or self._waits_like_another(execution_id, version)
        )

    def _waits_like_another(self, execution_id: str, version: int) -> bool:
        live = self._executions.get(execution_id)
        if live is None or live.state.seq < version or live.state.status is not NEW:
            return False
        created = live.state.created
        if created.slot is None:
            return False
        key = (created.workflow_id, created.slot.key)
        if key in self._reminded:
            return True
        self._reminded.add(key)
        return False


class Sweeper:
    """Sweeps owned partitions: at once when they are taken over or NATS lost its store, then by time."""

    def __init__(
        self, store: Store, intake: Intake, families: Families, knowledge: Knowledge
    ) -> None:
        self._store = store
        self._families = families
        self._intake = intake
        self._knowledge = knowledge
        self._unpublished: dict[str, None] = {}
        self._more_unpublished = asyncio.Event()
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
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish_again(), name="publish again")
            while True:
                began = asyncio.get_running_loop().time()
                try:
                    await self.sweep()
                except StoreError as error:
                    log.warning("sweep_waits", error=str(error))
                took = asyncio.get_running_loop().time() - began
                await self._pause(min(max(PERIOD_S, took * LEAST_REST), LONGEST_PERIOD_S))

    def unpublished(self, execution_ids: Iterable[str]) -> None:
        """NATS refused tasks of these executions, for want of room or of a connection: they are tried again soon."""
        self._unpublished.update(dict.fromkeys(execution_ids))
        self._more_unpublished.set()

    async def _publish_again(self) -> None:
        """Hand executions with unpublished tasks to the loop, after a pause that grows while no fewer are left."""
        pause, tried, tried_at = AGAIN_S, 0, -math.inf
        while True:
            await self._more_unpublished.wait()
            if asyncio.get_running_loop().time() - tried_at > REFUSED_WITHIN_S:
                pause, tried = AGAIN_S, 0
            await asyncio.sleep(pause)
            self._more_unpublished.clear()
            again, self._unpublished = self._unpublished, {}
            is_better = len(again) < tried or not tried
            pause = AGAIN_S if is_better else min(2 * pause, LONGEST_AGAIN_S)
            tried = len(again)
            for execution_id in again:
                self._intake.put(Entry(execution_id=execution_id))
                await self._intake.room()
            tried_at = asyncio.get_running_loop().time()

    async def sweep(self) -> None:
        """Make one pass: at once what is new or was lost, else what is silent. Raises StoreError."""
        if self._at_once:
            partitions, self._at_once = sorted(self._at_once), set()
            try:
                await self._pass(partitions, ("NEW", "RUNNING"), silent_s=0.0)
            except StoreError:
                self._at_once |= set(partitions)
                raise
        elif self._owned:
            self._knowledge.begin()
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
            for execution_id, version in page.items():
                if silent_s > 0 and self._knowledge.spares(execution_id, version):
                    continue
                self.swept += 1
                self._intake.put(Entry(execution_id=execution_id, version=version))
            await self._intake.room()

    async def _cancel_abandoned(self) -> None:
        """End executions whose workflow was deleted by somebody who died before he could cancel them."""
        for execution_id in await advances.abandoned(self._store, sorted(self._owned), PAGE):
            given = CancelAsked(By("SYSTEM"), "the workflow was deleted")
            self._intake.put(Entry(execution_id=execution_id, given=given))

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        if self._at_once:
            await asyncio.sleep(1.0)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
