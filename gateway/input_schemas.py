"""JSON Schemas of posted inputs: Draft 2020-12, judged with the document, and held against each input.

Schemas come from users, so nothing in them may reach outside or cost without end: references stay
within the schema, patterns go to RE2, and every keyword that is looked at is a step of a budget.
`format` describes and refuses nothing, as the draft has it.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final

import msgspec
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import UnknownType, ValidationError, best_match
from jsonschema_specifications import REGISTRY as SPECIFICATIONS
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from contracts.expressions.errors import ExpressionError
from contracts.expressions.regex import Regex
from contracts.problems import pointer
from contracts.strict_json import MalformedJson, read_json
from gateway.problems import ErrorEntry
from gateway.versions import Recent

MAX_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 32
MAX_STEPS: Final = 500_000
"""What one input may take, in a thread of its own: some seconds."""
JUDGE_STEPS: Final = 100_000
"""What all schemas of one document may take, on the event loop."""
MAX_ERRORS: Final = 100
KEPT: Final = 500

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_SHOWN: Final = 80

Keyword = Callable[[Any, Any, Any, Any], Any]


class BadSchema(Exception):
    """This is no schema that can be held against an input; the message says why."""


class _TooManySteps(Exception):
    """The budget is used up."""


class _Steps:
    """What is left of a budget."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise _TooManySteps


_steps: Final[ContextVar[_Steps]] = ContextVar("steps")
"""The budget of the check under way: keywords are handed nothing of ours."""


class InputSchemas:
    """Judges schemas and holds inputs against them; those used last are kept compiled by their key."""

    def __init__(self, regex: Regex) -> None:
        self._regex = regex
        self._validator: Any = validators.extend(Draft202012Validator, _keywords(regex))  # type: ignore[no-untyped-call]
        self._meta = self._validator(_META[_DRAFT], registry=_meta_registry())
        self._compiled: Recent[tuple[str, str], Any] = Recent(KEPT)

    def judge(self) -> Callable[[Any], str | None]:
        """Return what tells the fault of a schema, None for a good one; for the schemas of one document."""
        steps = _Steps(JUDGE_STEPS)

        def fault(sent: Any) -> str | None:
            try:
                self._compile(sent, steps)
            except BadSchema as error:
                return str(error)
            return None

        return fault

    async def misfits(
        self, key: tuple[str, str], sent: Any, value: Any, at: str
    ) -> tuple[ErrorEntry, ...]:
        """Return where a value does not fit, with pointers below `at`. Raises BadSchema.

        `key` names the place of the schema, which never changes there.
        """
        validator = self._compiled.get(key)
        if validator is None:
            validator = await asyncio.to_thread(self._compile, sent, _Steps(JUDGE_STEPS))
            self._compiled.keep(key, validator)
        return await asyncio.to_thread(self._misfits, validator, value, at)

    def _misfits(self, validator: Any, value: Any, at: str) -> tuple[ErrorEntry, ...]:
        _steps.set(_Steps(MAX_STEPS))
        try:
            errors = itertools.islice(validator.iter_errors(_quiet(value)), MAX_ERRORS)
            entries = [_entry(at, error) for error in errors]
        except _TooManySteps:
            message = f"The input takes more than {MAX_STEPS} steps to check against input_schema."
            entries = [ErrorEntry(at, "limit_exceeded", message)]
        except RecursionError:
            raise BadSchema(_ENDLESS) from None
        except (ExpressionError, Unresolvable, UnknownType) as error:
            raise BadSchema(f"cannot be used: {error}") from error
        return tuple(dict.fromkeys(entries))[:MAX_ERRORS]

    def _compile(self, sent: Any, steps: _Steps) -> Any:
        """Return the validator of a schema. Raises BadSchema."""
        schema = _read(sent)
        token = _steps.set(steps)
        try:
            self._check_form(schema)
            if isinstance(schema, Mapping):
                self._check_places(schema)
        except _TooManySteps:
            raise BadSchema("takes too long to check; make it simpler") from None
        except RecursionError:
            raise BadSchema(_ENDLESS) from None
        finally:
            _steps.reset(token)
        return self._validator(schema, registry=_NOTHING)

    def _check_form(self, schema: Any) -> None:
        """Raise BadSchema unless every keyword has a value that it can have."""
        error = next(self._meta.iter_errors(_quiet(schema)), None)
        if error is not None:
            where = f" at {pointer(*error.absolute_path)}" if error.absolute_path else ""
            raise BadSchema(f"is no JSON Schema of Draft 2020-12:{where} {_message(error)}")

    def _check_places(self, schema: Mapping[str, Any]) -> None:
        """Raise BadSchema for a pattern or reference, anywhere in the schema, that cannot be used."""
        resolver = _NOTHING.resolver_with_root(DRAFT202012.create_resource(schema))
        seen: set[int] = set()
        used: set[str] = set()
        pending: list[Any] = [schema]
        targets: list[Any] = []
        while pending:
            place = pending.pop()
            if isinstance(place, Mapping) and id(place) not in seen:
                seen.add(id(place))
                used.update(place)
                self._check_place(place)
                targets += [_target(resolver, place[each]) for each in _REFERENCES if each in place]
                pending += DRAFT202012.subresources_of(place)
            if not pending:
                # A reference may lead where no keyword does, so its target was not looked at yet.
                pending = [each for each in targets if id(each) not in seen]
                targets = []
                for target in pending:
                    self._check_form(target)
        if {"unevaluatedProperties", "patternProperties"} <= used:
            message = "unevaluatedProperties and patternProperties do not go together here"
            raise BadSchema(f"cannot be used: {message}; use additionalProperties")

    def _check_place(self, place: Mapping[str, Any]) -> None:
        _steps.get().spend(1)
        for keyword in ("$schema", "$id"):
            if keyword in place:
                raise BadSchema(f"cannot be used: {keyword} may stand at its beginning only")
        patterns = [*place.get("patternProperties", ())]
        if "pattern" in place:
            patterns.append(place["pattern"])
        for pattern in patterns:
            try:
                self._regex.weight(pattern)
            except ExpressionError as error:
                raise BadSchema(f"has the pattern {pattern!r:.{_SHOWN}}: {error}") from None


