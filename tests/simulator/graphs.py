"""What workflows consist of: kinds of nodes, and how they are wired into graphs.

NODE_KINDS is meant to grow. A kind belongs to a feature, and a seed has some of the features: a graph of all of them would
show little of each. How attempts of a kind end is in `endings.py`, by node type and parameters.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from msgspec.structs import replace

from contracts.execution.plan import Plan, VersionFacts, compile_plan
from contracts.ids import derived_uuid7
from contracts.model import (
    Concurrency,
    Connection,
    Delivery,
    Document,
    Node,
    OnError,
    RetryPolicy,
    Settings,
)
from contracts.specs import Catalogue, NodeSpec, Port
from contracts.statuses import ItemError
from tests.support.engine import CATALOGUE as KNOWN
from tests.support.engine import START, document, node, wire

T = TypeVar("T")

ANY: Final = "CUSTOM.ANY"
OTHER: Final = "CUSTOM.OTHER"
"""Like ANY, on a fleet of its own."""
LOOP: Final = "FLOW.LOOP"
MERGE: Final = "FLOW.MERGE"
YIELDS: Final = "CUSTOM.YIELDS"
GOES_ON: Final = "CUSTOM.GOES_ON"
CALLS: Final = "CUSTOM.CALLS"
STEPS: Final = "CUSTOM.STEPS"
ONCE: Final = "CUSTOM.ONCE"

CATALOGUE: Final = Catalogue(
    (
        *KNOWN.newest,
        *(replace(each, type=OTHER) for each in KNOWN.newest if each.type == ANY),
        NodeSpec(type=CALLS, title="Starts an execution of another workflow"),
        NodeSpec(type=STEPS, title="Saves its finished calls", outputs=(Port("main"), Port("a"))),
        NodeSpec(type=ONCE, title="Called at most once", delivery=Delivery.AT_MOST_ONCE),
    )
)

OUT: Final = {
    LOOP: ("complete", "complete", "complete", "error"),
    MERGE: ("main", "main", "main", "error"),
    YIELDS: ("main", "main", "a", "timeout", "error"),
    GOES_ON: ("main", "main", "timeout", "error"),
    CALLS: ("main", "main", "error"),
    STEPS: ("main", "main", "a", "error"),
    ONCE: ("main", "main", "error"),
}
PORTS: Final = ("main", "main", "main", "a", "b", "error")
"""What connections begin at, of node types that OUT leaves out."""
INTO: Final = {MERGE: ("main", "input1", "input2")}

RETRIES: Final = (
    None,
    RetryPolicy(max_tries=2, wait_between_tries=1),
    RetryPolicy(wait_between_tries=0.2),
)
SIZES: Final = (1, 2, 3, 3, 4, 4, 5, 6, 9)
DEEPEST: Final = 2

SAME: Final = {"type": "TRANSFORM", "expression": "input"}
FAILING: Final = {"type": "TRANSFORM", "expression": "input.not.there"}


class NodeKind(NamedTuple):
    """A kind of node that graphs are made of, how often compared to the others, in seeds that have its feature."""

    weight: float
    make: Callable[[random.Random, str], Node]
    feature: str = ""


# --- kinds ---------------------------------------------------------------------------------------


def _plain(chance: random.Random, node_id: str) -> Node:
    fields: dict[str, Any] = {
        "retry_policy": chance.choice(RETRIES),
        "on_error": _continues(chance),
    }
    return node(node_id, OTHER if node_id[-1] in "13579" else ANY, **fields)


def _disabled(chance: random.Random, node_id: str) -> Node:
    return node(node_id, disabled=True, on_error=_continues(chance))


def _inheriting(chance: random.Random, node_id: str) -> Node:
    return node(node_id, retry_policy=chance.choice(RETRIES))


def _manual(_: random.Random, node_id: str) -> Node:
    return node(node_id, "TRIGGER.MANUAL")


def _event(chance: random.Random, node_id: str) -> Node:
    return node(node_id, "TRIGGER.EVENT", disabled=chance.random() < 0.1)


def _continues(chance: random.Random) -> OnError:
    return chance.choice((OnError.CONTINUE_ERROR, OnError.CONTINUE_REGULAR))


def _of(
    node_type: str, parameters: Callable[[random.Random], dict[str, Any]] | None = None
) -> Callable[[random.Random, str], Node]:
    """Return a maker of nodes of a type; `parameters` draws what `endings.py`, or the plan, reads."""

    def make(chance: random.Random, node_id: str) -> Node:
        return node(
            node_id,
            node_type,
            parameters=parameters(chance) if parameters else {},
            retry_policy=chance.choice(RETRIES),
            on_error=_continues(chance) if chance.random() < 0.9 else None,
        )

    return make


def _iterating(chance: random.Random) -> dict[str, Any]:
    return {
        "count": chance.choice((0, 1, 2, 2, 3, 3, 4, 5)),
        "batch_size": chance.choice((1, 1, 1, 2)),
        "max_parallel": chance.choice((1, 1, 2, 3)),
        "on_item_error": chance.choice((ItemError.STOP, ItemError.NULL, ItemError.DROP)),
        "collect": chance.random() < 0.85,
    }


def _asking(chance: random.Random) -> dict[str, Any]:
    return {
        "count": chance.choice((0, 1, 2, 3)),
        "on_item_error": chance.choice((ItemError.STOP, ItemError.NULL, ItemError.DROP)),
        "collect": chance.random() < 0.85,
    }


def _joining(chance: random.Random) -> dict[str, Any]:
    if chance.random() < 0.5:
        return {"wait_for": "first"}
    return {"max_wait": chance.choice((2, 20)), "on_timeout": chance.choice(("FAIL", "PROCEED"))}


NODE_KINDS: Final = {
    "plain": NodeKind(10, _plain),
    "disabled": NodeKind(1, _disabled),
    "stopping or as the workflow says": NodeKind(2, _inheriting),
    "loop over items": NodeKind(10, _of(LOOP, _iterating), "loops"),
    "loop on a condition": NodeKind(4, _of(LOOP, _asking), "loops"),
    "join of all": NodeKind(4, _of(MERGE), "joins"),
    "early join": NodeKind(8, _of(MERGE, _joining), "joins"),
    "sleeps": NodeKind(4, _of(YIELDS, lambda _: {"waits": "TIMER"}), "waits"),
    "sleeps, then works": NodeKind(4, _of(GOES_ON, lambda _: {"waits": "TIMER"}), "waits"),
    "takes a signal": NodeKind(6, _of(YIELDS, lambda _: {"waits": "SIGNAL"}), "waits"),
    "works after a signal": NodeKind(6, _of(GOES_ON, lambda _: {"waits": "SIGNAL"}), "waits"),
    "waits in vain": NodeKind(4, _of(YIELDS, lambda _: {"waits": "NOTHING"}), "waits"),
    "looks again and again": NodeKind(4, _of(GOES_ON, lambda _: {"waits": "CHECK"}), "waits"),
    "asks people": NodeKind(6, _of(YIELDS, lambda _: {"waits": "ANSWER"}), "questions"),
    "works after an answer": NodeKind(6, _of(GOES_ON, lambda _: {"waits": "ANSWER"}), "questions"),
    "asks in vain": NodeKind(4, _of(YIELDS, lambda _: {"waits": "NO ANSWER"}), "questions"),
    "calls": NodeKind(12, _of(CALLS, lambda _: {"detached": False}), "children"),
    "calls and goes on": NodeKind(4, _of(CALLS, lambda _: {"detached": True}), "children"),
    "called once": NodeKind(12, _of(ONCE), "once"),
    "saves calls": NodeKind(12, _of(STEPS), "checkpoints"),
}
TRIGGER_KINDS: Final = {
    "manual trigger": NodeKind(2, _manual),
    "event trigger": NodeKind(1, _event),
}
FEATURES: Final[tuple[str, ...]] = tuple(
    dict.fromkeys(
        (
            *filter(None, (kind.feature for kind in NODE_KINDS.values())),
            *("failure workflow", "slots", "pauses", "successors", "narrow window"),
        )
    )
)
"""What a seed may have besides the plain: kinds of nodes, settings, and what people do."""


# --- graphs --------------------------------------------------------------------------------------


class Wanted(NamedTuple):
    """What a workflow is to be like. `callees` are the names of those that it may call."""

    name: str
    features: frozenset[str] = frozenset()
    callees: tuple[str, ...] = ()
    size: int | None = None


def plan_of(chance: random.Random, wanted: Wanted) -> Plan:
    """Return a random workflow, compiled."""
    size = wanted.size or chance.choice(SIZES)
    if wanted.features and wanted.size is None:
        size = max(2, size * 2 // 3)
    triggers = chance.choice((0, 0, 0, 1, 1, 2))
    growth = _Growth(chance, wanted)
    nodes = [
        drawn(chance, TRIGGER_KINDS).make(chance, f"n{index}")
        if index < triggers
        else growth.node(f"n{index}", depth=0)
        for index in range(size)
    ]
    growth.wire(nodes, first=triggers)
    for each in nodes:
        growth.fill(each, nodes[: nodes.index(each)], depth=1)
    pinned = {each.id: {"pinned": each.id} for each in nodes if chance.random() < 0.1}
    made = document([*nodes, *growth.inside], growth.wires, _settings(chance, wanted))
    made = replace(made, name=wanted.name, pin_data=pinned)
    facts = VersionFacts(
        version_id=f"version-{wanted.name}", workflow_id=workflow_id(wanted.name), version=1
    )
    return compile_plan(made, facts, CATALOGUE)


def compiled(document: Document, facts: VersionFacts, catalogue: Catalogue) -> Plan:
    """Compile a document; what was compiled just before of the same is not compiled again.

    Each scheduler of a seed compiles what it reads, and mostly all read the same: in the place of `compile_plan` this spares time.
    """
    asked = (document, facts, catalogue.newest)
    found = _COMPILED.get(facts.version_id)
    if found is None or found[0] != asked:
        if len(_COMPILED) >= MOST_COMPILED:
            _COMPILED.clear()
        found = _COMPILED[facts.version_id] = (asked, compile_plan(*asked[:2], catalogue))
    return found[1]


MOST_COMPILED: Final = 100
_COMPILED: Final[dict[str, tuple[tuple[Document, VersionFacts, tuple[NodeSpec, ...]], Plan]]] = {}


def workflow_id(name: str) -> str:
    """Return the id of a workflow."""
    return derived_uuid7(START, f"workflow {name}")


def _settings(chance: random.Random, wanted: Wanted) -> Settings:
    stops = chance.random() < 0.4
    timeout = chance.uniform(5, 90) if chance.random() < 0.08 else None
    concurrency = None
    if "slots" in wanted.features:
        concurrency = Concurrency(
            limit=chance.choice((1, 1, 2)),
            key=chance.choice((None, None, "input.shop")),
            on_limit=chance.choice(("QUEUE", "QUEUE", "QUEUE", "DROP")),
        )
    failure_workflow = None
    if "failure workflow" in wanted.features and wanted.callees:
        failure_workflow = chance.choice(wanted.callees)
    return Settings(
        on_error=OnError.STOP if stops else OnError.CONTINUE_REGULAR,
        timeout=timeout,
        concurrency=concurrency,
        failure_workflow=failure_workflow,
    )


class _Growth:
    """Grows one graph: connections lead from earlier to later nodes, and into the bodies of loops."""

    def __init__(self, chance: random.Random, wanted: Wanted) -> None:
        self._chance = chance
        self._wanted = wanted
        self._kinds = {
            name: kind
            for name, kind in NODE_KINDS.items()
            if not kind.feature or kind.feature in wanted.features
        }
        self.inside: list[Node] = []
        self.wires: list[Connection] = []

    def node(self, node_id: str, *, depth: int) -> Node:
        """Return a node; a caller gets to know whom it calls."""
        made = drawn(self._chance, self._kinds).make(self._chance, node_id)
        if made.type == LOOP and depth >= DEEPEST:
            return _plain(self._chance, node_id)
        if made.type == CALLS:
            called = self._called()
            made = replace(made, parameters={**made.parameters, "workflow": called})
        return made

    def _called(self) -> str:
        chance = self._chance
        if not self._wanted.callees or chance.random() < 0.05:
            return "nobody"
        name = chance.choice(self._wanted.callees)
        return name if chance.random() < 0.5 else workflow_id(name)

    def wire(self, nodes: Sequence[Node], *, first: int) -> None:
        """Connect nodes: a line, a fan, or any graph without a circle."""
        chance = self._chance
        density = chance.choice((0.2, 0.4, 0.7))
        made = set()
        for right in range(max(first, 1), len(nodes)):
            lefts = [left for left in range(right) if chance.random() < density / (right - left)]
            if not lefts and chance.random() < 0.8:
                lefts = [chance.randrange(right)]
            made |= {(left, self._out(nodes[left]), right) for left in lefts}
        for left, port, right in sorted(made):
            self._add(nodes[left], port, nodes[right])

    def fill(self, loop: Node, before: Sequence[Node], *, depth: int) -> None:
        """Give a loop its body: entered from the loop, and perhaps from outside, and perhaps leading back."""
        if loop.type != LOOP:
            return
        chance = self._chance
        body = [
            self.node(f"{loop.id}b{index}", depth=depth)
            for index in range(chance.choice((1, 1, 2, 3)))
        ]
        self.inside += body
        began = len(self.wires)
        self.wire(body, first=0)
        fed = {each.target for each in self.wires[began:]}
        for each in body:
            if each.id not in fed:
                self.wires.append(wire(f"{loop.id}.iteration -> {each.id}"))
            for other in before:
                if chance.random() < 0.1 and not other.type.startswith("TRIGGER."):
                    self._add(other, self._out(other), each)
        self._lead_back(loop, body)
        for each in body:
            self.fill(each, (), depth=depth + 1)

    def _lead_back(self, loop: Node, body: Sequence[Node]) -> None:
        chance = self._chance
        for each in body:
            if chance.random() < (0.85 if each is body[-1] else 0.15):
                mapping = chance.choice((None, None, None, SAME, SAME, FAILING))
                text = f"{each.id}.{self._out(each)} -> {loop.id}.loop_body"
                self.wires.append(wire(text, mapping=mapping))

    def _out(self, source: Node) -> str:
        return self._chance.choice(OUT.get(source.type, PORTS))

    def _add(self, source: Node, port: str, target: Node) -> None:
        into = self._chance.choice(INTO.get(target.type, ("main",)))
        self.wires.append(wire(f"{source.id}.{port} -> {target.id}.{into}"))


def drawn(chance: random.Random, table: dict[str, T]) -> T:
    """Return an entry of a table by weight."""
    kinds = list(table.values())
    weights: list[float] = [kind.weight for kind in kinds]  # type: ignore[attr-defined]
    return chance.choices(kinds, weights)[0]
