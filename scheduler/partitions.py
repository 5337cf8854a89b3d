"""Which partitions of the inbox this scheduler holds: leases in PostgreSQL, taken, renewed, given up.

Ownership is for cache hits, never for correctness: two schedulers that both believe they own a
partition still meet at the compare-and-set of the commit. A lease lasts LEASE_S by the database's
clock and is renewed every RENEW_S; a scheduler that dies is followed within the sum of both.

Schedulers share the partitions: each says that it is at work by a lease of its own, and all see the same
list of them, in the order in which they came. So each knows its share, shares add up to all partitions,
and nobody who holds his share ever moves: there is no flapping. Who has more gives the rest back in
order - nothing new is pulled, what was taken is committed, published and acknowledged, and only then
the lease is free. Who has less takes what is free.

The epoch of a lease grows with each owner. A scheduler that slept past its leases, and whose partitions
were taken, knows old epochs: it renews nothing, gives up its pulls, and what it still commits meets the
compare-and-set.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from contracts.ids import PARTITIONS
from db import leases
from db.errors import StoreError
from db.store import Store

log: Final = structlog.get_logger()

LEASE_S: Final = 6.0
RENEW_S: Final = 2.0

Changed = Callable[[frozenset[int]], Awaitable[None]]
LetGo = Callable[[frozenset[int]], Awaitable[None]]


class Partitions:
    """Keeps the leases of one scheduler.

    `changed` is awaited with what is owned, at each change. `let_go` is awaited with what is owned no more: it finishes
    what was taken from there. `tell` tells other schedulers that they have to look: somebody came, or something is free.
    """

    def __init__(
        self,
        store: Store,
        owner: str,
        changed: Changed,
        let_go: LetGo,
        tell: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._owner = owner
        self._changed = changed
        self._let_go = let_go
        self._tell = tell
        self.owned: frozenset[int] = frozenset()
        self.epochs: dict[int, int] = {}
        self._leaving: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._looked = asyncio.Event()
        self._sooner = asyncio.Event()

    async def first_look(self) -> None:
        """Wait until leases were asked for once."""
        await self._looked.wait()

    def look_soon(self) -> None:
        """Something may be free: do not wait for the next renewal."""
        self._sooner.set()

    async def run(self) -> None:
        """Renew, take and give back until canceled; what could not be renewed in time is lost."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._sooner.clear()
                try:
                    leaving = await self.look()
                except StoreError as error:
                    log.warning("leases_wait", error=str(error))
                else:
                    if leaving:
                        self._leaving = group.create_task(self._give_back(leaving))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RENEW_S):
                        await self._sooner.wait()

    async def look(self) -> dict[int, int]:
        """Renew what is owned, take what is free up to our share, and return what is to be given back, with its epochs."""
        async with self._turn:
            kept = await leases.keep(self._store, self._owner, self.epochs, LEASE_S)
            lost = {each: epoch for each, epoch in self.epochs.items() if each not in kept}
            held = {each: epoch for each, epoch in self.epochs.items() if each in kept}
            missing = share(await leases.live(self._store), self._owner) - len(held)
            if missing > 0:
                held |= await leases.acquire(self._store, self._owner, missing, LEASE_S)
            self.epochs = held
            if self._leaving is not None and not self._leaving.done():
                leaving = {}
                owned = self.owned & held.keys()
            else:
                leaving = {each: held[each] for each in sorted(held)[len(held) + min(missing, 0) :]}
                owned = frozenset(held.keys() - leaving.keys())
            await self._own(owned)
        if not self._looked.is_set():
            self._looked.set()
            await self._tell()
        return lost | leaving

    async def _own(self, owned: frozenset[int]) -> None:
        if owned != self.owned:
            log.info("partitions_owned", count=len(owned), gained=len(owned - self.owned))
            self.owned = owned
            await self._changed(owned)

    async def _give_back(self, leaving: dict[int, int]) -> None:
        """Finish what was taken from partitions, then free their leases; until then they are renewed."""
        await self._let_go(frozenset(leaving))
        async with self._turn:
            try:
                await leases.hand_back(self._store, self._owner, leaving)
            except StoreError as error:
                log.warning("leases_not_given_back", error=str(error))  # the next look tries again
                return
            self.epochs = {
                each: epoch for each, epoch in self.epochs.items() if leaving.get(each) != epoch
            }
        log.info("partitions_given_back", count=len(leaving))
        await self._tell()

    async def release(self) -> None:
        """Give everything up, so that another scheduler need not wait for the leases to end."""
        self.owned = frozenset()
        await leases.release(self._store, self._owner)


def share(live: Sequence[str], owner: str) -> int:
    """Return how many partitions are an owner's: as many as everybody's, and those left over go to who came first."""
    ranks = (*live, owner) if owner not in live else live
    each, left_over = divmod(PARTITIONS, len(ranks))
    return each + (ranks.index(owner) < left_over)
