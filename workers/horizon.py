"""Which tasks may have been in somebody's hands before.

A redelivered one says so, as long as the server remembers: it writes down now and then what it delivered, and one that was
killed counts anew. So whatever was stored before we (re)connected may have been delivered before, too.
"""

import asyncio
import math
from typing import Final

import structlog

from bus.client import Bus
from bus.errors import BusClosed, BusError
from bus.message import Message
from bus.tasks import last_sequence
from contracts import subjects

PAUSE_SECONDS: Final = 0.5

_log: Final = structlog.get_logger("flotilla.workers")


class Horizon:
    """Knows how far the stream of tasks had come when the connection was made. `run` keeps it up to date."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._seq: float = math.inf
        self._moved = asyncio.Event()
        self._moved.set()
        bus.attach(self)

    def is_behind(self, message: Message) -> bool:
        """Whether a task may have been delivered to somebody before."""
        return message.stream_seq <= self._seq or message.num_delivered > 1

    async def run(self) -> None:
        """Look anew after every connect, until canceled."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            try:
                seq = await last_sequence(self._bus, subjects.TASKS)
            except BusClosed:
                raise
            except BusError as error:
                _log.info("horizon_unknown", error=str(error))
                self._moved.set()
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self._seq = math.inf if self._moved.is_set() else seq

    def disconnected(self) -> None:
        """Told by the bus: what is delivered from now on comes from a server that may have forgotten."""
        self._seq = math.inf

    def reconnected(self) -> None:
        """Told by the bus."""
        self._moved.set()
