"""One verification: a pass over everything, and then further looks at what looked wrong.

A live system moves while it is read, so that a suspicion is worth nothing. What is still there in every further look, after a
pause each, is a finding. The pass goes along the ids of the executions and holds one page of them at a time, each page in a
snapshot of its own, read-only.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import structlog

from bus.client import Bus
from db import verification
from db.store import Store
from db.verification import VerifiedRow
from flotilla.verifying import queues
from flotilla.verifying.findings import Finding, Report, finding_of
from flotilla.verifying.looking import Look, Looked
from flotilla.verifying.whole import Whole
from scheduler.core import soundness
from scheduler.core.soundness import Suspicion
from scheduler.executions import Plans

log: Final = structlog.get_logger()

PAGE: Final = 200
MOST_SUSPECTS: Final = 10_000


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long a live system has to explain itself.

    Attempts are lost after `silent_s` seconds without a commit of their execution: later than the sweeper takes to see to it.
    A suspicion is a finding after `looks` looks, `pause_s` seconds apart.
    """

    silent_s: float = 90.0
    looks: int = 3
    pause_s: float = 2.0


class _Suspected(NamedTuple):
    suspicion: Suspicion
    execution_id: str | None


class Verifier:
    """Verifies one installation."""

    def __init__(self, store: Store, bus: Bus, patience: Patience) -> None:
        self._store = store
        self._bus = bus
        self._patience = patience
        self._plans = Plans(store)
        self._whole = Whole(store, bus)
        self._executions = 0
        self._under_way = 0
        self._outstanding = 0

    async def run(self) -> Report:
        """Look at everything, and return what is wrong for certain. Raises StoreError and BusError."""
        began = time.monotonic()
        suspected = await self._pass()
        for _ in range(1, self._patience.looks):
            if not suspected:
                break
            await asyncio.sleep(self._patience.pause_s)
            again = await self._look_again(suspected)
            suspected = [each for each in suspected if each in again]
        return Report(
            executions=self._executions,
            under_way=self._under_way,
            outstanding=self._outstanding,
            seconds=round(time.monotonic() - began, 3),
            findings=tuple(_findings(suspected)),
        )

    async def _pass(self) -> list[_Suspected]:
        suspected: list[_Suspected] = []
        after: str | None = None
        while page := await self._look_at_page(after, suspected):
            after = page[-1].id
            if len(suspected) >= MOST_SUSPECTS:
                log.warning("verification_cut_short", after=after, suspicions=len(suspected))
                break
        suspected += await self._strays()
        return suspected

    async def _look_at_page(
        self, after: str | None, suspected: list[_Suspected]
    ) -> Sequence[VerifiedRow]:
        """Look at the executions that follow an id, and return their rows."""
        async with self._store.snapshot() as session:
            page = await verification.page(session, after, PAGE)
            looks = [each async for each in Look(session, self._plans).at(page)]
        self._outstanding += await self._add_lost_tasks(looks)
        self._executions += len(page)
        self._under_way += sum(not soundness.is_over(row.status) for row in page)
        suspected += _suspected(looks)
        return page

    async def _look_again(self, suspected: Iterable[_Suspected]) -> frozenset[_Suspected]:
        """Return what looks wrong now, of the executions that did."""
        ids = sorted({each.execution_id for each in suspected if each.execution_id is not None})
        found: list[_Suspected] = []
        for start in range(0, len(ids), PAGE):
            async with self._store.snapshot() as session:
                rows = await verification.by_ids(session, ids[start : start + PAGE])
                looks = [each async for each in Look(session, self._plans).at(rows)]
            await self._add_lost_tasks(looks)
            found += _suspected(looks)
        return frozenset([*found, *await self._strays()])

    async def _add_lost_tasks(self, looks: Sequence[Looked]) -> int:
        return await queues.add_lost_tasks(self._bus, looks, self._patience.silent_s)

    async def _strays(self) -> list[_Suspected]:
        return [
            _Suspected(stray.suspicion, stray.execution_id) async for stray in self._whole.look()
        ]


def _suspected(looks: Iterable[Looked]) -> list[_Suspected]:
    return [
        _Suspected(suspicion, looked.row.id) for looked in looks for suspicion in looked.suspicions
    ]


def _findings(suspected: Iterable[_Suspected]) -> Iterable[Finding]:
    return (finding_of(each.suspicion, each.execution_id) for each in suspected)
