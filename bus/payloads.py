"""Large values over NATS: stored and read part by part, whatever one message may carry.

A scheduler that takes the first part of a value takes the others too, under a subject of its own. If it goes meanwhile, the
value is sent anew; so it is where an answer was lost, for a value is stored once whoever sends it how often. Any scheduler gives
any part of what is stored.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from bus.claims import ClaimRefused, ask, until_answered
from bus.client import Bus, CoreMessage
from contracts.payloads import PART_BYTES, Claim, PayloadCall, PayloadTaken, Reference
from contracts.subjects import PAYLOAD_GET, PAYLOAD_HEADER, PAYLOAD_PUT

T = TypeVar("T")

AT_ONCE: Final = 8
"""Values under way at a time: more would only wait for each other, in memory."""

ENVELOPE_BYTES: Final = 4096
"""What a message needs beside its part of the value."""

_encode: Final = msgspec.json.Encoder().encode
_decode_taken: Final = msgspec.json.Decoder(PayloadTaken).decode


PayloadRefused = ClaimRefused
"""The scheduler does not store or give a value, and will not."""


class PayloadClient:
    """Stores and reads large values for attempts."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._room = asyncio.Semaphore(AT_ONCE)

    async def put(self, claim: Claim, reference: Reference, data: bytes) -> None:
        """Return once the value is stored durably, however long that takes. Raises PayloadRefused, BusClosed."""
        await self._until_answered(lambda: self._put(claim, reference, data))

    async def get(self, claim: Claim, reference: Reference) -> bytes:
        """Return a value, once that can be done. Raises PayloadRefused, BusClosed."""
        return await self._until_answered(lambda: self._get(claim, reference))

    async def _until_answered(self, work: Callable[[], Awaitable[T]]) -> T:
        async def in_turn() -> T:
            async with self._room:
                return await work()

        return await until_answered(in_turn, event="payload_waits")

    async def _put(self, claim: Claim, reference: Reference, data: bytes) -> None:
        """Send a value from its beginning. Raises BusUnavailable if it has to be sent anew."""
        step, offset, subject = self._part_bytes(), 0, PAYLOAD_PUT
        while True:
            call = PayloadCall(claim=claim, reference=reference, offset=offset)
            answer = await self._ask(subject, call, data[offset : offset + step])
            taken = _decode_taken(answer.data)
            if taken.more_to is None:
                return
            subject = taken.more_to
            offset += step

    async def _get(self, claim: Claim, reference: Reference) -> bytes:
        step = self._part_bytes()
        value = bytearray()
        while len(value) < reference.size:
            call = PayloadCall(claim=claim, reference=reference, offset=len(value), count=step)
            part = (await self._ask(PAYLOAD_GET, call, b"")).data
            if not part:
                break
            value += part
        if len(value) != reference.size or hashlib.sha256(value).digest() != reference.digest:
            raise PayloadRefused("422", f"{reference.id} is not what the reference says")
        return bytes(value)

    async def _ask(self, subject: str, call: PayloadCall, data: bytes) -> CoreMessage:
        headers = {PAYLOAD_HEADER: _encode(call).decode()}
        return await ask(self._bus, subject, data, headers)

    def _part_bytes(self) -> int:
        return min(PART_BYTES, self._bus.max_payload - ENVELOPE_BYTES)