_ENDLESS: Final = "is nested too deeply, or refers to itself without end"
_REFERENCES: Final = ("$ref", "$dynamicRef")
_NOTHING: Final[Registry[Any]] = Registry()
"""Knows no schema and fetches none."""


def _read(sent: Any) -> Any:
    """Return a schema, which may be sent as JSON text, without what names it. Raises BadSchema."""
    schema = sent
    if isinstance(sent, str):
        try:
            schema = read_json(sent.encode())
        except MalformedJson as error:
            raise BadSchema(f"must be a JSON Schema, and its text is no JSON: {error}") from None
    if not isinstance(schema, Mapping | bool):
        raise BadSchema("must be a JSON Schema: an object, true or false")
    if _depth(schema) > MAX_DEPTH:
        raise BadSchema(f"is nested more than {MAX_DEPTH} deep")
    if (size := len(msgspec.json.encode(schema))) > MAX_BYTES:
        raise BadSchema(f"has {size} bytes; the limit is {MAX_BYTES}")
    if isinstance(schema, bool):
        return schema
    if schema.get("$schema", _DRAFT) not in (_DRAFT, f"{_DRAFT}#"):
        raise BadSchema(f"names another draft as its $schema; {_DRAFT} is read")
    return {name: value for name, value in schema.items() if name not in ("$schema", "$id")}


def _depth(value: Any) -> int:
    deepest, pending = 0, [(value, 1)]
    while pending:
        each, depth = pending.pop()
        if isinstance(each, Mapping | list):
            deepest = max(deepest, depth)
            inner = each.values() if isinstance(each, Mapping) else each
            pending += [(item, depth + 1) for item in inner]
    return deepest


