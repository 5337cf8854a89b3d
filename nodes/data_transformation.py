"""ACTION.DATA_TRANSFORMATION: one operation over a list, its rule evaluated item by item with a fresh budget."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from contracts.expressions import check, paths
from contracts.expressions.errors import ExpressionError
from nodes import formats
from nodes.answers import invalid_parameter
from nodes.context import Context, Failed, Failure, FailureKind, Outputs
from nodes.joins import KeyedRow, as_row, joined
from nodes.lists import find_list, identity, paced, the_list
from nodes.parameters import Json, parameter
from nodes.registry import node
from nodes.sorting import Keyed, Order, sorted_by

TIMEOUT_SECONDS: Final = 30
OnItemError = Literal["STOP", "NULL", "DROP"]
_PATH_ORDER: Final = re.compile(r"(?P<path>\S+?)(?:\s+(?P<order>asc|desc))?")
_RULE_SCOPE: Final = ("item", "index", "acc", "items", "key", "data")
_EXPR: Final = {"type": "string", "format": "expr"}
_RULE_SCHEMA: Final = {
    "anyOf": [
        _EXPR,
        {
            "description": "aggregate",
            "type": "object",
            "properties": {
                "by": _EXPR,
                "fields": {"type": "object", "additionalProperties": _EXPR},
            },
            "required": ["fields"],
            "additionalProperties": False,
        },
        {
            "description": "join",
            "type": "object",
            "properties": {"left": _EXPR, "right": _EXPR, "how": {"enum": ["inner", "left"]}},
            "required": ["left", "right"],
            "additionalProperties": False,
        },
        {
            "description": "sort",
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"by": _EXPR, "order": {"enum": ["asc", "desc"]}},
                "required": ["by"],
                "additionalProperties": False,
            },
        },
        {
            "description": "map: path → template",
            "type": "object",
            "additionalProperties": {"format": "template"},
        },
    ]
}


class DataTransformation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ACTION.DATA_TRANSFORMATION."""

    operation: Annotated[
        Literal[
            "map", "filter", "reduce", "sort", "group", "aggregate", "join", "flatten", "distinct",
            "custom", "convert",
        ],
        parameter(aliases=("transformation_type",)),
    ]  # fmt: skip
    rule: Annotated[
        Any,
        parameter(
            "expr",
            aliases=("transformation_rule", "transformation_config"),
            scope=_RULE_SCOPE,
            schema=_RULE_SCHEMA,
        ),
    ] = None
    data: Annotated[
        Any | msgspec.UnsetType, parameter(description="Default: the list of the input")
    ] = msgspec.UNSET
    initial: Annotated[Any, parameter(is_json=True, description="The first `acc` of reduce")] = None
    right: Annotated[Any, parameter(is_json=True, description="The second list of a join")] = None
    input_format: formats.Format = "json"
    output_format: formats.Format = "json"
    on_item_error: Annotated[
        OnItemError,
        parameter(
            aliases=("error_handling",),
            value_aliases={"fail": "STOP", "default_value": "NULL", "skip": "DROP"},
        ),
    ] = "STOP"


class Aggregation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rule of aggregate: fields over all items, or over those of each key."""

    fields: dict[str, str]
    by: str | None = None


class Joining(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rule of join: the keys of both sides."""

    left: str
    right: str
    how: Literal["inner", "left"] = "inner"


@node(
    "ACTION.DATA_TRANSFORMATION",
    title="Data transformation",
    outputs={"main": {"data": Json, "stats": dict[str, int]}},
    timeout=TIMEOUT_SECONDS,
)
async def data_transformation(context: Context, parameters: DataTransformation) -> Outputs:
    """Map, filter, reduce, sort, group, aggregate, join, flatten, thin out or convert data."""
    data = await _input_data(context, parameters)
    work = _Work(context, parameters)
    result = await _OPERATIONS[parameters.operation](work, data)
    stats = {
        "input_count": _count(data),
        "output_count": _count(result),
        "dropped": work.dropped,
    }
    written = await _converted(formats.write, result, parameters.output_format)
    return Outputs(main={"data": written, "stats": stats})


