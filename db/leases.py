"""Leases on partitions of the inbox: which scheduler reads which, and which schedulers there are to share them.

A lease is a hint that keeps caches warm, never what correctness rests on: for a moment two schedulers may believe that they
own a partition, and then both commit by compare and swap. All instants are the database's. The epoch grows whenever a
partition changes hands, so whoever slept through the change keeps nothing: it names the epoch that it knows.
"""

from collections.abc import Mapping
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


async def keep(
    store: Store, owner: str, epochs: Mapping[int, int], ttl_seconds: float
) -> frozenset[int]:
    """Say that the owner is at work, and prolong leases of these epochs; return the partitions that nobody has taken from it."""
    rows = await store.fetch(_SQL["keep_leases"], owner, [*epochs], [*epochs.values()], ttl_seconds)
    return frozenset(row["partition"] for row in rows)


async def live(store: Store) -> tuple[str, ...]:
    """Return the schedulers at work, whoever is so for the longest time first."""
    return tuple(row["id"] for row in await store.fetch(_SQL["live_schedulers"]))


async def hand_back(store: Store, owner: str, epochs: Mapping[int, int]) -> None:
    """Give back partitions of these epochs, for others to take at once."""
    await store.execute(_SQL["hand_back_leases"], owner, [*epochs], [*epochs.values()])


async def release(store: Store, owner: str) -> None:
    """Give up all leases of the owner, for others to take at once: it is at work no more."""
    await store.execute(_SQL["release_leases"], owner)


async def holder(store: Store, partition: int) -> str | None:
    """Return the owner of a partition whose lease has not run out, or None."""
    row = await store.fetch_row(_SQL["lease_holder"], partition)
    return None if row is None else str(row["owner"])


async def holders(store: Store) -> frozenset[str]:
    """Return the owners whose lease has not run out: the schedulers that have something to do."""
    rows = await store.fetch(_SQL["lease_holders"])
    return frozenset(row["owner"] for row in rows)
