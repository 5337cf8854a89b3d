"""Taking the queued tasks of ended executions off the stream, so that no worker starts them for nothing.

Best effort: a task that is worked on after all is refused when it reports.
"""

import asyncio
from typing import Final

import structlog

from bus.client import Bus
from bus.errors import BusError
from bus.tasks import purge_execution

log: Final = structlog.get_logger()

MOST_WAITING: Final = 10_000


class Purges:
    """Purges one execution after the other, in the background."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: asyncio.Queue[tuple[str, str]] = asyncio.Queue(MOST_WAITING)

    def add(self, namespace: str, execution_id: str) -> None:
        """Let the tasks of an execution be purged."""
        if not self._waiting.full():
            self._waiting.put_nowait((namespace, execution_id))

    async def run(self) -> None:
        """Purge until canceled."""
        while True:
            namespace, execution_id = await self._waiting.get()
            try:
                await purge_execution(self._bus, namespace, execution_id)
            except BusError as error:
                log.info("tasks_not_purged", execution_id=execution_id, error=str(error))
