"""Macros over lists and maps (NODES.md 1.4)."""

from typing import Any

import pytest

from tests.contracts.expressions.evaluating import failure, same, value


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("[1, 2].map(x, x * 2)", [2, 4]),
        ("[1, 2, 3].map(x, x > 1, x * 2)", [4, 6]),
        ("[1, 2, 3].filter(x, x != 2)", [1, 3]),
        ("[].map(x, x / 0)", []),
        ("[1, 2].all(x, x > 0)", True),
        ("[].all(x, false)", True),
        ("[1, 2].exists(x, x > 1)", True),
        ("[].exists(x, true)", False),
        ("[1, 2].exists_one(x, x > 1)", True),
        ("[2, 2].exists_one(x, x > 1)", False),
        ("[0].exists_one(x, x > 1)", False),
        ("[1, 'a'].exists(x, x == 1 || x > 1)", True),
        ("{'b': 1, 'a': 2}.map(k, k + '!')", ["b!", "a!"]),
        ("{'b': 1, 'a': 2}.filter(k, k == 'a')", ["a"]),
        ("{'b': 1}.all(k, k == 'b')", True),
        ("{'b': 1, 'a': 2}.sortBy(k, k)", ["a", "b"]),
        ("[1, 2].map(x, [3, 4].map(y, x * y))", [[3, 4], [6, 8]]),
        ("[1, 2].map(x, [3].map(x, x)[0] + x)", [4, 5]),
        ("[[1], [2]].map(input, input[0])", [1, 2]),
        ("[1].map(item, item)", [1]),
        ("[3, 1, 2].sortBy(x, -x)", [3, 2, 1]),
        ("[3, 1, 2].sortBy(x, x, 'desc')", [3, 2, 1]),
        ("[3, 1].sortBy(x, x, ['desc', 'asc'][1])", [1, 3]),
        ("[{'a': 1}, {'a': 1, 'b': 2}].sortBy(x, x.a, 'desc')", [{"a": 1}, {"a": 1, "b": 2}]),
        ("[[null, 1], [2, 2], [1, 3]].sortBy(x, x[0]).map(x, x[1])", [3, 2, 1]),
        ("[[null, 1], [2, 2], [1, 3]].sortBy(x, x[0], 'desc').map(x, x[1])", [2, 3, 1]),
    ],
    ids=str,
)
def test_a_macro_gives_its_value(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("[1].map(x)", "type"),
        ("[1].map()", "syntax"),
        ("[1].map(x, 1, 2, 3)", "type"),
        ("[1].filter(x, 1)", "type"),
        ("[1].all(x, null)", "type"),
        ("[1].map(x, 1, x)", "type"),
        ("'abc'.map(x, x)", "type"),
        ("5.filter(x, true)", "type"),
        ("null.all(x, true)", "type"),
        ("[1, 'a'].sortBy(x, x)", "type"),
        ("[{}].sortBy(x, x)", "type"),
        ("[1].sortBy(x, x, 'down')", "value"),
        ("[1].sortBy(x, x, 1)", "type"),
        ("[{'a': 1}, {}].sortBy(x, x.a)", "missing"),
        ("[1].map(x, y)", "unknown_name"),
        ("[1].map(x, x) + x", "unknown_name"),
        ("[1].map(x, x, x)[0]", "type"),
    ],
)
def test_a_macro_that_cannot_work_fails(source: str, code: str) -> None:
    assert failure(source).code == code


def test_a_macro_stops_where_the_answer_is_known() -> None:
    assert value("[1, 0].exists(x, 1 / x == 1)") is True
    assert value("[2, 0].all(x, 1 / x == 1)") is False
