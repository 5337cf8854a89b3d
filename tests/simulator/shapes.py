"""What a seed wants done: workflows, executions, and what people ask for.

ASKS is meant to grow, as NODE_KINDS in `graphs.py` and OUTCOMES and ENDINGS in `endings.py` are. Nothing here knows of faults or
of time that passed, so a faulty run and a calm one of the same seed have the same work to do.
"""

import random
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from contracts.execution.plan import Plan
from contracts.history import By, ExecutionCreated, Slot, TriggerNode
from contracts.ids import derived_uuid7
from contracts.messages import CancelExecution, PauseExecution, SendSignal, UnpauseExecution
from contracts.statuses import ItemError, Mode
from tests.simulator.endings import SHARED_SIGNALS
from tests.simulator.graphs import FEATURES, LOOP, Wanted, plan_of
from tests.support.engine import START, USER, raw

SOMEBODY: Final = By("API", USER)
PLAIN: Final = 0.45
"""How many seeds have no feature at all: what is simple is where most of the engine's life is."""
SHARE: Final = 0.28
"""How many of the others have a feature."""
_START_S: Final = START.timestamp()


# --- what people ask for -------------------------------------------------------------------------


class Ends(StrEnum):
    """What is ended by what people ask for."""

    NOTHING = "nothing"
    EXECUTION = "execution"
    WORKFLOW = "all executions of the workflow"


class Asked(NamedTuple):
    """A command to send, so many seconds after its execution was created; without one, something that World does.

    `kind` is its row in ASKS.
    """

    after: float
    kind: str
    command: Any

    @property
    def ends(self) -> Ends:
        """What it ends."""
        return ASKS[self.kind].ends


class AskKind(NamedTuple):
    """What people ask of an execution, with which odds; `ends` says what may end differently then."""

    odds: float
    ends: Ends
    make: Callable[[random.Random, str], Sequence[Asked]]
    feature: str = ""


def _cancel(chance: random.Random, execution_id: str, kind: str = "cancel") -> Sequence[Asked]:
    command = CancelExecution(
        execution_id=execution_id, by=SOMEBODY, reason="enough", reply_to=_answer(execution_id)
    )
    return [Asked(chance.random() ** 3 * 40, kind, command)]


def _delete_workflow(chance: random.Random, _: str) -> Sequence[Asked]:
    return [Asked(chance.random() ** 2 * 40, "delete workflow", None)]


def _pause(chance: random.Random, execution_id: str) -> Sequence[Asked]:
    """Pause and unpause, once or twice. Whatever is left paused is unpaused by `people.py`."""
    about: dict[str, Any] = {
        "execution_id": execution_id,
        "by": SOMEBODY,
        "reply_to": _answer(execution_id),
    }
    asked = []
    for _ in range(chance.choice((1, 1, 2))):
        at = chance.random() ** 2 * 20
        asked.append(Asked(at, "pause", PauseExecution(**about)))
        asked.append(Asked(at + chance.uniform(0.1, 20), "pause", UnpauseExecution(**about)))
    return asked


def _shared_signals(chance: random.Random, execution_id: str) -> Sequence[Asked]:
    """Send signals that several may wait for, or nobody."""
    return [
        Asked(
            chance.random() ** 2 * 20,
            "signal",
            SendSignal(
                execution_id=execution_id,
                signal_id=f"shared {number}",
                name=chance.choice(SHARED_SIGNALS),
                data=raw(number),
                by=SOMEBODY,
                reply_to=_answer(execution_id),
            ),
        )
        for number in range(chance.randint(1, 4))
    ]


def _fork(chance: random.Random, _: str) -> Sequence[Asked]:
    return [Asked(chance.uniform(0, 5), "fork", None)]


def _retry(chance: random.Random, _: str) -> Sequence[Asked]:
    return [Asked(chance.uniform(0, 5), "retry", None)]


def _answer(execution_id: str) -> str:
    return f"gateway.answer.{execution_id}"


ASKS: Final = {
    "cancel": AskKind(0.15, Ends.EXECUTION, _cancel),
    "cancel who calls": AskKind(
        0.3, Ends.EXECUTION, partial(_cancel, kind="cancel who calls"), "children"
    ),
    "delete workflow": AskKind(0.03, Ends.WORKFLOW, _delete_workflow),
    "pause": AskKind(0.7, Ends.NOTHING, _pause, "pauses"),
    "signal": AskKind(0.5, Ends.NOTHING, _shared_signals, "waits"),
    "fork": AskKind(0.6, Ends.NOTHING, _fork, "successors"),
    "retry": AskKind(0.9, Ends.NOTHING, _retry, "successors"),
}
AFTER_THE_END: Final = frozenset({"fork", "retry"})
"""What is asked of an execution that is over: the seconds count from its end. It is part of the work, also where nothing goes wrong."""


# --- the work of a seed --------------------------------------------------------------------------


class Job(NamedTuple):
    """One execution to be: created `after` seconds, of a plan, and what is asked of it."""

    number: int
    execution_id: str
    after: float
    plan: Plan
    created: ExecutionCreated
    asked: tuple[Asked, ...]

    @property
    def name(self) -> str:
        """What it is called in every run of the seed; what it starts is named after it."""
        return str(self.number)


