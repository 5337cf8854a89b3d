"""Secrets that the engine makes for itself, the same for all of its processes."""

from typing import Final

from db import queries
from db.store import Store

_SQL: Final = queries.load("secrets")


async def get_or_create(store: Store, name: str, chance: bytes) -> bytes:
    """Return the secret of that name; the first to ask makes it of `chance`."""
    await store.execute(_SQL["insert_secret"], name, chance)
    row = await store.fetch_row(_SQL["get_secret"], name)
    assert row is not None, "secrets are never deleted"
    value: bytes = row["value"]
    return value
