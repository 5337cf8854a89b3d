"""The simulated database does what PostgreSQL does: the same statements, drawn by a seed, with the same answers."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg
import msgspec
import pytest

from contracts.history import ExecutionCreated, Slot, encode_data
from contracts.ids import PARTITIONS
from contracts.statuses import TERMINAL_EXECUTION, Mode
from db import advances, executions, families, slots
from db.advances import Advance, AdvanceSession, ChangeRow, ChildRow, InteractionRow
from db.executions import NewExecution
from db.store import Store
from tests.component.db import builders
from tests.component.db.builders import Ids, Version, timer
from tests.simulator.chaos import Chaos
from tests.simulator.database import Database
from tests.simulator.store import Process, SimulatedStore
from tests.support.engine import START

pytestmark = pytest.mark.component

PAST = datetime(2020, 1, 1, tzinfo=UTC)
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
EVERYWHERE = tuple(range(PARTITIONS))
STEPS = 120
KEY = "key"
SLOT = Slot(limit=3, key=KEY)
KEYS = ("a", "b", "c")
ANSWER = msgspec.Raw(b'{"data":1}')


def at_once(_: float) -> asyncio.Future[None]:
    """Let no time pass."""
    passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    passed.set_result(None)
    return passed


class Twins:
    """PostgreSQL and its simulation, side by side. What is asked of both must have one answer."""

    def __init__(self, store: Store, session: AdvanceSession, of: Version, ids: Ids) -> None:
        self.of = of
        self.ids = ids
        self.database = Database(lambda: 0.0)
        self._stores: tuple[Store, ...] = (
            store,
            SimulatedStore(self.database, Chaos(0), Process("only"), lambda: None, at_once),
        )
        self._sessions = (session, AdvanceSession(self._stores[1]))
        self.execution_ids: list[str] = []

    async def create(self, chance: random.Random) -> None:
        """Create an execution in both."""
        created = _created(self.of, slot=chance.choice((SLOT, None)))
        new = NewExecution(
            id=self.ids.new(chance.randrange(PARTITIONS)),
            user_id=self.of.user_id,
            workflow_id=self.of.workflow_id,
            version_id=self.of.version_id,
            created=created,
            at=START,
            mode=Mode.TRIGGER,
        )
        await executions.create(self._stores[0], [new])
        self.database.create(new.id, created)
        self.execution_ids.append(new.id)

    async def commit(self, batch: Sequence[Advance]) -> frozenset[str]:
        """Commit a batch to both, and return the winners of it."""
        left, right = [await session.commit(batch) for session in self._sessions]
        assert left == right
        return left

    async def ask(self, question: Callable[[Store], Awaitable[Any]]) -> Any:
        """Ask both."""
        left, right = [await question(store) for store in self._stores]
        assert left == right
        return left

    async def compare(self) -> None:
        """Ask everything that a scheduler ever asks."""
        ids = [*self.execution_ids, self.ids.new()]
        await self.ask(lambda store: advances.load(store, ids))
        await self.ask(lambda store: _ends(store, ids))
        await self.ask(lambda store: _without_slot(store, ids))
        for partitions in (EVERYWHERE, EVERYWHERE[:8]):
            await self.ask(partial(_due, partitions=partitions))
            await self.ask(partial(_left, partitions=partitions, after=ids[1]))


async def _ends(store: Store, ids: Sequence[str]) -> Any:
    return frozenset(await families.ends_of(store, ids))


async def _without_slot(store: Store, ids: Sequence[str]) -> Any:
    return frozenset(await slots.without(store, ids))


async def _due(store: Store, partitions: Sequence[int]) -> Any:
    due, upcoming = await advances.due_timers(store, partitions, 1000)
    return frozenset(due), upcoming


async def _left(store: Store, partitions: Sequence[int], after: str) -> Any:
    """Return everything that a sweeper looks for."""
    return [
        await advances.abandoned(store, partitions, 1000),
        await families.ended_children(store, partitions, 0.0, 1000),
        await families.orphans(store, partitions, 1000),
        *[
            await advances.unfinished(
                store,
                partitions,
                statuses=statuses,
                after=after,
                limit=limit,
                silent_for_seconds=0.0,
            )
            for statuses in (("NEW", "RUNNING"), ("WAITING",))
            for limit in (3, 1000)
        ],
    ]


def _created(of: Version, slot: Slot | None = None) -> ExecutionCreated:
    return ExecutionCreated(
        workflow_id=of.workflow_id,
        version_id=of.version_id,
        user_id=of.user_id,
        mode=Mode.TRIGGER,
        slot=slot,
    )


class Drawing:
    """Draws advances: right ones and stale ones, with everything that a commit may write."""

    def __init__(self, chance: random.Random, twins: Twins) -> None:
        self._chance = chance
        self._twins = twins
        self._questions: dict[str, list[str]] = {}
        self._children: dict[str, list[str]] = {}

    def batch(self) -> list[Advance]:
        """Return advances of a few executions."""
        ids = self._twins.execution_ids
        wanted = self._chance.sample(ids, self._chance.randint(1, min(4, len(ids))))
        return [self._advance(execution_id) for execution_id in wanted]

    def _advance(self, execution_id: str) -> Advance:
        chance = self._chance
        was = self._twins.database.executions[execution_id].version
        if was > 1 and chance.random() < 0.2:
            was -= 1
        count = chance.randint(0, 3)
        statuses = ["RUNNING", "WAITING"]
        if count and chance.random() < 0.15:
            statuses = [str(each) for each in TERMINAL_EXECUTION]
        timers = [
            timer(
                execution_id,
                key,
                chance.choice((PAST, FUTURE)),
                node_id=chance.choice((None, "n")),
                iteration=chance.choice((None, (), (1, 2))),
            )
            for key in KEYS
            if chance.random() < 0.3
        ]
        released, given_up = self._let_go(execution_id)
        return builders.advance(
            execution_id,
            was,
            count,
            status=chance.choice(sorted(statuses)),
            started_at=chance.choice((None, START)),
            finished_at=chance.choice((None, START)),
            failure=chance.choice((None, b'{"code":"broken"}')),
            timers=timers,
            cleared=[key for key in KEYS if chance.random() < 0.3],
            paused=chance.random() < 0.3,
            children=[self._child(execution_id)] if chance.random() < 0.3 else [],
            released=released,
            given_up=given_up,
            changed=self._changes(execution_id),
            opened=[self._question(execution_id)] if chance.random() < 0.2 else [],
        )

    def _let_go(self, by: str) -> tuple[list[str], list[str]]:
        """Return children whose end was taken, and such whose end nobody waits for any more."""
        own = self._children.get(by)
        if not own or self._chance.random() < 0.5:
            return [], []
        child = self._chance.choice(own)
        return ([child], []) if self._chance.random() < 0.5 else ([], [child])

    def _child(self, by: str) -> ChildRow:
        chance, of = self._chance, self._twins.of
        child_id = self._twins.ids.new(chance.randrange(PARTITIONS))
        if chance.random() < 0.3:
            child_id = chance.choice(self._twins.execution_ids)  # born before
        self._children.setdefault(by, []).append(child_id)
        return ChildRow(
            by=by,
            id=child_id,
            user_id=of.user_id,
            workflow_id=of.workflow_id,
            version_id=of.version_id,
            mode="TRIGGER",
            priority=chance.randint(0, 2),
            concurrency_key=chance.choice((None, KEY)),
            parent_execution_id=by,
            parent_node_id="n",
            parent_waits=chance.choice((None, "YES")),
            at=START,
            created=msgspec.Raw(encode_data(_created(of))),
        )

    def _question(self, execution_id: str) -> InteractionRow:
        question_id = self._twins.ids.new()
        self._questions.setdefault(execution_id, []).append(question_id)
        is_answered = self._chance.random() < 0.3
        return InteractionRow(
            id=question_id,
            user_id=self._twins.of.user_id,
            execution_id=execution_id,
            workflow_id=self._twins.of.workflow_id,
            node_id="n",
            iteration=(),
            kind="APPROVAL",
            title="May it?",
            message="",
            editable=False,
            approvers=(),
            approvals_required=1,
            rejections_required=1,
            channel="APP",
            priority="normal",
            status="ANSWERED" if is_answered else "PENDING",
            answers=(msgspec.Raw(b'{"data":2}'),) if is_answered else (),
            at=START,
        )

    def _changes(self, execution_id: str) -> list[ChangeRow]:
        asked = self._questions.get(execution_id)
        if not asked or self._chance.random() < 0.5:
            return []
        status = self._chance.choice(("ANSWERED", "TIMED_OUT", "CANCELED", None))
        counts = self._chance.random() < 0.5
        change = ChangeRow(
            by=execution_id,
            id=self._chance.choice(asked),
            status=status,
            at=START,
            answer=ANSWER if status == "ANSWERED" and not counts else msgspec.UNSET,
            answers=msgspec.Raw(b'[{"data":2}]') if counts else msgspec.UNSET,
            reminders=None if status else 3,
            approvers=None if status else ("ada@example.org",),
        )
        return [change]


@pytest.mark.parametrize("seed", range(3))
async def test_both_answer_alike(
    seed: int,
    store: Store,
    direct: "asyncpg.Connection[asyncpg.Record]",
    ids: Ids,
    workflow: Version,
) -> None:
    chance = random.Random(seed)
    session = await AdvanceSession.open(store)
    twins = Twins(store, session, workflow, ids)
    for _ in range(6):
        await twins.create(chance)
    drawing = Drawing(chance, twins)
    won = 0

    for step in range(STEPS):
        won += len(await twins.commit(drawing.batch()))
        twins.execution_ids = sorted(twins.database.executions)
        if chance.random() < 0.2:
            await twins.create(chance)
        if chance.random() < 0.1:
            await twins.ask(
                lambda each: slots.fill(each, workflow.workflow_id, SLOT.key, SLOT.limit)
            )
        if step == STEPS * 3 // 4:
            await direct.execute("update workflows set deleted_at = now()")
            twins.database.deleted_workflows.add(workflow.workflow_id)
        await twins.compare()

    assert won > STEPS
    await _compare_tables(direct, twins.database)
    await session.close()


async def _compare_tables(direct: "asyncpg.Connection[asyncpg.Record]", database: Database) -> None:
    """Compare what no statement of the scheduler reads, but others do."""
    rows = await direct.fetch(
        "select id, status, version, paused, has_slot, parent_waits, started_at, finished_at, failure"
        "  from workflow_executions order by id"
    )
    stored = [
        (
            each.id,
            each.status,
            each.version,
            each.paused,
            each.has_slot,
            each.parent_waits,
            each.started_at,
            each.finished_at,
            each.failure,
        )
        for _, each in sorted(database.executions.items())
    ]
    assert [(str(row[0]), *tuple(row)[1:]) for row in rows] == stored
    questions = await direct.fetch("select id, status, answers::text from interactions order by id")
    assert [(str(row["id"]), row["status"], row["answers"]) for row in questions] == [
        (each.id, each.status, _listed(each.answers))
        for _, each in sorted(database.interactions.items())
    ]


def _listed(answers: Sequence[bytes]) -> str:
    return f"[{', '.join(answer.decode() for answer in answers)}]"
