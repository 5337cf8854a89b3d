"""What `nats micro` sees, and calls to endpoints."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from bus import errors
from bus.client import Bus, CoreMessage
from bus.services import Call, CallRefused, Endpoint, Service
from flotilla.embedded.nats import NatsServer
from tests.component.bus import builders

pytestmark = pytest.mark.component


def service(bus: Bus, *endpoints: Endpoint) -> Service:
    return Service(
        bus,
        name="flotilla-test",
        version="1.2.3",
        description="a test",
        metadata={"role": "gateway"},
        endpoints=endpoints,
    )


def read(message: CoreMessage) -> dict[str, Any]:
    return msgspec.json.decode(message.data, type=dict[str, Any])


async def test_a_service_answers_ping_and_info_until_it_stops(bus: Bus) -> None:
    async with service(bus, Endpoint("echo", "test.echo", _echo)) as running:
        ping = read(await bus.request("$SRV.PING", b""))
        info = read(await bus.request(f"$SRV.INFO.flotilla-test.{running.id}", b""))

    assert ping["name"] == "flotilla-test"
    assert ping["version"] == "1.2.3"
    assert ping["metadata"] == {"role": "gateway"}
    assert info["description"] == "a test"
    assert [endpoint["subject"] for endpoint in info["endpoints"]] == ["test.echo"]
    with pytest.raises(errors.NoResponders):
        await bus.request("$SRV.PING.flotilla-test", b"")


async def test_an_endpoint_answers_and_refuses(bus: Bus) -> None:
    async def refuse(call: Call) -> bytes:
        raise CallRefused("404", "no such workflow", b'{"code":"not_found"}')

    endpoints = Endpoint("echo", "test.echo", _echo), Endpoint("refuse", "test.refuse", refuse)
    async with service(bus, *endpoints):
        answered = await bus.request("test.echo", b"hello", {"Idempotency-Key": "k"})
        refused = await bus.request("test.refuse", b"")

    assert answered.data == b"hello k"
    assert answered.headers == {}
    assert refused.data == b'{"code":"not_found"}'
    assert refused.headers["Nats-Service-Error-Code"] == "404"
    assert refused.headers["Nats-Service-Error"] == "no such workflow"


async def test_the_statistics_count_calls_and_errors(bus: Bus) -> None:
    async def refuse(call: Call) -> bytes:
        raise CallRefused("404", "no such workflow")

    async with service(bus, Endpoint("refuse", "test.refuse", refuse)):
        for _ in range(3):
            await bus.request("test.refuse", b"")
        stats = read(await bus.request("$SRV.STATS.flotilla-test", b""))

    (endpoint,) = stats["endpoints"]
    assert (endpoint["num_requests"], endpoint["num_errors"]) == (3, 3)
    assert endpoint["last_error"] == "404: no such workflow"
    assert endpoint["processing_time"] >= 3 * endpoint["average_processing_time"] > 0
    assert datetime.fromisoformat(stats["started"]) <= datetime.now(UTC)


async def test_a_bug_in_a_handler_is_an_internal_error_and_hides_its_text(bus: Bus) -> None:
    async def fail(call: Call) -> bytes:
        raise ZeroDivisionError("secret")

    async with service(bus, Endpoint("fail", "test.fail", fail)):
        failed = await bus.request("test.fail", b"")

    assert failed.headers["Nats-Service-Error-Code"] == "500"
    assert "secret" not in str(failed.headers)


async def test_a_service_stops_without_a_connection(server: NatsServer, bus: Bus) -> None:
    async with service(bus, Endpoint("echo", "test.echo", _echo)), asyncio.timeout(5):
        await builders.kill(server, bus)


async def test_calls_are_handled_at_the_same_time_and_finished_before_the_stop(bus: Bus) -> None:
    """The first call is answered only after the second has arrived."""
    arrived = asyncio.Event()

    async def wait_for_two(call: Call) -> bytes:
        if call.data == b"second":
            arrived.set()
        async with asyncio.timeout(builders.PATIENCE):
            await arrived.wait()
        return call.data

    async with service(bus, Endpoint("wait", "test.wait", wait_for_two)):
        first = asyncio.create_task(bus.request("test.wait", b"first"))
        await bus.flush()
        second = asyncio.create_task(bus.request("test.wait", b"second"))
        await bus.flush()

    assert (await first).data == b"first"
    assert (await second).data == b"second"


async def test_members_of_a_service_share_the_calls(bus: Bus) -> None:
    async with (
        service(bus, Endpoint("echo", "test.echo", _echo)),
        service(bus, Endpoint("echo", "test.echo", _echo)),
    ):
        answers = [await bus.request("test.echo", b"x") for _ in range(10)]
        infos = asyncio.Queue[str]()

        async def note(message: CoreMessage) -> None:
            await infos.put(read(message)["id"])

        inbox = bus.new_inbox()
        await bus.subscribe(inbox, note)
        await bus.publish("$SRV.PING", b"", reply=inbox)
        async with asyncio.timeout(builders.PATIENCE):
            assert len({await infos.get(), await infos.get()}) == 2

    assert len(answers) == 10


async def _echo(call: Call) -> bytes:
    return call.data + b" " + call.headers.get("Idempotency-Key", "").encode()
