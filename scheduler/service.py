"""The scheduler's process: who feeds the loop, who keeps leases, and how it all stops.

Every background task belongs to one TaskGroup and takes the process down loudly if it dies. Stopping is
in order: nothing new is taken, what was taken is committed and published, leases are given up.
"""

import asyncio
import os
import socket
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

import msgspec
import structlog

from bus import provision, services
from bus.client import Bus, CoreMessage
from bus.ending import end
from bus.errors import BusError
from bus.message import Message
from bus.publisher import Outgoing, Publisher
from bus.pull import Arrivals, Pull
from contracts import subjects
from contracts.expressions.regex import Regex
from contracts.failures import Failure, FailureKind
from contracts.ids import partition_of
from contracts.limits import CORE_LIMITS, CoreLimits
from contracts.messages import Result, encode, start_of
from contracts.payloads import PayloadLimits
from contracts.schedules import Calendar
from contracts.specs import fleets
from db import history_partitions, node_types, secrets
from db.advances import AdvanceSession
from db.clock import DatabaseClock
from db.errors import StoreError
from db.executions import NewExecution
from db.sealing import Keyring
from db.store import Store
from scheduler.admission import Admission
from scheduler.assembling import Assembling
from scheduler.core.decision import Admitted, AttemptLost, Reported
from scheduler.credentials import CredentialDesk
from scheduler.dead_letters import Advisories, Letters, letter_of
from scheduler.dispatch import Dispatch
from scheduler.entries import Entry
from scheduler.executions import CACHE_BYTES, Executions, Plans
from scheduler.families import Families
from scheduler.fleets import Fleets
from scheduler.inbox import Inbox
from scheduler.intake import Intake
from scheduler.lines import LineDesk
from scheduler.lookups import Lookups
from scheduler.loop import Loop
from scheduler.partitions import Partitions
from scheduler.payloads import PayloadDesk
from scheduler.purges import Purges
from scheduler.schedules import Schedules
from scheduler.slots import Slots
from scheduler.sweeper import Knowledge, Sweeper
from scheduler.targets import Targets
from scheduler.timers import Timers
from scheduler.tokens import SECRET_BYTES, SECRET_NAME, Tokens
from scheduler.triggers import Triggers
from scheduler.values import LargeValues

log: Final = structlog.get_logger()

READ_BATCH: Final = 500
CLOCK_PERIOD_S: Final = 30.0
RESTORE_PAUSE_S: Final = 1.0
PARTITIONS_PERIOD_S: Final = 6 * 3600.0
ENVELOPE_BYTES: Final = 16_384
"""Room that a message keeps for subject, headers and protocol."""


class SchedulerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a scheduler needs to run; `drain_seconds` bounds the orderly stop.

    `in_segments` workers go on with the next node by themselves where they may.
    """

    database_url: str
    nats_url: str
    nats_creds: str | None = None
    default_namespace: str | None = None
    drain_seconds: float = 30
    scheduler_id: str | None = None
    version: str = "0.1.0"
    payloads: PayloadLimits = PayloadLimits()
    keyring: Keyring = msgspec.field(default_factory=Keyring)
    limits: CoreLimits = CORE_LIMITS
    cache_bytes: int = CACHE_BYTES
    in_segments: bool = True


async def run_scheduler(
    settings: SchedulerSettings,
    *,
    regex: Regex,
    calendar: Calendar,
    stop: asyncio.Event,
    ready: asyncio.Event | None = None,
) -> None:
    """Run until `stop` is set, then drain; `ready` is set once streams are there and leases were asked for.

    Raises what the store or the bus say if they cannot be reached at the start.
    """
    # In containers, hosts and process numbers alone may be those of another one.
    scheduler_id = settings.scheduler_id or (
        f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"
    )
    async with AsyncExitStack() as stack:
        store = await Store.open(settings.database_url)
        stack.push_async_callback(store.close)
        bus = await stack.enter_async_context(
            await Bus.connect(
                settings.nats_url, name=f"scheduler {scheduler_id}", credentials=settings.nats_creds
            )
        )
        scheduler = await Scheduler.make(settings, scheduler_id, store, bus, regex, calendar, stack)
        await scheduler.run(stop, ready or asyncio.Event())


class Scheduler:
    """Everything that one scheduler process runs."""

    def __init__(
        self,
        settings: SchedulerSettings,
        scheduler_id: str,
        *,
        store: Store,
        bus: Bus,
        publisher: Publisher,
        session: AdvanceSession,
        clock: DatabaseClock,
        tokens: Tokens,
        regex: Regex,
        calendar: Calendar,
    ) -> None:
        self._settings = settings
        self._store = store
        self._bus = bus
        self._publisher = publisher
        self._clock = clock
        self._arrivals = Arrivals()
        self._pulls: dict[int, Pull] = {}
        self._partitions_before: frozenset[int] = frozenset()
        self._plans = Plans(store)
        self._letters = Letters(store)
        self._intake = Intake()
        self._stream_missing = asyncio.Event()
        self._inbox = Inbox(self._intake, tokens, self._letters, bus.publish)
        self._slots = Slots(store, self._intake)
        self._admission = Admission(slots=self._slots_of, now=time.monotonic, leads=self._leads)
        self.executions = Executions(store, self._plans, limit=settings.cache_bytes)
        self._sweeper = Sweeper(
            store,
            self._intake,
            Families(store, self._intake),
            Knowledge(lambda: self._admission, self.executions),
        )
        self._partitions = Partitions(
            store, scheduler_id, self._own, let_go=self._let_go, tell=self._tell_others
        )
        self._timers = Timers(store, clock, self._intake, lambda: self._partitions.owned)
        self._advisories = Advisories(bus, self._intake, self._letters, self._leads)
        self._purges = Purges(bus)
        self._fleets = Fleets(
            store, announced=self._announced, owned=lambda: self._partitions.owned
        )
        self._payloads = PayloadDesk(store, tokens, settings.payloads)
        self._lines = LineDesk(scheduler_id, self._admission, self._intake)
        self._credentials = CredentialDesk(store, self._plans, tokens, settings.keyring)
        self._triggers = Triggers(
            store,
            self._letters,
            self._plans,
            start=self._start_all,
            tell=bus.publish_all,
            default_namespace=settings.default_namespace,
            regex=regex,
            limits=settings.payloads,
        )
        self._schedules = Schedules(
            store, self._plans, calendar, start=self._start_all, regex=regex
        )

        def max_payload() -> int:
            return bus.max_payload - ENVELOPE_BYTES

        values = LargeValues(store, settings.payloads, max_payload)
        self.loop = Loop(
            intake=self._intake,
            executions=self.executions,
            session=session,
            publisher=publisher,
            tell=bus.publish_all,
            now=clock.now,
            values=values,
            assembling=Assembling(regex, values),
            lookups=Lookups(Targets(store, self._plans, regex), values, clock.now),
            dispatch=Dispatch(
                intake=self._intake,
                tokens=tokens,
                values=values,
                max_payload=max_payload,
                in_segments=settings.in_segments,
            ),
            slots=self._slots,
            admission=self._admission,
            bury=self._bury,
            purge=self._purges.add,
            stream_missing=self._stream_missing.set,
            unpublished=self._sweeper.unpublished,
            timer_set=self._timers.expect,
            limits=settings.limits,
        )

    @classmethod
    async def make(
        cls,
        settings: SchedulerSettings,
        scheduler_id: str,
        store: Store,
        bus: Bus,
        regex: Regex,
        calendar: Calendar,
        stack: AsyncExitStack,
    ) -> "Scheduler":
        """Connect what a scheduler holds besides store and bus, and make the streams."""
        secret = await secrets.get_or_create(store, SECRET_NAME, os.urandom(SECRET_BYTES))
        session = await AdvanceSession.open(store)
        stack.push_async_callback(session.close)
        await provision.ensure(bus, fleets(await node_types.load(store)))
        return cls(
            settings,
            scheduler_id,
            store=store,
            bus=bus,
            publisher=await stack.enter_async_context(Publisher(bus)),
            session=session,
            clock=await DatabaseClock.measured(store),
            tokens=Tokens(secret),
            regex=regex,
            calendar=calendar,
        )

    async def run(self, stop: asyncio.Event, ready: asyncio.Event) -> None:
        """Run until `stop` is set, then let the loop finish what it has."""
        self._bus.attach(self)
        await self._bus.subscribe(f"{subjects.HEARTBEAT_PREFIX}.*", self._on_heartbeat)
        await self._bus.subscribe(subjects.ANNOUNCE, self._on_announcement, queue="schedulers")
        await self._bus.subscribe(subjects.LEASES, self._on_leases)
        service = services.Service(
            self._bus,
            name="flotilla-scheduler",
            version=self._settings.version,
            description="Advances executions",
            endpoints=(
                *self._payloads.endpoints,
                *self._credentials.endpoints,
                *self._lines.endpoints,
            ),
        )
        async with AsyncExitStack() as stack, service, asyncio.TaskGroup() as group:
            triggers = await stack.enter_async_context(self._pull_of(subjects.TRIGGERS))
            advisories = await stack.enter_async_context(self._pull_of(subjects.ADVISORIES))
            looping = group.create_task(self.loop.run(), name="loop")
            background = [
                group.create_task(each, name=name)
                for name, each in {
                    "read": self._read(),
                    "partitions": self._partitions.run(),
                    "timers": self._timers.run(),
                    "sweeper": self._sweeper.run(),
                    "letters": self._letters.run(),
                    "slots": self._slots.run(),
                    "purges": self._purges.run(),
                    "fleets": self._fleets.run(),
                    "clock": self._keep_time(),
                    "streams": self._restore_streams(),
                    "history": self._keep_partitions(),
                    "triggers": self._triggers.run(triggers),
                    "schedules": self._schedules.run(),
                    "advisories": self._read_advisories(advisories),
                    "bus": self._bus.lost(),
                }.items()
            ]
            await self._partitions.first_look()
            ready.set()
            log.info("scheduler_started")
            await stop.wait()
            log.info("scheduler_draining", waiting=len(self._intake))
            await self._drain(background, looping)
            await self._tell_others()
        log.info("scheduler_stopped")

    async def _drain(
        self, background: Sequence[asyncio.Task[None]], looping: asyncio.Task[None]
    ) -> None:
        """Stop taking, finish what was taken, and give the partitions up."""
        await end(*background)
        for pull in self._pulls.values():
            await pull.stop()
        self._intake.close()
        await asyncio.wait([looping], timeout=self._settings.drain_seconds)
        await end(looping)
        try:
            await self._partitions.release()
        except StoreError as error:
            log.warning("leases_not_released", error=str(error))

    # --- what feeds the loop -------------------------------------------------------------------

    async def _read(self) -> None:
        """Hand every message of the inbox to the loop, no faster than it can follow."""
        while True:
            await self._intake.room()
            for message in await self._arrivals.take(READ_BATCH):
                await self._inbox.receive(message)

    async def _read_advisories(self, pull: Pull) -> None:
        while True:
            for message in await pull.take(READ_BATCH):
                await self._advisories.receive(message)

    async def _start_all(self, created: Sequence[NewExecution]) -> None:
        """Start new executions: our own at once, those of others by telling them; a lost word is made good by the sweeper."""
        owned = self._partitions.owned
        ours = [each for each in created if partition_of(each.id) in owned]
        others = [each for each in created if partition_of(each.id) not in owned]
        if ours:
            await self._intake.room()
        for each in ours:
            self._intake.put(_start_of(each))
        await self._publisher.publish_all(
            Outgoing(subjects.command("start", each.id), start_of(each.id, each.created, each.at))
            for each in others
        )

    def _bury(self, entry: Entry, error: Exception) -> None:
        """Keep what the loop can never handle as a dead letter."""
        if isinstance(entry.message, Message):
            letter = letter_of(entry.message, "COMMAND", "UNREADABLE", repr(error))
            if subjects.is_result(entry.message.subject):
                letter = msgspec.structs.replace(letter, source="RESULT")
            self._letters.add(letter, entry.message)
        if isinstance(entry.given, Reported):
            self._intake.put(_unusable(entry.execution_id, entry.given.result, error))

    async def _on_heartbeat(self, message: CoreMessage) -> None:
        self._fleets.heartbeat(message.data)

    async def _on_announcement(self, message: CoreMessage) -> None:
        await message.respond(await self._fleets.announcement(message.data))

    async def _announced(self, types: tuple[str, ...]) -> None:
        self._plans.forget_catalogue()
        await provision.ensure_task_consumers(self._bus, types)

    def disconnected(self) -> None:
        """Told by the bus: what was on its way is in doubt."""

    def reconnected(self) -> None:
        """Told by the bus: a restarted server has forgotten consumers, and what was sent may not have arrived."""
        self._stream_missing.set()

    # --- what is owned -------------------------------------------------------------------------

    async def _own(self, partitions: frozenset[int]) -> None:
        """Pull the inbox of exactly these partitions, and sweep those that are new."""
        for partition in self._pulls.keys() - partitions:
            await self._pulls.pop(partition).stop()
        for partition in sorted(partitions - self._pulls.keys()):
            pull = Pull(
                self._bus,
                subjects.INBOX,
                subjects.inbox_consumer(partition),
                arrivals=self._arrivals,
                on_missing=self._provision,
            )
            self._pulls[partition] = await pull.__aenter__()
        self._admission.forget_partitions(self._partitions_before - partitions)
        self._partitions_before = partitions
        self._sweeper.own(partitions)
        self._timers.look_now()

    async def _let_go(self, partitions: frozenset[int]) -> None:
        """Finish what was taken from partitions that are not ours any more, and forget what is of them."""
        await self.loop.caught_up()
        self.executions.retire(partitions - self._partitions.owned)

    async def _tell_others(self) -> None:
        """Tell other schedulers that shares have changed; who does not hear of it looks before long."""
        try:
            await self._bus.publish(subjects.LEASES, b"")
        except BusError as error:
            log.info("not_told", subject=subjects.LEASES, error=str(error))

    async def _on_leases(self, _: CoreMessage) -> None:
        self._partitions.look_soon()

    def _leads(self, execution_id: str) -> bool:
        return partition_of(execution_id) in self._partitions.owned

    def _slots_of(self, node_type: str) -> int:
        return self._fleets.slots(node_type)

    def _pull_of(self, stream: str) -> Pull:
        consumers = {
            subjects.TRIGGERS: subjects.TRIGGER_CONSUMER,
            subjects.ADVISORIES: subjects.ADVISORY_CONSUMER,
        }
        return Pull(self._bus, stream, consumers[stream], on_missing=self._provision)

    async def _provision(self) -> None:
        """Make the streams anew: NATS lost its store. What they held is outstanding in PostgreSQL."""
        try:
            specs = await node_types.load(self._store)
        except StoreError as error:
            log.warning("provisioning_waits", error=str(error))
            return  # the streams are still missing, so that we are asked again
        await provision.ensure(self._bus, fleets(specs))
        self._sweeper.sweep_all()

    async def _restore_streams(self) -> None:
        """Make the streams anew when a task found none; consumers of the others notice by themselves."""
        while True:
            await self._stream_missing.wait()
            self._stream_missing.clear()
            try:
                await self._provision()
            except BusError as error:
                log.warning("streams_not_restored", error=str(error))
            await asyncio.sleep(RESTORE_PAUSE_S)

    async def _keep_partitions(self) -> None:
        """Keep partitions of history ready for the months to come."""
        while True:
            try:
                await history_partitions.ensure(self._store)
            except StoreError as error:
                log.warning("history_partitions_wait", error=str(error))
            await asyncio.sleep(PARTITIONS_PERIOD_S)

    async def _keep_time(self) -> None:
        """Follow the database's clock."""
        while True:
            await asyncio.sleep(CLOCK_PERIOD_S)
            try:
                await self._clock.refresh()
            except StoreError as error:
                log.warning("clock_not_refreshed", error=str(error))


def _start_of(new: NewExecution) -> Entry:
    """Return the entry that starts an execution which was created here, as its message would."""
    return Entry(
        execution_id=new.id,
        given=Admitted(),
        created=msgspec.Raw(encode(new.created)),
        created_at=new.at,
    )


def _unusable(execution_id: str, result: Result, error: Exception) -> Entry:
    """Return the entry that fails an attempt whose result can never be stored, so that it is not run for ever."""
    message = f"the result of worker {result.worker_id} could not be stored: {error!r}"
    failure = Failure(FailureKind.ERROR, "invalid_result", message)
    lost = AttemptLost(result.node_id, result.iteration, result.attempt, failure)
    return Entry(execution_id=execution_id, given=lost)
