"""The normalised workflow document: what is stored, returned, and compiled into a plan.

Every field is present; other spellings are read by `contracts.document` only.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

FORMAT: Final = 1


class OnError(StrEnum):
    """What follows a node's final failure."""

    STOP = "STOP_WORKFLOW_ON_ERROR"
    CONTINUE_REGULAR = "CONTINUE_REGULAR_OUTPUT"
    CONTINUE_ERROR = "CONTINUE_ERROR_OUTPUT"


class ConnectionKind(StrEnum):
    """MAIN carries values and makes the order; the others lend one node to another."""

    MAIN = "MAIN"
    AI_TOOL = "AI_TOOL"
    AI_MEMORY = "AI_MEMORY"
    AI_LANGUAGE_MODEL = "AI_LANGUAGE_MODEL"


class Delivery(StrEnum):
    """Whether a task whose worker was lost may run again."""

    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


class RetryPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a failed attempt is followed by another; durations in seconds.

    The pause after try n is `min(wait_between_tries * multiplier ** (n - 1), max_wait)`.
    """

    max_tries: int = 3
    wait_between_tries: float = 5
    multiplier: float = 2
    max_wait: float = 300
    jitter: bool = True
    retry_on: tuple[str, ...] | None = None


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an editor draws a node."""

    x: float = 0
    y: float = 0


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vertex of a workflow: a node type with its parameters."""

    id: str
    name: str
    type: str
    type_version: int = 1
    parameters: dict[str, Any] = {}
    credentials: dict[str, str] = {}
    disabled: bool = False
    on_error: OnError | None = None
    retry_policy: RetryPolicy | None = RetryPolicy()
    timeout: float | None = None
    delivery: Delivery | None = None
    position: Position = Position()
    notes: str = ""
    metadata: dict[str, Any] = {}


class Connection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A directed link from an output port to an input port."""

    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    from_port: str = "main"
    to_port: str = "main"
    kind: ConnectionKind = ConnectionKind.MAIN
    mapping: dict[str, Any] | None = None

    @property
    def identity(self) -> tuple[str, str, str, str, ConnectionKind]:
        """What two connections must not share: everything but the mapping."""
        return (self.source, self.from_port, self.target, self.to_port, self.kind)


class Concurrency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many executions may be under way at once, per value of `key`."""

    limit: int
    key: str | None = None
    on_limit: str = "QUEUE"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for a whole workflow; `timeout` in seconds."""

    timezone: str = "UTC"
    timeout: float | None = None
    on_error: OnError = OnError.STOP
    priority: int = 0
    concurrency: Concurrency | None = None
    failure_workflow: str | None = None
    budget: dict[str, Any] = {}


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A workflow in its normalised form."""

    format: int = FORMAT
    name: str
    description: str = ""
    nodes: tuple[Node, ...]
    connections: tuple[Connection, ...] = ()
    settings: Settings = Settings()
    static_data: dict[str, Any] = {}
    pin_data: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}

    def node(self, node_id: str) -> Node | None:
        """Return the node of that id, or None."""
        return next((node for node in self.nodes if node.id == node_id), None)


class Fragment(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What could be read of a document that cannot be saved: no id occurs twice, but parts may be missing.

    The places are the positions at which the nodes and connections that are left were sent.
    """

    node_places: tuple[int, ...]
    connection_places: tuple[int, ...]


_decoder: Final = msgspec.json.Decoder(Document)
_encoder: Final = msgspec.json.Encoder()


def decode_document(data: bytes | str) -> Document:
    """Read a stored document. Raises msgspec.ValidationError, which would be a bug or a rewritten row."""
    return _decoder.decode(data)


def encode_document(document: Document) -> bytes:
    """Return the stored bytes of a document; equal documents give equal bytes."""
    return _encoder.encode(document)
