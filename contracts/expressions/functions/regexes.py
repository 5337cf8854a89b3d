"""Regular expressions, through the matcher that the caller handed in."""

from typing import Final

from contracts.expressions.budget import text_bytes
from contracts.expressions.evaluation import Evaluation
from contracts.expressions.functions import arguments
from contracts.expressions.functions.signature import Function, Table
from contracts.expressions.values import Value

PIECE_STEPS: Final = 8
"""What each replaced match costs."""


def matches(evaluation: Evaluation, value: Value, pattern: Value) -> bool:
    """Return whether a pattern matches somewhere in a string."""
    content, wanted = arguments.text(value), arguments.text(pattern)
    return evaluation.matcher(wanted, content).search(wanted, content)


def extract(evaluation: Evaluation, value: Value, pattern: Value) -> str | None:
    """Return the first group of the first match, or all of it; null without a match."""
    content, wanted = arguments.text(value), arguments.text(pattern)
    found = evaluation.matcher(wanted, content).extract(wanted, content)
    if found is not None:
        evaluation.room_for_text(text_bytes(found))
    return found


def replace(evaluation: Evaluation, value: Value, pattern: Value, new: Value) -> str:
    """Return a string with every match replaced."""
    content, wanted, put = (arguments.text(given) for given in (value, pattern, new))
    size = 0
    pieces: list[str] = []
    for piece in evaluation.matcher(wanted, content).replace(wanted, content, put):
        evaluation.spend(PIECE_STEPS)
        size += text_bytes(piece)
        evaluation.check_text(size)
        pieces.append(piece)
    evaluation.room_for_text(size)
    return "".join(pieces)


FUNCTIONS: Final[Table] = {
    "matches": Function(matches, 2, 2, steps=6, pattern=1),
    "extract": Function(extract, 2, 2, steps=8, pattern=1),
    "regexReplace": Function(replace, 3, 3, steps=8, pattern=1),
}
