"""ACTION.DATA_TRANSFORMATION: every operation, every rule."""

from typing import Any

import pytest

from contracts.expressions.errors import ExpressionError
from contracts.failures import Failure, FailureKind
from nodes.answers import Failed
from nodes.context import Outputs
from nodes.data_transformation import data_transformation
from tests.support.tasks import context

ITEMS = [
    {"name": "pen", "price": 2, "tags": ["a", "b"]},
    {"name": "ink", "price": 9, "tags": []},
    {"name": "nib", "price": 2, "tags": ["b"]},
]


async def transform(value: Any, operation: str, rule: Any = None, **parameters: Any) -> Any:
    """Return the node's output, or its failure."""
    values = {"operation": operation, **parameters}
    if rule is not None:
        values["rule"] = rule
    try:
        answer = await data_transformation(context(value), data_transformation.reader.read(values))
    except Failed as failed:
        return failed.failure
    assert isinstance(answer, Outputs)
    return answer.ports["main"]


@pytest.mark.parametrize(
    ("operation", "rule", "expected"),
    [
        pytest.param("map", "item.price * 2", [4, 18, 4], id="map by an expression"),
        pytest.param("map", "index", [0, 1, 2], id="map sees the index"),
        pytest.param(
            "map",
            {"label.text": "{{ item.name }}: {{ item.price }}", "at": "{{ index }}", "fix": 1},
            [
                {"label": {"text": "pen: 2"}, "at": 0, "fix": 1},
                {"label": {"text": "ink: 9"}, "at": 1, "fix": 1},
                {"label": {"text": "nib: 2"}, "at": 2, "fix": 1},
            ],
            id="map by paths and templates",
        ),
        pytest.param("filter", "item.price < 5", [ITEMS[0], ITEMS[2]], id="filter"),
        pytest.param("reduce", "default(acc, 0) + item.price", 13, id="reduce begins with null"),
        pytest.param("sort", "item.price", [ITEMS[0], ITEMS[2], ITEMS[1]], id="sort is stable"),
        pytest.param(
            "sort", "price desc, name", [ITEMS[1], ITEMS[2], ITEMS[0]], id="sort by paths"
        ),
        pytest.param("sort", "name", [ITEMS[1], ITEMS[2], ITEMS[0]], id="sort by one path"),
        pytest.param(
            "sort",
            [{"by": "item.price", "order": "desc"}, {"by": "item.name"}],
            [ITEMS[1], ITEMS[2], ITEMS[0]],
            id="sort by several keys",
        ),
        pytest.param(
            "group",
            "item.price",
            [
                {"key": 2, "items": [ITEMS[0], ITEMS[2]], "count": 2},
                {"key": 9, "items": [ITEMS[1]], "count": 1},
            ],
            id="group",
        ),
        pytest.param(
            "aggregate",
            {"fields": {"total": "sum(items.map(i, i.price))", "n": "size(items)"}},
            {"total": 13, "n": 3},
            id="aggregate all",
        ),
        pytest.param(
            "aggregate",
            {"by": "item.price", "fields": {"price": "key", "n": "size(items)"}},
            [{"price": 2, "n": 2}, {"price": 9, "n": 1}],
            id="aggregate by key",
        ),
        pytest.param("flatten", "item.tags", ["a", "b", "b"], id="flatten"),
        pytest.param("distinct", "item.price", ITEMS[:2], id="distinct keeps the first"),
        pytest.param("custom", "data[0].name + input[1].name", "penink", id="custom"),
        pytest.param("convert", None, ITEMS, id="convert changes nothing without formats"),
    ],
)
async def test_an_operation_over_the_list_of_the_input(
    operation: str, rule: Any, expected: Any
) -> None:
    found = await transform(ITEMS, operation, rule)

    assert found["data"] == expected
    count = len(expected) if isinstance(expected, list) else 1
    assert found["stats"] == {"input_count": 3, "output_count": count, "dropped": 0}


async def test_the_list_is_found_in_the_input_or_in_data() -> None:
    assert (await transform({"results": [1, 2]}, "map", "item + 1"))["data"] == [2, 3]
    assert (await transform(None, "map", "item + 1", data=[1]))["data"] == [2]
    assert (await transform(None, "map", "item + 1", data="[1]"))["data"] == [2]
    failure = await transform({"x": 1}, "map", "item")
    assert (failure.kind, failure.code) == (FailureKind.INVALID_INPUT, "not_a_list")


