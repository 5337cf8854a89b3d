"""JSON Schema, as much of it as specs use, checked with messages that say what to give instead.

Known keywords: type, enum, const, minimum, maximum, exclusiveMinimum, exclusiveMaximum, minLength,
maxLength, pattern, items, prefixItems, minItems, maxItems, properties, required,
additionalProperties, anyOf, oneOf, and $ref into $defs. Others say nothing. Schemas are trusted,
values are not; nesting is bounded by `MAX_DEPTH`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 100

Schema = Mapping[str, Any]
Path = tuple[str | int, ...]


class Flaw(msgspec.Struct, frozen=True):
    """One place in a value that does not fit: `message` goes on after the name of the place."""

    path: Path
    message: str


def flaws(
    value: Any,
    schema: Schema,
    *,
    is_open: Callable[[Any], bool] = lambda _: False,
    is_lenient: bool = False,
) -> list[Flaw]:
    """Return what in `value` does not fit `schema`.

    What `is_open` holds for is not known yet and fits everything. A lenient check reads text that
    spells a number, a boolean, a list or an object as that, and numbers and booleans as text.
    """
    return list(_Check(schema, is_open, is_lenient).flaws(value, schema, ()))


def converted(value: Any, schema: Schema) -> Any:
    """Return `value` as the type that `schema` asks for, where its text spells one, or as it is."""
    return _read_as(value, types_of(schema, schema))


def types_of(schema: Schema, root: Schema) -> tuple[str, ...]:
    """Return the types that a schema allows by its `type` or alternatives; none if it allows all."""
    schema = resolved(schema, root)
    alternatives = schema.get("anyOf") or schema.get("oneOf") or ()
    if _types(schema) or not alternatives:
        return _types(schema)
    each = [_types(resolved(alternative, root)) for alternative in alternatives]
    return tuple(dict.fromkeys(name for types in each for name in types)) if all(each) else ()


def resolved(schema: Schema, root: Schema) -> Schema:
    """Follow `$ref` into the `$defs` of `root`; the schema of everything if it leads nowhere."""
    for _ in range(MAX_DEPTH):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        found = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
        schema = found if isinstance(found, Mapping) else {}
    return {}


class _Check:
    """One check of a value against the schema `root`."""

    def __init__(self, root: Schema, is_open: Callable[[Any], bool], is_lenient: bool) -> None:
        self._root = root
        self._is_open = is_open
        self._is_lenient = is_lenient

    def flaws(self, value: Any, schema: Schema, path: Path) -> Iterator[Flaw]:
        if len(path) > MAX_DEPTH or (isinstance(value, str) and self._is_open(value)):
            return
        schema = resolved(schema, self._root)
        types = _types(schema)
        if self._is_lenient:
            value = _read_as(value, types)
        if types and not _has_type(value, types):
            yield Flaw(path, f"must be {_listed(types)}, not {_shown(value)}")
            return
        for alternatives in (schema.get("anyOf"), schema.get("oneOf")):
            if isinstance(alternatives, Sequence):
                yield from self._alternatives(value, alternatives, path)
        for message in _messages(value, schema):
            yield Flaw(path, message)
        yield from self._inside(value, schema, path)

    def _alternatives(self, value: Any, schemas: Sequence[Schema], path: Path) -> Iterator[Flaw]:
        """Yield the flaws of the first alternative of the value's type, unless one fits."""
        nearest: list[Flaw] = []
        for schema in schemas:
            found = list(self.flaws(value, schema, path))
            if not found:
                return
            if not nearest and self._is_typed(value, schema):
                nearest = found
        yield from nearest
        if not nearest:
            expected = types_of({"anyOf": schemas}, self._root)
            yield Flaw(path, f"must be {_listed(expected)}, not {_shown(value)}")

    def _is_typed(self, value: Any, schema: Schema) -> bool:
        types = types_of(schema, self._root)
        if self._is_lenient:
            value = _read_as(value, types)
        return not types or _has_type(value, types)

    def _inside(self, value: Any, schema: Schema, path: Path) -> Iterator[Flaw]:
        if isinstance(value, Mapping):
            yield from self._members(value, schema, path)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield from self._items(value, schema, path)

    def _members(self, value: Mapping[str, Any], schema: Schema, path: Path) -> Iterator[Flaw]:
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties", True)
        for name in schema.get("required", ()):
            if name not in value:
                yield Flaw((*path, name), "is missing; give it")
        for name, item in value.items():
            if name in properties:
                yield from self.flaws(item, properties[name], (*path, name))
            elif rest is False:
                known = ", ".join(properties) or "none"
                yield Flaw((*path, name), f"is not known; known are {known}")
            elif isinstance(rest, Mapping):
                yield from self.flaws(item, rest, (*path, name))

    def _items(self, value: Sequence[Any], schema: Schema, path: Path) -> Iterator[Flaw]:
        first = schema.get("prefixItems", ())
        rest = schema.get("items", {})
        for index, item in enumerate(value):
            inner = first[index] if index < len(first) else rest
            if isinstance(inner, Mapping):
                yield from self.flaws(item, inner, (*path, index))


