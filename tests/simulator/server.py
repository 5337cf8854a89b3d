"""The simulated NATS server: streams that deliver until they hear an acknowledgement, or forget, or hold things up.

One stream of each kind with one consumer on it: what differs between consumers (sixteen partitions, many node types) is who
receives, and that is asked of a `Receiver` for each message anew.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import msgspec

from bus.message import IN_PROGRESS, NAK
from bus.publisher import STILL_THERE, STORE_FAILED
from contracts import subjects
from tests.simulator.chaos import Chaos

STORED: Final = b'{"stream":"simulated","seq":1}'
IS_THERE: Final = msgspec.json.encode(
    {"error": {"err_code": STORE_FAILED, "description": STILL_THERE}}
)
NO_STREAM: Final = b""
ANSWER_DELAY_S: Final = 5.0
"""How long a sender waits for an acknowledgement before it sends again."""

TASK_ACK_WAIT_S: Final = 30.0
TASK_DELIVERIES: Final = 5
INBOX_ACK_WAIT_S: Final = 10.0
ADVISORY_ACK_WAIT_S: Final = 30.0

Answered = Callable[[bytes], None]
Receiver = Callable[["Stored"], bool]
"""Takes a delivery; False if nobody is there."""


class Stored:
    """A message in a stream. `body` is what was encoded, for those who watch."""

    __slots__ = ("body", "data", "deliveries", "seq", "stored_at", "subject", "timer")

    def __init__(self, seq: int, subject: str, data: bytes, body: Any, stored_at: float) -> None:
        self.seq = seq
        self.subject = subject
        self.data = data
        self.body = body
        self.stored_at = stored_at
        self.deliveries = 0
        self.timer: asyncio.TimerHandle | None = None


class Stream:
    """A work queue with one consumer."""

    def __init__(
        self,
        server: "Server",
        kind: str,
        *,
        ack_wait: float,
        most_deliveries: int | None = None,
        is_one_per_subject: bool = False,
    ) -> None:
        self._server = server
        self._kind = kind
        self._ack_wait = ack_wait
        self._most_deliveries = most_deliveries
        self._is_one_per_subject = is_one_per_subject
        self._seq = 0
        self._nobody: deque[Stored] = deque()
        self.messages: dict[int, Stored] = {}
        self.subjects: dict[str, int] = {}
        self.receiver: Receiver = _nobody
        self.exhausted: Callable[[Stored], None] = _ignored
        self.is_there = True

    def __repr__(self) -> str:
        state = "there" if self.is_there else "missing"
        held = ", ".join(f"{each.subject} ({each.deliveries})" for each in self.messages.values())
        return f"{self._kind} stream, {state}, holding [{held}], {len(self._nobody)} for nobody"

    def publish(self, subject: str, data: bytes, body: Any, answered: Answered) -> None:
        """Send a message here; `answered` is called with the acknowledgement, unless that is lost."""
        chaos = self._server.chaos
        if chaos.strikes(f"{self._kind}_dropped"):
            return
        delay = chaos.latency()
        if chaos.strikes(f"{self._kind}_delayed"):
            delay += chaos.chance.uniform(0.1, 15)
        self._server.later(delay, self._store, subject, data, body, answered)

    def put(self, subject: str, data: bytes, body: Any) -> None:
        """Store a message of the server's own."""
        self._add(subject, data, body)

    def acknowledge(self, seq: int) -> None:
        """Take a message off: its work is done."""
        stored = self.messages.pop(seq, None)
        if stored is not None:
            self.subjects.pop(stored.subject, None)
            _stop(stored)

    def hand_back(self, seq: int, delay: float) -> None:
        """Deliver a message again after a while."""
        stored = self.messages.get(seq)
        if stored is not None:
            _stop(stored)
            stored.timer = self._server.later(delay, self._offer, stored)

    def extend(self, seq: int) -> None:
        """Let the ack wait of a message begin anew."""
        stored = self.messages.get(seq)
        if stored is not None:
            _stop(stored)
            stored.timer = self._server.later(self._ack_wait, self._offer, stored)

    def wipe(self) -> None:
        """Forget everything, the stream itself included.

        Its successor counts from one again: a late acknowledgement hits a message that was never worked on.
        """
        for stored in self.messages.values():
            _stop(stored)
        self.messages.clear()
        self.subjects.clear()
        self._nobody.clear()
        self._seq = 0
        self.is_there = False

    def nudge(self) -> None:
        """Offer again what nobody was there for."""
        waiting, self._nobody = self._nobody, deque()
        for stored in waiting:
            self._offer(stored)

    def _store(self, subject: str, data: bytes, body: Any, answered: Answered) -> None:
        chaos = self._server.chaos
        if not self.is_there:
            answer = NO_STREAM
        elif self._is_one_per_subject and subject in self.subjects:
            answer = IS_THERE
        else:
            answer = STORED
            if not chaos.strikes(f"{self._kind}_forgotten"):
                self._add(subject, data, body)
        if not chaos.strikes(f"{self._kind}_ack_dropped"):
            answered(answer)

    def _add(self, subject: str, data: bytes, body: Any) -> None:
        self._seq += 1
        stored = Stored(self._seq, subject, data, body, self._server.now())
        self.messages[stored.seq] = stored
        self.subjects[subject] = stored.seq
        self._server.later(self._server.chaos.latency(), self._offer, stored)

    def _offer(self, stored: Stored) -> None:
        """Deliver a message, or give it up after too many deliveries."""
        if self.messages.get(stored.seq) is not stored:
            return
        _stop(stored)
        if self._most_deliveries is not None and stored.deliveries >= self._most_deliveries:
            self.exhausted(stored)
            return
        chaos = self._server.chaos
        if chaos.strikes(f"{self._kind}_delivery_lost"):
            stored.deliveries += 1
        elif not self._deliver(stored):
            self._nobody.append(stored)
            return
        elif chaos.strikes(f"{self._kind}_delivered_twice"):
            self._deliver(stored)
        if self.messages.get(stored.seq) is stored:
            stored.timer = self._server.later(self._ack_wait, self._offer, stored)

    def _deliver(self, stored: Stored) -> bool:
        stored.deliveries += 1
        if self.receiver(stored):
            return True
        stored.deliveries -= 1
        return False


