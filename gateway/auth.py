"""Who asks: identity comes from `Authorization: Bearer` alone, and every path but a few needs one.

A path is public by exact match of the decoded path that routing sees too, so no spelling of a path can
be public to one and something else to the other.
"""

import hmac
from typing import Final, Literal

import msgspec
from starlette.routing import compile_path

from gateway.problems import Refused
from gateway.settings import GatewaySettings, check_dev_token

Scope = Literal["public", "read", "execute", "write", "admin"]

PUBLIC_PATHS: Final = frozenset(
    {
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/docs",
        "/redoc",
        "/openapi.json",
    }
)
PUBLIC_ROUTES: Final = frozenset({"/v1/webhooks/{path}"})
"""Public with whatever stands for the variable part, as routing reads it."""

_PUBLIC: Final = tuple(compile_path(route)[0] for route in sorted(PUBLIC_ROUTES))
_SCHEME: Final = b"bearer "
_EVERY_SCOPE: Final[frozenset[Scope]] = frozenset({"public", "read", "execute", "write", "admin"})


class Identity(msgspec.Struct, frozen=True):
    """A user, which is also the namespace, and what the token allows."""

    user_id: str
    scopes: frozenset[Scope]


NOBODY: Final = Identity("", frozenset({"public"}))
"""Who asks on public paths: no query takes this id for a user's."""


class Guard:
    """Tells who asks. Refuses to be built where the dev token could be used from elsewhere."""

    def __init__(self, settings: GatewaySettings) -> None:
        check_dev_token(settings)
        self._dev_token = settings.dev_token.encode() if settings.dev_token else None
        self._dev_user = Identity(settings.dev_user_id or "", _EVERY_SCOPE)

    def identify(self, path: str, authorization: bytes | None) -> Identity:
        """Return who asks for `path` with this Authorization header. Raises Refused."""
        if path in PUBLIC_PATHS or any(route.match(path) for route in _PUBLIC):
            return NOBODY
        if authorization is not None and self._is_dev_token(authorization):
            return self._dev_user
        raise Refused(
            "unauthenticated",
            "Send `Authorization: Bearer <token>` with a token that is known here.",
            headers=((b"www-authenticate", b"Bearer"),),
        )

    def _is_dev_token(self, header: bytes) -> bool:
        if self._dev_token is None or header[: len(_SCHEME)].lower() != _SCHEME:
            return False
        return hmac.compare_digest(header[len(_SCHEME) :], self._dev_token)


def authorise(identity: Identity, scope: Scope) -> None:
    """Raise Refused unless `scope` is among those of the token."""
    if scope not in identity.scopes:
        raise Refused("forbidden", f"This needs a token with the scope `{scope}`.")
