"""Executions are created once, listed newest first, and their history is only ever added to."""

import asyncio
import re
from datetime import timedelta
from typing import TypeAlias

import asyncpg
import msgspec
import pytest

from contracts.history import (
    CarriedRun,
    ExecutionCreated,
    OutputsCarried,
    Parent,
    decode_data,
)
from contracts.statuses import Mode
from db import advances, errors, executions, idempotency, queries, users
from db.advances import AdvanceSession
from db.executions import ExecutionFilters
from db.store import Store
from tests.component.db import builders
from tests.component.db.builders import Ids, Version, advance, new_execution

pytestmark = pytest.mark.component

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def test_a_new_execution_has_its_first_event(
    store: Store, ids: Ids, workflow: Version
) -> None:
    parent, retried = ids.new(), ids.new()
    created = ExecutionCreated(
        workflow_id=workflow.workflow_id,
        version_id=workflow.version_id,
        user_id=workflow.user_id,
        mode=Mode.TRIGGER,
        input=msgspec.Raw(b'{"b":1,"a":2}'),
        parent=Parent(parent, "call"),
        retry_of=retried,
    )
    new = new_execution(workflow, ids.new(), created=created, priority=3, metadata={"order": 17})

    assert await executions.create(store, [new]) == {new.id}

    row = await executions.get(store, workflow.user_id, new.id)
    assert row is not None
    assert (row.status, row.version, row.workflow_version) == ("NEW", 1, 1)
    assert (row.priority, row.paused, row.failure) == (3, False, None)
    assert (row.parent_execution_id, row.parent_node_id, row.retry_of) == (parent, "call", retried)
    assert msgspec.json.decode(row.metadata) == {"order": 17}
    assert row.created_at == builders.START
    (event,) = await executions.history(store, new.id, limit=10)
    assert (event.seq, event.at, event.kind) == (1, builders.START, "execution_created")
    assert decode_data(event.kind, event.data) == created


async def test_the_beginnings_of_several_histories_are_read_at_once_and_in_order(
    store: Store, ids: Ids, workflow: Version
) -> None:
    long, short, unknown = ids.new(), ids.new(), ids.new()
    await builders.started(store, workflow, [long, short])
    session = await AdvanceSession.open(store)
    await session.commit([advance(long, count=5), advance(short)])
    await session.close()

    found = await executions.beginnings(store, [unknown, short, long], limit=4)

    assert {each: [row.seq for row in rows] for each, rows in found.items()} == {
        long: [1, 2, 3, 4],
        short: [1, 2],
    }
    assert list(found[short]) == list(await executions.history(store, short, limit=10))


async def test_a_second_creation_has_no_effect(store: Store, ids: Ids, workflow: Version) -> None:
    first, second = new_execution(workflow, ids.new()), new_execution(workflow, ids.new())

    assert await executions.create(store, [first]) == {first.id}
    assert await executions.create(store, [second, first, second]) == {second.id}
    assert await executions.create(store, []) == frozenset()

    stored = await advances.load(store, [first.id, second.id])
    assert [len(each.rows) for each in stored.values()] == [1, 1]


async def test_an_idempotency_key_starts_one_execution(
    store: Store, ids: Ids, workflow: Version
) -> None:
    def start(key: str) -> executions.NewExecution:
        return new_execution(
            workflow, ids.new(), idempotency=("execute", key), request_hash=b"body"
        )

    first, again, other = start("k1"), start("k1"), start("k2")

    assert await executions.create(store, [first, again]) == {first.id}
    assert await executions.create(store, [again, other]) == {other.id}

    known = await idempotency.find(store, workflow.user_id, "execute", "k1")
    assert known is not None
    assert (known.resource_id, known.request_hash) == (first.id, b"body")
    assert await idempotency.find(store, workflow.user_id, "execute", "k3") is None


async def test_an_idempotency_key_can_be_used_again_when_its_time_is_over(
    store: Store, ids: Ids, workflow: Version, direct: Connection
) -> None:
    first, again = (
        new_execution(workflow, ids.new(), idempotency=("execute", "k")) for _ in range(2)
    )
    await executions.create(store, [first])
    await direct.execute("update idempotency_keys set expires_at = now()")

    assert await idempotency.find(store, workflow.user_id, "execute", "k") is None
    assert await executions.create(store, [again]) == {again.id}


async def test_creators_that_race_create_each_execution_once(
    store: Store, ids: Ids, workflow: Version
) -> None:
    by_id = [new_execution(workflow, ids.new()) for _ in range(20)]
    by_key = [
        [new_execution(workflow, ids.new(), idempotency=("r", str(n))) for n in range(20)]
        for _ in range(2)
    ]

    left, right = await asyncio.gather(
        executions.create(store, [*by_id, *by_key[0]]),
        executions.create(store, [*reversed(by_id), *reversed(by_key[1])]),
    )

    assert not left & right
    assert len(left | right) == 40


