"""Answers: what an operation gives back, and how it goes out over ASGI."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec

from bus.ending import end

Message = MutableMapping[str, Any]
AsgiScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

JSON: Final = b"application/json"
EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"

encode: Final = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, frozen=True):
    """A whole answer: bytes and headers."""

    status: int
    body: bytes = b""
    headers: Headers = ()
    media_type: bytes | None = JSON


class EventStream(msgspec.Struct, frozen=True):
    """An answer of server-sent events that goes on until `chunks` ends or the reader leaves."""

    chunks: AsyncIterator[bytes]
    status: int = 200


AnyAnswer = Answer | EventStream


def ok(value: Any, *, status: int = 200, headers: Headers = ()) -> Answer:
    """Return an answer whose body is `value` as JSON."""
    return Answer(status, encode(value), headers)


def created(value: Any, location: str, *, status: int = 201, headers: Headers = ()) -> Answer:
    """Return an answer about something new that stands at `location`."""
    return Answer(status, encode(value), ((b"location", location.encode()), *headers))


NO_CONTENT: Final = Answer(204, media_type=None)


async def send_answer(answer: AnyAnswer, receive: Receive, send: Send) -> None:
    """Send an answer; returns once all of it is handed over, or a stream's reader has left."""
    if isinstance(answer, EventStream):
        await _send_stream(answer, receive, send)
        return
    headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
    if answer.media_type is not None:
        headers.append((b"content-type", answer.media_type))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _send_stream(stream: EventStream, receive: Receive, send: Send) -> None:
    headers = [
        (b"content-type", EVENT_STREAM),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),  # proxies must not gather events
    ]
    await send({"type": "http.response.start", "status": stream.status, "headers": headers})
    sending = asyncio.create_task(_send_chunks(stream.chunks, send), name="event-stream")
    leaving = asyncio.create_task(_reader_left(receive), name="event-stream-reader")
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(leaving)
        failure = await _end(sending)
    if failure is not None:
        raise failure


async def _send_chunks(chunks: AsyncIterator[bytes], send: Send) -> None:
    async with contextlib.aclosing(chunks) as closing:  # type: ignore[type-var]
        async for chunk in closing:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _reader_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(task: asyncio.Task[None]) -> BaseException | None:
    """Cancel a task that is still under way, wait for its end, and return its failure if any."""
    await end(task)
    return None if task.cancelled() else task.exception()
