"""Large values over NATS: stored and read part by part, whatever one message may carry.

A scheduler that takes the first part of a value takes the others too, under a subject of its own. If it goes meanwhile, the
value is sent anew; so it is where an answer was lost, for a value is stored once whoever sends it how often. Any scheduler gives
any part of what is stored.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

import msgspec
import structlog

from bus.client import Bus, CoreMessage
from bus.errors import BusError, BusUnavailable
from contracts.payloads import PART_BYTES, Claim, PayloadCall, PayloadTaken, Reference
from contracts.subjects import PAYLOAD_GET, PAYLOAD_HEADER, PAYLOAD_PUT

T = TypeVar("T")

AT_ONCE: Final = 8
"""Values under way at a time: more would only wait for each other, in memory."""

ANSWER_TIMEOUT: Final = timedelta(seconds=15)
FIRST_PAUSE_SECONDS: Final = 0.05
LAST_PAUSE_SECONDS: Final = 5.0
ENVELOPE_BYTES: Final = 4096
"""What a message needs beside its part of the value."""

REFUSED_FOR_GOOD: Final = frozenset({"400", "403", "404", "413", "422"})

log: Final = structlog.get_logger()

_encode: Final = msgspec.json.Encoder().encode
_decode_taken: Final = msgspec.json.Decoder(PayloadTaken).decode


class PayloadRefused(BusError):
    """The scheduler does not store or give a value, and will not: `code` says why, as in HTTP."""

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{reason} ({code})")


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
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self._room:
                    return await work()
            except BusUnavailable as error:
                log.warning("payload_waits", error=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE_SECONDS)

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
        answer = await self._bus.request(subject, data, headers, within=ANSWER_TIMEOUT)
        code = answer.headers.get("Nats-Service-Error-Code")
        if code is None:
            return answer
        reason = answer.headers.get("Nats-Service-Error", "")
        if code in REFUSED_FOR_GOOD:
            raise PayloadRefused(code, reason)
        raise BusUnavailable(f"the scheduler cannot do it now: {reason} ({code})")

    def _part_bytes(self) -> int:
        return min(PART_BYTES, self._bus.max_payload - ENVELOPE_BYTES)
