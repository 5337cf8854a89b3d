"""Small builders: documents, executions and advances with only what a test is about."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from contracts import ids as contract_ids
from contracts.history import ExecutionCreated
from contracts.model import Connection, Document, Node
from contracts.statuses import Mode
from db import executions, workflows
from db.advances import Advance, EventRow, TimerRow
from db.executions import NewExecution
from db.store import Store

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Ids(msgspec.Struct, frozen=True):
    """Makes UUIDv7s that ascend; `partition` fixes the last digit."""

    numbers: Iterator[int]

    def new(self, partition: int = 0, at: datetime = START) -> str:
        """Return the next id."""
        number = next(self.numbers)
        chance = number.to_bytes(9, "big") + bytes([partition])
        return contract_ids.uuid7(at + timedelta(milliseconds=number), chance)


class Version(msgspec.Struct, frozen=True):
    """A version of a workflow that can run."""

    user_id: str
    workflow_id: str
    version_id: str


def node(node_id: str, **fields: Any) -> Node:
    """Return a node."""
    return Node(id=node_id, name=node_id, **{"type": "FLOW.NOOP", **fields})


def document(name: str = "Orders", **fields: Any) -> Document:
    """Return a document of two connected nodes."""
    plain: dict[str, Any] = {
        "nodes": (node("start", type="TRIGGER.MANUAL"), node("end")),
        "connections": (Connection(source="start", target="end"),),
    }
    return Document(name=name, **{**plain, **fields})


async def workflow(store: Store, ids: Ids, user_id: str, wanted: Document | None = None) -> str:
    """Create a workflow and return its id."""
    row = await workflows.create(
        store,
        user_id=user_id,
        workflow_id=ids.new(),
        document=wanted or document(),
        problems=(),
        active=True,
    )
    return row.id


async def version(store: Store, ids: Ids, user_id: str) -> Version:
    """Create a workflow with a published version."""
    workflow_id = await workflow(store, ids, user_id)
    published, _ = await workflows.publish(
        store,
        user_id=user_id,
        workflow_id=workflow_id,
        version_id=ids.new(),
        document=document(),
        note="",
        created_by=user_id,
        active=None,
        triggers=(),
    )
    return Version(user_id, workflow_id, published.id)


def new_execution(of: Version, execution_id: str, **fields: Any) -> NewExecution:
    """Return an execution to create."""
    created = ExecutionCreated(
        workflow_id=of.workflow_id,
        version_id=of.version_id,
        user_id=of.user_id,
        mode=Mode.MANUAL,
        input=msgspec.Raw(b'{"b":1,"a":2}'),
    )
    return NewExecution(
        id=execution_id,
        user_id=of.user_id,
        workflow_id=of.workflow_id,
        version_id=of.version_id,
        **{"created": created, "at": START, "mode": Mode.MANUAL, **fields},
    )


async def started(store: Store, of: Version, execution_ids: Sequence[str]) -> None:
    """Create executions."""
    await executions.create(store, [new_execution(of, each) for each in execution_ids])


def event(seq: int, kind: str = "node_succeeded", **fields: Any) -> EventRow:
    """Return an event of the node `end`."""
    data = fields.get("data", '{"ports":{"main":{"b":1,"a":[2,3]}}}')
    return (seq, START, kind, "end", fields.get("iteration"), 1, data)


def advance(execution_id: str, was: int = 1, count: int = 1, **fields: Any) -> Advance:
    """Return an advance by `count` events."""
    events = [event(was + number) for number in range(1, count + 1)]
    status = fields.pop("status", "RUNNING")
    return Advance(execution_id, was, was + count, status, **{"events": events, **fields})


def timer(execution_id: str, key: str, due_at: datetime, **fields: Any) -> TimerRow:
    """Return a timer."""
    return TimerRow(
        execution_id, key, "RETRY", fields.get("node_id"), fields.get("iteration"), due_at
    )
