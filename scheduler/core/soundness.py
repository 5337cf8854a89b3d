"""Whether an execution is as its history says, and whether something will move it: what `flotilla verify` asks of each.

Pure, like all of the core: rows and ages are handed in, and what is said is a suspicion. Whoever looked at a live system
looks again before it is a finding.
"""

from collections.abc import Iterator, Mapping, Set
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState, NodeRun
from contracts.ids import RunKey, iteration_text
from contracts.messages import encode
from contracts.statuses import (
    TERMINAL_EXECUTION,
    TERMINAL_NODE_RUN,
    NodeRunStatus,
    TimerKind,
)
from contracts.subjects import TaskAddress
from scheduler.core import tasks, waiting
from scheduler.core.advance import EXECUTION_TIMEOUT_KEY
from scheduler.core.step import join_timer_key, wait_timer_key

LATE_S: Final = 30.0
"""A timer that has been due for longer was not taken up: schedulers look every second."""

UNHEARD_S: Final = 60.0
"""The end of a child that its parent has not taken by then was lost: the sweeper passes every 15 s."""

UNTOLD_S: Final = 60.0
"""An execution that has not begun by then was overlooked."""

_OVER: Final = frozenset(map(str, TERMINAL_EXECUTION))
_decode_any: Final = msgspec.json.Decoder().decode


class Suspicion(NamedTuple):
    """What looks wrong, in words; `check` is one of `CHECKS`.

    A further look has to find the same: so no word in it may change while nothing happens, such as an age.
    """

    check: str
    message: str
    key: RunKey | None = None
    attempt: int | None = None


class Sought(NamedTuple):
    """The address of the task that stands for an attempt: its own, or that of the head of its segment; and its own."""

    address: TaskAddress
    own: TaskAddress


