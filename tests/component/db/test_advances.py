"""The hot path: one winner per version, nothing of losers, and commits whose answer is lost."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import asyncpg
import pytest

from contracts.ids import PARTITIONS, partition_of
from db import advances, errors, executions, queries
from db.advances import AdvanceSession
from db.store import HOT_SESSION, Store
from tests.component.db import builders
from tests.component.db.builders import Ids, Version, advance, timer
from tests.component.db.faults import Proxy, waiting_for_a_lock

pytestmark = pytest.mark.component

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

PAST = datetime(2020, 1, 1, tzinfo=UTC)
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
EVERYWHERE = range(PARTITIONS)


@pytest.fixture
async def session(store: Store) -> AsyncIterator[AdvanceSession]:
    """A session to commit with."""
    opened = await AdvanceSession.open(store)
    yield opened
    await opened.close()


async def test_an_advance_is_stored_with_its_events(
    store: Store, session: AdvanceSession, ids: Ids, workflow: Version
) -> None:
    execution_id = ids.new()
    await builders.started(store, workflow, [execution_id])
    data = '{"ports":{"main":{"b":1,"a":"\\u0000"}}}'
    events = [
        builders.event(2, "execution_started", data="{}"),
        builders.event(3, iteration=[4, 17], data=data),
    ]

    won = await session.commit(
        [advance(execution_id, count=2, started_at=builders.START, events=events)]
    )

    assert won == {execution_id}
    stored = (await advances.load(store, [execution_id]))[execution_id]
    assert (stored.status, stored.version) == ("RUNNING", 3)
    assert stored.version_id == workflow.version_id
    assert [(row.seq, row.kind) for row in stored.rows] == [
        (1, "execution_created"),
        (2, "execution_started"),
        (3, "node_succeeded"),
    ]
    assert stored.rows[2].iteration == (4, 17)
    assert stored.rows[2].data == data.encode(), "the order of keys and every byte stay"
    row = await executions.get(store, workflow.user_id, execution_id)
    assert row is not None
    assert row.started_at == builders.START


async def test_instants_and_failure_stay_once_they_are_set(
    store: Store, session: AdvanceSession, ids: Ids, workflow: Version
) -> None:
    execution_id = ids.new()
    await builders.started(store, workflow, [execution_id])
    failure = b'{"kind":"ERROR","code":"boom","message":"\\u0000"}'

    await session.commit([advance(execution_id, started_at=builders.START)])
    await session.commit(
        [advance(execution_id, was=2, status="ERROR", finished_at=builders.START, failure=failure)]
    )

    row = await executions.get(store, workflow.user_id, execution_id)
    assert row is not None
    assert (row.status, row.failure) == ("ERROR", failure)
    assert row.started_at == row.finished_at == builders.START


async def test_of_two_committers_each_version_has_exactly_one_winner(
    store: Store, ids: Ids, workflow: Version
) -> None:
    execution_ids = [ids.new() for _ in range(40)]
    await builders.started(store, workflow, execution_ids)
    racers = [await AdvanceSession.open(store) for _ in range(2)]

    for was in range(1, 11):
        batches = [
            [
                advance(each, was=was, timers=[timer(each, f"{name}-{was}", FUTURE)])
                for each in execution_ids
            ]
            for name in ("left", "right")
        ]
        won = await asyncio.gather(
            *(racer.commit(batch) for racer, batch in zip(racers, batches, strict=True))
        )
        assert won[0] | won[1] == set(execution_ids)
        assert not won[0] & won[1]

    stored = await advances.load(store, execution_ids)
    for execution in stored.values():
        assert [row.seq for row in execution.rows] == list(range(1, 12))
    timers, _ = await advances.due_timers(store, EVERYWHERE, 1000)
    assert timers == ()
    for racer in racers:
        await racer.close()


async def test_a_loser_leaves_neither_events_nor_timers(
    store: Store, session: AdvanceSession, ids: Ids, workflow: Version, direct: Connection
) -> None:
    winner, loser = ids.new(), ids.new()
    await builders.started(store, workflow, [winner, loser])
    await session.commit([advance(loser, timers=[timer(loser, "kept", FUTURE)])])

    won = await session.commit(
        [
            advance(loser, cleared=["kept"], timers=[timer(loser, "wrong", FUTURE)]),
            advance(winner, timers=[timer(winner, "right", FUTURE)]),
        ]
    )

    assert won == {winner}
    keys = await direct.fetch("select key from timers order by key")
    assert [row["key"] for row in keys] == ["kept", "right"]
    assert len((await advances.load(store, [loser]))[loser].rows) == 2


@pytest.mark.parametrize("status", ["SUCCESS", "ERROR", "CANCELED"])
async def test_a_terminal_execution_never_changes(
    store: Store, session: AdvanceSession, ids: Ids, workflow: Version, status: str
) -> None:
    execution_id = ids.new()
    await builders.started(store, workflow, [execution_id])
    await session.commit([advance(execution_id, status=status)])

    won = await session.commit([advance(execution_id, was=2, status="RUNNING")])

    assert won == frozenset()
    stored = (await advances.load(store, [execution_id]))[execution_id]
    assert (stored.status, stored.version, len(stored.rows)) == (status, 2, 2)


async def test_a_terminal_execution_keeps_no_timer(
    store: Store, session: AdvanceSession, ids: Ids, workflow: Version, direct: Connection
) -> None:
    ending, going_on = ids.new(), ids.new()
    await builders.started(store, workflow, [ending, going_on])
    await session.commit(
        [advance(each, timers=[timer(each, "a", FUTURE)]) for each in (ending, going_on)]
    )

    await session.commit(
        [
            advance(ending, was=2, status="SUCCESS", timers=[timer(ending, "b", FUTURE)]),
            advance(going_on, was=2),
        ]
    )

    rows = await direct.fetch("select execution_id::text, key from timers")
    assert [tuple(row) for row in rows] == [(going_on, "a")]


async def test_timers_are_set_again_cleared_and_a_set_one_outlives_its_clearing(
    store: Store, session: AdvanceSession, ids: Ids, workflow: Version
) -> None:
    execution_id = ids.new()
    await builders.started(store, workflow, [execution_id])
    keys = ("moved", "cleared", "both")
    await session.commit(
        [advance(execution_id, timers=[timer(execution_id, key, FUTURE) for key in keys])]
    )

    await session.commit(
        [
            advance(
                execution_id,
                was=2,
                timers=[
                    timer(execution_id, key, PAST, iteration=(3,)) for key in ("moved", "both")
                ],
                cleared=["cleared", "both"],
            )
        ]
    )

    due, upcoming = await advances.due_timers(store, EVERYWHERE, 10)
    assert {each.key for each in due} == {"moved", "both"}
    assert {each.iteration for each in due} == {(3,)}
    assert upcoming is None


async def test_an_advance_without_events_changes_timers_alone(
    store: Store, session: AdvanceSession, ids: Ids, workflow: Version
) -> None:
    running, over = ids.new(), ids.new()
    await builders.started(store, workflow, [running, over])
    await session.commit(
        [
            advance(running, timers=[timer(running, "stale", PAST)]),
            advance(over, status="CANCELED"),
        ]
    )

    won = await session.commit(
        [
            advance(running, was=2, count=0, cleared=["stale"]),
            advance(over, was=2, count=0, status="CANCELED", cleared=["stale"]),
        ]
    )

    assert won == {running, over}
    assert await advances.due_timers(store, EVERYWHERE, 10) == ((), None)
    assert (await advances.load(store, [running]))[running].version == 2


async def test_timers_are_due_by_the_clock_of_the_database(
    store: Store, session: AdvanceSession, ids: Ids, workflow: Version, direct: Connection
) -> None:
    execution_id = ids.new(partition=5)
    await builders.started(store, workflow, [execution_id])
    now = await direct.fetchval("select clock_timestamp()")
    soon = now + timedelta(hours=1)
    await session.commit(
        [
            advance(
                execution_id,
                timers=[
                    timer(execution_id, "later", FUTURE),
                    timer(execution_id, "soon", soon),
                    timer(execution_id, "now", now),
                    timer(execution_id, "long ago", PAST, node_id="end", iteration=(0, 1)),
                ],
            )
        ]
    )

    due, upcoming = await advances.due_timers(store, [5], 10)

    assert due == (
        timer(execution_id, "long ago", PAST, node_id="end", iteration=(0, 1)),
        timer(execution_id, "now", now),
    )
    assert upcoming == soon
    assert [each.key for each in (await advances.due_timers(store, [5], 1))[0]] == ["long ago"]
    assert await advances.due_timers(store, [4, 6], 10) == ((), None)


async def test_the_database_and_we_agree_on_partitions(
    store: Store, session: AdvanceSession, ids: Ids, workflow: Version
) -> None:
    execution_ids = [ids.new(partition=number * 7 % 256) for number in range(64)]
    await builders.started(store, workflow, execution_ids)
    await session.commit([advance(each, timers=[timer(each, "k", PAST)]) for each in execution_ids])

    for partition in EVERYWHERE:
        expected = {each for each in execution_ids if partition_of(each) == partition}
        due, _ = await advances.due_timers(store, [partition], 100)
        running = await advances.unfinished(
            store, [partition], after=None, limit=100, silent_for_seconds=0
        )
        assert {each.execution_id for each in due} == expected
        assert set(running) == expected


async def test_unfinished_executions_are_paged_by_id_and_by_how_long_they_are_silent(
    store: Store, session: AdvanceSession, ids: Ids, workflow: Version, direct: Connection
) -> None:
    new, running, waiting, over, silent = execution_ids = [ids.new() for _ in range(5)]
    await builders.started(store, workflow, execution_ids)
    await session.commit(
        [
            advance(running),
            advance(waiting, status="WAITING"),
            advance(over, status="SUCCESS"),
            advance(silent),
        ]
    )
    await direct.execute(
        "update workflow_executions set updated_at = now() - interval '1 hour' where id = $1",
        silent,
    )

    async def ask(after: str | None = None, limit: int = 10, silence: float = 0) -> tuple[str, ...]:
        found = await advances.unfinished(
            store, EVERYWHERE, after=after, limit=limit, silent_for_seconds=silence
        )
        return tuple(found)

    assert await ask() == (new, running, silent)
    assert await ask(limit=2) == (new, running)
    assert await ask(after=running) == (silent,)
    assert await ask(silence=600) == (silent,)


async def test_a_batch_that_can_never_be_written_leaves_nothing_and_the_session_goes_on(
    store: Store, session: AdvanceSession, ids: Ids, workflow: Version
) -> None:
    good, bad = ids.new(), ids.new()
    await builders.started(store, workflow, [good, bad])

    with pytest.raises(errors.InvalidValue):
        await session.commit(
            [advance(good), advance(bad, events=[builders.event(2, data="no json")])]
        )
    with pytest.raises(errors.Conflict):
        await session.commit([advance(good), advance(bad, status="BROKEN")])

    assert (await advances.load(store, [good]))[good].version == 1
    assert await session.commit([advance(good)]) == {good}


async def test_a_backend_that_dies_leaves_the_commit_in_doubt_and_the_session_connects_anew(
    store: Store, session: AdvanceSession, ids: Ids, workflow: Version, direct: Connection
) -> None:
    execution_id = ids.new()
    await builders.started(store, workflow, [execution_id])
    async with direct.transaction():
        await direct.execute(
            "select from workflow_executions where id = $1 for update", execution_id
        )
        commit = asyncio.create_task(session.commit([advance(execution_id)]))
        backend = await waiting_for_a_lock(direct)
        await direct.execute("select pg_terminate_backend($1)", backend)

        with pytest.raises(errors.CommitInDoubt):
            await commit

    assert (await advances.load(store, [execution_id]))[execution_id].version == 1
    assert await session.commit([advance(execution_id)]) == {execution_id}


async def test_a_commit_whose_answer_is_lost_is_in_doubt_although_it_happened(
    database_url: str, store: Store, ids: Ids, workflow: Version
) -> None:
    execution_id = ids.new()
    await builders.started(store, workflow, [execution_id])
    async with Proxy.before(database_url) as proxy:
        distant = await Store.open(proxy.url)
        session = await AdvanceSession.open(distant)
        proxy.swallow_the_next_answer()

        with pytest.raises(errors.CommitInDoubt):
            await session.commit([advance(execution_id)])

        assert (await advances.load(store, [execution_id]))[execution_id].version == 2
        assert await session.commit([advance(execution_id)]) == frozenset(), "it would be twice"
        assert await session.commit([advance(execution_id, was=2)]) == {execution_id}
        await session.close()
        await distant.close()


async def test_a_commit_that_is_never_answered_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
    store: Store,
    session: AdvanceSession,
    ids: Ids,
    workflow: Version,
    direct: Connection,
) -> None:
    execution_id = ids.new()
    await builders.started(store, workflow, [execution_id])
    monkeypatch.setattr(advances, "COMMIT_SECONDS", 0.05)
    async with direct.transaction():
        await direct.execute(
            "select from workflow_executions where id = $1 for update", execution_id
        )

        with pytest.raises(errors.CommitInDoubt):
            await session.commit([advance(execution_id)])


async def test_a_caller_that_is_cancelled_does_not_take_its_commit_along(
    store: Store, session: AdvanceSession, ids: Ids, workflow: Version, direct: Connection
) -> None:
    execution_id = ids.new()
    await builders.started(store, workflow, [execution_id])
    async with direct.transaction():
        await direct.execute(
            "select from workflow_executions where id = $1 for update", execution_id
        )
        commit = asyncio.create_task(session.commit([advance(execution_id)]))
        await waiting_for_a_lock(direct)
        commit.cancel()

    with pytest.raises(asyncio.CancelledError):
        await commit
    assert (await advances.load(store, [execution_id]))[execution_id].version == 2
    assert await session.commit([advance(execution_id, was=2)]) == {execution_id}


async def test_an_idle_session_connects_anew_after_its_backend_died(
    store: Store, session: AdvanceSession, ids: Ids, workflow: Version, direct: Connection
) -> None:
    execution_id = ids.new()
    await builders.started(store, workflow, [execution_id])
    await direct.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )

    try:
        won = await session.commit([advance(execution_id)])
    except errors.CommitInDoubt:  # the news had not arrived yet
        won = await session.commit([advance(execution_id)])

    assert won == {execution_id}


async def test_a_session_that_was_idle_for_longer_than_a_statement_may_take_still_commits(
    store: Store,
    ids: Ids,
    workflow: Version,
    direct: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Preparing starts the clock of the statement timeout; it must not run on until the first commit."""
    monkeypatch.setitem(HOT_SESSION, "statement_timeout", "50ms")
    execution_id = ids.new()
    await builders.started(store, workflow, [execution_id])
    idle = await AdvanceSession.open(store)

    await direct.execute("select pg_sleep(0.2)")  # the server's own clock passes the timeout
    won = await idle.commit([advance(execution_id)])

    assert won == {execution_id}
    await idle.close()


