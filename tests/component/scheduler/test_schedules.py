"""Schedules on a real database: each occurrence starts once, whoever looks, crashes or lags behind."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from bus.errors import BusClosed
from contracts.history import ExecutionCreated
from contracts.model import Concurrency, Document, Settings
from contracts.schedules import Calendar, schedules_of
from contracts.statuses import Mode
from contracts.times import rfc3339
from db import executions, node_types, schedules, users, workflows
from db.errors import StoreUnavailable
from db.executions import ExecutionFilters, ExecutionRow, NewExecution
from db.store import Store
from flotilla.cron import read_cron
from flotilla.embedded.nats import NatsServer
from nodes.regex import Re2
from scheduler.executions import Plans
from scheduler.schedules import Schedules, execution_id
from tests.component.scheduler.conftest import Processes
from tests.support.engine import ANY, document, node, wire
from tests.support.installation import Installation, new_id
from tests.support.plain_worker import PlainWorker
from tests.support.specs import CRON

pytestmark = pytest.mark.component

HOURLY = {"cron": "0 * * * *"}
LONG_AGO = timedelta(hours=100, minutes=30)


class Scene(msgspec.Struct):
    """One user's schedules, and schedulers that look at them."""

    store: Store
    user_id: str
    said: list[str] = []

    def scheduler(self) -> Schedules:
        """Return the part of a scheduler that looks at schedules."""

        async def start(new: Sequence[NewExecution]) -> None:
            self.said += [each.id for each in new]

        return self.scheduler_that(start)

    def scheduler_that(self, start: Any) -> Schedules:
        calendar = Calendar(read_cron)
        return Schedules(self.store, Plans(self.store), calendar, start=start, regex=Re2())

    async def publish(self, graph: Document, workflow_id: str | None = None) -> str:
        """Publish a workflow, and return its id."""
        if workflow_id is None:
            workflow_id = new_id()
            await workflows.create(
                self.store,
                user_id=self.user_id,
                workflow_id=workflow_id,
                document=graph,
                problems=(),
                active=True,
            )
        await workflows.publish(
            self.store,
            user_id=self.user_id,
            workflow_id=workflow_id,
            version_id=new_id(),
            document=graph,
            note="",
            created_by=self.user_id,
            active=True,
            triggers=(),
            schedules=schedules_of(graph),
        )
        return workflow_id

    async def now(self) -> datetime:
        row = await self.store.fetch_row("select clock_timestamp() as now")
        assert row is not None
        now: datetime = row["now"]
        return now

    async def set_due(self, *, ago: timedelta = timedelta(), node_id: str | None = None) -> None:
        """Let schedules be due for so long."""
        await self.store.execute(
            "update schedules set next_at = clock_timestamp() - $1::interval "
            "where node_id = coalesce($2, node_id)",
            ago,
            node_id,
        )

    async def schedule(self, node_id: str = "clock") -> Any:
        return await self.store.fetch_row("select * from schedules where node_id = $1", node_id)

    async def rows(self) -> list[ExecutionRow]:
        """Return the executions there are, earliest occurrence first."""
        rows, _ = await executions.page(self.store, self.user_id, ExecutionFilters(), 500, None)
        return list(rows[::-1])

    async def created(self) -> list[dict[str, Any]]:
        """Return the first events of the executions there are, earliest occurrence first."""
        histories = [
            await executions.history(self.store, row.id, limit=1) for row in await self.rows()
        ]
        return [msgspec.json.decode(history[0].data) for history in histories]

    async def as_new(self, row: ExecutionRow) -> NewExecution:
        """Return an execution as it was created."""
        (created,) = await executions.history(self.store, row.id, limit=1)
        schedule = await self.schedule()
        return NewExecution(
            id=row.id,
            user_id=row.user_id,
            workflow_id=row.workflow_id,
            version_id=row.version_id,
            mode=Mode.TRIGGER,
            created=msgspec.json.decode(created.data, type=ExecutionCreated),
            at=await self.now(),
            schedule_id=str(schedule["id"]),
        )

    async def end(self, status: str) -> None:
        await self.store.execute("update workflow_executions set status = $1", status)


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    """A user with nothing yet."""
    store = await Store.open(database_url)
    await node_types.store(store, (ANY, CRON))
    user_id = new_id()
    await users.ensure(store, user_id, f"{user_id}@example.org", "tester")
    yield Scene(store, user_id)
    await store.close()


