"""The rows: what is broken, how, and what shows that it has bitten. Each breaks things until `stop` is set, then heals them."""

import asyncio
import random
import shutil
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from bus.client import Bus
from bus.tasks import task_subjects
from contracts import subjects
from contracts.messages import Result, encode
from tests.faults.engine import Engine
from tests.faults.links import BOTH, Way
from tests.faults.load import Load
from tests.faults.patched import CRASHES

Inflict = Callable[[Engine, random.Random, asyncio.Event], Coroutine[Any, Any, None]]

AGAIN: Final = ("inputs_again", "tasks_again", "conflicts", "refused", "republished")
FAILED: Final = ("commits_in_doubt", "commits_failed")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of fault. Any of `bites` above 0 shows that it has bitten; `patience_s` bounds the time until all is over.

    It takes an engine `without` some safeguards on which no promise rests, such as the leases of partitions.
    """

    inflict: Inflict
    bites: tuple[str, ...]
    load: Load = Load()
    patience_s: float = 180.0
    without: tuple[str, ...] = ()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait, or until nothing more is to be broken."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


# --- processes -----------------------------------------------------------------------------------


async def _kill_any(engine: Engine, chance: random.Random, stop: asyncio.Event) -> None:
    while not stop.is_set():
        engine.kill(chance.choice(list(engine.members.values())))
        await _pause(stop, chance.uniform(1.5, 4))


async def _kill_schedulers(engine: Engine, chance: random.Random, stop: asyncio.Event) -> None:
    while not stop.is_set():
        engine.kill(await engine.owner())
        await _pause(stop, chance.uniform(2, 5))


async def _stop_worker(engine: Engine, chance: random.Random, stop: asyncio.Event) -> None:
    """Freeze a worker for longer than the lease of its tasks, twice as long as it takes to notice."""
    await _pause(stop, 3)
    worker = engine.members[chance.choice(("worker-1", "worker-2"))]
    engine.faults += 1
    worker.signal(signal.SIGSTOP)
    await asyncio.sleep(36)
    worker.signal(signal.SIGCONT)


async def _stop_scheduler(engine: Engine, chance: random.Random, stop: asyncio.Event) -> None:
    """Freeze the scheduler that owns partitions for longer than its lease."""
    while not stop.is_set():
        await _pause(stop, chance.uniform(1, 3))
        owner = await engine.owner()
        engine.faults += 1
        owner.signal(signal.SIGSTOP)
        await asyncio.sleep(chance.uniform(8, 11))
        owner.signal(signal.SIGCONT)


async def _rolling(engine: Engine, chance: random.Random, stop: asyncio.Event) -> None:
    """Restart one process after the other in order, as an upgrade does."""
    while not stop.is_set():
        for member in list(engine.members.values()):
            lives = member.lives
            engine.faults += 1
            member.signal(signal.SIGTERM)
            while member.lives == lives:  # noqa: ASYNC110 - nobody will tell us
                await asyncio.sleep(0.1)
            await _pause(stop, 1)


async def _nothing(engine: Engine, chance: random.Random, stop: asyncio.Event) -> None:
    await stop.wait()


def _crashing(point: str) -> Inflict:
    """Return what has processes die at a named point, again and again."""
    kind = "worker" if point.endswith("report") else "scheduler"

    async def inflict(engine: Engine, chance: random.Random, stop: asyncio.Event) -> None:
        engine.crash_at(point, kind)
        await stop.wait()
        for member in engine.of_kind(kind):
            member.crash = None

    return inflict


# --- servers -------------------------------------------------------------------------------------


async def _kill_postgres(engine: Engine, chance: random.Random, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await _pause(stop, chance.uniform(2, 4))
        await engine.kill_server(engine.database)


async def _kill_nats(engine: Engine, chance: random.Random, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await _pause(stop, chance.uniform(2, 4))
        await engine.kill_server(engine.nats)


async def _delete_jetstream(engine: Engine, chance: random.Random, stop: asyncio.Event) -> None:
    """Delete the store under the server's feet; a while later it starts again on nothing."""
    await _pause(stop, chance.uniform(3, 6))
    shutil.rmtree(engine.nats.folder / "jetstream", ignore_errors=True)
    await _pause(stop, 2)
    await engine.with_nats_down(lambda store: shutil.rmtree(store, ignore_errors=True))


async def _roll_back_jetstream(engine: Engine, chance: random.Random, stop: asyncio.Event) -> None:
    await _pause(stop, chance.uniform(2, 4))
    copy = engine.copy_of_jetstream()
    await _pause(stop, chance.uniform(4, 6))
    await engine.with_nats_down(lambda store: _replace(store, copy))


def _replace(store: Path, copy: Path) -> None:
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(copy, store)


# --- links ---------------------------------------------------------------------------------------


