"""Reading nodes: ids that are missing are made, type names are settled, defaults are filled in."""

import json
import re
from collections import Counter
from typing import Any, Final

import msgspec

from contracts.limits import DocumentLimits
from contracts.model import Node, Position
from contracts.node_types import UnknownNodeType, read_node_type
from contracts.problems import pointer
from contracts.reading.fields import Fields, Shape, open_fields, type_name
from contracts.reading.parameters import read_parameters
from contracts.reading.policies import Moved, read_delivery, read_on_error, read_retry_policy
from contracts.reading.report import Report
from contracts.specs import Catalogue, NodeSpec

NODE_SHAPE: Final = Shape(
    what="a node",
    names=frozenset(
        (
            "id", "name", "type", "subtype", "type_version", "parameters", "credentials", "disabled",
            "on_error", "retry_policy", "timeout", "delivery", "position", "notes", "metadata",
        )
    ),
    ignored=frozenset(("webhooks", "input_ports", "output_ports")),
)  # fmt: skip

POSITION_SHAPE: Final = Shape(what="position", names=frozenset(("x", "y")))

METADATA_BYTES: Final = 64 * 1024
_FAR: Final = 1e15
_NODE_ID: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")


class ReadNode(msgspec.Struct, frozen=True):
    """A node as far as it could be read, its position, and its spec; None where the type is unknown."""

    node: Node
    place: int
    spec: NodeSpec | None


def read_nodes(
    document: Fields, catalogue: Catalogue, report: Report, limits: DocumentLimits
) -> list[ReadNode]:
    """Return the nodes of a document in order; nodes that are no objects are left out."""
    raws = _raw_nodes(document, limits)
    at = document.at("nodes")
    reader = _NodeReader(catalogue, report, limits, raws)
    nodes = [reader.read(raw, index, at + pointer(index)) for index, raw in enumerate(raws)]
    return [node for node in nodes if node is not None]


def _raw_nodes(document: Fields, limits: DocumentLimits) -> list[Any]:
    if "nodes" not in document:
        document.missing("nodes", "a list with at least one node")
        return []
    raws = document.items("nodes")
    if not raws and document.values["nodes"] == []:
        document.problem("nodes", "no_nodes", "nodes is empty; give at least one node")
    if len(raws) > limits.nodes:
        message = f"{len(raws)} nodes; the limit is {limits.nodes} (LIMIT_NODES)"
        document.problem("nodes", "limit_exceeded", message)
        return []
    return raws


