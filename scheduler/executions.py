"""The executions under way that this scheduler holds in memory, folded and ready to be advanced.

A cache and nothing more: what is not here is folded anew from history, and whoever is unsure drops it.

It is bounded by what its executions take, estimated from the bytes of their events and the number of their
node runs. Who was not touched for the longest time leaves first. Those that only wait - for timers, signals,
people, children - share a small part of it, because most of them are not touched for long: whatever wakes them
reads their history, which is short compared with the wait. Nothing that is asked for leaves before the next
batch asks: the loop decides on what it has loaded.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from contracts import history
from contracts.execution import fold
from contracts.execution.plan import Plan, VersionFacts, compile_plan
from contracts.execution.state import ExecutionState
from contracts.history import Event, ExecutionCreated
from contracts.ids import partition_of
from contracts.specs import Catalogue
from contracts.statuses import ExecutionStatus
from db import advances, node_types, versions
from db.advances import StoredExecution
from db.store import Store
from scheduler.core.decision import Target
from scheduler.core.tasks import task_execution

log: Final = structlog.get_logger()

_decode_created: Final = msgspec.json.Decoder(ExecutionCreated).decode


CACHE_BYTES: Final = 256 * 1024 * 1024
WAITING_SHARE: Final = 8
"""Executions that only wait have this part of the cache."""
EXECUTION_BYTES: Final = 2_000
EVENT_BYTES: Final = 150
RUN_BYTES: Final = 900
"""What an execution, an event and a node run take in memory besides the data of their events; measured, not exact."""


class Live:
    """An execution in memory: its plan and its state, what it takes, and what to start if it fails."""

    __slots__ = ("_task_execution", "data_bytes", "failure_target", "plan", "size", "state")

    def __init__(self, plan: Plan, state: ExecutionState, data_bytes: int = 0) -> None:
        self.plan = plan
        self.state = state
        self.data_bytes = data_bytes
        self.size = 0  # as it was counted last
        self.failure_target: Target | None = None
        self._task_execution: msgspec.Raw | None = None

    @property
    def estimate(self) -> int:
        """Return about how many bytes the execution takes now."""
        state = self.state
        events, runs = state.seq * EVENT_BYTES, len(state.runs) * RUN_BYTES
        return EXECUTION_BYTES + self.data_bytes + events + runs

    @property
    def task_execution(self) -> msgspec.Raw:
        """The execution's part of its tasks, encoded once it has started."""
        if self._task_execution is None:
            self._task_execution = task_execution(self.state)
        return self._task_execution


class Plans:
    """Compiled workflow versions by id; a version never changes, so a plan is kept while it fits."""

    def __init__(self, store: Store, *, limit: int = 2_000) -> None:
        self._store = store
        self._limit = limit
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._catalogue: Catalogue | None = None

    def get(self, version_id: str) -> Plan | None:
        """Return a plan that is in memory."""
        plan = self._plans.get(version_id)
        if plan is not None:
            self._plans.move_to_end(version_id)
        return plan

    async def load(self, version_id: str) -> Plan | None:
        """Return a plan, compiled from the stored version if need be, or None if there is none."""
        plan = self.get(version_id)
        if plan is not None:
            return plan
        version = await versions.load(self._store, version_id)
        if version is None:
            return None
        facts = VersionFacts(
            version_id=version_id, workflow_id=version.workflow_id, version=version.version
        )
        catalogue = await self._catalogue_with({node.type for node in version.document.nodes})
        plan = compile_plan(version.document, facts, catalogue)
        self._plans[version_id] = plan
        if len(self._plans) > self._limit:
            self._plans.popitem(last=False)
        return plan

    def forget_catalogue(self) -> None:
        """Read the node types anew for the next plan: a worker announced some."""
        self._catalogue = None

    async def _catalogue_with(self, names: set[str]) -> Catalogue:
        if self._catalogue is None or not names <= self._catalogue.names:
            self._catalogue = Catalogue(await node_types.load(self._store))
        return self._catalogue


