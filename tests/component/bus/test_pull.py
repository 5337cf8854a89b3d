"""Messages keep coming, whatever happens to the server, and no more than are wanted."""

import asyncio
import shutil
import signal
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path

import pytest

from bus import api, errors, provision
from bus.client import Bus
from bus.publisher import Ack, Outgoing, Publisher
from bus.pull import IDLE, Arrivals, Pull
from contracts.subjects import INBOX, TASKS, inbox_consumer
from flotilla.embedded.nats import NatsServer
from tests.component.bus import builders
from tests.component.bus.builders import CONSUMER, NODE_TYPE, PATIENCE, take, task_subject

pytestmark = pytest.mark.component

PROMPTLY = 2.5
"""Seconds: far below what any expiry or ack wait would take."""


async def fill(publisher: Publisher, count: int, *, first: int = 0) -> None:
    acks = await publisher.publish_all(
        Outgoing(task_subject(f"n{n}"), b"{}") for n in range(first, first + count)
    )
    assert set(acks) == {Ack.STORED}


async def test_everything_that_waits_is_taken_at_once_up_to_the_limit(
    bus: Bus, publisher: Publisher
) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    await fill(publisher, 20)

    async with Pull(bus, TASKS, CONSUMER) as pull:
        await builders.until(lambda: _is(pull.held == 20))

        assert len(await pull.take(15)) == 15
        assert len(await pull.take(15)) == 5


async def test_many_messages_flow_through_a_small_batch(bus: Bus, publisher: Publisher) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    await fill(publisher, 500)

    async with Pull(bus, TASKS, CONSUMER, batch=8) as pull:
        seen: set[str] = set()
        while len(seen) < 500:
            for message in await take(pull, 1):
                assert pull.outstanding + pull.held <= 8
                seen.add(message.subject)
                await message.ack()


async def test_take_waits_and_a_cancelled_take_loses_nothing(
    bus: Bus, publisher: Publisher
) -> None:
    await provision.ensure(bus, [NODE_TYPE])

    async with Pull(bus, TASKS, CONSUMER) as pull:
        waiting = asyncio.create_task(pull.take(10))
        await bus.flush()
        assert not waiting.done()
        waiting.cancel()
        await fill(publisher, 1)

        (message,) = await take(pull, 1)
        await message.ack()


async def test_several_pulls_share_their_arrivals(bus: Bus, publisher: Publisher) -> None:
    await provision.ensure(bus, [])
    arrivals = Arrivals()

    async with (
        Pull(bus, INBOX, inbox_consumer(3), arrivals=arrivals) as three,
        Pull(bus, INBOX, inbox_consumer(4), arrivals=arrivals) as four,
    ):
        await publisher.store("flotilla.inbox.3.command.start.e", b"")
        await publisher.store("flotilla.inbox.4.command.start.e", b"")
        messages = await take(arrivals, 2)

        assert {message.source for message in messages} == {three, four}
        assert three.held == four.held == 0


async def test_the_demand_is_never_exceeded(bus: Bus, publisher: Publisher) -> None:
    """A worker with three slots: what is on order, untaken and in work together stays within them."""
    await provision.ensure(bus, [NODE_TYPE])
    await fill(publisher, 60)
    slots, working, most = 3, 0, 0

    async with Pull(bus, TASKS, CONSUMER, want=lambda: slots - working) as pull:
        for _ in range(60):
            (message,) = await take(pull, 1)
            working += 1
            await bus.flush()
            most = max(most, working + pull.held + pull.outstanding)
            await message.ack()
            working -= 1
            pull.nudge()

    assert most <= slots


async def test_nothing_is_on_order_while_nothing_is_wanted(bus: Bus, publisher: Publisher) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    await fill(publisher, 5)
    wanted = 0

    async with Pull(bus, TASKS, CONSUMER, want=lambda: wanted) as pull:
        pull.nudge()
        await bus.flush()
        await bus.flush()
        assert (pull.outstanding, pull.held) == (0, 0)

        wanted = 5
        pull.nudge()
        assert len(await take(pull, 5)) == 5


