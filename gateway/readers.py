"""Readers of event streams: counted, and limited per user."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from gateway.metrics import Metrics
from gateway.problems import RETRY_SECONDS, Refused


class Readers:
    """Who reads event streams at present."""

    def __init__(self, metrics: Metrics, *, limit: int) -> None:
        self._metrics = metrics
        self._limit = limit
        self._by_user: Counter[str] = Counter()

    def check(self, user_id: str) -> None:
        """Raise Refused if the user may open no further stream."""
        if self._by_user[user_id] >= self._limit:
            raise Refused(
                "rate_limited",
                f"{self._limit} event streams are open (LIMIT_STREAMS). Close one first.",
                retry_after=RETRY_SECONDS,
            )

    async def counted(self, user_id: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the chunks of a stream, counting its reader from the first to the last."""
        self._by_user[user_id] += 1
        self._metrics.streams.inc()
        try:
            async with contextlib.aclosing(chunks) as closing:  # type: ignore[type-var]
                async for chunk in closing:
                    yield chunk
        finally:
            self._metrics.streams.dec()
            self._by_user[user_id] -= 1
            if not self._by_user[user_id]:
                del self._by_user[user_id]
