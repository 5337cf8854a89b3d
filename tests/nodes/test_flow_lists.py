"""FILTER, SORT and SPLIT."""

from typing import Any

import pytest

from contracts.expressions.errors import ExpressionError
from contracts.failures import FailureKind
from contracts.specs import Catalogue
from contracts.validation import examine
from nodes.answers import Failed
from nodes.catalogue import builtin_specs
from nodes.flow.lists import filter_, sort, split
from nodes.registry import Handler
from tests.nodes.test_flow import ports
from tests.support.documents import chain, node
from tests.support.tasks import context

CATALOGUE = Catalogue(builtin_specs())
ROWS = [{"n": 2, "s": "b"}, {"n": None, "s": "a"}, {"n": 1, "s": "b"}]


async def main_of(handler: Handler, value: Any, **parameters: Any) -> Any:
    return (await ports(handler, context(value), **parameters))["main"]


async def test_filter_keeps_what_fits_and_tells_what_does_not() -> None:
    found = await ports(filter_, context([1, 5, 3]), condition="item > 2 || index == 9")

    assert found == {
        "main": {"items": [5, 3], "count": 2, "original_count": 3},
        "excluded": {"items": [1], "count": 1},
    }


async def test_filter_may_keep_what_does_not_fit() -> None:
    at = context({"rows": [1, 5, 3]})

    found = await ports(filter_, at, items="input.rows", condition="item > 2", operation="exclude")

    assert found["main"]["items"] == [1]
    assert found["excluded"]["items"] == [5, 3]


async def test_filter_yields_on_main_also_when_nothing_is_left() -> None:
    assert await ports(filter_, context([]), condition="item") == {
        "main": {"items": [], "count": 0, "original_count": 0}
    }


async def test_an_item_whose_condition_fails_fails_the_filter_or_is_excluded() -> None:
    at, condition = context([{"a": 1}, {}]), "item.a == 1"

    with pytest.raises(ExpressionError):
        await ports(filter_, at, condition=condition)
    found = await ports(filter_, at, condition=condition, on_item_error="DROP")
    assert (found["main"]["items"], found["excluded"]["items"]) == ([{"a": 1}], [{}])
    found = await ports(filter_, at, condition=condition, on_item_error="DROP", operation="exclude")
    assert found["excluded"]["count"] == 2


@pytest.mark.parametrize(
    ("parameters", "order"),
    [
        pytest.param({"by": "item.n"}, [2, 0, 1], id="null last"),
        pytest.param({"by": "item.n", "order": "desc"}, [0, 2, 1], id="null last downwards too"),
        pytest.param({"by": "item.s"}, [1, 0, 2], id="stable"),
        pytest.param(
            {"by": [{"by": "item.s", "order": "desc"}, {"by": "item.n"}]},
            [2, 0, 1],
            id="several keys",
        ),
        pytest.param(
            {"by": '[{"by": "item.s"}, {"by": "index", "order": "asc"}]', "order": "desc"},
            [0, 2, 1],
            id="keys as text, the order of those that say none",
        ),
    ],
)
async def test_sort_orders_items(parameters: dict[str, Any], order: list[int]) -> None:
    found = await main_of(sort, ROWS, **parameters)

    assert found == {"items": [ROWS[place] for place in order], "count": 3}


async def test_sort_refuses_keys_without_an_order() -> None:
    with pytest.raises(Failed) as caught:
        await main_of(sort, [1, "a"], by="item")

    assert caught.value.failure.kind is FailureKind.INVALID_EXPRESSION


@pytest.mark.parametrize(
    ("value", "parameters", "items"),
    [
        pytest.param([1, 2, 3], {"size": "2"}, [[1, 2], [3]], id="chunks"),
        pytest.param(
            [{"id": 1, "tags": ["a", "b"]}, {"id": 2, "tags": []}],
            {"field": "tags"},
            [{"id": 1, "tags": "a"}, {"id": 1, "tags": "b"}],
            id="a copy per element, in its place",
        ),
        pytest.param(
            {"items": [{"a": {"b": [1, 2]}}]},
            {"field": "a.b"},
            [{"a": {"b": 1}}, {"a": {"b": 2}}],
            id="a path",
        ),
        pytest.param("a, b,,c", {"separator": ","}, ["a", " b", "", "c"], id="a text"),
        pytest.param(
            {"t": "x|y"}, {"separator": "|", "source": "input.t"}, ["x", "y"], id="a source"
        ),
        pytest.param(
            {"a": 1, "b": None},
            {"entries": True},
            [{"key": "a", "value": 1}, {"key": "b", "value": None}],
            id="an object",
        ),
    ],
)
async def test_split_makes_parts(value: Any, parameters: dict[str, Any], items: list[Any]) -> None:
    assert await main_of(split, value, **parameters) == {"items": items, "count": len(items)}


@pytest.mark.parametrize(
    ("value", "parameters", "kind", "code"),
    [
        ([1], {}, "INVALID_INPUT", "invalid_parameter"),
        ([1], {"size": 1, "entries": True}, "INVALID_INPUT", "invalid_parameter"),
        ([{"a": 1}], {"field": "a"}, "INVALID_INPUT", "not_a_list"),
        ({"a": 1}, {"size": 1}, "INVALID_INPUT", "not_a_list"),
        ([1], {"separator": ","}, "INVALID_INPUT", "invalid_input"),
        ("a", {"entries": True}, "INVALID_INPUT", "invalid_input"),
        ("," * 250_000, {"separator": ","}, "PAYLOAD_TOO_LARGE", "output_too_large"),
        ([{"a": [0] * 250_001}], {"field": "a"}, "PAYLOAD_TOO_LARGE", "output_too_large"),
    ],
)
async def test_split_refuses_what_has_no_parts(
    value: Any, parameters: dict[str, Any], kind: str, code: str
) -> None:
    with pytest.raises(Failed) as caught:
        await main_of(split, value, **parameters)

    assert (caught.value.failure.kind, caught.value.failure.code) == (kind, code)


async def test_a_field_that_is_missing_fails_the_split() -> None:
    with pytest.raises(ExpressionError):
        await main_of(split, [{}], field="tags")


@pytest.mark.parametrize(
    ("kind", "sent", "stored"),
    [
        ("FLOW.FILTER", {"filter_condition": {"a.b": "x"}}, {"condition": "item.a.b == 'x'"}),
        ("FLOW.FILTER", {"filter_expression": "item"}, {"condition": "item"}),
        ("FLOW.SORT", {"sort_field": "price", "order": "DESC"}, {"by": "item.price", "order": "desc"}),
    ],
)  # fmt: skip
def test_older_spellings_are_read(kind: str, sent: dict[str, Any], stored: dict[str, Any]) -> None:
    reading = examine(chain(node("n", kind, **sent)), CATALOGUE)

    assert reading.problems == ()
    assert reading.document is not None
    assert reading.document.nodes[1].parameters == stored


def test_a_sort_is_checked_key_by_key() -> None:
    sent = chain(node("n", "FLOW.SORT", by=[{"by": "item.a"}, {"by": "itm"}]))

    problems = examine(sent, CATALOGUE).problems

    assert [(each.pointer, each.code) for each in problems] == [
        ("/nodes/1/parameters/by/1/by", "invalid_expression")
    ]
