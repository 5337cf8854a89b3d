"""Word of an end is never missed, and never trusted alone."""

import asyncio

import pytest

from bus.client import Bus
from contracts import subjects
from gateway.endings import Endings
from gateway.lifecycle import Lifecycle

pytestmark = pytest.mark.component

EXECUTION = "01900000-0000-7000-8000-00000000000e"
OVER = subjects.event("namespace", "workflow", EXECUTION, "execution_succeeded")


async def test_an_end_that_comes_before_anybody_waits_is_heard(bus: Bus) -> None:
    endings = Endings(bus, Lifecycle())
    await endings.start()
    with endings.expecting(EXECUTION) as expected:
        heard = asyncio.Event()
        await bus.subscribe(OVER, lambda _: _set(heard))
        await bus.publish(OVER, b"{}")
        await asyncio.wait_for(heard.wait(), 5)
        looks: list[bool] = []

        found = await expected.wait(60, lambda: _found(looks, expected.is_heard))

    assert found == "over"
    assert looks == [True]  # once, and not before there was word
    await endings.stop()


async def test_draining_ends_the_wait_for_an_end_at_once(bus: Bus) -> None:
    lifecycle = Lifecycle()
    with Endings(bus, lifecycle).expecting(EXECUTION) as expected:
        lifecycle.begin_draining()

        found = await asyncio.wait_for(expected.wait(60, lambda: _found([], True)), 5)

    assert found is None


async def _set(event: asyncio.Event) -> None:
    event.set()


async def _found(looks: list[bool], is_heard: bool) -> str:
    looks.append(is_heard)
    return "over"
