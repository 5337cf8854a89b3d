"""The mapping of a connection: what the target receives of the value that travels on it.

In a mapping's expressions `input` is the travelling value. An ExpressionError is the target's
INVALID_EXPRESSION, a MappingError its INVALID_INPUT.
"""

from collections.abc import Mapping
from typing import Any

from contracts.expressions import interpreter, paths, templates
from contracts.expressions.budget import DEFAULT_LIMITS, Limits
from contracts.expressions.errors import ExpressionError, MappingError
from contracts.expressions.regex import Regex
from contracts.expressions.values import JSON, Value, kind


def apply(
    mapping: Mapping[str, Any] | None,
    value: JSON,
    scope: Mapping[str, object],
    limits: Limits = DEFAULT_LIMITS,
    regex: Regex | None = None,
) -> JSON:
    """Return what the target receives of a value, after a mapping in its normalised form."""
    if mapping is None:
        return value
    passage = _Passage(value, scope, limits, regex)
    return passage.with_static_values(mapping, passage.mapped(mapping))


class _Passage:
    """One value under one mapping."""

    def __init__(
        self, value: JSON, scope: Mapping[str, object], limits: Limits, regex: Regex | None
    ) -> None:
        self.value = value
        self.scope = {**scope, "input": value}
        self.limits = limits
        self.regex = regex

    def mapped(self, mapping: Mapping[str, Any]) -> Value:
        match mapping.get("type") or "DIRECT":
            case "DIRECT":
                return self.value
            case "FIELD_MAPPING":
                return self._fields(mapping.get("fields") or [])
            case "TEMPLATE":
                return self._rendered(mapping.get("template"))
            case "TRANSFORM":
                return self._evaluated(mapping["expression"])
            case unknown:
                raise ValueError(f"no mapping type {unknown!r} in a normalised document")

    def with_static_values(self, mapping: Mapping[str, Any], target: Value) -> JSON:
        static: Mapping[str, JSON] = mapping.get("static_values") or {}
        if static and not isinstance(target, dict):
            message = f"static values are written over an object, and this is a {kind(target)}"
            raise MappingError("not_an_object", message, path="$")
        for path, given in static.items():
            target = paths.write(target, path, self._rendered(given))
        written: JSON = target  # type: ignore[assignment]  # made of JSON alone
        return written

    def _fields(self, fields: list[dict[str, Any]]) -> Value:
        target: Value = {}
        for field in fields:
            found = self._found(field["from"])
            if found is None:
                if _has_no_default(field):
                    continue
                found = field["default"]
            target = paths.write(target, field["to"], found)
        return target

    def _found(self, source: str) -> Value:
        """Return what a field is made from; null when it is missing."""
        try:
            if templates.contains_template(source):
                return self._evaluated(source)
            return paths.read(self.value, source)
        except ExpressionError as error:
            if error.code != "missing":
                raise
            return None

    def _evaluated(self, source: str) -> JSON:
        return interpreter.evaluate(source, self.scope, self.limits, self.regex)

    def _rendered(self, template: JSON) -> JSON:
        return templates.render(template, self.scope, self.limits, self.regex)


def _has_no_default(field: Mapping[str, Any]) -> bool:
    """Tell whether to leave out a field without a value; raise when it may not be left out."""
    required = bool(field.get("required"))
    if "default" in field and not (required and field["default"] is None):
        return False
    if required:
        message = f"the required field {field['to']!r} has no value: {field['from']!r} is missing"
        raise MappingError("required_field", message, path=field["to"])
    return True
