"""One world: put together, set going, watched, and brought to its end."""

import asyncio
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final
from unittest.mock import patch

import msgspec
import structlog

from contracts import subjects
from contracts.execution import carry
from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState
from contracts.history import Event, ExecutionCreated, Forked, OutputsCarried
from contracts.messages import StartExecution, encode, start_of
from contracts.statuses import ExecutionStatus, Mode
from scheduler import executions, timers
from scheduler.tokens import Tokens
from tests.simulator.bus import SimulatedBus
from tests.simulator.chaos import EVENTS, Chaos
from tests.simulator.database import Database, Interaction
from tests.simulator.graphs import CATALOGUE, compiled
from tests.simulator.people import People
from tests.simulator.schedulers import ALL, SimulatedScheduler
from tests.simulator.server import Server, Stored
from tests.simulator.shapes import AFTER_THE_END, Asked, Job, successor, work_of
from tests.simulator.store import Process, SimulatedStore
from tests.simulator.virtual_time import NothingLeft, VirtualLoop
from tests.simulator.witness import Witness
from tests.simulator.workers import ANSWERS, Workers

TROUBLED_S: Final = 60.0
"""After so many seconds nothing goes wrong any more."""
PATIENCE_S: Final = 1_500.0
"""Then everything has to be over within so many seconds."""
LINGERS: Final = 8
LINGER_S: Final = 5.0
"""What comes late is waited for so often so long, to see that it changes nothing."""
LOOKS_EVERY_S: Final = 5.0
"""How often schedulers look for timers that others set; the engine's own second would be spent on little else."""
NEVER_S: Final = 10 * PATIENCE_S
"""The same where nothing goes wrong: a timer of which nobody was told does not fire in time there."""
GATEWAY_SENDS: Final = 3
NOTICED_AGAIN_S: Final = 5.0
TOKENS: Final = Tokens(b"simulated secret of thirty-two b")
SPECS: Final = tuple(msgspec.json.encode(each) for each in CATALOGUE.newest)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a world. `states` are true, by execution; `names` are what executions are called in every run of the seed.

    `digest` is of every byte of history.
    """

    seed: int
    names: dict[str, str]
    states: dict[str, ExecutionState]
    questions: dict[str, Interaction]
    histories: dict[str, list[Event]]
    digest: str
    objection: str | None
    counts: Counter[str]
    struck: Counter[str]
    refused: Counter[str]
    kinds: Counter[str]
    moves: frozenset[tuple[str, str]]


class World:
    """Everything there is under one seed.

    Unless it is `troubled`, nothing goes wrong, nobody asks for anything that is not part of the work, and neither a sweeper nor
    looking for timers makes good what the engine omits.
    """

    def __init__(self, seed: int, *, troubled: bool) -> None:
        self.seed = seed
        self.troubled = troubled
        self.work = work_of(seed)
        self.loop = VirtualLoop()
        self.chaos = Chaos(seed)
        self.database = Database(self.loop.time)
        self.server = Server(self.loop, self.chaos)
        self.schedulers: list[SimulatedScheduler] = []
        self.counts: Counter[str] = Counter()
        self._ever: list[SimulatedScheduler] = []
        self._started = 0
        self._is_calm = not troubled
        self._over = asyncio.Event()
        self._open = {job.execution_id for job in self.work.jobs}
        self._jobs = {job.execution_id: job for job in self.work.jobs}
        self.database.versions = self.work.plans
        self.database.specs = SPECS
        self.witness = Witness(self.database.versions, TOKENS, self.database.now)
        self.witness.on_objection = self._over.set
        self.witness.on_birth = self._open.add
        self.witness.on_end = self._ended
        self.people = People(
            self.work, self.chaos.chance, self.loop.call_later, self._command, troubled=troubled
        )
        self.people.names = self.witness.names
        self.witness.on_advance = self.people.look
        self.workers = Workers(
            self.work,
            self.server,
            self.chaos,
            self.witness.names,
            self._plan_of,
            self.witness.object,
        )
        self.database.watching = self.witness
        self.server.tasks.receiver = self.workers.take
        self.server.inbox.receiver = partial(self._receive, subjects.INBOX)
        self.server.advisories.receiver = partial(self._receive, subjects.ADVISORIES)

    def run(self) -> Outcome:
        """Let it happen, and return what became of it."""
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._happen())
        except NothingLeft:
            self.witness.object("everybody waits for ever")
        self.witness.check_all(self.database)
        outcome = self._outcome()
        self.loop.end_tasks()
        self.loop.close()
        asyncio.set_event_loop(None)
        return outcome

    # --- what happens ----------------------------------------------------------------------------

    async def _happen(self) -> None:
        for _ in range(self.chaos.chance.choice((1, 1, 2)) if self.troubled else 1):
            await self._start_scheduler()
        for job in self.work.jobs:
            self.loop.call_later(job.after, self._create, job)
        if self.troubled:
            self._trouble()
        try:
            async with asyncio.timeout(TROUBLED_S + PATIENCE_S):
                while self._open and self.witness.objection is None:
                    self._over.clear()
                    await self._over.wait()
        except TimeoutError:
            self.witness.object(self._stuck())
        if self.troubled and self.witness.objection is None:
            await self._linger()
        if self.loop.failures:
            self.witness.object(f"nobody caught {self.loop.failures[0]!r}")

    async def _linger(self) -> None:
        for _ in range(LINGERS):
            if not self.server.is_empty:
                await asyncio.sleep(LINGER_S)

    def _trouble(self) -> None:
        self.chaos.begin()
        for event in EVENTS:
            for instant in self.chaos.instants(event, TROUBLED_S):
                self.loop.call_later(instant, self._event, event)
        self.loop.call_later(TROUBLED_S, self._calm)

    def _event(self, event: str) -> None:
        """Let something happen to the world, or to one of its schedulers."""
        if event == "wiped":
            self._wipe()
        elif self.schedulers:
            scheduler = self.chaos.chance.choice(self.schedulers)
            HAPPENS[event](self, scheduler)
        else:
            return
        self.chaos.struck[event] += 1

    def _calm(self) -> None:
        """Let nothing go wrong any more: whoever is there holds everything."""
        self.chaos.end()
        self._is_calm = True
        self._share()

    def _share(self) -> None:
        """Let each scheduler hold partitions that no other one holds, as leases have it when nothing is wrong."""
        for number, scheduler in enumerate(self.schedulers):
            scheduler.hold(frozenset())
            scheduler.hold(frozenset(sorted(ALL)[number :: len(self.schedulers)]))
        self.server.nudge()

    def _ended(self, execution_id: str) -> None:
        """Let what was asked for after an execution's end follow."""
        if (job := self._jobs.get(execution_id)) is not None:
            for asked in job.asked:
                if asked.kind in AFTER_THE_END:
                    waiting = f"{execution_id}+{asked.kind}"
                    self._open.add(waiting)
                    self.loop.call_later(asked.after, self._follow, job, asked, waiting)
        self._open.discard(execution_id)
        if not self._open:
            self._over.set()

    # --- the gateway -----------------------------------------------------------------------------

    def _create(self, job: Job) -> None:
        """Store an execution and say so, as the gateway does."""
        self._store(job.execution_id, job.name, job.created)
        for asked in job.asked:
            if self.troubled and asked.kind not in AFTER_THE_END:
                self.loop.call_later(asked.after, self._ask, job, asked)

    def _store(
        self,
        execution_id: str,
        name: str,
        created: ExecutionCreated,
        carried: tuple[OutputsCarried, ...] = (),
    ) -> None:
        self.witness.name(execution_id, name)
        at = self.database.create(execution_id, created, carried)
        start = StartExecution(execution_id=execution_id)
        data = encode(start) if carried else start_of(execution_id, created, at)
        self._send("start", execution_id, data, start, tries=1)

    def _ask(self, job: Job, asked: Asked) -> None:
        self.counts[f"asked to {asked.kind}"] += 1
        if asked.command is None:
            self.database.deleted_workflows.add(job.plan.workflow_id)
        else:
            kind = asked.command.__struct_config__.tag
            self._command(kind, job.execution_id, asked.command)

    def _command(self, kind: str, execution_id: str, command: Any) -> None:
        self._send(kind, execution_id, encode(command), command, tries=GATEWAY_SENDS)

    def _follow(self, job: Job, asked: Asked, waiting: str) -> None:
        """Make an execution of one that is over: try it again, or fork it."""
        state = self.witness.states[job.execution_id]
        if asked.kind == "fork":
            self._fork(job, state)
        elif state.status is not ExecutionStatus.SUCCESS:
            runs = carry.carried_for_retry(job.plan, state, job.plan)
            created = _begun_as(state, retry_of=state.id)
            self._succeed(job, "retry", created, carry.in_events(runs))
        self._open.discard(waiting)
        if not self._open:
            self._over.set()

    def _fork(self, job: Job, state: ExecutionState) -> None:
        reached = [
            node.id
            for node in job.plan.nodes.values()
            if not node.loops and carry.was_reached(state, node)
        ]
        if reached and state.status is ExecutionStatus.SUCCESS:
            node_id = random.Random(f"{self.seed}:{job.name}:fork").choice(reached)
            runs = carry.carried_for_fork(job.plan, state, job.plan, node_id)
            created = _begun_as(state, forked_from=Forked(state.id, node_id))
            self._succeed(job, "fork", created, carry.in_events(runs))

    def _succeed(
        self, job: Job, kind: str, created: ExecutionCreated, carried: tuple[OutputsCarried, ...]
    ) -> None:
        self.counts[f"made by {kind}"] += 1
        self.counts["made with outputs carried"] += bool(carried)
        self._store(successor(job, kind), f"{job.name}+{kind}", created, carried)

    def _send(self, kind: str, execution_id: str, data: bytes, body: Any, *, tries: int) -> None:
        subject = subjects.command(kind, execution_id)
        self.server.send(self.server.inbox, subject, data, body, tries=tries)

    def _plan_of(self, execution_id: str) -> Plan:
        return self.database.versions[self.witness.states[execution_id].created.version_id]

    # --- schedulers ------------------------------------------------------------------------------

    async def _start_scheduler(self) -> None:
        self._started += 1
        process = Process(f"scheduler-{self._started}")
        kill = partial(self._kill_process, process)
        store = SimulatedStore(self.database, self.chaos, process, kill, self.loop.passing)
        bus = SimulatedBus(
            self.server, process, kill=kill, told=self._told, acknowledged=self._acknowledged
        )
        skew = self.chaos.chance.uniform(-0.05, 0.05) if self.troubled else 0.0
        self.server.provision()
        scheduler = await SimulatedScheduler.begin(
            store,
            bus,
            TOKENS,
            skew=skew,
            died=self.witness.object,
            sweeps=self.troubled,
            width=self.work.width,
            in_segments=self.work.seed % 4 != 0,
        )
        self.schedulers.append(scheduler)
        self._ever.append(scheduler)
        store.believed = scheduler.believed
        if self._is_calm:
            self._share()
        else:
            scheduler.hold(ALL)
            self.server.nudge()

    def _kill_process(self, process: Process) -> None:
        for scheduler in self.schedulers:
            if scheduler.process is process:
                return self._kill(scheduler)
        return None

    def _kill(self, scheduler: SimulatedScheduler) -> None:
        scheduler.process.kill()
        self._replace(scheduler)

    def _drain(self, scheduler: SimulatedScheduler) -> None:
        self.loop.create_task(scheduler.drain())
        self._replace(scheduler)

    def _replace(self, scheduler: SimulatedScheduler) -> None:
        """Let another one start, somewhat later."""
        self.schedulers.remove(scheduler)
        self.counts["schedulers replaced"] += 1
        pause = self.chaos.chance.uniform(0.1, 8)
        self.loop.call_later(pause, lambda: self.loop.create_task(self._start_scheduler()))

    def _disconnect(self, scheduler: SimulatedScheduler) -> None:
        def reconnect() -> None:
            scheduler.bus.reconnect()
            self.server.nudge()

        scheduler.bus.disconnect()
        self.loop.call_later(self.chaos.chance.uniform(0.5, 20), reconnect)

    def _reassign(self, scheduler: SimulatedScheduler) -> None:
        share = self.chaos.chance.choice((0.0, 0.3, 0.7, 1.0))
        scheduler.hold(frozenset(each for each in ALL if self.chaos.chance.random() < share))
        self.server.nudge()

    def _wipe(self) -> None:
        """Lose all that NATS stored. Pulls notice soon; publishing does at once."""
        self.server.wipe()
        pause = self.chaos.chance.uniform(0.1, 3)
        self.loop.call_later(pause, self._notice_missing_streams)

    def _notice_missing_streams(self) -> None:
        """Tell those who pull, for as long as streams are missing."""
        if not all(stream.is_there for stream in self.server.streams.values()):
            for scheduler in self.schedulers:
                scheduler.notice_missing_streams()
            self.loop.call_later(NOTICED_AGAIN_S, self._notice_missing_streams)

    # --- what goes between them ------------------------------------------------------------------

    def _receive(self, stream: str, stored: Stored) -> bool:
        """Hand a message to one of those who may have it."""
        takers = [scheduler for scheduler in self.schedulers if scheduler.takes(stored)]
        if not takers:
            return False
        self.chaos.chance.choice(takers).receive(stream, stored)
        return True

    def _told(self, subject: str, data: bytes) -> None:
        self.witness.told(subject, data)
        if subject.startswith(subjects.CANCEL_PREFIX):
            execution_id = subject.rpartition(".")[2]
            self.loop.call_later(self.chaos.latency(), self.workers.stop, execution_id)
        elif subject.startswith(subjects.PAUSE_PREFIX):
            self.loop.call_later(self.chaos.latency(), self.workers.pause, data)
        elif subject.startswith(ANSWERS):
            self.loop.call_later(self.chaos.latency(), self.workers.answered, subject, data)

    def _acknowledged(self, stored: Stored) -> None:
        self.witness.acknowledged(stored.body)

    # --- the end ---------------------------------------------------------------------------------

    def _stuck(self) -> str:
        lines = [f"not over {PATIENCE_S:g} s after nothing went wrong any more:"]
        for execution_id in sorted(self._open):
            state = self.witness.states.get(execution_id)
            timers = self.database.timers.get(execution_id)
            lines.append(f"{execution_id}: {state and state.status}, timers {timers}")
            lines += [f"    {key}: {run}" for key, run in (state.runs if state else {}).items()]
        lines += [f"  {name}: {stream}" for name, stream in self.server.streams.items()]
        return "\n".join(lines)

    def _outcome(self) -> Outcome:
        refused: Counter[str] = Counter()
        counts = self.counts + self.witness.counts + self.workers.counts + self.people.counts
        for scheduler in self._ever:
            refused.update(scheduler.refused)
            counts["tasks that waited in line"] += scheduler.waited
            counters = msgspec.structs.asdict(scheduler.loop.counters)
            counts.update({name: n for name, n in counters.items() if isinstance(n, int)})
        counts["executions"] += len(self.witness.states)
        counts["virtual seconds"] += int(self.loop.time())
        return Outcome(
            seed=self.seed,
            names=self.witness.names,
            questions=self.database.interactions,
            states=self.witness.states,
            histories=self.witness.histories,
            digest=self._digest(),
            objection=self.witness.objection,
            counts=counts,
            struck=self.chaos.struck,
            refused=refused,
            kinds=self.witness.kinds,
            moves=frozenset(self.witness.moves),
        )

    def _digest(self) -> str:
        content = repr(sorted(self.database.history.items()))
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _begun_as(state: ExecutionState, **about: Any) -> ExecutionCreated:
    """Return the creation of an execution that begins as another one did."""
    return msgspec.structs.replace(state.created, mode=Mode.RETRY, **about)


HAPPENS: Final = {
    "killed": World._kill,
    "drained": World._drain,
    "disconnected": World._disconnect,
    "reassigned": World._reassign,
}
"""What events do to a scheduler."""


@contextmanager
def silence() -> Iterator[None]:
    """Let the engine's log say nothing: writing lines would take longer than all the rest."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def cheap(pause: float) -> Iterator[None]:
    """Spare what schedulers do again and again with the same end: compiling, and looking for timers that nobody set.

    `pause` is that between two such looks, in seconds.
    """
    with (
        patch.object(executions, "compile_plan", compiled),
        patch.object(timers, "LONGEST_PAUSE_S", pause),
    ):
        yield


def run(seed: int, *, troubled: bool = True) -> Outcome:
    """Run the world of a seed."""
    with silence(), cheap(LOOKS_EVERY_S if troubled else NEVER_S):
        return World(seed, troubled=troubled).run()
