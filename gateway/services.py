"""What operations work with: the connections of the process, and what is kept on top of them."""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from bus.client import Bus
from bus.services import Service
from contracts.expressions.regex import Regex
from contracts.schedules import Calendar
from db.store import Store
from gateway.attempts import Attempts
from gateway.catalogue import CatalogueCache
from gateway.documents import Documents
from gateway.endings import Endings
from gateway.histories import Histories
from gateway.input_schemas import InputSchemas
from gateway.lifecycle import Lifecycle
from gateway.metrics import Metrics
from gateway.rates import Rates
from gateway.readers import Readers
from gateway.settings import GatewaySettings
from gateway.starts import Starter
from gateway.versions import Versions
from gateway.workflow_heads import WorkflowHeads


class Gateway:
    """The services of one gateway. It serves within its context, which whoever owns the connections enters."""

    def __init__(
        self, settings: GatewaySettings, store: Store, bus: Bus, regex: Regex, calendar: Calendar
    ) -> None:
        self.settings = settings
        self.store = store
        self.bus = bus
        self.regex = regex
        self.calendar = calendar
        self.metrics = Metrics()
        self.lifecycle = Lifecycle()
        self.catalogue = CatalogueCache(store, seconds=settings.catalogue_seconds)
        self.input_schemas = InputSchemas(regex)
        self.documents = Documents(
            store, self.catalogue, regex, self.input_schemas, calendar, settings.limits
        )
        self.versions = Versions(store, self.catalogue)
        self.starter = Starter(store, bus, self.metrics, settings.limits.payloads)
        self.workflow_heads = WorkflowHeads(store)
        self.histories = Histories(store)
        self.endings = Endings(bus, self.lifecycle)
        self.attempts = Attempts(bus)
        self.readers = Readers(self.metrics, limit=settings.limits.streams_per_user)
        self.delivery_rates = Rates(settings.limits.requests_per_s)
        self.openapi = b""  # set by the application, which knows the operations
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.workflow_heads.stop)
            stack.push_async_callback(self.histories.stop)
            await self.starter.start()
            stack.push_async_callback(self.starter.stop)
            await self.endings.start()
            stack.push_async_callback(self.endings.stop)
            await self.attempts.start()
            stack.push_async_callback(self.attempts.stop)
            await stack.enter_async_context(self._service())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.lifecycle.begin_draining()
        await self._stack.aclose()

    def _service(self) -> Service:
        """Return what `nats micro ls` shows of us."""
        return Service(
            self.bus,
            name="flotilla-gateway",
            version=self.settings.version,
            description="The REST API of Flotilla",
        )
