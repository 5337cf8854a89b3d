"""What may go wrong, and when it does: by one source of chance, in a mixture that is different for each seed."""

import random
from collections import Counter
from typing import Final, NamedTuple


class Fault(NamedTuple):
    """How often something goes wrong at a place where it can, if a seed has it at all."""

    odds: float
    says: str


FAULTS: Final = {
    # --- the store
    "read_failed": Fault(0.05, "a read raises StoreUnavailable"),
    "connect_failed": Fault(0.3, "no connection for commits can be opened"),
    "commit_refused": Fault(0.05, "the server refuses a commit: nothing was written"),
    "commit_lost_before": Fault(0.05, "the connection breaks before a commit reaches the server"),
    "commit_lost_after": Fault(0.05, "the connection breaks after a commit, before its answer"),
    "commit_hung_before": Fault(0.01, "a commit never happens and is never answered"),
    "commit_hung_after": Fault(0.01, "a commit happens and is never answered"),
    "store_slow": Fault(0.05, "a statement takes seconds"),
    # --- what is published to streams
    "task_dropped": Fault(0.08, "a task never reaches the server"),
    "task_ack_dropped": Fault(0.08, "a task is stored, its publisher does not hear of it"),
    "task_forgotten": Fault(0.04, "a task is acknowledged, and lost by the server"),
    "task_delayed": Fault(0.08, "a task arrives seconds later, behind others"),
    "inbox_dropped": Fault(0.08, "a result or command never reaches the server"),
    "inbox_ack_dropped": Fault(
        0.08, "a result or command is stored, its sender does not hear of it"
    ),
    "inbox_forgotten": Fault(0.04, "a result or command is acknowledged, and lost by the server"),
    "inbox_delayed": Fault(0.08, "a result or command arrives seconds later, behind others"),
    # --- what consumers deliver
    "task_delivery_lost": Fault(0.04, "a worker never sees a task that was delivered to it"),
    "task_delivered_twice": Fault(0.08, "a task is delivered to two workers"),
    "inbox_delivery_lost": Fault(0.08, "a scheduler never sees a message that was delivered to it"),
    "inbox_delivered_twice": Fault(0.1, "a message of the inbox is delivered twice at once"),
    "ack_lost": Fault(0.08, "an acknowledgement of a delivery is lost"),
    "answer_lost": Fault(0.1, "the answer to a worker's question is lost"),
    "notice_lost": Fault(0.3, "the notice to stop working for an execution is lost"),
    "request_lost": Fault(0.2, "a request to the API of JetStream has no answer"),
    # --- processes
    "worker_died": Fault(0.05, "a worker dies while it works on a task"),
    "died_going_on": Fault(0.15, "a worker dies at the next node, to which it went on by itself"),
    "serves_little": Fault(1.0, "who is given a segment again serves the type of its head alone"),
    "hands_back": Fault(0.3, "a worker does not go on with the next node, though it may"),
    "killed_before_commit": Fault(
        0.04, "a scheduler dies with a commit under way that never happens"
    ),
    "killed_after_commit": Fault(
        0.04, "a scheduler dies after a commit, before what follows from it"
    ),
    "killed_while_publishing": Fault(
        0.03, "a scheduler dies after some of its tasks were published"
    ),
    "killed_before_ack": Fault(0.03, "a scheduler dies before it acknowledges a message"),
}


class Event(NamedTuple):
    """Something that happens to the whole world at some instants."""

    most: int
    says: str


SPARED: Final = 0.6
"""How many worlds are spared each of these events."""

EVENTS: Final = {
    "killed": Event(2, "a scheduler dies; another starts a little later"),
    "drained": Event(1, "a scheduler stops in order; another starts a little later"),
    "wiped": Event(1, "NATS loses all of its store, streams included"),
    "disconnected": Event(2, "a scheduler has no connection to NATS for a while"),
    "reassigned": Event(2, "a scheduler holds other partitions than before"),
}


class Chaos:
    """Decides by the seed what goes wrong. Until `begin` and after `end` nothing does."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"{seed}:chaos")
        self.struck: Counter[str] = Counter()
        self._odds = _mixture(self.chance)
        self._is_on = False

    def begin(self) -> None:
        """Let things go wrong from now on."""
        self._is_on = True

    def end(self) -> None:
        """Let nothing go wrong any more."""
        self._is_on = False

    def strikes(self, fault: str) -> bool:
        """Whether a fault happens here and now."""
        odds = self._odds[fault]
        if not odds or not self._is_on or self.chance.random() >= odds:
            return False
        self.struck[fault] += 1
        return True

    def latency(self) -> float:
        """Return the seconds that a message or statement takes: mostly about a millisecond."""
        return 0.0001 + 0.01 * self.chance.random() ** 3

    def instants(self, event: str, before: float) -> list[float]:
        """Return when something happens to the world."""
        if self.chance.random() < SPARED:
            return []
        times = self.chance.randint(1, EVENTS[event].most)
        return [self.chance.random() ** 2 * before for _ in range(times)]


def _mixture(chance: random.Random) -> dict[str, float]:
    """Return the odds of each fault. Most seeds have a few of them: those left out hide nothing then."""
    share = chance.choice((0.0, 0.1, 0.3, 0.6))
    return {
        name: fault.odds * chance.choice((0.3, 1.0, 3.0)) if chance.random() < share else 0.0
        for name, fault in FAULTS.items()
    }
