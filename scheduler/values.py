"""The large values that the scheduler itself needs, and those that it stores apart.

Deciding reads nothing. So an execution whose decision lacks large values is held back, they are read, and it is decided anew;
until then they stay in memory. What was decided is stored without large values, whatever door they came in by, and its tasks
are published without.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from contracts import history, payloads
from contracts.execution import values as pasting
from contracts.history import EventData, ExecutionSucceeded, LoopStarted
from contracts.messages import Task
from contracts.payloads import BadReference, PayloadLimits, Reference
from db import payloads as stored
from db.payloads import Payload
from db.store import Store

log: Final = structlog.get_logger()

LOADED_BYTES: Final = 128 * 1024 * 1024
"""What is read at once for executions that are held back; for one of them all that it needs."""

_decode_leaves: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class PayloadsNeeded(Exception):
    """An input has to be assembled here, and refers to values that are not in memory."""

    def __init__(self, execution_id: str, user_id: str, references: Sequence[Reference]) -> None:
        self.execution_id = execution_id
        self.user_id = user_id
        self.references = tuple(references)
        super().__init__(f"{len(self.references)} large values of {execution_id}")


class LargeValues:
    """Reads and stores large values; of executions that are being decided it remembers them."""

    def __init__(self, store: Store, limits: PayloadLimits, max_payload: Callable[[], int]) -> None:
        self._store = store
        self._limits = limits
        self._max_payload = max_payload
        self._loaded: dict[str, dict[str, bytes]] = {}
        self._lost: dict[str, set[str]] = {}

    # --- in place ----------------------------------------------------------------------------

    def filled(self, execution_id: str, user_id: str, task: Task) -> Task:
        """Return a task with all that it refers to in place.

        Raises PayloadsNeeded for what must be read first, and PayloadError for what cannot be had.
        """
        raws = [bytes(raw) for raw in payloads.raws_of(task)]
        if not any(map(payloads.may_refer, raws)):
            return task
        loaded = self._loaded.get(execution_id, {})
        missing = payloads.missing(raws, loaded, limit=self._limits.attempt)
        if lost := self._lost.get(execution_id, set()) & missing.keys():
            raise BadReference(f"there is no value {min(lost)}")
        if missing:
            raise PayloadsNeeded(execution_id, user_id, tuple(missing.values()))
        return payloads.with_raws(
            task, lambda raw: msgspec.Raw(payloads.resolved(bytes(raw), loaded))
        )

    async def load(self, needs: Iterable[PayloadsNeeded]) -> None:
        """Read what executions need, for one at least and then as far as there is room. Raises StoreUnavailable."""
        room = LOADED_BYTES
        for need in needs:
            size = sum(reference.size for reference in need.references)
            if room < LOADED_BYTES and size > room:
                continue  # it is held back once more
            room -= size
            for reference in need.references:
                await self._load(need, reference)

    async def _load(self, need: PayloadsNeeded, reference: Reference) -> None:
        data = await self._read(need.user_id, reference)
        if data is None:
            log.error("payload_missing", execution_id=need.execution_id, payload_id=reference.id)
            self._lost.setdefault(need.execution_id, set()).add(reference.id)
        else:
            self._loaded.setdefault(need.execution_id, {})[reference.id] = data

    def forget(self, execution_ids: Iterable[str]) -> None:
        """Let go of what executions needed that are decided now."""
        if self._loaded or self._lost:
            for execution_id in execution_ids:
                self._loaded.pop(execution_id, None)
                self._lost.pop(execution_id, None)

    async def unwrapped(self, user_id: str, value: msgspec.Raw) -> msgspec.Raw:
        """Return the value that a reference stands for, any other as it is. Raises BadReference, StoreUnavailable."""
        reference = payloads.read_reference(bytes(value))
        if reference is None:
            return value
        data = await self._read(user_id, reference)
        if data is None:
            raise BadReference(f"there is no value {reference.id}")
        return msgspec.Raw(data)

    async def _read(self, user_id: str, reference: Reference) -> bytes | None:
        data = await stored.get(self._store, user_id, reference.digest)
        return data if data is not None and len(data) == reference.size else None

    # --- apart -------------------------------------------------------------------------------

    def is_heavy(self, task: bytes) -> bool:
        """Whether a task is so large that values may have to leave it."""
        return len(task) > self._limits.message or len(task) > self._max_payload()

    async def lightened(self, user_id: str, task: Task, *, size: int) -> Task:
        """Return a task, of `size` bytes so far, with its large values apart. Raises StoreUnavailable."""
        constant = size - sum(map(len, payloads.raws_of(task)))
        limits = self._limits.within(self._max_payload() - constant)
        light, large = payloads.moved(task, limits)
        await self._store_apart(user_id, large)
        return light

    def is_large(self, event: bytes) -> bool:
        """Whether values may have to leave the data of an event before it is committed."""
        return len(event) > self._limits.inline

    async def light_event(self, user_id: str, data: EventData) -> bytes:
        """Return the data of an event as it is committed, its large values apart. Raises StoreUnavailable."""
        light, large = self._light_data(data)
        await self._store_apart(user_id, large)
        return history.encode_data(light)

    def _light_data(self, data: EventData) -> tuple[EventData, Mapping[str, bytes]]:
        if isinstance(data, LoopStarted):
            return data, {}  # the fold counts its items and hands them out
        if isinstance(data, ExecutionSucceeded):
            leaves, large = payloads.moved(_decode_leaves(data.output), self._limits)
            return msgspec.structs.replace(data, output=pasting.pasted(leaves)), large
        return payloads.moved(data, self._limits)

    async def _store_apart(self, user_id: str, large: Mapping[str, bytes]) -> None:
        rows = [
            Payload(user_id, payloads.digest_of(payload_id), data)
            for payload_id, data in large.items()
        ]
        await stored.put(self._store, rows)
