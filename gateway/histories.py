"""The beginnings of histories, for many requests in one statement.

Most executions are short, so that their first events are all they have. Under load, those that end at the same time are
read together.
"""

from collections.abc import Sequence
from typing import Final

import db.executions
from db.errors import StoreUnavailable
from db.executions import HistoryRow
from db.store import Store
from gateway.batches import Batches

FIRST_EVENTS: Final = 100
MAX_BATCH: Final = 100


class Histories:
    """Reads the first events of executions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._batches: Batches[str, Sequence[HistoryRow]] = Batches(
            "read-histories", self._read, limit=MAX_BATCH, shared=(StoreUnavailable,)
        )

    async def first(self, execution_id: str) -> Sequence[HistoryRow]:
        """Return the first events of an execution, `FIRST_EVENTS` at most. Whose it is was checked before."""
        return await self._batches.add(execution_id)

    async def stop(self) -> None:
        """Wait for what is under way."""
        await self._batches.aclose()

    async def _read(self, execution_ids: Sequence[str]) -> Sequence[Sequence[HistoryRow]]:
        found = await db.executions.beginnings(
            self._store, sorted(set(execution_ids)), limit=FIRST_EVENTS
        )
        return [found.get(execution_id, ()) for execution_id in execution_ids]
