"""Names in scope, missing values, and hints (NODES.md 1.1, 1.2)."""

from types import MappingProxyType
from typing import Any

import pytest

from contracts.expressions.errors import ExpressionError
from contracts.expressions.interpreter import condition, evaluate
from tests.contracts.expressions.evaluating import SCOPE, failure, failure_in, same, value


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("input.order.id", "A-7"),
        ("input['order']['id']", "A-7"),
        ("input.tags[1]", "vip"),
        ("input.tags[1.0]", "vip"),
        ("input.order.items[1]['sku']", "b2"),
        ("{'a b': 1}['a b']", 1),
        ("input['or' + 'der'].id", "A-7"),
        ("input.tags[parseJson('[1.0]')[0]]", "vip"),
        ("nodes['check-stock'].output.left", 0),
        ('nodes["check-stock"].ports.main.left', 0),
        ("nodes['check-stock'].status", "SUCCESS"),
        ("static.limit", 100),
        ("workflow.name", "Orders"),
        ("execution.id", "0197"),
        ("now", "2026-03-28T22:30:00Z"),
        ("now()", "2026-03-28T22:30:00Z"),
        ("default(input.order, 1).id", "A-7"),
        ("{{ input.order.id }}", "A-7"),
        ("  {{input.order.id}}\n", "A-7"),
    ],
    ids=str,
)
def test_a_name_gives_what_the_scope_holds(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize(
    "source",
    [
        "input.absent",
        "input['ab' + 'sent']",
        "input['absent']",
        "input.note.field",
        "input.note['field']",
        "input.note[0]",
        "input.tags[3]",
        "input.tags[-1]",
        "first([])",
        "last([])",
        "nodes['check-stock'].error",
        "nodes['check-stock'].ports.other",
        "nodes['check-stock'].outputs",
        "input.order.__class__",
    ],
)
def test_a_missing_value_fails_and_is_caught_by_three_forms(source: str) -> None:
    assert failure(source).code == "missing"
    assert value(f"has({source})") is False
    assert value(f"default({source}, 7)") == 7
    assert value(f"{source}.orValue(7)") == 7


def test_null_is_present_but_gives_way_to_a_default() -> None:
    assert value("has(input.note)") is True
    assert value("default(input.note, 1)") == 1
    assert value("input.note.orValue(1)") == 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("input.a.orValue(input.b).orValue(3)", 3),
        ("default(default(input.a, input.b), 3)", 3),
        ("input.a.b.c.orValue({'x': {'y': 1}}).x.y", 1),
        ("input.note.orValue({}).x.orValue(2)", 2),
        ("default(input.tags, 1).size()", 3),
        ("has(input.a.b.c.d)", False),
        ("has(input.order.items[0].sku)", True),
        ("has(input.tags.first().x.y)", None),
    ],
    ids=str,
)
def test_catching_a_missing_value(source: str, expected: Any) -> None:
    if expected is None:
        assert failure(source).code == "type"
    else:
        assert same(value(source), expected)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("default(input.tags + 1, 2)", "type"),
        ("default(1 / 0, 2)", "overflow"),
        ("default(absent, 2)", "unknown_name"),
        ("default(number('x'), 2)", "value"),
        ("default(range(100000), 2)", "budget"),
        ("default(range(10000).map(x, range(1000)), 2)", "budget"),
        ("has(nodes.unknown.output)", "unknown_name"),
        ("default(input.a, input.b)", "missing"),
        ("default(input.a, input.b).c", "missing"),
    ],
)
def test_only_missing_values_are_caught(source: str, code: str) -> None:
    assert failure(source).code == code


@pytest.mark.parametrize(
    "source",
    ["input.email.field", "input.tags.field", "input.order.total.x", "now.year", "true.x", "1 .x"],
)
def test_a_field_of_what_is_no_map_is_a_type_error(source: str) -> None:
    assert failure(source).code == "type"


@pytest.mark.parametrize(
    "source",
    [
        "input.tags['0']",
        "input.tags[0.5]",
        "input.tags[true]",
        "input.tags[null]",
        "input.order[0]",
        "'abc'[0]",
        "5[0]",
    ],
)
def test_an_index_of_the_wrong_type_fails(source: str) -> None:
    assert failure(source).code == "type"


def test_a_node_that_is_not_handed_in_is_unknown() -> None:
    assert failure("nodes.fetch.output").code == "unknown_name"
    assert failure_in("nodes.fetch.output", {}).code == "unknown_name"


