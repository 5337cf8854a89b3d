"""Reading documents: whatever spelling was sent becomes the one normalised form, or a list of problems.

`read_document` reports everything that forbids saving, and warnings; what forbids publishing is for
`contracts.validation`. Normalising what is already normal changes nothing.
"""

from collections.abc import Container, Iterable
from enum import Enum
from typing import Any, Final

import msgspec

from contracts.limits import DocumentLimits
from contracts.model import FORMAT, Document, Fragment, Node
from contracts.problems import Problem, pointer
from contracts.reading.connections import read_connections
from contracts.reading.fields import Fields, Shape, open_fields, type_name
from contracts.reading.nodes import read_metadata, read_nodes
from contracts.reading.report import Report
from contracts.reading.settings import read_settings
from contracts.specs import Catalogue

DOCUMENT_SHAPE: Final = Shape(
    what="a document",
    names=frozenset(
        (
            "format", "name", "description", "nodes", "connections", "settings", "static_data",
            "pin_data", "tags", "metadata",
        )
    ),
    ignored=frozenset(("session_id",)),
)  # fmt: skip

DEFAULT_LIMITS: Final = DocumentLimits()
MAX_TAGS: Final = 50


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What came of reading a document: the document, unless a problem forbids saving it, and all problems.

    Without a document, `draft` holds what could be read, so that validation can say what else is
    wrong with single nodes. `origins` tells where each field stood that was sent under another name,
    by its pointer in the normalised form.
    """

    document: Document | None
    problems: tuple[Problem, ...]
    draft: Fragment | None = None
    origins: dict[str, str] = {}

    def located(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """Return problems of the normalised form with pointers into what was sent."""
        return tuple(
            msgspec.structs.replace(problem, pointer=self._sent(problem.pointer))
            for problem in problems
        )

    def _sent(self, stored: str) -> str:
        """Return the pointer with its longest moved beginning replaced."""
        end = len(stored)
        while end > 0:
            if (origin := self.origins.get(stored[:end])) is not None:
                return origin + stored[end:]
            end = stored.rfind("/", 0, end)
        return stored


def read_document(
    raw: Any, catalogue: Catalogue, limits: DocumentLimits = DEFAULT_LIMITS
) -> Reading:
    """Read a document in any accepted spelling. Never raises for what was sent."""
    report = Report()
    if not isinstance(raw, dict):
        report.add("", "invalid_type", f"a document must be an object, not {type_name(raw)}")
        return Reading(document=None, problems=report.problems)
    fragment = _read(raw, catalogue, report, limits)
    is_refused = report.refuses
    return Reading(
        document=None if is_refused else _whole(fragment),
        problems=report.problems,
        draft=fragment if is_refused else None,
        origins=report.origins,
    )


def _whole(fragment: Fragment) -> Document:
    """Return the document that a fragment is where nothing was missing or wrong."""
    return Document(**{name: getattr(fragment, name) for name in Document.__struct_fields__})


def export_form(document: Document) -> dict[str, Any]:
    """Return the document as files carry it: without what equals its default.

    `format` and the nodes' `type_version` always stand, for they say how to read the rest.
    """
    exported: dict[str, Any] = {"format": document.format, **_without_defaults(document)}
    exported["nodes"] = [_exported_node(node) for node in document.nodes]
    return exported


def _read(
    raw: dict[str, Any], catalogue: Catalogue, report: Report, limits: DocumentLimits
) -> Fragment:
    fields = open_fields(_without_version(raw, report), DOCUMENT_SHAPE, report, sent="")
    nodes = read_nodes(fields, catalogue, report, limits)
    connections = read_connections(fields, nodes, report, limits) if nodes else []
    distinct = {read.node.id: read for read in reversed(nodes)}
    kept = [read for read in nodes if distinct[read.node.id] is read]
    return Fragment(
        format=_format(fields),
        name=_name(fields),
        description=fields.text("description", most=10_000),
        nodes=tuple(read.node for read in kept),
        connections=tuple(connection for _, connection in connections),
        settings=read_settings(fields, report, limits),
        static_data=fields.values_of_users("static_data"),
        pin_data=_pins(fields, distinct.keys()) if nodes else {},
        tags=_tags(fields),
        metadata=read_metadata(fields),
        node_places=tuple(read.place for read in kept),
        connection_places=tuple(place for place, _ in connections),
    )


def _without_version(raw: dict[str, Any], report: Report) -> dict[str, Any]:
    """Drop the `version` of older documents, which was a string; anything else under it is unknown."""
    if not isinstance(raw.get("version"), str):
        return raw
    message = "version is not used by this engine, which numbers what is published; it was dropped"
    report.add("/version", "ignored_field", message)
    return {key: value for key, value in raw.items() if key != "version"}


def _format(fields: Fields) -> int:
    value = fields.values.get("format", FORMAT)
    if isinstance(value, int) and not isinstance(value, bool) and value > FORMAT:
        message = (
            f"format {value} is newer than this engine, which reads up to {FORMAT}; upgrade it"
        )
        fields.problem("format", "format_unsupported", message)
        return FORMAT
    return fields.integer("format", default=FORMAT, least=1, most=FORMAT)


def _name(fields: Fields) -> str:
    if "name" not in fields:
        fields.missing("name", "1 to 255 characters")
        return ""
    if isinstance(fields.values["name"], str):
        fields.values["name"] = fields.values["name"].strip()
    return fields.text("name", least=1, most=255)


def _pins(fields: Fields, node_ids: Container[str]) -> dict[str, Any]:
    pins = fields.values_of_users("pin_data")
    for node_id in pins:
        if node_id not in node_ids:
            at = fields.at("pin_data") + pointer(node_id)
            message = f"there is no node with the id {node_id!r:.80} to pin; remove the pin"
            fields.problem_at(at, "unknown_node", message)
    return pins


def _tags(fields: Fields) -> tuple[str, ...]:
    tags = fields.items("tags")
    if len(tags) > MAX_TAGS:
        message = f"{len(tags)} tags; the limit is {MAX_TAGS}"
        fields.problem("tags", "limit_exceeded", message)
        return ()
    for index, tag in enumerate(tags):
        at = fields.at("tags") + pointer(index)
        if not isinstance(tag, str):
            fields.problem_at(at, "invalid_type", f"a tag must be a string, not {type_name(tag)}")
        elif not 1 <= len(tag) <= 64:
            message = f"a tag must have 1 to 64 characters, not {len(tag)}"
            fields.problem_at(at, "invalid_value", message)
        elif tag in tags[:index]:
            fields.problem_at(at, "invalid_value", f"the tag {tag!r} is given twice; keep one")
    return tuple(tag for tag in tags if isinstance(tag, str))


def _exported_node(node: Node) -> dict[str, Any]:
    exported = _without_defaults(node) | {"type_version": node.type_version}
    if node.name == node.id:
        del exported["name"]
    return {"id": node.id, "type": node.type, **exported}


def _without_defaults(value: msgspec.Struct) -> dict[str, Any]:
    """Return the fields of a struct that differ from their defaults, inner structs likewise."""
    found = {}
    for field in msgspec.structs.fields(value):
        item = getattr(value, field.name)
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if item != default or type(item) is not type(default):
            found[field.encode_name] = _plain(item)
    return found


def _plain(value: Any) -> Any:
    match value:
        case msgspec.Struct():
            return _without_defaults(value)
        case tuple():
            return [_plain(item) for item in value]
        case Enum():
            return value.value
        case _:
            return value
