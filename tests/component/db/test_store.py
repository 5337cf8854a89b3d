"""The store: what it says when PostgreSQL is away, and how it behaves behind a pooler."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeAlias

import asyncpg
import pytest

from db import errors, migrations, users
from db import store as stores
from db.advances import AdvanceSession
from db.clock import DatabaseClock
from db.store import Address, Store, read_address
from flotilla.embedded.postgres import PostgresServer
from tests.component.db import builders
from tests.component.db.builders import Ids, Version, advance
from tests.support import servers

pytestmark = pytest.mark.component

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        pytest.param(
            "postgresql://u:p@h:5432/d?sslmode=require",
            Address("postgresql://u:p@h:5432/d?sslmode=require", is_pooled=False),
            id="direct",
        ),
        pytest.param(
            "postgresql://u:p@h:6543/d",
            Address("postgresql://u:p@h:6543/d", is_pooled=True),
            id="by port",
        ),
        pytest.param(
            "postgresql://u:p@h/d?pooler=transaction&sslmode=require",
            Address("postgresql://u:p@h/d?sslmode=require", is_pooled=True),
            id="by parameter, which the server never sees",
        ),
    ],
)
def test_a_pooler_is_told_by_the_url(url: str, address: Address) -> None:
    assert read_address(url) == address


def test_another_mode_of_pooling_is_refused() -> None:
    with pytest.raises(errors.InvalidValue):
        read_address("postgresql://h/d?pooler=statement")


@pytest.fixture
async def server() -> AsyncIterator[PostgresServer]:
    """A server of this test alone, to stop it."""
    with servers.server_folder() as folder:
        async with PostgresServer(folder / "postgres", durable=False) as running:
            yield running


async def test_a_stopped_server_is_unavailable_until_it_is_back(
    server: PostgresServer, ids: Ids
) -> None:
    await migrations.migrate(server.url, ())
    store = await Store.open(server.url)
    session = await AdvanceSession.open(store)

    await server.stop()
    with pytest.raises(errors.StoreUnavailable):
        await store.ping()
    with pytest.raises(errors.StoreUnavailable):
        async with store.transaction():
            pytest.fail("there is no session to give")
    with pytest.raises(errors.StoreUnavailable):
        await session.commit([advance(ids.new())])
    with pytest.raises(errors.StoreUnavailable):
        await Store.open(server.url)

    await server.start()
    await store.ping()
    assert await session.commit([advance(ids.new())]) == frozenset()

    await session.close()
    await store.close()
    with pytest.raises(errors.StoreUnavailable):
        await store.ping()


async def test_a_server_with_too_many_clients_is_unavailable(
    store: Store, direct: Connection, database_url: str
) -> None:
    name = database_url.rpartition("/")[2]
    await direct.execute(f'alter database "{name}" connection limit 0')
    role = f"guest_{name}"
    await direct.execute(f"create role {role} login password 'p'")
    try:
        with pytest.raises(errors.StoreUnavailable):
            await Store.open(_as(database_url, role))
    finally:
        await direct.execute(f"drop role {role}")


async def test_a_read_only_server_is_unavailable(store: Store, ids: Ids) -> None:
    async with store.transaction() as session:
        await session.execute("set transaction read only")
        with pytest.raises(errors.StoreUnavailable):
            await session.execute("create table t ()")


async def test_an_exhausted_pool_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setattr(stores, "ACQUIRE_SECONDS", 0.01)
    store = await Store.open(database_url, pool_size=1)
    async with store.transaction():
        with pytest.raises(errors.StoreUnavailable):
            await store.ping()
    await store.close()


async def test_a_value_that_postgres_cannot_take_is_told_apart(store: Store) -> None:
    with pytest.raises(errors.InvalidValue):
        await users.get(store, "no uuid")
    with pytest.raises(errors.InvalidValue):
        await users.ensure(store, "019a0000-0000-7000-8000-000000000001", "a\0b", "")


async def test_a_wrong_statement_is_a_bug_and_not_an_outage(store: Store) -> None:
    with pytest.raises(errors.StoreError) as caught:
        await store.fetch("select $1::int")
    assert not isinstance(caught.value, errors.StoreUnavailable)
    with pytest.raises(errors.StoreError) as caught:
        await store.fetch("select nothing from nowhere")
    assert not isinstance(caught.value, errors.StoreUnavailable)


async def test_a_transaction_happens_all_or_not_at_all(store: Store, ids: Ids) -> None:
    user_id = ids.new()

    async def fail_halfway() -> None:
        async with store.transaction() as session:
            await session.execute("insert into users (id, email) values ($1, 'e')", user_id)
            await session.execute("select 1 / 0")

    with pytest.raises(errors.StoreError):
        await fail_halfway()

    assert await users.get(store, user_id) is None


async def test_behind_a_pooler_everything_works_without_a_session(
    database_url: str, ids: Ids, workflow: Version, direct: Connection
) -> None:
    store = await Store.open(f"{database_url}?pooler=transaction")
    session = await AdvanceSession.open(store)
    execution_id = ids.new()
    await builders.started(store, workflow, [execution_id])

    assert await session.commit([advance(execution_id)]) == {execution_id}
    assert await session.commit([advance(execution_id)]) == frozenset()
    kept = await store.fetch("select name from pg_prepared_statements")
    assert all(not row["name"] for row in kept)

    await session.close()
    await store.close()


async def test_the_clock_tells_the_time_of_the_database(store: Store) -> None:
    clock = await DatabaseClock.measured(store)

    row = await store.fetch_row("select clock_timestamp() as now")

    assert row is not None
    assert abs((clock.now() - row["now"]).total_seconds()) < 0.5
    assert clock.now() <= clock.now()


async def test_many_statements_share_a_small_pool(store: Store) -> None:
    rows = await asyncio.gather(*(store.fetch_row("select $1::int as n", n) for n in range(50)))

    assert [row["n"] for row in rows if row is not None] == list(range(50))


def _as(url: str, role: str) -> str:
    account, _, rest = url.partition("@")
    return f"{account.partition('://')[0]}://{role}:p@{rest}"
