"""A guarded client for each test."""

from collections.abc import AsyncIterator

import pytest

from nodes.http_client import HttpClient


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    """A client that may call this machine."""
    client = HttpClient(["127.0.0.0/8"])
    yield client
    await client.aclose()
