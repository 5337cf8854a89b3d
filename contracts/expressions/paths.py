"""Paths into JSON values: `order.items[0].sku`, `items[*].sku`, `['a name with . in it']`.

Reading is tolerant: a step that finds no map or list to go into is as missing as an absent key.
"""

import re
from functools import lru_cache
from typing import Final, TypeAlias

import msgspec

from contracts.expressions.budget import VALUE_DEPTH, Budget
from contracts.expressions.errors import ExpressionError
from contracts.expressions.values import Value, kind

PATH_CHARS: Final = 4_096
_SHORT_CHARS: Final = 256
"""Longer paths are rare and not worth a place in the cache."""

_STEP: Final = re.compile(
    r"""\[(?:(?P<index>[0-9]{1,9})|(?P<every>\*)|'(?P<single>(?:[^'\\]|\\.)*+)'|"(?P<double>(?:[^"\\]|\\.)*+)")\]"""
    r"""|\.(?P<name>[^.\[\]]+)""",
    re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


class Every(msgspec.Struct, frozen=True):
    """`[*]`: every element of a list."""


Step: TypeAlias = str | int | Every


def parse(path: str) -> tuple[Step, ...]:
    """Return the steps of a path: names, indexes and `[*]`; `$` alone has none."""
    if len(path) > PATH_CHARS:
        raise ExpressionError("value", f"a path of more than {PATH_CHARS} characters")
    return _cached(path) if len(path) <= _SHORT_CHARS else _parse(path)


@lru_cache(maxsize=1024)
def _cached(path: str) -> tuple[Step, ...]:
    return _parse(path)


def _parse(path: str) -> tuple[Step, ...]:
    if path == "$":
        return ()
    if path.startswith(("$.", "$[")):
        rest = path[1:]
    elif path.startswith("["):
        rest = path
    else:
        rest = f".{path}"
    return _steps(path, rest)


def _steps(path: str, rest: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    position = 0
    while position < len(rest):
        match = _STEP.match(rest, position)
        if match is None:
            raise ExpressionError("value", f"{path[:40]!r} is no path", hint="'a.b[0]'")
        steps.append(_step(match))
        position = match.end()
    if sum(isinstance(step, Every) for step in steps) > VALUE_DEPTH:
        raise ExpressionError("value", f"a path with more than {VALUE_DEPTH} times [*]")
    return tuple(steps)


def _step(match: re.Match[str]) -> Step:
    if match["index"] is not None:
        return int(match["index"])
    if match["every"] is not None:
        return Every()
    if match["name"] is not None:
        return match["name"]
    quoted = match["single"] if match["single"] is not None else match["double"]
    return _ESCAPE.sub(r"\1", quoted)


def read(value: Value, path: str) -> Value:
    """Return what stands at a path; raise `missing` when nothing does."""
    return _read(None, value, parse(path), 0)


def read_within(budget: Budget, value: Value, path: str) -> Value:
    """Return what stands at a path, as `read` does, and pay for it."""
    budget.read(path)
    steps = parse(path)
    budget.spend(len(steps))
    return _read(budget, value, steps, 0)


def _read(budget: Budget | None, value: Value, steps: tuple[Step, ...], start: int) -> Value:
    for number in range(start, len(steps)):
        step = steps[number]
        if isinstance(step, Every):
            return _read_every(budget, value, steps, number + 1)
        value = _entry(value, step)
    return value


def _entry(value: Value, step: str | int) -> Value:
    if isinstance(value, dict) and isinstance(step, str) and step in value:
        return value[step]
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    raise ExpressionError("missing", f"nothing at {_shown(step)} of the path")


def _read_every(budget: Budget | None, value: Value, steps: tuple[Step, ...], start: int) -> Value:
    if not isinstance(value, list):
        raise ExpressionError("missing", f"no list at [*] of the path but a {kind(value)}")
    found: list[Value] = []
    if budget is not None:
        budget.spend(len(value) * (1 + len(steps) - start))
        budget.room_for_list(len(value))
        budget.made[id(found)] = found
    for element in value:
        try:
            found.append(_read(budget, element, steps, start))
        except ExpressionError as error:
            if error.code != "missing":
                raise
    return found


def _shown(step: str | int) -> str:
    return f"[{step}]" if isinstance(step, int) else repr(step[:40])


def write(value: Value, path: str, new: Value) -> Value:
    """Return the value with something else at a path; the value itself stays as it was.

    Missing objects and lists are made, null counts as missing; a list is written inside its
    length or one past it.
    """
    steps = parse(path)
    if len(steps) > VALUE_DEPTH:
        raise ExpressionError("value", f"a path of more than {VALUE_DEPTH} steps cannot be written")
    return _write(value, steps, 0, new)


def _write(value: Value, steps: tuple[Step, ...], number: int, new: Value) -> Value:
    if number == len(steps):
        return new
    step = steps[number]
    if isinstance(step, str):
        return _write_key(value, step, steps, number, new)
    if isinstance(step, int):
        return _write_index(value, step, steps, number, new)
    raise ExpressionError("value", "a path that is written takes no [*]")


def _write_key(
    value: Value, key: str, steps: tuple[Step, ...], number: int, new: Value
) -> dict[str, Value]:
    if value is not None and not isinstance(value, dict):
        raise ExpressionError("type", f"no field {key[:40]!r} can be written into a {kind(value)}")
    written: dict[str, Value] = {} if value is None else dict(value)
    written[key] = _write(written.get(key), steps, number + 1, new)
    return written


def _write_index(
    value: Value, index: int, steps: tuple[Step, ...], number: int, new: Value
) -> list[Value]:
    if value is not None and not isinstance(value, list):
        raise ExpressionError("type", f"no index {index} can be written into a {kind(value)}")
    written: list[Value] = [] if value is None else list(value)
    if index > len(written):
        message = f"index {index} is more than one past a list of {len(written)}"
        raise ExpressionError("value", message)
    if index == len(written):
        written.append(None)
    written[index] = _write(written[index], steps, number + 1, new)
    return written
