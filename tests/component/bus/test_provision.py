"""The server is brought to what is declared, and stays there."""

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus import api, errors, provision
from bus.client import Bus
from bus.publisher import Ack, Publisher
from bus.pull import Pull
from contracts import subjects
from contracts.subjects import TASKS, TRIGGER_CONSUMER, TRIGGERS
from tests.component.bus import builders
from tests.component.bus.builders import CONSUMER, NODE_TYPE, take

pytestmark = pytest.mark.component

GOLDEN = Path(__file__).parents[2] / "golden" / "streams.json"
NODE_TYPES = ["ACTION.HTTP_REQUEST", "AI.AGENT"]


def test_golden_declarations() -> None:
    """Changing what is declared changes what runs: on purpose, with `make golden`."""
    plain = msgspec.json.encode(provision.declarations(NODE_TYPES))
    written = msgspec.json.format(plain, indent=2) + b"\n"
    if os.environ.get("GOLDEN") == "rewrite":
        GOLDEN.write_bytes(written)

    assert written == GOLDEN.read_bytes()


def test_node_types_are_declared_once_and_in_order() -> None:
    declared = provision.declarations(["B.TWO", "A.ONE", "B.TWO"])

    assert [consumer.name for consumer in declared[0].consumers] == ["A-ONE", "B-TWO"]


async def test_everything_is_created_and_then_left_alone(bus: Bus) -> None:
    assert await provision.verify(bus, NODE_TYPES) == [
        f"stream {declared.stream.name} is missing" for declared in provision.declarations([])
    ]

    await provision.ensure(bus, NODE_TYPES)
    created = await _state(bus)
    await provision.ensure(bus, NODE_TYPES)

    assert await provision.verify(bus, NODE_TYPES) == []
    assert await _state(bus) == created


async def test_several_may_provision_at_once(bus: Bus) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(provision.ensure(bus, NODE_TYPES))

    assert await provision.verify(bus, NODE_TYPES) == []


async def test_what_differs_is_told_and_updated_and_what_is_not_ours_is_kept(bus: Bus) -> None:
    await provision.ensure(bus, [NODE_TYPE])
    await _update_stream(bus, TASKS, max_bytes=4096, max_msg_size=1024)
    await _update_consumer(bus, TASKS, CONSUMER, max_deliver=9, description="mine")

    assert await provision.verify(bus, [NODE_TYPE]) == [
        f"stream TASKS: max_bytes is 4096 instead of {2048 * provision.MIB}",
        "consumer TASKS/ACTION-NOOP: max_deliver is 9 instead of 5",
    ]
    await provision.ensure(bus, [NODE_TYPE])

    assert await provision.verify(bus, [NODE_TYPE]) == []
    stream = await api.ask(bus, f"STREAM.INFO.{TASKS}", answer=dict)
    consumer = await api.ask(bus, f"CONSUMER.INFO.{TASKS}.{CONSUMER}", answer=dict)
    assert stream["config"]["max_msg_size"] == 1024
    assert consumer["config"]["description"] == "mine"


async def test_what_the_server_refuses_to_change_is_told(bus: Bus) -> None:
    await builders.create_stream(
        bus, subjects.INBOX, "flotilla.inbox.*.result.>", retention="limits"
    )

    with pytest.raises(errors.ProvisioningError) as caught:
        await provision.ensure(bus, [])

    assert caught.value.name == "stream INBOX"
    assert "retention is 'limits' instead of 'workqueue'" in caught.value.differences


async def test_a_consumer_that_cannot_be_changed_is_told(bus: Bus) -> None:
    await provision.ensure(bus, [])
    await api.ask(bus, f"CONSUMER.DELETE.{subjects.INBOX}.p00", answer=dict)
    smaller = {"stream_name": subjects.INBOX, "config": _consumer("p00", max_waiting=7)}
    await api.ask(bus, f"CONSUMER.CREATE.{subjects.INBOX}.p00", smaller, answer=dict)

    with pytest.raises(errors.ProvisioningError, match="max_waiting is 7 instead of 512"):
        await provision.ensure(bus, [])


async def test_a_server_with_too_little_room_is_told(bus: Bus) -> None:
    limits = provision.Limits(tasks_bytes=1 << 50)

    with pytest.raises(errors.ApiError) as caught:
        await provision.ensure(bus, [], limits)

    assert caught.value.code == 10047


async def test_consumers_of_new_node_types_are_added(bus: Bus) -> None:
    await provision.ensure(bus, [])
    many = [f"ACTION.NUMBER_{number}" for number in range(300)]

    await provision.ensure_task_consumers(bus, many)

    assert await provision.verify(bus, many) == []


async def test_two_namespaces_may_use_one_message_id_after_the_smallest_window(
    bus: Bus, publisher: Publisher
) -> None:
    await provision.ensure(bus, [])
    async with Pull(bus, TRIGGERS, TRIGGER_CONSUMER) as pull:
        for namespace in ("acme", "globex"):
            headers = {"Nats-Msg-Id": "order-1", "Flotilla-Namespace": namespace}
            await publisher.store("flotilla.trigger.orders", b"{}", headers)
            await asyncio.sleep(provision.SMALLEST_WINDOW.total_seconds() * 2)

        arrived = await take(pull, 2)

    assert [each.headers["Flotilla-Namespace"] for each in arrived] == ["acme", "globex"]


async def test_every_subject_has_its_stream(bus: Bus, publisher: Publisher) -> None:
    await provision.ensure(bus, [NODE_TYPE])

    for subject in (
        builders.task_subject(),
        subjects.command("start", builders.EXECUTION),
        subjects.event("acme", "w", builders.EXECUTION, "node_succeeded"),
        "flotilla.trigger.orders.created",
    ):
        assert await publisher.publish(subject, b"{}") is Ack.STORED


async def _state(bus: Bus) -> list[Any]:
    streams = await api.ask(bus, "STREAM.LIST", answer=dict)
    consumers = await api.ask(bus, f"CONSUMER.LIST.{TASKS}", answer=dict)
    return [(each["config"], each["created"]) for each in streams["streams"]] + [
        (each["config"], each["created"]) for each in consumers["consumers"]
    ]


async def _update_stream(bus: Bus, name: str, **changes: Any) -> None:
    config = (await api.ask(bus, f"STREAM.INFO.{name}", answer=dict))["config"]
    await api.ask(bus, f"STREAM.UPDATE.{name}", config | changes, answer=dict)


async def _update_consumer(bus: Bus, stream: str, name: str, **changes: Any) -> None:
    config = (await api.ask(bus, f"CONSUMER.INFO.{stream}.{name}", answer=dict))["config"]
    body = {"stream_name": stream, "config": config | changes, "action": "update"}
    await api.ask(bus, f"CONSUMER.CREATE.{stream}.{name}", body, answer=dict)


def _consumer(name: str, **changes: Any) -> dict[str, Any]:
    (inbox,) = (each for each in provision.declarations([]) if each.stream.name == subjects.INBOX)
    (declared,) = (each for each in inbox.consumers if each.name == name)
    plain: dict[str, Any] = msgspec.to_builtins(declared)
    return plain | changes