def clock(node_id: str = "clock", **parameters: Any) -> Any:
    """Return a schedule, hourly unless it says otherwise."""
    given = parameters if {"cron", "interval"} & set(parameters) else HOURLY | parameters
    return node(node_id, "TRIGGER.CRON", parameters=given)


def scheduled(created: Sequence[dict[str, Any]]) -> list[str]:
    return [each["input"]["scheduled_at"] for each in created]


async def test_a_due_occurrence_starts_an_execution_and_the_schedule_goes_on(scene: Scene) -> None:
    settings = Settings(timezone="Asia/Kolkata", priority=7)
    workflow_id = await scene.publish(document([clock(data={"a": 1})], [], settings))
    await scene.set_due(ago=timedelta(minutes=90))

    pause = await scene.scheduler().look()

    (row,) = await scene.rows()
    (created,) = await scene.created()
    after = await scene.schedule()
    at = after["last_at"]
    assert (row.workflow_id, row.status, row.mode, row.priority) == (
        workflow_id, "NEW", "TRIGGER", 7,
    )  # fmt: skip
    assert row.id == execution_id(str(after["id"]), at)
    assert scene.said == [row.id]
    assert created["trigger"] == {"node_id": "clock", "type": "TRIGGER.CRON"}
    assert created["traceparent"].startswith("00-")
    assert created["input"] == {
        "scheduled_at": rfc3339(at), "timezone": "Asia/Kolkata", "data": {"a": 1},
    }  # fmt: skip
    assert at.minute == 30, "a full hour in Kolkata"
    assert after["next_at"] == at + timedelta(hours=1)
    assert 0 < pause <= 1


async def test_what_is_not_due_starts_nothing(scene: Scene) -> None:
    await scene.publish(document([clock(cron="0 0 29 2 *"), clock("other", interval=3600)], []))
    before = await scene.now()

    await scene.scheduler().look()

    assert await scene.rows() == []
    daily, other = await scene.schedule(), await scene.schedule("other")
    assert (daily["next_at"].month, daily["next_at"].day) == (2, 29)
    assert other["next_at"] > before + timedelta(minutes=59)


async def test_schedulers_that_compete_start_each_occurrence_once(scene: Scene) -> None:
    names = [f"clock_{number}" for number in range(120)]
    await scene.publish(document([clock(name) for name in names], []))
    await scene.set_due(ago=timedelta(hours=1))
    schedulers = [scene.scheduler() for _ in range(4)]

    await asyncio.gather(*(each.look() for each in schedulers))
    await asyncio.gather(*(each.look() for each in schedulers))

    created = await scene.created()
    assert sorted(each["trigger"]["node_id"] for each in created) == sorted(names)
    assert sorted(scene.said) == [row.id for row in await scene.rows()]


FAULTS = {
    "before anything is written": ("workflow_executions", "insert"),
    "between the executions and the schedule": ("schedules", "update"),
}


@pytest.mark.parametrize(("table", "change"), FAULTS.values(), ids=FAULTS)
async def test_a_crash_before_the_commit_starts_nothing_and_it_is_due_still(
    scene: Scene, table: str, change: str
) -> None:
    await scene.publish(document([clock()], []))
    await scene.set_due(ago=timedelta(hours=1))
    before = await scene.schedule()
    await _break(scene.store, table, change)

    with pytest.raises(StoreUnavailable):
        await scene.scheduler().look()

    assert await scene.rows() == []
    assert await scene.schedule() == before
    assert scene.said == []

    await scene.store.execute(f"drop trigger broken on {table}")
    await scene.scheduler().look()
    await scene.scheduler().look()

    assert len(await scene.rows()) == len(scene.said) == 1


async def _break(store: Store, table: str, change: str) -> None:
    """Have the server end the connection that makes a change, as if its process died then."""
    await store.execute(
        "create function break() returns trigger language plpgsql as "
        "$$ begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$"
    )
    await store.execute(f"create trigger broken after {change} on {table} execute function break()")


async def test_a_crash_after_the_commit_starts_nothing_twice(scene: Scene) -> None:
    await scene.publish(document([clock()], []))
    await scene.set_due(ago=timedelta(hours=1))

    async def dies(_: Sequence[NewExecution]) -> None:
        raise BusClosed("gone")

    with pytest.raises(BusClosed):
        await scene.scheduler_that(dies).look()
    await scene.scheduler().look()

    assert [row.status for row in await scene.rows()] == ["NEW"], "for the sweeper to find"
    assert scene.said == []


