"""Webhooks: where the TRIGGER.WEBHOOK nodes of a document receive what, and the paths that are made up for them."""

import hashlib
from typing import Final, Literal

import msgspec

from contracts import schemas
from contracts.model import Document, Node
from contracts.specs import Catalogue

WEBHOOK_TRIGGER: Final = "TRIGGER.WEBHOOK"

SLOT: Final = "webhook"
"""The credential slot of who verifies its senders by a secret."""

RESERVED: Final = "interactions-"
"""Paths that begin so are the engine's own."""

PATH: Final = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$(?!\n)"
"""One part of an address, which no client rewrites on its way. It means the same to Python and to browsers."""

CHANCE_BYTES: Final = 16
"""What makes a path unguessable."""

Authentication = Literal["NONE", "HEADER_TOKEN", "SIGNATURE"]
ResponseMode = Literal["IMMEDIATELY", "WAIT"]


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A TRIGGER.WEBHOOK of a document; `header` names what carries its token, `response_timeout` is in seconds.

    `credential` is the id or the name of the one that verifies the sender.
    """

    node_id: str
    path: str
    methods: tuple[str, ...]
    authentication: Authentication
    header: str
    response_mode: ResponseMode
    response_timeout: float
    filter: str | None = None
    credential: str | None = None


def webhooks_of(document: Document, catalogue: Catalogue) -> tuple[Webhook, ...]:
    """Return where a valid, stored document receives deliveries."""
    return tuple(
        _webhook(node, catalogue)
        for node in document.nodes
        if node.type == WEBHOOK_TRIGGER and not node.disabled
    )


def keep_paths(document: Document, before: Document) -> Document:
    """Return a document whose webhooks without a path have the one that the node of their id had before."""
    known = {node.id: path for node in before.nodes if (path := _path(node)) is not None}
    return _with_paths(document, known)


def make_paths(document: Document, chance: bytes) -> Document:
    """Return a document whose webhooks all have a path; those that had none get one that only `chance` tells."""
    assert len(chance) >= CHANCE_BYTES
    made = {node.id: _made(chance, node.id) for node in document.nodes}
    return _with_paths(document, made)


def _with_paths(document: Document, paths: dict[str, str]) -> Document:
    nodes = tuple(
        _with_path(node, paths[node.id]) if _lacks_path(node) and node.id in paths else node
        for node in document.nodes
    )
    return msgspec.structs.replace(document, nodes=nodes)


def _with_path(node: Node, path: str) -> Node:
    return msgspec.structs.replace(node, parameters={**node.parameters, "path": path})


def _lacks_path(node: Node) -> bool:
    return node.type == WEBHOOK_TRIGGER and node.parameters.get("path") is None


def _path(node: Node) -> str | None:
    path = node.parameters.get("path") if node.type == WEBHOOK_TRIGGER else None
    return path if isinstance(path, str) else None


def _made(chance: bytes, node_id: str) -> str:
    """Return a path that is another one for every node of the document."""
    return hashlib.sha256(chance + node_id.encode()).hexdigest()[: 2 * CHANCE_BYTES]


def _webhook(node: Node, catalogue: Catalogue) -> Webhook:
    spec = catalogue.get(node.type, node.type_version)
    assert spec is not None, "the document was valid when it was published, and no spec ever goes"
    given = {
        each.name: schemas.converted(node.parameters.get(each.name, each.default), each.schema)
        for each in spec.parameters
    }
    return msgspec.convert(
        {"node_id": node.id, **given, "credential": node.credentials.get(SLOT)}, Webhook
    )
