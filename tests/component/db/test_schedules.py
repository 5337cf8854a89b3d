"""Schedules follow what is published and active, begin now when they are armed, and are held by one at a time."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import msgspec
import pytest

from contracts.schedules import Policy, Schedule, Timing
from db import schedules, workflows
from db.schedules import Move
from db.store import Store
from tests.component.db import builders
from tests.component.db.builders import Ids, document

pytestmark = pytest.mark.component

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

DAILY = Schedule("daily", Timing("0 3 * * *", None, "Europe/Berlin"), Policy())
OFTEN = Schedule("often", Timing(None, 3600.0, "UTC"), Policy("ALL", 5, "SKIP"))
LONG_AGO = timedelta(days=40)
DAILY_COLUMNS = ("0 3 * * *", None, "Europe/Berlin")


class Writer(msgspec.Struct, frozen=True):
    """Changes one workflow, and reads the schedules of it."""

    store: Store
    direct: Any
    ids: Ids
    user_id: str
    workflow_id: str

    async def publish(self, *wanted: Schedule, active: bool | None = None) -> None:
        await workflows.publish(
            self.store,
            user_id=self.user_id,
            workflow_id=self.workflow_id,
            version_id=self.ids.new(),
            document=document(description=self.ids.new()),
            note="",
            created_by=self.user_id,
            active=active,
            triggers=(),
            schedules=wanted,
        )

    async def set_active(self, active: bool) -> None:
        await workflows.set_active(
            self.store,
            user_id=self.user_id,
            workflow_id=self.workflow_id,
            active=active,
            triggers=(),
        )

    async def update(self, active: bool | None) -> None:
        await workflows.update(
            self.store,
            user_id=self.user_id,
            workflow_id=self.workflow_id,
            document=document(),
            problems=(),
            active=active,
            expected_revision=None,
        )

    async def delete(self) -> None:
        await workflows.delete(self.store, user_id=self.user_id, workflow_id=self.workflow_id)

    async def put_back(self) -> None:
        """Let every schedule be due for long."""
        await self.direct.execute("update schedules set next_at = now() - $1::interval", LONG_AGO)

    async def rows(self) -> dict[str, Any]:
        found = await self.direct.fetch(
            "select *, next_at - clock_timestamp() as ahead, isfinite(next_at) as is_armed from schedules "
            "where isfinite(next_at) union all "
            "select *, null, false from schedules where not isfinite(next_at)"
        )
        return {row["node_id"]: row for row in found}

    async def armed(self) -> set[str]:
        return {name for name, row in (await self.rows()).items() if row["is_armed"]}


@pytest.fixture
async def writer(store: Store, direct: Connection, ids: Ids, user_id: str) -> Writer:
    """Changes a new workflow."""
    return Writer(store, direct, ids, user_id, await builders.workflow(store, ids, user_id))


def is_now(row: Any, *, ahead: float = 0) -> bool:
    """Whether a schedule is looked at next so many seconds after it was armed just now."""
    found: timedelta = row["ahead"]
    return timedelta(seconds=ahead - 20) < found <= timedelta(seconds=ahead)


async def test_a_published_schedule_begins_now(writer: Writer) -> None:
    await writer.publish(DAILY, OFTEN)

    rows = await writer.rows()
    daily, often = rows["daily"], rows["often"]
    assert (daily["cron"], daily["interval_s"], daily["timezone"]) == DAILY_COLUMNS
    assert (often["cron"], often["interval_s"], often["timezone"]) == (None, 3600.0, "UTC")
    assert msgspec.json.decode(often["policy"], type=Policy) == OFTEN.policy
    assert (daily["purpose"], daily["paused"], daily["last_at"]) == ("START", False, None)
    assert str(daily["user_id"]) == writer.user_id
    assert is_now(daily)
    assert is_now(often, ahead=3600)


async def test_an_unchanged_schedule_keeps_its_place_when_it_is_published_again(
    writer: Writer,
) -> None:
    await writer.publish(DAILY, OFTEN)
    await writer.put_back()
    before = await writer.rows()

    other_policy = msgspec.structs.replace(DAILY, policy=Policy("NONE"))
    await writer.publish(other_policy, OFTEN)

    rows = await writer.rows()
    assert rows["daily"]["next_at"] == before["daily"]["next_at"]
    assert rows["often"]["next_at"] == before["often"]["next_at"]
    assert {name: row["id"] for name, row in rows.items()} == {
        name: row["id"] for name, row in before.items()
    }
    assert msgspec.json.decode(rows["daily"]["policy"], type=Policy) == Policy("NONE")


@pytest.mark.parametrize(
    "timing",
    [
        pytest.param(Timing("0 4 * * *", None, "Europe/Berlin"), id="another text"),
        pytest.param(Timing("0 3 * * *", None, "UTC"), id="another time zone"),
        pytest.param(Timing(None, 60.0, "Europe/Berlin"), id="an interval"),
    ],
)
async def test_a_changed_schedule_begins_anew(writer: Writer, timing: Timing) -> None:
    await writer.publish(DAILY, OFTEN)
    await writer.put_back()

    await writer.publish(msgspec.structs.replace(DAILY, timing=timing), OFTEN)

    rows = await writer.rows()
    assert is_now(rows["daily"], ahead=timing.interval_s or 0)
    assert rows["often"]["ahead"] < -LONG_AGO


async def test_what_is_no_longer_published_is_gone(writer: Writer) -> None:
    await writer.publish(DAILY, OFTEN)

    await writer.publish(OFTEN)

    assert set(await writer.rows()) == {"often"}


async def test_schedules_are_armed_while_the_workflow_is_active_and_begin_now_each_time(
    writer: Writer,
) -> None:
    await writer.publish(DAILY, active=False)
    assert await writer.armed() == set()

    await writer.set_active(True)
    assert is_now((await writer.rows())["daily"])

    await writer.put_back()
    await writer.set_active(True)
    assert (await writer.rows())["daily"]["ahead"] < -LONG_AGO, "it was armed already"

    await writer.set_active(False)
    assert await writer.armed() == set()

    await writer.update(active=True)
    assert is_now((await writer.rows())["daily"]), "what it missed while inactive is not caught up"

    await writer.update(active=False)
    assert await writer.armed() == set()

    await writer.publish(DAILY, OFTEN)
    assert await writer.armed() == set()

    await writer.publish(DAILY, OFTEN, active=True)
    assert await writer.armed() == {"daily", "often"}

    await writer.delete()
    assert await writer.rows() == {}


async def claimed(store: Store, put_off: Sequence[str] = (), limit: int = 10) -> list[str]:
    """Return the nodes whose schedules are due."""
    async with store.transaction() as session:
        return [each.node_id for each in await schedules.claim(session, put_off, limit)]


async def test_what_is_due_is_claimed_longest_first(
    store: Store, direct: Connection, writer: Writer
) -> None:
    await writer.publish(DAILY, OFTEN)
    await writer.put_back()
    await direct.execute("update schedules set next_at = '2026-01-01' where node_id = 'often'")
    due = await writer.rows()

    assert await claimed(store) == ["often", "daily"]
    assert await claimed(store, limit=1) == ["often"]
    assert await claimed(store, put_off=[str(due["often"]["id"])]) == ["daily"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("next_at = now() + interval '1 minute'", id="not due"),
        pytest.param("next_at = 'infinity'", id="never due"),
        pytest.param("paused = true", id="paused"),
        pytest.param("purpose = 'POLL'", id="no start"),
    ],
)
async def test_what_must_not_start_is_not_claimed(
    store: Store, direct: Connection, writer: Writer, change: str
) -> None:
    await writer.publish(DAILY)
    await writer.put_back()
    await direct.execute(f"update schedules set {change}")  # noqa: S608  # from the table above

    assert await claimed(store) == []


async def test_a_claimed_schedule_is_passed_over_by_others(store: Store, writer: Writer) -> None:
    await writer.publish(DAILY, OFTEN)
    await writer.put_back()

    async with store.transaction() as session:
        (first,) = await schedules.claim(session, (), 1)

        assert first.node_id not in await claimed(store)

    assert set(await claimed(store)) == {"daily", "often"}


async def test_a_moved_schedule_goes_on_where_it_was_moved_to(
    store: Store, direct: Connection, writer: Writer
) -> None:
    await writer.publish(DAILY, OFTEN)
    await writer.put_back()
    now: datetime = await direct.fetchval("select clock_timestamp()")

    async with store.transaction() as session:
        daily, often = sorted(await schedules.claim(session, (), 10), key=lambda each: each.node_id)
        assert daily.now >= now
        await schedules.move(
            session,
            [Move(daily.id, now + LONG_AGO, now), Move(often.id, None, None)],
        )

    rows = await writer.rows()
    assert (rows["daily"]["next_at"], rows["daily"]["last_at"]) == (now + LONG_AGO, now)
    assert (rows["often"]["is_armed"], rows["often"]["last_at"]) == (False, None)


async def test_how_long_nothing_will_be_due(
    store: Store, direct: Connection, writer: Writer
) -> None:
    await writer.publish(DAILY)
    assert await schedules.seconds_to_next(store, 1.0) == 1.0

    await direct.execute("update schedules set next_at = now() + interval '50 seconds'")

    assert 20 < await schedules.seconds_to_next(store, 60.0) <= 50
    assert await schedules.seconds_to_next(store, 1.0) == 1.0


async def test_a_user_sees_his_own_schedules_alone(
    direct: Connection, writer: Writer, ids: Ids
) -> None:
    await writer.publish(DAILY)

    counts = []
    for user_id in (writer.user_id, ids.new()):
        async with direct.transaction():
            await direct.execute("set local role pg_read_all_data")
            await direct.execute("select set_config('flotilla.user_id', $1, true)", user_id)
            counts.append(await direct.fetchval("select count(*) from schedules"))

    assert counts == [1, 0]
