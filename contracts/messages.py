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
from contracts.history import (
    NULL,
    By,
    ExecutionCreated,
    LoopRules,
    MaybeRaw,
    Usage,
)
from contracts.ids import Iteration
from contracts.interactions import Answer, Rules
from contracts.model import Delivery
from contracts.specs import NodeSpec
from contracts.statuses import ExecutionStatus, Mode, NodeRunStatus, WaitKind


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
    wired: tuple[str, ...] = ()  # ports with a connection, of nodes whose waits can end in vain


class TaskExecution(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The execution of a task, the same bytes for all its tasks."""

    id: str
    workflow_id: str
    namespace: str
    mode: Mode
    parent_id: str | None = None
    started_at: datetime | None = None
    traceparent: str | None = None


class LoopScope(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What `loop` is to expressions inside a body: one of `item` and `items`, or neither on a condition."""

    index: int
    item: MaybeRaw = UNSET
    items: MaybeRaw = UNSET
    count: int | None = None
    previous: MaybeRaw = UNSET
    parent: "LoopScope | None" = None


class Resumed(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Why a node run that waited goes on, with the `state` that its handler saved.

    `by` is the wait's own timer (WAIT, CHECK, REMINDER or DUE), else SIGNAL or INTERACTION: something came,
    or somebody ended it early (RESUME). `interaction_id` is the question that it waited for, if any, and
    `answers` what people have said so far where they have not decided.
    """

    by: str
    at: datetime
    waited_since: datetime
    state: MaybeRaw = UNSET
    signal: str | None = None
    interaction_id: str | None = None
    answers: tuple[Answer, ...] = ()
    data: msgspec.Raw = NULL
    port: str | None = None
    answered_by: By | None = None


class Head(msgspec.Struct, frozen=True):
    """The attempt at the beginning of a segment: its task stands for those that follow, its token proves their results."""

    node_id: str
    attempt: int


class Onward(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A node that a worker may go on with by itself, once `source` yielded on `from_port` and on no other port.

    `references` are the nodes that its expressions name.
    """

    source: str
    from_port: str = "main"
    to_port: str = "main"
    mapping: dict[str, Any] | None = None
    references: tuple[str, ...] = ()
    node: msgspec.Raw  # TaskNode


class Task(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A request for one attempt. `token` must come back with the result, or the result is refused.

    `loop` is the scope of the body that the node is in. A loop gets the scope of its next iteration too,
    which its condition sees: `next_loop`; `is_asked` once it iterates, and says whether it goes on.
    `checkpoints` are the finished calls of earlier attempts. `onward` are the nodes of the segment that may
    follow, the same bytes for every task of this node; `head` is there if the segment began before this node: the token is
    the head's then.
    """

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
    loop: LoopScope | None = None
    next_loop: LoopScope | None = None
    is_asked: bool = False
    resumed: Resumed | None = None
    checkpoints: dict[str, msgspec.Raw] = {}
    onward: MaybeRaw = UNSET  # a list of Onward
    head: Head | None = None


class ChildOrder(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A child to start: of a workflow by id, or by a name that only one has. A detached one is not waited for."""

    workflow: str
    input: msgspec.Raw = NULL
    is_detached: bool = False


class InteractionOrder(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A question to people. `fields` and `choices` are JSON; `approvers` empty: whoever may execute."""

    kind: str
    title: str
    message: str = ""
    fields: MaybeRaw = UNSET
    choices: MaybeRaw = UNSET
    value: MaybeRaw = UNSET
    editable: bool = False
    approvers: tuple[str, ...] = ()
    approvals_required: int = 1
    rejections_required: int = 1
    channel: str = "APP"
    priority: str = "normal"


class WaitOrder(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How an attempt wants to wait; instants by the worker's clock only where the node named them.

    `seconds` and `check_seconds` count from the commit by the database's clock; the look in between may be a
    reminder. `interaction` opens a new one, `interaction_id` goes on waiting for one that is open, which
    `approvers` are asked too from now on.
    """

    kind: WaitKind
    due_at: datetime | None = None
    seconds: float | None = None
    check_seconds: float | None = None
    is_reminder: bool = False
    signal: str | None = None
    interaction: InteractionOrder | None = None
    interaction_id: str | None = None
    approvers: tuple[str, ...] = ()
    child: ChildOrder | None = None
    state: MaybeRaw = UNSET


class LoopOrder(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the handler of a loop answers: over `items` (a list), or whether one more iteration follows."""

    items: MaybeRaw = UNSET
    goes_on: bool = True
    rules: LoopRules = LoopRules()


class Result(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="result"):
    """The end of one attempt: outputs per port, a failure, a wait, or the order of a loop.

    Instants by the worker's clock. `usage` leaves out what the attempt's checkpoints told of theirs.
    `head` is that of the task; `goes_on` names the node of the segment that the worker works on from now on.
    """

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
    wait: WaitOrder | None = None
    loop: LoopOrder | None = None
    usage: Usage | None = None
    logs: MaybeRaw = UNSET
    head: Head | None = None
    goes_on: str | None = None


class Starting(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="starting"):
    """A worker asks whether it may call the handler of an at-most-once attempt.

    The answer, a CommandAnswer without code, comes to `reply_to` after the commit. `delivery` is drawn
    anew for each delivery of the task.
    """

    execution_id: str
    node_id: str
    iteration: Iteration = ()
    attempt: int
    token: str
    worker_id: str
    delivery: str
    reply_to: str | None = None


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="checkpoint"):
    """A worker saves a finished call of an attempt; the answer comes to `reply_to` after the commit."""

    execution_id: str
    node_id: str
    iteration: Iteration = ()
    attempt: int
    token: str
    worker_id: str
    key: str
    value: msgspec.Raw = NULL
    usage: Usage | None = None
    head: Head | None = None
    reply_to: str | None = None


class Returned(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="returned"):
    """A worker was given the task of a segment whose worker was lost, and asks how far that came.

    The answer, to `reply_to`, holds the task that is outstanding now, if its node is of a type that the worker serves; else
    a code, for it is dispatched by itself, or over.
    """

    execution_id: str
    node_id: str
    iteration: Iteration = ()
    attempt: int
    token: str
    worker_id: str
    serves: tuple[str, ...] = ()
    reply_to: str | None = None


class UnreadableTask(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="unreadable"
):
    """A worker could not decode a task: it becomes a dead letter. `body` is base64 on the wire."""

    subject: str
    error: str
    worker_id: str
    body: bytes
    headers: dict[str, str] = {}


Report = Result | Starting | Checkpoint | Returned | UnreadableTask
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


class PauseExecution(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="pause"):
    """Dispatch nothing more. Answered like CancelExecution."""

    execution_id: str
    by: By
    reason: str | None = None
    reply_to: str | None = None


class UnpauseExecution(
    msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="unpause"
):
    """End a pause. Answered like CancelExecution."""

    execution_id: str
    by: By
    reason: str | None = None
    reply_to: str | None = None


class SendSignal(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="signal"):
    """A named signal, applied once per `signal_id`; kept if nothing waits for it yet."""

    execution_id: str
    signal_id: str
    name: str
    data: msgspec.Raw = NULL
    by: By
    reply_to: str | None = None


class EndWait(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="end_wait"):
    """End the one wait that fits what is given: of an interaction, a node run or a signal; else of all.

    An answer to an interaction names it, with the `port` it is answered on if the node has several.
    """

    execution_id: str
    signal_id: str
    interaction_id: str | None = None
    node_id: str | None = None
    iteration: Iteration | None = None
    signal: str | None = None
    data: msgspec.Raw = NULL
    port: str | None = None
    by: By
    reply_to: str | None = None


class Respond(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="respond"):
    """One person's answer to an interaction, which was found to fit; applied once per `signal_id`.

    `rules` are those of its row: what holds for a question of a release that did not record them.
    """

    execution_id: str
    signal_id: str
    interaction_id: str
    answer: Answer
    rules: Rules | None = None
    by: By
    reply_to: str | None = None


class EndChild(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="child_ended"):
    """Tells the parent `execution_id` that a child it waits for is over."""

    execution_id: str
    node_id: str
    iteration: Iteration = ()
    child_execution_id: str
    status: ExecutionStatus
    output: MaybeRaw = UNSET
    failure: Failure | None = None


class HealExecution(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="heal"):
    """Publish the outstanding tasks of an execution again, or begin it if it has not begun.

    It changes nothing that is in order: a task that is still queued or worked on is refused by its subject. `version` is
    what the sender read, so that a memory which is behind is noticed.
    """

    execution_id: str
    version: int = 0


Command = (
    StartExecution
    | CancelExecution
    | PauseExecution
    | UnpauseExecution
    | SendSignal
    | EndWait
    | Respond
    | EndChild
    | HealExecution
)
"""What gateway, schedulers and `flotilla verify --fix` may ask on the inbox."""


class CommandAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The scheduler's word after the commit: the status now, and the `code` of a refusal.

    `task` is what a worker asked for that was given a segment again.
    """

    execution_id: str
    status: ExecutionStatus | None = None
    version: int = 0
    code: str | None = None
    detail: str | None = None
    task: MaybeRaw = UNSET


class CancelNotice(msgspec.Struct, frozen=True):
    """Tells workers to stop every attempt of an execution: its results count no more."""

    execution_id: str
    reason: str = ""


class PauseNotice(msgspec.Struct, frozen=True):
    """Tells workers whether they may go on with further nodes of an execution by themselves."""

    execution_id: str
    paused: bool = True


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


class LinesAsked(msgspec.Struct, frozen=True, omit_defaults=True):
    """Asks the scheduler that leads an execution which of its tasks wait for their turn, at most so many."""

    execution_id: str
    namespace: str
    most: int = 20


class TaskInLine(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A ready task that is not queued yet: `queued` of its node type are, which is all of the `window`.

    So many tasks are `ahead` of it, as things are.
    """

    node_id: str
    iteration: Iteration = ()
    attempt: int
    node_type: str
    ahead: int
    queued: int
    window: int


class LinesTold(msgspec.Struct, frozen=True, omit_defaults=True):
    """What waits of an execution, and how many inputs wait for its scheduler to handle them."""

    scheduler_id: str
    waiting: tuple[TaskInLine, ...] = ()
    backlog: int = 0


class AttemptHeld(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An attempt that a worker holds, for so many seconds since it began; None: it waits for a slot there."""

    node_id: str
    iteration: Iteration = ()
    attempt: int
    seconds: float | None = None


class AttemptsHeld(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a worker holds of an execution. Who holds nothing says nothing."""

    worker_id: str
    attempts: tuple[AttemptHeld, ...]


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
decode_onward: Final = msgspec.json.Decoder(tuple[Onward, ...]).decode
decode_report: Final = msgspec.json.Decoder(Report).decode
decode_command: Final = msgspec.json.Decoder(Command).decode
decode_answer: Final = msgspec.json.Decoder(CommandAnswer).decode
decode_live: Final = msgspec.json.Decoder(LiveEvent).decode
decode_heartbeat: Final = msgspec.json.Decoder(Heartbeat).decode
decode_held: Final = msgspec.json.Decoder(AttemptsHeld).decode
decode_lines: Final = msgspec.json.Decoder(LinesTold).decode
decode_announcement: Final = msgspec.json.Decoder(Announcement).decode
decode_announced: Final = msgspec.json.Decoder(Announced).decode
