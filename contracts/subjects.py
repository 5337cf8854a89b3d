"""Every NATS subject, stream and consumer name, built and parsed here and nowhere else.

Streams never show in subjects, so a stream can be split by configuration alone.
"""

import hashlib
from typing import Final, NamedTuple

from contracts.ids import Iteration, iteration_text, partition_of, read_iteration

TASKS: Final = "TASKS"
INBOX: Final = "INBOX"
TRIGGERS: Final = "TRIGGERS"
EVENTS: Final = "EVENTS"
ADVISORIES: Final = "ADVISORIES"

TASK_PREFIX: Final = "flotilla.task"
INBOX_PREFIX: Final = "flotilla.inbox"
TRIGGER_PREFIX: Final = "flotilla.trigger"
EVENT_PREFIX: Final = "flotilla.event"
LIVE_PREFIX: Final = "flotilla.live"
CANCEL_PREFIX: Final = "flotilla.cancel"
ATTEMPTS_PREFIX: Final = "flotilla.attempts"
PAUSE_PREFIX: Final = "flotilla.pause"
HEARTBEAT_PREFIX: Final = "flotilla.heartbeat"
ANNOUNCE: Final = "flotilla.announce"
"""Request-reply: a worker announces its specs, a scheduler answers once they are stored."""

LEASES: Final = "flotilla.leases"
"""A scheduler came, or gave partitions back: others look at once at what is theirs now. The message is empty."""

PAYLOAD_PUT: Final = "flotilla.payload.put"
PAYLOAD_GET: Final = "flotilla.payload.get"
"""Request-reply: workers store large values with a scheduler and read them."""

CREDENTIAL_GET: Final = "flotilla.credential.get"
"""Request-reply: workers ask a scheduler for a credential of their task. No stream keeps it."""

NAMESPACE_HEADER: Final = "Flotilla-Namespace"
PAYLOAD_HEADER: Final = "Flotilla-Payload"
TRACEPARENT_HEADER: Final = "traceparent"
MESSAGE_ID_HEADER: Final = "Nats-Msg-Id"

TRIGGER_CONSUMER: Final = "triggers"
ADVISORY_CONSUMER: Final = "advisories"


class TaskAddress(NamedTuple):
    """What the subject of a task tells about it."""

    node_type: str
    namespace: str
    execution_id: str
    node_id: str
    iteration: Iteration
    attempt: int


def task(address: TaskAddress) -> str:
    """Return the subject of one attempt: unique, so that the stream refuses a second copy."""
    node_type, namespace, execution_id, node_id, iteration, attempt = address
    return (
        f"{TASK_PREFIX}.{node_type}.{namespace}.{execution_id}.{node_id}"
        f".{iteration_text(iteration)}.{attempt}"
    )


def read_task(subject: str) -> TaskAddress | None:
    """Return what a task's subject tells, or None if it is not one."""
    tokens = subject.split(".")
    if len(tokens) != 9 or not subject.startswith(f"{TASK_PREFIX}."):
        return None
    try:
        iteration, attempt = read_iteration(tokens[7]), int(tokens[8])
    except ValueError:
        return None
    return TaskAddress(
        f"{tokens[2]}.{tokens[3]}", tokens[4], tokens[5], tokens[6], iteration, attempt
    )


def tasks_of_type(node_type: str) -> str:
    """Return the filter of a node type's consumer."""
    return f"{TASK_PREFIX}.{node_type}.>"


def tasks_of_execution(namespace: str, execution_id: str) -> str:
    """Return the filter that a cancel purges."""
    return f"{TASK_PREFIX}.*.*.{namespace}.{execution_id}.>"


def task_consumer(node_type: str) -> str:
    """Return the name of a node type's consumer: dots are not allowed in it."""
    return node_type.replace(".", "-")


def result(address: TaskAddress) -> str:
    """Return the subject on which a worker reports one attempt."""
    node_type, namespace, execution_id, node_id, iteration, attempt = address
    return (
        f"{INBOX_PREFIX}.{partition_of(execution_id)}.result.{node_type}.{namespace}"
        f".{execution_id}.{node_id}.{iteration_text(iteration)}.{attempt}"
    )


def command(kind: str, execution_id: str) -> str:
    """Return the subject of a command to the scheduler that holds an execution."""
    return f"{INBOX_PREFIX}.{partition_of(execution_id)}.command.{kind}.{execution_id}"


def is_result(subject: str) -> bool:
    """Whether a message of the inbox came in at a worker's door."""
    return subject.split(".", 4)[3:4] == ["result"]


def inbox_partition(partition: int) -> str:
    """Return the filter of a partition's consumer."""
    return f"{INBOX_PREFIX}.{partition}.>"


def inbox_consumer(partition: int) -> str:
    """Return the name of a partition's consumer."""
    return f"p{partition:02d}"


def event(namespace: str, workflow_id: str, execution_id: str, kind: str) -> str:
    """Return the subject of a recorded event; the EVENTS stream keeps a copy."""
    return f"{EVENT_PREFIX}.{namespace}.{workflow_id}.{execution_id}.{kind}"


def events_of_execution(execution_id: str) -> str:
    """Return the filter for all recorded events of one execution."""
    return f"{EVENT_PREFIX}.*.*.{execution_id}.*"


def events_of_kind(kind: str) -> str:
    """Return the filter for one kind of recorded event in all executions."""
    return f"{EVENT_PREFIX}.*.*.*.{kind}"


def live(execution_id: str, kind: str) -> str:
    """Return the subject of an event that is not recorded (`node_started`, `node_progress`)."""
    return f"{LIVE_PREFIX}.{execution_id}.{kind}"


def live_of_kind(kind: str) -> str:
    """Return the filter for one kind of unrecorded event in all executions."""
    return f"{LIVE_PREFIX}.*.{kind}"


def live_of_execution(execution_id: str) -> str:
    """Return the filter for all unrecorded events of one execution."""
    return f"{LIVE_PREFIX}.{execution_id}.*"


def cancel(execution_id: str) -> str:
    """Return the core subject that tells workers to stop what they do for an execution."""
    return f"{CANCEL_PREFIX}.{execution_id}"


def attempts(execution_id: str) -> str:
    """Return the core subject that asks all workers which attempts of an execution they hold."""
    return f"{ATTEMPTS_PREFIX}.{execution_id}"


def pause(execution_id: str) -> str:
    """Return the core subject that tells workers whether they may go on with an execution by themselves."""
    return f"{PAUSE_PREFIX}.{execution_id}"


def heartbeat(worker_id: str) -> str:
    """Return the core subject of a worker's sign of life."""
    return f"{HEARTBEAT_PREFIX}.{worker_id}"


def lines(scheduler_id: str) -> str:
    """Return the subject on which one scheduler, whose id may be any text, tells which tasks wait for their turn."""
    return f"flotilla.lines.{hashlib.sha256(scheduler_id.encode()).hexdigest()[:16]}"


def payload_parts(taker: str, upload: str) -> str:
    """Return the subject of the further parts of a large value; only who took the first has them."""
    return f"flotilla.payload.part.{taker}.{upload}"


def trigger_matches(pattern: str, name: str) -> bool:
    """Whether a trigger's name (below `flotilla.trigger.`) fits a pattern with `*` and `>`."""
    wanted, found = pattern.split("."), name.split(".")
    for position, token in enumerate(wanted):
        if token == ">":
            return len(found) > position
        if position >= len(found) or token not in ("*", found[position]):
            return False
    return len(wanted) == len(found)
