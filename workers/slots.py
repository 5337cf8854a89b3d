"""Slots: how many attempts a worker carries out at once, and whose turn is next.

Node types share the slots. A free slot goes to the waiting type that has the fewest running, so a type
with slow attempts cannot fill the worker while another waits, and a type alone may fill all of it.

What to pull follows from the same numbers: the free slots, divided among the types that lately had
something to do. A little more than what is free may arrive then, one message per type at most; it
waits here, kept alive. A full worker pulls nothing, so that others get the work.
"""

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

BRISK_SECONDS = 0.05
"""Types whose attempts are shorter may have as many waiting as there are slots: that hides the way to the server."""


class _Type(Generic[T]):
    """One node type: what waits for a slot, and how many run."""

    __slots__ = ("running", "seconds", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[T] = deque()
        self.running = 0
        self.seconds = 1.0  # of an attempt, lately; slow until shown otherwise


class Slots(Generic[T]):
    """The slots of a worker and what waits for them, by node type."""

    def __init__(self, count: int, node_types: Iterable[str]) -> None:
        self.count = count
        self.busy = 0
        self.waiting = 0
        self._has_refused = False
        self._types: dict[str, _Type[T]] = {name: _Type() for name in node_types}
        self._ready: dict[_Type[T], None] = {}  # those with something waiting
        self._active = 0  # types with something running

    @property
    def free(self) -> int:
        """Slots that nothing runs in and nothing waits for."""
        return self.count - self.busy - self.waiting

    def want(self, node_type: str) -> int:
        """Return how many messages of a type may be on order now."""
        mine = self._types[node_type]
        room = self.free
        if mine.seconds < BRISK_SECONDS:
            room += self.count
        if room <= 0:
            self._has_refused = True
            return 0
        active = self._active + (not mine.running)
        return -(-room // active)

    def may_ask_again(self) -> bool:
        """Whether a type that was told to want nothing might get something now; true once per refusal."""
        if self.free <= 0 or not self._has_refused:
            return False
        self._has_refused = False
        return True

    def put(self, node_type: str, item: T) -> None:
        """Let an item wait for a slot."""
        mine = self._types[node_type]
        mine.waiting.append(item)
        self._ready[mine] = None
        self.waiting += 1

    def take(self) -> T | None:
        """Take a slot for the item whose turn it is; None if nothing waits or no slot is free."""
        if not self.waiting or self.busy >= self.count:
            return None
        chosen = min(self._ready, key=_running)
        item = chosen.waiting.popleft()
        if not chosen.waiting:
            del self._ready[chosen]
        self._active += not chosen.running
        chosen.running += 1
        self.busy += 1
        self.waiting -= 1
        return item

    def release(self, node_type: str, seconds: float) -> None:
        """Give a slot back after an attempt of so many seconds."""
        mine = self._types[node_type]
        mine.running -= 1
        self._active -= not mine.running
        mine.seconds += (seconds - mine.seconds) / 8
        self.busy -= 1

    def go_on(self, node_type: str, seconds: float, following: str) -> None:
        """Let an attempt be followed in its slot by one of another, or the same, type."""
        self.release(node_type, seconds)
        other = self._types[following]
        self._active += not other.running
        other.running += 1
        self.busy += 1

    def withdraw(self) -> list[T]:
        """Take back all that waits."""
        items = [item for each in self._types.values() for item in each.waiting]
        for each in self._types.values():
            each.waiting.clear()
        self._ready.clear()
        self.waiting = 0
        return items

    def remove(self, node_type: str, item: T) -> bool:
        """Take back one item; False if it does not wait any more."""
        mine = self._types[node_type]
        try:
            mine.waiting.remove(item)
        except ValueError:
            return False
        if not mine.waiting:
            del self._ready[mine]
        self.waiting -= 1
        return True


def _running(each: _Type[T]) -> int:
    return each.running
