"""The intake: where everything that the loop folds waits, bounded by what the consumers may hold."""

import asyncio
from collections import deque
from typing import Final

from scheduler.entries import Entry

MOST_WAITING = 2_000
"""Entries that may wait before those who can wait themselves have to."""

LEISURE_S: Final = 0.005
"""How long entries wait for others that nobody is waiting for."""


class Intake:
    """A queue that is emptied in batches: all that is there, as soon as there is something that matters to somebody.

    It never refuses an entry; who reads from a place that can hold back asks for `room` first. What comes from the middle of a
    segment has its worker wait for nothing: such entries let a few milliseconds of others join them.
    """

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._is_due = asyncio.Event()
        self._leisure: asyncio.TimerHandle | None = None
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
        if not entry.can_wait:
            self._is_due.set()
        elif self._leisure is None and not self._is_due.is_set():
            self._leisure = asyncio.get_running_loop().call_later(LEISURE_S, self._is_due.set)
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
        self._is_due.set()

    async def take(self, limit: int) -> list[Entry]:
        """Return up to `limit` entries, at least one; none once it is closed and empty.

        Who asks for more has handled what he was given before.
        """
        self._note_handled()
        while not self._entries or not self._is_due.is_set():
            if self._closed and not self._entries:
                return []
            await self._is_due.wait()
            if not self._entries and not self._closed:
                self._is_due.clear()
        return self._taken(min(limit, len(self._entries)))

    def _taken(self, count: int) -> list[Entry]:
        taken = [self._entries.popleft() for _ in range(count)]
        if self._leisure is not None:
            self._leisure.cancel()
            self._leisure = None
        if not self._entries and not self._closed:
            self._is_due.clear()
        if len(self._entries) < MOST_WAITING:
            self._room.set()
        return taken

    def _note_handled(self) -> None:
        self._handled = self._put - len(self._entries)
        while self._passing and self._passing[0][0] <= self._handled:
            self._passing.pop(0)[1].set()
