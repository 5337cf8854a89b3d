"""How a credential of the type `http` authorises a call, and where it may go.

A credential is sent to the hosts that it allows: `allowed_hosts`, else the host of its `base_url`. One that names neither goes where
the author of the document has written it to: to a host that stands in the node itself, and is not computed from data.
"""

import asyncio
import base64
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote_plus

import httpx
import msgspec

from contracts.credentials import Credential
from contracts.failures import Failure, FailureKind
from contracts.manifest import fixed_host
from nodes.answers import Failed
from nodes.http_client import Call, HttpAnswer, HttpClient, origin_of, status_failure
from nodes.json_values import NotJson, read_json

KEY_NAME: Final = "X-API-Key"
TOKENS_KEPT: Final = 1_000
LEAST_LEFT_S: Final = 60.0
"""A token with less time left is renewed before it is used."""

UNTOLD_S: Final = 300.0
"""How long a token counts whose service does not say it."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Token(msgspec.Struct):
    """An access token, and the monotonic instant at which it ends."""

    text: str = ""
    ends_at: float = 0.0
    lock: Any = msgspec.field(default_factory=asyncio.Lock)


class Tokens:
    """The access tokens of a worker, in memory alone; of several attempts that need one, one fetches it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._tokens: OrderedDict[bytes, Token] = OrderedDict()

    async def get(self, credential: Credential, client: HttpClient) -> str:
        """Return a token that counts for a while yet. Raises Failed."""
        token = self._token(_key(credential))
        async with token.lock:
            if token.ends_at - self._now() < LEAST_LEFT_S:
                asked_at = self._now()
                token.text, lasts = await _fetched(credential, client)
                token.ends_at = asked_at + lasts
            return token.text

    def forget(self, credential: Credential) -> None:
        """Fetch another one the next time: the service does not take this one any more."""
        self._tokens.pop(_key(credential), None)

    def _token(self, key: bytes) -> Token:
        token = self._tokens.setdefault(key, Token())
        self._tokens.move_to_end(key)
        if len(self._tokens) > TOKENS_KEPT:
            self._tokens.popitem(last=False)
        return token


def check_host(credential: Credential, url: str, template: object) -> None:
    """Refuse to send a credential where it does not belong. Raises Failed.

    `template` is the address as the document has it, before anything was rendered.
    """
    target = httpx.URL(url)
    allowed = _allowed(credential, template)
    authority = _authority(target)
    names = {target.host.lower(), authority, authority.rpartition(":")[0]}
    if names.isdisjoint(allowed):
        listed = ", ".join(sorted(allowed)) or "none, for the host of url is computed"
        message = (
            f"the credential {credential.name or credential.type} may not be sent to {authority}; "
            f"it allows {listed}: add the host to its allowed_hosts"
        )
        raise Failed(Failure(FailureKind.REJECTED, "host_not_allowed", message))


def authorised(credential: Credential, call: Call, token: str | None = None) -> Call:
    """Return a call with the credential in it; of OAUTH2 that is an access `token`."""
    data = credential.data
    match data.get("type"):
        case "BASIC":
            return _with_header(call, "authorization", _basic(data["username"], data["password"]))
        case "API_KEY" if data.get("key_location") == "query":
            return _with_query(call, data.get("key_name", KEY_NAME), data["api_key"])
        case "API_KEY":
            return _with_header(call, data.get("key_name", KEY_NAME), data["api_key"])
        case "OAUTH2":
            assert token is not None
            return _with_header(call, "authorization", f"Bearer {token}")
        case _:
            return _with_header(call, "authorization", f"Bearer {data['token']}")


def needs_token(credential: Credential) -> bool:
    """Whether an access token has to be fetched first."""
    return credential.data.get("type") == "OAUTH2"


def _allowed(credential: Credential, template: object) -> set[str]:
    if credential.allowed_hosts:
        return set(credential.allowed_hosts)
    if credential.base_url is not None:
        return {httpx.URL(credential.base_url).netloc.decode().rpartition("@")[2].lower()}
    host = fixed_host(template)
    return set() if host is None else {host}


def _authority(url: httpx.URL) -> str:
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{host}:{url.port or _DEFAULT_PORTS.get(url.scheme, 0)}".lower()


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _with_header(call: Call, name: str, value: str) -> Call:
    headers = {key: text for key, text in call.headers.items() if key.lower() != name.lower()}
    return msgspec.structs.replace(
        call, headers={**headers, name.lower(): value}, credential_headers=(name.lower(),)
    )


def _with_query(call: Call, name: str, value: str) -> Call:
    url = httpx.URL(call.url)
    params = url.params.set(name, value)
    return msgspec.structs.replace(
        call, url=str(url.copy_with(params=params)), credential_query=name
    )


async def _fetched(credential: Credential, client: HttpClient) -> tuple[str, float]:
    """Return a new access token and the seconds for which it counts (RFC 6749, 4.4)."""
    data = credential.data
    fields = {"grant_type": "client_credentials"}
    if data.get("scope"):
        fields["scope"] = data["scope"]
    call = Call(
        method="POST",
        url=data["token_url"],
        headers={
            "authorization": _basic(
                quote_plus(data["client_id"]), quote_plus(data["client_secret"])
            ),
            "content-type": "application/x-www-form-urlencoded",
            "accept": "application/json",
        },
        content=str(httpx.QueryParams(fields)).encode(),
        max_redirects=None,
    )
    answer = await client.call(call)
    if answer.status_code in (400, 401, 403):
        raise Failed(_refused(credential, answer))
    if answer.status_code >= 400:
        raise Failed(status_failure(answer, datetime.now(UTC)))
    return _read_token(answer)


def _read_token(answer: HttpAnswer) -> tuple[str, float]:
    try:
        found = read_json(answer.content)
    except NotJson:
        found = None
    token = found.get("access_token") if isinstance(found, dict) else None
    if not isinstance(token, str) or not token:
        message = f"{origin_of(answer.url)} answered the request for a token without one"
        raise Failed(Failure(FailureKind.ERROR, "invalid_response", message))
    lasts = found.get("expires_in")
    return token, float(lasts) if isinstance(lasts, int | float) else UNTOLD_S


def _refused(credential: Credential, answer: HttpAnswer) -> Failure:
    message = (
        f"{origin_of(answer.url)} gives no token for the credential {credential.name}: it answered with "
        f"status {answer.status_code}; see client_id, client_secret and scope"
    )
    details = {"status_code": answer.status_code}
    return Failure(FailureKind.CREDENTIALS_MISSING, "credential_refused", message, details)


def _key(credential: Credential) -> bytes:
    """Return what tells one credential from another, and from itself after a change."""
    return hashlib.sha256(msgspec.json.encode(credential)).digest()
