"""A workflow version compiled once: successors per port, join counts, and what each task must carry."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from contracts.expressions import check, templates
from contracts.expressions.errors import ExpressionError
from contracts.graph import ITERATION, Graph, build_graph, is_loop, is_trigger
from contracts.messages import TaskNode
from contracts.model import (
    Connection,
    ConnectionKind,
    Delivery,
    Document,
    Node,
    OnError,
    RetryPolicy,
)
from contracts.specs import ERROR_PORT, TIMEOUT_PORT, Catalogue, NodeSpec

LONGEST_WAIT: Final = 31_536_000
"""Seconds that one wait may take."""

_encode: Final = msgspec.json.Encoder().encode
_ANY_NAME: Final = frozenset(
    [
        "input",
        "nodes",
        "trigger",
        "static",
        "workflow",
        "execution",
        "now",
        "loop",
        "item",
        "index",
        "acc",
        "items",
        "key",
        "data",
        "inputs",
        "ports",
        "signal",
        "message",
        "args",
        "interaction",
        "response",
    ]
)


class VersionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan needs to know of its workflow version besides the document."""

    version_id: str
    workflow_id: str
    version: int | None = None


class Way(StrEnum):
    """Where a connection leads, seen from the loops around its ends."""

    ALONG = "ALONG"  # within one iteration, or outside loops
    IN = "IN"  # from outside into a body: resolved once, it holds in each iteration
    ITEM = "ITEM"  # from a loop's port `iteration` into its body
    BACK = "BACK"  # from a body into its loop's port `loop_body`: it ends the iteration


class PlannedConnection(msgspec.Struct, frozen=True):
    """A MAIN connection; `wired` counts the connections into the same port of the target.

    `levels` is how many loops more are around its target: so many indexes less has the iteration path
    of its source.
    """

    source: str
    from_port: str
    target: str
    to_port: str
    mapping: dict[str, Any] | None
    wired: int
    way: Way = Way.ALONG
    levels: int = 0


class PlannedLoop(msgspec.Struct, frozen=True):
    """A loop's body: the nodes whose innermost loop it is, and what leads back, both in document order."""

    body: tuple[str, ...]
    back: tuple[PlannedConnection, ...]


