"""Fixtures for all tests. A server starts when the first test asks for it, and stops with the session."""

from collections.abc import Iterator

import pytest

from db import migrations
from flotilla.embedded.nats import NatsServer
from flotilla.embedded.postgres import PostgresServer
from flotilla.embedded.redis import RedisServer
from tests.support import servers


@pytest.fixture(scope="session")
def nats_url() -> Iterator[str]:
    """A NATS server with JetStream. Tests share it: each uses streams and subjects of its own."""
    with servers.server_folder() as folder, servers.running(NatsServer(folder / "nats")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server. Tests share it: each uses a key prefix of its own."""
    with servers.server_folder() as folder, servers.running(RedisServer(folder / "redis")) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server with pgvector, as superuser. Tests that keep data take `database_url` instead."""
    with (
        servers.server_folder() as folder,
        servers.running(PostgresServer(folder / "postgres", durable=False)) as url,
    ):
        yield url


@pytest.fixture(scope="session")
def template_url(postgres_url: str) -> Iterator[str]:
    """The database that every `database_url` is a copy of."""
    with servers.template_database(postgres_url, fill_template) as url:
        yield url


@pytest.fixture
def database_url(postgres_url: str, template_url: str) -> Iterator[str]:
    """A database of this test alone, with the schema of `fill_template`."""
    with servers.database(postgres_url, template=template_url) as url:
        yield url


# ======================================================================================================================
# THE SINGLE PLACE that decides what is in a test's database before the test begins.
# ======================================================================================================================
async def fill_template(url: str) -> None:
    """Migrate the template; tests that need node types store those that they are about."""
    await migrations.migrate(url, ())
