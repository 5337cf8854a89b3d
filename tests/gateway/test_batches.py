"""Natural batching: what queues while one round trip is under way shares the next one."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.batches import Batches


class Away(Exception):
    """A failure that everybody shares."""


class Work:
    """Doubles numbers; held back by a gate, and failing for 13."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.batches: list[list[int]] = []
        self.failure: Exception | None = None

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if 13 in items:
            raise ValueError("13")
        return [item * 2 for item in items]


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def batches(work: Work) -> Batches[int, int]:
    return Batches("test", work, limit=3, shared=(Away,))


async def begin(batches: Batches[int, int], *items: int) -> list[asyncio.Task[int]]:
    """Add items one after another, and let the work on the first begin."""
    tasks = []
    for item in items:
        tasks.append(asyncio.create_task(batches.add(item)))
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_the_first_goes_out_at_once_and_the_rest_together(
    work: Work, batches: Batches[int, int]
) -> None:
    tasks = await begin(batches, 1, 2, 3, 4, 5)
    work.gate.set()

    assert await asyncio.gather(*tasks) == [2, 4, 6, 8, 10]
    assert work.batches == [[1], [2, 3, 4], [5]]


async def test_an_item_that_cannot_be_done_fails_alone(
    work: Work, batches: Batches[int, int]
) -> None:
    tasks = await begin(batches, 1, 13, 2)
    work.gate.set()

    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert results[0] == 2
    assert isinstance(results[1], ValueError)
    assert results[2] == 4


async def test_a_server_that_is_away_is_asked_once(work: Work, batches: Batches[int, int]) -> None:
    work.failure = Away()
    tasks = await begin(batches, 1, 2, 3)
    work.gate.set()

    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(result) for result in results] == [Away, Away, Away]
    assert work.batches == [[1], [2, 3]]


async def test_whoever_leaves_takes_nothing_from_the_others(
    work: Work, batches: Batches[int, int]
) -> None:
    tasks = await begin(batches, 1, 2, 3)
    tasks[1].cancel()
    work.gate.set()
    await batches.aclose()

    assert await tasks[0] == 2
    assert await tasks[2] == 6