async def test_an_empty_batch_costs_nothing(session: AdvanceSession) -> None:
    assert await session.commit([]) == frozenset()


@pytest.mark.parametrize(
    ("statement", "arguments", "looked_up"),
    [
        # the update, its timers cleared or ended, and children let go
        pytest.param("commit_batch", 31, 4, id="whole"),
        pytest.param("commit_events", 17, 2, id="plain"),  # the update, and its timers ended
    ],
)
@pytest.mark.parametrize(
    "tables",
    [
        pytest.param("truncate timers", id="of unknown size"),
        pytest.param("analyze", id="with few rows"),
        pytest.param("update workflow_executions set status = 'SUCCESS'; analyze", id="all over"),
    ],
)
async def test_the_plan_of_a_commit_does_not_depend_on_what_is_in_the_tables(
    store: Store,
    ids: Ids,
    workflow: Version,
    direct: Connection,
    tables: str,
    statement: str,
    arguments: int,
    looked_up: int,
) -> None:
    await builders.started(store, workflow, [ids.new() for _ in range(20)])
    await direct.execute(tables)
    connection = await store.dedicated()
    await connection.execute(f"prepare q as {queries.load('advances')[statement]}")

    rows = await connection.fetch(f"explain execute q({', '.join(['null'] * arguments)})")

    lines = [row[0].strip() for row in rows]
    scans = [
        (line, lines[number + 1])
        for number, line in enumerate(lines)
        if "Scan" in line and ("on workflow_executions" in line or "on timers" in line)
    ]
    assert len(scans) == looked_up
    assert all("pkey on" in scan and "= ANY ($" in condition for scan, condition in scans)
    assert not [line for line in lines if "Nested Loop" in line or "Merge Join" in line]
    await connection.close()
