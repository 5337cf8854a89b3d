"""Schedules: published workflows that the clock starts, each occurrence once.

Whoever finds a schedule due claims its row, and in the same transaction creates what it starts and moves it on. So any
number of schedulers may look at the same time, and a crash starts nothing twice: what was not committed is due still,
and what was committed is found by the sweeper. The only clock is the database's.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import structlog

from contracts.execution.occurrences import created_by_schedule
from contracts.execution.plan import Plan
from contracts.expressions.errors import ExpressionError
from contracts.expressions.regex import Regex
from contracts.ids import derived_uuid7
from contracts.schedules import Calendar
from contracts.statuses import Mode
from contracts.times import rfc3339
from db import executions, schedules
from db.errors import CommitInDoubt, StoreError, StoreUnavailable
from db.executions import NewExecution
from db.schedules import DueSchedule, Move
from db.store import Session, Store
from scheduler.core.due import due
from scheduler.executions import Plans
from scheduler.triggers import Start, new_traceparent

log: Final = structlog.get_logger()

BATCH: Final = 100
LONGEST_PAUSE_S: Final = 1.0
"""How late a schedule may be that was armed while nobody looked."""
SHORTEST_PAUSE_S: Final = 0.01
PUT_OFF_S: Final = 60.0
"""For how long a schedule that could not be handled is left alone."""


class Schedules:
    """Starts executions when schedules are due. `start` tells the owners of new executions to go on."""

    def __init__(
        self, store: Store, plans: Plans, calendar: Calendar, *, start: Start, regex: Regex
    ) -> None:
        self._store = store
        self._plans = plans
        self._calendar = calendar
        self._start = start
        self._regex = regex
        self._batch = BATCH
        self._put_off: dict[str, float] = {}
        self.skipped = 0
        self.failed = 0

    async def run(self) -> None:
        """Start what is due until canceled; sleeps until the next instant, at most a second."""
        while True:
            try:
                pause = await self.look()
            except StoreError as error:
                log.warning("schedules_wait", error=str(error))
                pause = LONGEST_PAUSE_S
            await asyncio.sleep(pause)

    async def look(self) -> float:
        """Start what is due and return the seconds until it is worth looking again."""
        while await self._take_batch():
            pass
        seconds = await schedules.seconds_to_next(self._store, LONGEST_PAUSE_S)
        return max(seconds, SHORTEST_PAUSE_S)

    async def _take_batch(self) -> bool:
        """Start what a batch of schedules calls for; returns whether more may be due.

        A schedule whose executions cannot be stored is found by halving the batch, then put off.
        """
        claimed: list[DueSchedule] = []
        try:
            async with self._store.transaction() as session:
                claimed = await schedules.claim(session, self._left_alone(), self._batch)
                new = await self._start_claimed(session, claimed)
        except (StoreUnavailable, CommitInDoubt):
            raise
        except StoreError as error:
            if not claimed:
                raise
            if len(claimed) == 1:
                self._leave_alone(claimed[0], error)
            self._batch = max(len(claimed) // 2, 1)
            return True
        await self._start(new)
        is_full = len(claimed) == self._batch
        self._batch = min(self._batch * 2, BATCH)
        return is_full

    async def _start_claimed(
        self, session: Session, claimed: Sequence[DueSchedule]
    ) -> list[NewExecution]:
        """Create what the schedules start, move them on, and return what is new."""
        if not claimed:
            return []
        busy = await self._busy(session, claimed)
        begun: list[NewExecution] = []
        moves: list[Move] = []
        for schedule in claimed:
            try:
                started, move = await self._decide(schedule, is_busy=schedule.id in busy)
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001  # one schedule must not stop all
                self._leave_alone(schedule, error)
            else:
                begun += started
                moves.append(move)
        created = await executions.create(session, begun)
        await schedules.move(session, moves)
        return [each for each in begun if each.id in created]

    async def _busy(self, session: Session, claimed: Sequence[DueSchedule]) -> set[str]:
        """Return the schedules that do not overlap and of which an execution is not over, whoever started it."""
        alone = [each for each in claimed if each.policy.overlap == "SKIP"]
        last = [
            execution_id(each.id, each.last_at) for each in alone if each.last_at is not None
        ]  # an earlier release kept no record of what belongs to a schedule
        return await schedules.busy(session, [each.id for each in alone], last)

    async def _decide(
        self, schedule: DueSchedule, *, is_busy: bool
    ) -> tuple[list[NewExecution], Move]:
        """Return what a schedule starts, and where it goes on."""
        found = due(
            self._calendar,
            schedule.timing,
            schedule.policy,
            next_at=schedule.next_at,
            now=schedule.now,
        )
        if is_busy:
            self.skipped += len(found.starts)
            return [], Move(schedule.id, found.next_at, None)
        if not found.starts:
            return [], Move(schedule.id, found.next_at, None)
        plan = await self._plans.load(schedule.version_id)
        if plan is None:
            raise LookupError(f"version {schedule.version_id} does not exist")
        started: list[NewExecution] = []
        last_at: datetime | None = None
        for at in found.starts:
            try:
                started.append(new_execution(schedule, at, plan, self._regex))
            except ExpressionError as error:
                self.failed += 1
                log.warning("schedule_data_failed", **_named(schedule), error=str(error))
            else:
                last_at = at
        return started, Move(schedule.id, found.next_at, last_at)

    def _left_alone(self) -> list[str]:
        now = asyncio.get_running_loop().time()
        self._put_off = {each: until for each, until in self._put_off.items() if until > now}
        return list(self._put_off)

    def _leave_alone(self, schedule: DueSchedule, error: Exception) -> None:
        self.failed += 1
        self._put_off[schedule.id] = asyncio.get_running_loop().time() + PUT_OFF_S
        log.error(
            "schedule_failed", **_named(schedule), error=repr(error), again_in_seconds=PUT_OFF_S
        )


def execution_id(schedule_id: str, at: datetime) -> str:
    """Return the id of the execution that a schedule starts for its occurrence at an instant."""
    return derived_uuid7(at, f"{schedule_id}:{rfc3339(at)}")


def new_execution(schedule: DueSchedule, at: datetime, plan: Plan, regex: Regex) -> NewExecution:
    """Return the execution of an occurrence; the same occurrence always gives the same id. Raises ExpressionError."""
    created = created_by_schedule(
        plan,
        node_id=schedule.node_id,
        user_id=schedule.user_id,
        timezone=schedule.timing.timezone,
        at=at,
        traceparent=new_traceparent(),
        regex=regex,
    )
    return NewExecution(
        id=execution_id(schedule.id, at),
        user_id=schedule.user_id,
        workflow_id=schedule.workflow_id,
        version_id=schedule.version_id,
        mode=Mode.TRIGGER,
        priority=created.priority,
        created=created,
        at=schedule.now,
        schedule_id=schedule.id,
    )


def _named(schedule: DueSchedule) -> dict[str, str]:
    return {
        "schedule_id": schedule.id,
        "workflow_id": schedule.workflow_id,
        "node_id": schedule.node_id,
    }
