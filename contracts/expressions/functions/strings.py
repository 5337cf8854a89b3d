"""Functions of strings; positions count code points."""

from collections.abc import Callable
from typing import Final

from contracts.expressions.budget import Budget, text_bytes
from contracts.expressions.errors import ExpressionError
from contracts.expressions.evaluation import Evaluation
from contracts.expressions.functions import arguments
from contracts.expressions.functions.signature import Function, Table
from contracts.expressions.operators import has_element
from contracts.expressions.values import Value, type_error

_LONG_TEXT: Final = 30_000
"""From this length on Python finds a part in linear time, however the two are made."""


def contains(evaluation: Evaluation, value: Value, part: Value) -> bool:
    """Return whether a string has a part, or a list an element."""
    if isinstance(value, list):
        return has_element(evaluation, value, part)
    hint = "'key' in map" if isinstance(value, dict) else None
    if not isinstance(value, str):
        raise type_error("a string or list", value, hint=hint)
    wanted = arguments.text(part)
    _pay_for_search(evaluation, value, wanted)
    return wanted in value


def _pay_for_search(budget: Budget, value: str, part: str) -> None:
    """Pay for looking through a text: short texts may be compared with the part at each place."""
    rounds = 1 + len(part) // 16 if len(value) < _LONG_TEXT else 1 + min(len(part) // 16, 2)
    budget.spend((len(value) * rounds + 63) >> 6)


def starts_with(evaluation: Evaluation, value: Value, prefix: Value) -> bool:
    """Return whether a string begins with a prefix."""
    evaluation.read(arguments.text(prefix))
    return arguments.text(value).startswith(arguments.text(prefix))


def ends_with(evaluation: Evaluation, value: Value, suffix: Value) -> bool:
    """Return whether a string ends with a suffix."""
    evaluation.read(arguments.text(suffix))
    return arguments.text(value).endswith(arguments.text(suffix))


def index_of(evaluation: Evaluation, value: Value, part: Value, start: Value = 0) -> int:
    """Return where a part begins, at or behind a position; -1 if nowhere."""
    content, wanted, first = arguments.text(value), arguments.text(part), arguments.whole(start)
    if first < 0:
        raise ExpressionError("value", "a position is not negative")
    _pay_for_search(evaluation, content, wanted)
    return content.find(wanted, first) if first <= len(content) else -1


def lower(evaluation: Evaluation, value: Value) -> str:
    """Return a string in lower case."""
    return _recased(evaluation, arguments.text(value), str.lower)


def upper(evaluation: Evaluation, value: Value) -> str:
    """Return a string in upper case."""
    return _recased(evaluation, arguments.text(value), str.upper)


def _recased(budget: Budget, content: str, recase: Callable[[str], str]) -> str:
    # No character becomes fewer than one; a few become two or three.
    budget.check_text(len(content))
    recased = recase(content)
    budget.room_for_text(text_bytes(recased))
    return recased


def trim(evaluation: Evaluation, value: Value) -> str:
    """Return a string without the blanks around it."""
    content = arguments.text(value)
    evaluation.read(content)
    trimmed = content.strip()
    if len(trimmed) != len(content):
        evaluation.room_for_text(text_bytes(trimmed))
    return trimmed


def split(evaluation: Evaluation, value: Value, separator: Value, limit: Value = -1) -> list[Value]:
    """Return the parts between separators; the last of at most `limit` parts keeps the rest."""
    content, mark, most = arguments.text(value), arguments.text(separator), arguments.whole(limit)
    _pay_for_search(evaluation, content, mark)
    count = content.count(mark) + 1 if mark else len(content)
    if most >= 0:
        count = min(count, most)
    evaluation.room_for_list(count)
    evaluation.spend(count)
    if count > 1:
        evaluation.produce(text_bytes(content))
    return evaluation.new_list(_parts(evaluation, content, mark, count))


def _parts(budget: Budget, content: str, mark: str, count: int) -> list[Value]:
    if count == 0:
        return []
    if mark:
        return [_part(budget, part) for part in content.split(mark, count - 1)]
    return [*content[: count - 1], _part(budget, content[count - 1 :])]


def _part(budget: Budget, part: str) -> str:
    if len(part) > budget.limits.string_bytes // 4:
        budget.check_text(text_bytes(part))
    return part


def join(evaluation: Evaluation, parts: Value, separator: Value = "") -> str:
    """Return the strings of a list one behind the other, with a separator between them."""
    mark, whole = arguments.text(separator), arguments.entries(parts)
    evaluation.spend(len(whole))
    size = max(len(whole) - 1, 0) * text_bytes(mark)
    texts: list[str] = []
    for part in whole:
        if not isinstance(part, str):
            raise type_error("a list of strings", part, hint="list.map(v, string(v)).join()")
        size += len(part)
        if size > evaluation.limits.string_bytes:
            break
        texts.append(part)
    evaluation.room_for_text(size + sum(text_bytes(part) - len(part) for part in texts))
    return mark.join(texts)


def replace(evaluation: Evaluation, value: Value, old: Value, new: Value, limit: Value = -1) -> str:
    """Return a string with a part replaced everywhere, or in the first `limit` places."""
    content, gone, put = arguments.text(value), arguments.text(old), arguments.text(new)
    most = arguments.whole(limit)
    _pay_for_search(evaluation, content, gone)
    count = content.count(gone)
    if most >= 0:
        count = min(count, most)
    if count == 0:
        return content
    evaluation.spend(count >> 3)
    size = text_bytes(content) + count * (text_bytes(put) - text_bytes(gone))
    evaluation.room_for_text(size)
    return content.replace(gone, put, count)


def substring(evaluation: Evaluation, value: Value, start: Value, end: Value = None) -> str:
    """Return the text from one position up to another, both inside the string."""
    content, first = arguments.text(value), arguments.whole(start)
    last = len(content) if end is None else arguments.whole(end)
    if not 0 <= first <= last <= len(content):
        message = f"no positions {first} to {last} in a string of {len(content)}"
        raise ExpressionError("missing", message, hint="slice(s, from, to)")
    return cut(evaluation, content, first, last)


def cut(budget: Budget, content: str, first: int, last: int) -> str:
    """Return a piece of a text."""
    if first == 0 and last >= len(content):
        return content
    budget.check_text(last - first)
    piece = content[first:last]
    budget.room_for_text(text_bytes(piece))
    return piece


FUNCTIONS: Final[Table] = {
    "contains": Function(contains, 2, 2),
    "startsWith": Function(starts_with, 2, 2),
    "endsWith": Function(ends_with, 2, 2),
    "indexOf": Function(index_of, 2, 3),
    "lower": Function(lower, 1, 1),
    "lowerAscii": Function(lower, 1, 1),
    "upper": Function(upper, 1, 1),
    "upperAscii": Function(upper, 1, 1),
    "trim": Function(trim, 1, 1),
    "split": Function(split, 2, 3),
    "join": Function(join, 1, 2),
    "replace": Function(replace, 3, 4),
    "substring": Function(substring, 2, 3),
}