class Join(msgspec.Struct, frozen=True):
    """How a node with several inputs departs from waiting for all: `first` takes the first delivery.

    `max_wait` is in seconds from the first delivery; then it goes on with what is there, if `proceeds`.
    """

    first: bool = False
    max_wait: float | None = None
    proceeds: bool = False


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker may go on with after a node, and what its task must carry for that; made in `segments`."""

    encoded: msgspec.Raw
    references: tuple[str, ...]
    names_trigger: bool
    names_loop: bool


class PlannedNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node as the engine sees it: every default resolved, its constant bytes encoded once.

    `fleet` is the node type whose workers serve it; `loops` are the loops around it, outermost first;
    `loop` is its body if it is one; `incoming` leaves out what leads back into it. `references` are
    the nodes that its expressions name; `encoded` is its `TaskNode`. `follows` is the connection over which a
    worker may go on to it by itself, if it may.
    """

    id: str
    index: int
    type: str
    fleet: str
    is_trigger: bool
    disabled: bool
    incoming: tuple[PlannedConnection, ...]
    outgoing: tuple[PlannedConnection, ...]
    wired_ports: frozenset[str]
    output_ports: tuple[str, ...]
    pass_through: str | None
    on_error: OnError
    retry_policy: RetryPolicy | None
    delivery: Delivery
    references: tuple[str, ...]
    names_trigger: bool
    names_loop: bool
    after_wait: str
    loops: tuple[str, ...]
    loop: PlannedLoop | None
    join: Join | None
    follows: PlannedConnection | None
    pinned: dict[str, msgspec.Raw] | None
    task_node: TaskNode
    encoded: msgspec.Raw

    @property
    def is_root(self) -> bool:
        """Whether nothing must happen before it."""
        return not self.incoming

    def main_output(self, ports: Iterable[str]) -> str | None:
        """Return the port that stands for the node's output: `main`, else the first in order."""
        yielded = frozenset(ports)
        if "main" in yielded:
            return "main"
        return next((port for port in self.output_ports if port in yielded), None)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled workflow version. `nodes` is in document order, lenders without a run left out.

    `segments` keeps what `segments.after` made, by node.
    """

    version_id: str
    workflow_id: str
    version: int | None
    nodes: dict[str, PlannedNode]
    timeout: float | None
    failure_workflow: str | None
    document: Document
    segments: dict[str, Segment | None] = {}

    @property
    def triggers(self) -> tuple[PlannedNode, ...]:
        """The TRIGGER nodes, in document order."""
        return tuple(node for node in self.nodes.values() if node.is_trigger)


def compile_plan(document: Document, facts: VersionFacts, catalogue: Catalogue) -> Plan:
    """Compile a valid document. A node type that the catalogue lost keeps plain ports."""
    compiler = _Compiler(document, facts, catalogue)
    nodes = {
        node.id: compiler.node(node, index)
        for index, node in enumerate(document.nodes)
        if node.id not in compiler.graph.lenders
    }
    return Plan(
        version_id=facts.version_id,
        workflow_id=facts.workflow_id,
        version=facts.version,
        nodes=nodes,
        timeout=document.settings.timeout,
        failure_workflow=document.settings.failure_workflow,
        document=document,
    )


class _Compiler:
    """Sorts the connections once; each node is compiled from what leads to it and from it."""

    def __init__(self, document: Document, facts: VersionFacts, catalogue: Catalogue) -> None:
        self._document = document
        self._facts = facts
        self._catalogue = catalogue
        self.graph = build_graph(document, catalogue)
        planned = self._connections()
        self._incoming = _grouped(planned, by_target=True)
        self._outgoing = _grouped(planned, by_target=False)
        # Behind a join that did not wait for all, the nodes that expressions name may still be under way.
        self._has_early_joins = any(_join(each, self._spec(each)) for each in document.nodes)

    def node(self, node: Node, index: int) -> PlannedNode:
        """Compile one node."""
        spec = self._spec(node)
        arriving = self._incoming.get(node.id, ())
        incoming = tuple(each for each in arriving if each.way is not Way.BACK)
        outgoing = self._outgoing.get(node.id, ())
        ports = frozenset(each.from_port for each in outgoing)
        references, names = _references(node, spec, arriving)
        task_node = _task_node(
            self._document, self._facts, node, spec, ports, names_static="static" in names
        )
        return PlannedNode(
            id=node.id,
            index=index,
            type=node.type,
            fleet=spec.preset_of or node.type,
            is_trigger=is_trigger(node),
            disabled=node.disabled,
            incoming=incoming,
            outgoing=outgoing,
            wired_ports=ports,
            output_ports=spec.output_ports(node.parameters),
            pass_through=spec.pass_through_port(node.parameters),
            on_error=_on_error(self._document, node, spec, ports),
            retry_policy=node.retry_policy,
            delivery=node.delivery or spec.delivery,
            references=tuple(sorted(references)),
            names_trigger="trigger" in names,
            names_loop="loop" in names,
            after_wait=spec.after_wait,
            loops=self.graph.loops[node.id],
            loop=self._loop(node, spec),
            join=_join(node, spec),
            follows=incoming[0]
            if self._can_follow(node, spec, incoming, references, names)
            else None,
            pinned=_pinned(self._document, node, spec),
            task_node=task_node,
            encoded=msgspec.Raw(_encode(task_node)),
        )

    def _can_follow(
        self,
        node: Node,
        spec: NodeSpec,
        incoming: tuple[PlannedConnection, ...],
        references: frozenset[str],
        names: frozenset[str],
    ) -> bool:
        """Whether a worker that did the node before has all it takes to go on with this one.

        It has not, where something else may stand for the node, where only the scheduler knows the instant at which it became
        ready, a secret is asked for under the node's own token, or a value was awaited by nobody.
        """
        if len(incoming) != 1 or incoming[0].way is not Way.ALONG:
            return False
        wire = incoming[0]
        beside = self._outgoing[wire.source]
        return not (
            self.graph.loops[wire.source] != self.graph.loops[node.id]
            or sum(each.from_port == wire.from_port for each in beside) > 1
            or is_loop(spec)
            or node.disabled
            or node.id in self._document.pin_data
            or (node.delivery or spec.delivery) is not Delivery.AT_LEAST_ONCE
            or spec.after_wait == "dispatch"
            or "now" in names
            or node.credentials
            or spec.credentials
            or self.graph.borrowed.get(node.id)
            or (references and self._has_early_joins)
        )

    def _spec(self, node: Node) -> NodeSpec:
        found = self._catalogue.get(node.type, node.type_version)
        return found or NodeSpec(type=node.type, title=node.type)

    def _connections(self) -> list[PlannedConnection]:
        main = [each for each in self._document.connections if each.kind is ConnectionKind.MAIN]
        wired = Counter((each.target, each.to_port) for each in main)
        return [
            PlannedConnection(
                each.source,
                each.from_port,
                each.target,
                each.to_port,
                each.mapping,
                wired[each.target, each.to_port],
                *_way(self.graph, each),
            )
            for each in main
        ]

    def _loop(self, node: Node, spec: NodeSpec) -> PlannedLoop | None:
        if not is_loop(spec):
            return None
        inside = (*self.graph.loops[node.id], node.id)
        body = tuple(each for each in self.graph.ids if self.graph.loops[each] == inside)
        arriving = self._incoming.get(node.id, ())
        return PlannedLoop(
            tuple(each for each in body if each not in self.graph.lenders),
            tuple(each for each in arriving if each.way is Way.BACK),
        )


def _way(graph: Graph, wire: Connection) -> tuple[Way, int]:
    """Return where a connection leads, and how many loops more are around its target."""
    if graph.leads_back(wire):
        return Way.BACK, 0
    levels = len(graph.loops[wire.target]) - len(graph.loops[wire.source])
    if wire.source in graph.bodies and wire.from_port == ITERATION:
        return Way.ITEM, levels
    return Way.IN if levels > 0 else Way.ALONG, levels


def _join(node: Node, spec: NodeSpec) -> Join | None:
    """Return how a node departs from waiting for all its inputs, or None. Only a MERGE does."""
    if spec.parameter("wait_for") is None:
        return None
    first = node.parameters.get("wait_for") == "first"
    max_wait = node.parameters.get("max_wait")
    if not isinstance(max_wait, int | float):
        return Join(first=True) if first else None
    return Join(first, min(max_wait, LONGEST_WAIT), node.parameters.get("on_timeout") == "PROCEED")


def _grouped(
    connections: Iterable[PlannedConnection], *, by_target: bool
) -> dict[str, tuple[PlannedConnection, ...]]:
    groups: dict[str, list[PlannedConnection]] = {}
    for each in connections:
        groups.setdefault(each.target if by_target else each.source, []).append(each)
    return {node_id: tuple(group) for node_id, group in groups.items()}


def _task_node(
    document: Document,
    facts: VersionFacts,
    node: Node,
    spec: NodeSpec,
    wired_ports: frozenset[str],
    *,
    names_static: bool,
) -> TaskNode:
    can_end_in_vain = any(port.name == TIMEOUT_PORT for port in spec.outputs)
    return TaskNode(
        id=node.id,
        name=node.name,
        type=spec.preset_of or node.type,
        type_version=node.type_version,
        parameters={**node.parameters, **spec.fixed},
        credentials=node.credentials,
        timeout=node.timeout or spec.timeout,
        delivery=node.delivery or spec.delivery,
        workflow_name=document.name,
        workflow_version=facts.version,
        timezone=document.settings.timezone,
        static=document.static_data if names_static else None,
        wired=tuple(sorted(wired_ports)) if can_end_in_vain else (),
    )


def _on_error(
    document: Document, node: Node, spec: NodeSpec, wired_ports: frozenset[str]
) -> OnError:
    """Return what follows a failure; where nothing can go on, whatever is wished for, the end."""
    if not spec.outputs and not spec.port_parameters:
        return OnError.STOP
    if node.on_error is not None:
        return node.on_error
    if ERROR_PORT in wired_ports:
        return OnError.CONTINUE_ERROR
    return document.settings.on_error


def _pinned(document: Document, node: Node, spec: NodeSpec) -> dict[str, msgspec.Raw] | None:
    if node.id not in document.pin_data:
        return None
    pin = document.pin_data[node.id]
    if isinstance(pin, Mapping) and set(pin) == {"ports"} and isinstance(pin["ports"], Mapping):
        return {port: msgspec.Raw(_encode(value)) for port, value in pin["ports"].items()}
    port = spec.pass_through_port(node.parameters) or "main"
    return {port: msgspec.Raw(_encode(pin))}


def _references(
    node: Node, spec: NodeSpec, incoming: Iterable[PlannedConnection]
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the nodes and the names that a node's expressions, and its mappings', use."""
    references: set[str] = set()
    names: set[str] = set()
    for source in _expressions(node, spec, incoming):
        try:
            checked = check.check(source, names=_ANY_NAME)
        except ExpressionError:
            continue  # validation reported it, or the attempt will
        references |= checked.references
        names |= checked.names
    return frozenset(references - {node.id}), frozenset(names)


def _expressions(
    node: Node, spec: NodeSpec, incoming: Iterable[PlannedConnection]
) -> Iterator[str]:
    for name, value in node.parameters.items():
        parameter = spec.parameter(name)
        kind = parameter.kind if parameter else "template"
        if kind == "literal":
            continue
        yield from (source for _, source in templates.sources(value))
        if kind == "expr":
            yield from _strings(value)
    for connection in incoming:
        if connection.mapping:
            yield from (source for _, source in templates.sources(connection.mapping))
            yield from _strings(connection.mapping)


def _strings(value: Any) -> Iterator[str]:
    """Yield every text in a structure: a bare expression may stand anywhere in it."""
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            stack.extend(each.values())
        elif isinstance(each, list | tuple):
            stack.extend(each)
