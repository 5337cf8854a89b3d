"""Where single tasks are: queued, with a worker, or gone."""

import pytest

from bus import provision, tasks, underway
from bus.client import Bus
from bus.publisher import Publisher
from bus.pull import Pull
from contracts.subjects import TASKS, read_task
from tests.component.bus import builders
from tests.component.bus.builders import CONSUMER, EXECUTION, NODE_TYPE, task_subject

pytestmark = pytest.mark.component


async def test_a_task_goes_from_the_queue_to_a_worker_and_away(
    bus: Bus, publisher: Publisher
) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    first, second = (read_task(task_subject(each)) for each in ("n1", "n2"))
    assert first is not None
    assert second is not None
    await publisher.store(task_subject("n1"), b"{}")
    await publisher.store(task_subject("n2"), b"{}")

    queued = await underway.queue_of(bus, NODE_TYPE)
    places = await underway.places(bus, [first, second])
    async with Pull(bus, TASKS, CONSUMER, batch=1) as pull:
        await builders.take(pull, 1)
        delivered = await underway.queue_of(bus, NODE_TYPE)
    await tasks.purge_execution(bus, "acme", EXECUTION)
    rest = await underway.places(bus, [first, second])

    assert (queued.pending, queued.delivered_seq) == (2, 0)
    assert places == {first: 1, second: 2}
    assert delivered.delivered_seq >= 1
    assert rest == {}


async def test_a_type_that_nobody_ever_served_has_an_empty_queue(bus: Bus) -> None:
    await provision.ensure(bus, [])

    assert await underway.queue_of(bus, "CUSTOM.NOBODY") == underway.Queued()