class Server:
    """All streams, and the acknowledgements and requests about them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chaos: Chaos) -> None:
        self._loop = loop
        self.chaos = chaos
        self.later = loop.call_later
        self.now = loop.time
        self.tasks = Stream(
            self,
            "task",
            ack_wait=TASK_ACK_WAIT_S,
            most_deliveries=TASK_DELIVERIES,
            is_one_per_subject=True,
        )
        self.inbox = Stream(self, "inbox", ack_wait=INBOX_ACK_WAIT_S)
        self.advisories = Stream(self, "inbox", ack_wait=ADVISORY_ACK_WAIT_S)
        self.streams = {
            subjects.TASKS: self.tasks,
            subjects.INBOX: self.inbox,
            subjects.ADVISORIES: self.advisories,
        }
        self.tasks.exhausted = self._exhausted

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be delivered or acknowledged."""
        return not any(stream.messages for stream in self.streams.values())

    def stream_of(self, kind: str) -> Stream | None:
        """Return the stream that takes subjects `flotilla.<kind>.>`, if one does."""
        return {"task": self.tasks, "inbox": self.inbox}.get(kind)

    def wipe(self) -> None:
        """Lose the store, as if its folder had been deleted."""
        for stream in self.streams.values():
            stream.wipe()

    def provision(self) -> None:
        """Make the streams that are missing."""
        for stream in self.streams.values():
            stream.is_there = True

    def nudge(self) -> None:
        """Somebody is there who was not before."""
        for stream in self.streams.values():
            stream.nudge()

    def send(
        self,
        stream: Stream,
        subject: str,
        data: bytes,
        body: Any,
        *,
        tries: int,
        done: Callable[[], None] | None = None,
    ) -> None:
        """Publish for somebody who sends again until he hears that it is stored, at most so many times; then call `done`."""
        heard: list[bytes] = []

        def answered(answer: bytes) -> None:
            heard.append(answer)
            if answer == STORED and done is not None:
                done()

        def again() -> None:
            if STORED not in heard:
                self.send(stream, subject, data, body, tries=tries - 1, done=done)

        stream.publish(subject, data, body, answered)
        if tries > 1:
            self.later(ANSWER_DELAY_S, again)

    def answer(self, reply: str, data: bytes) -> None:
        """Take what a client answers to a delivery (`$JS.ACK.<stream>.<consumer>.<delivered>.<seq>...`)."""
        _, _, name, _, _, seq, *_ = reply.split(".")
        stream = self.streams[name]
        if data.startswith(NAK):
            delay = msgspec.json.decode(data[len(NAK) :] or b"{}").get("delay", 0)
            stream.hand_back(int(seq), timedelta(microseconds=delay // 1000).total_seconds())
        elif data == IN_PROGRESS:
            stream.extend(int(seq))
        else:
            stream.acknowledge(int(seq))

    def _exhausted(self, stored: Stored) -> None:
        advisory = {
            "type": "io.nats.jetstream.advisory.v1.max_deliver",
            "stream_seq": stored.seq,
            "deliveries": stored.deliveries,
        }
        subject = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"
        self.advisories.put(subject, msgspec.json.encode(advisory), stored.body)


def _stop(stored: Stored) -> None:
    if stored.timer is not None:
        stored.timer.cancel()
        stored.timer = None


def _nobody(_: Stored) -> bool:
    return False


def _ignored(_: Stored) -> None:
    return None
