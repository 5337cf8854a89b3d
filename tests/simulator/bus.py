"""One scheduler's connection to the simulated server, in the place of `bus.client.Bus`."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

import msgspec
from nats.aio.msg import Msg

from bus.api import PREFIX
from bus.client import REQUEST_TIMEOUT, Bus, CoreMessage, Listener, Subscription
from bus.errors import BusError, BusUnavailable, NoResponders
from bus.message import ACK
from bus.wire import Headers, Receive, Sendable
from contracts import subjects
from contracts.messages import decode_command
from tests.simulator.server import Server, Stored
from tests.simulator.shapes import instant_of
from tests.simulator.store import Process

MAX_PAYLOAD: Final = 1024 * 1024
NOT_FOUND: Final = 10037

Told = Callable[[str, bytes], None]
Acknowledged = Callable[[Stored], None]


class SimulatedSubscription(Subscription):
    """Interest that ends with the process."""

    def __init__(self) -> None:
        """Hold nothing."""

    async def unsubscribe(self) -> None:
        """Nothing is sent to who is gone."""


class SimulatedBus(Bus):
    """What the scheduler publishes goes to streams, to `told`, or answers a delivery.

    Without a connection it is lost, as it may be: what nats-py keeps for the reconnect is lost if the process ends before.
    """

    def __init__(
        self,
        server: Server,
        process: Process,
        *,
        kill: Callable[[], None],
        told: Told,
        acknowledged: Acknowledged,
    ) -> None:
        self.server = server
        self.process = process
        self.connected_event = asyncio.Event()
        self.connected_event.set()
        self._kill = kill
        self._told = told
        self._acknowledged = acknowledged
        self._is_connected = True
        self._inboxes: dict[str, Receive] = {}
        self._listeners: list[Listener] = []
        self._delivered: dict[str, Stored] = {}

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        return self._is_connected

    @property
    def is_closed(self) -> bool:
        """Whether it has ended for good."""
        return False

    @property
    def max_payload(self) -> int:
        """Bytes of the largest message."""
        return MAX_PAYLOAD

    def new_inbox(self) -> str:
        """Return a subject of our own."""
        return f"_INBOX.{self.process.name}.{len(self._inboxes)}"

    def attach(self, listener: Listener) -> None:
        """Tell of disconnects."""
        self._listeners.append(listener)

    def detach(self, listener: Listener) -> None:
        """Tell no more."""
        self._listeners.remove(listener)

    async def listen(self, subject: str, receive: Receive, *, queue: str = "") -> Subscription:
        """Call back for what comes to an inbox."""
        self._inboxes[subject.rpartition(".")[0]] = receive
        return SimulatedSubscription()

    async def publish(
        self, subject: str, data: bytes, headers: Headers | None = None, *, reply: str = ""
    ) -> None:
        """Send a message."""
        await self.publish_all([(subject, data, headers, reply)])

    async def publish_all(self, messages: Iterable[Sendable]) -> dict[int, BusError]:
        """Send messages; a process that is killed meanwhile has sent some of them."""
        for subject, data, _, reply in messages:
            if not self.process.is_alive:
                await self.process.live()
            if self._is_connected:
                await self._send(subject, data, reply)
        return {}

    async def _send(self, subject: str, data: bytes, reply: str) -> None:
        kind = subject.split(".", 2)[1]
        if kind == "ACK":
            await self._answer(subject, data)
            return
        self._told(subject, data)
        stream = self.server.stream_of(kind)
        if stream is not None:
            body = decode_command(data) if kind == "inbox" else None
            stream.publish(subject, data, body, lambda answer: self._receive(reply, answer))
            if self.server.chaos.strikes("killed_while_publishing"):
                self._kill()

    async def request(
        self,
        subject: str,
        data: bytes,
        headers: Headers | None = None,
        *,
        within: timedelta = REQUEST_TIMEOUT,
    ) -> CoreMessage:
        """Ask the API of JetStream."""
        await self.process.live()
        if not self._is_connected or self.server.chaos.strikes("request_lost"):
            await asyncio.sleep(within.total_seconds())
            raise BusUnavailable("simulated")
        await asyncio.sleep(self.server.chaos.latency())
        await self.process.live()
        request, _, stream = subject.removeprefix(f"{PREFIX}.").rpartition(".")
        if not self.server.streams[stream].is_there:
            raise NoResponders(subject)
        return REQUESTS[request](self, stream, msgspec.json.decode(data))

    def delivered(self, stream: str, stored: Stored) -> str:
        """Remember a delivery, and return the subject on which it is acknowledged."""
        number = len(self._delivered) + 1
        at = int(stored.stored_at * 1e9)
        reply = f"$JS.ACK.{stream}.consumer.{stored.deliveries}.{stored.seq}.{number}.{at}.0"
        self._delivered[reply] = stored
        return reply

    def disconnect(self) -> None:
        """Lose the connection."""
        self._is_connected = False
        for listener in self._listeners:
            listener.disconnected()

    def reconnect(self) -> None:
        """Have it again."""
        self._is_connected = True
        for listener in self._listeners:
            listener.reconnected()

    async def _answer(self, reply: str, data: bytes) -> None:
        if self.server.chaos.strikes("killed_before_ack"):
            self._kill()
            await self.process.live()
        if data == ACK:
            self._acknowledged(self._delivered[reply])
        if not self.server.chaos.strikes("ack_lost"):
            self.server.later(self.server.chaos.latency(), self.server.answer, reply, data)

    def _receive(self, subject: str, data: bytes) -> None:
        """Let an acknowledgement of a publish come back."""
        self.server.later(self.server.chaos.latency(), self._call_back, subject, data)

    def _call_back(self, subject: str, data: bytes) -> None:
        if not self.process.is_alive or not self._is_connected:
            return
        self._inboxes[subject.rpartition(".")[0]](subject, "", data, None)


def _message(subject: str, data: bytes, headers: Headers | None = None) -> Msg:
    client: Any = None
    return Msg(client, subject=subject, data=data, headers=headers)


# --- the API of JetStream ------------------------------------------------------------------------


def _get(bus: SimulatedBus, stream: str, request: dict[str, Any]) -> CoreMessage:
    stored: Stored | None = bus.server.streams[stream].messages.get(request["seq"])
    if stored is None:
        return CoreMessage(bus, _message("", b"", {"Status": "404"}))
    headers = {
        "Nats-Stream": stream,
        "Nats-Subject": stored.subject,
        "Nats-Sequence": str(stored.seq),
        "Nats-Time-Stamp": instant_of(stored.stored_at).isoformat(),
    }
    return CoreMessage(bus, _message("", stored.data, headers))


def _delete(bus: SimulatedBus, stream: str, request: dict[str, Any]) -> CoreMessage:
    if request["seq"] in bus.server.streams[stream].messages:
        bus.server.streams[stream].acknowledge(request["seq"])
        return CoreMessage(bus, _message("", b'{"success":true}'))
    error = {"error": {"err_code": NOT_FOUND, "description": "no message found"}}
    return CoreMessage(bus, _message("", msgspec.json.encode(error)))


def _purge(bus: SimulatedBus, stream: str, request: dict[str, Any]) -> CoreMessage:
    *_, execution_id, _ = request["filter"].split(".")
    purged = 0
    for stored in list(bus.server.streams[stream].messages.values()):
        address = subjects.read_task(stored.subject)
        if address is not None and address.execution_id == execution_id:
            bus.server.streams[stream].acknowledge(stored.seq)
            purged += 1
    return CoreMessage(bus, _message("", msgspec.json.encode({"purged": purged})))


REQUESTS: Final[dict[str, Callable[[SimulatedBus, str, dict[str, Any]], CoreMessage]]] = {
    "DIRECT.GET": _get,
    "STREAM.MSG.DELETE": _delete,
    "STREAM.PURGE": _purge,
}
