"""FLOW nodes over a list: FILTER, SORT, SPLIT."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal

import msgspec

from contracts.expressions import paths
from contracts.expressions.errors import ExpressionError
from contracts.failures import Failure, FailureKind
from nodes.answers import Failed, invalid_parameter
from nodes.bounds import TIMEOUT_SECONDS
from nodes.context import Context, Outputs
from nodes.joins import MAX_ROWS
from nodes.lists import paced, the_list
from nodes.parameters import parameter
from nodes.registry import node
from nodes.sorting import Direction, Keyed, Order, sorted_by

Items = Annotated[str | None, parameter("expr", description="Default: the list of the input")]
_EXPR = {"type": "string", "format": "expr"}
_LISTED = {"items": list[Any], "count": int}


class Filter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of FLOW.FILTER."""

    condition: Annotated[
        str, parameter("expr", aliases=("filter_expression",), scope=("item", "index"))
    ]
    items: Items = None
    operation: Annotated[
        Literal["include", "exclude"], parameter(description="What happens to those that fit")
    ] = "include"
    on_item_error: Annotated[
        Literal["STOP", "DROP"],
        parameter(description="DROP: an item whose condition fails goes into `excluded`"),
    ] = "STOP"


class Sort(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of FLOW.SORT."""

    by: Annotated[
        str | tuple[Order, ...],
        parameter(
            "expr",
            scope=("item", "index"),
            is_json=True,
            schema={
                "anyOf": [
                    _EXPR,
                    {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {"by": _EXPR, "order": {"enum": ["asc", "desc"]}},
                            "required": ["by"],
                            "additionalProperties": False,
                        },
                        "minItems": 1,
                    },
                ]
            },
            description="What to compare, or a list of `{by, order}`, the most important first",
        ),
    ]
    items: Items = None
    order: Annotated[Direction, parameter(description="Of those that say none")] = "asc"


class Split(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of FLOW.SPLIT: exactly one of the first four."""

    size: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        parameter(
            schema={"type": "integer", "minimum": 1}, description="Lists of so many items each"
        ),
    ] = None
    field: Annotated[
        str | None,
        parameter(
            schema={"type": "string", "minLength": 1},
            description="A path to a list inside each item: one copy of the item per element",
        ),
    ] = None
    separator: Annotated[
        str | None,
        parameter(
            schema={"type": "string", "minLength": 1}, description="The parts of a text between"
        ),
    ] = None
    entries: Annotated[
        bool | None,
        parameter(schema={"type": "boolean"}, description="An object as a list of `{key, value}`"),
    ] = None
    items: Items = None
    source: Annotated[
        str | None, parameter("expr", description="The text or object; default: the input")
    ] = None


@node(
    "FLOW.FILTER",
    title="Filter",
    outputs={"main": {**_LISTED, "original_count": int}, "excluded": _LISTED},
    ignored_parameters=("preserve_structure",),
    timeout=TIMEOUT_SECONDS,
)
async def filter_(context: Context, parameters: Filter) -> Outputs:
    """Keep the items of a list for which a condition holds."""
    items = list_of(context, parameters.items)
    kept: list[Any] = []
    excluded: list[Any] = []
    async for index, item in paced(items):
        (kept if _is_kept(context, parameters, index, item) else excluded).append(item)
    main = {"items": kept, "count": len(kept), "original_count": len(items)}
    if not excluded:
        return Outputs(main=main)
    return Outputs(main=main, excluded=_listed(excluded))


def _is_kept(context: Context, parameters: Filter, index: int, item: Any) -> bool:
    try:
        fits = context.condition(parameters.condition, item=item, index=index)
    except ExpressionError:
        if parameters.on_item_error == "STOP":
            raise
        return False
    return fits == (parameters.operation == "include")


@node("FLOW.SORT", title="Sort", outputs={"main": _LISTED}, timeout=TIMEOUT_SECONDS)
async def sort(context: Context, parameters: Sort) -> Outputs:
    """Sort a list: stable, null last."""
    orders = _orders(parameters)
    evaluate = context.evaluate
    keyed = [
        Keyed([evaluate(each.by, item=item, index=index) for each in orders], item)
        async for index, item in paced(list_of(context, parameters.items))
    ]
    directions = [each.order or parameters.order for each in orders]
    return Outputs(main=_listed(sorted_by(keyed, directions)))


def _orders(parameters: Sort) -> tuple[Order, ...]:
    return (Order(parameters.by),) if isinstance(parameters.by, str) else parameters.by


@node("FLOW.SPLIT", title="Split", outputs={"main": _LISTED}, timeout=TIMEOUT_SECONDS)
async def split(context: Context, parameters: Split) -> Outputs:
    """Make a list of parts: of chunks, of the elements inside of items, of a text, or of an object."""
    given = [name for name in _WAYS if getattr(parameters, name) not in (None, False)]
    if len(given) != 1:
        raise invalid_parameter(
            "size", "or one of field, separator, entries is required, and one only"
        )
    parts = [part async for part in _WAYS[given[0]](context, parameters)]
    return Outputs(main=_listed(parts))


async def _chunks(context: Context, parameters: Split) -> AsyncIterator[Any]:
    size, items = parameters.size, list_of(context, parameters.items)
    assert size is not None
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def _elements(context: Context, parameters: Split) -> AsyncIterator[Any]:
    field, made = parameters.field, 0
    assert field is not None
    async for index, item in paced(list_of(context, parameters.items)):
        elements = _elements_of(item, field, index)
        made += len(elements)
        _check_count(made)
        for element in elements:
            yield paths.write(item, field, element)


def _elements_of(item: Any, field: str, index: int) -> list[Any]:
    elements = paths.read(item, field)
    if not isinstance(elements, list):
        message = f"item {index} has no list at {field}"
        raise Failed(Failure(FailureKind.INVALID_INPUT, "not_a_list", message))
    return elements


async def _texts(context: Context, parameters: Split) -> AsyncIterator[Any]:
    source = _source(context, parameters)
    if not isinstance(source, str):
        raise _unsplittable("separator splits a text")
    assert parameters.separator is not None
    _check_count(source.count(parameters.separator) + 1)
    for part in source.split(parameters.separator):
        yield part


async def _entries(context: Context, parameters: Split) -> AsyncIterator[Any]:
    source = _source(context, parameters)
    if not isinstance(source, dict):
        raise _unsplittable("entries takes an object apart")
    for key, value in source.items():
        yield {"key": key, "value": value}


_WAYS: dict[str, Callable[[Context, Split], AsyncIterator[Any]]] = {
    "size": _chunks,
    "field": _elements,
    "separator": _texts,
    "entries": _entries,
}


def _check_count(parts: int) -> None:
    if parts > MAX_ROWS:
        message = f"the split makes more than {MAX_ROWS} items"
        raise Failed(Failure(FailureKind.PAYLOAD_TOO_LARGE, "output_too_large", message))


def _source(context: Context, parameters: Split) -> Any:
    return context.input if parameters.source is None else context.evaluate(parameters.source)


def _unsplittable(what: str) -> Failed:
    return Failed(
        Failure(FailureKind.INVALID_INPUT, "invalid_input", f"{what}, and source is none")
    )


def list_of(context: Context, source: str | None) -> list[Any]:
    """Return the list that an expression, or else the input, means. Raises Failed."""
    return the_list(context.input if source is None else context.evaluate(source))


def _listed(items: list[Any]) -> dict[str, Any]:
    return {"items": items, "count": len(items)}


HANDLERS = (filter_, sort, split)
