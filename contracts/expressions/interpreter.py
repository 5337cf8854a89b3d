"""Evaluating expressions: compile (cached), run within a budget, hand out JSON."""

from collections.abc import Mapping
from functools import lru_cache

from contracts.expressions.budget import DEFAULT_LIMITS, Limits
from contracts.expressions.compiler import Program, compile_tree
from contracts.expressions.departure import Departure, plain
from contracts.expressions.errors import ExpressionError
from contracts.expressions.evaluation import Evaluation
from contracts.expressions.parser import parse
from contracts.expressions.regex import Regex
from contracts.expressions.values import JSON, Value, text, type_error

_SHORT_CHARS = 256
"""Most sources are shorter; the cache for the others is small, because their programs are large."""


def evaluate(
    source: str,
    scope: Mapping[str, object],
    limits: Limits = DEFAULT_LIMITS,
    regex: Regex | None = None,
) -> JSON:
    """Return the value of an expression as JSON; raise ExpressionError within the budget."""
    try:
        evaluation, value = _run(source, scope, limits, regex)
        if isinstance(value, list | dict):
            return Departure(limits).leave(value, evaluation.made)
        return plain(value)
    except ExpressionError as error:
        raise _of_source(error, source) from None


def condition(
    source: str,
    scope: Mapping[str, object],
    limits: Limits = DEFAULT_LIMITS,
    regex: Regex | None = None,
) -> bool:
    """Return the value of an expression that must be true or false: there is no truthiness."""
    value = evaluate(source, scope, limits, regex)
    if isinstance(value, bool):
        return value
    error = type_error("true or false from a condition", value, hint="a comparison")
    raise _of_source(error, source)


def evaluate_into(
    departure: Departure,
    source: str,
    scope: Mapping[str, object],
    limits: Limits,
    regex: Regex | None,
) -> JSON:
    """Return the value of an expression that becomes a part of something larger."""
    try:
        evaluation, value = _run(source, scope, limits, regex)
        return departure.leave(value, evaluation.made)
    except ExpressionError as error:
        raise _of_source(error, source) from None


def evaluate_text(
    source: str, scope: Mapping[str, object], limits: Limits, regex: Regex | None
) -> str:
    """Return the text of the value of an expression."""
    try:
        evaluation, value = _run(source, scope, limits, regex)
        return text(value, evaluation)
    except ExpressionError as error:
        raise _of_source(error, source) from None


def _run(
    source: str, scope: Mapping[str, object], limits: Limits, regex: Regex | None
) -> tuple[Evaluation, Value]:
    program = _program(source, limits)
    evaluation = Evaluation(scope, limits, regex, program.variables)
    evaluation.spend(program.steps)
    return evaluation, program.code(evaluation)


def _program(source: str, limits: Limits) -> Program:
    if len(source) <= _SHORT_CHARS:
        return _compiled_short(source, limits.nesting)
    check_length(source, limits)
    return _compiled_long(source, limits.nesting)


def check_length(source: str, limits: Limits) -> None:
    """Refuse a source that is longer than expressions may be."""
    if len(source) > limits.source_chars:
        message = f"the expression has more than {limits.source_chars} characters"
        raise ExpressionError("budget", message)


@lru_cache(maxsize=2048)
def _compiled_short(source: str, nesting: int) -> Program:
    return compile_tree(parse(source, nesting))


@lru_cache(maxsize=64)
def _compiled_long(source: str, nesting: int) -> Program:
    return compile_tree(parse(source, nesting))


def _of_source(error: ExpressionError, source: str) -> ExpressionError:
    error.source = source
    return error
