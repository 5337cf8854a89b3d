"""The worker process: pulls tasks, carries them out, reports, acknowledges.

    pull ── Slots ── one asyncio task per attempt: read, run, report, ack
              │
            watch: keeps leases, shows what takes long, settles what does not stop

A task is acknowledged only once its result is stored in the scheduler's inbox, so whatever happens to
this process, the task is either answered or delivered again. Everything that is held, waiting tasks
included, is kept alive every 10 s. Going down (`stop`) is: pull no more, hand back what has not begun,
let what runs finish for `drain_seconds`, then stop that too and hand it back.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import msgspec
import structlog
from msgspec import UNSET

from bus.client import Bus, CoreMessage
from bus.credentials import CredentialClient
from bus.ending import end
from bus.errors import BusUnavailable
from bus.message import Message
from bus.payloads import PayloadClient
from bus.publisher import Publisher
from bus.pull import Arrivals, Pull
from contracts import subjects
from contracts.expressions.budget import DEFAULT_LIMITS, Limits
from contracts.failures import Failure
from contracts.limits import NodeLimits
from contracts.messages import (
    Announcement,
    CancelNotice,
    Heartbeat,
    LiveEvent,
    PauseNotice,
    Result,
    decode_announced,
    encode,
)
from contracts.model import Delivery
from contracts.payloads import PayloadError, PayloadLimits
from contracts.specs import fleets
from nodes.attempt_log import LOG_BYTES
from nodes.context import Clock, Services
from nodes.credentials import OperatorEnvironment
from nodes.http_client import HttpClient
from nodes.regex import Re2
from nodes.registry import Handler
from workers import segments
from workers.asking import Asker
from workers.attempt import (
    Attempts,
    Prepared,
    Tracer,
    UnreadableTask,
    not_called,
    timed_out,
)
from workers.credentials import StoredCredentials
from workers.held import Held, Stop
from workers.horizon import Horizon
from workers.payloads import Payloads
from workers.reports import ENVELOPE_BYTES, LEASE_SECONDS, Reporter, read_address
from workers.slots import Slots
from workers.telling import held_of

TICK_SECONDS: Final = 0.05
KEEP_ALIVE_SECONDS: Final = 10.0
SHOW_AFTER_SECONDS: Final = 0.05
PROGRESS_SECONDS: Final = 0.25
HEARTBEAT_SECONDS: Final = 5.0
CLEANUP_SECONDS: Final = 5.0
"""What a handler has after a cancel or its deadline, before the worker goes on without it."""

TAKEN_AT_ONCE: Final = 256
CANCELS_KEPT: Final = 1024
ANNOUNCE_PAUSE_SECONDS: Final = 30.0

_log: Final = structlog.get_logger("flotilla.workers")
_decode_pause: Final = msgspec.json.Decoder(PauseNotice).decode
_decode_cancel: Final = msgspec.json.Decoder(CancelNotice).decode


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process is told. `node_types` are types or families, empty for all it has handlers for.

    `limits` are those of expressions, `log_bytes` is LIMIT_LOG_BYTES; `worker_id` must be a token of a NATS subject.
    """

    nats_url: str
    nats_creds: str | None = None
    node_types: tuple[str, ...] = ()
    concurrency: int = 64
    drain_seconds: float = 30
    allowed_private_hosts: tuple[str, ...] = ()
    worker_id: str | None = None
    version: str = "0"
    limits: Limits = DEFAULT_LIMITS
    payloads: PayloadLimits = PayloadLimits()
    log_bytes: int = LOG_BYTES
    node_limits: NodeLimits = NodeLimits()
    environment: OperatorEnvironment = OperatorEnvironment()


async def run_worker(
    settings: WorkerSettings,
    handlers: Iterable[Handler],
    stop: asyncio.Event,
    tracer: Tracer | None = None,
) -> None:
    """Work until `stop` is set, then drain.

    Raises BusUnavailable if NATS cannot be reached at the start, BusClosed if it throws us out for
    good, and ValueError if no handler fits `node_types`.
    """
    served = serving(handlers, settings.node_types)
    worker_id = settings.worker_id or new_worker_id()
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(
            await Bus.connect(
                settings.nats_url, name=f"worker {worker_id}", credentials=settings.nats_creds
            )
        )
        publisher = await stack.enter_async_context(Publisher(bus))
        http = HttpClient(settings.allowed_private_hosts)
        stack.push_async_callback(http.aclose)
        threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="handler")
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        services = Services(
            http,
            settings.limits,
            Re2(),
            Clock(),
            settings.log_bytes,
            settings.node_limits,
            StoredCredentials(CredentialClient(bus)),
            settings.environment,
        )
        attempts = Attempts(
            served,
            services,
            worker_id=worker_id,
            value_bytes=settings.payloads.value,
            threads=threads,
            tracer=tracer,
        )
        limits = settings.payloads.within(bus.max_payload - ENVELOPE_BYTES)
        payloads = Payloads(PayloadClient(bus), limits)
        await Worker(settings, worker_id, served, bus, publisher, attempts, payloads).run(stop)