async def test_an_occurrence_that_is_looked_at_again_is_the_same_execution(scene: Scene) -> None:
    await scene.publish(document([clock(interval=3600)], []))
    await scene.set_due()
    before = await scene.schedule()
    await scene.scheduler().look()
    await scene.store.execute("update schedules set next_at = $1", before["next_at"])

    await scene.scheduler().look()

    assert len(await scene.rows()) == len(scene.said) == 1


CATCH_UP = {
    "the last": ({}, [100]),
    "some": ({"catch_up": "ALL"}, [98, 99, 100]),
    "more": ({"catch_up": "ALL", "max_catch_up": 5}, [96, 97, 98, 99, 100]),
    "none": ({"catch_up": "NONE"}, []),
    "one at a time": ({"catch_up": "ALL", "overlap": "SKIP"}, [100]),
}


@pytest.mark.parametrize(("policy", "expected"), CATCH_UP.values(), ids=CATCH_UP)
async def test_what_passed_while_nothing_ran_is_caught_up(
    scene: Scene, policy: dict[str, Any], expected: list[int]
) -> None:
    await scene.publish(document([clock(interval=3600, **policy)], []))
    await scene.set_due(ago=LONG_AGO)
    first = (await scene.schedule())["next_at"]

    await scene.scheduler().look()

    instants = [rfc3339(first + timedelta(hours=each)) for each in expected]
    assert scheduled(await scene.created()) == instants
    assert (await scene.schedule())["next_at"] == first + timedelta(hours=101)


async def test_one_that_does_not_overlap_waits_for_the_end_of_the_one_before(scene: Scene) -> None:
    await scene.publish(
        document([clock(interval=60, overlap="SKIP"), clock("free", interval=60)], [])
    )
    scheduler = scene.scheduler()
    begun = []
    for status in ("RUNNING", "WAITING", "SUCCESS", "NEW"):
        await scene.set_due()
        await scheduler.look()
        created = await scene.created()
        begun.append([each["trigger"]["node_id"] for each in created].count("clock"))
        await scene.end(status)

    assert begun == [1, 1, 1, 2], "the second and third found the first under way"
    assert scheduler.skipped == 2
    assert len(await scene.rows()) == 2 + 4


async def test_one_that_does_not_overlap_waits_for_whatever_was_started_of_it(scene: Scene) -> None:
    """The last occurrence is over; an earlier one, or one that somebody asked for, is not."""
    await scene.publish(document([clock(interval=60, overlap="SKIP")], []))
    scheduler = scene.scheduler()
    await scene.set_due()
    await scheduler.look()
    (first,) = await scene.rows()
    by_hand = msgspec.structs.replace(await scene.as_new(first), id=new_id())
    await executions.create(scene.store, [by_hand])
    await scene.end("SUCCESS")
    await scene.store.execute(
        "update workflow_executions set status = 'WAITING' where id = $1", by_hand.id
    )

    await scene.set_due()
    await scheduler.look()
    skipped = len(await scene.rows())
    await scene.end("SUCCESS")
    await scene.set_due()
    await scheduler.look()

    assert skipped == 2, "what was started by hand is under way"
    assert len(await scene.rows()) == 3


async def test_what_an_earlier_release_started_is_not_overlapped_either(scene: Scene) -> None:
    await scene.publish(document([clock(interval=60, overlap="SKIP")], []))
    await scene.set_due()
    await scene.scheduler().look()
    await scene.store.execute("update workflow_executions set schedule_id = null")

    await scene.set_due()
    await scene.scheduler().look()

    assert len(await scene.rows()) == 1


async def test_a_paused_schedule_starts_nothing_and_begins_anew(scene: Scene) -> None:
    await scene.publish(document([clock(interval=60, catch_up="ALL")], []))
    schedule_id = str((await scene.schedule())["id"])
    await schedules.pause(scene.store, scene.user_id, schedule_id)
    await scene.set_due(ago=LONG_AGO)

    await scene.scheduler().look()
    assert await scene.rows() == []
    await schedules.pause(scene.store, scene.user_id, schedule_id)
    await schedules.resume(scene.store, new_id(), schedule_id)
    assert (await scene.schedule())["paused"] is True, "it is somebody else's"
    before = await scene.now()
    await schedules.resume(scene.store, scene.user_id, schedule_id)
    await scene.scheduler().look()

    assert await scene.rows() == [], "what passed meanwhile is not caught up with"
    resumed = await scene.schedule()
    assert resumed["paused"] is False
    assert resumed["next_at"] >= before + timedelta(seconds=60)
    await schedules.resume(scene.store, scene.user_id, schedule_id)
    assert (await scene.schedule())["next_at"] == resumed["next_at"], "it was not paused"


