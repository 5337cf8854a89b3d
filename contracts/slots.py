"""The slot that an execution needs before it starts: settings.concurrency, its key evaluated."""

import msgspec

from contracts.expressions import interpreter
from contracts.expressions.budget import DEFAULT_LIMITS
from contracts.expressions.errors import ExpressionError
from contracts.expressions.regex import Regex
from contracts.history import Slot
from contracts.model import Settings

LONGEST_KEY = 255


def slot_of(settings: Settings, value: msgspec.Raw, regex: Regex) -> Slot | None:
    """Return the slot that an execution with this trigger data needs, or None without a limit.

    The key is the text of the expression's value, cut to 255 characters. Raises ExpressionError if it cannot be
    evaluated.
    """
    limit = settings.concurrency
    if limit is None:
        return None
    key = ""
    if limit.key is not None:
        scope = {"input": msgspec.json.decode(value)}
        key = interpreter.evaluate_text(limit.key, scope, DEFAULT_LIMITS, regex)
    return Slot(limit.limit, key[:LONGEST_KEY], limit.on_limit)


def slot_or_shared(settings: Settings, value: msgspec.Raw, regex: Regex) -> Slot | None:
    """Return `slot_of`; where nobody can be told that the key fails, the slot that all such share: without a key."""
    try:
        return slot_of(settings, value, regex)
    except ExpressionError:
        assert settings.concurrency is not None
        return Slot(settings.concurrency.limit, "", settings.concurrency.on_limit)
