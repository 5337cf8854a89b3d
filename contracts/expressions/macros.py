"""The macros over lists and maps: each entry is bound to a variable, then a body is evaluated."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from contracts.expressions import ordering
from contracts.expressions.evaluation import Evaluation
from contracts.expressions.values import CONTAINERS, Value, type_error

Code: TypeAlias = Callable[[Evaluation], Value]
Part: TypeAlias = tuple[Code, int]
"""What a node became, and the steps of all that is always evaluated with it."""

StepCode: TypeAlias = Callable[[Evaluation, Value], Value]


def compile_macro(macro: str, slot: int, bodies: list[Part], order: Part) -> StepCode:
    """Return what a macro does with the list or map before it."""
    match macro:
        case "map":
            if len(bodies) == 1:
                return _map(slot, *bodies[0])
            return _map_where(slot, bodies[0], bodies[1])
        case "filter":
            return _filter(slot, *bodies[0])
        case "sortBy":
            return _sort_by(slot, *bodies[0], order[0])
        case _:
            return _quantifier(macro, slot, *bodies[0])


def _entries(value: Value) -> list[Value] | dict[str, Value]:
    if isinstance(value, CONTAINERS):
        return value
    raise type_error("a list or map before a macro", value)


def _bound(
    evaluation: Evaluation, entries: Iterable[Value], slot: int, steps: int
) -> Iterable[Value]:
    """Yield the entries, each bound to the variable and paid for with the body's steps."""
    variables, each = evaluation.variables, steps + 1
    for entry in entries:
        evaluation.spend(each)
        variables[slot] = entry
        yield entry


def _map(slot: int, body: Code, steps: int) -> StepCode:
    def run(evaluation: Evaluation, value: Value) -> Value:
        entries = _entries(value)
        evaluation.room_for_list(len(entries))
        return evaluation.new_list(
            [body(evaluation) for _ in _bound(evaluation, entries, slot, steps)]
        )

    return run


def _map_where(slot: int, condition: Part, body: Part) -> StepCode:
    def run(evaluation: Evaluation, value: Value) -> Value:
        found: list[Value] = []
        for _ in _bound(evaluation, _entries(value), slot, condition[1]):
            if _holds(condition[0](evaluation)):
                evaluation.spend(body[1])
                _append(evaluation, found, body[0](evaluation))
        return evaluation.new_list(found)

    return run


def _filter(slot: int, condition: Code, steps: int) -> StepCode:
    def run(evaluation: Evaluation, value: Value) -> Value:
        found: list[Value] = []
        for entry in _bound(evaluation, _entries(value), slot, steps):
            if _holds(condition(evaluation)):
                _append(evaluation, found, entry)
        return evaluation.new_list(found)

    return run


def _append(evaluation: Evaluation, found: list[Value], entry: Value) -> None:
    if len(found) == evaluation.limits.entries:
        evaluation.room_for_list(len(found) + 1)
    evaluation.room_for_list(1)
    found.append(entry)


def _sort_by(slot: int, key: Code, steps: int, order: Code) -> StepCode:
    def run(evaluation: Evaluation, value: Value) -> Value:
        source = _entries(value)
        evaluation.room_for_list(len(source))
        entries = list(source)
        direction = order(evaluation)
        keys = [key(evaluation) for _ in _bound(evaluation, entries, slot, steps)]
        return ordering.sort(evaluation, entries, keys, direction)

    return run


def _quantifier(macro: str, slot: int, condition: Code, steps: int) -> StepCode:
    enough = 2 if macro == "exists_one" else 1

    def run(evaluation: Evaluation, value: Value) -> Value:
        wanted, count = macro != "all", 0
        for _ in _bound(evaluation, _entries(value), slot, steps):
            if _holds(condition(evaluation)) is wanted:
                count += 1
                if count == enough:
                    break
        return count == 1 if wanted else count == 0

    return run


def _holds(value: Value) -> bool:
    if isinstance(value, bool):
        return value
    raise type_error("true or false from the condition", value)
