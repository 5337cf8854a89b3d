"""Who asks: one token, on a development machine, for every path but the public ones."""

import pytest

from gateway.auth import PUBLIC_PATHS, Guard, authorise
from gateway.problems import Refused
from gateway.settings import GatewaySettings, UnsafeDevToken

USER = "019a0000-0000-7000-8000-0000000000aa"


def guard() -> Guard:
    """Return a guard that knows one token."""
    return Guard(GatewaySettings(dev_token="secret", dev_user_id=USER))


def test_the_dev_token_stands_for_the_dev_user_with_every_scope() -> None:
    identity = guard().identify("/v1/me", b"Bearer secret")

    assert identity.user_id == USER
    for scope in ("read", "execute", "write", "admin"):
        authorise(identity, scope)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="none"),
        pytest.param(b"", id="empty"),
        pytest.param(b"Bearer ", id="empty token"),
        pytest.param(b"Bearer secret ", id="blank after"),
        pytest.param(b"Bearer secre", id="a part"),
        pytest.param(b"Basic secret", id="another scheme"),
        pytest.param(b"secret", id="no scheme"),
        pytest.param(b"Bearer \xff", id="no ASCII"),
    ],
)
def test_anything_else_is_nobody(header: bytes | None) -> None:
    with pytest.raises(Refused) as caught:
        guard().identify("/v1/me", header)

    assert caught.value.code == "unauthenticated"
    assert (b"www-authenticate", b"Bearer") in caught.value.headers


def test_without_a_dev_token_nobody_gets_in() -> None:
    with pytest.raises(Refused):
        Guard(GatewaySettings()).identify("/v1/me", b"Bearer ")


@pytest.mark.parametrize("path", [*sorted(PUBLIC_PATHS), "/v1/webhooks/orders"])
def test_public_paths_need_no_token_and_give_no_scope(path: str) -> None:
    identity = guard().identify(path, None)

    authorise(identity, "public")
    with pytest.raises(Refused) as caught:
        authorise(identity, "read")
    assert caught.value.code == "forbidden"


@pytest.mark.parametrize(
    "path",
    [
        "/health/",
        "//health",
        "/Health",
        "/health/live/x",
        "/v1/../health",
        "/metrics\0",
        "/docs/",
        "/v1/webhooks",
        "/v1/webhooks/",
        "/v1/webhooks/a/b",
        "/V1/webhooks/a",
        "/v1/webhooks/../workflows",
        "x/v1/webhooks/a",
    ],
)
def test_what_only_looks_like_a_public_path_is_none(path: str) -> None:
    with pytest.raises(Refused):
        guard().identify(path, None)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"environment": "production"}, id="production"),
        pytest.param({"host": "192.0.2.1"}, id="an address of the network"),
        pytest.param({"host": "gateway.internal"}, id="a name"),
        pytest.param({"host": "::"}, id="every IPv6 address"),
        pytest.param({"dev_user_id": None}, id="no user"),
        pytest.param({"dev_token": ""}, id="empty"),
    ],
)
def test_a_dev_token_that_others_could_use_stops_the_start(fields: dict[str, str | None]) -> None:
    given = {"dev_token": "secret", "dev_user_id": USER, **fields}

    with pytest.raises(UnsafeDevToken):
        Guard(GatewaySettings(**given))  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.0.1"])
def test_a_dev_token_is_fine_on_loopback(host: str) -> None:
    Guard(GatewaySettings(host=host, dev_token="secret", dev_user_id=USER))
