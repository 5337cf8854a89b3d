"""Rates: how many requests one key may make, by a token bucket that holds two seconds' worth.

Buckets are in this process: several gateways each grant the rate. A bucket that is full again is as good as none, so the oldest are
forgotten.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

BUCKETS_KEPT: Final = 10_000
BURST_SECONDS: Final = 2


class Rates:
    """Grants requests of any number of keys, each up to `per_second` in the long run."""

    def __init__(
        self,
        per_second: float,
        *,
        kept: int = BUCKETS_KEPT,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second = per_second
        self._now = now
        self._most = per_second * BURST_SECONDS
        self._kept = kept
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, as of

    async def take(self, key: str) -> int | None:
        """Grant a request: None, or the whole seconds to wait before the next one."""
        now = self._now()
        left, as_of = self._buckets.pop(key, (self._most, now))
        left = min(self._most, left + max(0.0, now - as_of) * self._per_second)
        is_granted = left >= 1
        self._buckets[key] = (left - 1 if is_granted else left, now)
        if len(self._buckets) > self._kept:
            self._buckets.popitem(last=False)
        return None if is_granted else max(1, math.ceil((1 - left) / self._per_second))
