"""Getting at values: names, fields and indexes, and what is missing there."""

from collections.abc import Mapping
from typing import Final

from contracts.expressions import hints, syntax
from contracts.expressions.errors import ExpressionError
from contracts.expressions.evaluation import Evaluation
from contracts.expressions.macros import Code, StepCode
from contracts.expressions.values import Value, kind, type_error

_ABSENT: Final = object()


def placed(error: ExpressionError, position: int) -> ExpressionError:
    """Give an error the position where it came up, unless it has one."""
    if error.position is None:
        error.position = position
    return error


def constant(value: Value) -> Code:
    """Return the code of a constant."""
    return lambda evaluation: value


def variable(slot: int) -> Code:
    """Return the code of a macro's variable."""
    return lambda evaluation: evaluation.variables[slot]


def now(evaluation: Evaluation) -> Value:
    """Return the instant of the scope."""
    return evaluation.now()


def scope_name(node: syntax.Name) -> Code:
    """Return the code of a name of the scope."""
    name = node.name

    def run(evaluation: Evaluation) -> Value:
        try:
            return evaluation.scope[name]
        except KeyError:
            hint = hints.for_name(name[:100], field_of_input="input" in evaluation.scope)
            message = f"{name[:40]} is not in scope"
            raise ExpressionError(
                "unknown_name", message, position=node.position, hint=hint
            ) from None

    return run


def node_reference(node: syntax.NodeReference) -> Code:
    """Return the code of `nodes.<id>`."""
    node_id = node.node_id

    def run(evaluation: Evaluation) -> Value:
        nodes = evaluation.scope.get("nodes")
        if isinstance(nodes, dict | Mapping) and node_id in nodes:
            return nodes[node_id]
        message = f"no node {node_id[:100]!r} upstream"
        raise ExpressionError("unknown_name", message, position=node.position)

    return run


def members(fields: tuple[syntax.Member, ...]) -> StepCode:
    """Return the code of fields in a row."""
    names = tuple((member.name, member.position) for member in fields)

    def run(evaluation: Evaluation, value: Value) -> Value:
        for name, position in names:
            if not isinstance(value, dict):
                raise _no_map(value, name, position)
            value = value.get(name, _ABSENT)
            if value is _ABSENT:
                raise _absent(name, position)
        return value

    return run


def _absent(name: str, position: int) -> ExpressionError:
    hint = "size(x)" if name == "length" else None
    message = f"there is no {name[:40]!r}"
    return ExpressionError("missing", message, position=position, hint=hint)


def _no_map(value: Value, name: str, position: int) -> ExpressionError:
    if value is None:
        message = f"no field {name[:40]!r} of null"
        return ExpressionError("missing", message, position=position)
    hint = "size(x)" if name == "length" and isinstance(value, str | list) else None
    message = f"no field {name[:40]!r} in a {kind(value)}"
    return ExpressionError("type", message, position=position, hint=hint)


def index(code: Code, position: int) -> StepCode:
    """Return the code of an index."""

    def run(evaluation: Evaluation, value: Value) -> Value:
        key = code(evaluation)
        try:
            return _entry(value, key)
        except ExpressionError as error:
            raise placed(error, position) from None

    return run


def _entry(value: Value, key: Value) -> Value:
    if isinstance(value, list):
        if type(key) is float and key.is_integer():
            key = int(key)
        if type(key) is not int:
            raise type_error("a whole number as index", key)
        if not 0 <= key < len(value):
            raise ExpressionError("missing", f"no such index in a list of {len(value)}")
        return value[key]
    if isinstance(value, dict):
        if not isinstance(key, str):
            raise type_error("a string as key", key)
        if key not in value:
            raise ExpressionError("missing", f"there is no {key[:40]!r}")
        return value[key]
    if value is None:
        raise ExpressionError("missing", "no entry of null")
    hint = "substring(s, from, to)" if isinstance(value, str) else None
    raise type_error("a list or map before [", value, hint=hint)


def map_key(name: Value, made: dict[str, Value], position: int) -> str:
    """Return a key for a map literal that does not have it yet."""
    if not isinstance(name, str):
        raise placed(type_error("a string as key", name), position)
    if name in made:
        raise ExpressionError("value", f"the key {name[:40]!r} stands twice", position=position)
    return name
