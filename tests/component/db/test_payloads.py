"""Large values are stored once per user, kept on by use, and committed with what refers to them."""

import hashlib
from datetime import timedelta

import asyncpg
import pytest

from contracts.payloads import reference_to
from db import errors, executions, payloads, users
from db.payloads import KEEP_DAYS, Payload
from db.store import Store
from tests.component.db import builders
from tests.component.db.builders import Ids

pytestmark = pytest.mark.component

DATA = b'"' + b"x" * 500_000 + b'"'
SHA256 = hashlib.sha256(DATA).digest()


async def test_a_value_is_stored_once_per_user(
    store: Store, ids: Ids, user_id: str, direct: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    other = (await users.ensure(store, ids.new(), "bea@example.org", "Bea")).id
    mine, theirs = Payload(user_id, SHA256, DATA), Payload(other, SHA256, DATA)

    await payloads.put(store, [mine, theirs, mine])
    await payloads.put(store, [mine])
    await payloads.put(store, [])

    assert await direct.fetchval("select count(*) from payloads") == 2
    assert await payloads.get(store, user_id, SHA256) == DATA
    assert await payloads.get(store, ids.new(), SHA256) is None
    assert await payloads.get(store, user_id, bytes(32)) is None


async def test_parts_of_a_value_join_to_the_whole(store: Store, user_id: str) -> None:
    await payloads.put(store, [Payload(user_id, SHA256, DATA)])

    parts = [
        await payloads.part(store, user_id, SHA256, offset=offset, count=200_000)
        for offset in range(0, len(DATA), 200_000)
    ]

    assert b"".join(part or b"" for part in parts) == DATA
    assert await payloads.part(store, user_id, SHA256, offset=len(DATA), count=9) == b""
    assert await payloads.part(store, user_id, bytes(32), offset=0, count=9) is None


async def test_use_keeps_a_value_on_and_rewrites_it_rarely(
    store: Store, user_id: str, direct: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await payloads.put(store, [Payload(user_id, SHA256, DATA)])
    first = await direct.fetchval("select xmin::text from payloads")

    assert await payloads.keep(store, user_id, SHA256)
    assert await direct.fetchval("select xmin::text from payloads") == first
    await direct.execute("update payloads set keep_until = now()")
    assert await payloads.keep(store, user_id, SHA256)

    left = await direct.fetchval("select keep_until - now() from payloads")
    assert left > timedelta(days=KEEP_DAYS - 1)
    assert not await payloads.keep(store, user_id, bytes(32))


async def test_a_value_is_committed_with_the_execution_that_refers_to_it_or_not_at_all(
    store: Store,
    ids: Ids,
    user_id: str,
    workflow: builders.Version,
    direct: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    large = {reference_to(DATA).id: DATA}
    new = builders.new_execution(workflow, ids.new(), large=large)
    elsewhere = builders.Version(user_id, ids.new(), workflow.version_id)
    impossible = builders.new_execution(elsewhere, ids.new(), large=large)

    with pytest.raises(errors.Conflict):
        await executions.create(store, [impossible])
    assert await direct.fetchval("select count(*) from payloads") == 0

    assert await executions.create(store, [new]) == {new.id}
    assert await payloads.get(store, user_id, SHA256) == DATA
    assert await payloads.owner(store, new.id) == user_id
    assert await payloads.owner(store, impossible.id) is None
