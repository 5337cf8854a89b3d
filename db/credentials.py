"""Credentials: rows whose data is sealed (`db.sealing`). Who only lists or validates them needs no key."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec

from db import errors, queries
from db.errors import StoreError
from db.pages import Page, page_of
from db.sealing import Binding, Keyring, Sealed
from db.store import Row, Session, Store

RESEALED_AT_ONCE: Final = 100

_SQL: Final = queries.load("credentials")
_NAME: Final = "credentials_name"


class NameTaken(StoreError):
    """The user has another one of that name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is another one named {name}")


class InUse(StoreError):
    """Something names the credential: `kind` is workflow or integration."""

    def __init__(self, kind: str, name: str, id: str) -> None:
        self.kind = kind
        self.name = name
        self.id = id
        super().__init__(f"the {kind} {name} ({id}) uses it")


class CredentialRow(msgspec.Struct, frozen=True, kw_only=True):
    """A credential. `fields` names what is in its data, which only `opened` tells."""

    id: str
    user_id: str
    name: str
    type: str
    sealed: Sealed
    fields: tuple[str, ...]
    allowed_hosts: tuple[str, ...] = ()
    expires_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def binding(self) -> Binding:
        """What the data is bound to."""
        return Binding(self.user_id, self.id, self.type)

    def has_expired(self, at: datetime) -> bool:
        """Whether it must not be used any more."""
        return self.expires_at is not None and self.expires_at <= at

    def with_data(self, data: dict[str, Any], keyring: Keyring) -> "CredentialRow":
        """Return the credential with other data. Raises NoKeys."""
        sealed = keyring.seal(msgspec.json.encode(data), self.binding)
        return msgspec.structs.replace(self, sealed=sealed, fields=tuple(sorted(data)))


class Owner(msgspec.Struct, frozen=True):
    """Whose execution it is, of which version, and how it stands."""

    user_id: str
    version_id: str
    status: str


def opened(row: CredentialRow, keyring: Keyring) -> dict[str, Any]:
    """Return the data of a credential. Raises UnknownKey and BrokenSeal."""
    return msgspec.json.decode(keyring.open(row.sealed, row.binding), type=dict[str, Any])


async def create(store: Store, row: CredentialRow) -> CredentialRow:
    """Store a credential. Raises NameTaken."""
    try:
        stored = await store.fetch_row(
            _SQL["insert_credential"],
            row.id,
            row.user_id,
            row.type,
            *_columns(row),
        )
    except errors.Conflict as conflict:
        raise name_taken(conflict, _NAME, row.name) from conflict
    assert stored is not None
    return read(stored)


async def get(store: Store, user_id: str, credential_id: str) -> CredentialRow | None:
    """Return a user's credential, or None."""
    row = await store.fetch_row(_SQL["get_credential"], user_id, credential_id)
    return None if row is None else read(row)


async def find(store: Store, user_id: str, id_or_name: str) -> CredentialRow | None:
    """Return the credential of a user that a node names, or None."""
    row = await store.fetch_row(_SQL["find_credential"], user_id, id_or_name)
    return None if row is None else read(row)


async def find_default(store: Store, user_id: str, provider: str) -> CredentialRow | None:
    """Return the credential of a user's default integration for a provider, or None."""
    row = await store.fetch_row(_SQL["find_default_credential"], user_id, provider)
    return None if row is None else read(row)


async def owner(store: Store, execution_id: str) -> Owner | None:
    """Return who owns an execution, or None if there is none."""
    row = await store.fetch_row(_SQL["get_execution_owner"], execution_id)
    return (
        None if row is None else Owner(str(row["user_id"]), str(row["version_id"]), row["status"])
    )


async def page(store: Store, user_id: str, limit: int, after: str | None) -> Page[CredentialRow]:
    """Return a user's credentials, newest first, that follow the id `after`, and the id to go on from."""
    rows = await store.fetch(_SQL["page_credentials"], user_id, after, limit + 1)
    return page_of([read(row) for row in rows], limit, key=lambda row: row.id)


