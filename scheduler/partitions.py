"""Which partitions of the inbox this scheduler holds: leases in PostgreSQL, taken, renewed, given up.

Ownership is for cache hits, never for correctness: two schedulers that both believe they own a
partition still meet at the compare-and-set of the commit. A lease lasts LEASE_S by the database's
clock and is renewed every RENEW_S; a scheduler that dies is followed within the sum of both.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from db import leases
from db.errors import StoreError
from db.store import Store

log: Final = structlog.get_logger()

LEASE_S: Final = 6.0
RENEW_S: Final = 2.0

Changed = Callable[[frozenset[int]], Awaitable[None]]


class Partitions:
    """Keeps the leases of one scheduler. `changed` is awaited with what is owned, at each change."""

    def __init__(self, store: Store, owner: str, changed: Changed) -> None:
        self._store = store
        self._owner = owner
        self._changed = changed
        self.owned: frozenset[int] = frozenset()
        self.epochs: dict[int, int] = {}
        self._looked = asyncio.Event()

    async def first_look(self) -> None:
        """Wait until leases were asked for once."""
        await self._looked.wait()

    async def run(self) -> None:
        """Renew and acquire until canceled; what could not be renewed in time is given up."""
        while True:
            try:
                await self.renew()
            except StoreError as error:
                log.warning("leases_wait", error=str(error))
            await asyncio.sleep(RENEW_S)

    async def renew(self) -> None:
        """Renew what is owned and take what is free."""
        kept = await leases.renew(self._store, self._owner, LEASE_S)
        gained = await leases.acquire(self._store, self._owner, None, LEASE_S)
        self.epochs.update(gained)
        owned = frozenset(kept) | frozenset(gained)
        if owned != self.owned:
            log.info("partitions_owned", count=len(owned), gained=len(owned - self.owned))
            self.owned = owned
            await self._changed(owned)
        self._looked.set()

    async def release(self) -> None:
        """Give everything up, so that another scheduler need not wait for the leases to end."""
        self.owned = frozenset()
        await leases.release(self._store, self._owner)
