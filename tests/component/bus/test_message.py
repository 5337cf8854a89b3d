"""Answers to a delivered message, and what its reply subject tells."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from bus import message, provision, tasks
from bus.client import Bus
from bus.publisher import Publisher
from bus.pull import Pull
from contracts.subjects import ADVISORIES, ADVISORY_CONSUMER, TASKS
from tests.component.bus import builders
from tests.component.bus.builders import CONSUMER, NODE_TYPE, take, task_subject

pytestmark = pytest.mark.component


class Advisory(msgspec.Struct):
    stream_seq: int
    deliveries: int
    reason: str = ""


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param("$JS.ACK.TASKS.c.2.30.4.1700000000123456789.5", id="first form"),
        pytest.param("$JS.ACK._.hash.TASKS.c.2.30.4.1700000000123456789.5", id="second form"),
        pytest.param("$JS.ACK.hub.hash.TASKS.c.2.30.4.1700000000123456789.5.rnd", id="with token"),
    ],
)
def test_every_form_of_reply_subject_is_read(reply: str) -> None:
    metadata = message.read_reply(reply)

    assert metadata == message.Metadata(
        stream="TASKS",
        consumer="c",
        num_delivered=2,
        stream_seq=30,
        consumer_seq=4,
        timestamp=datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC),
        num_pending=5,
    )


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param("", id="none"),
        pytest.param("_INBOX.1.2.3.4.5.6.7.8", id="an inbox"),
        pytest.param("$JS.ACK.TASKS.c.2.30.4.1700000000123456789", id="too short"),
        pytest.param("$JS.ACK.TASKS.c.2.30.4.1700000000123456789.5.6", id="between the forms"),
        pytest.param("$JS.ACK.TASKS.c.x.30.4.1700000000123456789.5", id="no numbers"),
    ],
)
def test_other_reply_subjects_are_refused(reply: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # of int() in one of the cases
        message.read_reply(reply)


async def test_a_message_tells_where_it_came_from(bus: Bus, publisher: Publisher) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    await publisher.store(task_subject(), b"{}")

    async with Pull(bus, TASKS, CONSUMER) as pull:
        (taken,) = await take(pull, 1)

    assert taken.num_delivered == 1
    assert taken.stream_seq == 1
    assert abs(taken.timestamp - datetime.now(UTC)) < timedelta(minutes=1)
    assert taken.traceparent is None


async def test_an_unanswered_message_is_delivered_again_and_progress_postpones_that(
    bus: Bus, publisher: Publisher
) -> None:
    """One message is kept alive until the other, which is not, has come again twice."""
    await builders.create_stream(bus, "WORK", "work.>")
    await builders.create_consumer(bus, "WORK", "c", ack_wait=timedelta(milliseconds=400))
    await publisher.store("work.alive", b"")
    await publisher.store("work.silent", b"")

    async with Pull(bus, "WORK", "c") as pull:
        alive, _ = await take(pull, 2)
        keeper = asyncio.create_task(_keep_alive(alive))
        again = await take(pull, 2)
        keeper.cancel()
        await asyncio.wait([keeper])
        await again[-1].ack()

        assert [(each.subject, each.num_delivered) for each in again] == [
            ("work.silent", 2),
            ("work.silent", 3),
        ]
        (abandoned,) = await take(pull, 1)
        assert (abandoned.subject, abandoned.num_delivered) == ("work.alive", 2)
        await abandoned.ack()


async def test_a_message_handed_back_comes_again_at_once_or_after_the_delay(
    bus: Bus, publisher: Publisher
) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    await publisher.store(task_subject(), b"{}")

    async with Pull(bus, TASKS, CONSUMER) as pull:
        (first,) = await take(pull, 1)
        await first.nak()
        (second,) = await take(pull, 1)
        started = asyncio.get_running_loop().time()
        await second.nak(timedelta(milliseconds=200))
        (third,) = await take(pull, 1)

        assert [second.num_delivered, third.num_delivered] == [2, 3]
        assert asyncio.get_running_loop().time() - started >= 0.19
        await third.ack()


async def test_a_terminated_task_is_gone_and_the_advisory_tells_the_reason(
    bus: Bus, publisher: Publisher
) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    await publisher.store(task_subject(), b"not json")

    async with (
        Pull(bus, TASKS, CONSUMER) as pull,
        Pull(bus, ADVISORIES, ADVISORY_CONSUMER) as advisories,
    ):
        (task,) = await take(pull, 1)
        await task.term("unreadable:\r\n no JSON")
        (advisory,) = await take(advisories, 1)

        told = msgspec.json.decode(advisory.data, type=Advisory)
        assert told == Advisory(
            stream_seq=task.stream_seq, deliveries=1, reason="unreadable: no JSON"
        )
        assert await tasks.get_message(bus, TASKS, task.stream_seq) is None
        await advisory.ack()


async def test_a_task_delivered_too_often_stays_and_an_advisory_tells_which(
    bus: Bus, publisher: Publisher
) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    await publisher.store(task_subject(), b"{}")

    async with (
        Pull(bus, TASKS, CONSUMER) as pull,
        Pull(bus, ADVISORIES, ADVISORY_CONSUMER) as advisories,
    ):
        delivered = []
        for _ in range(5):
            delivered += await take(pull, 1)
            await delivered[-1].nak()
        (advisory,) = await take(advisories, 1)

        assert [task.num_delivered for task in delivered] == [1, 2, 3, 4, 5]
        told = msgspec.json.decode(advisory.data, type=Advisory)
        assert told == Advisory(stream_seq=delivered[0].stream_seq, deliveries=5)
        stored = await tasks.get_message(bus, TASKS, told.stream_seq)
        assert stored is not None
        assert stored.subject == task_subject()
        assert await tasks.delete_message(bus, TASKS, told.stream_seq)
        await advisory.ack()


async def _keep_alive(alive: message.Message) -> None:
    while True:
        await alive.in_progress()
        await asyncio.sleep(0.05)