async def test_an_idle_pull_orders_little_and_a_busy_one_all_that_it_wants(
    bus: Bus, publisher: Publisher
) -> None:
    await provision.ensure(bus, [NODE_TYPE])

    async with Pull(bus, TASKS, CONSUMER, want=lambda: 100) as pull:
        await builders.until(lambda: _is(pull.outstanding > 0))
        assert pull.outstanding == IDLE

        await fill(publisher, 300)
        for message in await take(pull, 300):
            await message.ack()
        await builders.until(lambda: _is(pull.outstanding > 50))

        # Larger orders expire soon; then the pull is idle again.
        await builders.until(lambda: _is(pull.outstanding == IDLE))


async def test_a_killed_server_only_delays(
    server: NatsServer, bus: Bus, publisher: Publisher
) -> None:
    await provision.ensure(bus, [NODE_TYPE])

    arrivals = Arrivals()

    async with (
        Pull(bus, TASKS, CONSUMER, arrivals=arrivals),
        Pull(bus, TASKS, CONSUMER, arrivals=arrivals, want=_ten),
    ):
        for round_ in range(4):
            await fill(publisher, 20, first=20 * round_)
            async with asyncio.timeout(PROMPTLY):
                for message in await take(arrivals, 20):
                    await message.ack()
            await bus.flush()
            await builders.kill(server, bus)
            await builders.revive(server, bus)


async def test_an_answer_given_without_a_connection_counts_after_the_reconnect(
    server: NatsServer, bus: Bus, publisher: Publisher
) -> None:
    """The server stops in order: a killed one may have forgotten the delivery, and delivers again."""
    await provision.ensure(bus, [NODE_TYPE])
    await fill(publisher, 1)

    async with Pull(bus, TASKS, CONSUMER) as pull:
        (message,) = await take(pull, 1)
        await builders.kill(server, bus, with_signal=signal.SIGTERM)
        await message.ack()
        await builders.revive(server, bus)

        await builders.until(lambda: _has(publisher.publish(message.subject, b"{}"), Ack.STORED))


async def test_a_deleted_consumer_is_provisioned_again(bus: Bus, publisher: Publisher) -> None:
    await provision.ensure(bus, [NODE_TYPE])

    async def restore() -> None:
        await provision.ensure_task_consumers(bus, [NODE_TYPE])

    async with Pull(bus, TASKS, CONSUMER, on_missing=restore) as pull:
        await builders.until(lambda: _is(pull.outstanding > 0))
        await builders.delete_consumer(bus, TASKS, CONSUMER)
        await fill(publisher, 3)

        async with asyncio.timeout(PROMPTLY):
            assert len(await take(pull, 3)) == 3


async def test_a_pull_that_cannot_provision_waits_for_who_can(
    bus: Bus, publisher: Publisher
) -> None:
    """A worker starts before the scheduler has made its consumer."""
    async with Pull(bus, TASKS, CONSUMER, want=_ten) as pull:
        waiting = asyncio.create_task(pull.take(1))
        await bus.flush()
        await provision.ensure(bus, [NODE_TYPE])
        await fill(publisher, 1)

        async with asyncio.timeout(PROMPTLY):
            (message,) = await waiting
        await message.ack()


async def test_a_wiped_store_is_provisioned_again(
    server: NatsServer, bus: Bus, publisher: Publisher
) -> None:
    await provision.ensure(bus, [NODE_TYPE])

    async def restore() -> None:
        await provision.ensure(bus, [NODE_TYPE])

    async with Pull(bus, TASKS, CONSUMER, on_missing=restore) as pull:
        await builders.kill(server, bus)
        shutil.rmtree(server.folder / "jetstream")
        await builders.revive(server, bus)
        await builders.until(lambda: _stores(publisher))

        async with asyncio.timeout(PROMPTLY):
            (message,) = await take(pull, 1)
        await message.ack()


async def test_a_failure_to_provision_is_tried_again(bus: Bus, publisher: Publisher) -> None:
    calls = 0

    async def restore() -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise errors.BusUnavailable("not yet")
        await provision.ensure(bus, [NODE_TYPE])

    async with Pull(bus, TASKS, CONSUMER, on_missing=restore) as pull:
        await builders.until(lambda: _stores(publisher))

        assert len(await take(pull, 1)) == 1
        assert calls == 3


async def test_a_bug_in_provisioning_comes_out_of_take(bus: Bus) -> None:
    async def restore() -> None:
        raise ZeroDivisionError

    async with Pull(bus, TASKS, CONSUMER, on_missing=restore) as pull:
        with pytest.raises(ZeroDivisionError):
            await take(pull, 1)


