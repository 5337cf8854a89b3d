"""Lines of the protocol: what is written, and what is read of them, however the bytes are cut."""

import pytest
from nats.aio.client import Client
from nats.errors import ProtocolError
from nats.protocol import command

from bus.errors import InvalidSubject, PayloadTooLarge
from bus.wire import Headers, Reader, line

LIMIT = 100

HEAD = b"NATS/1.0\r\nTraceparent: 00-1-2-01\r\n\r\n"
STATUS = b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 3\r\n\r\n"
STREAM = b"".join(
    (
        b"MSG orders.new 7 11\r\nhello world\r\n",
        b"+OK\r\n",
        b"MSG orders.new 7 $JS.ACK.S.c.1.2.3.4.5 0\r\n\r\n",
        b"MSG somebody.else 8 4\r\nMSG \r\n",
        b"HMSG orders.new 7 reply.to %d %d\r\n%bbody\r\n" % (len(HEAD), len(HEAD) + 4, HEAD),
        b"HMSG _INBOX.x 7 %d %d\r\n%b\r\n" % (len(STATUS), len(STATUS), STATUS),
        b"MSG orders.new 7 12\r\n\r\nMSG a 7 1\r\n\r\n",
        b"MSG  orders.late  7  3\r\nend\r\n",
    )
)
HEARD = [
    ("orders.new", "", b"hello world", None),
    ("orders.new", "$JS.ACK.S.c.1.2.3.4.5", b"", None),
    ("orders.new", "reply.to", b"body", {"Traceparent": "00-1-2-01"}),
    (
        "_INBOX.x",
        "",
        b"",
        {"Status": "408", "Description": "Request Timeout", "Nats-Pending-Messages": "3"},
    ),
    ("orders.new", "", b"\r\nMSG a 7 1\r", None),
    ("orders.late", "", b"end", None),
]


class Ear:
    """Remembers what it hears on the subscription 7."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, bytes, Headers | None]] = []
        self.reader = Reader(Client())
        self.reader.listeners[b"7"] = self.receive

    def receive(self, subject: str, reply: str, data: bytes, headers: Headers | None) -> None:
        self.heard.append((subject, reply, data, headers))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 40, 64, len(STREAM)])
async def test_the_same_is_heard_however_the_bytes_are_cut(size: int) -> None:
    ear = Ear()

    for begin in range(0, len(STREAM), size):
        await ear.reader.parse(STREAM[begin : begin + size])

    assert ear.heard == HEARD


async def test_a_message_is_heard_as_soon_as_it_is_whole() -> None:
    ear = Ear()

    await ear.reader.parse(b"MSG a 7 2\r\nok\r\nMSG a 7 4\r\nha")
    assert [data for _, _, data, _ in ear.heard] == [b"ok"]
    await ear.reader.parse(b"lf\r")
    assert [data for _, _, data, _ in ear.heard] == [b"ok"]
    await ear.reader.parse(b"\n")
    assert [data for _, _, data, _ in ear.heard] == [b"ok", b"half"]


async def test_what_the_old_connection_began_is_not_continued_by_the_new_one() -> None:
    ear = Ear()
    await ear.reader.parse(b"MSG a 7 100\r\nthe beginning")

    ear.reader.reset()
    await ear.reader.parse(b"MSG a 7 3\r\nnew\r\n")

    assert [data for _, _, data, _ in ear.heard] == [b"new"]


async def test_a_listener_that_fails_gets_the_next_message() -> None:
    heard: list[bytes] = []

    def fail_first(_subject: str, _reply: str, data: bytes, _headers: Headers | None) -> None:
        if data == b"bad":
            raise ValueError("a bug")
        heard.append(data)

    reader = Reader(Client())
    reader.listeners[b"7"] = fail_first

    await reader.parse(b"MSG a 7 3\r\nbad\r\nMSG a 7 4\r\ngood\r\n")

    assert heard == [b"good"]


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param(b"MSG a 7\r\n", id="no size"),
        pytest.param(b"MSG a 7 -5\r\n", id="a size below nothing"),
        pytest.param(b"HMSG a 7 5\r\n", id="one size where two belong"),
        pytest.param(b"GET / HTTP/1.1\r\n", id="another protocol"),
        pytest.param(b"\r\n", id="an empty line"),
    ],
)
async def test_nonsense_is_left_to_the_client_to_refuse(nonsense: bytes) -> None:
    ear = Ear()

    with pytest.raises(ProtocolError):
        await ear.reader.parse(nonsense)
    assert ear.heard == []


def test_a_message_is_written_as_the_client_would() -> None:
    assert line("a.b", b"body", reply="r.1", limit=LIMIT) == command.pub_cmd("a.b", "r.1", b"body")
    assert line("a.b", b"", limit=LIMIT) == command.pub_cmd("a.b", "", b"")


def test_headers_are_written_trimmed_and_can_add_nothing_to_the_protocol() -> None:
    written = line("ä", b"body", {" Key ": " ü\r\nPUB x 0 ", "Second": ""}, reply="r", limit=LIMIT)

    head = "NATS/1.0\r\nKey: ü  PUB x 0\r\nSecond: \r\n\r\n".encode()
    assert written == command.hpub_cmd("ä", "r", head, b"body")


@pytest.mark.parametrize(
    ("subject", "reply", "headers"),
    [
        pytest.param("", "", None, id="no subject"),
        pytest.param("a b", "", None, id="a space"),
        pytest.param("a\r\nPUB x 0", "", None, id="a line break"),
        pytest.param("a\tb", "", None, id="a tab"),
        pytest.param("a", "b\n", None, id="a reply with a line break"),
        pytest.param("a", "", {"": "x"}, id="a header without a name"),
        pytest.param("a", "", {"a:b": "x"}, id="a header that is none"),
    ],
)
def test_what_breaks_the_protocol_is_refused(
    subject: str, reply: str, headers: Headers | None
) -> None:
    with pytest.raises(InvalidSubject):
        line(subject, b"", headers, reply=reply, limit=LIMIT)


def test_what_the_server_would_not_take_is_refused() -> None:
    assert line("a", bytes(LIMIT), limit=LIMIT)
    with pytest.raises(PayloadTooLarge):
        line("a", bytes(LIMIT + 1), limit=LIMIT)
