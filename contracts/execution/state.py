"""The state of one execution: the fold of its history, kept in memory while it is under way.

The state is changed in place, because a copy per event would cost as much as the execution is large.
Whoever loses a commit throws the state away and folds it anew from history.
"""

from datetime import datetime

import msgspec
from msgspec import UNSET

from contracts.execution.plan import PlannedConnection
from contracts.failures import Failure
from contracts.history import (
    CarriedRun,
    ExecutionCreated,
    LoopRules,
    MaybeRaw,
    SignalReceived,
    Timing,
    Usage,
    Wait,
)
from contracts.ids import RunKey
from contracts.interactions import Answer, Rules
from contracts.messages import Head, Resumed
from contracts.model import OnError
from contracts.statuses import ExecutionStatus, NodeRunStatus, SkipReason


class NodeRun(msgspec.Struct):
    """One node of the execution, or of an iteration. `unresolved` and `live` count its incoming connections.

    `attempt` numbers the dispatches, `tries` the failures; `usage` is that of all attempts; `ready_at`
    is the instant that expressions call `now`. `taken` are the connections whose values it takes, where it did not wait for
    all. `has_task` says that its current attempt is outstanding, `started_as` which delivery of an
    at-most-once attempt called the handler. `resumed` is why a node run that waited goes on. `head` is the
    attempt whose task covers this one: a worker went on with it by itself.
    """

    unresolved: int
    status: NodeRunStatus = NodeRunStatus.PENDING
    live: int = 0
    attempt: int = 0
    tries: int = 0
    ports: dict[str, msgspec.Raw] | None = None
    failure: Failure | None = None
    skip_reason: SkipReason | None = None
    policy: OnError | None = None
    retry_at: datetime | None = None
    ready_at: datetime | None = None
    dispatched_at: datetime | None = None
    finished_at: datetime | None = None
    timing: Timing | None = None
    worker_id: str | None = None
    usage: Usage | None = None
    logs: MaybeRaw = UNSET
    pinned: bool = False
    carried: bool = False
    taken: tuple[PlannedConnection, ...] | None = None
    has_task: bool = False
    head: Head | None = None
    started_as: str | None = None
    wait: Wait | None = None
    waiting_since: datetime | None = None
    resumed: Resumed | None = None
    checkpoints: dict[str, msgspec.Raw] = {}
    input: MaybeRaw = UNSET


class Item(msgspec.Struct):
    """One iteration under way: `open_runs` are not terminal, `unresolved` connections lead back yet.

    `arrived` is what `loop_body` received.
    """

    open_runs: int
    unresolved: int
    arrived: list[PlannedConnection] = []


class IterationFailure(msgspec.Struct, frozen=True):
    """Which iteration failed, and how."""

    index: int
    failure: Failure


class LoopRun(msgspec.Struct):
    """A loop that iterates: over `items`, `total` iterations of it; or, without, on a condition.

    `results` are kept by index until the end; an index that is absent was dropped.
    """

    rules: LoopRules
    items: list[msgspec.Raw] | None
    total: int | None
    begun: int = 0
    active: dict[int, Item] = {}
    results: dict[int, msgspec.Raw] = {}
    failures: list[IterationFailure] = []
    previous: MaybeRaw = UNSET


class OpenQuestion(msgspec.Struct):
    """A question to people that is open: of which node run, by what `rules`, and what was answered so far.

    Rules are None if an earlier release put it, which kept no record of them.
    """

    key: RunKey
    rules: Rules | None = None
    answers: tuple[Answer, ...] = ()
    reminders: int = 0


def added(usage: Usage | None, more: Usage | None) -> Usage | None:
    """Return what was used up in all, or None if nothing is known of it."""
    if usage is None or more is None:
        return usage or more
    pairs = zip(msgspec.structs.astuple(usage), msgspec.structs.astuple(more), strict=True)
    return Usage(*(left + right for left, right in pairs))


class ExecutionState(msgspec.Struct, kw_only=True):
    """One execution. `seq` is the number of its last event, and the counter that commits compare.

    `updated_at` is the instant of the last event. `open_runs` counts node runs that are not terminal,
    `outstanding` those with a task under way. `held` are node runs whose dispatch a pause holds back,
    `waits` those that are suspended, the oldest first; `questions` are the interactions that are open,
    by id, also while a handler looks at one. `signals` are kept for waits to come, and `heard` are the
    ids of all that came. `continued_errors` counts failures that did not end the execution, and items
    that a loop goes on without. `carried` is what another execution gives to node runs that are not there yet.
    """

    id: str
    created: ExecutionCreated
    created_at: datetime
    updated_at: datetime
    runs: dict[RunKey, NodeRun]
    loops: dict[RunKey, LoopRun] = {}
    waits: dict[RunKey, None] = {}
    questions: dict[str, OpenQuestion] = {}
    held: dict[RunKey, None] = {}
    signals: list[tuple[SignalReceived, datetime]] = []
    heard: set[str] = set()
    carried: dict[RunKey, CarriedRun] = {}
    status: ExecutionStatus = ExecutionStatus.NEW
    paused: bool = False
    seq: int = 1
    open_runs: int = 0
    outstanding: int = 0
    continued_errors: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    output: msgspec.Raw | None = None
    failure: Failure | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can change any more."""
        return self.finished_at is not None