class Exactness(IntEnum):
    """How far the work of a seed must end alike, whatever the order in which things happen."""

    NOT_AT_ALL = 0
    SHAPES = 1
    """Node runs outside of loops: statuses, tries and ports."""
    VALUES = 2
    """Everything."""


class Work(NamedTuple):
    """What a seed wants done. `width` is how many tasks of a node type may be queued at once, if that is few.

    In a `racy` seed what comes first decides.
    """

    seed: int
    jobs: tuple[Job, ...]
    plans: dict[str, Plan]
    racy: bool
    width: int | None
    features: frozenset[str]

    @property
    def exactness(self) -> Exactness:
        """How far two runs must end alike."""
        calls = bool(self.features & {"children", "failure workflow"})
        if self.racy or (calls and self._asks("delete workflow")):
            return Exactness.NOT_AT_ALL
        return min((exactness_of(plan) for plan in self.plans.values()), default=Exactness.VALUES)

    def _asks(self, kind: str) -> bool:
        return any(asked.kind == kind for job in self.jobs for asked in job.asked)


@lru_cache(maxsize=4)
def work_of(seed: int) -> Work:
    """Return the work of a seed."""
    chance = random.Random(f"{seed}:shape")
    features = _features(chance)
    plans = _plans(chance, seed, features)
    started = plans[-1:] if len(plans) > 1 and features else plans
    count = chance.choice((3, 4, 5)) if "slots" in features else chance.choice((1, 1, 2, 3))
    if features - {"slots"}:
        count = min(count, 3)
    jobs = tuple(
        _job(chance, seed, number, chance.choice(started), features) for number in range(count)
    )
    racy = bool(features & {"waits", "questions"}) and chance.random() < 0.3
    width = chance.choice((1, 2, 3)) if "narrow window" in features else None
    return Work(seed, jobs, {plan.version_id: plan for plan in plans}, racy, width, features)


def _features(chance: random.Random) -> frozenset[str]:
    if chance.random() < PLAIN:
        return frozenset()
    return frozenset(each for each in FEATURES if chance.random() < SHARE)


def _plans(chance: random.Random, seed: int, features: frozenset[str]) -> list[Plan]:
    """Return workflows; where there are children, or failure workflows, the later ones start the earlier ones."""
    if not features & {"children", "failure workflow"}:
        count = chance.choice((1, 1, 2)) if not features else 1
        return [plan_of(chance, Wanted(f"{seed}-{n}", features)) for n in range(count)]
    own = features - {"failure workflow", "slots"} if chance.random() < 0.7 else features
    plans = [
        plan_of(chance, Wanted(f"{seed}-0", own - {"children"}, size=chance.choice((1, 1, 2))))
    ]
    if chance.random() < 0.3:
        plans.append(plan_of(chance, Wanted(f"{seed}-1", own, (f"{seed}-0",), size=2)))
    callees = tuple(plan.document.name for plan in plans)
    return [*plans, plan_of(chance, Wanted(f"{seed}-2", features, callees))]


def exactness_of(plan: Plan) -> Exactness:
    """Return how far two executions of a plan must end alike."""
    settings, exactness = plan.document.settings, Exactness.VALUES
    if settings.concurrency is not None and settings.concurrency.on_limit == "DROP":
        return Exactness.NOT_AT_ALL
    for node in plan.nodes.values():
        if node.join is not None and node.join.max_wait is not None:
            return Exactness.NOT_AT_ALL
        rules = node.task_node.parameters
        is_first_of_many = node.type == LOOP and rules.get("max_parallel", 1) > 1
        if (is_first_of_many and rules["on_item_error"] == ItemError.STOP) or node.join is not None:
            exactness = Exactness.SHAPES
    return exactness


def _job(
    chance: random.Random, seed: int, number: int, plan: Plan, features: frozenset[str]
) -> Job:
    execution_id = derived_uuid7(START, f"{seed}:{number}")
    asked: list[Asked] = []
    for kind in ASKS.values():
        if (not kind.feature or kind.feature in features) and chance.random() < kind.odds:
            asked.extend(kind.make(chance, execution_id))
    fired = chance.choice([*plan.triggers, None]) if plan.triggers else None
    value = {"number": number, "shop": chance.choice("ab")}
    created = ExecutionCreated(
        workflow_id=plan.workflow_id,
        version_id=plan.version_id,
        user_id=USER,
        mode=Mode.MANUAL if chance.random() < 0.2 else Mode.TRIGGER,
        input=raw(value),
        trigger=TriggerNode(fired.id, fired.type)
        if fired is not None and not fired.disabled
        else None,
        slot=slot_of(plan, value),
    )
    after = chance.random() ** 3 * 10
    return Job(number, execution_id, after, plan, created, tuple(asked))


def slot_of(plan: Plan, value: dict[str, Any]) -> Slot | None:
    """Return the slot that an execution needs."""
    limit = plan.document.settings.concurrency
    if limit is None:
        return None
    return Slot(limit.limit, value["shop"] if limit.key else "", limit.on_limit)


def successor(job: Job, kind: str) -> str:
    """Return the id of an execution that is made of one that is over."""
    return derived_uuid7(START, f"{job.execution_id}+{kind}")


def instant_of(seconds: float) -> datetime:
    """Return the instant so many seconds after a world began."""
    return datetime.fromtimestamp(_START_S + seconds, START.tzinfo)