def _messages(value: Any, schema: Schema) -> Iterator[str]:
    """Yield what is wrong with the value itself, apart from its type and its members."""
    if "enum" in schema and not any(_same(value, item) for item in schema["enum"]):
        yield f"must be one of {', '.join(map(str, schema['enum']))}, not {_shown(value)}"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"must be {_shown(schema['const'])}, not {_shown(value)}"
    if _is_number(value):
        yield from _number_messages(value, schema)
    elif isinstance(value, str):
        yield from _length_messages(len(value), "characters", "minLength", "maxLength", schema)
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and re.search(pattern, value) is None:
            yield f"must match {pattern}, not {_shown(value)}"
    elif isinstance(value, list | tuple):
        yield from _length_messages(len(value), "items", "minItems", "maxItems", schema)


def _number_messages(value: float, schema: Schema) -> Iterator[str]:
    for keyword, is_past, words in _BOUNDS:
        bound = schema.get(keyword)
        if bound is not None and is_past(value, bound):
            yield f"must be {words} {bound}, not {value}"


def _length_messages(
    length: int, unit: str, least: str, most: str, schema: Schema
) -> Iterator[str]:
    if length < schema.get(least, 0):
        yield f"must have at least {schema[least]} {unit}, not {length}"
    if length > schema.get(most, length):
        yield f"must have at most {schema[most]} {unit}, not {length}"


_BOUNDS: Final[tuple[tuple[str, Callable[[float, float], bool], str], ...]] = (
    ("minimum", lambda value, bound: value < bound, "at least"),
    ("maximum", lambda value, bound: value > bound, "at most"),
    ("exclusiveMinimum", lambda value, bound: value <= bound, "more than"),
    ("exclusiveMaximum", lambda value, bound: value >= bound, "less than"),
)


def _types(schema: Schema) -> tuple[str, ...]:
    declared = schema.get("type", ())
    return (declared,) if isinstance(declared, str) else tuple(declared)


def _read_as(value: Any, types: tuple[str, ...]) -> Any:
    """Return what a text spells where no text is wanted, or the text of a value where only text is."""
    if not types:
        return value
    if isinstance(value, str) and "string" not in types:
        return _read_text(value, types)
    is_plain = isinstance(value, bool) or _is_number(value)
    if is_plain and "string" in types and not _has_type(value, types):
        return json.dumps(value)
    return value


def _read_text(text: str, types: tuple[str, ...]) -> Any:
    try:
        spelled = json.loads(text.strip().lower() if "boolean" in types else text)
    except (ValueError, RecursionError):
        return text
    return spelled if _has_type(spelled, types) else text


def _has_type(value: Any, types: tuple[str, ...]) -> bool:
    return any(_IS_TYPE[name](value) for name in types if name in _IS_TYPE)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return _is_number(value) and (isinstance(value, int) or value.is_integer())


_IS_TYPE: Final[dict[str, Callable[[Any], bool]]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "number": _is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list | tuple),
    "object": lambda value: isinstance(value, Mapping),
}

_WORDS: Final = {
    "null": "null",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "array": "a list",
    "object": "an object",
}


def _listed(types: tuple[str, ...]) -> str:
    return " or ".join(_WORDS.get(name, name) for name in types)


def _same(value: Any, other: Any) -> bool:
    """Whether two JSON values are equal, with true and 1 apart."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _shown(value: Any) -> str:
    """Return a value for a message; long ones by their kind alone."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return f"{json.dumps(value, ensure_ascii=False):.80}"
