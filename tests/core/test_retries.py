"""Retry policies as a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.failures import Failure, FailureKind
from contracts.model import Delivery, RetryPolicy
from scheduler.core.retries import pause_before_retry

PLAIN = RetryPolicy(jitter=False)


def failure(kind: FailureKind = FailureKind.ERROR, **fields: object) -> Failure:
    """Return a retryable failure."""
    return Failure(kind, "broken", "it broke", **{"retryable": True, **fields})  # type: ignore[arg-type]


def pause(
    policy: RetryPolicy | None,
    given_failure: Failure,
    tries: int = 1,
    delivery: Delivery = Delivery.AT_LEAST_ONCE,
) -> float | None:
    """Return the pause after a failure."""
    return pause_before_retry(policy, given_failure, delivery=delivery, tries=tries, key="e:n:_")


@pytest.mark.parametrize(
    ("expected", "policy", "given_failure", "tries"),
    [
        pytest.param(5, PLAIN, failure(), 1, id="the first pause"),
        pytest.param(10, PLAIN, failure(), 2, id="the second is longer"),
        pytest.param(None, PLAIN, failure(), 3, id="the last try is final"),
        pytest.param(None, None, failure(), 1, id="no policy, one try"),
        pytest.param(None, PLAIN, failure(retryable=False), 1, id="not retryable"),
        pytest.param(
            300, RetryPolicy(10, 200, 10, 300, jitter=False), failure(), 5, id="at most max_wait"
        ),
        pytest.param(60, PLAIN, failure(retry_after=60), 1, id="retry_after lengthens"),
        pytest.param(5, PLAIN, failure(retry_after=1), 1, id="retry_after never shortens"),
        pytest.param(None, PLAIN, failure(retry_after=3601), 1, id="above an hour is final"),
        pytest.param(
            5,
            RetryPolicy(jitter=False, retry_on=("broken",)),
            failure(retryable=False),
            1,
            id="a code named by retry_on",
        ),
        pytest.param(
            5,
            RetryPolicy(jitter=False, retry_on=("ERROR",)),
            failure(retryable=False),
            1,
            id="a kind named by retry_on",
        ),
        pytest.param(
            None, RetryPolicy(retry_on=("TIMEOUT",)), failure(), 1, id="retry_on replaces the rule"
        ),
        pytest.param(
            None,
            RetryPolicy(retry_on=("ANY",)),
            failure(FailureKind.CANCELED),
            1,
            id="a cancel is never retried",
        ),
    ],
)
def test_pause(
    expected: float | None, policy: RetryPolicy | None, given_failure: Failure, tries: int
) -> None:
    assert pause(policy, given_failure, tries) == expected


def test_a_timeout_is_not_retried_under_at_most_once() -> None:
    timed_out = failure(FailureKind.TIMEOUT)

    assert pause(PLAIN, timed_out) == 5
    assert pause(PLAIN, timed_out, delivery=Delivery.AT_MOST_ONCE) is None


@given(st.text(max_size=20), st.integers(1, 9))
def test_jitter_draws_from_half_to_the_whole_pause_and_always_the_same(
    key: str, tries: int
) -> None:
    policy = RetryPolicy(max_tries=10, wait_between_tries=10, multiplier=1)

    drawn = [
        pause_before_retry(policy, failure(), delivery=Delivery.AT_LEAST_ONCE, tries=tries, key=key)
        for _ in range(2)
    ]

    assert drawn[0] == drawn[1]
    assert drawn[0] is not None
    assert 5 <= drawn[0] <= 10
