"""Whether a failed attempt is followed by another, and after which pause."""

import hashlib
from typing import Final

from contracts.failures import NEVER_RETRIED, Failure, FailureKind
from contracts.model import Delivery, RetryPolicy

LONGEST_RETRY_AFTER: Final = 3600.0
"""Seconds; a service that asks for more is not waited for."""


def pause_before_retry(
    policy: RetryPolicy | None, failure: Failure, *, delivery: Delivery, tries: int, key: str
) -> float | None:
    """Return the seconds until the next attempt, or None if the failure is final.

    `tries` counts the failures so far, this one included. The jitter is drawn from a hash of `key`
    and `tries`, so that the same history always gives the same pause.
    """
    if policy is None or tries >= policy.max_tries:
        return None
    if not is_retryable(policy, failure, delivery):
        return None
    if failure.retry_after is not None and failure.retry_after > LONGEST_RETRY_AFTER:
        return None
    pause = min(policy.wait_between_tries * policy.multiplier ** (tries - 1), policy.max_wait)
    if policy.jitter:
        pause *= 0.5 + 0.5 * _drawn(f"{key}:{tries}")
    return max(pause, failure.retry_after or 0.0)


def is_retryable(policy: RetryPolicy, failure: Failure, delivery: Delivery) -> bool:
    """Whether the policy lets this failure be tried again."""
    if failure.kind in NEVER_RETRIED:
        return False
    if policy.retry_on is not None:
        wanted = policy.retry_on
        return "ANY" in wanted or failure.kind in wanted or failure.code in wanted
    if failure.kind is FailureKind.TIMEOUT and delivery is Delivery.AT_MOST_ONCE:
        return False
    return failure.retryable


def _drawn(key: str) -> float:
    """Return a number in [0, 1) that follows from `key` alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big") / 2**56