def serving(handlers: Iterable[Handler], node_types: tuple[str, ...]) -> tuple[Handler, ...]:
    """Return the handlers of these types and families; all of them if none are named.

    Raises ValueError for a name that stands for none: a typing error must not leave a queue unserved.
    """
    held = tuple(handlers)
    wanted = {name.strip().upper() for name in node_types}
    known = {each.spec.type for each in held} | {each.spec.family for each in held}
    if unknown := wanted - known:
        raise ValueError(f"no handler for the node types {', '.join(sorted(unknown))}")
    return tuple(
        each
        for each in held
        if not wanted or each.spec.type in wanted or each.spec.family in wanted
    )


def new_worker_id() -> str:
    """Return an id that no other process has, and that tells people where this one runs."""
    host = "".join(each if each.isalnum() or each == "-" else "-" for each in socket.gethostname())
    return f"{host[:40]}-{os.getpid()}-{secrets.token_hex(3)}"


class Worker:
    """One running worker. `held` are its tasks by subject, those that wait for a slot included."""

    def __init__(
        self,
        settings: WorkerSettings,
        worker_id: str,
        handlers: tuple[Handler, ...],
        bus: Bus,
        publisher: Publisher,
        attempts: Attempts,
        payloads: Payloads,
    ) -> None:
        self.held: dict[str, Held] = {}
        self._settings = settings
        self._worker_id = worker_id
        self._handlers = handlers
        self._node_types = tuple(dict.fromkeys(each.spec.type for each in handlers))
        self._bus = bus
        self._attempts = attempts
        self._payloads = payloads
        self._reporter = Reporter(bus, publisher, worker_id)
        self._asker = Asker(bus, self._reporter, payloads, worker_id)
        self._horizon = Horizon(bus)
        self._slots: Slots[Held] = Slots(settings.concurrency, self._node_types)
        self._arrivals = Arrivals()
        self._pulls: dict[str, Pull] = {}
        self._canceled: dict[str, None] = {}  # executions, the oldest first
        self._paused: dict[str, None] = {}
        self._started_at = datetime.now(UTC)
        self._loop = asyncio.get_running_loop()
        self._is_draining = False
        self._is_holding = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        # Attempts are not in the group: it would wait for a handler that never ends.
        self._attempts_running: set[asyncio.Task[None]] = set()
        self._fault: asyncio.Future[None] = self._loop.create_future()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, and return when everything is finished or handed back."""
        try:
            await self._run(stop)
        finally:
            # Nothing is left unless something of ours died: then every lease is left to lapse.
            for task in self._attempts_running:
                task.cancel()

    async def _run(self, stop: asyncio.Event) -> None:
        async with self._asker, self._tasks as tasks:
            background = [
                tasks.create_task(self._watch(), name="watch"),
                tasks.create_task(self._beat(), name="heartbeat"),
                tasks.create_task(self._horizon.run(), name="horizon"),
                tasks.create_task(self._announce(), name="announce"),
                tasks.create_task(self._bus.lost(), name="bus"),
                tasks.create_task(self._faulted(), name="attempts"),
            ]
            cancels = await self._bus.subscribe(subjects.cancel("*"), self._on_cancel)
            questions = await self._bus.subscribe(subjects.attempts("*"), self._on_question)
            pauses = await self._bus.subscribe(subjects.pause("*"), self._on_pause)
            await self._work(stop)
            await self._drain()
            await pauses.unsubscribe()
            await cancels.unsubscribe()
            await questions.unsubscribe()
            await end(*background)

    async def _work(self, stop: asyncio.Event) -> None:
        """Pull and start attempts until `stop` is set; untaken messages are handed back."""
        async with AsyncExitStack() as stack:
            for node_type in fleets(each.spec for each in self._handlers):
                self._pulls[node_type] = await stack.enter_async_context(self._pull(node_type))
            intake = self._tasks.create_task(self._take_in(), name="intake")
            _log.info("worker_started", worker_id=self._worker_id, node_types=self._node_types)
            await stop.wait()
            self._is_draining = True
            await end(intake)

    def _pull(self, node_type: str) -> Pull:
        return Pull(
            self._bus,
            subjects.TASKS,
            subjects.task_consumer(node_type),
            batch=2 * self._settings.concurrency,
            want=lambda: self._slots.want(node_type),
            arrivals=self._arrivals,
        )

    async def _take_in(self) -> None:
        while True:
            for message in await self._arrivals.take(TAKEN_AT_ONCE):
                self._hold(message)
            self._start_waiting()

    def _hold(self, message: Message) -> None:
        """Let a delivered task wait for a slot, unless it cannot be read or is here already."""
        address = read_address(message.subject)
        if address is None or address.node_type not in self._pulls:
            error = "the subject is not that of a task of this worker"
            self._tasks.create_task(self._reporter.report_unreadable(message, error))
        elif address.execution_id in self._canceled:
            self._tasks.create_task(message.ack())
        elif (already := self.held.get(message.subject)) is not None:
            # Our lease lapsed, and the server gave the task to us again: one attempt is enough.
            already.message = message
            already.kept_at = self._loop.time()
        else:
            held = self.held[message.subject] = Held(message, address, self._loop.time())
            self._slots.put(address.node_type, held)
            self._is_holding.set()

    def _start_waiting(self) -> None:
        while (held := self._slots.take()) is not None:
            held.started_at = self._loop.time()
            task = held.task = self._loop.create_task(self._carry_out(held))
            self._attempts_running.add(task)
            task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        """Take the process down with an attempt that died of a bug of ours."""
        self._attempts_running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._fault.done():
            self._fault.set_exception(error)

    async def _faulted(self) -> None:
        await self._fault

    async def _carry_out(self, held: Held) -> None:
        """The life of one attempt in its slot."""
        held.has_begun = True
        try:
            if held.stop is None:
                await self._attempt(held)
            else:
                await self._stopped(held)
        except asyncio.CancelledError:
            if held.stop is None:
                raise  # not this attempt: the whole process goes down
            await self._stopped(held)
        finally:
            self._leave(held)

    async def _attempt(self, held: Held) -> None:
        """Read, run and report, go on as long as the segment does, acknowledge."""
        try:
            told = self._attempts.read(held.message.data)
            is_elsewhere = self._may_be_elsewhere(held, told)
            prepared = await self._found(held, told) if is_elsewhere else told
        except UnreadableTask as error:
            await self._reporter.report_unreadable(held.message, str(error))
            return
        while prepared is not None:
            prepared = await self._step(held, prepared)

    async def _step(self, held: Held, prepared: Prepared) -> Prepared | None:
        """Carry one attempt out and report it; return the one to go on with, or acknowledge the task."""
        result = await self._result(held, prepared)
        if result is None:
            return None
        following = self._following(held, prepared, result)
        if following is not None:
            result = msgspec.structs.replace(result, goes_on=following.node.id)
        if self._payloads.is_heavy(result) and not held.is_settled:
            held.prepared = None  # the handler is done: its timeout counts no more
            result = await self._payloads.lightened(prepared, result)
        stored = None if held.is_settled else await self._reporter.report(held, result)
        if stored is None:
            return None
        if following is None or stored.goes_on is None:
            await held.message.ack()
            return None
        self._go_on(held, following)
        return following

    def _may_be_elsewhere(self, held: Held, prepared: Prepared) -> bool:
        """Whether a segment may have come further than its task tells, or to where this worker cannot go."""
        if prepared.task.head is not None and prepared.setup.handler is None:
            return True
        return prepared.segment is not None and self._horizon.is_behind(held.message)

    def _following(self, held: Held, prepared: Prepared, result: Result) -> Prepared | None:
        """Return the attempt to go on with, unless somebody else is to have it, or nobody now."""
        is_stopping = self._is_draining or held.stop is not None or held.is_settled
        has_lapsed = self._loop.time() - held.kept_at > LEASE_SECONDS
        if is_stopping or has_lapsed or held.address.execution_id in self._paused:
            return None
        return segments.following(prepared, result)

    def _go_on(self, held: Held, following: Prepared) -> None:
        assert held.started_at is not None
        address = segments.address_of(following)
        seconds = self._loop.time() - held.started_at
        self._slots.go_on(held.address.node_type, seconds, address.node_type)
        held.go_on(address)

    async def _found(self, held: Held, prepared: Prepared) -> Prepared | None:
        """Return the attempt that a segment whose worker was lost had come to; one that is over is acknowledged.

        Raises UnreadableTask.
        """
        answer = await self._asker.found(held, prepared, self._node_types)
        if answer is None:
            return None
        if answer.task is UNSET:
            await held.message.ack()
            return None
        found = self._attempts.read(bytes(answer.task))
        self._go_on(held, found)
        return found

    async def _result(self, held: Held, prepared: Prepared) -> Result | None:
        """Carry an attempt out, once its large values are there and it may be; return its result, if any."""
        node = prepared.node
        if prepared.may_refer:
            try:
                prepared = await self._payloads.filled(prepared)
            except PayloadError as error:
                return self._attempts.result(prepared, datetime.now(UTC), error.failure(node.id))
        if node.delivery is Delivery.AT_MOST_ONCE and not await self._may_start(held, prepared):
            return None
        held.started_at = self._loop.time()  # what came before took none of the node's time
        held.prepared = prepared
        keep = partial(self._asker.keep, held, prepared)
        return await self._attempts.run(prepared, held.note_progress, keep)

    async def _may_start(self, held: Held, prepared: Prepared) -> bool:
        """Ask whether the handler may be called; a task that may not is over, one without an answer comes again."""
        held.asking = prepared
        may_start = await self._asker.may_start(held, prepared)
        held.asking = None
        if may_start is False:
            held.is_settled = True
            await held.message.ack()
        return may_start is True

    async def _stopped(self, held: Held) -> None:
        """Answer for an attempt that was told to stop."""
        if held.is_settled:
            return
        held.is_settled = True
        if held.stop is Stop.CANCELED:
            await held.message.ack()
        elif held.asking is not None:
            # History may name a start that never was; the next delivery would be taken for a second one.
            failure = not_called(held.asking.node)
            await self._report_failure(held, held.asking, datetime.now(UTC), failure)
        else:
            await held.message.nak()

    def _leave(self, held: Held) -> None:
        """Give the slot to whoever waits for it."""
        node_type = held.address.node_type
        assert held.started_at is not None
        self.held.pop(held.message.subject, None)
        self._slots.release(node_type, self._loop.time() - held.started_at)
        if self._is_draining:
            return
        self._start_waiting()
        self._pulls[node_type].nudge()

    async def _on_cancel(self, message: CoreMessage) -> None:
        """Stop what is done for an execution, and drop what waits."""
        execution_id = _decode_cancel(message.data).execution_id
        self._canceled[execution_id] = None
        if len(self._canceled) > CANCELS_KEPT:
            del self._canceled[next(iter(self._canceled))]
        for held in [*self.held.values()]:
            if held.address.execution_id != execution_id:
                continue
            held.end(Stop.CANCELED)
            if self._slots.remove(held.address.node_type, held):
                del self.held[held.message.subject]
            # At once, not when the handler has cleaned up: nobody waits for its result.
            held.is_settled = True
            await held.message.ack()

    async def _on_question(self, message: CoreMessage) -> None:
        """Say what is held of an execution, if anything is."""
        execution_id = message.subject.rpartition(".")[2]
        told = held_of(
            execution_id, self.held.values(), worker_id=self._worker_id, now=self._loop.time()
        )
        if told is not None:
            await message.respond(encode(told))

    async def _on_pause(self, message: CoreMessage) -> None:
        """Go on with no further nodes of a paused execution: the scheduler dispatches what follows later."""
        notice = _decode_pause(message.data)
        self._paused.pop(notice.execution_id, None)
        if notice.paused:
            self._paused[notice.execution_id] = None
        if len(self._paused) > CANCELS_KEPT:
            del self._paused[next(iter(self._paused))]

    async def _watch(self) -> None:
        """Look at everything held, 20 times a second: one timer for all instead of several for each, and none at rest."""
        while True:
            await self._is_holding.wait()
            await asyncio.sleep(TICK_SECONDS)
            now = self._loop.time()
            for held in [*self.held.values()]:
                await self._keep_alive(held, now)
                if held.started_at is not None and held.prepared is not None:
                    await self._show(held, now)
                    self._give_up(held, now)
            if self._slots.may_ask_again():
                for pull in self._pulls.values():
                    pull.nudge()
            if not self.held:
                self._is_holding.clear()

    async def _keep_alive(self, held: Held, now: float) -> None:
        if now - held.kept_at < KEEP_ALIVE_SECONDS or not self._bus.is_connected:
            return
        held.kept_at = now
        if not held.is_settled:
            await held.message.in_progress()

    async def _show(self, held: Held, now: float) -> None:
        """Tell who watches live that an attempt has started, once it takes long enough to be seen."""
        assert held.started_at is not None
        if not held.is_shown and now - held.started_at >= SHOW_AFTER_SECONDS:
            held.is_shown = True
            await self._show_live(held, "node_started", {"worker_id": self._worker_id})
        is_due = held.is_shown and now - held.progress_at >= PROGRESS_SECONDS
        if is_due and held.progress is not None:
            (message, percent), held.progress = held.progress, None
            held.progress_at = now
            data: dict[str, str | float] = {"message": message}
            await self._show_live(
                held, "node_progress", data if percent is None else data | {"percent": percent}
            )

    async def _show_live(self, held: Held, kind: str, data: dict[str, str | float]) -> None:
        address = held.address
        live = LiveEvent(
            address.execution_id,
            kind,
            datetime.now(UTC),
            address.node_id,
            address.iteration,
            address.attempt,
            data,
        )
        await self._bus.publish(subjects.live(address.execution_id, kind), encode(live))

    def _give_up(self, held: Held, now: float) -> None:
        """Report a timeout for a handler that goes on in spite of it; its slot stays taken."""
        assert held.started_at is not None
        assert held.prepared is not None
        overdue = held.started_at + held.prepared.node.timeout + CLEANUP_SECONDS
        if now > overdue and not held.is_settled and held.stop is None:
            held.is_settled = True
            self._tasks.create_task(self._settle(held))

    async def _settle(self, held: Held) -> None:
        assert held.prepared is not None
        prepared, node = held.prepared, held.prepared.node
        _log.error(
            "handler_overdue",
            execution_id=held.address.execution_id,
            node_id=node.id,
            node_type=node.type,
        )
        started_at = datetime.now(UTC) - timedelta(seconds=node.timeout + CLEANUP_SECONDS)
        await self._report_failure(held, prepared, started_at, timed_out(node))

    async def _report_failure(
        self, held: Held, prepared: Prepared, started_at: datetime, failure: Failure
    ) -> None:
        """Report a failure in place of what the handler would have answered."""
        result = self._attempts.result(prepared, started_at, failure)
        if await self._reporter.report(held, result):
            await held.message.ack()

    async def _beat(self) -> None:
        while True:
            await self._send_heartbeat()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _send_heartbeat(self) -> None:
        heartbeat = Heartbeat(
            worker_id=self._worker_id,
            node_types=self._node_types,
            slots=self._slots.count,
            busy=self._slots.busy,
            version=self._settings.version,
            host=socket.gethostname(),
            started_at=self._started_at,
            status="DRAINING" if self._is_draining else "ALIVE",
        )
        await self._bus.publish(subjects.heartbeat(self._worker_id), encode(heartbeat))

    async def _announce(self) -> None:
        """Tell a scheduler our specs until one has stored them."""
        specs = tuple(spec for each in self._handlers for spec in each.specs)
        announcement = encode(Announcement(self._worker_id, specs))
        pause = 0.5
        while (error := await self._announced(announcement)) is not None:
            _log.info("announcement_pending", worker_id=self._worker_id, error=error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, ANNOUNCE_PAUSE_SECONDS)
        _log.info("announced", worker_id=self._worker_id)
        await self._send_heartbeat()  # the first one may have found nobody who listens

    async def _announced(self, announcement: bytes) -> str | None:
        """Announce once; return what was wrong, or None."""
        try:
            answer = await self._bus.request(subjects.ANNOUNCE, announcement)
            return decode_announced(answer.data).error
        except BusUnavailable as error:
            return str(error)
        except msgspec.DecodeError as error:
            return f"the answer is unreadable: {error}"

    async def _drain(self) -> None:
        """Hand back what has not begun, let the rest finish, then stop that too."""
        await self._send_heartbeat()
        for held in self._slots.withdraw():
            self.held.pop(held.message.subject, None)
            await held.message.nak()
        running = len(self._attempts_running)
        _log.info("worker_draining", worker_id=self._worker_id, running=running)
        await self._finish(self._settings.drain_seconds)
        for held in [*self.held.values()]:
            held.end(Stop.DRAINED)
        await self._finish(CLEANUP_SECONDS)
        if stuck := len(self._attempts_running):
            _log.warning("attempts_abandoned", worker_id=self._worker_id, attempts=stuck)

    async def _finish(self, seconds: float) -> None:
        """Wait for the attempts to end, so long at most."""
        if self._attempts_running:
            await asyncio.wait(self._attempts_running, timeout=seconds)
