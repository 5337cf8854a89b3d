"""A client of the gateway that costs little: one connection, one request at a time, JSON there and back.

Client and gateway share the cores of the machine that is measured, and a full HTTP client takes more of them than the
gateway does. The answers are those of our own gateway alone: whole bodies with their length.
"""

import asyncio
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from bench.surroundings import BenchError

HOST: Final = "127.0.0.1"
ANSWER_SECONDS: Final = 70
BODY_BYTES: Final = 64 * 1024 * 1024
_LENGTH: Final = b"content-length:"


class Answer(msgspec.Struct, frozen=True):
    """What the gateway said; read only when it is looked at."""

    status: int
    body: bytes

    @property
    def value(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


class HttpClient:
    """One connection to the gateway. An async context manager; raises OSError if nobody listens."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._common = (
            f"Host: {HOST}:{port}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\n"
        )

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            HOST, self._port, limit=BODY_BYTES
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        """Return a request as it is sent, for those who send it often."""
        data = b"" if body is None else msgspec.json.encode(body)
        head = f"{method} {path} HTTP/1.1\r\n{self._common}Content-Length: {len(data)}\r\n\r\n"
        return head.encode() + data

    async def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """Send a request and return the answer, whatever its status."""
        return await self.send(self.request(method, path, body))

    async def send(self, request: bytes) -> Answer:
        """Send a request and return the answer, whatever its status."""
        self._writer.write(request)
        async with asyncio.timeout(ANSWER_SECONDS):
            head = await self._reader.readuntil(b"\r\n\r\n")
            body = await self._reader.readexactly(_length_of(head))
        return Answer(int(head[9:12]), body)

    async def take(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request and return the value of its answer. Raises BenchError unless that is a success."""
        answer = await self.ask(method, path, body)
        if not 200 <= answer.status < 300:
            raise BenchError(f"{method} {path} was refused: {answer.body.decode()}")
        return answer.value


def _length_of(head: bytes) -> int:
    lower = head.lower()
    begin = lower.index(_LENGTH) + len(_LENGTH)
    return int(lower[begin : lower.index(b"\r", begin)])