class Executions:
    """The cache: executions of about `limit` bytes, the longest untouched leave first."""

    def __init__(self, store: Store, plans: Plans, *, limit: int = CACHE_BYTES) -> None:
        self._store = store
        self._plans = plans
        self._limit = limit
        self._live: dict[str, Live] = {}
        self._active: OrderedDict[str, None] = OrderedDict()
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._waiting_bytes = 0
        self._retired: set[int] = set()
        self.bytes = 0
        self.replays = 0
        self.replayed_events = 0

    def __len__(self) -> int:
        return len(self._live)

    def get(self, execution_id: str) -> Live | None:
        """Return an execution that is in memory."""
        return self._live.get(execution_id)

    def drop(self, execution_ids: Iterable[str]) -> None:
        """Forget executions: finished ones, and those whose state is in doubt."""
        for execution_id in execution_ids:
            live = self._live.pop(execution_id, None)
            if live is not None:
                self._uncount(execution_id, live)

    def retire(self, partitions: Collection[int]) -> None:
        """Forget executions that another scheduler leads now, before the next batch: the loop may be deciding on some."""
        self._retired.update(partitions)

    def grew(self, live: Live, data_bytes: int) -> None:
        """An execution advanced by events of so many bytes: count it anew, with those that wait if it only waits."""
        execution_id = live.state.id
        live.data_bytes += data_bytes
        if self._live.get(execution_id) is not live:
            return
        waits = live.state.status is ExecutionStatus.WAITING
        if waits or execution_id in self._waiting:
            self._uncount(execution_id, live)
            self._count(execution_id, live)
        else:  # nearly every step comes by here, and `load` has touched it
            size = live.estimate
            self.bytes += size - live.size
            live.size = size

    async def admit(self, execution_id: str, created: msgspec.Raw, at: datetime) -> None:
        """Hold a new execution from the data of its first event, without a read."""
        if execution_id in self._live:
            return
        data = _decode_created(created)
        plan = await self._plans.load(data.version_id)
        if plan is not None:
            state = fold.create(plan, execution_id, Event(1, at, data))
            self._keep(execution_id, Live(plan, state, len(bytes(created))))

    async def load(self, execution_ids: Iterable[str]) -> frozenset[str]:
        """Fold what is not in memory from history, and return what was; ids that do not exist stay absent.

        What is asked for stays until the next call, however large it is.
        """
        wanted = frozenset(execution_ids)
        self._forget_retired(wanted)
        missing = []
        for each in wanted:
            if each not in self._live:
                missing.append(each)
            elif each in self._active:
                self._active.move_to_end(each)
            else:
                self._waiting.move_to_end(each)
        if not missing:
            self._make_room(wanted)
            return frozenset()
        stored = await advances.load(self._store, missing)
        for execution in stored.values():
            plan = await self._plans.load(execution.version_id)
            if plan is None:
                log.error(
                    "version_missing", execution_id=execution.id, version_id=execution.version_id
                )
                continue
            self._keep(execution.id, Live(plan, replayed(plan, execution), data_bytes(execution)))
            self.replays += 1
            self.replayed_events += len(execution.rows)
            await asyncio.sleep(0)  # a cold start of many must not hold up the heartbeat of leases
        self._make_room(wanted)
        return frozenset(stored)

    def _keep(self, execution_id: str, live: Live) -> None:
        self._live[execution_id] = live
        self._count(execution_id, live)

    def _count(self, execution_id: str, live: Live) -> None:
        live.size = live.estimate
        self.bytes += live.size
        if live.state.status is ExecutionStatus.WAITING:
            self._waiting[execution_id] = None
            self._waiting_bytes += live.size
        else:
            self._active[execution_id] = None

    def _uncount(self, execution_id: str, live: Live) -> None:
        self.bytes -= live.size
        if execution_id in self._waiting:
            del self._waiting[execution_id]
            self._waiting_bytes -= live.size
        else:
            del self._active[execution_id]

    def _make_room(self, wanted: Collection[str]) -> None:
        """Let leave what is beyond the limit, but for what is wanted; that was touched last and stands at the end."""
        while self._waiting_bytes > self._limit // WAITING_SHARE:
            longest = next(iter(self._waiting))
            if longest in wanted:
                break
            self.drop((longest,))
        while self.bytes > self._limit and self._active:
            longest = next(iter(self._active))
            if longest in wanted:
                break
            self.drop((longest,))

    def _forget_retired(self, wanted: Collection[str]) -> None:
        if self._retired:
            gone, self._retired = self._retired, set()
            self.drop(
                [each for each in self._live if partition_of(each) in gone and each not in wanted]
            )


def data_bytes(execution: StoredExecution) -> int:
    """Return how long the data of a stored history are."""
    return sum(len(row.data) for row in execution.rows)


def replayed(plan: Plan, execution: StoredExecution) -> ExecutionState:
    """Return the state that a stored history folds into."""
    return fold.replay(plan, execution.id, map(event_of, execution.rows))


def event_of(row: Any) -> Event:
    """Return the event that a row of history holds."""
    return Event(
        row.seq,
        row.at,
        history.decode_data(row.kind, row.data),
        row.node_id,
        tuple(row.iteration) if row.iteration is not None else None,
        row.attempt,
    )
