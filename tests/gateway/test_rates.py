"""Rates: a burst is granted, then so many a second, to each key by itself."""

from gateway.rates import Rates


class Bucket:
    """Rates with a clock that a test moves."""

    def __init__(self, per_second: float, *, kept: int = 10) -> None:
        self.now = 0.0
        self._rates = Rates(per_second, kept=kept, now=lambda: self.now)

    async def take(self, key: str = "a", *, at: float | None = None) -> int | None:
        """Ask for a request, perhaps at another instant."""
        self.now = self.now if at is None else at
        return await self._rates.take(key)

    async def takes(self, count: int, *, at: float | None = None) -> list[int | None]:
        """Ask for several."""
        return [await self.take(at=at) for _ in range(count)]


async def test_twice_the_rate_is_granted_at_once_and_no_more() -> None:
    assert await Bucket(5).takes(11) == [None] * 10 + [1]


async def test_what_was_used_comes_back_with_time() -> None:
    bucket = Bucket(5)
    await bucket.takes(10)

    assert await bucket.take(at=0.1) == 1
    assert await bucket.take(at=0.3) is None
    assert await bucket.take(at=0.3) == 1
    assert await bucket.takes(11, at=100.0) == [None] * 10 + [1]


async def test_a_slow_rate_says_how_long_to_wait() -> None:
    assert await Bucket(0.5).takes(2) == [None, 2]


async def test_keys_do_not_share() -> None:
    bucket = Bucket(1)
    await bucket.takes(3)

    assert await bucket.take("b") is None


async def test_the_oldest_keys_are_forgotten() -> None:
    bucket = Bucket(1, kept=2)
    for key in ("a", "a", "b", "c"):
        assert await bucket.take(key) is None

    assert await bucket.take("c") is None
    assert await bucket.take("c") == 1
    assert await bucket.take("a") is None, "it begins anew"


async def test_a_clock_that_goes_back_grants_nothing() -> None:
    bucket = Bucket(1)
    await bucket.takes(2, at=10.0)

    assert await bucket.take(at=5.0) == 1
