"""What a seed wants done: workflows, executions, how each attempt ends, what people ask for.

Three tables are meant to grow: NODE_KINDS, ENDINGS and ASKS. Nothing here knows of faults or of time that passed, so a
faulty run and a calm one of the same seed have the same work to do.
"""

import random
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

from contracts.execution.plan import Plan, VersionFacts, compile_plan
from contracts.failures import Failure, FailureKind
from contracts.history import By, ExecutionCreated, TriggerNode
from contracts.ids import Iteration, derived_uuid7
from contracts.messages import CancelExecution
from contracts.model import Connection, Node, OnError, RetryPolicy, Settings
from contracts.statuses import Mode
from tests.support.engine import CATALOGUE, START, USER, document, node, raw, wire

T = TypeVar("T")

PORTS: Final = ("main", "main", "main", "a", "b", "error")
YIELDED: Final = ("main", "a", "b")
RETRIES: Final = (
    None,
    RetryPolicy(max_tries=2, wait_between_tries=1),
    RetryPolicy(wait_between_tries=0.2),
)
SIZES: Final = (1, 2, 3, 3, 4, 4, 5, 6, 9)


# --- nodes ---------------------------------------------------------------------------------------


class NodeKind(NamedTuple):
    """A kind of node that graphs are made of, how often compared to the others."""

    weight: float
    make: Callable[[random.Random, str], Node]


def _plain(chance: random.Random, node_id: str) -> Node:
    return node(node_id, retry_policy=chance.choice(RETRIES), on_error=_continues(chance))


def _disabled(chance: random.Random, node_id: str) -> Node:
    return node(node_id, disabled=True, on_error=_continues(chance))


def _inheriting(chance: random.Random, node_id: str) -> Node:
    return node(node_id, retry_policy=chance.choice(RETRIES))


def _manual(_: random.Random, node_id: str) -> Node:
    return node(node_id, "TRIGGER.MANUAL")


def _event(chance: random.Random, node_id: str) -> Node:
    return node(node_id, "TRIGGER.EVENT", disabled=chance.random() < 0.1)


def _continues(chance: random.Random) -> OnError:
    return chance.choice((OnError.CONTINUE_ERROR, OnError.CONTINUE_REGULAR))


NODE_KINDS: Final = {
    "plain": NodeKind(10, _plain),
    "disabled": NodeKind(1, _disabled),
    "stopping or as the workflow says": NodeKind(2, _inheriting),
}
TRIGGER_KINDS: Final = {
    "manual trigger": NodeKind(2, _manual),
    "event trigger": NodeKind(1, _event),
}


# --- how attempts end ----------------------------------------------------------------------------


class Ending(NamedTuple):
    """How an attempt ends. Its first `crashes` deliveries kill their workers; a run takes `seconds`.

    The result is sent after each of the pauses in `sent`; `forged` is one with a token that does not fit, sent before.
    """

    outcome: dict[str, Any]
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


def ending_of(seed: int, number: int, node_id: str, iteration: Iteration, attempt: int) -> Ending:
    """Return how an attempt ends: it follows from these alone, whoever works on it, how often and when."""
    chance = random.Random(f"{seed}:{number}:{node_id}:{iteration}:{attempt}")
    ending = Ending(_outcome(chance, node_id, attempt), seconds=0.001 + 0.05 * chance.random() ** 2)
    kind = _drawn(chance, ENDINGS)
    return kind.make(chance, ending)


def _outcome(chance: random.Random, node_id: str, attempt: int) -> dict[str, Any]:
    if chance.random() < 0.25:
        retryable = chance.random() < 0.7
        return {"failure": Failure(FailureKind.ERROR, "broken", "it broke", retryable=retryable)}
    ports = [port for port in YIELDED if chance.random() < (0.85 if port == "main" else 0.4)]
    return {"ports": {port: raw({"by": f"{node_id}.{port}.{attempt}"}) for port in ports}}


# --- what people ask for -------------------------------------------------------------------------


class Asked(NamedTuple):
    """A command to send, so many seconds after its execution was created."""

    after: float
    kind: str
    command: Any


class Ends(StrEnum):
    """What is ended by what people ask for."""

    NOTHING = "nothing"
    EXECUTION = "execution"
    WORKFLOW = "all executions of the workflow"


class AskKind(NamedTuple):
    """What people ask of an execution, with which odds; `ends` says what may end differently then."""

    odds: float
    ends: Ends
    make: Callable[[random.Random, str], Sequence[Asked]]


def _cancel(chance: random.Random, execution_id: str) -> Sequence[Asked]:
    command = CancelExecution(
        execution_id=execution_id,
        by=By("API", USER),
        reason="enough",
        reply_to=f"gateway.answer.{execution_id}",
    )
    return [Asked(chance.random() ** 3 * 40, "cancel", command)]


