"""Schemas of inputs: which are refused, what does not fit and where, and that neither costs without end."""

from typing import Any

import pytest

from gateway.input_schemas import BadSchema, InputSchemas
from nodes.regex import Re2

SCHEMAS = InputSchemas(Re2())
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def nested(depth: int) -> dict[str, Any]:
    return {"not": nested(depth - 1)} if depth else {}


def doubling(levels: int) -> dict[str, Any]:
    """Return a small schema that takes 2 ** levels steps."""
    steps = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/s0", "$defs": {**steps, f"s{levels}": {"type": "object"}}}


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({}, id="of everything"),
        pytest.param(True, id="true"),
        pytest.param('{"type": "object"}', id="as JSON text"),
        pytest.param({"$schema": DRAFT, "$id": "https://a.example/b", "type": "object"}, id="with its names"),
        pytest.param({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, id="with a reference"),
        pytest.param({"properties": {"next": {"$ref": "#"}}}, id="of a recursive value"),
        pytest.param({"$dynamicRef": "#a", "$defs": {"x": {"$dynamicAnchor": "a"}}}, id="with an anchor"),
        pytest.param({"properties": {"$ref": {"type": "string"}}, "const": {"$ref": "http://a"}}, id="with $ref as a name"),
        pytest.param({"x-shown": "first", "format": "email"}, id="with notes for tools"),
    ],
)  # fmt: skip
def test_a_good_schema_has_no_fault(schema: Any) -> None:
    assert SCHEMAS.judge()(schema) is None


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        pytest.param(3, "must be a JSON Schema", id="a number"),
        pytest.param([], "must be a JSON Schema", id="a list"),
        pytest.param("{", "text is no JSON", id="a broken text"),
        pytest.param({"type": "text"}, "at /type fits none of anyOf", id="an unknown type"),
        pytest.param({"properties": {"a": {"minimum": "3"}}}, "at /properties/a/minimum must be a number", id="deep inside"),
        pytest.param({"$ref": "https://a.example/s.json"}, "nothing is fetched", id="a remote reference"),
        pytest.param({"$ref": DRAFT}, "nothing is fetched", id="a reference that the library knows"),
        pytest.param({"items": {"$dynamicRef": "other.json#a"}}, "nothing is fetched", id="a relative reference"),
        pytest.param({"$ref": "#/$defs/a"}, "where no schema is", id="a reference to nothing"),
        pytest.param({"enum": [7], "$ref": "#/enum/0"}, "where no schema is", id="a reference to a number"),
        pytest.param({"enum": [7], "$ref": "#/enum/x"}, "where no schema is", id="a reference to no index"),
        pytest.param({"$ref": "#/x", "x": {"type": 3}}, "at /type", id="a reference to what is none"),
        pytest.param({"$ref": "#/x", "x": {"pattern": "(?=a)"}}, "no RE2", id="a pattern behind a reference"),
        pytest.param({"pattern": "(a)\\1"}, "no RE2", id="a pattern that RE2 does not read"),
        pytest.param({"patternProperties": {"(": {}}}, "no RE2", id="a pattern of names"),
        pytest.param({"$schema": "http://json-schema.org/draft-07/schema#"}, "another draft", id="an older draft"),
        pytest.param({"allOf": [{"$schema": DRAFT}]}, "beginning only", id="a dialect inside"),
        pytest.param({"$defs": {"a": {"$id": "a"}}}, "beginning only", id="a base inside"),
        pytest.param({"unevaluatedProperties": False, "patternProperties": {"a": {}}}, "do not go together", id="what the library would match by itself"),
        pytest.param(nested(40), "nested more than 32 deep", id="deep"),
        pytest.param({"description": "x" * 70_000}, "the limit is 65536", id="large"),
        pytest.param({"properties": {f"p{n}": {"type": "string"} for n in range(2_000)}}, "too long to check", id="wide"),
    ],
)  # fmt: skip
def test_a_bad_schema_is_refused(schema: Any, fault: str) -> None:
    assert fault in (SCHEMAS.judge()(schema) or "")


def test_the_schemas_of_one_document_share_a_budget() -> None:
    judge = SCHEMAS.judge()
    schema = {"properties": {f"p{n}": {"type": "string"} for n in range(100)}}

    faults = [judge(schema) for _ in range(20)]

    assert faults[0] is None
    assert "too long to check" in (faults[-1] or "")


