"""One run of one row: load, faults, healing, the wait until all is over, and the judgement."""

import asyncio
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from bus.client import Bus
from bus.publisher import Publisher
from db.store import Store
from flotilla.verifying.findings import Report
from flotilla.verifying.verifier import Patience, Verifier
from tests.faults import engine as engines
from tests.faults import judge, ledger
from tests.faults.engine import Engine
from tests.faults.load import Caller, Load, client_of
from tests.faults.rows import Row

LOOKS: Final = Patience(silent_s=0, looks=4, pause_s=3)
SETTLE_S: Final = 60.0
"""How long tasks of executions that are over may take to leave the stream: whoever was given one may be dead."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run; `stages` are the seconds from its beginning to the end of each."""

    row: str
    seed: int
    executions: int
    seconds: float
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


async def run(
    name: str,
    row: Row,
    seed: int,
    *,
    executions: int | None = None,
    without: tuple[str, ...] = (),
    keep: Path | None = None,
) -> Verdict:
    """Run a row to its verdict. `keep` is where the logs of the processes are copied to."""
    fleet = msgspec.structs.replace(row.fleet, without=without)
    load = row.load if executions is None else _sized(row.load, executions)
    began = time.monotonic()
    async with ledger.kept() as book, engines.running(book, fleet) as engine:
        try:
            return await _tried(name, row, seed, load, engine, began)
        finally:
            if keep is not None:
                shutil.copytree(engine.tallies, keep, dirs_exist_ok=True)


def _sized(load: Load, executions: int) -> Load:
    return msgspec.structs.replace(load, executions=executions)


async def _tried(
    name: str, row: Row, seed: int, load: Load, engine: Engine, began: float
) -> Verdict:
    chance = random.Random(seed)
    async with (
        await Bus.connect(engine.nats.url, name="faults") as bus,
        Publisher(bus) as publisher,
        client_of(engine) as client,
    ):
        stages: dict[str, float] = {}

        def reached(stage: str) -> None:
            stages[stage] = round(time.monotonic() - began, 1)

        caller = Caller(engine, client, bus, publisher)
        await caller.prepare(frozenset(load.kinds))
        reached("ready")
        await _break_under_load(engine, caller, row, load, chance)
        reached("taken")
        store = await Store.open(engine.database.url, pool_size=2)
        try:
            await judge.wait_until_over(store, caller.journal, row.patience_s)
            reached("over")
            report = await _verified(store, bus)
            reached("verified")
            found = await judge.runs(store)
        finally:
            await store.close()
    tally = engine.tally()
    statuses = [each.status for each in found]
    return Verdict(
        row=name,
        seed=seed,
        executions=len(found),
        seconds=round(time.monotonic() - began, 1),
        stages=stages,
        statuses={status: statuses.count(status) for status in sorted(set(statuses))},
        effects=len(engine.ledger.effects),
        repeated_calls=engine.ledger.repeated,
        bitten={bite: tally.get(bite, 0) for bite in row.bites},
        tally=tally,
        violations=tuple(judge.violations(found, caller.journal, engine.ledger)),
        findings=tuple(
            f"{each.check}: {each.execution_id or ''} {each.message}" for each in report.findings
        ),
    )


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
