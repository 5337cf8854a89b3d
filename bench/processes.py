"""The processes that are measured: started, told what they need, known to be ready, and stopped in order."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from bench.http_client import HttpClient
from bench.options import Options
from bench.surroundings import BenchError, Surroundings

READY_SECONDS: Final = 60
STOP_SECONDS: Final = 40
LOOK_SECONDS: Final = 0.1

Pids = Mapping[str, Sequence[int]]
"""The main processes by what they are; their children belong to them."""


@contextlib.asynccontextmanager
async def engine(surroundings: Surroundings, options: Options) -> AsyncIterator[Pids]:
    """Run schedulers, workers and a gateway, and yield the processes once work can begin. Raises BenchError."""
    wanted: Mapping[str, Sequence[Sequence[str]]] = {
        "scheduler": [("scheduler",)] * options.schedulers,
        "worker": [("worker", "--concurrency", str(options.concurrency))] * options.workers,
        "gateway": [("gateway",)],
    }
    async with contextlib.AsyncExitStack() as stack:
        started = {
            name: [
                await stack.enter_async_context(_process(surroundings, number, arguments))
                for number, arguments in enumerate(lines)
            ]
            for name, lines in wanted.items()
        }
        pids = {name: [each.pid for each in found] for name, found in started.items()}
        await _until_ready(surroundings, [each for found in started.values() for each in found])
        servers = {name: [pid] for name, pid in surroundings.servers.items()}
        yield {**pids, **servers, "bench": [os.getpid()]}


@contextlib.asynccontextmanager
async def _process(
    surroundings: Surroundings, number: int, arguments: Sequence[str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process of the engine, its output in a log of its own; it is stopped in the end."""
    with (surroundings.log_folder / f"{arguments[0]}-{number}.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *surroundings.command,
            *arguments,
            env=surroundings.environment,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the benchmark, which stops them in order
            preexec_fn=surroundings.at_birth,
        )
    try:
        yield process
    finally:
        await stop(process)


async def stop(process: asyncio.subprocess.Process) -> None:
    """Ask a process to end, and wait for it; one that does not is killed."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _until_ready(
    surroundings: Surroundings, processes: Sequence[asyncio.subprocess.Process]
) -> None:
    """Wait until the gateway says that all are there."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not await _is_ready(surroundings):
                if any(each.returncode is not None for each in processes):
                    raise BenchError(f"a process ended at once:\n{_last_words(surroundings)}")
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise BenchError(
            f"the engine was not ready after {READY_SECONDS} s:\n{_last_words(surroundings)}"
        ) from None


async def _is_ready(surroundings: Surroundings) -> bool:
    try:
        async with HttpClient(surroundings.gateway_port, surroundings.token) as client:
            answer = await client.ask("GET", "/health")
    except OSError:
        return False
    checks = answer.value["checks"]
    return all(checks.get(name) == "up" for name in ("schedulers", "workers"))


def _last_words(surroundings: Surroundings) -> str:
    logs = sorted(surroundings.log_folder.glob("*.log"))
    return "\n".join(f"{each.name}: {each.read_text(errors='replace')[-2000:]}" for each in logs)
