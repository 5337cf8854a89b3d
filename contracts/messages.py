"""Messages between gateway, scheduler and workers: JSON, readable in the `nats` CLI, only ever grown.

A task carries all that a worker needs. Values of users are `msgspec.Raw`: the scheduler pastes bytes
and never parses them. `node` and `execution` of a task are raw too: they are encoded once per plan or
execution, and a worker caches what it made of the same bytes.
"""

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET

from contracts.failures import Failure
from contracts.history import By, ExecutionCreated, MaybeRaw, Usage
from contracts.ids import Iteration
from contracts.model import Delivery
from contracts.specs import NodeSpec
from contracts.statuses import ExecutionStatus, Mode, NodeRunStatus


class Delivered(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value that arrived over one connection, before its mapping."""

    source: str
    value: msgspec.Raw
    to_port: str = "main"
    mapping: dict[str, Any] | None = None
    wired: int = 1  # connections into `to_port`: a port with several always gets a list


class Upstream(msgspec.Struct, frozen=True, omit_defaults=True):
    """What expressions may ask of another node run; `output` names the port that stands for it."""

    status: NodeRunStatus
    ports: dict[str, msgspec.Raw] = {}
    output: str | None = None
    error: MaybeRaw = UNSET


class TaskNode(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The node of a task: the same bytes for every attempt of every execution of a version.

    `timeout` in seconds, from the start of the handler; `static` stands here only if the node's
    expressions name it.
    """

    id: str
    name: str
    type: str
    type_version: int = 1
    parameters: dict[str, Any] = {}
    credentials: dict[str, str] = {}
    timeout: float = 300
    delivery: Delivery = Delivery.AT_LEAST_ONCE
    workflow_name: str = ""
    workflow_version: int | None = None
    timezone: str = "UTC"
    static: dict[str, Any] | None = None


class TaskExecution(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The execution of a task, the same bytes for all its tasks."""

    id: str
    workflow_id: str
    namespace: str
    mode: Mode
    parent_id: str | None = None
    started_at: datetime | None = None
    traceparent: str | None = None


class Task(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A request for one attempt. `token` must come back with the result, or the result is refused."""

    v: int = 1
    execution: msgspec.Raw  # TaskExecution
    node: msgspec.Raw  # TaskNode
    iteration: Iteration = ()
    attempt: int
    token: str
    now: datetime
    deliveries: tuple[Delivered, ...] = ()
    nodes: dict[str, Upstream] = {}
    trigger: MaybeRaw = UNSET  # only for roots and for expressions that name it


class Result(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="result"):
    """The end of one attempt: outputs per port, or a failure. Instants by the worker's clock."""

    execution_id: str
    node_id: str
    iteration: Iteration = ()
    attempt: int
    token: str
    worker_id: str
    started_at: str
    finished_at: str
    ports: dict[str, msgspec.Raw] | None = None
    failure: Failure | None = None
    usage: Usage | None = None
    logs: MaybeRaw = UNSET


class UnreadableTask(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="unreadable"
):
    """A worker could not decode a task: it becomes a dead letter. `body` is base64 on the wire."""

    subject: str
    error: str
    worker_id: str
    body: bytes
    headers: dict[str, str] = {}


Report = Result | UnreadableTask
"""What workers may say on the inbox."""


class StartExecution(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="start"):
    """A committed execution waits to be admitted. `created` is the data of its first event.

    With `created` and its instant the scheduler needs no read; without, it loads the history.
    """

    execution_id: str
    created: MaybeRaw = UNSET
    created_at: datetime | None = None


START_BYTES: Final = 512 * 1024
"""A creation above this is not repeated in the message: the scheduler reads it."""


def start_of(execution_id: str, created: ExecutionCreated, at: datetime) -> bytes:
    """Return the message that tells the scheduler of a committed execution."""
    data = encode(created)
    if len(data) > START_BYTES:
        return encode(StartExecution(execution_id=execution_id))
    start = StartExecution(execution_id=execution_id, created=msgspec.Raw(data), created_at=at)
    return encode(start)


class CancelExecution(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="cancel"):
    """End an execution. The answer goes to the core subject `reply_to` after the commit."""

    execution_id: str
    by: By
    reason: str | None = None
    reply_to: str | None = None


Command = StartExecution | CancelExecution
"""What the gateway may ask on the inbox."""


class CommandAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The scheduler's word after the commit: the status now, and the `code` of a refusal."""

    execution_id: str
    status: ExecutionStatus | None = None
    version: int = 0
    code: str | None = None
    detail: str | None = None


class CancelNotice(msgspec.Struct, frozen=True):
    """Tells workers to stop every attempt of an execution: its results count no more."""

    execution_id: str
    reason: str = ""


class LiveEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event that is shown and not recorded; it has no seq."""

    execution_id: str
    kind: str
    at: datetime
    node_id: str
    iteration: Iteration = ()
    attempt: int = 0
    data: dict[str, Any] = {}


class Heartbeat(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A worker's sign of life, every few seconds. `status`: ALIVE or DRAINING."""

    worker_id: str
    node_types: tuple[str, ...]
    slots: int
    busy: int
    version: str
    host: str
    started_at: datetime
    status: str = "ALIVE"


class Announcement(msgspec.Struct, frozen=True):
    """The specs of the handlers that a worker holds."""

    worker_id: str
    specs: tuple[NodeSpec, ...]


class Announced(msgspec.Struct, frozen=True, omit_defaults=True):
    """The scheduler stored the specs, or says why not."""

    error: str | None = None


encode: Final = msgspec.json.Encoder().encode
decode_task: Final = msgspec.json.Decoder(Task).decode
decode_task_node: Final = msgspec.json.Decoder(TaskNode).decode
decode_task_execution: Final = msgspec.json.Decoder(TaskExecution).decode
decode_report: Final = msgspec.json.Decoder(Report).decode
decode_command: Final = msgspec.json.Decoder(Command).decode
decode_answer: Final = msgspec.json.Decoder(CommandAnswer).decode
decode_live: Final = msgspec.json.Decoder(LiveEvent).decode
decode_heartbeat: Final = msgspec.json.Decoder(Heartbeat).decode
decode_announcement: Final = msgspec.json.Decoder(Announcement).decode
decode_announced: Final = msgspec.json.Decoder(Announced).decode
