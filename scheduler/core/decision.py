"""What may reach an execution, and what the core answers: values, both ways."""

from datetime import datetime

import msgspec

from contracts.failures import Failure
from contracts.history import By, Event
from contracts.ids import RunKey
from contracts.messages import Result


class Admitted(msgspec.Struct, frozen=True):
    """The execution may start."""


class Reported(msgspec.Struct, frozen=True):
    """A worker reported the end of an attempt; its token was checked."""

    result: Result


class AttemptLost(msgspec.Struct, frozen=True):
    """The outcome of an attempt is unknown or could not be asked for: the failure says why."""

    node_id: str
    iteration: tuple[int, ...]
    attempt: int
    failure: Failure


class CancelAsked(msgspec.Struct, frozen=True):
    """Somebody wants the execution to end."""

    by: By
    reason: str | None = None


class TimerDue(msgspec.Struct, frozen=True):
    """A timer of the execution came due by the database's clock."""

    key: str
    kind: str
    node_id: str | None = None
    iteration: tuple[int, ...] = ()


Input = Admitted | Reported | AttemptLost | CancelAsked | TimerDue


class Timer(msgspec.Struct, frozen=True):
    """A wake-up to be stored with the commit."""

    key: str
    kind: str
    due_at: datetime
    node_id: str | None = None
    iteration: tuple[int, ...] = ()


class Decision(msgspec.Struct, frozen=True):
    """What follows from one input: events to commit, and what to do once they are.

    `dispatched` are node runs whose task is to be published, `dispatching` the index of the event
    that made them ready; `stop_workers` says that results of running attempts count no more;
    `refused` is why nothing changed.
    """

    events: tuple[Event, ...] = ()
    dispatched: tuple[RunKey, ...] = ()
    timers: tuple[Timer, ...] = ()
    cleared: tuple[str, ...] = ()
    stop_workers: bool = False
    refused: str | None = None


NOTHING = Decision()


def refuse(reason: str, *cleared: str) -> Decision:
    """Return the decision that changes nothing, and why."""
    return Decision(refused=reason, cleared=cleared)
