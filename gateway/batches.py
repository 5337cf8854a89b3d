"""Natural batching: what queues while one round trip is under way shares the next one.

There is no timer to tune. A single request goes out at once; under load, the batches grow with what
one round trip takes, and the cost of a round trip is shared.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

Work = Callable[[Sequence[T]], Awaitable[Sequence[R]]]


class Batches(Generic[T, R]):
    """Runs `work` on lists of items, one list at a time, and gives each caller its own result.

    `work` answers in the order of its items. If it fails for several items, each is tried alone, so
    that nobody fails for what a neighbour sent; failures of `is_shared` types are everybody's.
    """

    def __init__(
        self, name: str, work: Work[T, R], *, limit: int, shared: tuple[type[Exception], ...]
    ) -> None:
        self._name = name
        self._work = work
        self._limit = limit
        self._shared = shared
        self._queue: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def add(self, item: T) -> R:
        """Return the result for `item`, or raise what the work on it raised."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name=self._name)
        return await future

    async def aclose(self) -> None:
        """Wait for all that was added."""
        while self._running is not None:
            await asyncio.wait({self._running})

    async def _run(self) -> None:
        try:
            while self._queue:
                size = min(self._limit, len(self._queue))
                await self._finish([self._queue.popleft() for _ in range(size)])
        finally:
            self._running = None

    async def _finish(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._work([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001  # goes to those who asked
            if len(batch) == 1 or isinstance(error, self._shared):
                for _, future in batch:
                    _fail(future, error)
                return
            for each in batch:
                await self._finish([each])
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)


def _fail(future: asyncio.Future[R], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