def _delete_workflow(chance: random.Random, _: str) -> Sequence[Asked]:
    return [Asked(chance.random() ** 2 * 40, "delete workflow", None)]


ASKS: Final = {
    "cancel": AskKind(0.15, Ends.EXECUTION, _cancel),
    "delete workflow": AskKind(0.03, Ends.WORKFLOW, _delete_workflow),
}


# --- the work of a seed --------------------------------------------------------------------------


class Job(NamedTuple):
    """One execution to be: created `after` seconds, of a plan, and what is asked of it."""

    number: int
    execution_id: str
    after: float
    plan: Plan
    created: ExecutionCreated
    asked: tuple[Asked, ...]


@lru_cache(maxsize=4)
def jobs_of(seed: int) -> tuple[Job, ...]:
    """Return the executions of a seed."""
    chance = random.Random(f"{seed}:shape")
    plans = [plan_of(chance, f"{seed}-{number}") for number in range(chance.choice((1, 1, 2)))]
    return tuple(
        _job(chance, seed, number, chance.choice(plans))
        for number in range(chance.choice((1, 1, 2, 3)))
    )


def may_end_early(job: Job, jobs: Sequence[Job]) -> bool:
    """Whether what people ask for may end an execution before it is done."""
    return any(
        ends is Ends.WORKFLOW or (ends is Ends.EXECUTION and each is job)
        for each in jobs
        if each.plan is job.plan
        for ends in (ASKS[asked.kind].ends for asked in each.asked)
    )


def _job(chance: random.Random, seed: int, number: int, plan: Plan) -> Job:
    execution_id = derived_uuid7(START, f"{seed}:{number}")
    asked: list[Asked] = []
    for kind in ASKS.values():
        if chance.random() < kind.odds:
            asked.extend(kind.make(chance, execution_id))
    fired = chance.choice([*plan.triggers, None]) if plan.triggers else None
    created = ExecutionCreated(
        workflow_id=plan.workflow_id,
        version_id=plan.version_id,
        user_id=USER,
        mode=Mode.MANUAL if chance.random() < 0.2 else Mode.TRIGGER,
        input=raw({"number": number}),
        trigger=TriggerNode(fired.id, fired.type)
        if fired is not None and not fired.disabled
        else None,
    )
    after = chance.random() ** 3 * 10
    return Job(number, execution_id, after, plan, created, tuple(asked))


def plan_of(chance: random.Random, name: str) -> Plan:
    """Return a random workflow, compiled."""
    size = chance.choice(SIZES)
    stops = chance.random() < 0.4
    triggers = chance.choice((0, 0, 0, 1, 1, 2))
    nodes = [
        _drawn(chance, TRIGGER_KINDS if index < triggers else NODE_KINDS).make(chance, f"n{index}")
        for index in range(size)
    ]
    wires = _wires(chance, nodes, first=triggers)
    pinned = {each.id: {"pinned": each.id} for each in nodes if chance.random() < 0.1}
    settings = Settings(
        on_error=OnError.STOP if stops else OnError.CONTINUE_REGULAR,
        timeout=chance.uniform(5, 90) if chance.random() < 0.08 else None,
    )
    facts = VersionFacts(version_id=f"version-{name}", workflow_id=f"workflow-{name}", version=1)
    return compile_plan(document(nodes, wires, settings, pin_data=pinned), facts, CATALOGUE)


def _wires(chance: random.Random, nodes: Sequence[Node], *, first: int) -> list[Connection]:
    """Return connections from earlier nodes to later ones: a line, a fan, or any graph without a circle."""
    density = chance.choice((0.2, 0.4, 0.7))
    wires = set()
    for right in range(max(first, 1), len(nodes)):
        lefts = [left for left in range(right) if chance.random() < density / (right - left)]
        if not lefts and chance.random() < 0.8:
            lefts = [chance.randrange(right)]
        wires |= {(left, chance.choice(PORTS), right) for left in lefts}
    return [wire(f"n{left}.{port} -> n{right}") for left, port, right in sorted(wires)]


class _Weighted(NamedTuple):
    names: list[str]
    weights: list[float]


def _drawn(chance: random.Random, table: dict[str, T]) -> T:
    """Return an entry of a table by weight."""
    kinds = list(table.values())
    weights: list[float] = [kind.weight for kind in kinds]  # type: ignore[attr-defined]
    return chance.choices(kinds, weights)[0]


def instant_of(seconds: float) -> datetime:
    """Return the instant so many seconds after a world began."""
    return datetime.fromtimestamp(START.timestamp() + seconds, START.tzinfo)
