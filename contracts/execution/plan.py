"""A workflow version compiled once: successors per port, join counts, and what each task must carry."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from contracts.expressions import check, templates
from contracts.expressions.errors import ExpressionError
from contracts.graph import is_trigger
from contracts.messages import TaskNode
from contracts.model import (
    ConnectionKind,
    Delivery,
    Document,
    Node,
    OnError,
    RetryPolicy,
)
from contracts.specs import ERROR_PORT, Catalogue, NodeSpec

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


class PlannedConnection(msgspec.Struct, frozen=True):
    """A MAIN connection; `wired` counts the connections into the same port of the target."""

    source: str
    from_port: str
    target: str
    to_port: str
    mapping: dict[str, Any] | None
    wired: int


class PlannedNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node as the engine sees it: every default resolved, its constant bytes encoded once.

    `fleet` is the node type whose workers serve it; `references` are the nodes that its expressions
    name; `encoded` is its `TaskNode`.
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
    """A compiled workflow version. `nodes` is in document order, lenders without a run left out."""

    version_id: str
    workflow_id: str
    version: int | None
    nodes: dict[str, PlannedNode]
    timeout: float | None
    document: Document

    @property
    def triggers(self) -> tuple[PlannedNode, ...]:
        """The TRIGGER nodes, in document order."""
        return tuple(node for node in self.nodes.values() if node.is_trigger)


def compile_plan(document: Document, facts: VersionFacts, catalogue: Catalogue) -> Plan:
    """Compile a valid document. A node type that the catalogue lost keeps plain ports."""
    main = [each for each in document.connections if each.kind is ConnectionKind.MAIN]
    lenders = _lenders(document)
    wired = Counter((each.target, each.to_port) for each in main)
    planned = [
        PlannedConnection(
            each.source,
            each.from_port,
            each.target,
            each.to_port,
            each.mapping,
            wired[each.target, each.to_port],
        )
        for each in main
    ]
    incoming = _grouped(planned, by_target=True)
    outgoing = _grouped(planned, by_target=False)
    nodes = {
        node.id: _plan_node(
            document,
            facts,
            catalogue,
            node,
            index,
            incoming.get(node.id, ()),
            outgoing.get(node.id, ()),
        )
        for index, node in enumerate(document.nodes)
        if node.id not in lenders
    }
    return Plan(
        version_id=facts.version_id,
        workflow_id=facts.workflow_id,
        version=facts.version,
        nodes=nodes,
        timeout=document.settings.timeout,
        document=document,
    )


def _lenders(document: Document) -> frozenset[str]:
    """Return the nodes that only lend: an attachment goes out and no MAIN connection touches them."""
    touched = {
        end
        for each in document.connections
        if each.kind is ConnectionKind.MAIN
        for end in (each.source, each.target)
    }
    lending = {each.source for each in document.connections if each.kind is not ConnectionKind.MAIN}
    return frozenset(lending - touched)


def _grouped(
    connections: Iterable[PlannedConnection], *, by_target: bool
) -> dict[str, tuple[PlannedConnection, ...]]:
    groups: dict[str, list[PlannedConnection]] = {}
    for each in connections:
        groups.setdefault(each.target if by_target else each.source, []).append(each)
    return {node_id: tuple(group) for node_id, group in groups.items()}


def _plan_node(
    document: Document,
    facts: VersionFacts,
    catalogue: Catalogue,
    node: Node,
    index: int,
    incoming: tuple[PlannedConnection, ...],
    outgoing: tuple[PlannedConnection, ...],
) -> PlannedNode:
    spec = catalogue.get(node.type, node.type_version) or NodeSpec(type=node.type, title=node.type)
    ports = frozenset(each.from_port for each in outgoing)
    references, names = _references(node, spec, incoming)
    task_node = _task_node(document, facts, node, spec, names_static="static" in names)
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
        on_error=_on_error(document, node, ports),
        retry_policy=node.retry_policy,
        delivery=node.delivery or spec.delivery,
        references=tuple(sorted(references)),
        names_trigger="trigger" in names,
        pinned=_pinned(document, node, spec),
        task_node=task_node,
        encoded=msgspec.Raw(_encode(task_node)),
    )


def _task_node(
    document: Document, facts: VersionFacts, node: Node, spec: NodeSpec, *, names_static: bool
) -> TaskNode:
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
    )


def _on_error(document: Document, node: Node, wired_ports: frozenset[str]) -> OnError:
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