class _Work:
    """One transformation under way: evaluates rules for items and counts those it drops."""

    def __init__(self, context: Context, parameters: DataTransformation) -> None:
        self.context = context
        self.parameters = parameters
        self.dropped = 0

    @property
    def source(self) -> str:
        """The rule, where it has to be one expression."""
        if not isinstance(self.parameters.rule, str):
            raise invalid_parameter("rule", "must be an expression for this operation")
        return self.parameters.rule

    def rule_as(self, kind: Any) -> Any:
        """Return the rule as a structure of this type."""
        try:
            return msgspec.convert(self.parameters.rule, kind)
        except msgspec.ValidationError as error:
            operation = self.parameters.operation
            raise invalid_parameter("rule", f"does not fit {operation}: {error}") from error

    async def over(self, items: Sequence[Any], evaluate: Callable[[int, Any], Any]) -> list[Keyed]:
        """Return each item with its value; a failing one as `on_item_error` says."""
        found = []
        async for index, item in paced(items):
            try:
                found.append(Keyed(evaluate(index, item), item))
            except ExpressionError:
                match self.parameters.on_item_error:
                    case "STOP":
                        raise
                    case "NULL":
                        found.append(Keyed(None, item))
                    case "DROP":
                        self.dropped += 1
        return found

    async def keyed(self, items: Sequence[Any], source: str) -> list[Keyed]:
        """Return each item with the value that an expression has for it."""
        evaluate = self.context.evaluate
        return await self.over(items, lambda index, item: evaluate(source, item=item, index=index))


async def _input_data(context: Context, parameters: DataTransformation) -> Any:
    """Return what is worked on: `data`, read by its format, or the list of the input."""
    if parameters.data is not msgspec.UNSET:
        data = parameters.data
    elif parameters.input_format == "json":
        found = find_list(context.input)
        return context.input if found is None else found
    else:
        data = context.input
    if isinstance(data, str):
        return await _converted(formats.read, data, parameters.input_format)
    if parameters.input_format != "json":
        raise invalid_parameter("data", f"must be the text to read as {parameters.input_format}")
    return data


async def _converted(
    convert: Callable[[Any, formats.Format], Any], data: Any, format_name: formats.Format
) -> Any:
    """Read or write a format in a thread: much text takes long, and others want to go on."""
    try:
        if format_name == "json":
            return convert(data, format_name)
        return await asyncio.to_thread(convert, data, format_name)
    except formats.InvalidData as error:
        raise Failed(Failure(FailureKind.ERROR, "invalid_data", str(error))) from error


def _count(data: Any) -> int:
    return len(data) if isinstance(data, list) else 1


async def _map(work: _Work, data: Any) -> list[Any]:
    rule = work.parameters.rule
    if isinstance(rule, dict):
        keyed = await work.over(the_list(data), lambda index, item: _built(work, index, item))
    else:
        keyed = await work.keyed(the_list(data), work.source)
    return [each.value for each in keyed]


def _built(work: _Work, index: int, item: Any) -> Any:
    """Return the map that a rule of path → template makes of an item."""
    built: Any = {}
    for path, template in work.parameters.rule.items():
        value = work.context.render(template, item=item, index=index)
        built = paths.write(built, path, value)
    return built


async def _filter(work: _Work, data: Any) -> list[Any]:
    source, condition = work.source, work.context.condition
    keyed = await work.over(
        the_list(data), lambda index, item: condition(source, item=item, index=index)
    )
    return [each.item for each in keyed if each.value]


async def _reduce(work: _Work, data: Any) -> Any:
    """Fold the list; a step that fails and is survived leaves `acc` as it was."""
    source, evaluate = work.source, work.context.evaluate
    acc = work.parameters.initial

    def step(index: int, item: Any) -> None:
        nonlocal acc
        acc = evaluate(source, acc=acc, item=item, index=index)

    await work.over(the_list(data), step)
    return acc


async def _sort(work: _Work, data: Any) -> list[Any]:
    orders = _orders(work)
    evaluate = work.context.evaluate
    keyed = await work.over(
        the_list(data),
        lambda index, item: [evaluate(each.by, item=item, index=index) for each in orders],
    )
    return sorted_by(keyed, [each.order or "asc" for each in orders])


