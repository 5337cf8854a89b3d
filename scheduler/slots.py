"""Slots of concurrency keys: who waits for one is admitted when one is free.

The table of executions says who holds a slot, so nothing is counted in memory and any scheduler may hand out slots. A key
is looked at when an execution asks for a slot of it and when one that held a slot ends; a look that a crash lost is made
good by the sweeper, which hands every execution that has waited for long to the loop again.
"""

import asyncio
from typing import Final

import structlog

from contracts.history import By, Slot
from db import slots
from db.errors import StoreError
from db.store import Store
from scheduler.core.decision import Admitted, CancelAsked
from scheduler.entries import Entry
from scheduler.intake import Intake

log: Final = structlog.get_logger()

STORE_PAUSE_S: Final = 0.5

Key = tuple[str, str]
"""Workflow id and concurrency key."""


class Slots:
    """Hands out slots, one key after the other."""

    def __init__(self, store: Store, intake: Intake) -> None:
        self._store = store
        self._intake = intake
        self._asked: dict[Key, tuple[int, list[str]]] = {}
        self._wake = asyncio.Event()

    def wanted(self, execution_id: str, workflow_id: str, slot: Slot) -> None:
        """An execution waits for a slot; one that does not queue is canceled if none is free."""
        impatient = [execution_id] if slot.on_limit == "DROP" else []
        self._look(workflow_id, slot, impatient)

    def freed(self, workflow_id: str, slot: Slot) -> None:
        """An execution that held a slot is over."""
        self._look(workflow_id, slot, [])

    def _look(self, workflow_id: str, slot: Slot, impatient: list[str]) -> None:
        key = (workflow_id, slot.key)
        _, waiting = self._asked.pop(key, (0, []))
        self._asked[key] = (slot.limit, [*waiting, *impatient])
        self._wake.set()

    async def run(self) -> None:
        """Hand out slots until canceled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._asked:
                key = next(iter(self._asked))
                limit, impatient = self._asked.pop(key)
                try:
                    await self._fill(key, limit, impatient)
                except StoreError as error:
                    log.warning("slots_wait", error=str(error))
                    _, since = self._asked.get(key, (0, []))
                    self._asked[key] = (limit, [*impatient, *since])
                    await asyncio.sleep(STORE_PAUSE_S)

    async def _fill(self, key: Key, limit: int, impatient: list[str]) -> None:
        workflow_id, text = key
        admitted = await slots.fill(self._store, workflow_id, text, limit)
        for execution_id in sorted(admitted):
            self._intake.put(Entry(execution_id=execution_id, given=Admitted(has_slot=True)))
        # Who asked twice may have got a slot, and have started, in between.
        for execution_id in await slots.without(self._store, impatient) if impatient else ():
            reason = f"{limit} executions of this concurrency key are under way (on_limit DROP)"
            dropped = CancelAsked(By("SYSTEM"), reason)
            self._intake.put(Entry(execution_id=execution_id, given=dropped))
