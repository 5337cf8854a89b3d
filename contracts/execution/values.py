"""Values inside an execution: what reached a node run, what a loop hands to its body and gives at its end.

Values are bytes of JSON that are pasted together and never parsed.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
from msgspec import UNSET

from contracts.execution.plan import Plan, PlannedConnection, PlannedNode, Way
from contracts.execution.state import ExecutionState, LoopRun
from contracts.history import NULL, MaybeRaw
from contracts.ids import Iteration, RunKey
from contracts.messages import LoopScope, encode
from contracts.statuses import NodeRunStatus

TRUE: Final = msgspec.Raw(b"true")
FALSE: Final = msgspec.Raw(b"false")

_decode_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def items_of(data: msgspec.Raw) -> list[msgspec.Raw]:
    """Return the items of a JSON list, each as its own bytes."""
    return [msgspec.Raw(bytes(each)) for each in _decode_list(data)]


def source_of(wire: PlannedConnection, path: Iteration) -> RunKey:
    """Return the node run at the beginning of a connection to a node run of this iteration path."""
    return wire.source, path[: len(path) - wire.levels]


def is_delivered(state: ExecutionState, wire: PlannedConnection, path: Iteration) -> bool:
    """Whether a value came over a connection to a node run of this iteration path."""
    return wire.way is Way.ITEM or wire.from_port in _yielded(state, source_of(wire, path))


def delivered(
    state: ExecutionState, node: PlannedNode, path: Iteration
) -> Iterator[tuple[PlannedConnection, msgspec.Raw]]:
    """Yield the connections over which a value reached a node run, in document order, and the value.

    A node run that did not wait for all takes what was there when it became ready.
    """
    taken = state.runs[node.id, path].taken
    for wire in node.incoming if taken is None else taken:
        if wire.way is Way.ITEM:
            yield wire, value_over(state, wire, path)
            continue
        ports = _yielded(state, source_of(wire, path))
        if wire.from_port in ports:
            yield wire, ports[wire.from_port]


def value_over(state: ExecutionState, wire: PlannedConnection, path: Iteration) -> msgspec.Raw:
    """Return the value that a connection delivered, before its mapping."""
    source = source_of(wire, path)
    if wire.way is Way.ITEM:
        return item_value(state.loops[source], path[len(source[1])])
    return _yielded(state, source)[wire.from_port]


def item_value(loop: LoopRun, index: int) -> msgspec.Raw:
    """Return what the port `iteration` of a loop yields for one iteration."""
    if loop.items is None:
        return pasted({"index": _number(index), "previous": _previous(loop, index)})
    assert loop.total is not None
    name, value = _share(loop, index)
    return pasted(
        {
            name: value,
            "index": _number(index),
            "count": _number(loop.total),
            "is_last": TRUE if index == loop.total - 1 else FALSE,
        }
    )


def loop_scope(state: ExecutionState, loops: Sequence[str], path: Iteration) -> LoopScope | None:
    """Return what `loop` is to expressions inside these loops, or None outside of any."""
    scope = None
    around = loops[len(loops) - len(path) :]  # of a node executed alone, outer loops are not there
    for depth, (loop_id, index) in enumerate(zip(around, path, strict=True)):
        loop = state.loops.get((loop_id, path[:depth]))
        if loop is not None:
            scope = _scope(loop, index, scope)
    return scope


def asked_scope(state: ExecutionState, loops: Sequence[str], key: RunKey) -> LoopScope:
    """Return what `loop` is to the condition of a loop that is asked whether it goes on."""
    loop = state.loops.get(key)
    index = 0 if loop is None else loop.begun
    previous = NULL if loop is None else _previous(loop, index)
    return LoopScope(index=index, previous=previous, parent=loop_scope(state, loops, key[1]))


def leaves(
    plan: Plan, state: ExecutionState, node_ids: Iterable[str], path: Iteration
) -> dict[str, msgspec.Raw]:
    """Return the value of each leaf among the nodes, by id: it yielded, but on no port that is wired."""
    values = {}
    for node_id in node_ids:
        run = state.runs.get((node_id, path))
        if run is None or not run.ports or run.status is NodeRunStatus.ERROR:
            continue
        node = plan.nodes[node_id]
        port = node.main_output(run.ports)
        if port is not None and node.wired_ports.isdisjoint(run.ports):
            values[node_id] = run.ports[port]
    return values


def only_value(values: dict[str, msgspec.Raw]) -> msgspec.Raw:
    """Return the one value that leaves make where one is wanted: the only one, else the map of them."""
    return next(iter(values.values())) if len(values) == 1 else pasted(values)


def listed(values: Iterable[msgspec.Raw]) -> msgspec.Raw:
    """Return a JSON list of values."""
    return msgspec.Raw(b"[" + b",".join(bytes(each) for each in values) + b"]")


def pasted(fields: dict[str, msgspec.Raw]) -> msgspec.Raw:
    """Return a JSON object of values."""
    return msgspec.Raw(encode(fields))


def _yielded(state: ExecutionState, key: RunKey) -> dict[str, msgspec.Raw]:
    """Return what a node run yielded; one that is not there may have been carried."""
    run = state.runs.get(key) or state.carried.get(key)
    return (run.ports if run is not None else None) or {}


def _share(loop: LoopRun, index: int) -> tuple[str, msgspec.Raw]:
    """Return the item of an iteration, or the items of its batch, under the name of either."""
    assert loop.items is not None
    size = loop.rules.batch_size
    if size == 1:
        return "item", loop.items[index]
    return "items", listed(loop.items[index * size : (index + 1) * size])


def _scope(loop: LoopRun, index: int, parent: LoopScope | None) -> LoopScope:
    previous: MaybeRaw = UNSET
    if loop.items is None or loop.rules.max_parallel == 1:
        previous = _previous(loop, index)
    if loop.items is None:
        return LoopScope(index=index, previous=previous, parent=parent)
    name, value = _share(loop, index)
    return LoopScope(
        index=index,
        item=value if name == "item" else UNSET,
        items=value if name == "items" else UNSET,
        count=loop.total,
        previous=previous,
        parent=parent,
    )


def _previous(loop: LoopRun, index: int) -> msgspec.Raw:
    """Return what the iteration before gave; of one long ago it is known where results are collected."""
    if index == 0:
        return NULL
    if loop.rules.collect:
        return loop.results.get(index - 1, NULL)
    return NULL if loop.previous is UNSET else loop.previous


def _number(number: int) -> msgspec.Raw:
    return msgspec.Raw(str(number).encode())
