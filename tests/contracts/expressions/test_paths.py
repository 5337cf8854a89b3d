"""Paths (NODES.md 1.5)."""

from typing import Any

import pytest

from contracts.expressions.errors import ExpressionError
from contracts.expressions.paths import Every, parse, read, write

DATA: dict[str, Any] = {
    "order": {"items": [{"sku": "x1", "qty": 2}, {"sku": "b2"}, 5]},
    "a.b [c]": {"it's": 1},
    "null": None,
    "grid": [[{"v": 1}], [{"v": 2}, {}]],
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$", ()),
        ("a", ("a",)),
        ("$.a.b", ("a", "b")),
        ("$[0].a", (0, "a")),
        ("[0][1]", (0, 1)),
        ("a-b.c d", ("a-b", "c d")),
        ("a[*].b", ("a", Every(), "b")),
        ("a['b.c'][\"d\"]", ("a", "b.c", "d")),
        ("['it\\'s']", ("it's",)),
        ("['']", ("",)),
        ("$ref", ("$ref",)),
    ],
)
def test_parsing(path: str, expected: tuple[Any, ...]) -> None:
    assert parse(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "$.",
        "a[",
        "a[]",
        "a[-1]",
        "a[x]",
        "a]",
        "a['b]",
        "a[0]b",
        "a.[0]",
        "[*",
        "a" * 5000,
        "[*]" * 65,
    ],
    ids=lambda path: path[:10],
)
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(path)

    assert caught.value.code == "value"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("order.items[0].sku", "x1"),
        ("order.items[*].sku", ["x1", "b2"]),
        ("order.items[*].qty", [2]),
        ("order.items[*].absent", []),
        ("order.items[*]", [{"sku": "x1", "qty": 2}, {"sku": "b2"}, 5]),
        ("['a.b [c]']['it\\'s']", 1),
        ("null", None),
        ("grid[*][*].v", [[1], [2]]),
        ("grid[1][0].v", 2),
        ("$", DATA),
    ],
)
def test_reading(path: str, expected: Any) -> None:
    assert read(DATA, path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "absent",
        "order.items[3]",
        "order.items.sku",
        "order[0]",
        "null.a",
        "null[*]",
        "order[*]",
        "order.items[0].sku.x",
        "absent[*].a",
    ],
)
def test_reading_what_is_missing(path: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        read(DATA, path)

    assert caught.value.code == "missing"


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        ({}, "a", 1),
        ({}, "a.b.c", {"b": {"c": 1}}),
        ({"a": {"x": 0}}, "a.b", {"x": 0, "b": 1}),
        ({"a": None}, "a.b", {"b": 1}),
        ({}, "a[0]", [1]),
        ({"a": [1, 2]}, "a[2]", [1, 2, 1]),
        ({"a": [0, 2]}, "a[0]", [1, 2]),
        ({"a": [{"x": 0}]}, "a[0].b", [{"x": 0, "b": 1}]),
        ({"a": [0]}, "a[1].b", [0, {"b": 1}]),
    ],
)
def test_writing(value: Any, path: str, expected: Any) -> None:
    before = repr(value)

    written = write(value, path, 1)

    assert written == {"a": expected}
    assert repr(value) == before


def test_writing_at_the_root_replaces_the_value() -> None:
    assert write({"a": 1}, "$", [2]) == [2]
    assert write(None, "a", 1) == {"a": 1}
    assert write(None, "[0]", 1) == [1]


def test_writing_leaves_what_it_does_not_touch_as_it_is() -> None:
    value = {"a": {"x": 0}, "b": {"y": [1]}}

    written: Any = write(value, "a.x", 1)

    assert written["b"] is value["b"]


@pytest.mark.parametrize(
    ("value", "path", "code"),
    [
        ({"a": 1}, "a.b", "type"),
        ({"a": [1]}, "a.b", "type"),
        ({"a": {}}, "a[0]", "type"),
        ([1], "a", "type"),
        ({"a": [1]}, "a[2]", "value"),
        ({}, "a[1]", "value"),
        ({"a": [1]}, "a[*]", "value"),
        ({}, "a." * 64 + "a", "value"),
    ],
)
def test_what_cannot_be_written(value: Any, path: str, code: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        write(value, path, 1)

    assert caught.value.code == code
