"""Fleets: the workers that are alive, and the node types that they announce."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog

from contracts import messages
from contracts.messages import Announced, Heartbeat, encode
from db import node_types, workers
from db.errors import StoreError
from db.store import Store

log: Final = structlog.get_logger()

WRITE_PERIOD_S: Final = 2.0

Announce = Callable[[tuple[str, ...]], Awaitable[None]]


class Fleets:
    """Writes heartbeats down in batches and stores the specs that workers announce."""

    def __init__(self, store: Store, *, announced: Announce) -> None:
        self._store = store
        self._announced = announced
        self._heard: dict[str, Heartbeat] = {}

    def heartbeat(self, data: bytes) -> None:
        """Take a worker's sign of life; the last of each worker is written down."""
        try:
            beat = messages.decode_heartbeat(data)
        except msgspec.DecodeError as error:
            log.warning("heartbeat_unreadable", error=str(error))
            return
        self._heard[beat.worker_id] = beat

    async def announcement(self, data: bytes) -> bytes:
        """Store the specs of a worker and make queues for them; return the answer."""
        try:
            announcement = messages.decode_announcement(data)
            await node_types.store(self._store, announcement.specs)
            await self._announced(tuple(spec.type for spec in announcement.specs))
        except (msgspec.DecodeError, StoreError) as error:
            log.warning("announcement_refused", error=str(error))
            return encode(Announced(error=str(error)))
        log.info(
            "worker_announced",
            worker_id=announcement.worker_id,
            node_types=len(announcement.specs),
        )
        return encode(Announced())

    async def run(self) -> None:
        """Write heartbeats down until canceled."""
        while True:
            heard, self._heard = list(self._heard.values()), {}
            if heard:
                try:
                    await workers.beat(self._store, heard)
                except StoreError as error:
                    log.warning("heartbeats_lost", error=str(error), count=len(heard))
            await asyncio.sleep(WRITE_PERIOD_S)
