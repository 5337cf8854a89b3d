"""Reading what follows a failure: error policies, retries, and how a task is delivered."""

from typing import Any, Final

from contracts.limits import DocumentLimits
from contracts.model import Delivery, OnError, RetryPolicy
from contracts.reading.fields import Fields, Shape, open_fields
from contracts.reading.report import Report
from contracts.spelling import snake_case

ERROR_POLICIES: Final[dict[str, OnError]] = {
    **dict.fromkeys(("stop", "stop_workflow", "stop_workflow_on_error"), OnError.STOP),
    **dict.fromkeys(
        ("continue", "continue_regular_output", "continue_regular_output_on_error"),
        OnError.CONTINUE_REGULAR,
    ),
    **dict.fromkeys(
        ("continue_error_output", "continue_error_output_on_error"), OnError.CONTINUE_ERROR
    ),
}

Moved = dict[str, tuple[Any, str]]
"""Fields of a node that stood elsewhere: value and pointer by name."""

RETRY_SHAPE: Final = Shape(
    what="retry_policy",
    names=frozenset(
        ("max_tries", "wait_between_tries", "multiplier", "max_wait", "jitter", "retry_on")
    ),
)


def read_on_error(fields: Fields) -> OnError | None:
    """Return the error policy of a node or of the settings, in any of its spellings, or None."""
    found = fields.choice("on_error", _on_error, tuple(OnError))
    return OnError(found) if found else None


def _on_error(text: str) -> OnError | None:
    # Capitals are read as they are, anything else may be camelCase.
    spelling = text.lower() if text.isupper() else snake_case(text.strip())
    return ERROR_POLICIES.get(spelling.strip().replace("-", "_"))


def read_delivery(fields: Fields) -> Delivery | None:
    """Return how a task is delivered, or None."""
    found = fields.choice("delivery", _delivery, tuple(Delivery))
    return Delivery(found) if found else None


def _delivery(text: str) -> str | None:
    return next((delivery for delivery in Delivery if delivery == text.strip().lower()), None)


def read_retry_policy(
    fields: Fields, moved: Moved, report: Report, limits: DocumentLimits
) -> RetryPolicy | None:
    """Return the retry policy of a node; None, sent as null, means one try.

    `moved` holds what stood among the parameters: it counts as sent in the policy.
    """
    if "retry_policy" in fields and fields.values["retry_policy"] is None and not moved:
        return None
    policy = open_fields(
        fields.mapping("retry_policy"),
        RETRY_SHAPE,
        report,
        sent=fields.at("retry_policy"),
        stored=f"{fields.stored}/retry_policy",
        node_id=fields.node_id,
    )
    for name, (value, at) in moved.items():
        policy.put(name, value, at=at)
    return RetryPolicy(
        max_tries=policy.integer("max_tries", default=3, least=1, most=limits.tries, limit="TRIES"),
        wait_between_tries=policy.number("wait_between_tries", default=5, least=0, most=3600),
        multiplier=policy.number("multiplier", default=2, least=1, most=10),
        max_wait=policy.number("max_wait", default=300, least=0, most=3600),
        jitter=policy.flag("jitter", default=True),
        retry_on=_retry_on(policy),
    )


def _retry_on(policy: Fields) -> tuple[str, ...] | None:
    if policy.values.get("retry_on") is None:
        return None
    listed: list[Any] = policy.items("retry_on")
    if all(isinstance(item, str) and 0 < len(item) <= 100 for item in listed):
        return tuple(dict.fromkeys(listed))
    policy.problem("retry_on", "invalid_value", 'retry_on lists kinds, codes or "ANY", as strings')
    return None
