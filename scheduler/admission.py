"""Fair admission: how many tasks of a node type are queued at once, and whose comes next.

NATS hands tasks out in the order in which they came. So that the backlog of one namespace delays nobody else, only a window
of tasks is queued per fleet: one and a half times its slots, and what it got done in the last second, so that a fast fleet
never runs dry. What waits beyond the window is ready work in PostgreSQL, and here no more than its key. Of the namespaces
that wait each gets its turn, one task at a time; within a namespace the higher priority goes first, then who came first.

Nothing here is the truth. A scheduler that starts, or gains a partition, offers all that is outstanding anew.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from contracts.ids import RunKey, partition_of

LEAST_WINDOW: Final = 64
"""Tasks queued per fleet even if no worker is known."""

Attempt = tuple[str, RunKey, int]
"""Execution id, node run, number of the attempt."""


class Waiting(NamedTuple):
    """A task that wants to be queued."""

    attempt: Attempt
    fleet: str
    namespace: str
    priority: int = 0


class Standing(NamedTuple):
    """Where in line a task is: behind `ahead` others, for `window` places of which `queued` are taken."""

    fleet: str
    ahead: int
    queued: int
    window: int


class _Fleet:
    """What is queued of one node type, and what waits, by namespace."""

    __slots__ = ("asked_in", "done", "lines", "out", "previous", "second", "slots", "turns")

    def __init__(self) -> None:
        self.out: set[Attempt] = set()
        self.lines: dict[str, list[tuple[int, int, Waiting]]] = {}
        self.turns: deque[str] = deque()
        self.second = 0
        self.done = 0
        self.previous = 0
        self.slots = 0  # as many as there were in the second `asked_in`
        self.asked_in = -1

    def count(self, second: int) -> None:
        """Count a task that is done in this second."""
        self.turn(second)
        self.done += 1

    def turn(self, second: int) -> None:
        """Begin a new second if one has begun."""
        if second != self.second:
            self.previous = self.done if second == self.second + 1 else 0
            self.second = second
            self.done = 0


class Admission:
    """Decides which tasks are queued now. `slots` tells how many a fleet has, `now` is in seconds.

    Results come to who leads an execution (`leads`). The tasks of others are queued without a place: nobody would free it.
    """

    def __init__(
        self,
        *,
        slots: Callable[[str], int],
        now: Callable[[], float],
        leads: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._slots = slots
        self._now = now
        self._leads = leads
        self._fleets: dict[str, _Fleet] = {}
        self._known: dict[str, dict[Attempt, str]] = {}  # by execution: attempts and their fleets
        self._arrivals = 0

    @property
    def waiting(self) -> dict[str, int]:
        """Tasks that wait beyond the window, by node type."""
        return {
            name: count
            for name, fleet in self._fleets.items()
            if (count := sum(map(len, fleet.lines.values())))
        }

    def offer(self, task: Waiting) -> bool:
        """Whether a task is to be queued now; else it waits for its turn. What is queued may be queued again."""
        if not self._leads(task.attempt[0]):
            return True
        fleet = self._fleets.get(task.fleet)
        if fleet is None:
            fleet = self._fleets[task.fleet] = _Fleet()
        known = self._known.setdefault(task.attempt[0], {})
        if task.attempt in known:
            return task.attempt in fleet.out
        known[task.attempt] = task.fleet
        if not fleet.lines and len(fleet.out) < self._window(task.fleet, fleet):
            fleet.out.add(task.attempt)
            return True
        self._stand_in_line(fleet, task)
        return False

    def window(self, name: str) -> int:
        """Return how many tasks of a fleet may be queued."""
        return self._window(name, self._fleets.get(name) or _Fleet())

    def _window(self, name: str, fleet: _Fleet) -> int:
        """`window`; every task comes by here, and to ask for slots takes long where there are many workers."""
        second = int(self._now())
        fleet.turn(second)
        if fleet.asked_in != second:
            fleet.asked_in = second
            fleet.slots = self._slots(name)
        return max(LEAST_WINDOW, fleet.slots * 3 // 2 + max(fleet.previous, fleet.done))

    def ended(self, attempt: Attempt) -> None:
        """An attempt is over, queued or not: its place is free."""
        known = self._known.get(attempt[0])
        name = known.pop(attempt, None) if known is not None else None
        if known is not None and not known:
            del self._known[attempt[0]]
        if name is not None:
            fleet = self._fleets[name]
            fleet.out.discard(attempt)
            fleet.count(int(self._now()))

    def stands_in_line(self, execution_id: str) -> bool:
        """Whether all that is known of an execution waits for its turn: nothing of it is queued that could be lost."""
        known = self._known.get(execution_id)
        return known is not None and not any(
            attempt in self._fleets[name].out for attempt, name in known.items()
        )

    def settle(self, execution_id: str, is_under_way: Callable[[RunKey, int], bool]) -> None:
        """Free the places of attempts that ended without a result, or whose result came to somebody else."""
        known = self._known.get(execution_id, {})
        for attempt in [each for each in known if not is_under_way(each[1], each[2])]:
            self.ended(attempt)

    def forget(self, execution_id: str) -> None:
        """An execution is over, or somebody else's: nothing of it is queued or waits any more."""
        for attempt, name in self._known.pop(execution_id, {}).items():
            self._fleets[name].out.discard(attempt)

    def forget_partitions(self, partitions: Iterable[int]) -> None:
        """Forget the executions of partitions that another scheduler leads now."""
        gone = frozenset(partitions)
        for execution_id in [each for each in self._known if partition_of(each) in gone]:
            self.forget(execution_id)

    def standing(self, execution_id: str, namespace: str, most: int) -> dict[Attempt, Standing]:
        """Return where tasks of an execution stand that wait for their turn, those of each fleet in its order."""
        found: dict[Attempt, Standing] = {}
        for name in dict.fromkeys(self._known.get(execution_id, {}).values()):
            fleet = self._fleets[name]
            line = sorted(each for each in fleet.lines.get(namespace, ()) if self._waits(each[2]))
            for place, (_, _, task) in enumerate(line):
                if task.attempt[0] == execution_id and len(found) < most:
                    ahead = place + self._turns_before(fleet, namespace, place)
                    window = self._window(name, fleet)
                    found[task.attempt] = Standing(name, ahead, len(fleet.out), window)
        return found

    def _waits(self, task: Waiting) -> bool:
        return task.attempt in self._known.get(task.attempt[0], {})

    def _turns_before(self, fleet: _Fleet, namespace: str, place: int) -> int:
        """Return how many tasks of other namespaces go before the one at a place of its own line."""
        is_before = True
        turns = 0
        for other in fleet.turns:
            if other == namespace:
                is_before = False
            else:
                turns += min(len(fleet.lines[other]), place + is_before)
        return turns

    def next(self) -> Iterator[Waiting]:
        """Yield the tasks whose turn has come; they count as queued."""
        for name, fleet in self._fleets.items():
            if fleet.lines:
                free = self._window(name, fleet) - len(fleet.out)
                while free > 0 and (task := self._take(fleet)) is not None:
                    fleet.out.add(task.attempt)
                    free -= 1
                    yield task

    def _stand_in_line(self, fleet: _Fleet, task: Waiting) -> None:
        line = fleet.lines.get(task.namespace)
        if line is None:
            line = fleet.lines[task.namespace] = []
            fleet.turns.append(task.namespace)
        self._arrivals += 1
        heapq.heappush(line, (-task.priority, self._arrivals, task))

    def _take(self, fleet: _Fleet) -> Waiting | None:
        """Take the first task of the namespace whose turn it is; what ended while it waited is passed over."""
        while fleet.turns:
            namespace = fleet.turns.popleft()
            line = fleet.lines[namespace]
            task = heapq.heappop(line)[2]
            if line:
                fleet.turns.append(namespace)
            else:
                del fleet.lines[namespace]
            if task.attempt in self._known.get(task.attempt[0], {}):
                return task
        return None
