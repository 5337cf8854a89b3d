"""Slots: how many executions of one concurrency key may be under way at once, exact for any number of schedulers."""

from collections.abc import Sequence
from typing import Final

from db import queries
from db.store import Store

_SQL: Final = queries.load("slots")


async def fill(store: Store, workflow_id: str, key: str, limit: int) -> frozenset[str]:
    """Give free slots to executions that wait for one, and return those that have one and have not started.

    By priority, then arrival. One transaction at a time hands out the slots of a key, so never more than `limit`
    are held.
    """
    async with store.transaction() as session:
        await session.execute(_SQL["lock_slots"], workflow_id, key)
        rows = await session.fetch(_SQL["fill_slots"], workflow_id, key, limit)
    return frozenset(str(row["id"]) for row in rows)


async def without(store: Store, execution_ids: Sequence[str]) -> tuple[str, ...]:
    """Return those of the executions that wait for a slot still."""
    rows = await store.fetch(_SQL["without_slot"], execution_ids)
    return tuple(str(row["id"]) for row in rows)


async def holders(store: Store, workflow_id: str, key: str, limit: int) -> tuple[str, ...]:
    """Return executions that hold a slot of a key, the oldest first."""
    rows = await store.fetch(_SQL["slot_holders"], workflow_id, key, limit)
    return tuple(str(row["id"]) for row in rows)
