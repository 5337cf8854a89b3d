"""History: what happened in an execution, append-only, and the truth.

An event is an envelope (execution, seq, instant, kind, node run) and the data of its kind. Kinds and
fields are only ever added. Values of users travel through as `msgspec.Raw`: bytes of JSON that the
engine never needs to look into.
"""

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET

from contracts.failures import Failure
from contracts.interactions import Answer, Rules
from contracts.model import OnError
from contracts.raw import NULL as NULL
from contracts.raw import MaybeRaw as MaybeRaw
from contracts.statuses import (
    ExecutionStatus,
    ItemError,
    Mode,
    SkipReason,
    TimerKind,
    WaitKind,
)


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What model and tool calls used up; cost in US dollars."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0
    model_calls: int = 0
    tool_calls: int = 0


class Timing(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 3339 instants of one attempt; the last two by the worker's clock."""

    dispatched_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None


class By(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who asked for something. `source`: API, NATS, LINK, CHANNEL or SYSTEM."""

    source: str
    user_id: str | None = None
    api_key_id: str | None = None


class TriggerNode(msgspec.Struct, frozen=True):
    """The trigger that started an execution."""

    node_id: str
    type: str


class Parent(msgspec.Struct, frozen=True, omit_defaults=True):
    """The node run that started a child execution; a detached one is not waited for."""

    execution_id: str
    node_id: str
    iteration: tuple[int, ...] = ()
    is_detached: bool = False


class Forked(msgspec.Struct, frozen=True):
    """The execution that another was forked from, and the node at which."""

    execution_id: str
    node_id: str


class Slot(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an execution must get before it starts: one of `limit` places under `key`.

    `on_limit`: QUEUE waits for one, DROP is canceled when none is free.
    """

    limit: int
    key: str = ""
    on_limit: str = "QUEUE"


class NodeRunRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node run; `ports` holds what a disabled node passed through."""

    node_id: str
    iteration: tuple[int, ...] = ()
    ports: dict[str, msgspec.Raw] | None = None


class ExecutionCreated(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Always seq 1. `user_id` is the namespace; `traceparent` (W3C) spans the whole execution.

    `depth` counts the parents above; `is_of_failure` says that a failed execution started this one.
    `cannot_start` is the failure that it ends with at once: nobody was there to be told before.
    """

    workflow_id: str
    version_id: str
    user_id: str
    mode: Mode
    input: msgspec.Raw = NULL
    trigger: TriggerNode | None = None
    parent: Parent | None = None
    retry_of: str | None = None
    forked_from: Forked | None = None
    single_node_id: str | None = None
    slot: Slot | None = None
    cannot_start: Failure | None = None
    depth: int = 0
    is_of_failure: bool = False
    priority: int = 0
    metadata: dict[str, Any] = {}
    traceparent: str | None = None


class ExecutionStarted(msgspec.Struct, frozen=True):
    """The execution was admitted."""


class NodeStarted(msgspec.Struct, frozen=True, omit_defaults=True):
    """An at-most-once attempt is about to call its handler: from here on its outcome may be unknown."""

    worker_id: str
    delivery: str = ""  # tells one delivery of the task from the next


class NodeHandedBack(msgspec.Struct, frozen=True):
    """A worker was given a node run in the middle of a segment and does not serve its type: it is dispatched by itself."""

    worker_id: str


class NodeSucceeded(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An attempt answered on these ports; `tries` counts the failures before.

    `goes_on` names the node that its worker works on since: the first attempt of it is under way.
    """

    ports: dict[str, msgspec.Raw]
    tries: int = 0
    timing: Timing | None = None
    worker_id: str | None = None
    usage: Usage | None = None
    logs: MaybeRaw = UNSET
    pinned: bool = False
    goes_on: str | None = None


class NodeFailed(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An attempt failed: tried again at `retry_at`, or final, and then `policy` says what followed.

    `tries` counts this failure too; `ports` holds what a continued failure yielded.
    """

    failure: Failure
    tries: int
    timing: Timing | None = None
    worker_id: str | None = None
    usage: Usage | None = None
    logs: MaybeRaw = UNSET
    retry_at: datetime | None = None
    policy: OnError | None = None
    ports: dict[str, msgspec.Raw] | None = None


class NodesSkipped(msgspec.Struct, frozen=True):
    """All node runs that one decision skipped for one reason."""

    node_runs: tuple[NodeRunRef, ...]
    reason: SkipReason


class Wait(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a node run is suspended on.

    At `due_at` the wait ends, for TIMER as wanted, else because it took too long; at `check_at` the
    handler looks at it in between, to remind people if it `is_reminder`. `state` comes back to the handler
    at the end. `question` is by what an interaction is answered, where that is new.
    """

    kind: WaitKind
    due_at: datetime | None = None
    check_at: datetime | None = None
    is_reminder: bool = False
    signal: str | None = None
    interaction_id: str | None = None
    question: Rules | None = None
    child_execution_id: str | None = None
    state: MaybeRaw = UNSET


class NodeWaiting(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An attempt ended in a wait: nothing of it stays in memory, and no worker is held."""

    wait: Wait
    tries: int = 0
    timing: Timing | None = None
    worker_id: str | None = None
    usage: Usage | None = None
    logs: MaybeRaw = UNSET


class LoopRules(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How a loop runs, its parameters rendered."""

    batch_size: int = 1
    max_parallel: int = 1
    on_item_error: ItemError = ItemError.STOP
    collect: bool = True


class LoopStarted(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A loop begins: over `items` (a list), `total` iterations of it; or on a condition, without both."""

    items: MaybeRaw = UNSET
    total: int | None = None
    rules: LoopRules = LoopRules()
    timing: Timing | None = None
    worker_id: str | None = None


class LoopContinued(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The condition of a loop holds: one more iteration."""

    timing: Timing | None = None
    worker_id: str | None = None


class IterationFinished(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What an iteration gave, where a mapping had to be evaluated; a failing one fails the iteration.

    The event's iteration path is that of the iteration, its node the loop.
    """

    value: MaybeRaw = UNSET
    failure: Failure | None = None


class CheckpointSaved(msgspec.Struct, frozen=True, omit_defaults=True):
    """A finished call inside a node run: later attempts find its value and do not repeat it."""

    key: str
    value: msgspec.Raw = NULL
    usage: Usage | None = None


class SignalReceived(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A signal, a resume, or an answer to an interaction.

    The event names the node run whose wait it ends; without one, it is kept for the first wait of its
    `name`. An `answer` after which the question `stays_open` ends nothing: more people have to say something.
    With the one that decides, `data` is the outcome.
    """

    signal_id: str
    name: str | None = None
    interaction_id: str | None = None
    data: msgspec.Raw = NULL
    port: str | None = None
    answer: Answer | None = None
    stays_open: bool = False
    by: By


class ChildFinished(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A child that a node run waited for is over."""

    child_execution_id: str
    status: ExecutionStatus
    output: MaybeRaw = UNSET
    failure: Failure | None = None


class TimerFired(msgspec.Struct, frozen=True):
    """A durable timer came due."""

    timer: TimerKind


class ExecutionPaused(msgspec.Struct, frozen=True, omit_defaults=True):
    """Nothing more is dispatched until it is resumed."""

    by: By
    reason: str | None = None


class ExecutionResumed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was held back is dispatched."""

    by: By
    reason: str | None = None


class CarriedRun(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What one node run of another execution gives to this one.

    With `ports` it does not run: it stands as it ended there, with the `failure` after which the execution
    went on, if it was one. `loop` holds the beginning of a loop
    whose finished iterations are carried, `checkpoints` what an attempt need not repeat, `input` what
    a forked node gets in place of its own.
    """

    node_id: str
    iteration: tuple[int, ...] = ()
    ports: dict[str, msgspec.Raw] | None = None
    failure: Failure | None = None
    policy: OnError | None = None
    loop: LoopStarted | None = None
    checkpoints: dict[str, msgspec.Raw] = {}
    input: MaybeRaw = UNSET


class OutputsCarried(msgspec.Struct, frozen=True):
    """What a retry, a fork or the execution of a single node takes over; before the start."""

    node_runs: tuple[CarriedRun, ...]


class ExecutionSucceeded(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every node run is over and none failed under STOP."""

    output: msgspec.Raw = NULL
    continued_errors: int = 0
    usage: Usage | None = None


class ExecutionFailed(msgspec.Struct, frozen=True, omit_defaults=True):
    """The execution ended with this failure."""

    failure: Failure
    continued_errors: int = 0
    usage: Usage | None = None


class ExecutionCanceled(msgspec.Struct, frozen=True, omit_defaults=True):
    """Somebody ended it."""

    by: By
    reason: str | None = None
    usage: Usage | None = None


EventData = (
    ExecutionCreated
    | OutputsCarried
    | ExecutionStarted
    | NodeStarted
    | NodeHandedBack
    | NodeSucceeded
    | NodeFailed
    | NodesSkipped
    | NodeWaiting
    | LoopStarted
    | LoopContinued
    | IterationFinished
    | CheckpointSaved
    | TimerFired
    | SignalReceived
    | ChildFinished
    | ExecutionPaused
    | ExecutionResumed
    | ExecutionSucceeded
    | ExecutionFailed
    | ExecutionCanceled
)

DATA_OF: Final[dict[str, type[EventData]]] = {
    "execution_created": ExecutionCreated,
    "outputs_carried": OutputsCarried,
    "execution_started": ExecutionStarted,
    "node_started": NodeStarted,
    "node_handed_back": NodeHandedBack,
    "node_succeeded": NodeSucceeded,
    "node_failed": NodeFailed,
    "nodes_skipped": NodesSkipped,
    "node_waiting": NodeWaiting,
    "loop_started": LoopStarted,
    "loop_continued": LoopContinued,
    "iteration_finished": IterationFinished,
    "checkpoint_saved": CheckpointSaved,
    "timer_fired": TimerFired,
    "signal_received": SignalReceived,
    "child_finished": ChildFinished,
    "execution_paused": ExecutionPaused,
    "execution_resumed": ExecutionResumed,
    "execution_succeeded": ExecutionSucceeded,
    "execution_failed": ExecutionFailed,
    "execution_canceled": ExecutionCanceled,
}
KIND_OF: Final[dict[type[EventData], str]] = {data: kind for kind, data in DATA_OF.items()}
TERMINAL_KINDS: Final = frozenset({"execution_succeeded", "execution_failed", "execution_canceled"})


class Event(msgspec.Struct, frozen=True):
    """One recorded fact. `seq` counts from 1 without a gap within its execution."""

    seq: int
    at: datetime
    data: EventData
    node_id: str | None = None
    iteration: tuple[int, ...] | None = None
    attempt: int | None = None

    @property
    def kind(self) -> str:
        """The name of what happened, in the past tense."""
        return KIND_OF[type(self.data)]


class EventMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event as it stands on the wire, in the API and on the EVENTS stream.

    `dispatched` names the node runs that this event made ready, so that live views need no message
    of their own for each.
    """

    execution_id: str
    seq: int
    at: datetime
    kind: str
    data: msgspec.Raw
    node_id: str | None = None
    iteration: tuple[int, ...] | None = None
    attempt: int | None = None
    dispatched: tuple[NodeRunRef, ...] = ()


_encoder: Final = msgspec.json.Encoder()
_decoders: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    kind: msgspec.json.Decoder(data) for kind, data in DATA_OF.items()
}


def encode_data(data: EventData) -> bytes:
    """Return the stored bytes of an event's data."""
    return _encoder.encode(data)


def decode_data(kind: str, data: bytes | str) -> EventData:
    """Read stored data. Raises KeyError for a kind of a newer release."""
    decoded: EventData = _decoders[kind].decode(data)
    return decoded