async def test_reduce_begins_with_initial() -> None:
    found = await transform(["a", "b"], "reduce", "acc + [item]", initial=["z"])

    assert found["data"] == ["z", "a", "b"]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("inner", [{"id": 1, "a": 1, "key": 1, "b": 2}]),
        ("left", [{"id": 1, "a": 1, "key": 1, "b": 2}, {"id": 2, "a": 2}]),
    ],
)
async def test_join_matches_two_lists(how: str, expected: Any) -> None:
    left, right = [{"id": 1, "a": 1}, {"id": 2, "a": 2}], [{"key": 1, "b": 2}, {"key": 3}]
    rule = {"left": "item.id", "right": "item.key", "how": how}

    found = await transform(left, "join", rule, right=right)

    assert found["data"] == expected


@pytest.mark.parametrize(
    ("operation", "rule", "expected"),
    [
        ("flatten", None, [1, 2, [3], 4]),
        ("distinct", None, [[1, 2, [3]], 4]),
    ],
)
async def test_flatten_and_distinct_need_no_rule(operation: str, rule: Any, expected: Any) -> None:
    found = await transform([[1, 2, [3]], 4, *([4] if operation == "distinct" else [])], operation)

    assert found["data"] == expected


async def test_sorting_puts_null_last_in_both_orders() -> None:
    items = [{"n": None}, {"n": 1}, {"n": 2}]

    up = await transform(items, "sort", "item.n")
    down = await transform(items, "sort", [{"by": "item.n", "order": "desc"}])

    assert [item["n"] for item in up["data"]] == [1, 2, None]
    assert [item["n"] for item in down["data"]] == [2, 1, None]


async def test_sorting_mixed_values_fails() -> None:
    failure = await transform([1, "a"], "sort", "item")

    assert (failure.kind, failure.code) == (FailureKind.INVALID_EXPRESSION, "type")


@pytest.mark.parametrize(
    ("on_item_error", "operation", "rule", "expected", "dropped"),
    [
        ("NULL", "map", "item.a", [1, None], 0),
        ("DROP", "map", "item.a", [1], 1),
        ("DROP", "filter", "item.a == 1", [{"a": 1}], 1),
        ("NULL", "filter", "item.a == 1", [{"a": 1}], 0),
        ("DROP", "sort", "item.a", [{"a": 1}], 1),
        ("NULL", "sort", "item.a", [{"a": 1}, {}], 0),
        ("DROP", "reduce", "default(acc, 0) + item.a", 1, 1),
        ("drop", "map", {"b": "{{ item.a }}"}, [{"b": 1}], 1),
    ],
)
async def test_a_failing_item_is_handled_as_told(
    on_item_error: str, operation: str, rule: Any, expected: Any, dropped: int
) -> None:
    found = await transform([{"a": 1}, {}], operation, rule, on_item_error=on_item_error)

    assert found["data"] == expected
    assert found["stats"]["dropped"] == dropped


async def test_a_failing_item_stops_by_default() -> None:
    with pytest.raises(ExpressionError) as caught:
        await transform([{"a": 1}, {}], "map", "item.a")

    assert (caught.value.code, caught.value.source) == ("missing", "item.a")


@pytest.mark.parametrize(
    ("operation", "rule"),
    [
        ("map", None),
        ("filter", {"a": "b"}),
        ("aggregate", "item"),
        ("aggregate", {"fields": {}, "surplus": 1}),
        ("join", {"left": "item.id"}),
        ("sort", {"by": "x"}),
    ],
)
async def test_a_rule_that_does_not_fit_the_operation_is_refused(operation: str, rule: Any) -> None:
    failure = await transform(ITEMS, operation, rule, right=[])

    assert isinstance(failure, Failure)
    assert (failure.code, failure.details) == ("invalid_parameter", {"parameter": "rule"})


CSV = "name,price\npen,2\nink,9\n"


async def test_formats_are_read_and_written() -> None:
    found = await transform(
        None, "map", {"n": "{{ item.name }}"}, data=CSV, input_format="csv", output_format="yaml"
    )

    assert found["data"] == "- n: pen\n- n: ink\n"
    assert found["stats"]["input_count"] == 2


async def test_convert_works_on_the_input_itself() -> None:
    found = await transform(CSV, "convert", input_format="csv")

    assert found["data"] == [{"name": "pen", "price": "2"}, {"name": "ink", "price": "9"}]


async def test_text_that_is_not_of_its_format_is_invalid_data() -> None:
    failure = await transform("<a>", "convert", input_format="xml")

    assert (failure.kind, failure.code) == (FailureKind.ERROR, "invalid_data")


async def test_a_format_needs_text_to_read() -> None:
    failure = await transform([1], "convert", input_format="csv")

    assert (failure.code, failure.details) == ("invalid_parameter", {"parameter": "data"})


async def test_data_that_has_no_form_in_a_format_is_invalid_data() -> None:
    failure = await transform([1], "convert", output_format="csv")

    assert (failure.kind, failure.code) == (FailureKind.ERROR, "invalid_data")