class ChildRow(NamedTuple):
    """A child as its row has it."""

    status: str
    parent_waits: str | None
    silent_s: float


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What tables say of an execution besides its history, read in one snapshot with it.

    `timers` are keys and for how many seconds each has been due, `questions` the ids of open interactions; `children` are
    those of its children that it waits for and that are there. `silent_s` is how long nothing was committed.
    """

    version: int
    status: str
    paused: bool
    started_at: datetime | None
    finished_at: datetime | None
    failure: bytes | None
    silent_s: float
    waits_for_slot: bool = False
    timers: Mapping[str, float] = {}
    questions: Set[str] = frozenset()
    children: Mapping[str, ChildRow] = {}


CHECKS: Final[Mapping[str, str]] = {
    "history": "history has no gap, ends at the row's version, and can be replayed",
    "status": "the row says what its history folds into",
    "counters": "what the state counts equals the node runs that it has",
    "task": "an outstanding attempt has its task in NATS, or a reason not to",
    "timer": "what waits for an instant has a timer, and none is long due",
    "interaction": "what waits for a person has an open question, and open questions are waited for",
    "child": "what waits for a child has one that is under way or about to tell its end",
    "stuck": "something will move an execution that is not over",
    "leftover": "an execution that is over has no task, no timer and no open question",
    "slot": "as many executions hold a slot as their concurrency key allows, and free ones are given out",
    "payload": "what history refers to is stored",
    "stream": "streams and consumers of NATS are as declared",
    "scheduler": "a scheduler is at work",
}
"""The checks, and the promise that each looks after."""


# --- the row -------------------------------------------------------------------------------------


def gap(seqs: list[int], after_seq: int) -> Suspicion | None:
    """Return what is wrong with the numbers of events that are to follow a seq."""
    expected = list(range(after_seq + 1, after_seq + len(seqs) + 1))
    if seqs == expected:
        return None
    missing = sorted(set(expected) - set(seqs))
    return Suspicion("history", f"history has a gap: event {missing[0]} is missing")


def row_problems(state: ExecutionState, stored: Stored) -> Iterator[Suspicion]:
    """Yield where the row is not what its history folds into, and where the state miscounts."""
    if stored.version != state.seq:
        yield Suspicion(
            "history", f"the row is at version {stored.version}, its history at {state.seq}"
        )
    pairs = {
        "status": (stored.status, str(state.status)),
        "paused": (stored.paused, state.paused),
        "started_at": (stored.started_at, state.started_at),
        "finished_at": (stored.finished_at, state.finished_at),
        "failure": (_value(stored.failure), _value(_failure_of(state))),
    }
    for name, (row, folded) in pairs.items():
        if row != folded:
            yield Suspicion("status", f"{name} is {row} in the row, and {folded} by its history")
    yield from _miscounted(state)


def _failure_of(state: ExecutionState) -> bytes | None:
    return None if state.failure is None else encode(state.failure)


def _value(data: bytes | None) -> object:
    return None if data is None else _decode_any(data)


def _miscounted(state: ExecutionState) -> Iterator[Suspicion]:
    open_runs = sum(run.status not in TERMINAL_NODE_RUN for run in state.runs.values())
    outstanding = sum(run.has_task for run in state.runs.values())
    for name, counted, there in (
        ("open node runs", state.open_runs, open_runs),
        ("outstanding attempts", state.outstanding, outstanding),
    ):
        if counted != there:
            yield Suspicion("counters", f"{counted} {name} are counted, {there} are there")


# --- an execution that is over --------------------------------------------------------------------


def is_over(status: str) -> bool:
    """Whether a status is terminal."""
    return status in _OVER


def leftovers(stored: Stored) -> Iterator[Suspicion]:
    """Yield what an execution that is over should have taken along."""
    if stored.timers:
        yield Suspicion(
            "leftover", f"it is over and has timers: {', '.join(sorted(stored.timers))}"
        )
    if stored.questions:
        yield Suspicion(
            "leftover", f"it is over and has open questions: {', '.join(sorted(stored.questions))}"
        )


# --- an execution that is not --------------------------------------------------------------------


def sought(plan: Plan, state: ExecutionState) -> dict[RunKey, Sought]:
    """Return where the task of each outstanding attempt is to be looked for."""
    return {
        key: Sought(
            tasks.address(plan, state, key),
            TaskAddress(
                plan.nodes[key[0]].fleet, state.created.user_id, state.id, *key, run.attempt
            ),
        )
        for key, run in state.runs.items()
        if run.has_task
    }


def children_waited_for(state: ExecutionState) -> dict[str, RunKey]:
    """Return the ids of the children that node runs wait for."""
    waits = ((key, state.runs[key].wait) for key in state.waits)
    return {
        wait.child_execution_id: key
        for key, wait in waits
        if wait is not None and wait.child_execution_id is not None
    }


def unmoved(plan: Plan, state: ExecutionState, stored: Stored) -> Iterator[Suspicion]:
    """Yield what will not happen though it is waited for; tasks are left to whoever can ask NATS."""
    yield from _timer_problems(plan, state, stored)
    yield from _question_problems(state, stored)
    yield from _child_problems(state, stored)
    if state.started_at is None:
        if stored.silent_s > UNTOLD_S and not stored.waits_for_slot and not state.paused:
            yield Suspicion(
                "stuck", f"it was created more than {UNTOLD_S:.0f} s ago and never began"
            )
    elif not _has_a_next_step(plan, state):
        yield Suspicion("stuck", "nothing is outstanding, and nothing is waited for")


def _has_a_next_step(plan: Plan, state: ExecutionState) -> bool:
    return bool(
        state.outstanding
        or state.waits
        or state.held
        or any(run.retry_at is not None for run in state.runs.values())
        or any(_joins_late(plan, key, run) for key, run in state.runs.items())
    )


def _joins_late(plan: Plan, key: RunKey, run: NodeRun) -> bool:
    """Whether a node run waits for more inputs, but not for ever."""
    join = plan.nodes[key[0]].join
    is_waiting = run.status is NodeRunStatus.PENDING and run.ready_at is None
    return bool(join and join.max_wait is not None and is_waiting and run.live and run.unresolved)


def timers_of(plan: Plan, state: ExecutionState) -> dict[str, RunKey | None]:
    """Return the keys of the timers that an execution needs, and for which node run."""
    needed: dict[str, RunKey | None] = {}
    if plan.timeout is not None and state.started_at is not None:
        needed[EXECUTION_TIMEOUT_KEY] = None
    for key, run in state.runs.items():
        if run.retry_at is not None and key not in state.held:
            needed[wait_timer_key(key, run.attempt, TimerKind.RETRY)] = key
        elif key in state.waits and run.wait is not None:
            timers = waiting.timers_of(key, run.attempt, run.wait)
            needed |= {timer.key: key for timer in timers}
        elif _joins_late(plan, key, run) and key not in state.held:
            needed[join_timer_key(key)] = key
    return needed


def _timer_problems(plan: Plan, state: ExecutionState, stored: Stored) -> Iterator[Suspicion]:
    for name, key in timers_of(plan, state).items():
        if name not in stored.timers:
            where = "the execution" if key is None else f"node {named(key)}"
            yield Suspicion("timer", f"{where} needs the timer {name}, which is not there", key)
    for name, overdue_s in stored.timers.items():
        if overdue_s > LATE_S:
            yield Suspicion("timer", f"the timer {name} has been due for more than {LATE_S:.0f} s")


def _question_problems(state: ExecutionState, stored: Stored) -> Iterator[Suspicion]:
    for question, is_open in state.questions.items():
        if question not in stored.questions:
            message = f"node {named(is_open.key)} waits for question {question}, which is not open"
            yield Suspicion("interaction", message, is_open.key)
    for question in sorted(stored.questions - state.questions.keys()):
        yield Suspicion("interaction", f"question {question} is open, and nobody waits for it")


def _child_problems(state: ExecutionState, stored: Stored) -> Iterator[Suspicion]:
    for child_id, key in children_waited_for(state).items():
        child = stored.children.get(child_id)
        if child is None:
            yield Suspicion(
                "child", f"node {named(key)} waits for child {child_id}, which is not there", key
            )
        elif child.parent_waits != "YES":
            message = f"node {named(key)} waits for child {child_id}, which knows nothing of it"
            yield Suspicion("child", message, key)
        elif is_over(child.status) and child.silent_s > UNHEARD_S:
            message = f"node {named(key)} waits for child {child_id}, which is {child.status}"
            yield Suspicion("child", message, key)


def named(key: RunKey) -> str:
    """Return a node run in words."""
    return f"{key[0]}[{iteration_text(key[1])}]" if key[1] else key[0]
