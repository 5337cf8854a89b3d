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
        self._put = 0
        self._handled = 0
        self._passing: list[tuple[int, asyncio.Event]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry) -> None:
        """Let an entry wait for the next batch."""
        self._entries.append(entry)
        self._put += 1
        self._arrived.set()
        if len(self._entries) >= MOST_WAITING:
            self._room.clear()

    async def room(self) -> None:
        """Wait until the loop has caught up."""
        await self._room.wait()

    async def passed(self) -> None:
        """Wait until all that waits now, or is being handled, has been handled."""
        if self._handled == self._put:
            return
        event = asyncio.Event()
        self._passing.append((self._put, event))
        await event.wait()

    def close(self) -> None:
        """Take nothing new: `take` hands out what is left, then nothing."""
        self._closed = True
        self._arrived.set()

    async def take(self, limit: int) -> list[Entry]:
        """Return up to `limit` entries, at least one; none once it is closed and empty.

        Who asks for more has handled what he was given before.
        """
        self._note_handled()
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

    def _note_handled(self) -> None:
        self._handled = self._put - len(self._entries)
        while self._passing and self._passing[0][0] <= self._handled:
            self._passing.pop(0)[1].set()
