"""Operations on credentials. What is secret comes in and never goes out: `fields` names what is set."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

import db.credentials
from contracts.credential_types import TYPE_NAMES, flaws_of, normalised
from contracts.ids import is_uuid
from contracts.problems import pointer
from contracts.senders import BadSecret, signature
from contracts.spelling import nearest
from contracts.times import rfc3339
from db.credentials import CredentialRow, InUse, NameTaken
from db.sealing import NoKeys, Sealed
from gateway.answers import NO_CONTENT, Answer, created, ok
from gateway.bodies import Nothing
from gateway.calls import Call
from gateway.instants import Instant, shown
from gateway.pages import DEFAULT_LIMIT, Cursor, Limit, page_of, read_cursor
from gateway.parameters import At, wrong
from gateway.problems import ErrorEntry, Refused, invalid_request, not_found
from gateway.queries import NoQuery
from gateway.services import Gateway
from gateway.workflows import new_id

DATA_BYTES: Final = 256 * 1024
"""What the data of one credential may take: it travels to workers in one message."""

_HOST: Final = r"^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?$"

Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=255,
        pattern=r"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?$(?!\n)",
    ),
]
Data = Annotated[
    dict[str, Any],
    msgspec.Meta(description="What the type asks for; it is stored sealed and never returned"),
]
Hosts = Annotated[
    tuple[Annotated[str, msgspec.Meta(pattern=_HOST)], ...],
    msgspec.Meta(
        max_length=100,
        description="Hosts, or host:port, to which it may be sent; none: the host of its base_url",
    ),
]


class PageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which page of a list."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A credential, without its data: `fields` names what is in it."""

    id: str
    name: str
    type: str
    fields: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    created_at: Instant
    updated_at: Instant
    expires_at: Instant | UnsetType = UNSET


