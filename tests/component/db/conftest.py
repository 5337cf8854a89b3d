"""A migrated database for each test, and an open store on it."""

import itertools
from collections.abc import AsyncIterator

import asyncpg
import pytest

from db import users
from db.store import Store
from tests.component.db import builders
from tests.component.db.builders import Ids


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """A store on a database of this test alone."""
    opened = await Store.open(database_url, pool_size=4)
    yield opened
    await opened.close()


@pytest.fixture
async def direct(database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection to look at tables and to disturb others."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def ids() -> Ids:
    """New ids in ascending order, the same in every run."""
    return Ids(itertools.count(1))


@pytest.fixture
async def user_id(store: Store, ids: Ids) -> str:
    """A user."""
    return (await users.ensure(store, ids.new(), "ada@example.org", "Ada")).id


@pytest.fixture
async def workflow(store: Store, ids: Ids, user_id: str) -> builders.Version:
    """A workflow with a version to run."""
    return await builders.version(store, ids, user_id)
