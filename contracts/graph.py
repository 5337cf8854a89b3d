"""The graph of a document: order, loop bodies, upstream nodes, roots, triggers and lenders.

MAIN connections make the order. A connection into a loop's port `loop_body` leads back: it ends the
body, and is left out wherever order is meant.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from contracts import reachability
from contracts.model import Connection, ConnectionKind, Document, Node
from contracts.specs import Catalogue, NodeSpec

LOOP_BODY: Final = "loop_body"
ITERATION: Final = "iteration"
MANUAL_TRIGGER: Final = "TRIGGER.MANUAL"
_MODEL: Final = ConnectionKind.AI_LANGUAGE_MODEL

Wires = dict[str, tuple[Connection, ...]]
"""Connections by the node at one end, in the order of the document; every node has an entry."""


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from the connections of a document. Tuples of ids stand in document order."""

    ids: tuple[str, ...]
    places: dict[str, int]  # the position of each node in `ids`
    successors: Wires  # MAIN connections from a node, also those that lead back into a loop
    predecessors: Wires  # MAIN connections to a node, without those that lead back
    returns: Wires  # MAIN connections that lead back into a loop
    lent: Wires  # attachments from a lender
    borrowed: Wires  # attachments to a borrower
    order: tuple[str, ...]  # topological, of ready nodes the first in the document first
    cycles: tuple[tuple[str, ...], ...]  # ways round; none in a valid document
    rings: tuple[
        tuple[str, ...], ...
    ]  # the same of lent tools and memories, whose calls would never end
    triggers: tuple[str, ...]
    roots: tuple[str, ...]  # other nodes that start with the trigger data
    lenders: frozenset[str]  # nodes that only lend: no node runs of their own
    bodies: dict[str, frozenset[str]]  # what a loop's port `iteration` reaches
    beyond: dict[str, frozenset[str]]  # what its other ports reach
    loops: dict[str, tuple[str, ...]]  # the loops around a node, outermost first
    upstream_bits: tuple[int, ...]
    downstream_bits: tuple[int, ...]
    visible_bits: tuple[int, ...]

    def upstream(self, node_id: str) -> frozenset[str]:
        """Return the nodes from which MAIN connections lead to this one."""
        return self._named(self.upstream_bits[self.places[node_id]])

    def sees(self, node_id: str, other: str) -> bool:
        """Whether expressions of a node may name the output of another.

        They may if it is upstream. A lender's calls stand in its borrowers, so it sees what all of
        them see.
        """
        return bool(self.visible_bits[self.places[node_id]] >> self.places[other] & 1)

    def leads_back(self, wire: Connection) -> bool:
        """Whether a connection ends a loop's body: it leads into `loop_body`."""
        return wire.to_port == LOOP_BODY and wire.target in self.bodies

    def reached(self, starts: Iterable[str]) -> frozenset[str]:
        """Return `starts` and the nodes to which MAIN connections lead from them."""
        bits = 0
        for node_id in starts:
            place = self.places[node_id]
            bits |= 1 << place | self.downstream_bits[place]
        return self._named(bits)

    def _named(self, bits: int) -> frozenset[str]:
        return frozenset(self.ids[place] for place in reachability.members(bits))


def build_graph(document: Document, catalogue: Catalogue) -> Graph:
    """Return the graph of a document whose connections lead to nodes that are there."""
    return _Builder(document, catalogue).graph()


def is_loop(spec: NodeSpec | None) -> bool:
    """Whether nodes of this type run a body: they take back what an iteration gives."""
    return spec is not None and any(port.name == LOOP_BODY for port in spec.inputs)


def is_trigger(node: Node) -> bool:
    """Whether the node starts executions."""
    return node.type.startswith("TRIGGER.")


def start_trigger(document: Document, fired: str | None = None) -> str | None:
    """Return the trigger that an execution starts at, or None.

    It is the one that fired or is named; else the first enabled manual one, else the first enabled.
    """
    enabled = [node for node in document.nodes if is_trigger(node) and not node.disabled]
    if fired is not None:
        return next((node.id for node in enabled if node.id == fired), None)
    manual = [node for node in enabled if node.type == MANUAL_TRIGGER]
    return next((node.id for node in manual or enabled), None)


