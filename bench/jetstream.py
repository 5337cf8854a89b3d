"""JetStream without the engine's own client: the least that publishes and pulls as fast as nats-py can.

It is apart from `bus` on purpose. The limits and the bare loop say what the machine can do, so they must not move with the
code that is compared with them.
"""

import asyncio
import urllib.request
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

from bench.surroundings import BenchError

STREAM_BYTES: Final = 1024**3
EXPIRES_NS: Final = 30_000_000_000
ACK_WAIT_SECONDS: Final = 30
ACK_PENDING: Final = 20_000
ACK: Final = b"+ACK"


class _PubAck(msgspec.Struct):
    error: Any = None


_read_ack: Final = msgspec.json.Decoder(_PubAck).decode
_encode: Final = msgspec.json.Encoder().encode


async def connect(url: str) -> Client:
    """Connect to the server."""
    return await nats.connect(url, name="flotilla-bench-bare")


async def create_stream(client: Client, name: str, subject: str, *, one_each: bool = False) -> None:
    """Create a work queue in files with one consumer, in place of an old one; `one_each`: one message per subject."""
    jetstream = client.jetstream()
    await delete_stream(client, name)
    limits: dict[str, Any] = (
        {"max_msgs_per_subject": 1, "discard_new_per_subject": True} if one_each else {}
    )
    config = StreamConfig(
        name=name,
        subjects=[subject],
        retention=RetentionPolicy.WORK_QUEUE,
        discard=DiscardPolicy.NEW,
        max_bytes=STREAM_BYTES,
        **limits,
    )
    await jetstream.add_stream(config)
    consumer = ConsumerConfig(
        durable_name=name, max_ack_pending=ACK_PENDING, ack_wait=ACK_WAIT_SECONDS
    )
    await jetstream.add_consumer(name, consumer)


async def delete_stream(client: Client, name: str) -> None:
    """Delete a stream if it is there."""
    try:
        await client.jetstream().delete_stream(name)
    except NotFoundError:
        return


class Publisher:
    """Publishes without waiting; every acknowledgement comes to one inbox and is read."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._prefix = client.new_inbox()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._number = 0

    async def start(self) -> "Publisher":
        """Begin to listen for acknowledgements."""
        await self._client.subscribe(f"{self._prefix}.*", cb=self._receive)
        return self

    async def send(self, subject: str, data: bytes) -> "asyncio.Future[None]":
        """Publish, and return what is done once the message is stored."""
        self._number += 1
        reply = f"{self._prefix}.{self._number}"
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[reply] = stored
        await self._client.publish(subject, data, reply=reply)
        return stored

    async def store(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Publish messages, and return once all of them are stored."""
        sent = [await self.send(subject, data) for subject, data in messages]
        for stored in sent:
            await stored

    async def _receive(self, message: Msg) -> None:
        stored = self._waiting.pop(message.subject)
        error = _read_ack(message.data).error
        if error is None:
            stored.set_result(None)
        else:
            stored.set_exception(BenchError(f"a message was not stored: {error}"))


class Pull:
    """Messages of a consumer as they come, with a request always open."""

    def __init__(self, client: Client, stream: str, batch: int) -> None:
        self._client = client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{stream}"
        self._batch = batch
        self._inbox = client.new_inbox()
        self._ordered = 0
        self._arrived: asyncio.Queue[Msg | None] = asyncio.Queue()

    async def start(self) -> "Pull":
        """Begin to pull."""
        await self._client.subscribe(self._inbox, cb=self._receive)
        await self._order(self._batch)
        return self

    async def take(self, limit: int) -> list[Msg]:
        """Wait until something is here or `wake` was called, and return what is here."""
        taken = [await self._arrived.get()]
        while len(taken) < limit and not self._arrived.empty():
            taken.append(self._arrived.get_nowait())
        return [message for message in taken if message is not None]

    def wake(self) -> None:
        """Let `take` return, were it with nothing."""
        self._arrived.put_nowait(None)

    async def ack(self, messages: Sequence[Msg]) -> None:
        """Acknowledge messages, unconfirmed."""
        for message in messages:
            await self._client.publish(message.reply, ACK)

    async def _order(self, count: int) -> None:
        self._ordered += count
        request = _encode({"batch": count, "expires": EXPIRES_NS})
        await self._client.publish(self._subject, request, reply=self._inbox)

    async def _receive(self, message: Msg) -> None:
        if message.headers is not None and "Status" in message.headers:  # a request has expired
            self._ordered = 0
            await self._order(self._batch)
            return
        self._ordered -= 1
        self._arrived.put_nowait(message)
        if self._ordered < self._batch // 2:
            await self._order(self._batch - self._ordered)


class Varz(msgspec.Struct):
    """What the server says about itself."""

    version: str
    in_msgs: int
    out_msgs: int
    jetstream: dict[str, Any]

    @property
    def sync_interval_s(self) -> float | None:
        """How often streams are flushed to disk; None if the server does not tell."""
        interval = self.jetstream.get("config", {}).get("sync_interval")
        return None if interval is None else interval / 1e9


async def server_of(monitoring_url: str) -> Varz:
    """Ask the server about itself."""
    return await asyncio.to_thread(_varz, monitoring_url)


async def messages_of(monitoring_url: str) -> int:
    """Return how many messages the server has taken and given so far."""
    varz = await server_of(monitoring_url)
    return varz.in_msgs + varz.out_msgs


def _varz(monitoring_url: str) -> Varz:
    with urllib.request.urlopen(f"{monitoring_url}/varz") as answer:  # noqa: S310  # our own server
        return msgspec.json.decode(answer.read(), type=Varz)
