"""What a worker keeps of large values."""

from workers.payloads import Cache


def test_the_values_that_were_not_asked_for_the_longest_leave_first() -> None:
    cache = Cache(10)
    a, b, c = ("n", "a"), ("n", "b"), ("n", "c")
    cache.add(a, b"1234")
    cache.add(b, b"5678")
    assert cache.get(a) == b"1234"

    cache.add(c, b"9012")
    cache.add(c, b"9012")

    assert (cache.get(a), cache.get(b), cache.get(c)) == (b"1234", None, b"9012")


def test_a_value_that_does_not_fit_is_not_kept() -> None:
    cache = Cache(3)
    cache.add(("n", "a"), b"1")

    cache.add(("n", "b"), b"1234")

    assert cache.get(("n", "b")) is None
    cache.add(("n", "c"), b"123")
    assert cache.get(("n", "c")) == b"123"


def test_namespaces_share_nothing() -> None:
    cache = Cache(10)

    cache.add(("mine", "a"), b"1")

    assert cache.get(("yours", "a")) is None
