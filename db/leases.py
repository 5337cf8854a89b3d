"""Leases on partitions of the inbox: which scheduler reads which.

A lease is a hint that keeps caches warm, never what correctness rests on: for a moment two schedulers may believe that they
own a partition, and then both commit by compare and swap. All instants are the database's. The epoch grows whenever a
partition changes hands, so that whoever slept through the change can tell.
"""

from typing import Final

from db import queries
from db.store import Store

_SQL: Final = queries.load("leases")


async def acquire(
    store: Store, owner: str, partitions_wanted: int | None, ttl_seconds: float
) -> dict[int, int]:
    """Take partitions that are free or whose lease ran out, at most so many, and return each with its new epoch."""
    rows = await store.fetch(_SQL["acquire_leases"], owner, partitions_wanted, ttl_seconds)
    return {row["partition"]: row["epoch"] for row in rows}


async def renew(store: Store, owner: str, ttl_seconds: float) -> frozenset[int]:
    """Prolong the owner's leases, and return the partitions that nobody has taken from it."""
    rows = await store.fetch(_SQL["renew_leases"], owner, ttl_seconds)
    return frozenset(row["partition"] for row in rows)


async def release(store: Store, owner: str) -> None:
    """Give up all leases of the owner, for others to take at once."""
    await store.execute(_SQL["release_leases"], owner)


async def holder(store: Store, partition: int) -> str | None:
    """Return the owner of a partition whose lease has not run out, or None."""
    row = await store.fetch_row(_SQL["lease_holder"], partition)
    return None if row is None else str(row["owner"])


async def holders(store: Store) -> frozenset[str]:
    """Return the owners whose lease has not run out: the schedulers at work."""
    rows = await store.fetch(_SQL["lease_holders"])
    return frozenset(row["owner"] for row in rows)
