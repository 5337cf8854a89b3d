"""Trigger events: a message on `flotilla.trigger.<name>` starts the workflows whose pattern fits.

Each start happens once: the execution's id derives from the stored message, and a `Nats-Msg-Id` is
remembered for a day per namespace, subject and trigger. The message is acknowledged after the commit.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from bus.errors import BusClosed, BusError
from bus.message import ACK, Message
from bus.pull import Pull
from bus.wire import Sendable
from contracts import subjects
from contracts.execution.trigger_scope import workflow_scope
from contracts.expressions.budget import DEFAULT_LIMITS
from contracts.expressions.errors import ExpressionError
from contracts.expressions.interpreter import condition
from contracts.expressions.regex import Regex
from contracts.history import ExecutionCreated, TriggerNode
from contracts.ids import derived_uuid7, is_uuid
from contracts.messages import encode
from contracts.model import Settings
from contracts.payloads import KEY, PayloadLimits, holds_reserved_key, may_refer
from contracts.slots import placed
from contracts.statuses import Mode
from contracts.strict_json import MalformedJson, read_json
from contracts.times import rfc3339
from db import executions, triggers
from db.errors import StoreUnavailable
from db.executions import NewExecution
from db.store import Store
from db.triggers import ArmedTrigger
from scheduler.dead_letters import Letters, letter_of
from scheduler.executions import Plans

log: Final = structlog.get_logger()

BATCH: Final = 200
STORE_PAUSE_S: Final = 1.0
EVENT_TRIGGER: Final = "TRIGGER.EVENT"
MAX_NAME_TOKENS: Final = 16

Start = Callable[[Sequence[NewExecution]], Awaitable[None]]
Tell = Callable[[Sequence[Sendable]], Awaitable[Mapping[int, BusError]]]


class Occurrence(msgspec.Struct, frozen=True):
    """A trigger event that was read: whose it is and what it says. `value` is `data` as JSON."""

    message: Message
    namespace: str
    name: str
    at: datetime
    data: dict[str, Any]
    value: msgspec.Raw


class Triggers:
    """Starts executions for trigger events.

    `start` tells the owners of new executions to go on, `tell` sends acknowledgements together.
    """

    def __init__(
        self,
        store: Store,
        letters: Letters,
        plans: Plans,
        *,
        start: Start,
        tell: Tell,
        default_namespace: str | None,
        regex: Regex,
        limits: PayloadLimits,
    ) -> None:
        self._store = store
        self._letters = letters
        self._plans = plans
        self._start = start
        self._tell = tell
        self._default_namespace = default_namespace
        self._regex = regex
        self._limits = limits
        self.unmatched = 0
        self.filtered = 0

    async def run(self, pull: Pull) -> None:
        """Take events until canceled; while the store is away they wait in the stream."""
        while True:
            await self._carry(await pull.take(BATCH))

    async def _carry(self, batch: Sequence[Message]) -> None:
        """Handle a batch; an event that never can be becomes a dead letter and stops no other."""
        while batch:
            try:
                await self.handle(batch)
            except StoreUnavailable as error:
                log.warning("triggers_wait", error=str(error))
                await asyncio.sleep(STORE_PAUSE_S)
            except BusClosed:
                raise
            except Exception as error:  # noqa: BLE001  # one event must not stop all
                batch = await self._isolate(batch, error)
            else:
                return

    async def _isolate(self, batch: Sequence[Message], error: Exception) -> Sequence[Message]:
        """Carry half of the batch through and return the rest; of a single event nothing is left but a letter."""
        if len(batch) == 1:
            letter = letter_of(batch[0], "TRIGGER", "UNREADABLE", repr(error))
            self._letters.add(letter, batch[0])
            return ()
        half = len(batch) // 2
        await self._carry(batch[:half])
        return batch[half:]

    async def handle(self, batch: Sequence[Message]) -> None:
        """Start what a batch of events calls for, in one commit, and acknowledge it."""
        occurrences = [each for message in batch if (each := self._read(message)) is not None]
        if not occurrences:
            return
        namespaces = {each.namespace for each in occurrences}
        armed = await triggers.armed(self._store, sorted(namespaces))
        new = [
            await self._new(occurrence, trigger)
            for occurrence in occurrences
            for trigger in await self._fitting(occurrence, armed)
        ]
        created = await executions.create(self._store, new) if new else frozenset()
        await self._start([each for each in new if each.id in created])
        await self._tell([each.message.sendable(ACK) for each in occurrences])

    async def _new(self, occurrence: Occurrence, trigger: ArmedTrigger) -> NewExecution:
        """Return the execution that an event starts, with the settings of its workflow."""
        plan = await self._plans.load(trigger.version_id)
        settings = plan.document.settings if plan is not None else Settings()
        new = new_execution(occurrence, trigger, settings.priority)
        created = placed(new.created, settings, self._regex)
        return msgspec.structs.replace(new, created=created).lightened(self._limits)

    def _read(self, message: Message) -> Occurrence | None:
        """Read an event; one that has no owner or no readable name becomes a dead letter."""
        headers = message.headers or {}
        namespace = headers.get(subjects.NAMESPACE_HEADER) or self._default_namespace
        if namespace is None or not is_uuid(namespace):
            error = (
                f"the header {subjects.NAMESPACE_HEADER} names no namespace and no "
                "DEFAULT_NAMESPACE is set; send the id of the user whose workflows to start"
            )
            self._letters.add(letter_of(message, "TRIGGER", "NO_NAMESPACE", error), message)
            return None
        name = message.subject.removeprefix(f"{subjects.TRIGGER_PREFIX}.")
        if len(name.split(".")) > MAX_NAME_TOKENS:
            error = f"the trigger's name has more than {MAX_NAME_TOKENS} tokens"
            self._letters.add(letter_of(message, "TRIGGER", "UNREADABLE", error), message)
            return None
        data = {
            "subject": name,
            "data": _body(message.data),
            "headers": dict(headers),
            "received_at": rfc3339(message.timestamp),
        }
        if message_id := headers.get(subjects.MESSAGE_ID_HEADER):
            data["message_id"] = message_id
        value = encode(data)
        if may_refer(value) and holds_reserved_key(data):
            error = f"an object in the event has the lone key {KEY}, which is the engine's"
            self._letters.add(letter_of(message, "TRIGGER", "UNREADABLE", error), message)
            return None
        return Occurrence(message, namespace, name, message.timestamp, data, msgspec.Raw(value))

    async def _fitting(
        self, occurrence: Occurrence, armed: Iterable[ArmedTrigger]
    ) -> list[ArmedTrigger]:
        """Return the triggers of the event's namespace whose pattern fits and whose filter passes it."""
        fitting = [
            each
            for each in armed
            if each.user_id == occurrence.namespace
            and subjects.trigger_matches(each.subject, occurrence.name)
        ]
        if not fitting:
            self.unmatched += 1
        return [each for each in fitting if await self._passes(each, occurrence)]

    async def _passes(self, trigger: ArmedTrigger, occurrence: Occurrence) -> bool:
        """Whether the trigger's filter lets the event through; a failing filter starts nothing."""
        if trigger.filter is None:
            return True
        plan = await self._plans.load(trigger.version_id)
        scope = {
            "message": occurrence.data,
            "now": occurrence.at,
            **({} if plan is None else workflow_scope(plan)),
        }
        try:
            passes = condition(trigger.filter, scope, DEFAULT_LIMITS, self._regex)
        except ExpressionError as error:
            log.warning(
                "trigger_filter_failed",
                workflow_id=trigger.workflow_id,
                node_id=trigger.node_id,
                error=str(error),
            )
            passes = False
        self.filtered += not passes
        return passes