async def test_occurrences_start_once_while_a_schedule_is_paused_and_resumed(scene: Scene) -> None:
    await scene.publish(document([clock(interval=1, catch_up="ALL", max_catch_up=10)], []))
    schedule_id = str((await scene.schedule())["id"])

    async def steer() -> None:
        for _ in range(20):
            await schedules.pause(scene.store, scene.user_id, schedule_id)
            await schedules.resume(scene.store, scene.user_id, schedule_id)
            await scene.set_due(ago=timedelta(seconds=5))

    async def look() -> None:
        scheduler = scene.scheduler()
        for _ in range(20):
            await scheduler.look()

    await asyncio.gather(steer(), look(), look())

    instants = scheduled(await scene.created())
    assert instants
    assert len(instants) == len(set(instants))
    assert len(scene.said) == len(set(scene.said)) == len(instants)


async def test_a_workflow_that_is_not_active_starts_nothing_and_begins_anew(scene: Scene) -> None:
    workflow_id = await scene.publish(document([clock(interval=60)], []))
    await scene.set_due(ago=LONG_AGO)
    scheduler = scene.scheduler()

    async def set_active(active: bool) -> None:
        await workflows.set_active(
            scene.store, user_id=scene.user_id, workflow_id=workflow_id, active=active, triggers=()
        )

    await set_active(False)
    await scheduler.look()
    assert await scene.rows() == []

    await set_active(True)
    await scheduler.look()
    assert await scene.rows() == []

    await scene.set_due(ago=timedelta(seconds=1))
    await scheduler.look()
    assert len(await scene.rows()) == 1

    await scene.set_due(ago=timedelta(seconds=1))
    await workflows.delete(scene.store, user_id=scene.user_id, workflow_id=workflow_id)
    await scheduler.look()
    assert len(await scene.rows()) == 1


async def test_the_version_that_is_published_when_it_is_due_is_started(scene: Scene) -> None:
    first = document([clock(data="first")], [])
    workflow_id = await scene.publish(first)
    await scene.set_due(ago=timedelta(hours=1))
    await scene.publish(document([clock(data="second")], []), workflow_id)

    await scene.scheduler().look()

    (created,) = await scene.created()
    assert created["input"]["data"] == "second"


async def test_the_database_says_what_time_it_is(scene: Scene, database_url: str) -> None:
    """Its clock is nine years ahead of ours: what is due by it starts, what is due by ours would not."""
    await scene.publish(document([clock(cron="0 0 1 1 *")], []))
    await scene.set_due(ago=timedelta(days=-365 * 8))
    await scene.scheduler().look()
    assert await scene.rows() == []

    ours = await scene.now()
    await _set_clock_ahead(scene.store, years=9)
    store = await Store.open(database_url)
    ahead = Scene(store, scene.user_id, scene.said)
    await ahead.scheduler().look()
    await store.close()

    (created,) = await scene.created()
    at = (await scene.schedule())["last_at"]
    assert scheduled([created]) == [rfc3339(at)]
    assert (at.year - ours.year, at.month, at.day) in ((9, 1, 1), (8, 1, 1))
    assert (await scene.schedule())["next_at"].year == at.year + 1


async def _set_clock_ahead(store: Store, *, years: int) -> None:
    """Give new sessions of this database other clocks: ours stand before the server's in the search path."""
    await store.execute("create schema ahead")
    for name in ("statement_timestamp", "clock_timestamp", "now"):
        await store.execute(
            f"create function ahead.{name}() returns timestamptz language sql stable as "
            f"$$ select pg_catalog.{name}() + interval '{years} years' $$"
        )
    await store.execute(
        "do $$ begin execute format("
        "'alter database %I set search_path = ahead, pg_catalog, public', current_database()); end $$"
    )


async def test_a_schedule_that_cannot_be_computed_stops_no_other(scene: Scene) -> None:
    await scene.publish(document([clock("broken"), clock("whole")], []))
    await scene.set_due(ago=timedelta(hours=1))
    await scene.store.execute("update schedules set cron = 'nonsense' where node_id = 'broken'")
    scheduler = scene.scheduler()

    await scheduler.look()
    await scheduler.look()

    assert [each["trigger"]["node_id"] for each in await scene.created()] == ["whole"]
    assert scheduler.failed == 1, "it is left alone for a while"


