"""The connection: requests, core messages, and what is told when it goes and comes."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from bus import errors
from bus.client import Bus, CoreMessage
from bus.wire import PENDING_BYTES, Headers
from flotilla.embedded.nats import USER, NatsServer
from tests.component.bus import builders

pytestmark = pytest.mark.component


async def test_a_server_that_is_not_there_is_given_up_without_telling_the_password() -> None:
    with pytest.raises(errors.BusUnavailable) as caught:
        await Bus.connect(
            "nats://me:secret@127.0.0.1:1", name="test", patience=timedelta(milliseconds=200)
        )

    assert "127.0.0.1:1" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_the_first_server_that_answers_is_taken(server: NatsServer) -> None:
    async with await Bus.connect(f"nats://127.0.0.1:1, {server.url}", name="test") as bus:
        assert bus.is_connected
        assert bus.max_payload == 8 * 1024 * 1024


async def test_a_request_is_answered(bus: Bus) -> None:
    async def answer(message: CoreMessage) -> None:
        await message.respond(message.data.upper(), {"traceparent": message.traceparent or ""})

    await bus.subscribe("echo", answer)

    answered = await bus.request("echo", b"hello", {"traceparent": "00-1-2-01"})

    assert answered.data == b"HELLO"
    assert answered.traceparent == "00-1-2-01"


async def test_a_request_that_nobody_listens_to_fails_at_once(bus: Bus) -> None:
    with pytest.raises(errors.NoResponders):
        await bus.request("nobody", b"")


async def test_a_request_that_nobody_answers_fails_after_its_time(bus: Bus) -> None:
    async def ignore(message: CoreMessage) -> None:
        pass

    await bus.subscribe("silent", ignore)

    with pytest.raises(errors.BusUnavailable):
        await bus.request("silent", b"", within=timedelta(milliseconds=50))


async def test_a_request_without_a_connection_waits_for_it(server: NatsServer, bus: Bus) -> None:
    async def answer(message: CoreMessage) -> None:
        await message.respond(b"here")

    await bus.subscribe("echo", answer)
    await builders.kill(server, bus)

    with pytest.raises(errors.BusUnavailable):
        await bus.request("echo", b"", within=timedelta(milliseconds=50))
    asked = asyncio.create_task(bus.request("echo", b"", within=timedelta(seconds=10)))
    await builders.revive(server, bus)

    assert (await asked).data == b"here"


async def test_members_of_a_queue_share_the_messages(bus: Bus) -> None:
    arrived: asyncio.Queue[str] = asyncio.Queue()

    async def note(message: CoreMessage) -> None:
        await arrived.put(message.subject)

    await bus.subscribe("work.*", note, queue="fleet")
    await bus.subscribe("work.*", note, queue="fleet")
    for number in range(10):
        await bus.publish(f"work.{number}", b"")
    await bus.flush()

    async with asyncio.timeout(builders.PATIENCE):
        assert {await arrived.get() for _ in range(10)} == {f"work.{n}" for n in range(10)}
    assert arrived.empty()


async def test_a_subscriber_that_fails_gets_the_next_message(bus: Bus) -> None:
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def fail_first(message: CoreMessage) -> None:
        if message.data == b"bad":
            raise ValueError("a bug")
        await arrived.put(message.data)

    await bus.subscribe("work", fail_first)
    await bus.publish("work", b"bad")
    await bus.publish("work", b"good")

    async with asyncio.timeout(builders.PATIENCE):
        assert await arrived.get() == b"good"


async def test_core_messages_published_without_a_connection_are_kept_up_to_a_limit(
    server: NatsServer, bus: Bus
) -> None:
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def note(message: CoreMessage) -> None:
        await arrived.put(message.data)

    await bus.subscribe("work", note)
    await builders.kill(server, bus)

    await bus.publish("work", b"kept")
    await bus.publish("work", bytes(3 * 1024 * 1024))
    await builders.revive(server, bus)

    async with asyncio.timeout(builders.PATIENCE):
        assert await arrived.get() == b"kept"
    assert bus.dropped == 1
    assert bus.reconnects == 1


async def test_many_messages_go_out_together_in_their_order(bus: Bus) -> None:
    arrived: asyncio.Queue[tuple[str, bytes, str | None]] = asyncio.Queue()

    async def note(message: CoreMessage) -> None:
        await arrived.put((message.subject, message.data, message.traceparent))

    await bus.subscribe("work.*", note)
    refused = await bus.publish_all(
        [
            ("work.1", b"plain", None, ""),
            ("work\r\nPUB x 0", b"", None, ""),
            ("work.2", b"with a header", {"traceparent": "00-1-2-01"}, ""),
            ("work.3", bytes(bus.max_payload + 1), None, ""),
            ("work.4", b"", None, "reply.to"),
        ]
    )

    async with asyncio.timeout(builders.PATIENCE):
        assert await arrived.get() == ("work.1", b"plain", None)
        assert await arrived.get() == ("work.2", b"with a header", "00-1-2-01")
        assert await arrived.get() == ("work.4", b"", None)
    assert {position: type(error) for position, error in refused.items()} == {
        1: errors.InvalidSubject,
        3: errors.PayloadTooLarge,
    }


async def test_more_than_may_wait_goes_out_while_there_is_a_connection(bus: Bus) -> None:
    arrived: asyncio.Queue[int] = asyncio.Queue()

    async def note(message: CoreMessage) -> None:
        await arrived.put(len(message.data))

    await bus.subscribe("work", note)
    await bus.publish_all([("work", bytes(PENDING_BYTES // 4 + n), None, "") for n in range(20)])

    async with asyncio.timeout(builders.PATIENCE):
        assert [await arrived.get() for _ in range(20)] == [
            PENDING_BYTES // 4 + n for n in range(20)
        ]
    assert bus.dropped == 0


async def test_of_many_messages_without_a_connection_those_are_kept_that_fit(
    server: NatsServer, bus: Bus
) -> None:
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def note(message: CoreMessage) -> None:
        await arrived.put(message.data[:1])

    await bus.subscribe("work", note)
    await builders.kill(server, bus)

    large = bytes(PENDING_BYTES - 1000)
    await bus.publish_all(
        [("work", data, None, "") for data in (b"1", b"2" + large, b"3" + large, b"4")]
    )
    await builders.revive(server, bus)

    async with asyncio.timeout(builders.PATIENCE):
        assert [await arrived.get() for _ in range(3)] == [b"1", b"2", b"4"]
    assert bus.dropped == 1


async def test_a_listener_hears_what_was_sent_before_the_flush_and_nothing_after_it_left(
    bus: Bus,
) -> None:
    heard: list[tuple[str, str, bytes, Headers | None]] = []

    def note(subject: str, reply: str, data: bytes, headers: Headers | None) -> None:
        heard.append((subject, reply, data, headers))

    listening = await bus.listen("work.*", note)
    await bus.publish_all([("work.1", b"a", None, ""), ("work.2", b"b", {"K": "v"}, "back")])
    await bus.flush()

    assert heard == [("work.1", "", b"a", None), ("work.2", "back", b"b", {"K": "v"})]

    await listening.unsubscribe()
    await bus.publish("work.3", b"")
    await bus.flush()

    assert len(heard) == 2


async def test_a_listener_goes_on_after_a_reconnect(server: NatsServer, bus: Bus) -> None:
    heard: list[bytes] = []
    await bus.listen("work", lambda _subject, _reply, data, _headers: heard.append(data))
    await builders.kill(server, bus)
    await builders.revive(server, bus)

    await bus.publish("work", b"again")
    await bus.flush()

    assert heard == [b"again"]


async def test_listeners_are_told_and_can_leave(server: NatsServer, bus: Bus) -> None:
    heard: list[str] = []

    class Ear:
        def disconnected(self) -> None:
            heard.append("disconnected")

        def reconnected(self) -> None:
            heard.append("reconnected")

    ear = Ear()
    bus.attach(ear)
    await builders.kill(server, bus)
    assert not bus.connected_event.is_set()
    await builders.revive(server, bus)
    bus.detach(ear)
    bus.detach(ear)

    assert heard == ["disconnected", "reconnected"]


async def test_lost_returns_when_we_close(bus: Bus) -> None:
    waiting = asyncio.create_task(bus.lost())
    await bus.flush()

    await bus.close()

    async with asyncio.timeout(builders.PATIENCE):
        await waiting
    with pytest.raises(errors.BusClosed):
        await bus.publish("any", b"")
    with pytest.raises(errors.BusClosed):
        await bus.publish_all([("any", b"", None, "")])
    with pytest.raises(errors.BusClosed):
        await bus.subscribe("any", _nothing)
    with pytest.raises(errors.BusClosed):
        await bus.listen("any", lambda *_: None)


async def test_permission_violations_are_counted(tmp_path: Path) -> None:
    async with (
        builders.RestrictedServer(tmp_path / "nats") as server,
        await Bus.connect(server.url, name="test") as bus,
    ):
        await bus.publish("forbidden.subject", b"")

        async def is_counted() -> bool:
            return bus.permission_violations == 1

        await builders.until(is_counted)
        assert bus.is_connected


async def test_a_wrong_password_is_told(server: NatsServer) -> None:
    url = f"nats://{USER}:wrong@127.0.0.1:{server.port}"

    with pytest.raises(errors.BusUnavailable, match=r"(?i)authorization"):
        await Bus.connect(url, name="test", patience=timedelta(milliseconds=300))


async def _nothing(message: CoreMessage) -> None:
    pass
