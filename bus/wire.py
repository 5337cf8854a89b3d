"""The protocol of NATS for many messages at once: below nats-py, and beside it where it goes one by one.

nats-py keeps the connection: it connects, authenticates, reconnects, subscribes anew, pings, and owns the
buffer that is written. But a publish of its own costs 3 us, and a delivery 6: an object, a queue and a task
that is woken. On the way of every step that adds up to a quarter of a process. So

- messages become lines of the protocol here (`line`), and any number of them is written together;
- what comes in is read here (`Reader`), and handed over at once for subscriptions that `listen`. Everything
  else (pings, errors, information, other subscriptions) nats-py reads as ever, piece by piece.

What we use of nats-py that it does not promise stands in this module alone: `_ps`, `_send_command`,
`_flush_pending`, `_flush_queue`, `_send_ping`, `_pongs`, `_process_headers`, and the ids of subscriptions.
"""

import asyncio
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog
from nats.aio.client import PING_PROTO, Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.protocol.parser import Parser

from bus.errors import InvalidSubject, PayloadTooLarge

log = structlog.get_logger()

Headers = dict[str, str]
Sendable = tuple[str, bytes, Headers | None, str]
"""Subject, body, headers and reply subject (empty without one) of a message to be sent."""

Receive = Callable[[str, str, bytes, Headers | None], None]
"""Takes subject, reply subject (empty without one), body and headers of a message; it returns at once."""

PENDING_BYTES: Final = 2 * 1024 * 1024
"""What may wait to be written; without a connection the rest is dropped, with one the writer waits."""

CRLF: Final = b"\r\n"
MSG: Final = b"MSG"
HMSG: Final = b"HMSG"
_LEAST: Final = {MSG: 4, HMSG: 5}
"""Words of a delivery without reply subject: the verb, the subject, the subscription's id, and one or two sizes."""

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NEWLINES: Final = str.maketrans("\r\n", "  ")


def line(
    subject: str, data: bytes, headers: Headers | None = None, *, reply: str = "", limit: int
) -> bytes:
    """Return a message as the protocol has it. Raises InvalidSubject, and PayloadTooLarge beyond `limit` bytes."""
    size = len(data)
    if size > limit:
        raise PayloadTooLarge(subject, size=size, limit=limit)
    if not subject or _has_breaks(subject) or _has_breaks(reply):
        raise InvalidSubject(subject)
    if headers is None:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), size, data)
    head = _head(subject, headers)
    sizes = (len(head), len(head) + size)
    return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (subject.encode(), reply.encode(), *sizes, head, data)


def _has_breaks(text: str) -> bool:
    """Whether a text could end its place in a line; several times as fast as a regular expression."""
    return " " in text or "\r" in text or "\n" in text or "\t" in text


def _head(subject: str, headers: Headers) -> bytes:
    """Return the headers of a message; no value can end its line, so none can add to the protocol."""
    lines = ["NATS/1.0"]
    for name, value in headers.items():
        stripped = name.strip()
        if not _HEADER_NAME.fullmatch(stripped):
            raise InvalidSubject(subject)
        lines.append(f"{stripped}: {value.strip().translate(_NEWLINES)}")
    return "\r\n".join((*lines, "", "")).encode()


class OrderedClient(Client):
    """A client whose pings keep their place: nats-py lets them overtake what waits to be written.

    A flush waits for the answer to a ping, to know that the server has read all that was sent before.
    """

    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        self._pongs.append(asyncio.Future() if future is None else future)
        await self._send_command(PING_PROTO)
        await self._flush_pending()


