"""The live view of one execution: server-sent events without a gap.

Core messages may be lost, repeated or overtaken; history may not. So the stream subscribes first, then
reads history, and from there on takes what comes in by its seq: an old event is dropped, the next one
shown, and a later one sends it back to history for what is missing. Every heartbeat looks there too,
so that a lost last event delays the end of the stream and no more.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from bus.client import Bus, CoreMessage
from contracts import messages, subjects
from contracts.history import TERMINAL_KINDS, EventMessage, NodeRunRef
from gateway.lifecycle import Lifecycle

ReadHistory = Callable[[int], Awaitable[Sequence[EventMessage]]]
"""Reads the events after a seq: some of them, in order; none when there are none."""

BACKLOG: Final = 1_000
"""Messages that may wait for a slow reader; what comes beyond is read from history."""

HEARTBEAT: Final = b": still here\n\n"

_encode: Final = msgspec.json.Encoder().encode
_decode_event: Final = msgspec.json.Decoder(EventMessage).decode


class _Wake(msgspec.Struct, frozen=True):
    """Something besides messages: the process drains, or messages were dropped."""


_WAKE: Final = _Wake()
_Item = EventMessage | messages.LiveEvent | _Wake


class _Mailbox:
    """What came in and is not shown yet. It never blocks: what does not fit is read from history."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[_Item] = asyncio.Queue(BACKLOG)

    async def recorded(self, message: CoreMessage) -> None:
        """Take in a recorded event."""
        self.put(_decode_event(message.data))

    async def live(self, message: CoreMessage) -> None:
        """Take in an event that is shown and not recorded."""
        self.put(messages.decode_live(message.data))

    def wake(self) -> None:
        """Make the reader look up."""
        self.put(_WAKE)

    def put(self, item: _Item) -> None:
        """Keep an item if there is room."""
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait(item)

    async def take(self, seconds: float) -> _Item | None:
        """Return the next item, or None if none comes in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._queue.get()
        except TimeoutError:
            return None


async def execution_events(
    bus: Bus,
    lifecycle: Lifecycle,
    execution_id: str,
    *,
    after_seq: int,
    read_history: ReadHistory,
    heartbeat_seconds: float,
) -> AsyncIterator[bytes]:
    """Yield the events of an execution after `after_seq` as server-sent events, until its last one."""
    mailbox = _Mailbox()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(lifecycle.telling(mailbox.wake))
        for subject, take_in in (
            (subjects.events_of_execution(execution_id), mailbox.recorded),
            (subjects.live_of_execution(execution_id), mailbox.live),
        ):
            subscription = await bus.subscribe(subject, take_in)
            stack.push_async_callback(subscription.unsubscribe)
        await bus.flush()  # from here on the server knows of our interest

        seen = after_seq
        item: _Item | None = None
        while not lifecycle.is_draining:
            if _asks_history(item, seen):
                while events := await read_history(seen):
                    for event in events:
                        seen = event.seq
                        yield recorded(event)
                    if events[-1].kind in TERMINAL_KINDS:
                        return
            if isinstance(item, messages.LiveEvent):
                yield unrecorded(item)
            elif isinstance(item, EventMessage):
                if item.seq == seen + 1:
                    seen = item.seq
                    yield recorded(item)
                    if item.kind in TERMINAL_KINDS:
                        return
                for dispatched in dispatches(item):
                    yield unrecorded(dispatched)
            elif item is None:
                yield HEARTBEAT
            item = await mailbox.take(heartbeat_seconds)


def _asks_history(item: _Item | None, seen: int) -> bool:
    """Whether something may be missing: at the beginning, after a silence, and where a seq was left out."""
    if isinstance(item, EventMessage):
        return item.seq > seen + 1
    return not isinstance(item, messages.LiveEvent)


def recorded(event: EventMessage) -> bytes:
    """Return a recorded event as a server-sent one: its id is its seq."""
    plain = msgspec.structs.replace(event, dispatched=()) if event.dispatched else event
    return b"id: %d\n%s" % (event.seq, _framed(event.kind, _encode(plain)))


def unrecorded(event: messages.LiveEvent) -> bytes:
    """Return an unrecorded event as a server-sent one: it has no id, so no reader resumes there."""
    return _framed(event.kind, _encode(event))


def dispatches(event: EventMessage) -> Iterator[messages.LiveEvent]:
    """Yield one `node_dispatched` for each node run that an event made ready."""
    for ref in event.dispatched:
        yield _dispatched(event.execution_id, event.at, ref)


def _dispatched(execution_id: str, at: datetime, ref: NodeRunRef) -> messages.LiveEvent:
    return messages.LiveEvent(
        execution_id=execution_id,
        kind="node_dispatched",
        at=at,
        node_id=ref.node_id,
        iteration=ref.iteration,
    )


def _framed(kind: str, data: bytes) -> bytes:
    # JSON has line breaks only between its tokens, where a blank says the same.
    line = data.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), line)