async def test_an_execution_of_an_unknown_workflow_is_refused(
    store: Store, ids: Ids, workflow: Version
) -> None:
    lost = Version(workflow.user_id, ids.new(), workflow.version_id)

    with pytest.raises(errors.Conflict):
        await executions.create(store, [new_execution(lost, ids.new())])


async def test_nobody_sees_the_executions_of_others(
    store: Store, ids: Ids, workflow: Version
) -> None:
    other = await users.ensure(store, ids.new(), "eve@example.org", "Eve")
    new = new_execution(workflow, ids.new())
    await executions.create(store, [new])

    assert await executions.get(store, other.id, new.id) is None
    assert await executions.page(store, other.id, ExecutionFilters(), 10, None) == ((), None)


async def test_a_list_is_newest_first_and_goes_on_where_it_ended(
    store: Store, ids: Ids, workflow: Version
) -> None:
    execution_ids = [ids.new() for _ in range(5)]
    await builders.started(store, workflow, execution_ids)
    seen: list[str] = []
    after = None

    for expected in (2, 2, 1):
        rows, after = await executions.page(store, workflow.user_id, ExecutionFilters(), 2, after)
        assert len(rows) == expected
        seen += [row.id for row in rows]

    assert seen == execution_ids[::-1]
    assert after is None


async def test_a_list_is_narrowed_by_every_filter(
    store: Store, ids: Ids, user_id: str, workflow: Version
) -> None:
    other = await builders.version(store, ids, user_id)
    parent = ids.new()
    child = ExecutionCreated(
        workflow_id=other.workflow_id,
        version_id=other.version_id,
        user_id=user_id,
        mode=Mode.TRIGGER,
        parent=Parent(parent, "call"),
    )
    old, new, ended = ids.new(), ids.new(), ids.new()
    await executions.create(
        store,
        [
            new_execution(workflow, old, at=builders.START - timedelta(days=1)),
            new_execution(other, new, created=child),
            new_execution(workflow, ended, mode=Mode.RETRY),
        ],
    )
    session = await AdvanceSession.open(store)
    await session.commit([advance(ended, status="SUCCESS")])
    await session.close()

    async def found(**filters: object) -> list[str]:
        wanted = msgspec.convert(filters, ExecutionFilters)
        rows, _ = await executions.page(store, user_id, wanted, 10, None)
        return [row.id for row in rows]

    both = [workflow.workflow_id, other.workflow_id]
    assert await found(workflow_id=[other.workflow_id]) == [new]
    assert await found(workflow_id=[*both, *both]) == [ended, new, old]
    assert await found(workflow_id=both, status=["NEW"]) == [new, old]
    assert await found(version=[1]) == [ended, new, old]
    assert await found(version=[2]) == []
    assert await found(status=["SUCCESS", "ERROR"]) == [ended]
    assert await found(mode=["RETRY", "MANUAL"]) == [ended, new, old]
    assert await found(paused=True) == []
    assert await found(parent_execution_id=[parent]) == [new]
    assert await found(created_after=builders.START - timedelta(hours=1)) == [ended, new]
    assert await found(created_before=builders.START) == [old]


@pytest.mark.parametrize(
    ("subject", "name", "index"),
    [
        pytest.param(
            "executions", "page_executions", "workflow_executions_user", id="a user's list"
        ),
        pytest.param(
            "executions",
            "page_executions_of_workflows",
            "workflow_executions_workflow",
            id="a workflow's list",
        ),
        pytest.param("advances", "unfinished", "workflow_executions_status", id="the sweeper"),
    ],
)
async def test_plans_take_the_index_that_is_made_for_them_whatever_the_statistics_say(
    store: Store,
    ids: Ids,
    workflow: Version,
    direct: Connection,
    subject: str,
    name: str,
    index: str,
) -> None:
    await builders.started(store, workflow, [ids.new() for _ in range(20)])
    await direct.execute("analyze")

    async with store.transaction() as session:
        await session.execute("set local plan_cache_mode = force_generic_plan")
        await session.execute(f"prepare q as {queries.load(subject)[name]}")
        row = await session.fetch_row(
            "select cardinality(parameter_types) as count from pg_prepared_statements "
            "where name = 'q'"
        )
        assert row is not None
        plan = await session.fetch(f"explain execute q({', '.join(['null'] * row['count'])})")

    scans = [line for (line,) in plan if "on workflow_executions" in line]
    assert len(scans) == 1
    assert re.search(rf"Index Scan (Backward )?using {index} ", scans[0])
    assert not [
        line for (line,) in plan if re.search(r"Sort Key: execution\.(user|workflow)_id", line)
    ]


