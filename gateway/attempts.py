"""Which worker carries out what, as far as it was heard: workers say so of attempts that take a moment.

Nothing rests on it. A gateway that was started later, or missed the message, knows less.
"""

from datetime import datetime
from typing import Final, NamedTuple

from bus.client import Bus, CoreMessage, Subscription
from contracts import messages, subjects
from contracts.ids import Iteration
from gateway.versions import Recent

KEPT: Final = 20_000

_KIND: Final = "node_started"


class Attempt(NamedTuple):
    """One attempt of a node run."""

    execution_id: str
    node_id: str
    iteration: Iteration
    number: int


class Heard(NamedTuple):
    """Who began an attempt, and when, by the worker's clock."""

    worker_id: str
    at: datetime


class Attempts:
    """The attempts heard of last."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._heard: Recent[Attempt, Heard] = Recent(KEPT)
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Begin to listen."""
        self._subscription = await self._bus.subscribe(subjects.live_of_kind(_KIND), self._receive)

    async def stop(self) -> None:
        """Listen no more."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    def of(self, attempt: Attempt) -> Heard | None:
        """Return who began an attempt, if that was heard."""
        return self._heard.get(attempt)

    async def _receive(self, message: CoreMessage) -> None:
        event = messages.decode_live(message.data)
        worker_id = event.data.get("worker_id")
        if isinstance(worker_id, str):
            key = Attempt(event.execution_id, event.node_id, event.iteration, event.attempt)
            self._heard.keep(key, Heard(worker_id, event.at))
