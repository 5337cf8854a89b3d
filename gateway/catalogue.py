"""The node types that can run, as the store knows them: kept for a few seconds, read again on a miss."""

import asyncio
import time

import structlog

import db.node_types
from contracts.specs import Catalogue
from db.errors import StoreUnavailable
from db.store import Store

log = structlog.get_logger("gateway")

MISS_SECONDS = 0.5
"""How soon after a reading a miss reads again: a client with a typo must not cost a query each time."""


class CatalogueCache:
    """The catalogue, at most `seconds` old while PostgreSQL answers."""

    def __init__(self, store: Store, *, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self._catalogue: Catalogue | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def current(self) -> Catalogue:
        """Return the catalogue. Raises StoreUnavailable only if it was never read."""
        return await self._no_older_than(self._seconds)

    async def refreshed(self) -> Catalogue:
        """Return the catalogue after a miss: read again, unless it was read just now."""
        return await self._no_older_than(MISS_SECONDS)

    async def _no_older_than(self, seconds: float) -> Catalogue:
        async with self._reading:  # one reading serves all who wait
            if self._catalogue is not None and time.monotonic() - self._read_at < seconds:
                return self._catalogue
            try:
                self._catalogue = Catalogue(tuple(await db.node_types.load(self._store)))
            except StoreUnavailable:
                if self._catalogue is None:
                    raise
                log.warning("catalogue_is_old")
            self._read_at = time.monotonic()
            return self._catalogue