def _target(resolver: Any, reference: str) -> Any:
    if not reference.startswith("#"):
        raise BadSchema(
            f"refers to {reference!r:.{_SHOWN}}, and nothing is fetched; bring it in under $defs and "
            "refer to it as #/$defs/<name>"
        )
    try:
        target = resolver.lookup(reference).contents
    except (Unresolvable, LookupError, TypeError, ValueError):
        target = None
    if not isinstance(target, Mapping | bool):
        raise BadSchema(f"refers to {reference!r:.{_SHOWN}}, where no schema is")
    return target


# --- keywords ----------------------------------------------------------------------------------


def _keywords(regex: Regex) -> dict[str, Keyword]:
    """Return all keywords: those of the library, and ours in place of what costs too much there."""

    def fits(pattern: str, text: str) -> bool:
        _steps.get().spend(regex.weight(pattern) * (1 + (len(text) >> 6)))
        return regex.search(pattern, text)

    def pattern(_: Any, expected: str, instance: Any, __: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not fits(expected, instance):
            yield ValidationError("")

    def pattern_properties(
        validator: Any, patterns: dict[str, Any], instance: Any, _: Any
    ) -> Iterator[ValidationError]:
        if not isinstance(instance, Mapping):
            return
        for each, schema in patterns.items():
            for name, value in instance.items():
                if fits(each, name):
                    yield from validator.descend(value, schema, path=name, schema_path=each)

    def additional_properties(
        validator: Any, schema: Any, instance: Any, around: dict[str, Any]
    ) -> Iterator[ValidationError]:
        if not isinstance(instance, Mapping):
            return
        properties = around.get("properties", {})
        patterns = around.get("patternProperties", {})
        for name, value in instance.items():
            if name in properties or any(fits(each, name) for each in patterns):
                continue
            if schema is False:
                yield ValidationError("", path=(name,))
            else:
                yield from validator.descend(value, schema, path=name)

    def required(_: Any, names: list[str], instance: Any, __: Any) -> Iterator[ValidationError]:
        if isinstance(instance, Mapping):
            for name in names:
                if name not in instance:
                    yield ValidationError("", path=(name,))

    def unique_items(_: Any, wanted: bool, instance: Any, __: Any) -> Iterator[ValidationError]:
        is_checked = wanted and isinstance(instance, list)
        if is_checked and len(set(map(_identity, instance))) < len(instance):
            yield ValidationError("")

    ours: dict[str, Keyword] = {
        "pattern": pattern,
        "patternProperties": pattern_properties,
        "additionalProperties": additional_properties,
        "required": required,
        "uniqueItems": unique_items,
    }
    known = {**Draft202012Validator.VALIDATORS, **ours}
    return {name: _counted(name, keyword) for name, keyword in known.items()}


_WALKING: Final = frozenset(
    (
        "items", "contains", "propertyNames", "additionalProperties", "patternProperties",
        "unevaluatedItems", "unevaluatedProperties",
    )
)  # fmt: skip
"""Keywords that go through all that an instance holds."""
_COMPARING: Final = frozenset(("const", "enum"))


def _counted(name: str, keyword: Keyword) -> Keyword:
    """Return the keyword at its price."""

    def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        price = 1
        if name in _COMPARING:
            price += _size(value)
        elif isinstance(value, dict | list):
            price += len(value)
        if name in _WALKING and isinstance(instance, dict | list):
            price += len(instance)
        elif name == "uniqueItems" and isinstance(instance, list):
            price += _size(instance)
        _steps.get().spend(price)
        return keyword(validator, value, instance, schema)

    return counted


def _size(value: Any) -> int:
    """Return how many values there are in a value."""
    size, pending = 0, [value]
    while pending:
        each = pending.pop()
        size += 1
        if isinstance(each, dict):
            pending += each.values()
        elif isinstance(each, list):
            pending += each
    return size


def _identity(value: Any) -> Any:
    """Return something hashable that is equal for equal JSON: 1 is 1.0, but not true."""
    if isinstance(value, dict):
        return frozenset((name, _identity(item)) for name, item in value.items())
    if isinstance(value, list):
        return tuple(map(_identity, value))
    return ("boolean", value) if isinstance(value, bool) else value


def _without_dialect(contents: Any) -> Any:
    """Return a meta-schema without `$schema`, by which the library would choose keywords of its own."""
    return {name: value for name, value in contents.items() if name != "$schema"}


_META: Final[dict[str, Any]] = {
    uri: _without_dialect(SPECIFICATIONS.contents(uri))
    for uri in (
        _DRAFT,
        *(
            f"https://json-schema.org/draft/2020-12/meta/{name}"
            for name in (
                "core", "applicator", "unevaluated", "validation", "meta-data", "format-annotation",
                "content",
            )
        ),
    )
}  # fmt: skip


def _meta_registry() -> Registry[Any]:
    return _NOTHING.with_resources(
        (uri, DRAFT202012.create_resource(contents)) for uri, contents in _META.items()
    ).crawl()  # else anchors would lead to the library's own, with `$schema`


# --- messages ----------------------------------------------------------------------------------


class _Map(dict[str, Any]):
    def __repr__(self) -> str:
        return "an object"


class _List(list[Any]):
    def __repr__(self) -> str:
        return "a list"


class _Text(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return _shown(str(self[:_SHOWN]))


def _quiet(value: Any) -> Any:
    """Return a value whose parts are short when shown: the library shows them in every error it makes."""
    if isinstance(value, Mapping):
        return _Map((name, _quiet(item)) for name, item in value.items())
    if isinstance(value, list):
        return _List(map(_quiet, value))
    return _Text(value) if isinstance(value, str) else value


def _entry(at: str, error: Any) -> ErrorEntry:
    message = _message(error)
    place = at + pointer(*error.absolute_path)
    return ErrorEntry(place, "invalid_value", f"{message[0].upper()}{message[1:]}.")


def _message(error: Any) -> str:
    """Return what is wrong, and what would be right."""
    expected, found = error.validator_value, _shown(error.instance)
    match error.validator:
        case "type":
            names = [expected] if isinstance(expected, str) else expected
            return f"must be {' or '.join(map(_named, names))}, not {found}"
        case "required":
            return "is missing; give it"
        case "additionalProperties":
            known = ", ".join(error.schema.get("properties", ())) or "none"
            return f"is not known; known are {known:.400}"
        case "enum":
            return f"must be one of {', '.join(map(_shown, expected)):.400}, not {found}"
        case "const":
            return f"must be {_shown(expected)}, not {found}"
        case "pattern":
            return f"must match {expected:.200}, not {found}"
        case "uniqueItems":
            return "must not hold an item twice"
        case "not":
            return "fits what `not` excludes"
        case "anyOf" | "oneOf" if error.context:
            nearest = best_match(error.context)
            where = f" {pointer(*nearest.relative_path)}" if nearest.relative_path else ""
            return f"fits none of {error.validator}; nearest:{where} {_message(nearest)}"
        case "oneOf":
            return "must fit exactly one of oneOf, and fits several"
        case None:
            return "is not allowed here"
        case keyword if keyword in _BOUNDS:
            return f"must {_BOUNDS[keyword].format(expected)}, not {_measure(error)}"
        case _:
            return f"does not fit {error.validator}: {error.message:.200}"


_BOUNDS: Final = {
    "minimum": "be at least {}",
    "maximum": "be at most {}",
    "exclusiveMinimum": "be more than {}",
    "exclusiveMaximum": "be less than {}",
    "multipleOf": "be a multiple of {}",
    "minLength": "have at least {} characters",
    "maxLength": "have at most {} characters",
    "minItems": "have at least {} items",
    "maxItems": "have at most {} items",
    "minProperties": "have at least {} fields",
    "maxProperties": "have at most {} fields",
}


def _measure(error: Any) -> str:
    instance = error.instance
    return str(len(instance)) if isinstance(instance, str | dict | list) else _shown(instance)


def _named(name: str) -> str:
    return _NAMES.get(name, name)


_NAMES: Final = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "array": "a list",
    "object": "an object",
}


def _shown(value: Any) -> str:
    """Return a value for a message; long ones by their kind alone."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        value = str(value[:_SHOWN])
    return f"{msgspec.json.encode(value).decode():.{_SHOWN}}"
