"""Requests to JetStream's own API: JSON there and back, durations in nanoseconds, errors raised."""

from datetime import timedelta
from typing import Any, Final, TypeVar

import msgspec

from bus.client import Bus, CoreMessage
from bus.errors import ApiError

T = TypeVar("T")

PREFIX: Final = "$JS.API"
STREAM_NOT_FOUND: Final = 10059
CONSUMER_NOT_FOUND: Final = 10014
MESSAGE_NOT_FOUND: Final = frozenset({10037, 10043, 10057})

encode: Final = msgspec.json.Encoder().encode


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    error: _Error | None = None


_decode_error: Final = msgspec.json.Decoder(_Answer).decode


async def ask(bus: Bus, request: str, body: Any = None, *, answer: type[T]) -> T:
    """Return the answer to `$JS.API.<request>`. Raises ApiError, NoResponders, BusUnavailable and BusClosed."""
    message = await ask_raw(bus, request, body)
    error = _decode_error(message.data).error
    if error is not None:
        raise ApiError(request, code=error.err_code, description=error.description)
    return msgspec.json.decode(message.data, type=answer)


async def ask_raw(bus: Bus, request: str, body: Any = None) -> CoreMessage:
    """`ask` for requests whose answer is not JSON."""
    return await bus.request(f"{PREFIX}.{request}", b"" if body is None else encode(body))


def nanoseconds(duration: timedelta) -> int:
    """Return a duration as JetStream counts it."""
    return duration // timedelta(microseconds=1) * 1000
