"""Streams and consumers with small limits, subjects of tasks, and ways to kill a server."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from bus import api
from bus.client import Bus
from bus.message import Message
from bus.pull import Arrivals, Pull
from contracts import subjects
from flotilla.embedded.nats import NatsServer

NODE_TYPE = "ACTION.NOOP"
CONSUMER = "ACTION-NOOP"
EXECUTION = "018f0000-0000-7000-8000-000000000001"
PATIENCE = 10


def task_subject(node_id: str = "n1", *, execution_id: str = EXECUTION, attempt: int = 1) -> str:
    return subjects.task(
        subjects.TaskAddress(NODE_TYPE, "acme", execution_id, node_id, (), attempt)
    )


async def create_stream(bus: Bus, name: str, subject: str, **settings: Any) -> None:
    config = {"name": name, "subjects": [subject], "retention": "workqueue", "storage": "file"}
    await api.ask(bus, f"STREAM.CREATE.{name}", config | settings, answer=dict)


async def create_consumer(
    bus: Bus, stream: str, name: str, *, ack_wait: timedelta, **settings: Any
) -> None:
    config = {
        "name": name,
        "durable_name": name,
        "ack_policy": "explicit",
        "ack_wait": api.nanoseconds(ack_wait),
    }
    body = {"stream_name": stream, "config": config | settings, "action": "create"}
    await api.ask(bus, f"CONSUMER.CREATE.{stream}.{name}", body, answer=dict)


async def delete_consumer(bus: Bus, stream: str, name: str) -> None:
    await api.ask(bus, f"CONSUMER.DELETE.{stream}.{name}", answer=dict)


async def take(source: Pull | Arrivals, count: int) -> list[Message]:
    """Take exactly `count` messages, or fail."""
    taken: list[Message] = []
    async with asyncio.timeout(PATIENCE):
        while len(taken) < count:
            taken += await source.take(count - len(taken))
    return taken


async def until(is_true: Callable[[], Awaitable[bool]]) -> None:
    """Ask the server again and again, for what it tells no one by itself."""
    async with asyncio.timeout(PATIENCE):
        while not await is_true():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.01)


async def kill(
    server: NatsServer, bus: Bus, *, with_signal: signal.Signals = signal.SIGKILL
) -> None:
    """End the server, by default without warning, and return when the bus has noticed."""
    noticed = Disconnect()
    bus.attach(noticed)
    assert server.pid is not None
    os.kill(server.pid, with_signal)
    async with asyncio.timeout(PATIENCE):
        await noticed.event.wait()
        await server.wait()
    bus.detach(noticed)
    await server.stop()


async def revive(server: NatsServer, bus: Bus) -> None:
    """Start the killed server again, and return when the bus is connected."""
    await server.start()
    async with asyncio.timeout(PATIENCE):
        await bus.connected_event.wait()


class Disconnect:
    """A listener that waits for the connection to go."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def disconnected(self) -> None:
        self.event.set()

    def reconnected(self) -> None:
        pass


class RestrictedServer(NatsServer):
    """A server whose user may publish anything but `forbidden.>`, and pull as long as `may_pull`."""

    may_pull = True

    def command(self, port: int) -> Sequence[str]:
        command = super().command(port)
        file = self.folder / "nats.conf"
        configuration = json.loads(file.read_text())
        user = configuration.pop("authorization")
        denied = ["forbidden.>"] + ([] if self.may_pull else ["$JS.API.CONSUMER.MSG.NEXT.>"])
        user["permissions"] = {"publish": {"deny": denied}}
        configuration["authorization"] = {"users": [user]}
        file.write_text(json.dumps(configuration))
        return command

    def allow_pulling(self) -> None:
        """Change the permissions of the running server; connections stay."""
        self.may_pull = True
        self.command(self.port)
        assert self.pid is not None
        os.kill(self.pid, signal.SIGHUP)