class _NodeReader:
    """Reads the nodes of one document, which must not share ids or names."""

    def __init__(
        self, catalogue: Catalogue, report: Report, limits: DocumentLimits, raws: list[Any]
    ) -> None:
        self._catalogue = catalogue
        self._known_types = catalogue.names
        self._report = report
        self._limits = limits
        objects = [raw for raw in raws if isinstance(raw, dict)]
        self._given_ids = {raw["id"] for raw in objects if isinstance(raw.get("id"), str)}
        names = (raw.get("name") for raw in objects)
        self._given_names = {name.strip() for name in names if isinstance(name, str)}
        self._last_number: Counter[str] = Counter()
        self._ids: set[str] = set()
        self._names: set[str] = set()

    def read(self, raw: Any, place: int, sent: str) -> ReadNode | None:
        """Return one node, or None if it is no object."""
        if not isinstance(raw, dict):
            message = f"a node must be an object, not {type_name(raw)}"
            self._report.add(sent, "invalid_type", message)
            return None
        given = raw.get("id")
        node_id = given if isinstance(given, str) else None
        fields = open_fields(
            raw,
            NODE_SHAPE,
            self._report,
            sent=sent,
            stored=pointer("nodes", place),
            node_id=node_id,
        )
        node_type, spec = self._type(fields)
        fields.node_id = self._id(fields, node_type)
        parameters, moved = read_parameters(fields, spec)
        return ReadNode(self._node(fields, node_type, spec, parameters, moved), place, spec)

    def _node(
        self,
        fields: Fields,
        node_type: str,
        spec: NodeSpec | None,
        parameters: dict[str, Any],
        moved: Moved,
    ) -> Node:
        assert fields.node_id is not None
        return Node(
            id=fields.node_id,
            name=self._name(fields),
            type=node_type,
            type_version=fields.integer(
                "type_version", default=spec.major if spec else 1, least=1, most=1_000_000
            ),
            parameters=parameters,
            credentials=_credentials(fields),
            disabled=fields.flag("disabled", default=False),
            on_error=read_on_error(fields),
            retry_policy=read_retry_policy(fields, moved, self._report, self._limits),
            timeout=fields.seconds(
                "timeout", most=self._limits.node_timeout_s, limit="NODE_TIMEOUT_S"
            ),
            delivery=read_delivery(fields),
            position=_position(fields, self._report),
            notes=_notes(fields),
            metadata=read_metadata(fields),
        )

    def _type(self, fields: Fields) -> tuple[str, NodeSpec | None]:
        """Return the name of the node's type and its spec: of the version pinned, else the newest."""
        if "type" not in fields:
            fields.missing("type", "TYPE.SUBTYPE, as ACTION.HTTP_REQUEST")
            return "", None
        for name in ("type", "subtype"):
            if not isinstance(fields.values.get(name), str | None):
                fields.wrong_type(name, "a string")
                return "", None
        node_type, subtype = fields.values["type"], fields.values.get("subtype")
        if node_type is None:
            fields.wrong_type("type", "a string")
            return "", None
        try:
            name = read_node_type(node_type, subtype, self._known_types)
        except UnknownNodeType as unknown:
            fields.problem("type", unknown.code, unknown.message)
            return "", None
        return name, self._spec(name, fields.values.get("type_version"))

    def _spec(self, name: str, version: Any) -> NodeSpec | None:
        pinned = self._catalogue.get(name, version) if isinstance(version, int) else None
        return pinned or self._catalogue.get(name)

    def _id(self, fields: Fields, node_type: str) -> str:
        if "id" not in fields:
            return self._new_id(fields, node_type)
        node_id = fields.values["id"]
        if not isinstance(node_id, str):
            fields.wrong_type("id", "a string")
            return self._new_id(fields, node_type)
        if not _NODE_ID.fullmatch(node_id):
            message = (
                f"the id {node_id!r:.120} is not allowed; use letters, digits, _ and -, at most 100, "
                "not beginning with a digit or -"
            )
            fields.problem("id", "invalid_node_id", message)
        elif node_id in self._ids:
            message = f"another node has the id {node_id!r} too; ids must differ"
            fields.problem("id", "duplicate_node_id", message)
        self._ids.add(node_id)
        return node_id

    def _new_id(self, fields: Fields, node_type: str) -> str:
        """Return `<subtype>_<n>`, the first that no node has for id, or another node for name."""
        stem = node_type.rpartition(".")[2].lower() or "node"
        own = fields.values.get("name")
        while True:
            self._last_number[stem] += 1
            node_id = f"{stem}_{self._last_number[stem]}"
            is_name = node_id in self._given_names and node_id != own
            if node_id not in self._given_ids and not is_name:
                self._ids.add(node_id)
                return node_id

    def _name(self, fields: Fields) -> str:
        assert fields.node_id is not None
        name = fields.node_id
        if "name" in fields:
            name = fields.text("name", default=name, least=1, most=255).strip()
            if not name:
                fields.problem("name", "invalid_value", "name is blank; leave it out or give one")
                return fields.node_id
        if name in self._names:
            where = "name" if "name" in fields or "id" not in fields else "id"
            message = f"another node has the name {name!r:.80} too; names must differ"
            fields.problem(where, "duplicate_node_name", message)
        self._names.add(name)
        return name


def _credentials(fields: Fields) -> dict[str, str]:
    found: dict[str, str] = {}
    for slot, value in fields.mapping("credentials").items():
        at = fields.at("credentials") + pointer(slot)
        if not isinstance(value, str):
            message = (
                f"credentials.{slot} must be the id or name of a credential, not {type_name(value)}; "
                "secrets do not stand in documents"
            )
            fields.problem_at(at, "invalid_type", message)
        elif not 1 <= len(value) <= 255:
            message = (
                f"credentials.{slot} must be the id or name of a credential: 1 to 255 characters"
            )
            fields.problem_at(at, "invalid_value", message)
        else:
            found[str(slot)] = value
    return found


def _position(fields: Fields, report: Report) -> Position:
    position = open_fields(
        fields.mapping("position"),
        POSITION_SHAPE,
        report,
        sent=fields.at("position"),
        node_id=fields.node_id,
    )
    x = position.number("x", default=0, least=-_FAR, most=_FAR)
    y = position.number("y", default=0, least=-_FAR, most=_FAR)
    return Position(x, y)


def _notes(fields: Fields) -> str:
    """Return the notes; of an object its values, one per line."""
    value = fields.values.get("notes")
    if isinstance(value, dict):
        fields.values["notes"] = "\n".join(map(_line, value.values()))
    return fields.text("notes", most=10_000)


def _line(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def read_metadata(fields: Fields) -> dict[str, Any]:
    """Return the metadata of a document or node: free, but not large."""
    metadata = fields.mapping("metadata")
    size = len(json.dumps(metadata, ensure_ascii=False).encode(errors="surrogatepass"))
    if size > METADATA_BYTES:
        message = f"metadata has {size} bytes as JSON; the limit is {METADATA_BYTES}"
        fields.problem("metadata", "limit_exceeded", message)
        return {}
    return metadata
