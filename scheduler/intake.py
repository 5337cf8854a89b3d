"""The intake: where everything that the loop folds waits, bounded by what the consumers may hold."""

import asyncio
from collections import deque

from scheduler.entries import Entry

MOST_WAITING = 2_000
"""Entries that may wait before those who can wait themselves have to."""


class Intake:
    """A queue that is emptied in batches: all that is there, as soon as there is something.

    It never refuses an entry; who reads from a place that can hold back asks for `room` first.
    """

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry) -> None:
        """Let an entry wait for the next batch."""
        self._entries.append(entry)
        self._arrived.set()
        if len(self._entries) >= MOST_WAITING:
            self._room.clear()

    async def room(self) -> None:
        """Wait until the loop has caught up."""
        await self._room.wait()

    def close(self) -> None:
        """Take nothing new: `take` hands out what is left, then nothing."""
        self._closed = True
        self._arrived.set()

    async def take(self, limit: int) -> list[Entry]:
        """Return up to `limit` entries, at least one; none once it is closed and empty."""
        while not self._entries:
            if self._closed:
                return []
            self._arrived.clear()
            await self._arrived.wait()
        count = min(limit, len(self._entries))
        taken = [self._entries.popleft() for _ in range(count)]
        if len(self._entries) < MOST_WAITING:
            self._room.set()
        return taken