class _Builder:
    """Sorts the connections once; the rest of the graph follows from that."""

    def __init__(self, document: Document, catalogue: Catalogue) -> None:
        self._nodes = document.nodes
        self._ids = tuple(node.id for node in document.nodes)
        self._places = {node_id: place for place, node_id in enumerate(self._ids)}
        loop_types = {spec.type for spec in catalogue.newest if is_loop(spec)}
        self._loop_ids = {node.id: None for node in document.nodes if node.type in loop_types}
        wires = document.connections
        self._main = [wire for wire in wires if wire.kind is ConnectionKind.MAIN]
        self._attached = [wire for wire in wires if wire.kind is not ConnectionKind.MAIN]
        self._forward = [wire for wire in self._main if not self._leads_back(wire)]

    def graph(self) -> Graph:
        after = self._targets(self._forward)
        parts = reachability.components(after)
        downstream = reachability.downstream(after, parts)
        upstream = reachability.upstream(after, parts)
        successors = self._by_source(self._main)
        lenders = self._lenders()
        bodies, beyond = self._bodies(successors, downstream)
        around = _around(bodies, self._ids)
        lending = self._targets(self._attached)
        calls = self._targets(wire for wire in self._attached if wire.kind is not _MODEL)
        visible = list(upstream)
        for lender, borrowers in self._lenders_last(lenders, lending):
            visible[self._places[lender]] = _common(visible[place] for place in borrowers)
            around[lender] = _shared([around[self._ids[place]] for place in borrowers])
        predecessors = self._by_target(self._forward)
        return Graph(
            ids=self._ids,
            places=self._places,
            successors=successors,
            predecessors=predecessors,
            returns=self._by_target(wire for wire in self._main if self._leads_back(wire)),
            lent=self._by_source(self._attached),
            borrowed=self._by_target(self._attached),
            order=tuple(self._ids[place] for place in reachability.ordered(after)),
            cycles=self._ways_round(after, parts),
            rings=self._ways_round(calls, reachability.components(calls)),
            triggers=tuple(node.id for node in self._nodes if is_trigger(node)),
            roots=self._roots(predecessors, lenders),
            lenders=lenders,
            bodies=bodies,
            beyond=beyond,
            loops=around,
            upstream_bits=tuple(upstream),
            downstream_bits=tuple(downstream),
            visible_bits=tuple(visible),
        )

    def _leads_back(self, wire: Connection) -> bool:
        return wire.to_port == LOOP_BODY and wire.target in self._loop_ids

    def _targets(self, wires: Iterable[Connection]) -> reachability.Targets:
        found: reachability.Targets = [[] for _ in self._ids]
        for wire in wires:
            found[self._places[wire.source]].append(self._places[wire.target])
        return found

    def _by_source(self, wires: Iterable[Connection]) -> Wires:
        found: dict[str, list[Connection]] = {node_id: [] for node_id in self._ids}
        for wire in wires:
            found[wire.source].append(wire)
        return {node_id: tuple(listed) for node_id, listed in found.items()}

    def _by_target(self, wires: Iterable[Connection]) -> Wires:
        found: dict[str, list[Connection]] = {node_id: [] for node_id in self._ids}
        for wire in wires:
            found[wire.target].append(wire)
        return {node_id: tuple(listed) for node_id, listed in found.items()}

    def _lenders(self) -> frozenset[str]:
        wired = {end for wire in self._main for end in (wire.source, wire.target)}
        return frozenset(wire.source for wire in self._attached if wire.source not in wired)

    def _lenders_last(
        self, lenders: frozenset[str], lending: reachability.Targets
    ) -> Iterator[tuple[str, list[int]]]:
        """Yield the lenders with their borrowers, each after those it lends to."""
        for part in reachability.components(lending):
            for place in part:
                if self._ids[place] in lenders:
                    yield self._ids[place], lending[place]

    def _ways_round(
        self, after: reachability.Targets, parts: list[list[int]]
    ) -> tuple[tuple[str, ...], ...]:
        ways = (reachability.cycle(part, after) for part in parts if len(part) > 1)
        return tuple(tuple(self._ids[place] for place in way) for way in ways)

    def _roots(self, predecessors: Wires, lenders: frozenset[str]) -> tuple[str, ...]:
        return tuple(
            node.id
            for node in self._nodes
            if not is_trigger(node) and not predecessors[node.id] and node.id not in lenders
        )

    def _bodies(
        self, successors: Wires, downstream: list[int]
    ) -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
        """Return by loop what its port `iteration` reaches, and what its other ports reach."""
        bodies, beyond = {}, {}
        for loop_id in self._loop_ids:
            ahead = [wire for wire in successors[loop_id] if not self._leads_back(wire)]
            inner = [wire.target for wire in ahead if wire.from_port == ITERATION]
            outer = [wire.target for wire in ahead if wire.from_port != ITERATION]
            bodies[loop_id] = self._reached(inner, downstream)
            beyond[loop_id] = self._reached(outer, downstream)
        return bodies, beyond

    def _reached(self, starts: list[str], downstream: list[int]) -> frozenset[str]:
        bits = 0
        for place in (self._places[node_id] for node_id in starts):
            bits |= 1 << place | downstream[place]
        return frozenset(self._ids[place] for place in reachability.members(bits))


def _around(bodies: dict[str, frozenset[str]], ids: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the loops around each node: an outer body is larger, for it holds the inner loop too."""
    around: dict[str, list[str]] = {node_id: [] for node_id in ids}
    for loop_id in sorted(bodies, key=lambda loop_id: -len(bodies[loop_id])):
        for node_id in bodies[loop_id]:
            around[node_id].append(loop_id)
    return {node_id: tuple(loops) for node_id, loops in around.items()}


def _common(sets: Iterable[int]) -> int:
    """Return the bits that all sets have."""
    common = -1
    for bits in sets:
        common &= bits
    return common


def _shared(paths: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the beginning that all paths share."""
    shared = paths[0]
    for path in paths[1:]:
        same = 0
        while same < min(len(shared), len(path)) and shared[same] == path[same]:
            same += 1
        shared = shared[:same]
    return shared