async def types(store: Store, user_id: str) -> dict[str, str]:
    """Return the type of each credential of a user, by name and by id."""
    rows = await store.fetch(_SQL["name_credentials"], user_id)
    by_name = {row["name"]: row["type"] for row in rows}
    return by_name | {str(row["id"]): row["type"] for row in rows}


async def update(
    store: Store, user_id: str, credential_id: str, change: Callable[[CredentialRow], CredentialRow]
) -> CredentialRow:
    """Store what `change` makes of a credential.

    Raises NotFound, NameTaken, and InUse for another name while the old one is used.
    """
    async with store.transaction() as session:
        before = await _locked(session, user_id, credential_id)
        after = change(before)
        if after.name != before.name:
            await _refuse_use(session, user_id, credential_id, [before.name], integrations=False)
        try:
            stored = await session.fetch_row(
                _SQL["update_credential"],
                user_id,
                credential_id,
                *_columns(after),
            )
        except errors.Conflict as conflict:
            raise name_taken(conflict, _NAME, after.name) from conflict
    assert stored is not None
    return read(stored)


async def delete(store: Store, user_id: str, credential_id: str) -> None:
    """Delete a credential. Raises NotFound and InUse."""
    async with store.transaction() as session:
        row = await _locked(session, user_id, credential_id)
        await _refuse_use(session, user_id, row.id, [row.id, row.name], integrations=True)
        await session.execute(_SQL["delete_credential"], user_id, row.id)


async def reseal(store: Store, keyring: Keyring) -> int:
    """Seal all credentials by the first key, and return how many others had sealed.

    What somebody writes meanwhile is left as that one has written it. Raises NoKeys, UnknownKey, BrokenSeal.
    """
    resealed = 0
    while count := await _reseal_some(store, keyring):
        resealed += count
    return resealed


async def _reseal_some(store: Store, keyring: Keyring) -> int:
    async with store.transaction() as session:
        rows = await session.fetch(
            _SQL["page_sealed_otherwise"], keyring.sealing_key or "", RESEALED_AT_ONCE
        )
        for row in rows:
            binding = Binding(str(row["user_id"]), str(row["id"]), row["type"])
            data = keyring.open(Sealed(row["key_id"], row["ciphertext"]), binding)
            sealed = keyring.seal(data, binding)
            await session.execute(
                _SQL["reseal_credential"], row["id"], sealed.ciphertext, sealed.key_id
            )
    return len(rows)


async def _locked(session: Session, user_id: str, credential_id: str) -> CredentialRow:
    row = await session.fetch_row(_SQL["lock_credential"], user_id, credential_id)
    if row is None:
        raise errors.NotFound("credential", credential_id)
    return read(row)


async def _refuse_use(
    session: Session, user_id: str, credential_id: str, names: list[str], *, integrations: bool
) -> None:
    used = await session.fetch_row(_SQL["find_use"], user_id, credential_id, names, integrations)
    if used is not None:
        raise InUse(used["kind"], used["name"], str(used["id"]))


def _columns(row: CredentialRow) -> tuple[object, ...]:
    """Return what may change of a credential, in the order in which queries take it."""
    sealed = row.sealed
    return (
        row.name,
        sealed.ciphertext,
        sealed.key_id,
        row.fields,
        row.allowed_hosts,
        row.expires_at,
    )


def name_taken(conflict: errors.Conflict, constraint: str, name: str) -> StoreError:
    """Return what a conflict means: the name is taken, if that is the constraint."""
    return NameTaken(name) if conflict.constraint == constraint else conflict


def read(row: Row) -> CredentialRow:
    """Return a row as the credential that it is."""
    return CredentialRow(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        name=row["name"],
        type=row["type"],
        sealed=Sealed(row["key_id"], row["ciphertext"]),
        fields=tuple(row["fields"]),
        allowed_hosts=tuple(row["allowed_hosts"]),
        expires_at=row["expires_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
