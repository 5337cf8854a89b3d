"""Nodes and connections of a draft as rows, for lists and filters. The draft stays what counts."""

from typing import Any, Final

import msgspec

from contracts.model import Connection, Document, Node
from db import queries
from db.store import Session

_SQL: Final = queries.load("projections")


async def write(session: Session, workflow_id: str, document: Document) -> None:
    """Replace the rows of a workflow by those of its new draft, in the draft's transaction."""
    await session.execute(_SQL["delete_nodes"], workflow_id)
    nodes = list(zip(*map(_node, document.nodes), strict=True))
    await session.execute(_SQL["insert_nodes"], workflow_id, *nodes)
    if document.connections:
        connections = zip(*map(_connection, document.connections), strict=True)
        await session.execute(_SQL["insert_connections"], workflow_id, *connections)


def _node(node: Node) -> tuple[object, ...]:
    family, _, subtype = node.type.partition(".")
    return (
        node.id,
        node.name,
        family,
        subtype,
        node.type_version,
        _json(node.parameters),
        _json(node.credentials),
        node.disabled,
        node.on_error,
        None if node.retry_policy is None else _json(node.retry_policy),
        node.timeout,
        node.delivery,
        node.position.x,
        node.position.y,
        node.notes,
        _json(node.metadata),
    )


def _connection(connection: Connection) -> tuple[object, ...]:
    return (
        connection.source,
        connection.from_port,
        connection.target,
        connection.to_port,
        connection.kind,
        None if connection.mapping is None else _json(connection.mapping),
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
