"""Large values of attempts: a task's are fetched before it is carried out, a result's stored before it is reported.

What was fetched is kept for a while, by namespace and hash: nodes of one execution often want the same value.
"""

from collections import OrderedDict
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET

from bus.payloads import PayloadClient, PayloadRefused
from contracts import payloads
from contracts.execution import values
from contracts.failures import Failure, FailureKind
from contracts.messages import Head, LoopOrder, Result
from contracts.payloads import BadReference, Claim, PayloadLimits, Reference
from workers.attempt import Prepared

T = TypeVar("T")

CACHE_BYTES: Final = 64 * 1024 * 1024


class Payloads:
    """Fetches and stores the large values of a worker's attempts. Both wait while no scheduler answers."""

    def __init__(
        self, client: PayloadClient, limits: PayloadLimits, *, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._client = client
        self._limits = limits
        self._cache = Cache(cache_bytes)

    async def filled(self, prepared: Prepared) -> Prepared:
        """Return an attempt with all that its task refers to in place. Raises PayloadError for what cannot be had."""
        raws = [bytes(raw) for raw in payloads.raws_of(prepared.task)]
        values: dict[str, bytes] = {}
        while missing := payloads.missing(raws, values, limit=self._limits.attempt):
            for reference in missing.values():
                values[reference.id] = await self._fetched(prepared, reference)
        task = payloads.with_raws(
            prepared.task, lambda raw: msgspec.Raw(payloads.resolved(bytes(raw), values))
        )
        return msgspec.structs.replace(prepared, task=task, may_refer=False)

    def is_heavy(self, result: Result) -> bool:
        """Whether values may have to leave a result before it is reported; costs next to nothing."""
        if result.wait is None and result.loop is None:
            ports = result.ports
            return ports is not None and sum(map(len, ports.values())) > self._limits.inline
        return sum(map(len, payloads.raws_of(result))) > self._limits.inline

    async def lightened(self, prepared: Prepared, result: Result) -> Result:
        """Return a result whose large values are stored and referred to."""
        try:
            if result.loop is None:
                return await self.stored(prepared, result)
            loop = await self._with_light_items(prepared, result.loop)
            return await self.stored(prepared, msgspec.structs.replace(result, loop=loop))
        except PayloadRefused as refused:
            failure = _not_stored(prepared, refused)
            return msgspec.structs.replace(
                result, ports=None, wait=None, loop=None, failure=failure, goes_on=None
            )

    async def stored(
        self, prepared: Prepared, message: T, limits: PayloadLimits | None = None
    ) -> T:
        """Return a message with references in place of its large values, once they are stored. Raises PayloadRefused."""
        light, heavy = payloads.moved(message, limits or self._limits)
        for payload_id, data in heavy.items():
            await self._client.put(_claim(prepared), Reference(payload_id, len(data)), data)
            self._cache.add((prepared.execution.namespace, payload_id), data)
        return light

    async def _with_light_items(self, prepared: Prepared, loop: LoopOrder) -> LoopOrder:
        """Return a loop whose large items are stored one by one: the engine takes the list apart.

        Only those: a long list of small ones is one large value.
        """
        if loop.items is UNSET:
            return loop
        limits = msgspec.structs.replace(self._limits, message=len(loop.items))
        items = await self.stored(prepared, values.items_of(loop.items), limits)
        return msgspec.structs.replace(loop, items=values.listed(items))

    async def _fetched(self, prepared: Prepared, reference: Reference) -> bytes:
        key = (prepared.execution.namespace, reference.id)
        data = self._cache.get(key)
        if data is None:
            try:
                data = await self._client.get(_claim(prepared), reference)
            except PayloadRefused as refused:
                raise BadReference(f"a large value cannot be had: {refused}") from refused
            self._cache.add(key, data)
        return data


class Cache:
    """Values that were in use lately, `room` bytes of them at most."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._values: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def get(self, key: tuple[str, str]) -> bytes | None:
        """Return a value that is kept."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def add(self, key: tuple[str, str], data: bytes) -> None:
        """Keep a value, in place of those that were not asked for the longest."""
        if key in self._values:
            return
        self._values[key] = data
        self._room -= len(data)
        while self._room < 0:
            _, dropped = self._values.popitem(last=False)
            self._room += len(dropped)


def _claim(prepared: Prepared) -> Claim:
    task = prepared.task
    head = task.head or Head(prepared.node.id, task.attempt)  # whose token it is
    return Claim(
        execution_id=prepared.execution.id,
        node_id=head.node_id,
        iteration=task.iteration,
        attempt=head.attempt,
        token=task.token,
    )


def _not_stored(prepared: Prepared, refused: PayloadRefused) -> Failure:
    node_id = prepared.node.id
    message = f"node {node_id}: a large value of its output was not stored: {refused}"
    details = {"node_id": node_id}
    if refused.code == "413":
        return Failure(FailureKind.PAYLOAD_TOO_LARGE, "output_too_large", message, details)
    return Failure(FailureKind.ERROR, "output_not_stored", message, details)
