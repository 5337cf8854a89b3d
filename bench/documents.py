"""The workflows that are measured, as users would send them."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final

Document = dict[str, Any]

START: Final = {"id": "start", "name": "start", "type": "TRIGGER.MANUAL"}
EVENTS: Final = "bench.events"
SIGNAL: Final = "go"
PARALLEL: Final = 1_000


def line(nodes: int) -> Document:
    """Return so many nodes after each other, and nothing else."""
    ids = [f"n{number}" for number in range(nodes)]
    return _document(f"Bench: {nodes} in a row", map(_noop, ids), pairwise(ids))


def fan_out(branches: int) -> Document:
    """Return a node, many parallel ones after it, and one that waits for all of them."""
    ids = [f"n{number}" for number in range(branches)]
    nodes = [_noop("first"), *map(_noop, ids), _noop("join")]
    wires = [*(("first", each) for each in ids), *((each, "join") for each in ids)]
    return _document(f"Bench: {branches} at once", nodes, wires)


def loop() -> Document:
    """Return a parallel loop over as many numbers as the input says, and a node that judges its results."""
    each = _node("each", "FLOW.FOR_EACH", items="range(input.count)", max_parallel=PARALLEL)
    verdict = {
        "count": "{{ input.count }}",
        "failed": "{{ input.failed }}",
        "sum": "{{ sum(input.results) }}",
        "exact": "{{ input.results == range(input.count).map(n, n * 2) }}",
    }
    double = _node("double", "FLOW.NOOP", data="{{ loop.item * 2 }}")
    document = _document(
        "Bench: a loop",
        [START, each, double, _node("check", "FLOW.NOOP", data=verdict)],
        [("start", "each")],
    )
    document["connections"] += [
        {"from": "each", "from_port": "iteration", "to": "double"},
        {"from": "double", "to": "each", "to_port": "loop_body"},
        {"from": "each", "from_port": "complete", "to": "check"},
    ]
    return document


def of_event() -> Document:
    """Return one node after an event trigger."""
    trigger = _node("event", "TRIGGER.EVENT", subject=EVENTS)
    return _document("Bench: an event", [trigger, _noop("n0")], [("event", "n0")])


def waiting() -> Document:
    """Return a node that waits for a signal, for as long as it takes."""
    wait = _node("wait", "FLOW.WAIT", wait_type="signal", signal=SIGNAL, max_wait=None)
    return _document("Bench: a wait", [wait], [])


def _noop(node_id: str) -> Document:
    return {"id": node_id, "name": node_id, "type": "FLOW.NOOP"}


def _node(node_id: str, node_type: str, /, **parameters: Any) -> Document:
    return {"id": node_id, "name": node_id, "type": node_type, "parameters": parameters}


def _document(name: str, nodes: Iterable[Document], wires: Iterable[tuple[str, str]]) -> Document:
    connections = [{"from": source, "to": target} for source, target in wires]
    return {"name": name, "nodes": list(nodes), "connections": connections}
