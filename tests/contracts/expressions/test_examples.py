"""The table of examples in NODES.md 1.8, row by row."""

from typing import Any

import pytest

from contracts.expressions.errors import ExpressionError
from contracts.expressions.interpreter import evaluate
from contracts.expressions.templates import render
from tests.contracts.expressions.evaluating import REGEX, SCOPE, same

VALUES: list[tuple[str, str, Any]] = [
    ("logic", "input.order.total > static.limit && 'vip' in input.tags", True),
    ("sum of a map", "input.order.items.map(i, i.qty * i.price).sum()", 129.5),
    ("map with condition", "input.order.items.map(i, i.price > 45, i.sku)", ["b2"]),
    ("division", "[7 / 2, 6 / 2, -7 % 3, 2 * 0.5]", [3.5, 3, -1, 1]),
    (
        "rounding",
        "[0.1 + 0.2, round(0.1 + 0.2, 2), round(2.5), round(-2.5)]",
        [0.30000000000000004, 0.3, 3, -3],
    ),
    ("equality across types", "1 == 1.0 && '1' != 1 && true != 1", True),
    ("has", "has(input.order.discount) ? 1 : 0", 0),
    (
        "default",
        "[default(input.note, 'none'), input.order.customer.name.orValue('guest')]",
        ["none", "guest"],
    ),
    (
        "get",
        "[get(input, 'order.items[1].sku'), get(input, 'order.items[*].qty'),"
        " get(input, 'x.y', '?')]",
        ["b2", [2, 1], "?"],
    ),
    (
        "output of a node",
        "nodes['check-stock'].output.left == 0 ? 'sold out' : 'in stock'",
        "sold out",
    ),
    ("distinct and sort", "input.tags.distinct().sort().join(', ')", "new, vip"),
    ("split and last", "input.email.lower().split('@').last()", "example.org"),
    ("matches", "input.email.matches('^[^@]+@[^@]+$')", True),
    ("extract", "extract('INV-042', '[0-9]+')", "042"),
    ("sortBy", "input.order.items.sortBy(i, i.price, 'desc').first().sku", "b2"),
    (
        "merge",
        "merge({'id': input.order.id, 'state': 'new'}, {'state': 'paid'})",
        {"id": "A-7", "state": "paid"},
    ),
    ("entries", "entries(static).map(e, e.key + '=' + string(e.value))", ["limit=100"]),
    (
        "lists",
        "[range(3).map(n, n * n), slice([1, 2, 3, 4], -2), flatten([[1], [2, [3]]])]",
        [[0, 1, 4], [3, 4], [1, 2, [3]]],
    ),
    (
        "quantifiers",
        "input.order.items.all(i, i.qty > 0) && input.order.items.exists_one(i, i.qty > 1)",
        True,
    ),
    ("dateFormat", "dateFormat(now, '%Y-%m-%d %H:%M')", "2026-03-28 23:30"),
    ("dateAdd over a change of clocks", "dateAdd(now, 1, 'days')", "2026-03-29T21:30:00Z"),
    ("durations", "now - duration('36h') < timestamp('2026-03-28')", True),
    ("text of a duration", "string(duration('1h30m'))", "5400s"),
    ("sha256", "sha256('abc').substring(0, 8)", "ba7816bf"),
    ("size", "size('né') + size({'a': 1})", 3),
    (
        "encodings",
        "[toJson({'a': [1, 2.0, null]}), base64('flotilla'), urlEncode('a b&c')]",
        ['{"a":[1,2,null]}', "ZmxvdGlsbGE=", "a%20b%26c"],
    ),
]

FAILURES = [
    ("whole numbers are exact", "9007199254740991 + 1", "overflow", None),
    ("an absent field", "input.order.discount", "missing", None),
    ("a long range", "range(100000)", "budget", None),
    ("a bare name", "amount > 3", "unknown_name", "input.amount"),
    ("no truthiness", "input.tags ? 1 : 2", "type", "a comparison"),
]

TEMPLATES: list[tuple[str, str, Any]] = [
    (
        "text",
        "Order {{ input.order.id }}: {{ input.order.total }} EUR",
        "Order A-7: 129.5 EUR",
    ),
    ("a list", "{{ input.tags }}", ["new", "vip", "new"]),
    ("text of a list", "tags={{ input.tags }}", 'tags=["new","vip","new"]'),
    ("text of null", "note: {{ input.note }}", "note: null"),
    ("a duration", "{{ duration('90s') }}", 90),
    ("a map literal", "{{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
    ("the braces themselves", "{{ '{{' }} stays", "{{ stays"),
]


@pytest.mark.parametrize(
    ("source", "expected"), [row[1:] for row in VALUES], ids=[row[0] for row in VALUES]
)
def test_an_example_gives_its_value(source: str, expected: Any) -> None:
    found = evaluate(source, SCOPE, regex=REGEX)

    assert same(found, expected)


@pytest.mark.parametrize(
    ("source", "code", "hint"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES]
)
def test_an_example_fails_with_its_code(source: str, code: str, hint: str | None) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(source, SCOPE, regex=REGEX)

    assert caught.value.code == code
    assert hint is None or hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("template", "expected"), [row[1:] for row in TEMPLATES], ids=[row[0] for row in TEMPLATES]
)
def test_an_example_template_renders(template: str, expected: Any) -> None:
    found = render(template, SCOPE, regex=REGEX)

    assert same(found, expected)
