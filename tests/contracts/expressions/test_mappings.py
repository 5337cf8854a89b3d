"""The mapping of a connection (CONTRACT.md 2.3)."""

from typing import Any

import pytest

from contracts.expressions.errors import ExpressionError, MappingError
from contracts.expressions.mappings import apply
from tests.contracts.expressions.evaluating import REGEX, SCOPE

VALUE: dict[str, Any] = {"order": {"id": 7, "note": None}, "items": [{"p": 1}, {"p": 2}]}


def mapped(mapping: dict[str, Any] | None, value: Any = VALUE) -> Any:
    """Return what the target receives."""
    return apply(mapping, value, SCOPE, regex=REGEX)


def fields(*entries: dict[str, Any]) -> Any:
    """Return what the target receives after a FIELD_MAPPING."""
    return mapped({"type": "FIELD_MAPPING", "fields": list(entries)})


@pytest.mark.parametrize(
    "mapping", [None, {}, {"type": "DIRECT"}, {"type": "DIRECT", "static_values": {}}]
)
def test_direct_passes_the_value_on(mapping: dict[str, Any] | None) -> None:
    assert mapped(mapping) is VALUE


def test_fields_make_a_new_object() -> None:
    found = fields(
        {"from": "order.id", "to": "a.b", "required": False},
        {"from": "items[*].p", "to": "prices"},
        {"from": "{{ input.order.id + static.limit }}", "to": "a.sum"},
        {"from": "$", "to": "all"},
    )

    assert found == {"a": {"b": 7, "sum": 107}, "prices": [1, 2], "all": VALUE}


@pytest.mark.parametrize(
    "source", ["order.absent", "order.note", "{{ input.absent }}", "{{ null }}"]
)
def test_a_field_without_a_value(source: str) -> None:
    assert fields({"from": source, "to": "a"}) == {}
    assert fields({"from": source, "to": "a", "default": 1}) == {"a": 1}
    assert fields({"from": source, "to": "a", "default": None}) == {"a": None}
    assert fields({"from": source, "to": "a", "required": True, "default": 1}) == {"a": 1}
    for default in ({}, {"default": None}):
        with pytest.raises(MappingError) as caught:
            fields({"from": source, "to": "a.b", "required": True, **default})
        assert (caught.value.code, caught.value.path) == ("required_field", "a.b")


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("{{ 1 / 0 }}", "overflow"),
        ("{{ absent }}", "unknown_name"),
        ("a..b", "value"),
        ("id {{ input.order.id }}", "syntax"),
        ("{{ input.order.id }} EUR", "syntax"),
    ],
)
def test_a_field_fails_for_other_reasons_than_missing(source: str, code: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        fields({"from": source, "to": "a", "default": 1})

    assert caught.value.code == code


def test_a_template_is_rendered_with_the_travelling_value_as_input() -> None:
    template = {"id": "{{ input.order.id }}", "text": ["#{{ input.order.id }}"]}

    assert mapped({"type": "TEMPLATE", "template": template}) == {"id": 7, "text": ["#7"]}


def test_a_transform_gives_the_value_of_its_expression() -> None:
    assert mapped({"type": "TRANSFORM", "expression": "{'n': input.items.size()}"}) == {"n": 2}
    assert mapped({"type": "TRANSFORM", "expression": "{{ input.items }}"}) is VALUE["items"]
    with pytest.raises(ExpressionError):
        mapped({"type": "TRANSFORM", "expression": "input.absent"})


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"type": "TRANSFORM", "expression": "{'a': 1}"}, {"a": 1, "x": {"y": 7}, "s": "lit"}),
        (
            {"type": "TRANSFORM", "expression": "{'x': {'z': 1}, 's': 0}"},
            {"x": {"z": 1, "y": 7}, "s": "lit"},
        ),
        ({"type": "FIELD_MAPPING", "fields": []}, {"x": {"y": 7}, "s": "lit"}),
        ({"type": "DIRECT"}, {**VALUE, "x": {"y": 7}, "s": "lit"}),
    ],
)
def test_static_values_are_written_last(mapping: dict[str, Any], expected: Any) -> None:
    static = {"x.y": "{{ input.order.id }}", "s": "lit"}

    assert mapped({**mapping, "static_values": static}) == expected
    assert "x" not in VALUE


@pytest.mark.parametrize("result", ["[1]", "null", "'a'"])
def test_static_values_need_an_object(result: str) -> None:
    with pytest.raises(MappingError) as caught:
        mapped({"type": "TRANSFORM", "expression": result, "static_values": {"a": 1}})

    assert caught.value.code == "not_an_object"
    assert "static values" in str(caught.value)


def test_an_unknown_type_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="normalised"):
        mapped({"type": "OTHER"})
