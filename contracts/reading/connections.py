"""Reading connections: a flat list, or a map of sources in any of its forms, as the flat list."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from contracts.limits import DocumentLimits
from contracts.model import Connection, ConnectionKind, Node
from contracts.problems import pointer
from contracts.reading.fields import Fields, Shape, open_fields, type_name
from contracts.reading.mappings import read_mapping
from contracts.reading.nodes import ReadNode
from contracts.reading.report import Report
from contracts.specs import ERROR_PORT

CONNECTION_SHAPE: Final = Shape(
    what="a connection",
    names=frozenset(("from", "to", "from_port", "to_port", "kind", "mapping", "index")),
    aliases={
        **dict.fromkeys(("source", "source_node", "from_node"), "from"),
        **dict.fromkeys(("target", "target_node", "to_node", "node"), "to"),
        **dict.fromkeys(("source_port", "output_port", "output_key"), "from_port"),
        **dict.fromkeys(("target_port", "input_port"), "to_port"),
        **dict.fromkeys(("type", "connection_type"), "kind"),
        "data_mapping": "mapping",
    },
)

_AS_MEMORY: Final = "a MEMORY node wired as AI_MEMORY or AI_TOOL"
_BEFORE: Final = "a node before the agent, wired over MAIN"
UNSUPPORTED_KINDS: Final = {
    "AI_AGENT": "an agent wired as AI_TOOL",
    "AI_CHAIN": _BEFORE,
    "AI_DOCUMENT": _AS_MEMORY,
    "AI_EMBEDDING": _AS_MEMORY,
    "AI_OUTPUT_PARSER": "the agent's response_schema",
    "AI_RETRIEVER": _AS_MEMORY,
    "AI_RERANKER": _BEFORE,
    "AI_TEXT_SPLITTER": _BEFORE,
    "AI_VECTOR_STORE": _AS_MEMORY,
}


class Sent(msgspec.Struct, frozen=True):
    """One connection as it was sent; from a map its source, kind and output index are known."""

    raw: Any
    at: str
    source: str | None = None
    kind: str | None = None
    index: int | None = None


def read_connections(
    document: Fields, nodes: list[ReadNode], report: Report, limits: DocumentLimits
) -> list[tuple[int, Connection]]:
    """Return the connections of a document in the order written, with their positions."""
    value = document.values.get("connections", [])
    at = document.at("connections")
    if isinstance(value, dict):
        sent = list(_flattened(value, at, nodes, report))
    elif isinstance(value, list | tuple):
        sent = [Sent(raw, at + pointer(index)) for index, raw in enumerate(value)]
    else:
        document.wrong_type("connections", "a list or an object")
        return []
    if len(sent) > limits.connections:
        message = f"{len(sent)} connections; the limit is {limits.connections} (LIMIT_CONNECTIONS)"
        document.problem("connections", "limit_exceeded", message)
        return []
    reader = _ConnectionReader(nodes, report)
    read = [(n, reader.read(one, pointer("connections", n))) for n, one in enumerate(sent)]
    return [(n, connection) for n, connection in read if connection is not None]


def _flattened(
    value: dict[str, Any], at: str, nodes: list[ReadNode], report: Report
) -> Iterator[Sent]:
    """Yield the connections of a map of sources, in the order written."""
    inner = value.get("connections")
    is_node = any("connections" in (read.node.id, read.node.name) for read in nodes)
    if len(value) == 1 and isinstance(inner, dict) and not is_node:
        value, at = inner, at + "/connections"
    for source, by_kind in value.items():
        for raw, kind, index in _targets(by_kind, at + pointer(source), report):
            yield Sent(raw, "", str(source), kind, index)


_Target = tuple[Any, str, int | None]


def _targets(by_kind: Any, at: str, report: Report) -> Iterator[_Target]:
    """Yield what stands below one source: target, kind, and the output index where a place tells it."""
    if isinstance(by_kind, dict):
        for spelling in ("connection_types", "connectionTypes"):
            if set(by_kind) == {spelling}:
                by_kind, at = by_kind[spelling], at + pointer(spelling)
                break
    if not isinstance(by_kind, dict):
        _refuse(report, at, "an object of connections by kind", by_kind)
        return
    for kind, listed in by_kind.items():
        yield from _listed(listed, str(kind), at + pointer(kind), report)


def _listed(listed: Any, kind: str, at: str, report: Report) -> Iterator[_Target]:
    """Yield the targets of one kind: a list of them, or a list of lists by output index."""
    if isinstance(listed, dict) and set(listed) == {"connections"}:
        listed, at = listed["connections"], at + "/connections"
    if not isinstance(listed, list):
        _refuse(report, at, "a list of targets", listed)
        return
    by_index = any(isinstance(target, list) for target in listed)
    for index, target in enumerate(listed):
        if isinstance(target, list):
            yield from ((inner, kind, index) for inner in target)
        elif target is not None or not by_index:  # null stands for an output without targets
            yield target, kind, None


def _refuse(report: Report, at: str, expected: str, value: Any) -> None:
    report.add(at, "invalid_type", f"expected {expected}, not {type_name(value)}")


class _ConnectionReader:
    """Reads the connections of one document: resolves their ends, and finds repeated ones."""

    def __init__(self, nodes: list[ReadNode], report: Report) -> None:
        self._report = report
        self._by_id = {read.node.id: read for read in nodes}
        self._ids_by_name = {read.node.name: read.node.id for read in nodes}
        self._seen: set[tuple[str, str, str, str, ConnectionKind]] = set()

    def read(self, sent: Sent, stored: str) -> Connection | None:
        """Return one connection in its stored form, or None if it cannot be."""
        at = stored if sent.source is not None else sent.at
        raw = (
            {"to": sent.raw} if sent.source is not None and isinstance(sent.raw, str) else sent.raw
        )
        if not isinstance(raw, dict):
            _refuse(self._report, at, "a connection, which is an object", raw)
            return None
        own_names = sent.source is not None
        fields = open_fields(
            raw, CONNECTION_SHAPE, self._report, sent=at, stored=stored, own_names=own_names
        )
        self._take_from_map(fields, sent)
        source, target = self._end(fields, "from", sent), self._end(fields, "to", sent)
        kind = _kind(fields)
        if source is None or target is None or kind is None:
            read_mapping(fields, self._report)  # for its problems: all are reported at once
            return None
        if source.id == target.id:
            message = f"the connection leads from {source.id!r} to itself; wire two nodes"
            fields.problem("to", "self_connection", message)
            return None
        return self._once(fields, self._connection(fields, source, target, kind))

    def _take_from_map(self, fields: Fields, sent: Sent) -> None:
        """Add what the place in a map says; what the target says besides must agree."""
        for name, value in (("from", sent.source), ("kind", sent.kind)):
            if value is None:
                continue
            if name not in fields:
                fields.put(name, value, at=fields.at(name))
            elif _plain(str(fields.values[name])) != _plain(value):
                message = f"{name} is {value!r:.80} by its place in the map; leave it out here"
                fields.problem(name, "invalid_value", message)
        if sent.index is not None:
            if fields.values.get("index"):
                message = "the place in the list names the output port; index was dropped"
                fields.problem("index", "ignored_field", message)
            fields.values["index"] = sent.index

    def _end(self, fields: Fields, name: str, sent: Sent) -> Node | None:
        """Return the node at one end: in a list by its id, in a map by its id or name."""
        if name not in fields:
            fields.missing(name, "the id of a node")
            return None
        value = fields.values[name]
        if not isinstance(value, str):
            fields.wrong_type(name, "the id of a node")
            return None
        by_name = self._ids_by_name.get(value.strip())
        if value not in self._by_id and sent.source is not None and by_name is not None:
            value = by_name
        if value in self._by_id:
            return self._by_id[value].node
        fields.problem(name, "unknown_node", self._unknown(value, by_name))
        return None

    def _unknown(self, value: str, by_name: str | None) -> str:
        if by_name is not None:
            return f"no node has the id {value!r:.80}; the node of that name has the id {by_name!r}"
        near = self._report.hints.nearest(value, self._by_id, 3)
        return f"there is no node {value!r:.80}{near}"

    def _connection(
        self, fields: Fields, source: Node, target: Node, kind: ConnectionKind
    ) -> Connection:
        connection = Connection(
            source=source.id,
            target=target.id,
            from_port=self._from_port(fields, source, kind),
            to_port=fields.text("to_port", default="main", least=1, most=100),
            kind=kind,
            mapping=read_mapping(fields, self._report),
        )
        return connection if kind is ConnectionKind.MAIN else self._lender_first(fields, connection)

    def _from_port(self, fields: Fields, source: Node, kind: ConnectionKind) -> str:
        """Return the output port, which may be given by its index among the spec's."""
        if "from_port" in fields or fields.values.get("index") is None:
            return fields.text("from_port", default="main", least=1, most=100)
        index = fields.integer("index", default=0, least=0, most=10_000)
        spec = self._by_id[source.id].spec
        if kind is not ConnectionKind.MAIN or spec is None:
            return "main"
        ports = [port for port in spec.output_ports(source.parameters) if port != ERROR_PORT]
        if not fields.own_names:
            self._report.moved(sent=fields.at("index"), stored=f"{fields.stored}/from_port")
        # An index past the ports stays as text, for validation to name the ports there are.
        return ports[index] if index < len(ports) else str(index)

    def _lender_first(self, fields: Fields, attachment: Connection) -> Connection:
        """Return the attachment from lender to borrower; where both could lend it stays as sent."""
        source, target = self._by_id[attachment.source].spec, self._by_id[attachment.target].spec
        if source is None or target is None:
            return attachment
        kind = attachment.kind
        if kind in source.lends and kind in target.borrows:
            return attachment
        if kind not in target.lends or kind not in source.borrows:
            return attachment
        if not fields.own_names:
            self._report.moved(sent=fields.at("to"), stored=f"{fields.stored}/from")
            self._report.moved(sent=fields.at("from"), stored=f"{fields.stored}/to")
        return msgspec.structs.replace(
            attachment,
            source=attachment.target,
            target=attachment.source,
            from_port=attachment.to_port,
            to_port=attachment.from_port,
        )

    def _once(self, fields: Fields, connection: Connection) -> Connection | None:
        if connection.identity not in self._seen:
            self._seen.add(connection.identity)
            return connection
        message = (
            f"{connection.source!r} and {connection.target!r} are connected twice on the same ports; "
            "keep one"
        )
        fields.problem_at(fields.sent, "duplicate_connection", message)
        return None


def _kind(fields: Fields) -> ConnectionKind | None:
    value = fields.values.get("kind", "MAIN")
    if not isinstance(value, str):
        fields.wrong_type("kind", "a string")
        return None
    spelling = _plain(value)
    supported = ", ".join(ConnectionKind)
    for kind in ConnectionKind:
        if _plain(kind) == spelling:
            return kind
    for name, instead in UNSUPPORTED_KINDS.items():
        if _plain(name) == spelling:
            message = f"{name} is not supported; use {instead}. Supported are {supported}"
            fields.problem("kind", "unsupported_kind", message)
            return None
    message = f"there is no kind of connection {value!r:.80}; there are {supported}"
    fields.problem("kind", "unknown_kind", message)
    return None


def _plain(text: str) -> str:
    """Return `text` without case and separators, so that ai_languageModel is AI_LANGUAGE_MODEL."""
    return text.strip().upper().replace("_", "").replace("-", "").replace(" ", "")
