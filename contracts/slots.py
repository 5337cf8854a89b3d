"""The slot that an execution needs before it starts: settings.concurrency, its key evaluated."""

import msgspec

from contracts.expressions import interpreter
from contracts.expressions.budget import DEFAULT_LIMITS
from contracts.expressions.errors import ExpressionError
from contracts.expressions.regex import Regex
from contracts.failures import Failure
from contracts.history import ExecutionCreated, Slot
from contracts.inputs import refusal
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


def slot_or_failure(settings: Settings, value: msgspec.Raw, regex: Regex) -> Slot | Failure | None:
    """Return `slot_of`; where nobody can be told that the key fails, the failure that the execution begins and ends with."""
    try:
        return slot_of(settings, value, regex)
    except ExpressionError as error:
        return refusal(error, parameter="settings.concurrency.key")


def placed(created: ExecutionCreated, settings: Settings, regex: Regex) -> ExecutionCreated:
    """Return the creation of an execution with the slot that it needs, or the failure of its key."""
    found = slot_or_failure(settings, created.input, regex)
    if isinstance(found, Failure):
        return msgspec.structs.replace(created, cannot_start=found)
    return created if found is None else msgspec.structs.replace(created, slot=found)
