"""Every acknowledgement means one thing."""

import asyncio
from datetime import timedelta

import pytest

from bus import errors, provision
from bus.client import Bus
from bus.publisher import Ack, Outgoing, Publisher
from bus.pull import Pull
from contracts.subjects import TASKS
from flotilla.embedded.nats import NatsServer
from tests.component.bus import builders
from tests.component.bus.builders import CONSUMER, NODE_TYPE, task_subject

pytestmark = pytest.mark.component

PROMPTLY = 2.5
"""Seconds: below what a publish without answer takes to be given up."""


async def test_a_task_is_stored_once_while_it_is_queued_or_in_flight(
    bus: Bus, publisher: Publisher
) -> None:
    await provision.ensure(bus, [NODE_TYPE])

    assert await publisher.publish(task_subject(), b"{}") is Ack.STORED
    assert await publisher.publish(task_subject(), b"{}") is Ack.STILL_THERE

    async with Pull(bus, TASKS, CONSUMER) as pull:
        (message,) = await builders.take(pull, 1)
        assert await publisher.publish(task_subject(), b"{}") is Ack.STILL_THERE

        await message.ack()

        async def is_free() -> bool:
            return await publisher.publish(task_subject(), b"{}") is Ack.STORED

        await builders.until(is_free)


async def test_a_full_stream_is_not_mistaken_for_a_task_that_is_still_there(
    bus: Bus, publisher: Publisher
) -> None:
    limits = {"discard": "new", "max_msgs_per_subject": 1, "discard_new_per_subject": True}
    await builders.create_stream(bus, "SMALL", "small.>", max_msgs=2, **limits)

    subjects = ["small.1", "small.1", "small.2", "small.3"]
    acks = await publisher.publish_all(Outgoing(subject, b"") for subject in subjects)

    assert acks == [Ack.STORED, Ack.STILL_THERE, Ack.STORED, Ack.STREAM_FULL]
    with pytest.raises(errors.StreamFull):
        await publisher.store("small.4", b"")


async def test_a_stream_full_of_bytes_says_so(bus: Bus, publisher: Publisher) -> None:
    await builders.create_stream(bus, "SMALL", "small.>", max_bytes=4096, discard="new")

    acks = await publisher.publish_all([Outgoing(f"small.{n}", bytes(1500)) for n in range(3)])

    assert acks == [Ack.STORED, Ack.STORED, Ack.STREAM_FULL]


async def test_a_subject_without_stream_says_so(bus: Bus, publisher: Publisher) -> None:
    assert await publisher.publish("nowhere.at.all", b"{}") is Ack.NO_STREAM
    with pytest.raises(errors.NoStream):
        await publisher.store("nowhere.at.all", b"{}")


async def test_a_message_beyond_the_limit_of_server_or_stream_is_too_large(
    bus: Bus, publisher: Publisher
) -> None:
    await builders.create_stream(bus, "SMALL", "small.>", max_msg_size=10)

    assert await publisher.publish("small.1", bytes(bus.max_payload + 1)) is Ack.TOO_LARGE
    assert await publisher.publish("small.1", bytes(100)) is Ack.TOO_LARGE
    with pytest.raises(errors.PayloadTooLarge):
        await publisher.store("small.1", bytes(bus.max_payload + 1))
    assert publisher.outstanding == 0


async def test_another_refusal_is_told_apart(bus: Bus, publisher: Publisher) -> None:
    await builders.create_stream(bus, "SMALL", "small.>")

    ack = await publisher.publish("small.1", b"", {"Nats-Expected-Last-Sequence": "7"})

    assert ack is Ack.REFUSED
    with pytest.raises(errors.PublishRefused):
        await publisher.store("small.1", b"", {"Nats-Expected-Last-Sequence": "7"})


async def test_publishing_without_a_connection_is_in_doubt_at_once(
    server: NatsServer, bus: Bus, publisher: Publisher
) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    await builders.kill(server, bus)

    assert await publisher.publish(task_subject(), b"{}") is Ack.IN_DOUBT
    with pytest.raises(errors.PublishInDoubt):
        await publisher.store(task_subject(), b"{}")

    await builders.revive(server, bus)
    assert await publisher.publish(task_subject(), b"{}") is Ack.STORED


async def test_a_disconnect_puts_all_outstanding_publishes_in_doubt(
    server: NatsServer, bus: Bus
) -> None:
    """Nobody answers on the subject, so the publish is outstanding until the connection breaks."""
    silent = await bus.subscribe("silent", _ignore)

    async with Publisher(bus, timeout=timedelta(minutes=1)) as publisher:
        acks = [await publisher.send("silent", b"") for _ in range(3)]
        await bus.flush()
        assert publisher.outstanding == 3
        await builders.kill(server, bus)

        assert [await ack for ack in acks] == [Ack.IN_DOUBT] * 3
    await silent.unsubscribe()


async def test_a_publish_without_answer_is_in_doubt_after_the_timeout(bus: Bus) -> None:
    await bus.subscribe("silent", _ignore)

    async with Publisher(bus, timeout=timedelta(milliseconds=50)) as publisher:
        first = await publisher.send("silent", b"")
        assert await publisher.publish("silent", b"") is Ack.IN_DOUBT

        assert first.result() is Ack.IN_DOUBT
        assert publisher.outstanding == 0


