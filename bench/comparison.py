"""The bare loop as the benchmark runs it: its two processes, and the figures of its runs."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from typing import Final, Literal

import msgspec

from bench.bare_loop import READY, Ran, Run, Told
from bench.figures import Figures, Metric, figures, spread
from bench.options import Sizes
from bench.processes import stop
from bench.surroundings import BenchError, Surroundings
from bench.usage import Meter

STEPS: Final = 10
RUN_SECONDS: Final = 300
LINE_BYTES: Final = 64 * 1024 * 1024

_encode: Final = msgspec.json.Encoder().encode


class BareLoop:
    """A bare loop that is ready."""

    def __init__(self, surroundings: Surroundings, scheduler: Process, worker: Process) -> None:
        self._scheduler = scheduler
        self._servers = {name: [pid] for name, pid in surroundings.servers.items()}
        self._pids = {"scheduler": [scheduler.pid], "worker": [worker.pid], **self._servers}

    async def alone(self, sizes: Sizes) -> Figures:
        """What W1 measures."""
        return await self._measured(Run(sizes.alone, 1, STEPS), metric="p50_ms")

    async def many(self, sizes: Sizes) -> Figures:
        """What W2 measures."""
        return await self._measured(Run(sizes.many, sizes.in_flight, STEPS), metric="per_s")

    async def _measured(self, run: Run, *, metric: Metric) -> Figures:
        await self._run(msgspec.structs.replace(run, executions=min(200, run.executions)))
        meter = Meter(self._pids)
        ran = await self._run(run)
        commit = spread(ran.commits)
        facts = {"commit_ms_p50": commit.p50, "steps_per_commit": _mean_batch(run, ran)}
        return figures(
            metric,
            "step",
            run.executions * run.steps,
            ran.seconds,
            usage=meter.read(),
            each=ran.each,
            facts=facts,
        )

    async def _run(self, run: Run) -> Ran:
        return msgspec.json.decode(await _told(self._scheduler, run), type=Ran)


def _mean_batch(run: Run, ran: Ran) -> float:
    return round(run.executions * run.steps / len(ran.commits), 1)


@contextlib.asynccontextmanager
async def bare_loop(surroundings: Surroundings) -> AsyncIterator[BareLoop]:
    """Run the two processes of a bare loop on the servers of the engine."""
    told = Told(surroundings.database_url, surroundings.nats_url)
    async with (
        _process(surroundings, "scheduler", told) as scheduler,
        _process(surroundings, "worker", told) as worker,
    ):
        yield BareLoop(surroundings, scheduler, worker)


@contextlib.asynccontextmanager
async def _process(
    surroundings: Surroundings, role: Literal["scheduler", "worker"], told: Told
) -> AsyncIterator[Process]:
    with (surroundings.log_folder / f"bare-{role}.log").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bench.bare_loop", role),
            stdin=PIPE,
            stdout=PIPE,
            stderr=errors,
            limit=LINE_BYTES,
            start_new_session=True,
            preexec_fn=surroundings.at_birth,
        )
    try:
        if await _told(process, told) != READY:
            raise BenchError(f"the {role} of the bare loop did not start")
        yield process
        await _dismissed(process)
    finally:
        await stop(process)


async def _told(process: Process, message: msgspec.Struct) -> bytes:
    """Tell a process something, and return the line that it answers. Raises BenchError if there is none."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(_encode(message) + b"\n")
    try:
        async with asyncio.timeout(RUN_SECONDS):
            line = await process.stdout.readline()
    except TimeoutError:
        line = b""
    if not line:
        raise BenchError("the bare loop does not answer")
    return line.strip()


async def _dismissed(process: Process) -> None:
    """Tell a process that there is nothing more to do, and give it time to tidy up."""
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            await process.wait()


def kept(engine: Sequence[Figures], bare: Sequence[Figures]) -> list[float]:
    """Return how much of the bare loop's speed the engine keeps, round by round."""
    return [_kept(*pair) for pair in zip(engine, bare, strict=True)]


def _kept(engine: Figures, bare: Figures) -> float:
    if engine.metric == "per_s":
        return round(engine.value / bare.value, 3)
    return round(bare.value / engine.value, 3)