async def test_history_is_read_in_pieces_and_narrowed(
    store: Store, ids: Ids, workflow: Version
) -> None:
    execution_id = ids.new()
    await builders.started(store, workflow, [execution_id])
    session = await AdvanceSession.open(store)
    await session.commit([advance(execution_id, count=4)])
    await session.close()

    async def seqs(**asked: object) -> list[int]:
        rows = await executions.history(store, execution_id, **{"limit": 10, **asked})  # type: ignore[arg-type]
        return [row.seq for row in rows]

    assert await seqs() == [1, 2, 3, 4, 5]
    assert await seqs(after_seq=2, limit=2) == [3, 4]
    assert await seqs(kinds=["execution_created"]) == [1]
    assert await seqs(node_id="end") == [2, 3, 4, 5]


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("update history set data = '{}'", id="through the table"),
        pytest.param("update history_2026_11 set seq = seq + 1", id="through a partition"),
        pytest.param("update workflow_versions set note = 'x'", id="of versions"),
    ],
)
async def test_what_is_written_once_refuses_changes(
    store: Store, ids: Ids, workflow: Version, direct: Connection, statement: str
) -> None:
    await builders.started(store, workflow, [ids.new()])
    if "history_2026_11" in statement:
        partition = await direct.fetchval("select tableoid::regclass::text from history")
        statement = statement.replace("history_2026_11", partition)

    with pytest.raises(asyncpg.RestrictViolationError, match="never change"):
        await direct.execute(statement)


async def test_a_role_without_ownership_may_not_rewrite_history(
    store: Store, direct: Connection, database_url: str
) -> None:
    role = "reader_" + database_url.rpartition("/")[2]
    await direct.execute(f"create role {role}; grant select, insert on history to {role}")
    try:
        await direct.execute(f"set role {role}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await direct.execute("delete from history")
    finally:
        await direct.execute(f"reset role; drop owned by {role}; drop role {role}")


async def test_another_role_sees_the_rows_of_its_user_alone(
    store: Store, ids: Ids, workflow: Version, direct: Connection, database_url: str
) -> None:
    execution_id = ids.new()
    await builders.started(store, workflow, [execution_id])
    role = "tenant_" + database_url.rpartition("/")[2]
    await direct.execute(
        f"create role {role}; grant select on all tables in schema public to {role}"
    )
    tables = ("users", "workflows", "nodes", "workflow_versions", "workflow_executions", "history")

    async def visible(user_id: str) -> set[bool]:
        await direct.execute("select set_config('flotilla.user_id', $1, false)", user_id)
        return {await direct.fetchval(f"select count(*) > 0 from {each}") for each in tables}  # noqa: S608

    try:
        await direct.execute(f"set role {role}")
        assert await visible("") == {False}
        assert await visible(ids.new()) == {False}
        assert await visible(workflow.user_id) == {True}
    finally:
        await direct.execute(f"reset role; drop owned by {role}; drop role {role}")


async def test_what_is_taken_over_is_created_with_the_execution(
    store: Store, ids: Ids, workflow: Version
) -> None:
    carried = tuple(
        OutputsCarried((CarriedRun(node_id=each, ports={"main": msgspec.Raw(b"1")}),))
        for each in ("a", "b")
    )
    retry = new_execution(workflow, ids.new(), carried=carried)
    plain = new_execution(workflow, ids.new())

    assert await executions.create(store, [retry, plain, retry]) == {retry.id, plain.id}
    assert await executions.create(store, [retry]) == frozenset()

    row = await executions.get(store, workflow.user_id, retry.id)
    other = await executions.get(store, workflow.user_id, plain.id)
    history = await executions.history(store, retry.id, limit=10)
    assert row is not None
    assert other is not None
    assert (row.version, other.version) == (3, 1)
    assert [(each.seq, each.kind) for each in history] == [
        (1, "execution_created"),
        (2, "outputs_carried"),
        (3, "outputs_carried"),
    ]
    assert [decode_data(each.kind, each.data) for each in history] == [retry.created, *carried]


async def test_a_key_is_claimed_once(store: Store, ids: Ids, user_id: str) -> None:
    claim = idempotency.Claim(
        user_id=user_id, route="POST /x", key="k", request_hash=b"1", resource_id=ids.new()
    )
    other = msgspec.structs.replace(claim, request_hash=b"2", resource_id=ids.new())

    async with store.transaction() as session:
        assert await idempotency.claim(session, claim)
        assert not await idempotency.claim(session, other)

    kept = await idempotency.find(store, user_id, "POST /x", "k")
    assert kept is not None
    assert (kept.resource_id, kept.request_hash) == (claim.resource_id, b"1")
