"""Rates: a burst is granted, then so many a second, to each key by itself."""

from gateway.rates import Rates


def test_twice_the_rate_is_granted_at_once_and_no_more() -> None:
    rates = Rates(5)

    granted = [rates.take("a", 0.0) for _ in range(11)]

    assert granted == [None] * 10 + [1]


def test_what_was_used_comes_back_with_time() -> None:
    rates = Rates(5)
    for _ in range(10):
        rates.take("a", 0.0)

    assert rates.take("a", 0.1) == 1
    assert rates.take("a", 0.3) is None
    assert rates.take("a", 0.3) == 1
    assert [rates.take("a", 100.0) for _ in range(11)] == [None] * 10 + [1]


def test_a_slow_rate_says_how_long_to_wait() -> None:
    rates = Rates(0.5)

    assert [rates.take("a", 0.0) for _ in range(2)] == [None, 2]


def test_keys_do_not_share() -> None:
    rates = Rates(1)
    for _ in range(3):
        rates.take("a", 0.0)

    assert rates.take("b", 0.0) is None


def test_the_oldest_keys_are_forgotten() -> None:
    rates = Rates(1, kept=2)
    for key in ("a", "a", "b", "c"):
        assert rates.take(key, 0.0) is None

    assert rates.take("c", 0.0) is None
    assert rates.take("c", 0.0) == 1
    assert rates.take("a", 0.0) is None, "it begins anew"


def test_a_clock_that_goes_back_grants_nothing() -> None:
    rates = Rates(1)
    for _ in range(2):
        rates.take("a", 10.0)

    assert rates.take("a", 5.0) == 1
