"""What a workflow will need where it runs: node types, credentials, and hosts that are known beforehand."""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from contracts.model import Document, Node
from contracts.specs import Catalogue, NodeSpec

_ADDRESSES: Final = frozenset(("url", "base_url", "next_url", "server"))


class Needed(msgspec.Struct, frozen=True, kw_only=True):
    """A credential that a node uses; `credential` is None where the slot is left to a default."""

    node_id: str
    slot: str
    credential: str | None
    required: bool


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a document needs. Hosts that only an expression tells are not among `hosts`."""

    node_types: tuple[str, ...]
    credentials: tuple[Needed, ...]
    hosts: tuple[str, ...]


def manifest(document: Document, catalogue: Catalogue) -> Manifest:
    """Return what a document needs, each once, in a stable order."""
    hosts: set[str] = set()
    credentials: list[Needed] = []
    for node in document.nodes:
        spec = catalogue.get(node.type, node.type_version)
        if spec is not None:
            credentials.extend(_credentials(node, spec))
            hosts.update(_hosts(node, spec))
    return Manifest(
        node_types=tuple(sorted({node.type for node in document.nodes})),
        credentials=tuple(credentials),
        hosts=tuple(sorted(hosts)),
    )


def _credentials(node: Node, spec: NodeSpec) -> Iterator[Needed]:
    for slot in spec.credentials:
        credential = node.credentials.get(slot.name)
        if slot.required or credential is not None:
            yield Needed(
                node_id=node.id, slot=slot.name, credential=credential, required=slot.required
            )


def _hosts(node: Node, spec: NodeSpec) -> Iterator[str]:
    for parameter in spec.parameters:
        value = node.parameters.get(parameter.name)
        is_address = parameter.name in _ADDRESSES or parameter.schema.get("format") == "uri"
        if is_address and parameter.kind != "expr" and (host := fixed_host(value)):
            yield host


def fixed_host(value: Any) -> str | None:
    """Return the host that an address names before its first expression, if all of it is there."""
    if not isinstance(value, str):
        return None
    before, braces, _ = value.partition("{{")
    try:
        parts = urlsplit(before)
        host = parts.hostname
    except ValueError:
        return None
    is_complete = not braces or "/" in before.removeprefix(f"{parts.scheme}://")
    return host if parts.scheme in ("http", "https") and is_complete else None
