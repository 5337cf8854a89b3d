"""Functions of lists."""

from typing import Final

from contracts.expressions import ordering
from contracts.expressions.errors import ExpressionError
from contracts.expressions.evaluation import Evaluation
from contracts.expressions.functions import arguments, strings
from contracts.expressions.functions.signature import Function, Table
from contracts.expressions.values import CONTAINERS, Value, canonical_text, type_error


def sort(evaluation: Evaluation, values: Value, order: Value = "asc") -> list[Value]:
    """Return a list sorted by its own values."""
    entries = arguments.entries(values)
    evaluation.room_for_list(len(entries))
    evaluation.spend(len(entries))
    return ordering.sort(evaluation, entries, entries, order)


def distinct(evaluation: Evaluation, values: Value) -> list[Value]:
    """Return the first of each group of equal values."""
    entries = arguments.entries(values)
    evaluation.room_for_list(min(len(entries), evaluation.limits.entries))
    found: dict[object, Value] = {}
    for entry in entries:
        evaluation.spend(1)
        found.setdefault(_identity(evaluation, entry), entry)
        if len(found) > evaluation.limits.entries:
            evaluation.room_for_list(len(found))
    return evaluation.new_list(list(found.values()))


def _identity(evaluation: Evaluation, value: Value) -> object:
    """Return a key that is equal for equal values only.

    Containers become text because tuples of chosen numbers can be made to collide as keys.
    """
    if isinstance(value, CONTAINERS):
        evaluation.spend(2)
        return ("container", canonical_text(value, evaluation))
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, str):
        evaluation.spend(len(value) >> 6)
    return value


def flatten(evaluation: Evaluation, values: Value, depth: Value = 1) -> list[Value]:
    """Return a list with the lists inside it opened, so many levels deep."""
    entries, levels = arguments.entries(values), arguments.whole(depth)
    if levels < 0:
        raise ExpressionError("value", "a depth is not negative")
    while levels > 0:
        evaluation.spend(len(entries))
        if not any(isinstance(entry, list) for entry in entries):
            break
        size = sum(len(entry) if isinstance(entry, list) else 1 for entry in entries)
        evaluation.room_for_list(size)
        evaluation.spend(size)
        opened: list[Value] = []
        for entry in entries:
            opened.extend(entry if isinstance(entry, list) else (entry,))
        entries, levels = evaluation.new_list(opened), levels - 1
    return entries


def reverse(evaluation: Evaluation, value: Value) -> Value:
    """Return a list or string from its end to its beginning."""
    if isinstance(value, list):
        evaluation.room_for_list(len(value))
        evaluation.spend(len(value))
        return evaluation.new_list(value[::-1])
    if isinstance(value, str):
        evaluation.check_text(len(value))
        turned = value[::-1]
        return strings.cut(evaluation, turned + " ", 0, len(turned))
    raise type_error("a string or list", value)


def first(evaluation: Evaluation, values: Value) -> Value:
    """Return the first element; of an empty list it is missing."""
    return _at_end(arguments.entries(values), 0)


def last(evaluation: Evaluation, values: Value) -> Value:
    """Return the last element; of an empty list it is missing."""
    return _at_end(arguments.entries(values), -1)


def _at_end(entries: list[Value], index: int) -> Value:
    if not entries:
        raise ExpressionError("missing", "the list is empty", hint="default(first(list), …)")
    return entries[index]


def slice_of(evaluation: Evaluation, value: Value, start: Value, end: Value = None) -> Value:
    """Return a piece of a list or string; negative positions count from the end."""
    if not isinstance(value, list | str):
        raise type_error("a string or list", value)
    stop = None if end is None else arguments.whole(end)
    begin, behind, _ = slice(arguments.whole(start), stop).indices(len(value))
    behind = max(begin, behind)
    if isinstance(value, str):
        return strings.cut(evaluation, value, begin, behind)
    evaluation.room_for_list(behind - begin)
    evaluation.spend(behind - begin)
    return evaluation.new_list(value[begin:behind])


def range_of(
    evaluation: Evaluation, start: Value, stop: Value = None, step: Value = 1
) -> list[Value]:
    """Return whole numbers from 0, or from the first argument, up to a last one that is left out."""
    first, behind = arguments.whole(start), None if stop is None else arguments.whole(stop)
    if behind is None:
        first, behind = 0, first
    stride = arguments.whole(step)
    if stride == 0:
        raise ExpressionError("value", "a step is not 0")
    numbers = range(first, behind, stride)
    # Not len(), which fails beyond 64 bits.
    count = max((behind - first + stride - (1 if stride > 0 else -1)) // stride, 0)
    evaluation.room_for_list(count)
    evaluation.spend(count)
    return evaluation.new_list(list(numbers))


FUNCTIONS: Final[Table] = {
    "sort": Function(sort, 1, 2, steps=7),
    "distinct": Function(distinct, 1, 1),
    "flatten": Function(flatten, 1, 2),
    "reverse": Function(reverse, 1, 1),
    "first": Function(first, 1, 1),
    "last": Function(last, 1, 1),
    "slice": Function(slice_of, 2, 3),
    "range": Function(range_of, 1, 3),
}