async def _cut_answers(engine: Engine, chance: random.Random, stop: asyncio.Event) -> None:
    """Let commits be done and their answers get lost."""
    link = engine.links["scheduler-pg"]
    while not stop.is_set():
        engine.faults += 1
        link.cut_next_answer()
        await _pause(stop, chance.uniform(0.5, 1.5))
    link.heal()


async def _cut_links(engine: Engine, chance: random.Random, stop: asyncio.Event) -> None:
    """Cut every link in turn: for good, one way, both ways, or slow as a snail."""
    ways = [BOTH, frozenset({Way.THERE}), frozenset({Way.BACK})]
    order = [(name, way) for name in engine.links for way in (None, "slow", *ways)]
    chance.shuffle(order)
    for name, way in order:
        if stop.is_set():
            break
        link = engine.links[name]
        engine.faults += 1
        match way:
            case None:
                link.cut()
            case frozenset():
                link.swallow(way)
            case _:
                link.slow(delay_s=0.2, bytes_per_s=200_000)
        await _pause(stop, chance.uniform(1, 3))
        link.heal()


async def _kill_time(engine: Engine, chance: random.Random, stop: asyncio.Event) -> None:
    """Kill the schedulers, and the database, while nearly everything waits for a timer."""
    while not stop.is_set():
        await _pause(stop, chance.uniform(1, 2))
        for scheduler in engine.of_kind("scheduler"):
            engine.kill(scheduler)
        await _pause(stop, chance.uniform(2, 4))
        await engine.kill_server(engine.database)


# --- strangers -----------------------------------------------------------------------------------


async def _forge(engine: Engine, chance: random.Random, stop: asyncio.Event) -> None:
    """Report made-up results for whatever is outstanding, without knowing a token."""
    async with await Bus.connect(engine.nats.url, name="forger") as bus:
        while not stop.is_set():
            async for page in task_subjects(bus):
                for subject in page:
                    address = subjects.read_task(subject)
                    assert address is not None
                    forged = Result(
                        execution_id=address.execution_id,
                        node_id=address.node_id,
                        iteration=address.iteration,
                        attempt=address.attempt,
                        token="0" * 24,
                        worker_id="forger",
                        started_at="2026-01-01T00:00:00Z",
                        finished_at="2026-01-01T00:00:00Z",
                        ports={"main": msgspec.Raw(b'{"forged":true}')},
                    )
                    engine.faults += 1
                    await bus.publish(subjects.result(address), encode(forged))
            await _pause(stop, 0.02)


# --- the table -----------------------------------------------------------------------------------

_NO_EVENTS: Final = Load(kinds=("line", "line", "fan"))
"""Without events: what NATS has taken and then loses as a whole before a scheduler has read it is lost, see docs/reliability.md."""

ROWS: Final[Mapping[str, Row]] = {
    "kill_any": Row(inflict=_kill_any, bites=AGAIN),
    "worker_frozen": Row(inflict=_stop_worker, bites=AGAIN, load=Load(seconds=10)),
    "scheduler_frozen": Row(inflict=_stop_scheduler, bites=AGAIN, load=Load(seconds=20)),
    "postgres_killed": Row(inflict=_kill_postgres, bites=FAILED),
    "answers_cut": Row(inflict=_cut_answers, bites=("commits_in_doubt",)),
    "nats_killed": Row(inflict=_kill_nats, bites=AGAIN),
    "jetstream_deleted": Row(inflict=_delete_jetstream, bites=AGAIN, load=_NO_EVENTS),
    "jetstream_rolled_back": Row(inflict=_roll_back_jetstream, bites=AGAIN, load=_NO_EVENTS),
    "links_cut": Row(inflict=_cut_links, bites=(*AGAIN, *FAILED), load=Load(seconds=50)),
    "timers": Row(
        inflict=_kill_time, bites=(*AGAIN, *FAILED), load=Load(kinds=("line",), pause_s=6)
    ),
    "cancels": Row(inflict=_kill_schedulers, bites=AGAIN, load=Load(cancels=0.5, pause_s=2)),
    "poison": Row(
        inflict=_nothing,
        bites=("tasks_again", "restarts"),
        load=Load(executions=20, kinds=("line", "fan", "line", "poison")),
        patience_s=300,
    ),
    "rolling": Row(inflict=_rolling, bites=("restarts",), load=Load(seconds=25)),
    "two_owners": Row(inflict=_nothing, bites=("conflicts",), without=("leases",)),
    "forged": Row(
        inflict=_forge, bites=("tokens_refused",), load=Load(kinds=("line", "fan"), seconds=10)
    ),
    **{
        f"crash_{point}": Row(
            inflict=_crashing(point),
            bites=(*AGAIN, "crashes"),
            load=Load(seconds=20),
        )
        for point in CRASHES
    },
}
