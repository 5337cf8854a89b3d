"""The executions under way that this scheduler holds in memory, folded and ready to be advanced.

A cache and nothing more: what is not here is folded anew from history, and whoever is unsure drops it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from contracts import history
from contracts.execution import fold
from contracts.execution.plan import Plan, VersionFacts, compile_plan
from contracts.execution.state import ExecutionState
from contracts.history import Event, ExecutionCreated
from contracts.specs import Catalogue
from db import advances, node_types, versions
from db.advances import StoredExecution
from db.store import Store
from scheduler.core.decision import Target
from scheduler.core.tasks import task_execution

log: Final = structlog.get_logger()

_decode_created: Final = msgspec.json.Decoder(ExecutionCreated).decode


class Live:
    """An execution in memory: its plan and its state, and what to start if it fails."""

    __slots__ = ("_task_execution", "failure_target", "plan", "state")

    def __init__(self, plan: Plan, state: ExecutionState) -> None:
        self.plan = plan
        self.state = state
        self.failure_target: Target | None = None
        self._task_execution: msgspec.Raw | None = None

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
    """The cache: at most `limit` executions, the longest untouched leave first."""

    def __init__(self, store: Store, plans: Plans, *, limit: int = 50_000) -> None:
        self._store = store
        self._plans = plans
        self._limit = limit
        self._live: OrderedDict[str, Live] = OrderedDict()

    def __len__(self) -> int:
        return len(self._live)

    def get(self, execution_id: str) -> Live | None:
        """Return an execution that is in memory."""
        return self._live.get(execution_id)

    def drop(self, execution_ids: Iterable[str]) -> None:
        """Forget executions: finished ones, and those whose state is in doubt."""
        for execution_id in execution_ids:
            self._live.pop(execution_id, None)

    async def admit(self, execution_id: str, created: msgspec.Raw, at: datetime) -> None:
        """Hold a new execution from the data of its first event, without a read."""
        if execution_id in self._live:
            return
        data = _decode_created(created)
        plan = await self._plans.load(data.version_id)
        if plan is not None:
            self._keep(
                execution_id, Live(plan, fold.create(plan, execution_id, Event(1, at, data)))
            )

    async def load(self, execution_ids: Iterable[str]) -> frozenset[str]:
        """Fold what is not in memory from history, and return what was; ids that do not exist stay absent."""
        missing = []
        for each in execution_ids:
            if each in self._live:
                self._live.move_to_end(each)  # those that are asked for now leave last
            else:
                missing.append(each)
        if not missing:
            return frozenset()
        stored = await advances.load(self._store, missing)
        for execution in stored.values():
            plan = await self._plans.load(execution.version_id)
            if plan is None:
                log.error(
                    "version_missing", execution_id=execution.id, version_id=execution.version_id
                )
                continue
            self._keep(execution.id, Live(plan, replayed(plan, execution)))
            await asyncio.sleep(0)  # a cold start of many must not hold up the heartbeat of leases
        return frozenset(stored)

    def _keep(self, execution_id: str, live: Live) -> None:
        self._live[execution_id] = live
        if len(self._live) > self._limit:
            self._live.popitem(last=False)


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
