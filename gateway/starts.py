"""Starting executions: committed in groups, then told to the scheduler.

The client's 202 depends on the commit alone. The message after it only spares the scheduler a search:
an execution whose message was lost is found by the scheduler's sweeper.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

import db.executions
import db.idempotency
from bus.client import Bus
from bus.errors import BusError
from bus.publisher import Ack, Publisher
from contracts import messages, subjects
from contracts.history import By
from contracts.payloads import PayloadLimits
from db.errors import StoreUnavailable
from db.executions import NewExecution
from db.idempotency import Claim
from db.store import Session, Store
from gateway.batches import Batches
from gateway.metrics import Metrics

log = structlog.get_logger("gateway")

MAX_BATCH = 200
MAX_UNACKNOWLEDGED = 2_000
"""Starts that may wait for NATS; further ones are left to the sweeper."""

INLINE_BYTES = 512 * 1024
"""The first event travels along up to this size; the scheduler reads a larger one itself."""


class Starter:
    """Commits new executions and publishes their start."""

    def __init__(self, store: Store, bus: Bus, metrics: Metrics, limits: PayloadLimits) -> None:
        self._limits = limits
        self._store = store
        self._bus = bus
        self._metrics = metrics
        self._publisher: Publisher | None = None
        self._batches: Batches[NewExecution, bool] = Batches(
            "create-executions", self._create, limit=MAX_BATCH, shared=(StoreUnavailable,)
        )

    async def start(self) -> None:
        """Be ready to publish."""
        self._publisher = Publisher(self._bus)
        await self._publisher.__aenter__()

    async def stop(self) -> None:
        """Wait for the commits under way, and forget acknowledgements to come."""
        await self._batches.aclose()
        if self._publisher is not None:
            await self._publisher.__aexit__(None, None, None)

    @property
    def publisher(self) -> Publisher:
        """The way to JetStream."""
        assert self._publisher is not None, "the gateway works within its lifespan"
        return self._publisher

    async def create(self, new: NewExecution) -> bool:
        """Commit an execution and publish its start; False if its idempotency key was used before.

        Raises StoreUnavailable; an execution may have been committed then.
        """
        new = new.lightened(self._limits)
        if not await self._batches.add(new):
            return False
        self._metrics.executions_created.inc()
        await self._publish(new)
        return True

    async def create_all(self, batch: Sequence[NewExecution], claim: Claim | None) -> bool:
        """Commit executions together and publish their starts; False, and nothing is done, if `claim` is taken.

        Raises StoreUnavailable; they may have been committed then.
        """

        async def is_first(session: Session) -> bool:
            return claim is None or await db.idempotency.claim(session, claim)

        return await self.create_if(is_first, batch)

    async def create_if(
        self, is_first: Callable[[Session], Awaitable[bool]], batch: Sequence[NewExecution]
    ) -> bool:
        """Commit executions together with what `is_first` writes, and publish their starts; nothing if it says no.

        Raises StoreUnavailable; they may have been committed then.
        """
        async with self._store.transaction() as session:
            if not await is_first(session):
                return False
            await db.executions.create(session, batch)
        self._metrics.executions_created.inc(len(batch))
        for new in batch:
            await self._publish(new)
        return True

    async def publish_cancel(self, execution_id: str, *, user_id: str) -> None:
        """Have the scheduler end an execution, without waiting for its answer. Raises BusError."""
        command = messages.CancelExecution(
            execution_id=execution_id, by=By(source="API", user_id=user_id)
        )
        await self.publisher.store(
            subjects.command("cancel", execution_id), messages.encode(command)
        )

    async def _create(self, batch: Sequence[NewExecution]) -> Sequence[bool]:
        created = await db.executions.create(self._store, batch)
        return [new.id in created for new in batch]

    async def _publish(self, new: NewExecution) -> None:
        """Publish a start without waiting for its acknowledgement."""
        if not self._bus.is_connected or self.publisher.outstanding >= MAX_UNACKNOWLEDGED:
            self._metrics.starts_unpublished.inc()
            return
        try:
            ack = await self.publisher.send(subjects.command("start", new.id), _start(new))
        except BusError as error:
            log.warning("start_not_published", execution_id=new.id, error=str(error))
            self._metrics.starts_unpublished.inc()
        else:
            ack.add_done_callback(self._acknowledged)

    def _acknowledged(self, ack: asyncio.Future[Ack]) -> None:
        if ack.cancelled() or not ack.result().is_good:
            self._metrics.starts_unpublished.inc()


def _start(new: NewExecution) -> bytes:
    """Return the message about a new execution; one that takes something over is read by the scheduler."""
    if new.carried:
        return messages.encode(messages.StartExecution(execution_id=new.id))
    return messages.start_of(new.id, new.created, new.at)
