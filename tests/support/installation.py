"""A user, workflows and executions in a real database: what tests of the processes begin with."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from bus.client import Bus, CoreMessage
from bus.publisher import Publisher
from contracts import subjects
from contracts.history import By, ExecutionCreated, Slot
from contracts.ids import uuid7
from contracts.messages import CancelExecution, encode, start_of
from contracts.model import Document
from contracts.statuses import Mode
from db import executions, users, workflows
from db.errors import StoreUnavailable
from db.executions import ExecutionRow, HistoryRow, NewExecution
from db.store import Store
from db.triggers import EventTrigger


def new_id() -> str:
    """Return a fresh id."""
    return uuid7(datetime.now(UTC), os.urandom(10))


class Installation:
    """One user's workflows and executions, started the way the gateway does it."""

    def __init__(self, store: Store, bus: Bus, publisher: Publisher) -> None:
        self.store = store
        self.bus = bus
        self.publisher = publisher
        self.user_id = new_id()
        self._happened = asyncio.Event()

    async def prepare(self) -> "Installation":
        """Create the user, and listen to what happens."""
        await self.bus.subscribe(f"{subjects.EVENT_PREFIX}.>", self._on_event)
        await users.ensure(self.store, self.user_id, f"{self.user_id}@example.org", "tester")
        return self

    async def _on_event(self, _: CoreMessage) -> None:
        self._happened.set()

    async def add(self, document: Document) -> tuple[str, str]:
        """Store a workflow and a snapshot of it; return both ids."""
        workflow_id = new_id()
        await workflows.create(
            self.store,
            user_id=self.user_id,
            workflow_id=workflow_id,
            document=document,
            problems=(),
            active=True,
        )
        version_id = await workflows.snapshot(
            self.store,
            user_id=self.user_id,
            workflow_id=workflow_id,
            version_id=new_id(),
            document=document,
        )
        return workflow_id, version_id

    async def publish(self, document: Document, *triggers: EventTrigger) -> tuple[str, str]:
        """Store and publish a workflow with armed triggers; return both ids."""
        workflow_id, _ = await self.add(document)
        version, _ = await workflows.publish(
            self.store,
            user_id=self.user_id,
            workflow_id=workflow_id,
            version_id=new_id(),
            document=document,
            note="",
            created_by=self.user_id,
            active=True,
            triggers=triggers,
            expected_revision=None,
        )
        return workflow_id, version.id

    async def start(
        self,
        ids: tuple[str, str],
        count: int = 1,
        *,
        value: Any = None,
        say: bool = True,
        slot: tuple[int, str] | None = None,
    ) -> list[str]:
        """Create executions; unless `say` is off, tell the scheduler, as the gateway does."""
        new = [self._new(ids, value, slot) for _ in range(count)]
        await executions.create(self.store, new)
        if say:
            for each in new:
                start = start_of(each.id, each.created, each.at)
                await self.publisher.store(subjects.command("start", each.id), start)
        return [each.id for each in new]

    def _new(self, ids: tuple[str, str], value: Any, slot: tuple[int, str] | None) -> NewExecution:
        workflow_id, version_id = ids
        return NewExecution(
            id=new_id(),
            user_id=self.user_id,
            workflow_id=workflow_id,
            version_id=version_id,
            mode=Mode.MANUAL,
            created=ExecutionCreated(
                workflow_id=workflow_id,
                version_id=version_id,
                user_id=self.user_id,
                mode=Mode.MANUAL,
                input=msgspec.Raw(encode(value)),
                slot=Slot(slot[0], "", slot[1]) if slot else None,
            ),
            at=datetime.now(UTC),
        )

    async def cancel(self, execution_id: str, reply_to: str | None = None) -> None:
        """Ask the scheduler to end an execution."""
        command = CancelExecution(
            execution_id=execution_id, by=By("API", self.user_id), reply_to=reply_to
        )
        await self.publisher.store(subjects.command("cancel", execution_id), encode(command))

    async def row(self, execution_id: str) -> ExecutionRow:
        """Return an execution as it is stored."""
        row = await executions.get(self.store, self.user_id, execution_id)
        assert row is not None
        return row

    async def history(self, execution_id: str) -> tuple[HistoryRow, ...]:
        """Return the whole history of an execution."""
        return await executions.history(self.store, execution_id, limit=10_000)

    async def until(
        self, ids: Sequence[str], holds: Callable[[ExecutionRow], bool], *, seconds: float = 60
    ) -> list[ExecutionRow]:
        """Wait until something holds for all of these executions, and return them."""
        async with asyncio.timeout(seconds):
            waiting = list(ids)
            while waiting:
                with contextlib.suppress(StoreUnavailable):
                    waiting = [each for each in waiting if not holds(await self.row(each))]
                if waiting:
                    await self.next_event()
        return [await self.row(each) for each in ids]

    async def next_event(self) -> None:
        """Wait until something happens; an event that was lost is not waited for longer than this."""
        self._happened.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.25):
                await self._happened.wait()

    async def finished(self, ids: Sequence[str], *, seconds: float = 60) -> list[ExecutionRow]:
        """Wait until all of these executions are over, and return them."""
        return await self.until(ids, lambda row: row.finished_at is not None, seconds=seconds)
