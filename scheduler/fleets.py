"""Fleets: the workers that are alive, and the node types that they announce.

Every scheduler hears every worker, but only one writes each down: who owns the partition of the inbox that the worker's
name falls into. While nobody does, a few heartbeats are not written, fewer than make a worker count as lost.
"""

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import msgspec
import structlog

from contracts import messages
from contracts.ids import PARTITIONS
from contracts.messages import Announced, Heartbeat, encode
from contracts.specs import fleets
from db import node_types, workers
from db.errors import StoreError
from db.store import Store

log: Final = structlog.get_logger()

WRITE_PERIOD_S: Final = 2.0
LOST_AFTER_S: Final = 30.0
"""A worker that was silent for that long counts no more."""

Announce = Callable[[tuple[str, ...]], Awaitable[None]]


class Fleets:
    """Writes heartbeats down in batches and stores the specs that workers announce."""

    def __init__(
        self, store: Store, *, announced: Announce, owned: Callable[[], Collection[int]]
    ) -> None:
        self._store = store
        self._owned = owned
        self._announced = announced
        self._heard: dict[str, Heartbeat] = {}
        self._alive: dict[str, tuple[Heartbeat, float]] = {}

    def heartbeat(self, data: bytes) -> None:
        """Take a worker's sign of life; the last of each worker is written down."""
        try:
            beat = messages.decode_heartbeat(data)
        except msgspec.DecodeError as error:
            log.warning("heartbeat_unreadable", error=str(error))
            return
        self._heard[beat.worker_id] = beat
        self._alive[beat.worker_id] = (beat, time.monotonic())

    def slots(self, node_type: str) -> int:
        """Return how many tasks of a node type its workers take at once, as far as this process heard."""
        since = time.monotonic() - LOST_AFTER_S
        lost = [name for name, (_, heard_at) in self._alive.items() if heard_at < since]
        for name in lost:
            del self._alive[name]
        return sum(beat.slots for beat, _ in self._alive.values() if node_type in beat.node_types)

    async def announcement(self, data: bytes) -> bytes:
        """Store the specs of a worker and make queues for them; return the answer."""
        try:
            announcement = messages.decode_announcement(data)
            await node_types.store(self._store, announcement.specs)
            await self._announced(fleets(announcement.specs))
        except (msgspec.DecodeError, StoreError) as error:
            log.warning("announcement_refused", error=str(error))
            return encode(Announced(error=str(error)))
        log.info(
            "worker_announced",
            worker_id=announcement.worker_id,
            node_types=len(announcement.specs),
        )
        return encode(Announced())

    def _ours(self) -> list[Heartbeat]:
        """Take what was heard, and return what is ours to write; at the start it is not known yet what is."""
        owned = self._owned()
        if not owned:
            return []
        heard, self._heard = self._heard, {}
        return [
            beat
            for worker_id, beat in heard.items()
            if zlib.crc32(worker_id.encode()) % PARTITIONS in owned
        ]

    async def run(self) -> None:
        """Write heartbeats down until canceled."""
        while True:
            if heard := self._ours():
                try:
                    await workers.beat(self._store, heard)
                except StoreError as error:
                    log.warning("heartbeats_lost", error=str(error), count=len(heard))
            await asyncio.sleep(WRITE_PERIOD_S)
