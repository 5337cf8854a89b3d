"""Functions of maps, and reading by path."""

from typing import Final

from contracts.expressions import paths
from contracts.expressions.errors import ExpressionError
from contracts.expressions.evaluation import Evaluation
from contracts.expressions.functions import arguments
from contracts.expressions.functions.signature import Function, Table
from contracts.expressions.values import Value, type_error


def keys(evaluation: Evaluation, value: Value) -> list[Value]:
    """Return the keys of a map."""
    source = _listed(evaluation, value)
    return evaluation.new_list(list(source))


def values_of(evaluation: Evaluation, value: Value) -> list[Value]:
    """Return the values of a map."""
    source = _listed(evaluation, value)
    return evaluation.new_list(list(source.values()))


def entries(evaluation: Evaluation, value: Value) -> list[Value]:
    """Return a map as a list of maps with `key` and `value`."""
    source = _listed(evaluation, value)
    evaluation.spend(len(source))
    found: list[Value] = []
    for key, entry in source.items():
        evaluation.room_for_map(2)
        found.append(evaluation.new_map({"key": key, "value": entry}))
    return evaluation.new_list(found)


def _listed(evaluation: Evaluation, value: Value) -> dict[str, Value]:
    source = arguments.mapping(value)
    evaluation.room_for_list(len(source))
    evaluation.spend(len(source))
    return source


def from_entries(evaluation: Evaluation, value: Value) -> dict[str, Value]:
    """Return the map that `entries` would turn into this list; later entries win."""
    source = arguments.entries(value)
    evaluation.room_for_map(len(source))
    evaluation.spend(len(source))
    found: dict[str, Value] = {}
    for entry in source:
        pair = arguments.mapping(entry)
        if "key" not in pair or "value" not in pair:
            raise ExpressionError("missing", "an entry is a map with key and value")
        found[arguments.text(pair["key"])] = pair["value"]
    return evaluation.new_map(found)


def merge(evaluation: Evaluation, *maps: Value) -> dict[str, Value]:
    """Return one map with the entries of all; later ones win."""
    found: dict[str, Value] = {}
    for value in maps:
        source = arguments.mapping(value)
        evaluation.spend(len(source))
        if len(found) + len(source) > evaluation.limits.entries:
            evaluation.room_for_map(len(found.keys() | source.keys()))
        evaluation.room_for_map(len(source))
        found.update(source)
    return evaluation.new_map(found)


def pick(evaluation: Evaluation, value: Value, wanted: Value) -> dict[str, Value]:
    """Return a map with the wanted keys alone, as far as they are there."""
    source, names = arguments.mapping(value), arguments.entries(wanted)
    evaluation.spend(len(names))
    found: dict[str, Value] = {}
    for name in names:
        key = arguments.text(name)
        if key in source and key not in found:
            evaluation.room_for_map(1)
            found[key] = source[key]
    if len(found) > evaluation.limits.entries:
        evaluation.room_for_map(len(found))
    return evaluation.new_map(found)


def omit(evaluation: Evaluation, value: Value, unwanted: Value) -> dict[str, Value]:
    """Return a map without the unwanted keys."""
    source, names = arguments.mapping(value), arguments.entries(unwanted)
    evaluation.spend(len(names) + len(source))
    gone = {arguments.text(name) for name in names}
    evaluation.room_for_map(max(len(source) - len(gone), 0))
    found = {key: entry for key, entry in source.items() if key not in gone}
    evaluation.room_for_map(len(found))
    return evaluation.new_map(found)


def get(evaluation: Evaluation, value: Value, path: Value, fallback: Value = None) -> Value:
    """Return what stands at a path, or the fallback when it is missing."""
    if not isinstance(path, str):
        raise type_error("a path", path, hint="get(map, 'a.b[0]')")
    try:
        return paths.read_within(evaluation, value, path)
    except ExpressionError as error:
        if error.code != "missing":
            raise
        return fallback


FUNCTIONS: Final[Table] = {
    "keys": Function(keys, 1, 1),
    "values": Function(values_of, 1, 1),
    "entries": Function(entries, 1, 1),
    "fromEntries": Function(from_entries, 1, 1),
    "merge": Function(merge, 1, None),
    "pick": Function(pick, 2, 2),
    "omit": Function(omit, 2, 2),
    "get": Function(get, 2, 3),
}
