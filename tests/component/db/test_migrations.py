"""Migrations happen once, whoever asks and how often, and other schemas are refused."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import asyncpg
import pytest

from contracts.ids import PARTITIONS, uuid7
from contracts.specs import NodeSpec
from db import errors, history_partitions, migrations, node_types
from db.store import Store
from tests.support import servers

pytestmark = pytest.mark.component

SPECS = (
    NodeSpec(type="ACTION.HTTP_REQUEST", title="HTTP request"),
    NodeSpec(type="FLOW.IF", title="If"),
)


@pytest.fixture
def empty_url(postgres_url: str) -> Iterator[str]:
    """A database without a schema."""
    with servers.database(postgres_url) as url:
        yield url


async def test_an_empty_database_is_filled_once(empty_url: str) -> None:
    with pytest.raises(migrations.SchemaTooOld):
        await migrations.check(empty_url)

    await migrations.migrate(empty_url, SPECS)
    await migrations.migrate(empty_url, SPECS)

    await migrations.check(empty_url)
    store = await Store.open(empty_url)
    assert await node_types.load(store) == SPECS
    assert await history_partitions.ensure(store) == 0
    await store.close()


async def test_runners_that_race_all_succeed(empty_url: str) -> None:
    await asyncio.gather(*(migrations.migrate(empty_url, SPECS) for _ in range(4)))

    await migrations.check(empty_url)


async def test_a_newer_schema_is_refused(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("insert into schema_migrations values (9999, 'later', '')")
    await connection.close()

    with pytest.raises(migrations.SchemaTooNew, match="9999"):
        await migrations.check(database_url)
    with pytest.raises(migrations.SchemaTooNew):
        await migrations.migrate(database_url, ())


async def test_an_edited_migration_is_refused(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("update schema_migrations set checksum = 'other'")
    await connection.close()

    with pytest.raises(migrations.MigrationEdited, match="initial"):
        await migrations.migrate(database_url, ())


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(errors.StoreUnavailable):
        await migrations.migrate("postgresql://nobody@127.0.0.1:1/nothing", ())


async def test_every_month_has_a_partition_and_everything_else_a_default(
    database_url: str,
) -> None:
    connection = await asyncpg.connect(database_url)
    now = await connection.fetchval("select now() at time zone 'UTC'")
    instants = {
        f"history_{now:%Y_%m}": datetime(now.year, now.month, 1, tzinfo=UTC),
        "history_default": datetime(2001, 1, 1, tzinfo=UTC),
    }

    for partition, at in instants.items():
        row = await connection.fetchval(
            "insert into history (execution_id, seq, at, kind, data) "
            "values ($1, 1, now(), 'execution_created', '{}') returning tableoid::regclass::text",
            uuid7(at, bytes(10)),
        )
        assert row == partition

    assert await connection.fetchval("select ensure_history_partitions(5)") == 2
    await connection.close()


async def test_there_is_a_lease_for_every_partition_of_the_inbox(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)

    rows = await connection.fetch("select partition from partition_leases order by partition")

    assert [row["partition"] for row in rows] == list(range(PARTITIONS))
    await connection.close()


async def test_ids_that_the_database_makes_are_uuid7_of_now(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)

    row = await connection.fetchrow("select new_uuid7(), clock_timestamp()")

    assert row is not None
    made, now = row
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert abs((made.int >> 80) / 1000 - now.timestamp()) < 1
    await connection.close()