class Wire:
    """The lines that go out over a client of nats-py and come in."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._reader = Reader(client)
        client._ps = self._reader

    async def write(self, lines: Sequence[bytes]) -> int:
        """Write lines in their order, and return how many of them were dropped.

        None are, while there is a connection: then this waits as long as more than PENDING_BYTES are under
        way. Without one, what fits is kept and written after the reconnect.
        """
        client = self._client
        kept = lines if client.is_connected else self._fitting(lines)
        if kept:
            await client._send_command(kept[0] if len(kept) == 1 else b"".join(kept))
            if client._flush_queue is not None and client._flush_queue.empty():
                await client._flush_pending()
        return len(lines) - len(kept)

    def _fitting(self, lines: Iterable[bytes]) -> list[bytes]:
        fitting = []
        room = PENDING_BYTES - self._client.pending_data_size
        for each in lines:
            if len(each) <= room:
                room -= len(each)
                fitting.append(each)
        return fitting

    async def listen(self, subject: str, queue: str, receive: Receive) -> Subscription:
        """Have `receive` called for every message on a subject, as soon as it is read. Raises like `Client.subscribe`."""

        async def overtaken(msg: Msg) -> None:
            # It was read before we knew the subscription's id.
            _hand_over(receive, msg.subject, msg.reply, msg.data, msg.headers)

        subscription = await self._client.subscribe(
            subject, queue, cb=overtaken, pending_bytes_limit=0
        )
        self._reader.listeners[b"%d" % subscription._id] = receive
        return subscription

    def ignore(self, subscription: Subscription) -> None:
        """Call nobody for a subscription any more."""
        self._reader.listeners.pop(b"%d" % subscription._id, None)


class Reader(Parser):
    """Reads what the server sends; `listeners` are called for the messages of their subscription."""

    def __init__(self, client: Client) -> None:
        self.listeners: dict[bytes, Receive] = {}
        self._client = client
        self._resets = 0
        super().__init__(client)

    def reset(self) -> None:
        """Forget what came so far: the connection that it came over is gone."""
        super().reset()
        self._begun = bytearray()  # what came of a message or line that is not whole yet
        self._awaited = 0  # bytes that it has at least, once whole
        self._resets += 1

    async def parse(self, data: bytes = b"") -> None:
        """Read some bytes, and keep what is not whole yet for the next time. Raises ProtocolError."""
        if self._begun:
            self._begun += data
            if len(self._begun) < self._awaited:
                return
            data, self._begun = bytes(self._begun), bytearray()
        rest = await self._read(data)
        if rest < len(data):
            self._begun += memoryview(data)[rest:]

    async def _read(self, data: bytes) -> int:
        """Read what is whole, and return where the rest begins; a reset leaves none."""
        listeners, resets, begin, end = self.listeners, self._resets, 0, len(data)
        self._awaited = 0
        while (stop := data.find(CRLF, begin)) >= 0:
            words = data[begin:stop].split()
            body = after = stop + len(CRLF)
            receive = None
            if words and len(words) >= _LEAST.get(words[0], sys.maxsize) and words[-1].isdigit():
                after += int(words[-1]) + len(CRLF)
                if after > end:
                    self._awaited = after - begin
                    break
                receive = listeners.get(words[2])
            if receive is None:
                await super().parse(data[begin:after])
                if self._resets != resets:
                    return end
            else:
                await self._deliver(receive, words, data[body : after - len(CRLF)])
            begin = after
        return begin

    async def _deliver(self, receive: Receive, words: list[bytes], body: bytes) -> None:
        """Hand a message over: `MSG <subject> <id> [reply] <size>`, or HMSG with the headers' size before the last."""
        headers = None
        if words[0] == HMSG:
            size = int(words.pop(-2))
            headers, body = await self._client._process_headers(body[:size]), body[size:]
        reply = words[3].decode() if len(words) > _LEAST[MSG] else ""
        _hand_over(receive, words[1].decode(), reply, body, headers)


def _hand_over(
    receive: Receive, subject: str, reply: str, data: bytes, headers: Headers | None
) -> None:
    """Call a listener; what it raises is a bug that must not end the reading of all others."""
    try:
        receive(subject, reply, data, headers)
    except Exception:
        log.exception("listener_failed", subject=subject)