def _orders(work: _Work) -> tuple[Order, ...]:
    rule = work.parameters.rule
    if not isinstance(rule, str):
        orders: tuple[Order, ...] = work.rule_as(tuple[Order, ...])
        return orders
    try:
        check.check(rule, names=frozenset(_RULE_SCOPE))
    except ExpressionError:
        if by_paths := _orders_by_paths(rule):
            return by_paths
    return (Order(rule),)


def _orders_by_paths(text: str) -> tuple[Order, ...] | None:
    """Return the keys of a text such as `price desc, name`, or None if it is none."""
    found = [_PATH_ORDER.fullmatch(part.strip()) for part in text.split(",")]
    if not all(found):
        return None
    return tuple(
        Order(_read_path(each["path"]), "desc" if each["order"] == "desc" else "asc")
        for each in found
        if each is not None
    )


def _read_path(path: str) -> str:
    """Return the expression that reads a path of an item, null where it is missing."""
    return f"get(item, {msgspec.json.encode(path).decode()})"


async def _group(work: _Work, data: Any) -> list[Any]:
    groups = await _grouped(work, the_list(data), work.source)
    return [{"key": key, "items": items, "count": len(items)} for key, items in groups]


async def _grouped(work: _Work, items: Sequence[Any], source: str) -> list[tuple[Any, list[Any]]]:
    """Return the keys with their items, in the order in which they first come."""
    groups: dict[str, tuple[Any, list[Any]]] = {}
    for each in await work.keyed(items, source):
        groups.setdefault(identity(each.value), (each.value, []))[1].append(each.item)
    return list(groups.values())


async def _aggregate(work: _Work, data: Any) -> Any:
    rule: Aggregation = work.rule_as(Aggregation)
    if rule.by is None:
        return _fields(work, rule, None, the_list(data))
    groups = await _grouped(work, the_list(data), rule.by)
    return [_fields(work, rule, key, items) async for _, (key, items) in paced(groups)]


def _fields(work: _Work, rule: Aggregation, key: Any, items: list[Any]) -> dict[str, Any]:
    return {
        name: work.context.evaluate(source, key=key, items=items)
        for name, source in rule.fields.items()
    }


async def _join(work: _Work, data: Any) -> list[Any]:
    rule: Joining = work.rule_as(Joining)
    left = await _rows(work, the_list(data), rule.left)
    right = await _rows(work, the_list(work.parameters.right), rule.right)
    return [row for _, row in joined(left, right, rule.how)]


async def _rows(work: _Work, items: list[Any], source: str) -> list[KeyedRow]:
    rows = [as_row(item) for item in items]
    return [(identity(each.value), each.item) for each in await work.keyed(rows, source)]


async def _flatten(work: _Work, data: Any) -> list[Any]:
    keyed = await _optionally_keyed(work, the_list(data))
    flat: list[Any] = []
    for each in keyed:
        flat.extend(each.value if isinstance(each.value, list) else [each.value])
    return flat


async def _distinct(work: _Work, data: Any) -> list[Any]:
    first: dict[str, Any] = {}
    for each in await _optionally_keyed(work, the_list(data)):
        first.setdefault(identity(each.value), each.item)
    return list(first.values())


async def _optionally_keyed(work: _Work, items: list[Any]) -> list[Keyed]:
    """Return each item with the value of the rule; without a rule, with itself."""
    if work.parameters.rule is None:
        return [Keyed(item, item) for item in items]
    return await work.keyed(items, work.source)


async def _custom(work: _Work, data: Any) -> Any:
    return work.context.evaluate(work.source, data=data)


async def _convert(work: _Work, data: Any) -> Any:
    return data


_OPERATIONS: Final[dict[str, Callable[[_Work, Any], Awaitable[Any]]]] = {
    "map": _map,
    "filter": _filter,
    "reduce": _reduce,
    "sort": _sort,
    "group": _group,
    "aggregate": _aggregate,
    "join": _join,
    "flatten": _flatten,
    "distinct": _distinct,
    "custom": _custom,
    "convert": _convert,
}

HANDLERS = (data_transformation,)
