"""What is to be asked of the installation as a whole: streams, schedulers, slots, and what belongs to nobody."""

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import msgspec

from bus import provision
from bus.client import Bus
from bus.tasks import task_subjects
from contracts.history import ExecutionCreated
from contracts.specs import fleets
from contracts.subjects import read_task
from db import leases, node_types, verification
from db.store import Session, Store
from db.verification import SlotKey
from scheduler.core import soundness
from scheduler.core.soundness import UNTOLD_S, Suspicion

PAGE: Final = 500

_decode_created: Final = msgspec.json.Decoder(ExecutionCreated).decode


class Stray(NamedTuple):
    """A suspicion that is no execution's own; `execution_id` is the one that it names, if any."""

    suspicion: Suspicion
    execution_id: str | None = None


class Whole:
    """Looks at what all executions share."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus

    async def look(self) -> AsyncIterator[Stray]:
        """Yield what looks wrong."""
        served = fleets(await node_types.load(self._store))
        for difference in await provision.verify(self._bus, served):
            yield Stray(Suspicion("stream", difference))
        if not await leases.holders(self._store):
            yield Stray(Suspicion("scheduler", "no scheduler holds a lease; start one"))
        async for stray in self._leftover_tasks():
            yield stray
        async with self._store.snapshot() as session:
            async for stray in _stray_timers(session):
                yield stray
            async for stray in _slots(session):
                yield stray

    async def _leftover_tasks(self) -> AsyncIterator[Stray]:
        """Yield tasks in the stream whose executions are over or not there."""
        async for page in task_subjects(self._bus):
            by_execution: dict[str, list[str]] = {}
            for subject in page:
                address = read_task(subject)
                if address is None:
                    yield Stray(Suspicion("leftover", f"nobody can read the task {subject}"))
                else:
                    by_execution.setdefault(address.execution_id, []).append(subject)
            ids = sorted(by_execution)
            for start in range(0, len(ids), PAGE):
                async for stray in self._leftover_of(ids[start : start + PAGE], by_execution):
                    yield stray

    async def _leftover_of(
        self, ids: list[str], by_execution: dict[str, list[str]]
    ) -> AsyncIterator[Stray]:
        async with self._store.snapshot() as session:
            rows = {row.id: row for row in await verification.by_ids(session, ids)}
        for execution_id in ids:
            row = rows.get(execution_id)
            if row is None or soundness.is_over(row.status):
                count = len(by_execution[execution_id])
                status = "not there" if row is None else row.status
                message = (
                    f"it is {status} and has {count} tasks in NATS: {by_execution[execution_id][0]}"
                )
                yield Stray(Suspicion("leftover", message), execution_id)


async def _stray_timers(session: Session) -> AsyncIterator[Stray]:
    after: str | None = None
    while ids := await verification.stray_timers(session, after, PAGE):
        after = ids[-1]
        for execution_id in ids:
            message = "it has timers, and there is no such execution"
            yield Stray(Suspicion("leftover", message), execution_id)


async def _slots(session: Session) -> AsyncIterator[Stray]:
    after: tuple[str, str] | None = None
    while keys := await verification.slot_keys(session, after, PAGE):
        after = keys[-1].workflow_id, keys[-1].key
        created = await verification.creations(session, [each.newest for each in keys])
        for each in keys:
            message = _slot_problem(each, created.get(each.newest))
            if message is not None:
                yield Stray(Suspicion("slot", message), each.newest)


def _slot_problem(key: SlotKey, created: bytes | None) -> str | None:
    """Return what is wrong with a concurrency key, by the limit that its newest execution has."""
    slot = None if created is None else _decode_created(created).slot
    where = f"concurrency key {key.key!r} of workflow {key.workflow_id}"
    if slot is None:
        return f"{where}: its newest execution has no limit"
    if key.without:
        return f"{where}: {key.without} executions are under way without a slot"
    if key.held > slot.limit:
        return f"{where}: {key.held} executions hold a slot, the limit is {slot.limit}"
    if key.waiting and key.held < slot.limit and key.silent_s > UNTOLD_S:
        return f"{where}: {slot.limit - key.held} slots are free, and {key.waiting} executions wait"
    return None
