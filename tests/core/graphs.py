"""Small graphs that several tests are about."""

import itertools
from typing import Any, Final

import msgspec

from contracts.execution.plan import Plan
from contracts.history import CarriedRun, LoopRules, LoopStarted
from contracts.model import OnError, RetryPolicy
from tests.support.engine import Engine, compiled, document, key_of, node, raw, wire

ONE_TRY: Final[dict[str, Any]] = {"retry_policy": None}
RETRY: Final = RetryPolicy(max_tries=3, wait_between_tries=10, multiplier=2, jitter=False)
CONTINUE: Final[dict[str, Any]] = {"retry_policy": None, "on_error": OnError.CONTINUE_ERROR}


def graph(nodes: str, *wires: str, fields: dict[str, dict[str, Any]] | None = None) -> Plan:
    """Return a plan from text: `a b:FLOW.LOOP`, connections such as `a.b -> c`, and fields of nodes by id."""
    made = []
    for each in nodes.split():
        node_id, _, node_type = each.partition(":")
        given = (fields or {}).get(node_id, {})
        made.append(node(node_id, node_type or "CUSTOM.ANY", **given))
    return compiled(document(made, [wire(each) for each in wires]))


def run(
    nodes: str, *wires: str, fields: dict[str, dict[str, Any]] | None = None, **kw: Any
) -> Engine:
    """Return a started execution of such a graph."""
    return Engine(graph(nodes, *wires, fields=fields), **kw).start()


def line(*ids: str, **fields: Any) -> Engine:
    """Return a started execution of nodes one after the other."""
    nodes = [node(each, **fields) for each in ids]
    wires = [wire(f"{left} -> {right}") for left, right in itertools.pairwise(ids)]
    return Engine(compiled(document(nodes, wires))).start()


LOOP: Final = "each:FLOW.LOOP work after"
LOOP_WIRES: Final = ("each.iteration -> work", "work -> each.loop_body", "each.complete -> after")


def over(items: list[Any], **rules: Any) -> Engine:
    """Return an execution in a loop with one node in its body."""
    engine = run(LOOP, *LOOP_WIRES, fields={"work": ONE_TRY, "each": ONE_TRY})
    engine.iterate("each", items, **rules)
    return engine


def complete(engine: Engine, name: str = "each") -> Any:
    """Return what a loop yielded at its end."""
    return engine.value(name, "complete")


def carried(name: str, **fields: Any) -> CarriedRun:
    """Return what is carried of a node run: `main=value` is its output."""
    node_id, iteration = key_of(name)
    if "main" in fields:
        fields["ports"] = {"main": raw(fields.pop("main"))}
    return CarriedRun(node_id=node_id, iteration=iteration, **fields)


def begun(name: str, items: list[Any] | None, **rules: Any) -> CarriedRun:
    """Return the beginning of a loop that is carried."""
    started = LoopStarted(
        items=msgspec.UNSET if items is None else raw(items),
        total=None if items is None else len(items),
        rules=LoopRules(**rules),
    )
    return carried(name, loop=started)
