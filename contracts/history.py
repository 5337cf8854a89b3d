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
from contracts.model import OnError
from contracts.statuses import Mode, SkipReason

NULL: Final = msgspec.Raw(b"null")

MaybeRaw = msgspec.Raw | msgspec.UnsetType
"""A value that may be absent: msgspec reads no `Raw` out of a union with None."""


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


class Parent(msgspec.Struct, frozen=True):
    """The node run that started a child execution."""

    execution_id: str
    node_id: str
    iteration: tuple[int, ...] = ()


class NodeRunRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node run; `ports` holds what a disabled node passed through."""

    node_id: str
    iteration: tuple[int, ...] = ()
    ports: dict[str, msgspec.Raw] | None = None


class ExecutionCreated(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Always seq 1. `user_id` is the namespace; `traceparent` (W3C) spans the whole execution."""

    workflow_id: str
    version_id: str
    user_id: str
    mode: Mode
    input: msgspec.Raw = NULL
    trigger: TriggerNode | None = None
    parent: Parent | None = None
    retry_of: str | None = None
    single_node_id: str | None = None
    priority: int = 0
    metadata: dict[str, Any] = {}
    traceparent: str | None = None


class ExecutionStarted(msgspec.Struct, frozen=True):
    """The execution was admitted."""


class NodeSucceeded(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An attempt answered on these ports; `tries` counts the failures before."""

    ports: dict[str, msgspec.Raw]
    tries: int = 0
    timing: Timing | None = None
    worker_id: str | None = None
    usage: Usage | None = None
    logs: MaybeRaw = UNSET
    pinned: bool = False


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


class TimerFired(msgspec.Struct, frozen=True):
    """A durable timer came due. `timer`: RETRY or EXECUTION_TIMEOUT."""

    timer: str


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
    | ExecutionStarted
    | NodeSucceeded
    | NodeFailed
    | NodesSkipped
    | TimerFired
    | ExecutionSucceeded
    | ExecutionFailed
    | ExecutionCanceled
)

DATA_OF: Final[dict[str, type[EventData]]] = {
    "execution_created": ExecutionCreated,
    "execution_started": ExecutionStarted,
    "node_succeeded": NodeSucceeded,
    "node_failed": NodeFailed,
    "nodes_skipped": NodesSkipped,
    "timer_fired": TimerFired,
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
