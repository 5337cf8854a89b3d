"""Evaluating in tests: the scope of the examples, and what a source gives or fails with."""

from collections.abc import Mapping
from typing import Any, Final

from contracts.expressions.budget import DEFAULT_LIMITS, Limits
from contracts.expressions.errors import ExpressionError
from contracts.expressions.interpreter import evaluate
from nodes.regex import Re2

REGEX: Final = Re2()

SCOPE: Final[dict[str, Any]] = {
    "input": {
        "order": {
            "id": "A-7",
            "total": 129.5,
            "items": [
                {"sku": "x1", "qty": 2, "price": 40},
                {"sku": "b2", "qty": 1, "price": 49.5},
            ],
        },
        "tags": ["new", "vip", "new"],
        "email": "Ada@Example.org",
        "note": None,
    },
    "nodes": {
        "check-stock": {
            "output": {"left": 0},
            "ports": {"main": {"left": 0}},
            "status": "SUCCESS",
        }
    },
    "static": {"limit": 100},
    "workflow": {"id": "w", "name": "Orders", "version": 3, "timezone": "Europe/Berlin"},
    "execution": {"id": "0197"},
    "now": "2026-03-28T22:30:00Z",
}


def value(source: str, limits: Limits = DEFAULT_LIMITS, **names: Any) -> Any:
    """Return the value of a source in the scope of the examples, with more names."""
    return evaluate(source, {**SCOPE, **names}, limits, REGEX)


def failure(source: str, limits: Limits = DEFAULT_LIMITS, **names: Any) -> ExpressionError:
    """Return the error that a source fails with."""
    return failure_in(source, {**SCOPE, **names}, limits)


def failure_in(
    source: str, scope: Mapping[str, Any], limits: Limits = DEFAULT_LIMITS
) -> ExpressionError:
    """Return the error that a source fails with in this very scope."""
    try:
        found = evaluate(source, scope, limits, REGEX)
    except ExpressionError as error:
        return error
    raise AssertionError(f"{source[:80]!r} gave {str(found)[:80]}")


def same(found: Any, wanted: Any) -> bool:
    """Return whether two JSON values are equal and of the same types, `1` and `1.0` apart."""
    return repr(found) == repr(wanted)
