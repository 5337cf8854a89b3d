"""The database's clock, read without asking the database.

Timers are due by PostgreSQL's clock, whatever the clocks of the schedulers' machines say. Asking it for every instant would
cost a round trip each, so its distance from this machine's monotonic clock is measured now and then.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from db import queries
from db.store import Store

SAMPLES: Final = 3
_SQL: Final = queries.load("clock")


class DatabaseClock:
    """Tells the database's time. Whoever owns it calls `refresh` now and then, or it drifts with this machine's clock."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._at = datetime.min.replace(tzinfo=UTC)
        self._monotonic = 0.0

    @classmethod
    async def measured(cls, store: Store) -> Self:
        """Return a clock that has been set."""
        clock = cls(store)
        await clock.refresh()
        return clock

    async def refresh(self) -> None:
        """Measure anew: of a few answers, the one that was fastest tells the most."""
        samples = [await self._sample() for _ in range(SAMPLES)]
        _, self._at, self._monotonic = min(samples)

    def now(self) -> datetime:
        """Return the database's time, in UTC."""
        assert self._monotonic, "a clock has to be measured before it is read"
        return self._at + timedelta(seconds=time.monotonic() - self._monotonic)

    async def _sample(self) -> tuple[float, datetime, float]:
        """Return how long the answer took, the instant it told, and our clock halfway."""
        before = time.monotonic()
        row = await self._store.fetch_row(_SQL["tell_time"])
        after = time.monotonic()
        assert row is not None
        return after - before, row["now"], (before + after) / 2