async def misfits(schema: Any, value: Any) -> dict[str, str]:
    entries = await InputSchemas(Re2()).misfits(("v", "n"), schema, value, "/input")
    return {entry.pointer: entry.message for entry in entries}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        pytest.param({"type": "integer"}, 3.0, id="a whole number with a fraction of nothing"),
        pytest.param({"enum": [1]}, 1.0, id="a number is a number"),
        pytest.param({"uniqueItems": True}, [1, True, "1", [1], {"a": 1}], id="true is not 1"),
        pytest.param({"format": "email"}, "nobody", id="a format refuses nothing"),
        pytest.param({"patternProperties": {"^x-": {}}, "additionalProperties": False}, {"x-a": 1}, id="a name that a pattern knows"),
        pytest.param('{"type": "object"}', {}, id="a schema as text"),
        pytest.param({"properties": {"next": {"$ref": "#"}}}, {"next": {"next": {}}}, id="a recursive value"),
    ],
)  # fmt: skip
async def test_what_fits_is_let_through(schema: Any, value: Any) -> None:
    assert await misfits(schema, value) == {}


@pytest.mark.parametrize(
    ("schema", "value", "pointer", "message"),
    [
        pytest.param({"type": "object"}, [1], "/input", "Must be an object, not a list.", id="the input itself"),
        pytest.param({"properties": {"a/b": {"type": ["string", "null"]}}}, {"a/b": 3}, "/input/a~1b", "Must be a text or null, not 3.", id="an escaped name"),
        pytest.param({"required": ["a", "b"]}, {"a": 1}, "/input/b", "Is missing; give it.", id="missing"),
        pytest.param({"properties": {"a": {}}, "additionalProperties": False}, {"c": 1}, "/input/c", "Is not known; known are a.", id="unknown"),
        pytest.param({"additionalProperties": {"type": "string"}}, {"c": 1}, "/input/c", "Must be a text, not 1.", id="any other"),
        pytest.param({"patternProperties": {"^n": {"minimum": 3}}}, {"n1": 1}, "/input/n1", "Must be at least 3, not 1.", id="by a pattern of names"),
        pytest.param({"items": {"pattern": "^x{2}$"}}, ["xx", "x"], "/input/1", 'Must match ^x{2}$, not "x".', id="a pattern"),
        pytest.param({"enum": ["A", "B"]}, "C", "/input", 'Must be one of "A", "B", not "C".', id="an enumeration"),
        pytest.param({"const": True}, 1, "/input", "Must be true, not 1.", id="a constant"),
        pytest.param({"maxItems": 1}, [1, 2], "/input", "Must have at most 1 items, not 2.", id="a bound"),
        pytest.param({"uniqueItems": True}, [{"a": 1}, {"a": 1.0}], "/input", "Must not hold an item twice.", id="repeated"),
        pytest.param({"anyOf": [{"type": "null"}, {"required": ["a"]}]}, {}, "/input", "Fits none of anyOf; nearest", id="alternatives"),
        pytest.param({"oneOf": [{}, {}]}, 1, "/input", "Must fit exactly one of oneOf, and fits several.", id="too many alternatives"),
        pytest.param({"not": {}}, 1, "/input", "Fits what `not` excludes.", id="excluded"),
        pytest.param(False, 1, "/input", "Is not allowed here.", id="nothing at all"),
        pytest.param({"contains": {"const": 1}}, ["x" * 999], "/input", "Does not fit contains: a list does", id="the library's words, short"),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_told_with_its_place(
    schema: Any, value: Any, pointer: str, message: str
) -> None:
    found = await misfits(schema, value)

    assert list(found) == [pointer]
    assert found[pointer].startswith(message)
    assert len(found[pointer]) < 500


async def test_a_check_without_end_is_stopped() -> None:
    (entry,) = await SCHEMAS.misfits(("bomb", "n"), doubling(60), {}, "/input")

    assert (entry.pointer, entry.code) == ("/input", "limit_exceeded")


async def test_a_pattern_pays_for_the_text_that_it_reads() -> None:
    (entry,) = await SCHEMAS.misfits(
        ("regex", "n"), {"items": {"pattern": "(a|b|ab){200}$"}}, ["ab" * 5_000] * 100, "/input"
    )

    assert entry.code == "limit_exceeded"


@pytest.mark.parametrize(
    "schema",
    [pytest.param({"$ref": "#"}, id="refers to itself"), pytest.param({"type": 3}, id="no schema")],
)
async def test_a_schema_that_cannot_be_used_is_told_apart_from_an_input(schema: Any) -> None:
    with pytest.raises(BadSchema):
        await SCHEMAS.misfits(("bad", str(schema)), schema, {}, "/input")


async def test_a_schema_is_compiled_once() -> None:
    schemas = InputSchemas(Re2())
    await schemas.misfits(("v", "n"), {"type": "object"}, {}, "/input")

    # The key names a place that never changes, so what is sent for it now is not looked at.
    assert await schemas.misfits(("v", "n"), {"type": 3}, {}, "/input") == ()
