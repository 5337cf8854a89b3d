"""The part of JSON Schema that specs use: what fits, and what is said of the rest."""

from typing import Any

import pytest

from contracts import schemas

ANY_OF: dict[str, Any] = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}
CASE: dict[str, Any] = {
    "type": "object",
    "properties": {"port": {"type": "string", "pattern": "^[a-z]+$"}, "equals": {}},
    "required": ["port"],
    "additionalProperties": False,
}
DEFINED: dict[str, Any] = {"$ref": "#/$defs/Case", "$defs": {"Case": CASE}}


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        pytest.param("x", {}, id="anything"),
        pytest.param(3.0, {"type": "integer"}, id="a whole decimal is an integer"),
        pytest.param(None, {"type": ["number", "null"]}, id="one of two types"),
        pytest.param("B", {"enum": ["A", "B"]}, id="an enum value"),
        pytest.param(1, {"const": 1}, id="a constant"),
        pytest.param([1, "x"], {"type": "array", "prefixItems": [{"type": "integer"}]}, id="prefix"),
        pytest.param({"a": 1}, {"additionalProperties": {"type": "integer"}}, id="any member"),
        pytest.param(None, ANY_OF, id="the second alternative"),
        pytest.param(4, {"oneOf": ANY_OF["anyOf"]}, id="oneOf"),
        pytest.param({"port": "a", "equals": [1]}, DEFINED, id="a definition"),
        pytest.param({"x": 1}, {"$ref": "#/$defs/Gone"}, id="a definition that is not there"),
        pytest.param("x", {"format": "whatever"}, id="an unknown keyword says nothing"),
    ],
)  # fmt: skip
def test_what_fits_has_no_flaw(value: Any, schema: dict[str, Any]) -> None:
    assert schemas.flaws(value, schema) == []


@pytest.mark.parametrize(
    ("value", "schema", "path", "message"),
    [
        pytest.param("x", {"type": "integer"}, (), 'must be a whole number, not "x"', id="type"),
        pytest.param(True, {"type": "number"}, (), "must be a number, not true", id="boolean"),
        pytest.param(1.5, {"type": "integer"}, (), "must be a whole number, not 1.5", id="fraction"),
        pytest.param({}, {"type": ["string", "array"]}, (), "must be a text or a list, not an object", id="types"),
        pytest.param("C", {"enum": ["A", "B"]}, (), 'must be one of A, B, not "C"', id="enum"),
        pytest.param(True, {"const": 1}, (), "must be 1, not true", id="const"),
        pytest.param(0, {"minimum": 1}, (), "must be at least 1, not 0", id="minimum"),
        pytest.param(9, {"maximum": 5}, (), "must be at most 5, not 9", id="maximum"),
        pytest.param(0, {"exclusiveMinimum": 0}, (), "must be more than 0, not 0", id="more than"),
        pytest.param(5, {"exclusiveMaximum": 5}, (), "must be less than 5, not 5", id="less than"),
        pytest.param("", {"minLength": 1}, (), "must have at least 1 characters, not 0", id="short"),
        pytest.param("abc", {"maxLength": 2}, (), "must have at most 2 characters, not 3", id="long"),
        pytest.param([], {"minItems": 1}, (), "must have at least 1 items, not 0", id="few items"),
        pytest.param([1, 2], {"maxItems": 1}, (), "must have at most 1 items, not 2", id="many items"),
        pytest.param("A", {"pattern": "^[a-z]+$"}, (), 'must match ^[a-z]+$, not "A"', id="pattern"),
        pytest.param([1, "x"], {"items": {"type": "integer"}}, (1,), 'must be a whole number, not "x"', id="an item"),
        pytest.param({"equals": 1}, CASE, ("port",), "is missing; give it", id="a missing member"),
        pytest.param({"port": "a", "x": 1}, CASE, ("x",), "is not known; known are port, equals", id="an unknown member"),
        pytest.param({"port": "A"}, DEFINED, ("port",), 'must match ^[a-z]+$, not "A"', id="inside a definition"),
        pytest.param(0, ANY_OF, (), "must be at least 1, not 0", id="the alternative of its type"),
        pytest.param("x", ANY_OF, (), 'must be a whole number or null, not "x"', id="no alternative"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    value: Any, schema: dict[str, Any], path: tuple[str | int, ...], message: str
) -> None:
    assert schemas.flaws(value, schema) == [schemas.Flaw(path, message)]


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        pytest.param("5", {"type": "integer"}, id="a number in a text"),
        pytest.param("TRUE", {"type": "boolean"}, id="a boolean in a text"),
        pytest.param('{"a": 1}', {"type": "object"}, id="an object in a text"),
        pytest.param("[1]", {"type": ["array", "null"]}, id="a list in a text"),
        pytest.param("7", ANY_OF, id="a number for an alternative"),
        pytest.param(5, {"type": "string"}, id="a number for a text"),
        pytest.param({"a": "5"}, {"properties": {"a": {"type": "integer"}}}, id="inside"),
    ],
)
def test_a_lenient_check_reads_text_as_what_it_spells(value: Any, schema: dict[str, Any]) -> None:
    assert schemas.flaws(value, schema, is_lenient=True) == []
    assert schemas.flaws(value, schema) != []


def test_what_is_not_known_yet_fits_everything() -> None:
    schema = {"items": {"type": "integer"}}

    found = schemas.flaws([1, "{{ input.n }}"], schema, is_open=lambda value: "{{" in str(value))

    assert found == []


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        pytest.param("5", {"type": "integer"}, 5, id="a number"),
        pytest.param("x", {"type": "integer"}, "x", id="no number"),
        pytest.param("5.5", {"type": "integer"}, "5.5", id="a number of the wrong kind"),
        pytest.param(
            '[{"port": "a"}]', {"anyOf": [{"type": "array"}]}, [{"port": "a"}], id="a list"
        ),
        pytest.param("5", {"type": ["string", "integer"]}, "5", id="text is welcome"),
    ],
)
def test_text_is_converted_to_the_declared_type(
    value: Any, schema: dict[str, Any], expected: Any
) -> None:
    assert schemas.converted(value, schema) == expected


def test_a_definition_that_refers_to_itself_ends() -> None:
    schema = {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}

    assert schemas.flaws("x", schema) == []
