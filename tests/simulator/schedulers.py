"""A scheduler in the simulated world: the service's own composition, on a simulated store and a simulated bus."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, cast

from bus.message import Message
from bus.publisher import Publisher
from bus.pull import Arrivals, Pull
from contracts import subjects
from contracts.execution.state import ExecutionState
from contracts.ids import PARTITIONS
from contracts.schedules import Calendar
from db.advances import AdvanceSession
from db.clock import DatabaseClock
from db.errors import StoreUnavailable
from flotilla.cron import read_cron
from nodes.regex import Re2
from scheduler.admission import Admission
from scheduler.entries import Entry
from scheduler.service import Scheduler, SchedulerSettings
from scheduler.tokens import Tokens
from tests.simulator.bus import SimulatedBus
from tests.simulator.database import Database
from tests.simulator.server import Stored
from tests.simulator.store import SimulatedStore

ALL: Final = frozenset(range(PARTITIONS))
CONNECT_PAUSE_S: Final = 0.5

Died = Callable[[str], None]


class SkewedClock(DatabaseClock):
    """A measured clock, as wrong as the measurement was."""

    def __init__(self, database: Database, skew: float) -> None:
        self._database = database
        self._skew = timedelta(seconds=skew)

    def now(self) -> datetime:
        """Return the database's time, nearly."""
        return self._database.now() + self._skew


class Source:
    """Where messages come from, in the place of a pull."""

    def released(self, messages: int) -> None:
        """Some were taken."""


class NarrowAdmission(Admission):
    """Queues few tasks at once, so that lines form. `width` is how many of a node type; None is no limit of its own."""

    def __init__(
        self, width: int | None, now: Callable[[], float], leads: Callable[[str], bool]
    ) -> None:
        super().__init__(slots=lambda _: 0, now=now, leads=leads)
        self._width = width
        self.waited = 0

    def _window(self, name: str, fleet: Any) -> int:
        """Return how many tasks of a fleet may be queued."""
        self.waited = max(self.waited, *self.waiting.values(), 0)
        window = super()._window(name, fleet)
        return window if self._width is None else min(window, self._width)


class SimulatedScheduler(Scheduler):
    """One scheduler. What feeds it and which partitions it holds is decided from outside, without pulls and leases."""

    def __init__(
        self,
        store: SimulatedStore,
        bus: SimulatedBus,
        publisher: Publisher,
        session: AdvanceSession,
        tokens: Tokens,
        *,
        skew: float,
        died: Died,
        width: int | None,
        in_segments: bool,
    ) -> None:
        super().__init__(
            SchedulerSettings(database_url="", nats_url="", in_segments=in_segments),
            bus.process.name,
            store=store,
            bus=bus,
            publisher=publisher,
            session=session,
            clock=SkewedClock(store.database, skew),
            tokens=tokens,
            regex=Re2(),
            calendar=Calendar(read_cron),
        )
        self.process = bus.process
        self.bus = bus
        self._line = NarrowAdmission(width, bus.server.now, self._leads)
        self._admission = self.loop._admission = self._line
        self._died = died
        self._source = Source()
        self._advised = Arrivals()
        self._looping: asyncio.Task[None] | None = None
        self._background: list[asyncio.Task[None]] = []

    @classmethod
    async def begin(
        cls,
        store: SimulatedStore,
        bus: SimulatedBus,
        tokens: Tokens,
        *,
        skew: float,
        died: Died,
        sweeps: bool,
        width: int | None,
        in_segments: bool,
    ) -> "SimulatedScheduler":
        """Connect, and run until the process is killed or drained; with `sweeps` it looks for what was lost."""
        publisher = await Publisher(bus).__aenter__()
        session = await _session(store)
        scheduler = cls(
            store,
            bus,
            publisher,
            session,
            tokens,
            skew=skew,
            died=died,
            width=width,
            in_segments=in_segments,
        )
        scheduler._start(sweeps=sweeps)
        return scheduler

    def hold(self, partitions: frozenset[int]) -> None:
        """Hold exactly these partitions."""
        self._admission.forget_partitions(self._partitions.owned - partitions)
        self._partitions.owned = partitions
        self._sweeper.own(partitions)

    def takes(self, stored: Stored) -> bool:
        """Whether a message would be delivered here: an advisory to anyone, others to who holds their partition."""
        if not self.is_there:
            return False
        _, stream, partition, *_ = stored.subject.split(".")
        return stream != "inbox" or int(partition) in self._partitions.owned

    @property
    def is_there(self) -> bool:
        """Whether it runs and is connected."""
        return self.process.is_alive and self.bus.is_connected and bool(self._background)

    @property
    def waited(self) -> int:
        """How many tasks of a node type waited for their turn, at most."""
        return self._line.waited

    @property
    def refused(self) -> dict[str, int]:
        """The results it refused, by reason."""
        return self.loop.counters.refused | {"token": self._inbox.refused}

    def receive(self, stream: str, stored: Stored) -> None:
        """Take a message that is delivered."""
        message = Message(
            self.bus,
            self._source,
            subject=stored.subject,
            reply=self.bus.delivered(stream, stored),
            data=stored.data,
            headers=None,
        )
        arrivals = self._advised if stream == subjects.ADVISORIES else self._arrivals
        arrivals.put(message)

    def believed(self, execution_id: str) -> ExecutionState | None:
        """Return the state of an execution as it is in memory."""
        live = self.loop._executions.get(execution_id)
        return None if live is None else live.state

    async def drain(self) -> None:
        """Stop in order."""
        assert self._looping is not None
        background, self._background = self._background, []
        await self._drain(background, self._looping)
        self.process.kill()

    def notice_missing_streams(self) -> None:
        """Notice what a pull would be told: its stream is gone."""
        self._stream_missing.set()

    async def _provision(self) -> None:
        """Make the streams anew, as the service does."""
        await self.process.live()
        self.bus.server.provision()
        self._sweeper.sweep_all()

    def _start(self, *, sweeps: bool) -> None:
        self._looping = self._task("loop", self.loop.run())
        self._background = [
            self._task("read", self._read()),
            self._task("timers", self._timers.run()),
            self._task("letters", self._letters.run()),
            self._task("purges", self._purges.run()),
            self._task("slots", self._slots.run()),
            self._task("streams", self._restore_streams()),
            self._task("advisories", self._read_advisories(cast("Pull", self._advised))),
        ]
        if sweeps:
            self._background.append(self._task("sweeper", self._sweeper.run()))

    def _task(self, name: str, run: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(run, name=f"{self.process.name} {name}")
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._died(f"{task.get_name()} died: {task.exception()!r}")

    def _bury(self, entry: Entry, error: Exception) -> None:
        """Nothing that this world says is unreadable: what the loop cannot handle is a bug."""
        self._died(f"{self.process.name} cannot handle {entry}: {error!r}")


async def _session(store: SimulatedStore) -> AdvanceSession:
    while True:
        try:
            return await AdvanceSession.open(store)
        except StoreUnavailable:
            await asyncio.sleep(CONNECT_PAUSE_S)
