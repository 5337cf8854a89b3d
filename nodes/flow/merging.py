"""FLOW.MERGE: from the streams that arrived to one value.

A stream is one delivery. Streams go by port (`main`, `input1`, …, `additional`), then in document
order.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, assert_never

import msgspec

from contracts.specs import Port
from nodes.answers import invalid_parameter
from nodes.bounds import LONGEST_WAIT_SECONDS, TIMEOUT_SECONDS
from nodes.context import Arrival, Context, Failed, Failure, FailureKind, Outputs
from nodes.joins import Row, as_row, joined
from nodes.lists import find_list, identity, paced
from nodes.parameters import Json, parameter
from nodes.registry import node

INPUTS = ("main", *(f"input{number}" for number in range(1, 17)), "additional")


class Merge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of FLOW.MERGE."""

    strategy: Annotated[
        Literal["concat", "union", "intersection", "join", "combine", "custom"],
        parameter(aliases=("merge_strategy",), value_aliases={"concatenate": "concat"}),
    ] = "concat"
    key: Annotated[
        str | None,
        parameter("expr", aliases=("join_key", "merge_key"), scope=("item", "index")),
    ] = None
    how: Annotated[
        Literal["inner", "left", "outer"], parameter(description="What a join keeps")
    ] = "inner"
    rule: Annotated[str | None, parameter("expr", scope=("inputs", "ports"))] = None
    wait_for: Annotated[
        Literal["all", "first"],
        parameter(
            "literal",
            aliases=("wait_for_all",),
            value_aliases={"true": "all", "false": "first"},
            description="first: it runs at the first delivery and ignores the others",
        ),
    ] = "all"
    max_wait: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=LONGEST_WAIT_SECONDS)] | None,
        parameter(
            "literal",
            aliases=("timeout_seconds",),
            schema={"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_WAIT_SECONDS},
            description="Seconds from the first delivery; without, it waits for all",
        ),
    ] = None
    on_timeout: Annotated[
        Literal["FAIL", "PROCEED"],
        parameter("literal", description="PROCEED: it goes on with what has arrived by then"),
    ] = "FAIL"


class Stream(msgspec.Struct, frozen=True):
    """Where a part of the result came from, as the output tells it."""

    node_id: str
    port: str
    count: int


@node(
    "FLOW.MERGE",
    title="Merge",
    inputs=tuple(Port(name) for name in INPUTS),
    outputs={"main": {"data": Json, "count": int, "sources": list[Stream]}},
    timeout=TIMEOUT_SECONDS,
)
async def merge(context: Context, parameters: Merge) -> Outputs:
    """Join what arrives on several connections into one value."""
    arrived = in_order(context)
    data = await _by_strategy(context, parameters, arrived)
    return Outputs(
        main={
            "data": data,
            "count": len(data) if isinstance(data, list | dict) else 1,
            "sources": [Stream(each.source, each.port, len(_items(each))) for each in arrived],
        }
    )


def in_order(context: Context) -> list[Arrival]:
    """Return what arrived, by port in the order of the spec; each port's in document order."""
    ports = context.ports
    return [each for port in sorted(ports, key=_rank) for each in ports[port]]


def _rank(port: str) -> int:
    """Return the place of a port: `main`, `input1` to `input16`, then `additional`."""
    number = port.removeprefix("input")
    if number.isdigit():
        return int(number)
    return 0 if port == "main" else 1000


async def _by_strategy(context: Context, parameters: Merge, arrived: Sequence[Arrival]) -> Any:
    streams = [_items(each) for each in arrived]
    match parameters.strategy:
        case "concat":
            return [item for items in streams for item in items]
        case "union":
            return await _union(context, parameters.key, streams)
        case "intersection":
            return await _intersection(context, parameters.key, streams)
        case "join":
            return await _join(context, parameters, streams)
        case "combine":
            return _combine(arrived)
        case "custom":
            return _custom(context, parameters, arrived)
        case _:
            assert_never(parameters.strategy)


def _items(arrival: Arrival) -> list[Any]:
    """Return the list that a stream means; any other value counts as a list of one."""
    found = find_list(arrival.value)
    return [arrival.value] if found is None else found


async def _union(context: Context, key: str | None, streams: Sequence[list[Any]]) -> list[Any]:
    seen: dict[str, Any] = {}
    for items in streams:
        for each, item in await _keyed(context, key, items):
            seen.setdefault(each, item)
    return list(seen.values())


async def _intersection(
    context: Context, key: str | None, streams: Sequence[list[Any]]
) -> list[Any]:
    """Keep what is in every stream, once, with the values of the first."""
    if not streams:
        return []
    first, *others = [await _keyed(context, key, items) for items in streams]
    everywhere = set.intersection(*({each for each, _ in items} for items in (first, *others)))
    kept: dict[str, Any] = {}
    for each, item in first:
        if each in everywhere:
            kept.setdefault(each, item)
    return list(kept.values())


async def _keyed(context: Context, key: str | None, items: Sequence[Any]) -> list[tuple[str, Any]]:
    """Return the items with what tells them apart: the value of `key`, or the whole item."""
    keyed = []
    async for index, item in paced(items):
        value = item if key is None else context.evaluate(key, item=item, index=index)
        keyed.append((identity(value), item))
    return keyed


async def _join(context: Context, parameters: Merge, streams: Sequence[list[Any]]) -> list[Row]:
    if parameters.key is None:
        raise invalid_parameter("key", "is required to join")
    tables = [
        [(key, as_row(item)) for key, item in await _keyed(context, parameters.key, items)]
        for items in streams
    ]
    rows = tables[0] if tables else []
    for right in tables[1:]:
        rows = joined(rows, right, parameters.how)
    return [row for _, row in rows]


def _combine(arrived: Sequence[Arrival]) -> Row:
    combined: Row = {}
    for each in arrived:
        if not isinstance(each.value, dict):
            message = f"combine takes maps, and {each.source} sent none"
            raise Failed(Failure(FailureKind.INVALID_INPUT, "invalid_input", message))
        combined.update(each.value)
    return combined


def _custom(context: Context, parameters: Merge, arrived: Sequence[Arrival]) -> Any:
    if parameters.rule is None:
        raise invalid_parameter("rule", "is required by the strategy custom")
    ports: dict[str, list[Any]] = {}
    for each in arrived:
        ports.setdefault(each.port, []).append(each.value)
    return context.evaluate(parameters.rule, inputs=[each.value for each in arrived], ports=ports)


HANDLERS = (merge,)
