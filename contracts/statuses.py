"""Statuses of executions and node runs, and the moves that are allowed, as tables.

The words are the same in code, tables, API and messages. A terminal status never changes.
"""

from enum import StrEnum
from typing import Final


class ExecutionStatus(StrEnum):
    """Where an execution stands."""

    NEW = "NEW"  # accepted, not admitted yet
    RUNNING = "RUNNING"  # a task is outstanding, or ready and held back by a pause or limit
    WAITING = "WAITING"  # only timers, signals, interactions or children are pending
    SUCCESS = "SUCCESS"
    ERROR = "ERROR"
    CANCELED = "CANCELED"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can change any more."""
        return self in TERMINAL_EXECUTION


class NodeRunStatus(StrEnum):
    """Where one node of one execution (and iteration) stands."""

    PENDING = "PENDING"  # not ready, held back, or in a retry pause
    RUNNING = "RUNNING"  # an attempt is dispatched
    WAITING = "WAITING"  # suspended on a wait
    SUCCESS = "SUCCESS"
    ERROR = "ERROR"
    SKIPPED = "SKIPPED"
    CANCELED = "CANCELED"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can change any more."""
        return self in TERMINAL_NODE_RUN


class SkipReason(StrEnum):
    """Why a node run was skipped."""

    DEAD = "DEAD"  # every incoming connection is dead
    DISABLED = "DISABLED"  # the node is disabled; its input went out on the pass-through port
    OTHER_TRIGGER = "OTHER_TRIGGER"  # a trigger that did not start this execution


class WaitKind(StrEnum):
    """What a suspended node run waits for."""

    TIMER = "TIMER"  # an instant
    SIGNAL = "SIGNAL"
    INTERACTION = "INTERACTION"  # the answer of a person
    CHILD = "CHILD"  # the end of a child execution


class TimerKind(StrEnum):
    """What a durable timer is for."""

    WAIT = "WAIT"  # the instant that a node run waits for
    CHECK = "CHECK"  # a look in between: the handler decides anew
    DUE = "DUE"  # the end of a wait for something else
    REMINDER = "REMINDER"  # a look in between at which people are reminded of a question
    RETRY = "RETRY"
    EXECUTION_TIMEOUT = "EXECUTION_TIMEOUT"


class ItemError(StrEnum):
    """What a failed iteration does to its loop."""

    STOP = "STOP"  # the loop fails with it
    NULL = "NULL"  # null stands in the results
    DROP = "DROP"  # nothing stands in the results


class Mode(StrEnum):
    """Why an execution exists."""

    MANUAL = "MANUAL"
    WEBHOOK = "WEBHOOK"
    TRIGGER = "TRIGGER"
    RETRY = "RETRY"


TERMINAL_EXECUTION: Final = frozenset(
    {ExecutionStatus.SUCCESS, ExecutionStatus.ERROR, ExecutionStatus.CANCELED}
)
TERMINAL_NODE_RUN: Final = frozenset(
    {
        NodeRunStatus.SUCCESS,
        NodeRunStatus.ERROR,
        NodeRunStatus.SKIPPED,
        NodeRunStatus.CANCELED,
    }
)

_OVER: Final = (ExecutionStatus.SUCCESS, ExecutionStatus.ERROR, ExecutionStatus.CANCELED)

EXECUTION_MOVES: Final[dict[ExecutionStatus, frozenset[ExecutionStatus]]] = {
    ExecutionStatus.NEW: frozenset((ExecutionStatus.RUNNING, ExecutionStatus.WAITING, *_OVER)),
    ExecutionStatus.RUNNING: frozenset((ExecutionStatus.WAITING, *_OVER)),
    ExecutionStatus.WAITING: frozenset((ExecutionStatus.RUNNING, *_OVER)),
    ExecutionStatus.SUCCESS: frozenset(),
    ExecutionStatus.ERROR: frozenset(),
    ExecutionStatus.CANCELED: frozenset(),
}

NODE_RUN_MOVES: Final[dict[NodeRunStatus, frozenset[NodeRunStatus]]] = {
    NodeRunStatus.PENDING: frozenset(
        (
            NodeRunStatus.RUNNING,
            NodeRunStatus.SUCCESS,  # a pin, or a trigger that started the execution
            NodeRunStatus.ERROR,  # its input could not be assembled
            NodeRunStatus.SKIPPED,
            NodeRunStatus.CANCELED,
        )
    ),
    NodeRunStatus.RUNNING: frozenset(
        (
            NodeRunStatus.PENDING,  # a retry pause
            NodeRunStatus.WAITING,
            NodeRunStatus.SUCCESS,
            NodeRunStatus.ERROR,
            NodeRunStatus.CANCELED,
        )
    ),
    NodeRunStatus.WAITING: frozenset(
        (
            NodeRunStatus.PENDING,  # a retry pause, after a child that failed
            NodeRunStatus.RUNNING,
            NodeRunStatus.SUCCESS,
            NodeRunStatus.ERROR,
            NodeRunStatus.CANCELED,
        )
    ),
    NodeRunStatus.SUCCESS: frozenset(),
    NodeRunStatus.ERROR: frozenset(),
    NodeRunStatus.SKIPPED: frozenset(),
    NodeRunStatus.CANCELED: frozenset(),
}

STATUS_ALIASES: Final[dict[str, str]] = {
    "CANCELLED": "CANCELED",
    "COMPLETED": "SUCCESS",
    "FAILED": "ERROR",
}


def read_execution_status(text: str) -> ExecutionStatus | None:
    """Return the status that `text` spells, aliases of older APIs included, or None."""
    canonical = text.strip().upper()
    canonical = STATUS_ALIASES.get(canonical, canonical)
    return ExecutionStatus(canonical) if canonical in ExecutionStatus.__members__ else None
