"""Credentials in the store: found by those whose they are, and sealed by the first key once that is asked for."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from db import credentials, integrations, users
from db.credentials import CredentialRow
from db.integrations import IntegrationRow
from db.sealing import BrokenSeal, Keyring, Sealed, UnknownKey
from db.store import Store
from flotilla import processes
from flotilla.settings import Settings
from tests.component.db.builders import Ids

pytestmark = pytest.mark.component

OLD, NEW = ("old", b"o" * 32), ("new", b"n" * 32)
DATA = {"type": "BEARER", "token": "canary-in-the-store"}


async def add(
    store: Store, ids: Ids, user_id: str, keyring: Keyring | None = None, **fields: Any
) -> CredentialRow:
    """Store a credential."""
    given = {"name": "shop", "type": "http", "sealed": Sealed("", b""), "fields": (), **fields}
    row = CredentialRow(id=ids.new(), user_id=user_id, **given)
    return await credentials.create(store, row.with_data(DATA, keyring or Keyring([OLD])))


async def test_a_node_finds_a_credential_by_id_before_one_of_that_name(
    store: Store, ids: Ids, user_id: str
) -> None:
    stranger = (await users.ensure(store, ids.new(), "eve@example.org", "Eve")).id
    first = await add(store, ids, user_id)
    second = await add(store, ids, user_id, name=first.id)
    await add(store, ids, stranger, name="theirs")

    assert await credentials.find(store, user_id, "shop") == first
    assert await credentials.find(store, user_id, first.id) == first
    assert await credentials.find(store, user_id, second.id) == second
    assert await credentials.find(store, user_id, "theirs") is None
    assert await credentials.find(store, user_id, "no uuid ' at all") is None
    assert await credentials.types(store, user_id) == {
        "shop": "http",
        first.id: "http",
        second.id: "http",
    }


async def test_the_default_integration_of_a_provider_lends_its_credential(
    store: Store, ids: Ids, user_id: str
) -> None:
    row = await add(store, ids, user_id)
    for provider, is_default in (("http", True), ("github", False)):
        one = IntegrationRow(
            id=ids.new(),
            user_id=user_id,
            provider=provider,
            name=provider,
            credential_id=row.id,
            is_default=is_default,
        )
        await integrations.create(store, one)

    assert await credentials.find_default(store, user_id, "http") == row
    assert await credentials.find_default(store, user_id, "github") is None
    assert await credentials.find_default(store, ids.new(), "http") is None


async def test_a_row_that_is_moved_to_another_user_opens_no_more(
    store: Store, ids: Ids, user_id: str
) -> None:
    stranger = (await users.ensure(store, ids.new(), "eve@example.org", "Eve")).id
    row = await add(store, ids, user_id)
    await store.execute("update credentials set user_id = $1 where id = $2", stranger, row.id)

    moved = await credentials.get(store, stranger, row.id)

    assert moved is not None
    with pytest.raises(BrokenSeal):
        credentials.opened(moved, Keyring([OLD]))


async def test_all_credentials_are_sealed_by_the_first_key(
    store: Store, ids: Ids, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "RESEALED_AT_ONCE", 2)
    both = Keyring([NEW, OLD])
    names = [f"shop-{number}" for number in range(5)]
    old = [await add(store, ids, user_id, name=name) for name in names]
    new = await add(store, ids, user_id, both, name="new")

    resealed = await credentials.reseal(store, both)

    assert resealed == 5
    for before in (*old, new):
        after = await credentials.get(store, user_id, before.id)
        assert after is not None
        assert after.sealed.key_id == "new"
        assert credentials.opened(after, Keyring([NEW])) == DATA
        assert (after.sealed == before.sealed) == (before == new)
    assert await credentials.reseal(store, both) == 0


async def test_a_key_that_is_missing_stops_the_resealing_and_is_named(
    store: Store, ids: Ids, user_id: str
) -> None:
    row = await add(store, ids, user_id)

    with pytest.raises(UnknownKey, match="old"):
        await credentials.reseal(store, Keyring([NEW]))

    assert await credentials.get(store, user_id, row.id) == row


async def test_a_credential_expires_at_its_instant(store: Store, ids: Ids, user_id: str) -> None:
    at = datetime(2027, 1, 1, tzinfo=UTC)
    row = await add(store, ids, user_id, expires_at=at)

    assert row.has_expired(at)
    assert not row.has_expired(at - timedelta(microseconds=1))
    assert not (await add(store, ids, user_id, name="other")).has_expired(at)


async def test_a_user_goes_with_credentials_and_integrations(
    store: Store, ids: Ids, user_id: str
) -> None:
    row = await add(store, ids, user_id)
    one = IntegrationRow(
        id=ids.new(), user_id=user_id, provider="http", name="x", credential_id=row.id
    )
    await integrations.create(store, one)

    await store.execute("delete from users where id = $1", user_id)

    assert await credentials.get(store, user_id, row.id) is None
    assert await integrations.get(store, user_id, one.id) is None


async def test_another_role_sees_the_rows_of_its_user_alone(
    store: Store, ids: Ids, user_id: str, direct: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await add(store, ids, user_id)
    await direct.execute("create role credential_reader")
    await direct.execute("grant select on credentials to credential_reader")
    try:
        async with direct.transaction():
            await direct.execute("set local role credential_reader")
            unseen = await direct.fetchval("select count(*) from credentials")
            await direct.execute("select set_config('flotilla.user_id', $1, true)", user_id)
            seen = await direct.fetchval("select count(*) from credentials")
    finally:
        await direct.execute("drop owned by credential_reader; drop role credential_reader")

    assert (unseen, seen) == (0, 1)


async def test_the_command_seals_by_the_first_key_while_old_ones_open(
    store: Store, ids: Ids, user_id: str, database_url: str
) -> None:
    row = await add(store, ids, user_id)
    settings = Settings(database_url=database_url, secret_keys=(NEW, OLD))

    plain = await asyncio.to_thread(processes.run_migration, settings)
    untouched = await credentials.get(store, user_id, row.id)
    resealed = await asyncio.to_thread(processes.run_migration, settings, reseal=True)
    after = await credentials.get(store, user_id, row.id)

    assert (plain, resealed) == (0, 1)
    assert untouched == row
    assert after is not None
    assert credentials.opened(after, Keyring([NEW])) == DATA