@pytest.mark.parametrize(
    "source", ["nodes", "nodes[input.id]", "nodes[0]", "keys(nodes)", "nodes.map(n, n)"]
)
def test_nodes_is_followed_by_a_constant_id(source: str) -> None:
    assert failure(source).code in ("syntax", "unknown_name")


def test_a_scope_may_be_any_mapping() -> None:
    scope = MappingProxyType({"input": {"a": 1}, "nodes": MappingProxyType({"n": {"output": 2}})})

    assert evaluate("input.a + nodes.n.output", scope) == 3


@pytest.mark.parametrize("source", ["now", "now()"])
def test_now_needs_a_scope_with_an_instant(source: str) -> None:
    assert failure_in(source, {}).code == "unknown_name"
    assert failure_in(source, {"now": 5}).code == "type"
    assert failure_in(source, {"now": "soon"}).code == "value"


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("1 === 1", "=="),
        ("1 !== 1", "!="),
        ("true and false", "&&"),
        ("true or false", "||"),
        ("not true", "!"),
        ("not(true)", "!"),
        ("input.a == True", "true"),
        ("input.tags == None", "null"),
        ("False", "false"),
        ("undefined", "null"),
        ("len(input.tags)", "size(x)"),
        ("input.tags.length", "size(x)"),
        ("input.tags.length()", "size(x)"),
        ("$.a", "input.a"),
        ("$json.a", "input.a"),
        ("$json['a']", "input['a']"),
        ("a", "input.a"),
        ("amount > 3", "input.amount"),
        ('$node["x"].a', "nodes.x.output.a"),
        ("$node['my-node'].a", "nodes['my-node'].output.a"),
        ("nodes.my-node", "nodes['my-node']"),
        ("nodes.my-node.output.left == 0", "nodes['my-node']"),
        ("nodes.a-b-c", "nodes['a-b-c']"),
        ("input.tags.includes('new')", "y in x, x.contains(y)"),
        ("'n' in 'new'", "x.contains(y)"),
        ("a = 1", "=="),
        ("a & b", "&&"),
        ("a ?? b", "default(x, y)"),
        ("a?.b", "get(x, path) or default(x, y)"),
        ("uper('a')", "upper"),
        ("{{ input.a }} > 1", "the expression without the inner braces"),
        ("1 < {{ input.a }}", "the expression without the inner braces"),
        ("map([1], x, x)", "list.map(v, …)"),
        ("input.a.default(1)", "default(x, y) or x.orValue(y)"),
        ("input.a.has()", "has(x)"),
    ],
)
def test_the_hint_says_what_to_write(source: str, hint: str) -> None:
    names = {**SCOPE["input"], "a": 2}

    assert failure(source, input=names).hint == hint


def test_details_hold_source_position_and_hint() -> None:
    error = failure("1 + amount" + " " * 300)

    assert error.details() == {
        "source": "1 + amount" + " " * 190,
        "position": 4,
        "hint": "input.amount",
    }
    assert str(error) == "amount is not in scope; try input.amount"


def test_details_leave_out_a_hint_that_is_not_there() -> None:
    assert failure("1 / 0").details() == {"source": "1 / 0", "position": 2}


def test_a_condition_gives_true_or_false() -> None:
    assert condition("input.order.total > 100", SCOPE) is True
    assert condition("{{ false }}", SCOPE) is False
    with pytest.raises(ExpressionError) as caught:
        condition("input.tags", SCOPE)
    assert caught.value.code == "type"
    assert caught.value.source == "input.tags"


@pytest.mark.parametrize(
    "source", ["input", "[input]", "string(input)", "toJson([input])", "input.a"]
)
def test_what_is_no_json_is_refused(source: str) -> None:
    error = failure(source, input={1, 2})

    assert error.code == "type"
    assert "foreign value" in error.message


def test_a_value_that_is_passed_on_is_the_same_object() -> None:
    assert value("input.order") is SCOPE["input"]["order"]
    assert value("[input.order]")[0] is SCOPE["input"]["order"]


def test_times_inside_what_was_made_leave_as_json() -> None:
    made = value("{'at': [now, {'for': duration('90s')}], 'whole': 4 / 2}")

    assert made == {"at": ["2026-03-28T22:30:00Z", {"for": 90}], "whole": 2}
