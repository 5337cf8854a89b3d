"""Who holds which partitions of the inbox, as PostgreSQL has it."""

import asyncio
from collections.abc import Callable

from db.store import Store

Held = dict[str, frozenset[int]]
"""Partitions by owner."""

LOOK_SECONDS = 0.05


async def held(store: Store) -> Held:
    """Return who holds what, leases that ran out left out."""
    rows = await store.fetch(
        "select owner, partition from partition_leases where expires_at > statement_timestamp()"
    )
    owners = {row["owner"] for row in rows}
    return {
        each: frozenset(row["partition"] for row in rows if row["owner"] == each) for each in owners
    }


async def shares_become(store: Store, *shares: int, seconds: float = 30) -> Held:
    """Wait until as many owners hold so many partitions each, and return who holds what."""
    return await until(store, lambda now: sorted(map(len, now.values())) == sorted(shares), seconds)


async def until(store: Store, holds: Callable[[Held], bool], seconds: float = 30) -> Held:
    """Wait until something is true of who holds what, and return that: the database sends no signal."""
    async with asyncio.timeout(seconds):
        while not holds(now := await held(store)):  # noqa: ASYNC110 - tables send no signal
            await asyncio.sleep(LOOK_SECONDS)
    return now
