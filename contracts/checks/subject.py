"""What is being checked: a document, the specs of its nodes, and what may be seen from where."""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Final

from contracts import schemas
from contracts.expressions.budget import Limits
from contracts.expressions.regex import Regex
from contracts.graph import Graph, build_graph, is_trigger
from contracts.limits import DocumentLimits
from contracts.model import Connection, ConnectionKind, Document, Fragment, Node
from contracts.problems import Problem, pointer
from contracts.specs import Catalogue, NodeSpec
from contracts.spelling import Hints

COMMON_NAMES: Final = frozenset(
    ("input", "nodes", "trigger", "static", "workflow", "execution", "now")
)
TRIGGER_NAMES: Final = frozenset(("static", "workflow", "now"))
"""A trigger's own expressions are evaluated before there is an execution."""

_MAIN: Final = ConnectionKind.MAIN

CronCheck = Callable[[str], str | None]
"""Returns what is wrong with a cron text, to go on after a colon; None if nothing is."""
SchemaCheck = Callable[[Any], str | None]
"""Returns what is wrong with a JSON Schema that a user wrote, to go on after its name; None if nothing is."""


class Subject:
    """A document under validation, with what every check needs to know of it.

    Of a fragment, which could be read in part only, nothing is said about how its nodes go together.
    """

    def __init__(
        self,
        document: Document,
        catalogue: Catalogue,
        *,
        regex: Regex | None,
        credentials: Mapping[str, str] | None,
        cron_fault: CronCheck | None,
        schema_fault: SchemaCheck | None,
        limits: DocumentLimits,
        expression_limits: Limits,
    ) -> None:
        self.document = document
        self.catalogue = catalogue
        self.regex = regex
        self.credentials = credentials
        self.cron_fault = cron_fault
        self.schema_fault = schema_fault
        self.limits = limits
        self.expression_limits = expression_limits
        self.is_whole = not isinstance(document, Fragment)
        self.hints = Hints()
        self.nodes = {node.id: node for node in document.nodes}
        self.places = dict(zip(self.nodes, _node_places(document), strict=True))

    @cached_property
    def graph(self) -> Graph:
        """The graph of the document, which must be whole."""
        assert self.is_whole
        return build_graph(self.document, self.catalogue)

    @cached_property
    def specs(self) -> dict[str, NodeSpec]:
        """The spec of each node: of the version it pins, else the newest, if its type is known."""
        found = {node.id: self._spec(node) for node in self.document.nodes}
        return {node_id: spec for node_id, spec in found.items() if spec is not None}

    def _spec(self, node: Node) -> NodeSpec | None:
        pinned = self.catalogue.get(node.type, node.type_version)
        return pinned or self.catalogue.get(node.type)

    @cached_property
    def main(self) -> list[tuple[int, Connection]]:
        """The MAIN connections with their positions in the list."""
        return [(place, wire) for place, wire in self._placed() if wire.kind is _MAIN]

    @cached_property
    def attachments(self) -> list[tuple[int, Connection]]:
        """The attachments with their positions in the list."""
        return [(place, wire) for place, wire in self._placed() if wire.kind is not _MAIN]

    def _placed(self) -> Iterable[tuple[int, Connection]]:
        wires = self.document.connections
        return zip(_connection_places(self.document), wires, strict=True)

    def names(self, node_id: str) -> frozenset[str]:
        """Return the names that expressions of a node see, apart from a parameter's own scope."""
        node = self.nodes.get(node_id)
        if node is not None and is_trigger(node):
            return TRIGGER_NAMES
        if not self.is_whole or self.graph.loops[node_id]:
            return COMMON_NAMES | {"loop"}
        return COMMON_NAMES

    def is_parallel(self, loop_id: str) -> bool:
        """Whether several iterations of a loop may go at once, as far as its parameters tell."""
        spec = self.specs[loop_id]
        given = self.nodes[loop_id].parameters | spec.fixed
        if given.get("loop_type") in ("while", "until"):
            return False
        most = schemas.converted(given.get("max_parallel"), {"type": "integer"})
        return isinstance(most, int | float) and most > 1

    def problem(self, node_id: str, place: str, code: str, message: str) -> Problem:
        """Return a problem at a pointer inside a node: empty for the node itself."""
        at = pointer("nodes", self.places[node_id]) + place
        return Problem(at, code, message, node_id)


def _node_places(document: Document) -> Iterable[int]:
    return document.node_places if isinstance(document, Fragment) else range(len(document.nodes))


def _connection_places(document: Document) -> Iterable[int]:
    if isinstance(document, Fragment):
        return document.connection_places
    return range(len(document.connections))
