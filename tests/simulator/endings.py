"""How attempts end: what a handler answers, by node type, and how its worker fares meanwhile.

OUTCOMES and ENDINGS are meant to grow. All follows from the seed, the name of the execution, the node run and the number of the
attempt: whoever works on it, how often and when. Only where a seed is `racy` may the order of things decide.
"""

import random
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from contracts.execution.plan import PlannedNode
from contracts.failures import Failure, FailureKind
from contracts.history import LoopRules, Usage
from contracts.ids import RunKey
from contracts.messages import ChildOrder, InteractionOrder, LoopOrder, Task, WaitOrder
from contracts.statuses import ItemError, WaitKind
from tests.simulator.graphs import (
    ANY,
    CALLS,
    GOES_ON,
    LOOP,
    MERGE,
    ONCE,
    OTHER,
    STEPS,
    YIELDS,
    drawn,
)
from tests.support.engine import raw

ONE_CALL: Final = Usage(model_calls=1)
ONE_TOKEN: Final = Usage(input_tokens=1)
MOST_WAITS: Final = 3
"""After so many attempts a node that goes on after its waits waits no more."""


class Attempt(NamedTuple):
    """An attempt about to end. `task` is what its worker got."""

    seed: int
    name: str
    node: PlannedNode
    key: RunKey
    number: int
    racy: bool
    chance: random.Random
    task: Task

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of its node."""
        return self.node.task_node.parameters

    @property
    def text(self) -> str:
        """A name for its node run: no other of the seed has the same."""
        return f"{self.name}:{self.key[0]}:{self.key[1]}"


# --- what a handler answers ----------------------------------------------------------------------

YIELDED: Final = {ANY: ("main", "a", "b"), STEPS: ("main", "a")}


def _works(attempt: Attempt) -> dict[str, Any]:
    """Yield on some ports."""
    chance, node = attempt.chance, attempt.node
    if chance.random() < 0.02:
        return {"ports": {"strange": raw("a port that nobody has")}}
    ports = [
        port
        for port in YIELDED.get(node.type, ("main",))
        if chance.random() < (0.85 if port == "main" else 0.4)
    ]
    by = f"{node.id}.{{}}.{attempt.number}"
    return {"ports": {port: raw({"by": by.format(port)}) for port in ports}}


def _iterates(attempt: Attempt) -> dict[str, Any]:
    """Order a loop: over items, or for as long as it has not iterated often enough."""
    given = attempt.parameters
    rules = LoopRules(
        batch_size=given.get("batch_size", 1),
        max_parallel=given.get("max_parallel", 1),
        on_item_error=ItemError(given["on_item_error"]),
        collect=given["collect"],
    )
    if "batch_size" in given:
        return {"loop": LoopOrder(items=raw(items_of(attempt.node)), rules=rules)}
    scope = attempt.task.next_loop
    assert scope is not None
    return {"loop": LoopOrder(goes_on=scope.index < given["count"], rules=rules)}


def items_of(loop: PlannedNode) -> list[Any]:
    """Return what a loop iterates over."""
    return [f"{loop.id} {index}" for index in range(loop.task_node.parameters["count"])]


def _waits(attempt: Attempt) -> dict[str, Any]:
    """Wait; a node that goes on after its waits works in the end."""
    if attempt.node.type == GOES_ON and attempt.number > attempt.chance.choice((1, 2, MOST_WAITS)):
        return _works(attempt)
    return {
        "wait": _racy_wait(attempt) if attempt.racy else WAITS[attempt.parameters["waits"]](attempt)
    }


def _question(attempt: Attempt) -> InteractionOrder:
    return InteractionOrder(kind="approval", title=f"May {attempt.key[0]} go on?")


WAITS: Final[dict[str, Callable[[Attempt], WaitOrder]]] = {
    "TIMER": lambda a: WaitOrder(kind=WaitKind.TIMER, seconds=a.chance.choice((0.0, 0.5, 12.0))),
    "SIGNAL": lambda a: WaitOrder(kind=WaitKind.SIGNAL, signal=f"{a.text}:{a.number}"),
    "NOTHING": lambda a: WaitOrder(
        kind=WaitKind.SIGNAL, signal="nobody sends it", seconds=a.chance.uniform(0.5, 15)
    ),
    "CHECK": lambda a: WaitOrder(
        kind=WaitKind.SIGNAL, signal="nobody sends it", check_seconds=a.chance.uniform(0.5, 5)
    ),
    "ANSWER": lambda a: WaitOrder(kind=WaitKind.INTERACTION, interaction=_question(a)),
    "NO ANSWER": lambda a: WaitOrder(
        kind=WaitKind.INTERACTION, interaction=_question(a), seconds=a.chance.uniform(0.5, 15)
    ),
}
"""What a node waits for. A wait that has `seconds`, and is for no timer, is meant to be in vain."""


def _racy_wait(attempt: Attempt) -> WaitOrder:
    """Wait for whatever comes first: a signal that others wait for too, an answer, a look, the end of the time."""
    chance = attempt.chance
    seconds = chance.uniform(0.5, 15)
    check = chance.choice((None, chance.uniform(0.2, 5)))
    resumed = attempt.task.resumed
    if resumed is not None and resumed.by == "CHECK" and resumed.interaction_id is not None:
        return WaitOrder(  # the question is open still, and may have been answered meanwhile
            kind=WaitKind.INTERACTION,
            interaction_id=resumed.interaction_id,
            seconds=seconds,
            check_seconds=check,
        )
    match chance.choice(("timer", "signal", "question")):
        case "timer":
            return WaitOrder(kind=WaitKind.TIMER, seconds=seconds, check_seconds=check)
        case "signal":
            signal = chance.choice(SHARED_SIGNALS)
            return WaitOrder(
                kind=WaitKind.SIGNAL, signal=signal, seconds=seconds, check_seconds=check
            )
        case _:
            return WaitOrder(
                kind=WaitKind.INTERACTION,
                interaction=_question(attempt),
                signal=chance.choice((None, *SHARED_SIGNALS)),
                seconds=seconds,
                check_seconds=check,
            )


SHARED_SIGNALS: Final = ("red", "green")


def _calls(attempt: Attempt) -> dict[str, Any]:
    """Start an execution of another workflow."""
    given = attempt.parameters
    order = ChildOrder(
        workflow=given["workflow"],
        input=raw({"for": attempt.text, "shop": attempt.chance.choice("ab")}),
        is_detached=given["detached"],
    )
    return {"wait": WaitOrder(kind=WaitKind.CHILD, child=order)}


OUTCOMES: Final[dict[str, Callable[[Attempt], dict[str, Any]]]] = {
    ANY: _works,
    OTHER: _works,
    STEPS: _works,
    ONCE: _works,
    MERGE: _works,
    LOOP: _iterates,
    YIELDS: _waits,
    GOES_ON: _waits,
    CALLS: _calls,
}
FAILS: Final = {ANY: 0.25, OTHER: 0.25, MERGE: 0.15, ONCE: 0.15, STEPS: 0.35}
"""How often an attempt fails by its handler; of other types as often as ANY_OTHER_FAILS says."""
ANY_OTHER_FAILS: Final = 0.08


def outcome_of(attempt: Attempt) -> dict[str, Any]:
    """Return what an attempt comes to, as fields of its result."""
    chance = attempt.chance
    if chance.random() < FAILS.get(attempt.node.type, ANY_OTHER_FAILS):
        retryable = chance.random() < 0.7
        failure = Failure(FailureKind.ERROR, "broken", "it broke", retryable=retryable)
        return {"failure": failure, "usage": ONE_TOKEN}
    outcome = OUTCOMES[attempt.node.type](attempt)
    return outcome if "loop" in outcome else {**outcome, "usage": ONE_TOKEN}


def calls_of(seed: int, name: str, node: PlannedNode, key: RunKey) -> tuple[str, ...]:
    """Return the calls of a node run that must not be repeated once they are saved."""
    if node.type != STEPS:
        return ()
    count = random.Random(f"{seed}:{name}:{key}:calls").choice((1, 2, 3))
    return tuple(f"call {number}" for number in range(count))


# --- how the worker fares ------------------------------------------------------------------------


class Ending(NamedTuple):
    """How an attempt ends. Its first `crashes` deliveries kill their workers; a run takes `seconds`.

    The result is sent after each of the pauses in `sent`; `forged` is one with a token that does not fit, sent before.
    """

    crashes: int = 0
    seconds: float = 0.01
    sent: tuple[float, ...] = (0.0,)
    forged: bool = False


class EndingKind(NamedTuple):
    """A way for attempts to end, how often compared to the others; `make` adds to an ending."""

    weight: float
    make: Callable[[random.Random, Ending], Ending]


ENDINGS: Final = {
    "at once": EndingKind(70, lambda _, ending: ending),
    "after a while": EndingKind(10, lambda c, ending: ending._replace(seconds=c.uniform(0.1, 20))),
    "past the ack wait": EndingKind(
        2, lambda c, ending: ending._replace(seconds=c.uniform(31, 70))
    ),
    "after crashes": EndingKind(5, lambda c, ending: ending._replace(crashes=c.randint(1, 2))),
    "never": EndingKind(0.3, lambda _, ending: ending._replace(crashes=1_000)),
    "told twice": EndingKind(8, lambda c, ending: ending._replace(sent=(0.0, c.uniform(0, 1)))),
    "told late again": EndingKind(
        4, lambda c, ending: ending._replace(sent=(0.0, c.uniform(1, 60)))
    ),
    "told by a stranger first": EndingKind(4, lambda _, ending: ending._replace(forged=True)),
}


def chance_of(seed: int, name: str, key: RunKey, number: int) -> random.Random:
    """Return the source of chance of one attempt."""
    return random.Random(f"{seed}:{name}:{key[0]}:{key[1]}:{number}")


def ending_of(chance: random.Random) -> Ending:
    """Draw how the workers of an attempt fare."""
    ending = Ending(seconds=0.001 + 0.05 * chance.random() ** 2)
    return drawn(chance, ENDINGS).make(chance, ending)
