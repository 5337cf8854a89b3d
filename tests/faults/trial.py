"""A run of a row: load, faults, healing, the wait until all is over, and the judgement."""

import asyncio
import random
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from bus.client import Bus
from bus.publisher import Publisher
from db.errors import StoreError
from db.store import Store
from flotilla.verifying.findings import Report
from flotilla.verifying.verifier import Patience, Verifier
from tests.faults import engine as engines
from tests.faults import judge
from tests.faults import ledger as ledgers
from tests.faults.engine import Engine
from tests.faults.load import AGAIN_S, Caller, Load, client_of
from tests.faults.rows import Row

LOOKS: Final = Patience(silent_s=0, looks=4, pause_s=3)
OPEN_S: Final = 60.0
SETTLE_S: Final = 60.0
"""How long tasks of executions that are over may take to leave the stream: whoever was given one may be dead."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run; `stages` are the seconds from its beginning to the end of each."""

    row: str
    seed: int
    executions: int
    stages: dict[str, float]
    statuses: dict[str, int]
    effects: int
    repeated_calls: int
    bitten: dict[str, int]
    tally: dict[str, int]
    violations: tuple[str, ...]
    findings: tuple[str, ...]

    @property
    def has_bitten(self) -> bool:
        """Whether the run counts."""
        return any(self.bitten.values())

    @property
    def is_good(self) -> bool:
        """Whether the fault has bitten and no promise is broken."""
        return self.has_bitten and not self.violations and not self.findings


class Trial:
    """An engine, and rows that are tried on it one after the other."""

    def __init__(self, engine: Engine, caller: Caller, bus: Bus) -> None:
        self._engine = engine
        self._caller = caller
        self._bus = bus

    async def run(
        self,
        name: str,
        row: Row,
        seed: int,
        executions: int | None = None,
        seconds: float | None = None,
    ) -> Verdict:
        """Try a row. The judgement is of all that was ordered since the engine began."""
        chance = random.Random(seed)
        load = row.load
        if executions is not None:
            load = msgspec.structs.replace(load, executions=executions)
        if seconds is not None:
            load = msgspec.structs.replace(load, seconds=seconds)
        before = self._engine.tally()
        stages: dict[str, float] = {}
        began = time.monotonic()

        def reached(stage: str) -> None:
            stages[stage] = round(time.monotonic() - began, 1)

        await _break_under_load(self._engine, self._caller, row, load, chance)
        reached("taken")
        store = await _opened(self._engine)
        try:
            await judge.wait_until_over(store, self._caller.journal, row.patience_s)
            reached("over")
            report = await _verified(store, self._bus)
            reached("verified")
            found = await judge.runs(store)
        finally:
            await store.close()
        tally = {what: count - before.get(what, 0) for what, count in self._engine.tally().items()}
        statuses = [each.status for each in found]
        ledger = self._engine.ledger
        return Verdict(
            row=name,
            seed=seed,
            executions=load.executions,
            stages=stages,
            statuses={status: statuses.count(status) for status in sorted(set(statuses))},
            effects=len(ledger.effects),
            repeated_calls=ledger.repeated,
            bitten={bite: tally.get(bite, 0) for bite in row.bites},
            tally={what: count for what, count in sorted(tally.items()) if count},
            violations=tuple(judge.violations(found, self._caller.journal, ledger)),
            findings=tuple(
                f"{each.check}: {each.execution_id or ''} {each.message}"
                for each in report.findings
            ),
        )


@asynccontextmanager
async def prepared(
    *, without: tuple[str, ...] = (), keep: Path | None = None
) -> AsyncIterator[Trial]:
    """Start an engine to try rows on. `keep` is where the logs of its processes are copied to."""
    async with (
        ledgers.kept() as ledger,
        engines.running(ledger, without) as engine,
        await Bus.connect(engine.nats.url, name="faults") as bus,
        Publisher(bus) as publisher,
        client_of(engine) as client,
    ):
        caller = Caller(engine, client, bus, publisher)
        try:
            await caller.prepare()
            yield Trial(engine, caller, bus)
        finally:
            if keep is not None:
                shutil.copytree(engine.tallies, keep, dirs_exist_ok=True)


async def _opened(engine: Engine) -> Store:
    """Return the store, once the database is back."""
    async with asyncio.timeout(OPEN_S):
        while True:
            try:
                return await Store.open(engine.database.url, pool_size=2)
            except StoreError:
                await asyncio.sleep(AGAIN_S)


async def _break_under_load(
    engine: Engine, caller: Caller, row: Row, load: Load, chance: random.Random
) -> None:
    """Ask for everything while things break; what is broken stays so no longer than the load lasts."""
    stop = asyncio.Event()
    breaking = asyncio.create_task(row.inflict(engine, random.Random(chance.random()), stop))
    driving = asyncio.create_task(caller.drive(load, chance))
    try:
        await asyncio.wait([driving], timeout=load.seconds)
    finally:
        stop.set()
    await breaking
    for link in engine.links.values():
        link.heal()
    try:
        async with asyncio.timeout(row.patience_s):
            await driving
    except TimeoutError:
        sys.stderr.write("not everything was taken in time\n")


async def _verified(store: Store, bus: Bus) -> Report:
    """Verify until nothing is found: dead workers' leases run out, and tasks that nobody needs leave the stream."""
    async with asyncio.timeout(SETTLE_S * 3):
        deadline = asyncio.get_running_loop().time() + SETTLE_S
        while True:
            report = await Verifier(store, bus, LOOKS).run()
            if not report.findings or asyncio.get_running_loop().time() > deadline:
                return report
