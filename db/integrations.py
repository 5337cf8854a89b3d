"""Integrations: services that a user works with, each perhaps with a credential; of each provider one may be the default."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec

from db import errors, queries
from db.credentials import name_taken
from db.pages import Page, page_of
from db.store import Row, Session, Store

_SQL: Final = queries.load("integrations")
_NAME: Final = "integrations_name"
_CREDENTIAL: Final = "integrations_credential_id_fkey"


class IntegrationRow(msgspec.Struct, frozen=True, kw_only=True):
    """An integration; `configuration` is an object that the engine keeps and does not read."""

    id: str
    user_id: str
    provider: str
    name: str
    configuration: dict[str, Any] = {}
    credential_id: str | None = None
    is_default: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None


async def create(store: Store, row: IntegrationRow) -> IntegrationRow:
    """Store an integration; as the default one, it takes the place of another. Raises NameTaken."""
    async with store.transaction() as session:
        return await _written(session, _SQL["insert_integration"], row, row.id, row.user_id)


async def get(store: Store, user_id: str, integration_id: str) -> IntegrationRow | None:
    """Return a user's integration, or None."""
    row = await store.fetch_row(_SQL["get_integration"], user_id, integration_id)
    return None if row is None else _integration(row)


async def page(store: Store, user_id: str, limit: int, after: str | None) -> Page[IntegrationRow]:
    """Return a user's integrations, newest first, that follow the id `after`, and the id to go on from."""
    rows = await store.fetch(_SQL["page_integrations"], user_id, after, limit + 1)
    return page_of([_integration(row) for row in rows], limit, key=lambda row: row.id)


async def update(
    store: Store,
    user_id: str,
    integration_id: str,
    change: Callable[[IntegrationRow], IntegrationRow],
) -> IntegrationRow:
    """Store what `change` makes of an integration. Raises NotFound and NameTaken."""
    async with store.transaction() as session:
        row = await session.fetch_row(_SQL["lock_integration"], user_id, integration_id)
        if row is None:
            raise errors.NotFound("integration", integration_id)
        changed = change(_integration(row))
        return await _written(session, _SQL["update_integration"], changed, user_id, integration_id)


async def delete(store: Store, user_id: str, integration_id: str) -> None:
    """Delete an integration. Raises NotFound."""
    row = await store.fetch_row(_SQL["delete_integration"], user_id, integration_id)
    if row is None:
        raise errors.NotFound("integration", integration_id)


async def _written(session: Session, query: str, row: IntegrationRow, *keys: str) -> IntegrationRow:
    if row.is_default:
        await session.execute(_SQL["take_turns"], row.user_id)
        await session.execute(_SQL["yield_default"], row.user_id, row.provider, row.id)
    try:
        stored = await session.fetch_row(
            query,
            *keys,
            row.provider,
            row.name,
            msgspec.json.encode(row.configuration).decode(),
            row.credential_id,
            row.is_default,
        )
    except errors.Conflict as conflict:
        if conflict.constraint == _CREDENTIAL:
            raise errors.InvalidValue("the credential was deleted just now") from conflict
        raise name_taken(conflict, _NAME, row.name) from conflict
    assert stored is not None
    return _integration(stored)


def _integration(row: Row) -> IntegrationRow:
    credential_id = row["credential_id"]
    return IntegrationRow(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        provider=row["provider"],
        name=row["name"],
        configuration=msgspec.json.decode(row["configuration"]),
        credential_id=None if credential_id is None else str(credential_id),
        is_default=row["is_default"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
