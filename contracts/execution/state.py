"""The state of one execution: the fold of its history, kept in memory while it is under way.

The state is changed in place, because a copy per event would cost as much as the execution is large.
Whoever loses a commit throws the state away and folds it anew from history.
"""

from datetime import datetime

import msgspec
from msgspec import UNSET

from contracts.failures import Failure
from contracts.history import ExecutionCreated, MaybeRaw, Timing, Usage
from contracts.ids import RunKey
from contracts.model import OnError
from contracts.statuses import ExecutionStatus, NodeRunStatus, SkipReason


class NodeRun(msgspec.Struct):
    """One node of the execution. `unresolved` and `live` count its incoming connections.

    `attempt` numbers the dispatches, `tries` the failures; `ready_at` is the instant that
    expressions call `now`.
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


class ExecutionState(msgspec.Struct, kw_only=True):
    """One execution. `seq` is the number of its last event, and the counter that commits compare.

    `updated_at` is the instant of the last event.
    `open_runs` counts node runs that are not terminal, `outstanding` those with a task under way.
    """

    id: str
    created: ExecutionCreated
    created_at: datetime
    updated_at: datetime
    runs: dict[RunKey, NodeRun]
    status: ExecutionStatus = ExecutionStatus.NEW
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
