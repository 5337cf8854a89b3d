"""Idempotency keys: which request a key of a user stands for on a route."""

from datetime import datetime
from typing import Final

import msgspec

from db import queries
from db.store import Session, Store

KEEP_SECONDS: Final = 24 * 3600
"""How long a key stands for what the first request with it made."""

_SQL: Final = queries.load("idempotency")


class IdempotencyRow(msgspec.Struct, frozen=True, kw_only=True):
    """The first request with a key. `resource_id` is what it made, such as an execution."""

    request_hash: bytes
    resource_id: str | None
    expires_at: datetime


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A key that a request wants to stand for it."""

    user_id: str
    route: str
    key: str
    request_hash: bytes
    resource_id: str


async def claim(session: Session, wanted: Claim) -> bool:
    """Let a key stand for a request for 24 hours; False if it stands for one already."""
    row = await session.fetch_row(
        _SQL["claim_key"],
        wanted.user_id,
        wanted.route,
        wanted.key,
        wanted.request_hash,
        wanted.resource_id,
        KEEP_SECONDS,
    )
    return row is not None


async def find(store: Store, user_id: str, route: str, key: str) -> IdempotencyRow | None:
    """Return what a key stands for, None if it is new or its time is over."""
    row = await store.fetch_row(_SQL["find_key"], user_id, route, key)
    if row is None:
        return None
    return IdempotencyRow(
        request_hash=row["request_hash"],
        resource_id=None if row["resource_id"] is None else str(row["resource_id"]),
        expires_at=row["expires_at"],
    )
