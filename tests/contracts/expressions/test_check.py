"""Checking before anything runs (NODES.md 1.1)."""

from typing import Any

import pytest

from contracts.expressions.check import NODE_SCOPE, check, check_templates
from contracts.expressions.errors import ExpressionError
from tests.contracts.expressions.evaluating import REGEX


def fault(source: str, names: frozenset[str] = frozenset()) -> ExpressionError:
    """Return what is wrong with a source."""
    with pytest.raises(ExpressionError) as caught:
        check(source, names=names, regex=REGEX)
    return caught.value


@pytest.mark.parametrize(
    ("source", "references", "names"),
    [
        ("1", set(), set()),
        ("input.a", set(), {"input"}),
        ("nodes.fetch.output.x + nodes['my-node'].ports.main", {"fetch", "my-node"}, {"nodes"}),
        ("has(nodes.a.error) ? nodes.b.output : [nodes.c.status]", {"a", "b", "c"}, {"nodes"}),
        ("{nodes.a.output: nodes.b.output}", {"a", "b"}, {"nodes"}),
        ("input.l.map(x, x == nodes.a.output)", {"a"}, {"input", "nodes"}),
        ("input.l.sortBy(x, x, nodes.a.output)", {"a"}, {"input", "nodes"}),
        ("input.x.orValue(nodes.a.output)", {"a"}, {"input", "nodes"}),
        (
            "!(-nodes.a.output.b > static.c) && execution.id in trigger",
            {"a"},
            {"nodes", "static", "execution", "trigger"},
        ),
        ("input.l[workflow.version].f(now)", None, None),
        (
            "input.l[workflow.version].first().size() + int(now())",
            set(),
            {"input", "workflow", "now"},
        ),
        ("nodes.a", {"a"}, {"nodes"}),
        ("{{ input.a }}", set(), {"input"}),
        ("input.map(input, input)", set(), {"input"}),
        ("item.x + index", set(), {"item", "index"}),
    ],
)
def test_what_an_expression_uses(
    source: str, references: set[str] | None, names: set[str] | None
) -> None:
    extra = frozenset({"item", "index"})
    if references is None or names is None:
        assert fault(source, extra).code == "unknown_name"
        return

    checked = check(source, names=extra, regex=REGEX)

    assert checked.references == references
    assert checked.names == names


@pytest.mark.parametrize(
    ("source", "code", "position", "hint"),
    [
        ("amount > 3", "unknown_name", 0, "input.amount"),
        ("1 + item", "unknown_name", 4, "input.item"),
        ("loop.item", "unknown_name", 0, "input.loop"),
        ("[1].map(x, x) + [x]", "unknown_name", 17, "input.x"),
        ("[1].sortBy(x, x, x)", "unknown_name", 17, "input.x"),
        ("true ? 1 : absent", "unknown_name", 11, "input.absent"),
        ("x.length", "unknown_name", 0, "input.x"),
        ("nodes.fetch.total", "unknown_name", 12, "nodes.fetch.output.total"),
        ("nodes['a b'].total", "unknown_name", 13, "nodes['a b'].output.total"),
        ("nodes.my-node.output", "syntax", 0, "nodes['my-node']"),
        ("True", "unknown_name", 0, "true"),
        ("quux(1)", "unknown_name", 0, None),
        ("size(1, 2)", "type", 0, None),
        ("input.a.matches('(')", "value", 16, None),
        ("matches(input.a, '(?=x)')", "value", 17, None),
        ("extract('a', '*')", "value", 13, None),
        ("regexReplace(input.a, ')', '')", "value", 22, None),
        ("1 +", "syntax", 3, None),
        ("", "syntax", 0, None),
        ("1" * 5000, "budget", None, None),
        ("(" * 40, "budget", 33, None),
    ],
)
def test_a_fault_is_told_with_position_and_hint(
    source: str, code: str, position: int | None, hint: str | None
) -> None:
    error = fault(source)

    assert (error.code, error.position, error.hint) == (code, position, hint)
    assert error.source == source


def test_names_of_the_place_are_in_scope() -> None:
    assert check("loop.item", names=frozenset({"loop"})).names == {"loop"}
    with pytest.raises(ExpressionError):
        check("input.a", scope=frozenset({"message", "static", "workflow", "now"}))


@pytest.mark.parametrize(
    ("source", "above"),
    [
        ("loop.previous", {0}),
        ("loop['previous'].total + 1", {0}),
        ("loop.parent.parent.previous == loop.previous", {0, 2}),
        ("loop.item.previous + loop.index", set()),
        ("[{'previous': 1}].map(loop, loop.previous)", set()),
        ("input.previous", set()),
        ("loop", set()),
    ],
)
def test_whose_iteration_before_is_wanted(source: str, above: set[int]) -> None:
    scope = NODE_SCOPE | {"loop"}

    assert check(source, scope=scope).previous == above
    assert check_templates({"a": "x {{ " + source + " }}"}, scope=scope).previous == above


def test_a_pattern_that_is_not_constant_is_left_to_the_evaluation() -> None:
    check("matches('a', input.pattern) && matches('a', '(' + ')')", regex=REGEX)


def test_without_a_matcher_patterns_are_not_checked() -> None:
    check("matches('a', '(')")


def test_templates_tell_all_their_problems() -> None:
    value: Any = {
        "url": "https://x/{{ input.id }}/{{ amount }}",
        "headers": ["{{ nodes.a.output }}", "{{ 1 + }} {{ open"],
        "body": {"x": "é {{ 1 + }}", "fine": "{{ loop.item }}"},
    }

    checked = check_templates(value, names=frozenset({"loop"}), regex=REGEX)

    assert checked.references == {"a"}
    assert checked.names == {"input", "nodes", "loop"}
    assert [(p.pointer, p.position, p.error.code) for p in checked.problems] == [
        ("/url", 28, "unknown_name"),
        ("/headers/1", 10, "syntax"),
        ("/body/x", 9, "syntax"),
    ]


def test_a_value_without_templates_uses_nothing() -> None:
    checked = check_templates({"a": 1, "b": "x"})

    assert (checked.references, checked.names) == (frozenset(), frozenset())
    assert checked.problems == ()