def new_execution(
    occurrence: Occurrence,
    trigger: ArmedTrigger,
    priority: int = 0,
) -> NewExecution:
    """Return the execution that an event starts; the same message always gives the same id."""
    key = f"{occurrence.message.stream_seq}:{trigger.workflow_id}:{trigger.node_id}"
    message_id = occurrence.data.get("message_id")
    route = f"trigger:{occurrence.name}:{trigger.workflow_id}:{trigger.node_id}"
    return NewExecution(
        id=derived_uuid7(occurrence.at, key),
        user_id=trigger.user_id,
        workflow_id=trigger.workflow_id,
        version_id=trigger.version_id,
        mode=Mode.TRIGGER,
        priority=priority,
        metadata={},
        created=ExecutionCreated(
            workflow_id=trigger.workflow_id,
            version_id=trigger.version_id,
            user_id=trigger.user_id,
            mode=Mode.TRIGGER,
            input=occurrence.value,
            trigger=TriggerNode(trigger.node_id, EVENT_TRIGGER),
            priority=priority,
            traceparent=occurrence.message.traceparent or new_traceparent(),
        ),
        at=occurrence.at,
        idempotency=(route, message_id) if message_id else None,
    )


def new_traceparent() -> str:
    """Return the W3C trace context of a trace that begins here."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"


def _body(data: bytes) -> Any:
    """Return a message's body: parsed JSON, else its text."""
    try:
        return read_json(data)
    except MalformedJson:
        return data.decode("utf-8", errors="replace").replace("\x00", "\ufffd")
