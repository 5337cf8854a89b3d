"""Parameters of older documents whose value changes with the name.

Plain renames are `aliases` of the spec, other spellings of a value its `value_aliases`; here stands
what needs more than a table.
"""

from collections.abc import Callable
from typing import Any, Final


def converted(node_type: str, key: str, value: Any) -> tuple[str, Any] | None:
    """Return the parameter and value that an older parameter means today, or None if it is none."""
    rule = _RULES.get((node_type, key))
    return rule(value) if rule else None


def _path_of_item(parameter: str) -> Callable[[Any], tuple[str, Any]]:
    """A path inside an item becomes the expression that reads it."""
    return lambda value: (parameter, _item(value) if isinstance(value, str) else value)


def _item(path: str) -> str:
    steps = path.strip().removeprefix("$").removeprefix(".")
    return f"item{steps}" if steps.startswith("[") else f"item.{steps}"


def _filter_condition(value: Any) -> tuple[str, Any]:
    """`{field: value}` becomes the condition that all fields have these values."""
    if not isinstance(value, dict):
        return "condition", value
    tests = [f"{_item(path)} == {_literal(wanted)}" for path, wanted in value.items()]
    return "condition", " && ".join(tests) or "true"


def _literal(value: Any) -> str:
    """Write a JSON value as a literal of the expression language."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
            return f"'{escaped}'"
        case list():
            return f"[{', '.join(map(_literal, value))}]"
        case dict():
            return f"{{{', '.join(f'{_literal(key)}: {_literal(item)}' for key, item in value.items())}}}"
        case _:
            return str(value)


def _switch_cases(value: Any) -> tuple[str, Any]:
    """`[{value, route}]` becomes `[{equals, port}]`."""
    if not isinstance(value, list):
        return "cases", value
    return "cases", [_case(item) if isinstance(item, dict) else item for item in value]


def _case(item: dict[str, Any]) -> dict[str, Any]:
    names = {"value": "equals", "route": "port"}
    return {names.get(key, key): value for key, value in item.items()}


def _times(factor: int) -> Callable[[Any], tuple[str, Any]]:
    """A duration in a larger unit becomes seconds."""

    def convert(value: Any) -> tuple[str, Any]:
        is_count = isinstance(value, int | float) and not isinstance(value, bool)
        return "respond_within", value * factor if is_count else value

    return convert


def _methods(value: Any) -> tuple[str, Any]:
    """One method, or several in one text, become the list of them."""
    if not isinstance(value, str) or value.lstrip().startswith("["):
        return "methods", value
    return "methods", [each.strip() for each in value.split(",")]


def _webhook_path(value: Any) -> tuple[str, Any]:
    """A path loses the slashes around it."""
    return "path", value.strip("/") if isinstance(value, str) else value


def _required_fields(value: Any) -> tuple[str, Any]:
    """Names of fields become a form of required texts."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return "fields", value
    properties = {name: {"type": "string"} for name in value}
    return "fields", {"type": "object", "properties": properties, "required": value}


_INTERACTIONS: Final = tuple(
    f"HUMAN_IN_THE_LOOP.{name}"
    for name in ("APP", "EMAIL", "GMAIL", "SLACK", "DISCORD", "TELEGRAM", "WEBHOOK")
)

_RULES: Final[dict[tuple[str, str], Callable[[Any], tuple[str, Any]]]] = {
    ("FLOW.FILTER", "filter_condition"): _filter_condition,
    ("FLOW.SORT", "sort_field"): _path_of_item("by"),
    ("FLOW.MERGE", "join_key"): _path_of_item("key"),
    ("FLOW.MERGE", "merge_key"): _path_of_item("key"),
    ("FLOW.SWITCH", "switch_cases"): _switch_cases,
    **{
        ("TRIGGER.WEBHOOK", name): _methods for name in ("method", "http_method", "allowed_methods")
    },
    ("TRIGGER.WEBHOOK", "webhook_path"): _webhook_path,
    **{(name, "timeout_minutes"): _times(60) for name in _INTERACTIONS},
    **{(name, "timeout_hours"): _times(3600) for name in _INTERACTIONS},
    **{(name, "required_fields"): _required_fields for name in _INTERACTIONS},
}
