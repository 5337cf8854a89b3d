"""Operations on oneself."""

import msgspec
from msgspec import UNSET, UnsetType

import db.users
from gateway.answers import Answer, ok
from gateway.bodies import Nothing
from gateway.calls import Call
from gateway.problems import not_found
from gateway.queries import NoQuery
from gateway.services import Gateway


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """The user that a token stands for, and what it allows."""

    id: str
    email: str
    name: str
    role: str
    scopes: tuple[str, ...]
    avatar_url: str | UnsetType = UNSET


async def get_me(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with the user that asks."""
    user = await db.users.get(gateway.store, call.user_id)
    if user is None:
        raise not_found()
    return ok(
        Me(
            id=user.id,
            email=user.email,
            name=user.name,
            role=user.role,
            scopes=tuple(sorted(call.scopes - {"public"})),
            avatar_url=UNSET if user.avatar_url is None else user.avatar_url,
        )
    )