async def test_an_execution_that_cannot_be_stored_stops_no_other(scene: Scene) -> None:
    names = [f"clock_{number}" for number in range(9)]
    ids = [await scene.publish(document([clock(name)], [])) for name in names]
    await scene.set_due(ago=timedelta(hours=1))
    await scene.store.execute(
        f"alter table workflow_executions add check (workflow_id <> '{ids[4]}')"
    )
    scheduler = scene.scheduler()

    await scheduler.look()
    await scheduler.look()

    begun = {each["trigger"]["node_id"] for each in await scene.created()}
    assert begun == set(names) - {"clock_4"}
    assert scheduler.failed == 1
    assert len(scene.said) == 8
    assert (await scene.schedule("clock_4"))["last_at"] is None


async def test_data_are_rendered_for_each_occurrence(scene: Scene) -> None:
    data = {
        "day": "{{ dateFormat(now, '%H:%M') }}",
        "who": "{{ static.who }} of {{ workflow.name }}",
    }
    text = '{"parsed": [1, "{{ static.who }}"]}'
    nodes = [clock(data=data, timezone="Europe/Berlin"), clock("text", data=text), clock("none")]
    settings = Settings(timezone="Asia/Kolkata")
    await scene.publish(document(nodes, [], settings, static_data={"who": "Ada"}))
    await scene.set_due(ago=timedelta(hours=1))

    await scene.scheduler().look()

    inputs = {each["trigger"]["node_id"]: each["input"] for each in await scene.created()}
    assert inputs["clock"]["data"] == {"day": inputs["clock"]["data"]["day"], "who": "Ada of test"}
    assert inputs["clock"]["data"]["day"].endswith(":30"), "as text in the workflow's time zone"
    assert inputs["clock"]["timezone"] == "Europe/Berlin"
    assert inputs["text"]["data"] == {"parsed": [1, "Ada"]}
    assert inputs["none"]["data"] == {}


async def test_data_that_cannot_be_rendered_start_nothing_and_the_schedule_goes_on(
    scene: Scene,
) -> None:
    await scene.publish(document([clock("broken", data="{{ static.none }}"), clock()], []))
    await scene.set_due(ago=timedelta(hours=1))
    scheduler = scene.scheduler()

    await scheduler.look()

    assert [each["trigger"]["node_id"] for each in await scene.created()] == ["clock"]
    assert scheduler.failed == 1
    broken = await scene.schedule("broken")
    assert broken["last_at"] is None
    assert broken["next_at"] > await scene.now()


async def test_a_concurrency_limit_holds_for_what_a_schedule_starts(scene: Scene) -> None:
    settings = Settings(concurrency=Concurrency(limit=1, key="input.data.who"))
    await scene.publish(document([clock(data={"who": "Ada"})], [], settings))
    await scene.set_due(ago=timedelta(hours=1))

    await scene.scheduler().look()

    (created,) = await scene.created()
    assert created["slot"] == {"limit": 1, "key": "Ada", "on_limit": "QUEUE"}


async def test_a_key_that_fails_is_told_by_the_execution(scene: Scene) -> None:
    settings = Settings(concurrency=Concurrency(limit=1, key="input.data.who"))
    await scene.publish(document([clock()], [], settings))
    await scene.set_due(ago=timedelta(hours=1))
    scheduler = scene.scheduler()

    await scheduler.look()

    (created,) = await scene.created()
    assert "slot" not in created
    assert created["cannot_start"]["kind"] == "INVALID_EXPRESSION"
    assert "settings.concurrency.key" in created["cannot_start"]["message"]
    assert scheduler.failed == 0


async def test_a_running_scheduler_starts_what_is_due(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    await node_types.store(installation.store, (CRON,))
    scene = Scene(installation.store, installation.user_id)
    await scene.publish(document([clock(interval=3600), node("a")], [wire("clock -> a")]))
    await scene.set_due()
    seen: list[Any] = []

    def collects(_: str, task: Any) -> Any:
        seen.append(msgspec.json.decode(task.deliveries[0].value))
        return {"ports": {"main": None}}

    async with processes.scheduler(), PlainWorker(nats_alone.url, "CUSTOM.ANY", collects):
        async with asyncio.timeout(30):
            while not (rows := await scene.rows()):
                await installation.next_event()
        (row,) = await installation.finished([rows[0].id])

    assert row.status == "SUCCESS"
    at = (await scene.schedule())["last_at"]
    assert seen == [{"scheduled_at": rfc3339(at), "timezone": "UTC", "data": {}}]
