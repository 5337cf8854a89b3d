"""The desk where workers store large values and read them, since they have no database.

They show the token of their task: the value is of its execution's namespace, and what is of another one is not there for them.
A value is stored before the answer.
"""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from bus.services import Call, CallRefused, Endpoint
from contracts.messages import encode
from contracts.payloads import (
    PART_BYTES,
    PayloadCall,
    PayloadLimits,
    PayloadTaken,
    Reference,
    is_id,
)
from contracts.subjects import PAYLOAD_GET, PAYLOAD_HEADER, PAYLOAD_PUT, payload_parts
from db import payloads
from db.errors import StoreUnavailable
from db.payloads import Payload
from db.store import Store
from scheduler import claims
from scheduler.tokens import Tokens

STATEMENTS_AT_ONCE: Final = 4
"""Of the store's connections; the others are for advancing executions."""

MOST_UPLOADED: Final = 256 * 1024 * 1024
"""What all values that are being sent take in memory, in bytes."""

UPLOAD_SECONDS: Final = 60.0
OWNERS_KEPT: Final = 10_000

_decode_call: Final = msgspec.json.Decoder(PayloadCall).decode


class Upload:
    """A value that comes part by part."""

    __slots__ = ("owner", "parts", "received", "reference", "touched_at")

    def __init__(self, owner: str, reference: Reference, now: float) -> None:
        self.owner = owner
        self.reference = reference
        self.parts: list[bytes] = []
        self.received = 0
        self.touched_at = now

    def add(self, part: bytes) -> None:
        """Append the next part."""
        self.parts.append(part)
        self.received += len(part)


class PayloadDesk:
    """Stores and gives the large values of tasks under way."""

    def __init__(self, store: Store, tokens: Tokens, limits: PayloadLimits) -> None:
        self._store = store
        self._tokens = tokens
        self._limits = limits
        self._id = secrets.token_hex(8)
        self._uploads: dict[str, Upload] = {}
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._room = asyncio.Semaphore(STATEMENTS_AT_ONCE)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where workers ask."""
        return (
            Endpoint("payload-put", PAYLOAD_PUT, self.put),
            Endpoint("payload-get", PAYLOAD_GET, self.get),
            Endpoint("payload-part", payload_parts(self._id, "*"), self.take_part),
        )

    async def put(self, call: Call) -> bytes:
        """Take a value, or its first part; nothing more is wanted of one that is stored already."""
        asked = self._read(call)
        reference = asked.reference
        if reference.size > self._limits.value:
            raise CallRefused("413", f"the limit of a value is {self._limits.value} bytes")
        owner = await self._owner(asked)
        if await self._keep(owner, reference):
            return encode(PayloadTaken())
        upload = Upload(owner, reference, _now())
        upload.add(call.data)
        if upload.received >= reference.size:
            return await self._finish(upload)
        return encode(PayloadTaken(payload_parts(self._id, self._open(upload))))

    async def take_part(self, call: Call) -> bytes:
        """Take a further part of a value; the last one is answered once the value is payloads."""
        asked = self._read(call)
        name = call.subject.rpartition(".")[2]
        upload = self._uploads.get(name)
        if upload is None or asked.offset != upload.received or not call.data:
            self._uploads.pop(name, None)
            raise CallRefused("409", "this part does not continue anything; begin anew")
        upload.touched_at = _now()
        upload.add(call.data)
        if upload.received < upload.reference.size:
            return encode(PayloadTaken(call.subject))
        del self._uploads[name]
        return await self._finish(upload)

    async def get(self, call: Call) -> bytes:
        """Give a part of a value."""
        asked = self._read(call)
        owner = await self._owner(asked)
        digest = asked.reference.digest
        if asked.offset == 0:
            await self._keep(owner, asked.reference)
        count = max(0, min(asked.count, PART_BYTES))
        async with self._turn():
            part = await payloads.part(self._store, owner, digest, offset=asked.offset, count=count)
        if part is None:
            raise CallRefused("404", f"there is no value {asked.reference.id}")
        return part

    def _read(self, call: Call) -> PayloadCall:
        try:
            asked = _decode_call(call.headers.get(PAYLOAD_HEADER, "").encode())
        except msgspec.DecodeError as error:
            raise CallRefused(
                "400", f"the header {PAYLOAD_HEADER} is unreadable: {error}"
            ) from None
        if not is_id(asked.reference.id) or asked.offset < 0:
            raise CallRefused("400", "the reference is none")
        claims.check(self._tokens, asked.claim, event="payload_refused")
        return asked

    async def _owner(self, asked: PayloadCall) -> str:
        """Return the namespace that the attempt belongs to."""
        execution_id = asked.claim.execution_id
        known = self._owners.get(execution_id)
        if known is not None:
            return known
        async with self._turn():
            owner = await payloads.owner(self._store, execution_id)
        if owner is None:
            raise CallRefused("404", "there is no such execution")
        self._owners[execution_id] = owner
        if len(self._owners) > OWNERS_KEPT:
            self._owners.popitem(last=False)
        return owner

    async def _keep(self, owner: str, reference: Reference) -> bool:
        async with self._turn():
            return await payloads.keep(self._store, owner, reference.digest)

    def _open(self, upload: Upload) -> str:
        """Remember a value that has begun, and return the name of its upload: no one else can guess it."""
        now = _now()
        for name, other in [*self._uploads.items()]:
            if now - other.touched_at > UPLOAD_SECONDS:
                del self._uploads[name]
        under_way = sum(other.reference.size for other in self._uploads.values())
        if under_way + upload.reference.size > max(MOST_UPLOADED, self._limits.value):
            raise CallRefused("503", "too many values are being stored")
        name = secrets.token_hex(16)
        self._uploads[name] = upload
        return name

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for a turn at the store; while it is away, workers are told to come again."""
        async with self._room:
            try:
                yield
            except StoreUnavailable as error:
                raise CallRefused("503", str(error)) from error

    async def _finish(self, upload: Upload) -> bytes:
        """Store a value whose last part has come, if it is what its reference says."""
        data = b"".join(upload.parts)
        digest = await asyncio.to_thread(_sha256, data)
        if len(data) != upload.reference.size or digest != upload.reference.digest:
            raise CallRefused("422", "the value is not what its reference says")
        async with self._turn():
            await payloads.put(self._store, [Payload(upload.owner, digest, data)])
        return encode(PayloadTaken())


def _now() -> float:
    return asyncio.get_running_loop().time()


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
