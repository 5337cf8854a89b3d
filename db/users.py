"""Users, whose ids are the namespaces."""

from datetime import datetime
from typing import Final

import msgspec

from db import queries
from db.store import Row, Store

_SQL: Final = queries.load("users")


class UserRow(msgspec.Struct, frozen=True, kw_only=True):
    """A user. `role`: user or admin."""

    id: str
    email: str
    name: str
    avatar_url: str | None
    role: str
    is_active: bool
    created_at: datetime
    updated_at: datetime


async def ensure(store: Store, user_id: str, email: str, name: str, role: str = "user") -> UserRow:
    """Return the user of that id, created on first sight; an existing one stays as it is.

    Raises Conflict if another user has the email.
    """
    user = await get(store, user_id)
    if user is not None:
        return user
    await store.execute(_SQL["insert_user"], user_id, email, name, role)
    user = await get(store, user_id)
    assert user is not None, "users are not deleted while they sign in"
    return user


async def get(store: Store, user_id: str) -> UserRow | None:
    """Return the user of that id, or None."""
    row = await store.fetch_row(_SQL["get_user"], user_id)
    return None if row is None else _user(row)


def _user(row: Row) -> UserRow:
    return UserRow(
        id=str(row["id"]),
        email=row["email"],
        name=row["name"],
        avatar_url=row["avatar_url"],
        role=row["role"],
        is_active=row["is_active"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