class NewCredential(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A credential to store. `type` is the slot that takes it; BEARER, BASIC, API_KEY and OAUTH2 stand for `http`."""

    name: Name
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    data: Data
    allowed_hosts: Hosts = ()
    expires_at: At | None = None


class CredentialChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to change: only what is sent. `data` replaces all of it; the type stays."""

    name: Name | UnsetType = UNSET
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    data: Data | UnsetType = UNSET
    allowed_hosts: Hosts | UnsetType = UNSET
    expires_at: At | UnsetType | None = UNSET


async def list_credentials(gateway: Gateway, call: Call[PageQuery, Nothing]) -> Answer:
    """Answer with the user's credentials, newest first."""
    after = read_cursor(call.query.cursor, is_uuid)
    rows, place = await db.credentials.page(gateway.store, call.user_id, call.query.limit, after)
    return ok(page_of(map(view_of, rows), place))


async def create_credential(gateway: Gateway, call: Call[NoQuery, NewCredential]) -> Answer:
    """Store a credential, sealed."""
    body = call.body
    type_name, data = _checked(body.type, body.data)
    row = CredentialRow(
        id=new_id(),
        user_id=call.user_id,
        name=body.name,
        type=type_name,
        sealed=Sealed("", b""),
        fields=(),
        allowed_hosts=_lower(body.allowed_hosts),
        expires_at=body.expires_at,
    )
    try:
        stored = await db.credentials.create(gateway.store, _sealed(gateway, row, data))
    except NameTaken as taken:
        raise name_taken(taken.name) from None
    return created(view_of(stored), f"/v1/credentials/{stored.id}")


async def get_credential(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with a credential, without its data."""
    row = await db.credentials.get(gateway.store, call.user_id, _id_of(call))
    if row is None:
        raise not_found()
    return ok(view_of(row))


async def update_credential(gateway: Gateway, call: Call[NoQuery, CredentialChange]) -> Answer:
    """Change a credential; whoever asks for it from now on gets the new one."""

    def change(row: CredentialRow) -> CredentialRow:
        return _changed(gateway, row, call.body)

    try:
        row = await db.credentials.update(gateway.store, call.user_id, _id_of(call), change)
    except NameTaken as taken:
        raise name_taken(taken.name) from None
    except InUse as use:
        raise _in_use(use, "It is used by its name, so it keeps it") from None
    return ok(view_of(row))


async def delete_credential(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Delete a credential that nothing uses."""
    try:
        await db.credentials.delete(gateway.store, call.user_id, _id_of(call))
    except InUse as use:
        raise _in_use(use, "It cannot be deleted") from None
    return NO_CONTENT


def view_of(row: CredentialRow) -> Credential:
    """Return a credential as the API shows it."""
    return Credential(
        id=row.id,
        name=row.name,
        type=row.type,
        fields=row.fields,
        allowed_hosts=row.allowed_hosts,
        created_at=_stored(row.created_at),
        updated_at=_stored(row.updated_at),
        expires_at=shown(row.expires_at),
    )


def name_taken(name: str) -> Refused:
    """Return the refusal of a name that the user has given before."""
    return Refused("name_taken", f"There is another one named `{name}`. Choose another name.")


def _changed(gateway: Gateway, row: CredentialRow, body: CredentialChange) -> CredentialRow:
    changes = {
        "name": body.name,
        "allowed_hosts": body.allowed_hosts
        if body.allowed_hosts is UNSET
        else _lower(body.allowed_hosts),
        "expires_at": body.expires_at,
    }
    kept = {name: value for name, value in changes.items() if value is not UNSET}
    row = msgspec.structs.replace(row, **kept)
    given = row.type if body.type is UNSET else body.type
    type_name, data = normalised(given, {} if body.data is UNSET else body.data)
    if type_name != row.type:
        message = f"A credential keeps its type, which is `{row.type}`; make another one."
        raise invalid_request(wrong("/type", message))
    if body.data is UNSET:
        return row
    return _sealed(gateway, row, _checked(given, data)[1])


def _checked(name: str, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return type and data as they are stored. Raises Refused."""
    type_name, data = normalised(name, data)
    if type_name not in TYPE_NAMES:
        best = nearest(type_name, TYPE_NAMES)
        hint = f" Did you mean `{best[0]}`?" if best else ""
        listed = ", ".join(TYPE_NAMES)
        raise invalid_request(wrong("/type", f"There is no such type; there are {listed}.{hint}"))
    found = [
        ErrorEntry(pointer("data", flaw.field) if flaw.field else "/data", flaw.code, flaw.message)
        for flaw in flaws_of(type_name, data)
    ]
    if not found and type_name == "webhook":
        found.extend(_unusable_secret(data["secret"]))
    if not found and len(msgspec.json.encode(data)) > DATA_BYTES:
        found.append(wrong("/data", f"The data may have {DATA_BYTES} bytes."))
    if found:
        raise invalid_request(*found)
    return type_name, data


def _unusable_secret(secret: str) -> list[ErrorEntry]:
    """Return what is wrong with a secret that says it can sign; any other text serves as a token."""
    if secret.startswith("whsec_"):
        try:
            signature("", "", b"", secret)
        except BadSecret as error:
            return [wrong("/data/secret", f"{str(error).capitalize()}.")]
    return []


def _sealed(gateway: Gateway, row: CredentialRow, data: dict[str, Any]) -> CredentialRow:
    try:
        return row.with_data(data, gateway.settings.keyring)
    except NoKeys:
        detail = "Credentials cannot be stored: the operator has to set SECRET_KEYS."
        raise Refused("unavailable", detail) from None


def _in_use(use: InUse, what: str) -> Refused:
    return Refused("in_use", f"{what}: the {use.kind} `{use.name}` ({use.id}) uses it.")


def _id_of(call: Call[Any, Any]) -> str:
    credential_id = call.path["credential_id"]
    if not is_uuid(credential_id):
        raise not_found()
    return credential_id


def _lower(hosts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(host.lower() for host in hosts))


def _stored(at: datetime | None) -> str:
    assert at is not None, "what is stored has its instants"
    return rfc3339(at)
