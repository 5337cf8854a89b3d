"""A message of a JetStream consumer: it stays ours until it is answered or its ack wait runs out.

Each answer is one core publish to the reply subject: cheap, and not confirmed. A lost one leads to a
redelivery. An answer from an earlier delivery is accepted by the server too, so whoever counts results
needs a better criterion than who could acknowledge.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Protocol

from bus.api import nanoseconds
from bus.client import Bus
from bus.wire import Headers, Sendable
from contracts.subjects import TRACEPARENT_HEADER

ACK: Final = b"+ACK"
NAK: Final = b"-NAK"
IN_PROGRESS: Final = b"+WPI"
TERM: Final = b"+TERM"

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
V1_TOKENS: Final = 9


class Source(Protocol):
    """Where a message came from."""

    def released(self, messages: int) -> None:
        """So many of its messages were taken."""


class Metadata(NamedTuple):
    """What the reply subject tells about a delivery. Sequences are of the stream and of the consumer."""

    stream: str
    consumer: str
    num_delivered: int
    stream_seq: int
    consumer_seq: int
    timestamp: datetime
    num_pending: int


def read_reply(reply: str) -> Metadata:
    """Return what a reply subject tells, in either of its forms. Raises ValueError.

    `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<nanoseconds>.<pending>`; the
    second form has domain and account before the stream, and may have a random token at the end.
    """
    tokens = reply.split(".")
    if tokens[:2] != ["$JS", "ACK"] or (len(tokens) != V1_TOKENS and len(tokens) < V1_TOKENS + 2):
        raise ValueError(f"{reply!r} is not the reply subject of a JetStream message")
    first = 2 if len(tokens) == V1_TOKENS else 4
    stream, consumer = tokens[first : first + 2]
    delivered, stream_seq, consumer_seq, nanoseconds, pending = map(
        int, tokens[first + 2 : first + 7]
    )
    stored_at = EPOCH + timedelta(microseconds=nanoseconds // 1000)
    return Metadata(stream, consumer, delivered, stream_seq, consumer_seq, stored_at, pending)


class Message:
    """A delivered message. Answer it once: `ack`, `nak` or `term`; `in_progress` buys time before.

    The answers raise BusClosed alone: without a connection they are sent after the reconnect, or lost.
    """

    __slots__ = ("_bus", "_metadata", "_source", "data", "headers", "reply", "subject")

    def __init__(
        self,
        bus: Bus,
        source: Source,
        subject: str,
        reply: str,
        data: bytes,
        headers: Headers | None = None,
    ) -> None:
        self._bus = bus
        self._source = source
        self._metadata: Metadata | None = None
        self.subject = subject
        self.reply = reply
        self.data = data
        self.headers: Headers = headers or {}

    @property
    def metadata(self) -> Metadata:
        """Read from the reply subject when first asked for."""
        if self._metadata is None:
            self._metadata = read_reply(self.reply)
        return self._metadata

    @property
    def num_delivered(self) -> int:
        """How often the message has been delivered, this time included; handed back ones count."""
        return self.metadata.num_delivered

    @property
    def stream_seq(self) -> int:
        """The message's sequence in its stream."""
        return self.metadata.stream_seq

    @property
    def timestamp(self) -> datetime:
        """When the stream stored the message, by the server's clock."""
        return self.metadata.timestamp

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context that came along."""
        return self.headers.get(TRACEPARENT_HEADER)

    @property
    def source(self) -> Source:
        """The pull that received it."""
        return self._source

    def sendable(self, answer: bytes) -> Sendable:
        """Return an answer as a message of its own, to be sent together with others."""
        return self.reply, answer, None, ""

    async def ack(self) -> None:
        """It is done: the stream deletes it, if it is a work queue."""
        await self._bus.publish(self.reply, ACK)

    async def nak(self, delay: timedelta | None = None) -> None:
        """Hand it back, for redelivery at once or after `delay`; while delayed it counts as unacknowledged."""
        body = b'%s {"delay":%d}' % (NAK, nanoseconds(delay)) if delay else NAK
        await self._bus.publish(self.reply, body)

    async def term(self, reason: str) -> None:
        """Never deliver it again: the stream deletes it and an advisory tells the reason, at most 200 characters."""
        text = " ".join(reason.split())[:200]
        await self._bus.publish(self.reply, b"%s %s" % (TERM, text.encode()))

    async def in_progress(self) -> None:
        """Start the ack wait anew."""
        await self._bus.publish(self.reply, IN_PROGRESS)
