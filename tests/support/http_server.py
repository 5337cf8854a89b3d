"""A small HTTP server for what nodes call: it remembers what it was sent and answers as told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple


class Received(NamedTuple):
    """A request as it came in; header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """What to answer: all at once, after a while, or `silent` after reading the request."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    is_silent: bool = False
    after_s: float = 0.0


Answer = Callable[[Received], Reply]


class HttpServer:
    """A running server; `received` holds every request, `connections` counts those that were made."""

    def __init__(self, answer: Answer) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self._answer = answer
        self.port = 0

    def url(self, target: str = "/", host: str = "127.0.0.1") -> str:
        """Return a URL of this server."""
        return f"http://{host}:{self.port}{target}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after the other."""
        self.connections += 1
        try:
            while (request := await _read(reader)) is not None:
                self.received.append(request)
                reply = self._answer(request)
                if reply.is_silent:
                    await reader.read()
                    return
                if reply.after_s:
                    await asyncio.sleep(reply.after_s)
                writer.write(_written(reply, is_head=request.method == "HEAD"))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # whoever asked is gone, perhaps killed in the middle of asking
        finally:
            writer.close()


@asynccontextmanager
async def serving(answer: Answer | Reply) -> AsyncIterator[HttpServer]:
    """Run a server on a free port of 127.0.0.1."""
    server = HttpServer(answer if callable(answer) else lambda _: answer)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await listener.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body)


def _written(reply: Reply, *, is_head: bool) -> bytes:
    headers = {"content-length": str(len(reply.body)), **reply.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {reply.status} Status\r\n{lines}\r\n".encode("latin-1")
    return head if is_head else head + reply.body
