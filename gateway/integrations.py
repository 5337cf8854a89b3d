"""Operations on integrations: the services a user works with, and which credential nodes take where they name none."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

import db.credentials
import db.integrations
from contracts.credential_types import HTTP, TYPE_NAMES, TYPES
from contracts.ids import is_uuid
from contracts.problems import pointer
from db.credentials import NameTaken
from db.integrations import IntegrationRow
from gateway.answers import NO_CONTENT, Answer, created, ok
from gateway.bodies import Nothing
from gateway.calls import Call
from gateway.credentials import Name, PageQuery, name_taken
from gateway.instants import Instant, shown
from gateway.pages import page_of, read_cursor
from gateway.parameters import wrong
from gateway.problems import invalid_request, not_found
from gateway.queries import NoQuery
from gateway.services import Gateway
from gateway.workflows import new_id

Provider = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z][a-z0-9_]{0,63}$(?!\n)",
        description="The credential slot that it serves, such as `github`",
    ),
]
Configuration = Annotated[dict[str, Any], msgspec.Meta(description="Free for tools; no secrets")]


class Integration(msgspec.Struct, frozen=True, kw_only=True):
    """A service that a user works with."""

    id: str
    provider: str
    name: str
    configuration: dict[str, Any]
    credential_id: str | None
    is_default: bool
    created_at: Instant | UnsetType = UNSET
    updated_at: Instant | UnsetType = UNSET


class NewIntegration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An integration to store. As the default one of its provider it takes the place of another."""

    provider: Provider
    name: Name
    configuration: Configuration = {}
    credential_id: str | None = None
    is_default: bool = False


class IntegrationChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to change: only what is sent."""

    provider: Provider | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    configuration: Configuration | UnsetType = UNSET
    credential_id: str | UnsetType | None = UNSET
    is_default: bool | UnsetType = UNSET


async def list_integrations(gateway: Gateway, call: Call[PageQuery, Nothing]) -> Answer:
    """Answer with the user's integrations, newest first."""
    after = read_cursor(call.query.cursor, is_uuid)
    rows, place = await db.integrations.page(gateway.store, call.user_id, call.query.limit, after)
    return ok(page_of(map(view_of, rows), place))


async def create_integration(gateway: Gateway, call: Call[NoQuery, NewIntegration]) -> Answer:
    """Store an integration."""
    body = call.body
    row = IntegrationRow(
        id=new_id(),
        user_id=call.user_id,
        provider=body.provider,
        name=body.name,
        configuration=body.configuration,
        credential_id=body.credential_id,
        is_default=body.is_default,
    )
    await _check(gateway, row)
    try:
        stored = await db.integrations.create(gateway.store, row)
    except NameTaken as taken:
        raise name_taken(taken.name) from None
    return created(view_of(stored), f"/v1/integrations/{stored.id}")


async def get_integration(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with an integration."""
    return ok(view_of(await _read(gateway, call)))


async def update_integration(gateway: Gateway, call: Call[NoQuery, IntegrationChange]) -> Answer:
    """Change an integration."""
    sent = msgspec.structs.asdict(call.body)
    changes = {name: value for name, value in sent.items() if value is not UNSET}
    row = await _read(gateway, call)
    await _check(gateway, msgspec.structs.replace(row, **changes))

    def change(current: IntegrationRow) -> IntegrationRow:
        return msgspec.structs.replace(current, **changes)

    try:
        stored = await db.integrations.update(gateway.store, call.user_id, row.id, change)
    except NameTaken as taken:
        raise name_taken(taken.name) from None
    return ok(view_of(stored))


async def delete_integration(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Delete an integration; its credential stays."""
    await db.integrations.delete(gateway.store, call.user_id, _id_of(call))
    return NO_CONTENT


def view_of(row: IntegrationRow) -> Integration:
    """Return an integration as the API shows it."""
    return Integration(
        id=row.id,
        provider=row.provider,
        name=row.name,
        configuration=row.configuration,
        credential_id=row.credential_id,
        is_default=row.is_default,
        created_at=shown(row.created_at),
        updated_at=shown(row.updated_at),
    )


async def _check(gateway: Gateway, row: IntegrationRow) -> None:
    """Raise Refused for secrets in the configuration, and for a credential that does not serve the provider."""
    for name in row.configuration:
        if name in _secret_fields(row.provider):
            message = f"`{name}` is a secret: store it in a credential, and name that here."
            raise invalid_request(wrong(pointer("configuration", name), message))
    if row.credential_id is None:
        return
    credential = None
    if is_uuid(row.credential_id):
        credential = await db.credentials.get(gateway.store, row.user_id, row.credential_id)
    if credential is None:
        raise invalid_request(wrong("/credential_id", "There is no such credential."))
    if row.provider in TYPE_NAMES and credential.type != row.provider:
        message = f"It is of type `{credential.type}`, and `{row.provider}` takes its own type."
        raise invalid_request(wrong("/credential_id", message))


def _secret_fields(provider: str) -> frozenset[str]:
    known = [TYPES[provider]] if provider in TYPES else HTTP.values() if provider == "http" else ()
    return frozenset(field.name for each in known for field in each.fields if field.is_secret)


async def _read(gateway: Gateway, call: Call[Any, Any]) -> IntegrationRow:
    row = await db.integrations.get(gateway.store, call.user_id, _id_of(call))
    if row is None:
        raise not_found()
    return row


def _id_of(call: Call[Any, Any]) -> str:
    integration_id = call.path["integration_id"]
    if not is_uuid(integration_id):
        raise not_found()
    return integration_id