async def test_what_is_published_together_is_in_doubt_together_without_a_connection(
    server: NatsServer, bus: Bus, publisher: Publisher
) -> None:
    """None of it is sent by the reconnect."""
    await provision.ensure(bus, [NODE_TYPE])
    await builders.kill(server, bus)
    messages = [Outgoing(task_subject(f"n{n}"), b"{}") for n in range(3)]

    assert await publisher.publish_all(messages) == [Ack.IN_DOUBT] * 3
    await builders.revive(server, bus)

    assert await publisher.publish_all(messages) == [Ack.STORED] * 3


async def test_what_was_published_together_is_in_doubt_when_the_connection_breaks(
    server: NatsServer, bus: Bus
) -> None:
    await builders.create_stream(bus, "MANY", "many.>")
    await bus.subscribe("silent", _ignore)
    subjects = ["many.1", "silent", "many.2"]

    async with Publisher(bus, timeout=timedelta(minutes=1)) as publisher:
        publishing = asyncio.create_task(publisher.publish_all(Outgoing(s, b"") for s in subjects))
        await builders.until(lambda: _has(publisher, outstanding=1))
        await builders.kill(server, bus)

        assert await publishing == [Ack.STORED, Ack.IN_DOUBT, Ack.STORED]


async def test_a_message_that_is_too_large_holds_up_none_published_with_it(
    bus: Bus, publisher: Publisher
) -> None:
    await builders.create_stream(bus, "MANY", "many.>")
    sizes = [1, bus.max_payload + 1, 2]

    acks = await publisher.publish_all(Outgoing("many.1", bytes(size)) for size in sizes)

    assert acks == [Ack.STORED, Ack.TOO_LARGE, Ack.STORED]
    assert publisher.outstanding == 0


async def test_more_than_may_be_outstanding_is_published_in_turns(bus: Bus) -> None:
    await builders.create_stream(bus, "MANY", "many.>")

    async with Publisher(bus, max_outstanding=10) as publisher:
        acks = await publisher.publish_all(Outgoing(f"many.{n}", b"") for n in range(95))

        assert acks == [Ack.STORED] * 95
        assert publisher.outstanding == 0


async def test_a_cancelled_batch_takes_no_room_for_ever(bus: Bus) -> None:
    await bus.subscribe("silent", _ignore)
    await builders.create_stream(bus, "MANY", "many.>")

    async with Publisher(bus, max_outstanding=3) as publisher:
        publishing = asyncio.create_task(publisher.publish_all([Outgoing("silent", b"")] * 3))
        await builders.until(lambda: _has(publisher, outstanding=3))
        publishing.cancel()
        await asyncio.wait([publishing])

        async with asyncio.timeout(PROMPTLY):
            assert await publisher.publish("many.1", b"") is Ack.STORED


async def test_outstanding_publishes_are_bounded(bus: Bus) -> None:
    await builders.create_stream(bus, "MANY", "many.>")

    async with Publisher(bus, max_outstanding=10) as publisher:
        most = 0
        acks = []
        for number in range(200):
            acks.append(await publisher.send(f"many.{number}", b""))
            most = max(most, publisher.outstanding)

        assert [await ack for ack in acks] == [Ack.STORED] * 200
        assert most <= 10


async def test_a_caller_that_was_cancelled_takes_no_room_for_ever(bus: Bus) -> None:
    await bus.subscribe("silent", _ignore)
    await builders.create_stream(bus, "MANY", "many.>")

    async with Publisher(bus, max_outstanding=1) as publisher:
        (await publisher.send("silent", b"")).cancel()

        assert await publisher.publish("many.1", b"") is Ack.STORED


async def test_leaving_the_publisher_settles_what_is_outstanding(bus: Bus) -> None:
    await bus.subscribe("silent", _ignore)

    async with Publisher(bus) as publisher:
        ack = await publisher.send("silent", b"")

    assert await ack is Ack.IN_DOUBT


async def test_headers_and_trace_context_arrive_with_the_message(
    bus: Bus, publisher: Publisher
) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    await publisher.store(task_subject(), b"{}", {"traceparent": trace, "Flotilla-Namespace": "ü"})

    async with Pull(bus, TASKS, CONSUMER) as pull:
        (message,) = await builders.take(pull, 1)
        assert message.traceparent == trace
        assert message.headers["Flotilla-Namespace"] == "ü"
        await message.ack()


async def test_a_subject_that_breaks_the_protocol_is_never_sent(publisher: Publisher) -> None:
    with pytest.raises(errors.InvalidSubject):
        await publisher.publish("tasks\r\nPUB x 0", b"")
    with pytest.raises(errors.InvalidSubject):
        await publisher.publish_all([Outgoing("fine", b""), Outgoing("tasks\r\nPUB x 0", b"")])

    assert publisher.outstanding == 0


async def test_publishing_on_a_closed_bus_raises(server: NatsServer) -> None:
    bus = await Bus.connect(server.url, name="test")
    async with Publisher(bus) as publisher:
        await bus.close()

        with pytest.raises(errors.BusClosed):
            await publisher.publish("any", b"")
        with pytest.raises(errors.BusClosed):
            await publisher.publish_all([Outgoing("any", b"")])
        assert publisher.outstanding == 0


async def _has(publisher: Publisher, *, outstanding: int) -> bool:
    return publisher.outstanding == outstanding


async def _ignore(message: object) -> None:
    await asyncio.sleep(0)
