"""Where expressions stand in the parameters of a node.

A template stands wherever a text of a `template` parameter holds `{{ }}`; an `expr` parameter is the
source itself, or a structure. In a structure the schema marks the texts that are sources, by the
`format` `expr` or `template`; a schema without such marks makes all of them sources.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from contracts import schemas
from contracts.model import Node
from contracts.problems import pointer
from contracts.schemas import Schema
from contracts.specs import NodeSpec, Parameter

Form = Literal["expr", "template", "paths"]


class Source(msgspec.Struct, frozen=True):
    """A text to be checked, and its place below the parameter. `paths` may be paths instead."""

    place: str
    text: str
    form: Form


def sources(node: Node, spec: NodeSpec, parameter: Parameter, value: Any) -> Iterator[Source]:
    """Yield the texts of a parameter that hold expressions."""
    form = _form(node, spec, parameter, value)
    if form == "literal":
        return
    if isinstance(value, str) and parameter.kind == "expr":
        value = schemas.converted(value, parameter.schema)  # the JSON text of a structure
    if isinstance(value, str):
        yield from _text(value, form, "")
    elif parameter.kind == "expr" and form == "expr" and _is_marked(parameter.schema):
        yield from _marked(value, parameter.schema, parameter.schema, "")
    else:
        yield from _unmarked(value, form)


_Default = Literal["expr", "template", "paths", "literal"]


def _form(node: Node, spec: NodeSpec, parameter: Parameter, value: Any) -> _Default:
    """Return how a parameter is read; the rule of a transformation goes by its operation."""
    if spec.type == "ACTION.DATA_TRANSFORMATION" and parameter.name == "rule":
        operation = node.parameters.get("operation")
        if operation == "map" and not isinstance(value, str):
            return "template"
        if operation == "sort" and isinstance(value, str):
            return "paths"
    return parameter.kind


def _text(text: str, form: str, place: str) -> Iterator[Source]:
    match form:
        case "expr" | "paths":
            yield Source(place, text, "expr" if form == "expr" else "paths")
        case "template" if "{{" in text:
            yield Source(place, text, "template")
        case _:
            pass


def _is_marked(schema: Schema) -> bool:
    return _MARK.search(json.dumps(schema)) is not None


_MARK: Final = re.compile('"format": "(?:expr|template)"')


def _marked(value: Any, schema: Schema, root: Schema, place: str) -> Iterator[Source]:
    """Yield the texts that the schema marks; values are no deeper than JSON may be."""
    schema = _fitting(value, schema, root)
    if isinstance(value, str):
        yield from _text(value, schema.get("format", "literal"), place)
    elif schema.get("format") == "template":
        yield from _unmarked(value, "template", place)
    elif isinstance(value, Mapping):
        properties, rest = schema.get("properties", {}), schema.get("additionalProperties")
        for name, item in value.items():
            inner = properties.get(name, rest)
            if isinstance(inner, Mapping):
                yield from _marked(item, inner, root, place + pointer(name))
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for index, item in enumerate(value):
            yield from _marked(item, schema["items"], root, place + pointer(index))


def _fitting(value: Any, schema: Schema, root: Schema) -> Schema:
    """Return the first alternative of a schema that the value fits."""
    schema = schemas.resolved(schema, root)
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if not alternatives:
        return schema
    rooted = (
        {**schemas.resolved(each, root), "$defs": root.get("$defs", {})} for each in alternatives
    )
    return next((each for each in rooted if not schemas.flaws(value, each)), {})


def _unmarked(value: Any, form: str, place: str = "") -> Iterator[Source]:
    """Yield all texts of a structure; where expressions are expected, one in braces is a template."""
    pending = [(place, value)]
    while pending:
        place, value = pending.pop()
        if isinstance(value, str):
            is_template = form == "expr" and "{{" in value
            yield from _text(value, "template" if is_template else form, place)
        elif isinstance(value, Mapping):
            inside = [(place + pointer(key), item) for key, item in value.items()]
            pending.extend(reversed(inside))
        elif isinstance(value, list | tuple):
            inside = [(place + pointer(index), item) for index, item in enumerate(value)]
            pending.extend(reversed(inside))
