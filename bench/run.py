"""A benchmark from its beginning to its report: limits, rest, then rounds of loads.

The machine is noisy, so nothing is measured once: rounds go through all loads in turn, with the bare loop right before the
load that it is compared with, and of several rounds the one in the middle counts.
"""

import contextlib
import os
import platform
import statistics
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import asyncpg

from bench import comparison, doors, jetstream, limits, loads, processes, resting
from bench.comparison import BareLoop
from bench.figures import GOALS, Figures, summed_up
from bench.installation import opened
from bench.loads import Scene
from bench.options import FULL, LOADS, Options, Sizes
from bench.queries import SQL
from bench.report import Compared, Report, Settings
from bench.surroundings import Surroundings

Measure = Callable[[Scene], Awaitable[Figures]]
Say = Callable[[str], None]

MEASURES: Final[Mapping[str, Mapping[str, Measure]]] = {
    "W1": {"W1": loads.alone},
    "W2": {"W2": loads.many},
    "W3": {"W3": loads.fan_out},
    "W4": {"W4": loads.long},
    "W5": {"W5": doors.requests, "W5x64": doors.clients},
    "W6": {"W6": loads.loop},
    "W7": {"W7": doors.events},
}
"""What is measured for each load that runs in rounds."""

TITLES: Final = {**LOADS, "W5x64": "the same by 64 clients"}

BARE: Final[Mapping[str, Callable[[BareLoop, Sizes], Awaitable[Figures]]]] = {
    "W1": BareLoop.alone,
    "W2": BareLoop.many,
}
"""The loads that have a bare loop to be compared with."""


async def run(surroundings: Surroundings, options: Options, say: Say) -> Report:
    """Measure what the options ask for; `say` is told what is under way. Raises BenchError."""
    say("limits of the servers")
    found = await limits.measure(surroundings, options.sizes)
    async with contextlib.AsyncExitStack() as stack:
        pids = await stack.enter_async_context(processes.engine(surroundings, options))
        installation = await stack.enter_async_context(opened(surroundings))
        scene = Scene(installation, pids, options.sizes)
        rest = await _rest(scene, options, say)
        bare = None
        if not BARE.keys().isdisjoint(options.only):
            bare = await stack.enter_async_context(comparison.bare_loop(surroundings))
        engine_runs, bare_runs = await _rounds(scene, bare, options, say)
        waiting = await _waiting(scene, options, say)
    return Report(
        settings=await _settings(surroundings, options),
        limits=found,
        loads={
            name: summed_up(TITLES[name], runs, GOALS[name] if options.sizes is FULL else None)
            for name, runs in engine_runs.items()
        },
        compared={name: _compared(engine_runs[name], runs) for name, runs in bare_runs.items()},
        rest=rest,
        waiting=waiting,
    )


async def _rest(scene: Scene, options: Options, say: Say) -> Figures | None:
    if "W0" not in options.only:
        return None
    say(f"W0, {LOADS['W0']}")
    return await resting.rest(scene)


async def _waiting(scene: Scene, options: Options, say: Say) -> Figures | None:
    if not options.waiting:
        return None
    say(f"{options.waiting} executions that wait")
    return await resting.waiting(scene, options.waiting)


Runs = dict[str, list[Figures]]


async def _rounds(
    scene: Scene, bare: BareLoop | None, options: Options, say: Say
) -> tuple[Runs, Runs]:
    """Run every load once per round, right after the bare loop of the same shape; return the figures of both."""
    engine_runs: Runs = {}
    bare_runs: Runs = {}
    for number in range(1, options.rounds + 1):
        for load in (each for each in MEASURES if each in options.only):
            say(f"round {number}: {load}, {LOADS[load]}")
            if bare is not None and load in BARE:
                figures = await BARE[load](bare, options.sizes)
                bare_runs.setdefault(load, []).append(figures)
            for name, measure in MEASURES[load].items():
                engine_runs.setdefault(name, []).append(await measure(scene))
    return engine_runs, bare_runs


def _compared(engine_runs: list[Figures], bare_runs: list[Figures]) -> Compared:
    kept = comparison.kept(engine_runs, bare_runs)
    bare = summed_up("the bare loop", bare_runs, None)
    return Compared(bare=bare, kept=tuple(kept), kept_median=statistics.median(kept))


async def _settings(surroundings: Surroundings, options: Options) -> Settings:
    connection = await asyncpg.connect(surroundings.database_url)
    try:
        postgres = await connection.fetchrow(SQL["settings"])
    finally:
        await connection.close()
    assert postgres is not None
    nats = await jetstream.server_of(surroundings.nats_monitoring_url)
    shown = ("SEGMENTS", "LOG_LEVEL")
    return Settings(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        cores=os.cpu_count() or 1,
        python=platform.python_version(),
        postgres=postgres["version"],
        nats=nats.version,
        fsync=postgres["fsync"],
        synchronous_commit=postgres["synchronous_commit"],
        nats_sync_interval_s=nats.sync_interval_s,
        schedulers=options.schedulers,
        workers=options.workers,
        concurrency=options.concurrency,
        in_flight=options.sizes.in_flight,
        rounds=options.rounds,
        environment={
            name: surroundings.environment[name]
            for name in shown
            if name in surroundings.environment
        },
        load_average=os.getloadavg(),
    )