async def test_the_end_of_the_connection_comes_out_of_take(server: NatsServer) -> None:
    bus = await Bus.connect(server.url, name="test")
    async with Pull(bus, TASKS, CONSUMER, heartbeat=timedelta(milliseconds=100)) as pull:
        waiting = asyncio.create_task(pull.take(1))
        await bus.close()

        with pytest.raises(errors.BusClosed):
            async with asyncio.timeout(PATIENCE):
                await waiting


async def test_lost_requests_are_noticed_by_the_missing_heartbeats(tmp_path: Path) -> None:
    """The server drops requests without a word, because the user may not write them; then it may."""
    server = builders.RestrictedServer(tmp_path / "nats")
    server.may_pull = False
    async with (
        server,
        await Bus.connect(server.url, name="test") as bus,
        Publisher(bus) as publisher,
    ):
        await provision.ensure(bus, [NODE_TYPE])
        await fill(publisher, 1)
        async with Pull(bus, TASKS, CONSUMER, heartbeat=timedelta(milliseconds=100)) as pull:
            await builders.until(lambda: _is(bus.permission_violations > 0))
            server.allow_pulling()

            async with asyncio.timeout(PROMPTLY):
                (message,) = await take(pull, 1)
            assert bus.reconnects == 0
            await message.ack()


async def test_a_request_beyond_max_waiting_is_repeated(bus: Bus, publisher: Publisher) -> None:
    """The server drops it without a status, as it does with any request that asks for heartbeats."""
    await builders.create_stream(bus, "WORK", "work.>")
    await builders.create_consumer(bus, "WORK", "c", ack_wait=timedelta(seconds=30), max_waiting=1)

    async with Pull(bus, "WORK", "c", batch=1) as first:
        await builders.until(lambda: _waits(bus, 1))
        async with Pull(bus, "WORK", "c", batch=1, heartbeat=timedelta(milliseconds=100)) as second:
            await builders.until(lambda: _is(second.outstanding == 1))
            await first.stop()
            await publisher.store("work.1", b"")

            async with asyncio.timeout(PROMPTLY):
                (message,) = await take(second, 1)
            await message.ack()


async def test_stopping_hands_back_at_once_what_nobody_took(bus: Bus, publisher: Publisher) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    await fill(publisher, 10)

    stopped = Pull(bus, TASKS, CONSUMER)
    async with stopped:
        taken = await take(stopped, 2)
        await builders.until(lambda: _is(stopped.held == 8))
    async with Pull(bus, TASKS, CONSUMER) as other, asyncio.timeout(PROMPTLY):
        handed_back = await take(other, 8)

    assert {each.num_delivered for each in handed_back} == {2}
    assert {each.subject for each in taken}.isdisjoint({each.subject for each in handed_back})
    with pytest.raises(errors.BusClosed):
        await stopped.take(1)


async def test_a_stopped_pull_leaves_no_request_behind(bus: Bus, publisher: Publisher) -> None:
    """Otherwise the server would deliver to nobody, and the message would wait for its ack wait."""
    await provision.ensure(bus, [NODE_TYPE])
    async with Pull(bus, TASKS, CONSUMER) as stopped:
        await builders.until(lambda: _is(stopped.outstanding > 0))
        await bus.flush()

    await fill(publisher, 5)

    async with Pull(bus, TASKS, CONSUMER) as other, asyncio.timeout(PROMPTLY):
        assert {each.num_delivered for each in await take(other, 5)} == {1}


async def test_stopping_without_a_connection_does_not_wait_for_one(
    server: NatsServer, bus: Bus
) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    pull = Pull(bus, TASKS, CONSUMER)

    async with pull:
        await builders.kill(server, bus)
        async with asyncio.timeout(PROMPTLY):
            await pull.stop()


async def _is(value: bool) -> bool:
    return value


async def _waits(bus: Bus, requests: int) -> bool:
    """Whether so many requests are open at the consumer."""
    info = await api.ask(bus, "CONSUMER.INFO.WORK.c", answer=dict)
    return bool(info["num_waiting"] == requests)


async def _has(publish: Coroutine[object, object, Ack], wanted: Ack) -> bool:
    return await publish is wanted


async def _stores(publisher: Publisher) -> bool:
    return (await publisher.publish(task_subject(), b"{}")).is_good


def _ten() -> int:
    return 10
