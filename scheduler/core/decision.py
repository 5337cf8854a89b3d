"""What may reach an execution, and what the core answers: values, both ways."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET

from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState
from contracts.failures import Failure
from contracts.history import NULL, By, Event, ExecutionCreated, MaybeRaw, Slot, Usage
from contracts.ids import Iteration, RunKey
from contracts.interactions import Answer, Rules
from contracts.messages import Head, InteractionOrder, Result
from contracts.statuses import ExecutionStatus, TimerKind


class AssemblyFailed(ValueError):
    """An input cannot be assembled: a mapping failed."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


Assemble = Callable[[Plan, ExecutionState, RunKey], Any]
"""Assembles the input of a node run, or what came back from an iteration. Raises AssemblyFailed."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow version that an execution may be started of, and the slot that it needs, or why it cannot start."""

    workflow_id: str
    version_id: str
    priority: int = 0
    slot: Slot | None = None
    cannot_start: Failure | None = None


class Admitted(msgspec.Struct, frozen=True):
    """The execution may start. One that needs a slot starts only with `has_slot`."""

    has_slot: bool = False


class Reported(msgspec.Struct, frozen=True):
    """A worker reported the end of an attempt; its token was checked.

    `child` is what was found for the workflow that a wait for a child names.
    """

    result: Result
    child: Target | Failure | None = None


class HandlerStarts(msgspec.Struct, frozen=True):
    """A worker wants to call the handler of an at-most-once attempt, for one delivery of its task."""

    node_id: str
    iteration: Iteration
    attempt: int
    worker_id: str
    delivery: str


class CallFinished(msgspec.Struct, frozen=True):
    """A handler finished a call that later attempts must not repeat."""

    node_id: str
    iteration: Iteration
    attempt: int
    key: str
    value: msgspec.Raw
    usage: Usage | None = None
    head: Head | None = None


class TaskReturned(msgspec.Struct, frozen=True):
    """A worker was given the task of an attempt that may have gone on to other nodes, and asks how far it came."""

    node_id: str
    iteration: Iteration
    attempt: int
    worker_id: str
    serves: tuple[str, ...]


class AttemptLost(msgspec.Struct, frozen=True):
    """The outcome of an attempt is unknown or could not be asked for: the failure says why."""

    node_id: str
    iteration: Iteration
    attempt: int
    failure: Failure


class CancelAsked(msgspec.Struct, frozen=True):
    """Somebody wants the execution to end."""

    by: By
    reason: str | None = None


class PauseAsked(msgspec.Struct, frozen=True):
    """Somebody wants nothing more to be dispatched."""

    by: By
    reason: str | None = None


class UnpauseAsked(msgspec.Struct, frozen=True):
    """Somebody wants a paused execution to go on."""

    by: By
    reason: str | None = None


class SignalSent(msgspec.Struct, frozen=True, kw_only=True):
    """A named signal: the first wait of its name takes it, now or later."""

    signal_id: str
    name: str
    data: msgspec.Raw = NULL
    by: By


class EndWaitAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody ends the one wait that fits what is given, or answers an interaction."""

    signal_id: str
    interaction_id: str | None = None
    node_id: str | None = None
    iteration: Iteration | None = None
    signal: str | None = None
    data: msgspec.Raw = NULL
    port: str | None = None
    by: By


class AnswerGiven(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody answers an interaction; `rules` hold where history has none."""

    signal_id: str
    interaction_id: str
    answer: Answer
    rules: Rules | None = None
    by: By


class ChildEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A child that a node run waits for is over."""

    node_id: str
    iteration: Iteration
    child_execution_id: str
    status: ExecutionStatus
    output: MaybeRaw = UNSET
    failure: Failure | None = None


class TimerDue(msgspec.Struct, frozen=True):
    """A timer of the execution came due by the database's clock."""

    key: str
    kind: str
    node_id: str | None = None
    iteration: Iteration = ()


Input = (
    Admitted
    | Reported
    | HandlerStarts
    | CallFinished
    | TaskReturned
    | AttemptLost
    | CancelAsked
    | PauseAsked
    | UnpauseAsked
    | SignalSent
    | EndWaitAsked
    | AnswerGiven
    | ChildEnded
    | TimerDue
)


class Timer(msgspec.Struct, frozen=True):
    """A wake-up to be stored with the commit."""

    key: str
    kind: TimerKind
    due_at: datetime
    node_id: str | None = None
    iteration: Iteration = ()


class NewChild(msgspec.Struct, frozen=True):
    """An execution that the commit starts."""

    id: str
    created: ExecutionCreated
    at: datetime


class NewInteraction(msgspec.Struct, frozen=True):
    """A question that the commit opens."""

    id: str
    node_id: str
    iteration: Iteration
    order: InteractionOrder
    due_at: datetime | None


class ClosedInteraction(msgspec.Struct, frozen=True, kw_only=True):
    """A question that the commit closes: ANSWERED, TIMED_OUT or CANCELED; `answers` are all, where they changed."""

    id: str
    status: str
    answers: tuple[Answer, ...] | None = None
    data: MaybeRaw = UNSET
    port: str | None = None
    by: By | None = None


class ChangedInteraction(msgspec.Struct, frozen=True, kw_only=True):
    """What the commit changes in a question that stays open; None: it stays as it is."""

    id: str
    answers: tuple[Answer, ...] | None = None
    approvers: tuple[str, ...] | None = None
    reminders: int | None = None


class Decision(msgspec.Struct, frozen=True):
    """What follows from one input: events to commit, and what to do once they are.

    `dispatched` are node runs whose task is to be published, `gone_on` those that a worker has begun without one; `returned`
    is the node run that is outstanding under a task that was asked about; `stop_workers` says that results of
    running attempts count no more; `orphans` are children that nobody waits for any more and that are
    to be canceled. `refused` is why nothing changed, or why a handler must not be called; `detail` what
    more there is to say.
    """

    events: tuple[Event, ...] = ()
    dispatched: tuple[RunKey, ...] = ()
    gone_on: tuple[RunKey, ...] = ()
    returned: RunKey | None = None
    timers: tuple[Timer, ...] = ()
    cleared: tuple[str, ...] = ()
    children: tuple[NewChild, ...] = ()
    orphans: tuple[str, ...] = ()
    opened: tuple[NewInteraction, ...] = ()
    closed: tuple[ClosedInteraction, ...] = ()
    changed: tuple[ChangedInteraction, ...] = ()
    stop_workers: bool = False
    refused: str | None = None
    detail: str | None = None


NOTHING = Decision()

EARLY = "early_result"
"""The refusal of a result that came before the one in its segment that its worker stored first: it comes again."""

AS_WISHED = frozenset({"repeated", "already_paused"})
"""Refusals of what is so already: whoever asked has what he wants."""


def refuse(reason: str, *cleared: str, detail: str | None = None) -> Decision:
    """Return the decision that changes nothing, and why."""
    return Decision(refused=reason, cleared=cleared, detail=detail)
