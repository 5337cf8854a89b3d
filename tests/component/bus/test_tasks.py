"""Single messages and whole queues."""

from datetime import UTC, datetime, timedelta

import pytest

from bus import errors, provision, tasks
from bus.client import Bus
from bus.publisher import Ack, Publisher
from bus.pull import Pull
from contracts.subjects import INBOX, TASKS
from tests.component.bus import builders
from tests.component.bus.builders import CONSUMER, EXECUTION, NODE_TYPE, task_subject

pytestmark = pytest.mark.component

OTHER = "018f0000-0000-7000-8000-000000000002"


async def test_a_cancel_purges_the_tasks_of_its_execution_alone(
    bus: Bus, publisher: Publisher
) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    for node_id in ("n1", "n2", "n3"):
        await publisher.store(task_subject(node_id), b"{}")
    await publisher.store(task_subject(execution_id=OTHER), b"{}")

    async with Pull(bus, TASKS, CONSUMER) as pull:
        await builders.take(pull, 4)
        assert await tasks.purge_execution(bus, "globex", EXECUTION) == 0
        assert await tasks.purge_execution(bus, "acme", EXECUTION) == 3

    assert await publisher.publish(task_subject("n1"), b"{}") is Ack.STORED
    assert await publisher.publish(task_subject(execution_id=OTHER), b"{}") is Ack.STILL_THERE


async def test_a_message_is_read_as_it_was_stored(bus: Bus, publisher: Publisher) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    await publisher.store(task_subject(), b'{"v":1}', {"traceparent": "00-1-2-01"})
    await publisher.store(task_subject("n2"), bytes(2 * 1024 * 1024))

    stored = await tasks.get_message(bus, TASKS, 1)

    assert stored is not None
    assert (stored.subject, stored.seq, stored.data) == (task_subject(), 1, b'{"v":1}')
    assert stored.headers == {"traceparent": "00-1-2-01"}
    assert abs(stored.timestamp - datetime.now(UTC)) < timedelta(minutes=1)
    large = await tasks.get_message(bus, TASKS, 2)
    assert large is not None
    assert len(large.data) == 2 * 1024 * 1024


async def test_a_message_is_deleted_once(bus: Bus, publisher: Publisher) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    await publisher.store(task_subject(), b"{}")

    assert await tasks.delete_message(bus, TASKS, 1)
    assert not await tasks.delete_message(bus, TASKS, 1)
    assert not await tasks.delete_message(bus, TASKS, 99)
    assert await tasks.get_message(bus, TASKS, 1) is None


async def test_queue_lengths_tell_what_waits_and_what_is_in_work(
    bus: Bus, publisher: Publisher
) -> None:
    await provision.ensure(bus, [NODE_TYPE, "AI.AGENT"])
    for number in range(5):
        await publisher.store(task_subject(f"n{number}"), b"{}")
    await publisher.store(f"flotilla.inbox.1.command.start.{EXECUTION}", b"{}")

    async with Pull(bus, TASKS, CONSUMER, batch=2) as pull:
        await builders.until(lambda: _is(pull.held == 2))
        queues = await tasks.queue_lengths(bus)

    assert set(queues) == {NODE_TYPE, "AI.AGENT"}
    assert (queues[NODE_TYPE].pending, queues[NODE_TYPE].in_flight) == (3, 2)
    assert queues["AI.AGENT"] == tasks.Queue(pending=0, in_flight=0, redelivered=0, waiting=0)
    inbox = await tasks.inbox_lengths(bus)
    assert len(inbox) == 16
    assert inbox["p01"].pending == 1


async def test_a_missing_stream_is_told(bus: Bus) -> None:
    with pytest.raises(errors.ApiError):
        await tasks.queue_lengths(bus)
    with pytest.raises(errors.ApiError):
        await tasks.purge_execution(bus, "acme", EXECUTION)
    with pytest.raises(errors.NoResponders):
        await tasks.get_message(bus, INBOX, 1)


async def _is(value: bool) -> bool:
    return value
