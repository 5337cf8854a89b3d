"""Bodies of responses, read up to a limit that holds for what they unpack to."""

import zlib
from collections.abc import AsyncIterable
from typing import Final, Protocol

ACCEPTED: Final = "gzip, deflate"
"""What requests may say in Accept-Encoding: what can be unpacked bit by bit."""


class BodyTooLarge(Exception):
    """A body goes on past its limit, in bytes after unpacking."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"the body is larger than {self.limit} bytes"


class BodyUnreadable(Exception):
    """A body is not packed as its header says."""


class _Unpacker(Protocol):
    """`zlib.decompressobj`, or what stands in for it."""

    @property
    def unconsumed_tail(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


async def read_body(parts: AsyncIterable[bytes], encoding: str, limit: int) -> bytes:
    """Return all of a body, unpacked. Raises BodyTooLarge and BodyUnreadable.

    Never more than `limit` and one more byte is unpacked, however small the packed form is.
    """
    unpacker = _unpacker(encoding)
    body = bytearray()
    async for part in parts:
        if unpacker is None:
            body += part
        else:
            _unpack(unpacker, part, body, limit)
        if len(body) > limit:
            raise BodyTooLarge(limit)
    return bytes(body)


def _unpack(unpacker: _Unpacker, part: bytes, body: bytearray, limit: int) -> None:
    try:
        while part and len(body) <= limit:
            body += unpacker.decompress(part, limit + 1 - len(body))
            part = unpacker.unconsumed_tail
    except zlib.error as error:
        raise BodyUnreadable(f"the body cannot be unpacked: {error}") from error


def _unpacker(encoding: str) -> _Unpacker | None:
    match encoding.strip().casefold():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return zlib.decompressobj(zlib.MAX_WBITS | 16)
        case "deflate":
            return _Deflate()
        case other:
            raise BodyUnreadable(f"the body is packed as {other:.40}, which was not asked for")


class _Deflate:
    """Both readings of `deflate`: with the header of zlib, as the standard says, and without."""

    def __init__(self) -> None:
        self._object = zlib.decompressobj()
        self._is_first = True

    @property
    def unconsumed_tail(self) -> bytes:
        return self._object.unconsumed_tail

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        is_first, self._is_first = self._is_first, False
        try:
            return self._object.decompress(data, max_length)
        except zlib.error:
            if not is_first:
                raise
            self._object = zlib.decompressobj(-zlib.MAX_WBITS)
            return self._object.decompress(data, max_length)
