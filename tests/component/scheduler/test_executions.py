"""The executions that a scheduler holds in memory: bounded by what they take, and never those that are being advanced."""

from collections.abc import Sequence

import pytest

from contracts.ids import partition_of
from contracts.statuses import ExecutionStatus
from scheduler.executions import EXECUTION_BYTES, Executions, Live, Plans
from tests.support.engine import document, node, wire
from tests.support.installation import Installation

pytestmark = pytest.mark.component

LINE = document([node("a"), node("b")], [wire("a -> b")])


@pytest.fixture
async def started(installation: Installation) -> Sequence[str]:
    """Executions that are stored."""
    ids = await installation.add(LINE)
    return await installation.start(ids, 8, value="x" * 1000, say=False)


def cache(installation: Installation, limit: int) -> Executions:
    """Return a cache of about `limit` bytes."""
    return Executions(installation.store, Plans(installation.store), limit=limit)


def of(held: Executions, execution_id: str) -> Live:
    """Return an execution that is in memory."""
    live = held.get(execution_id)
    assert live is not None
    return live


async def test_the_longest_untouched_leave_once_their_bytes_are_too_many(
    installation: Installation, started: Sequence[str]
) -> None:
    held = cache(installation, limit=10**9)
    await held.load(started[:1])
    one = held.bytes
    held = cache(installation, limit=3 * one)

    for each in started[:3]:
        await held.load([each])
    await held.load([started[0]])
    await held.load([started[3]])

    assert [each for each in started if held.get(each)] == [started[0], *started[2:4]]
    assert held.bytes == 3 * one
    assert (held.replays, held.replayed_events) == (4, 4)


async def test_what_is_advanced_stays_though_it_is_larger_than_the_cache(
    installation: Installation, started: Sequence[str]
) -> None:
    held = cache(installation, limit=1)

    for _ in range(3):
        await held.load(started[:4])
        assert all(held.get(each) for each in started[:4])

    assert held.replays == 4
    await held.load(started[4:5])
    assert len(held) == 1


async def test_an_execution_that_grows_takes_the_place_of_others(
    installation: Installation, started: Sequence[str]
) -> None:
    held = cache(installation, limit=100 * EXECUTION_BYTES)
    await held.load(started)

    held.grew(of(held, started[7]), 100 * EXECUTION_BYTES)
    await held.load(started[7:])

    assert [each for each in started if held.get(each)] == [started[7]]


async def test_those_that_only_wait_have_a_small_part_of_the_cache(
    installation: Installation, started: Sequence[str]
) -> None:
    held = cache(installation, limit=10**9)
    await held.load(started)
    held = cache(installation, limit=held.bytes * 2)
    await held.load(started)
    for each in started[:6]:
        live = of(held, each)
        live.state.status = ExecutionStatus.WAITING
        held.grew(live, 0)

    await held.load(started[7:])

    assert [each for each in started if held.get(each)] == started[4:]

    live = of(held, started[5])
    live.state.status = ExecutionStatus.RUNNING
    await held.load([started[5]])
    held.grew(live, 0)
    await held.load(started[6:])
    assert held.get(started[5]) is live


async def test_executions_of_partitions_that_were_given_up_are_forgotten_unless_they_are_asked_for(
    installation: Installation, started: Sequence[str]
) -> None:
    held = cache(installation, limit=10**9)
    await held.load(started)

    held.retire({partition_of(each) for each in started[:5]})
    assert len(held) == len(started)
    await held.load(started[:1])

    gone = {partition_of(each) for each in started[:5]}
    left = [each for each in started[1:] if partition_of(each) not in gone]
    assert {each for each in started if held.get(each)} == {started[0], *left}
    held.drop(started)
    assert held.bytes == 0
