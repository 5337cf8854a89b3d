"""One user's workflows and executions, and word of their ends.

Workflows are sent to the gateway as users send them. Executions are created and started the way the gateway does it, by the
same statement and the same message, so that loads can do without the cost of HTTP.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from bench.documents import Document
from bench.http_client import HttpClient
from bench.surroundings import BenchError, Surroundings
from bus.client import Bus, CoreMessage
from bus.publisher import Outgoing, Publisher
from contracts import subjects
from contracts.history import TERMINAL_KINDS, ExecutionCreated
from contracts.ids import uuid7
from contracts.messages import start_of
from contracts.statuses import Mode
from db import executions, workflows
from db.executions import NewExecution
from db.store import Store

PATIENCE_SECONDS: Final = 60
_WORKFLOW, _EXECUTION, _KIND = 3, 4, 5  # the tokens of an event's subject
_SUCCEEDED: Final = "execution_succeeded"

INPUT: Final = msgspec.Raw(b'{"x":1}')


class Workflow(msgspec.Struct, frozen=True):
    """A published workflow."""

    id: str
    version_id: str


class Ends:
    """Hears of every end of an execution, and whether it was a good one.

    An execution that is expected gets the seconds from its start; all others are counted by their workflow.
    """

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._heard = asyncio.Event()
        self.seconds: list[float] = []
        self.by_workflow: dict[str, int] = {}
        self.failed = 0

    @property
    def under_way(self) -> int:
        """Executions that are expected and have not ended."""
        return len(self._started)

    def expect(self, execution_ids: Sequence[str]) -> None:
        """Measure these from now on."""
        self._started.update(dict.fromkeys(execution_ids, time.perf_counter()))

    async def receive(self, message: CoreMessage) -> None:
        """Take an end as it is published."""
        tokens = message.subject.split(".")
        workflow_id = tokens[_WORKFLOW]
        self.by_workflow[workflow_id] = self.by_workflow.get(workflow_id, 0) + 1
        self.failed += tokens[_KIND] != _SUCCEEDED
        started = self._started.pop(tokens[_EXECUTION], None)
        if started is not None:
            self.seconds.append(time.perf_counter() - started)
        self._heard.set()

    def take(self) -> list[float]:
        """Return the seconds that the expected executions took, and begin anew. Raises BenchError if one failed."""
        if self.failed:
            raise BenchError(f"{self.failed} executions did not succeed")
        taken, self.seconds = self.seconds, []
        return taken

    async def next(self) -> None:
        """Return after the next end. Raises BenchError if none comes."""
        self._heard.clear()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._heard.wait()
        except TimeoutError:
            raise BenchError(
                f"no execution ended for {PATIENCE_SECONDS} s; {self.under_way} are under way"
            ) from None


class Installation:
    """The doors of a running engine."""

    def __init__(
        self, surroundings: Surroundings, store: Store, bus: Bus, publisher: Publisher
    ) -> None:
        self.user_id = surroundings.user_id
        self.surroundings = surroundings
        self.store = store
        self.bus = bus
        self.publisher = publisher
        self.ends = Ends()

    def client(self) -> HttpClient:
        """Return a connection to the gateway, to be opened."""
        return HttpClient(self.surroundings.gateway_port, self.surroundings.token)

    async def publish(self, document: Document) -> Workflow:
        """Create a workflow and publish it."""
        async with self.client() as client:
            workflow_id = (await client.take("POST", "/v1/workflows", document))["id"]
            await client.take("POST", f"/v1/workflows/{workflow_id}/publish", {})
        row = await workflows.get(self.store, self.user_id, workflow_id)
        assert row is not None
        assert row.published_version_id is not None
        return Workflow(row.id, row.published_version_id)

    async def start(
        self, workflow: Workflow, count: int, value: msgspec.Raw = INPUT
    ) -> Sequence[str]:
        """Create executions in one commit, and tell the schedulers."""
        new = [self._execution(workflow, value) for _ in range(count)]
        ids = [each.id for each in new]
        self.ends.expect(ids)
        await executions.create(self.store, new)
        await self.publisher.publish_all(
            Outgoing(subjects.command("start", each.id), start_of(each.id, each.created, each.at))
            for each in new
        )
        return ids

    async def history(
        self, execution_id: str, *, limit: int, kind: str, node_id: str | None = None
    ) -> Sequence[executions.HistoryRow]:
        """Return events of one kind."""
        return await executions.history(
            self.store, execution_id, limit=limit, kinds=(kind,), node_id=node_id
        )

    def _execution(self, workflow: Workflow, value: msgspec.Raw) -> NewExecution:
        created = ExecutionCreated(
            workflow_id=workflow.id,
            version_id=workflow.version_id,
            user_id=self.user_id,
            mode=Mode.MANUAL,
            input=value,
        )
        now = datetime.now(UTC)
        return NewExecution(
            id=uuid7(now, os.urandom(10)),
            user_id=self.user_id,
            workflow_id=workflow.id,
            version_id=workflow.version_id,
            mode=Mode.MANUAL,
            created=created,
            at=now,
        )


@contextlib.asynccontextmanager
async def opened(surroundings: Surroundings) -> AsyncIterator[Installation]:
    """Connect to a running engine, and hear of every end."""
    store = await Store.open(surroundings.database_url)
    try:
        async with (
            await Bus.connect(surroundings.nats_url, name="flotilla-bench") as bus,
            Publisher(bus) as publisher,
        ):
            installation = Installation(surroundings, store, bus, publisher)
            for kind in sorted(TERMINAL_KINDS):
                await bus.subscribe(subjects.events_of_kind(kind), installation.ends.receive)
            yield installation
    finally:
        await store.close()
