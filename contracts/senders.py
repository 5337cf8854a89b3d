"""Who sent a delivery: a token in a header, or a signature over the raw body (Standard Webhooks).

https://www.standardwebhooks.com: the sender signs `<webhook-id>.<webhook-timestamp>.<body>` by HMAC-SHA256. The header
`webhook-signature` may hold several signatures, so that a secret can be replaced while both are known.
"""

import base64
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final, assert_never

from contracts.webhooks import Authentication

TOLERANCE_S: Final = 300
"""How far the sender's clock may be from ours: what is older may be a recording."""

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"

_PREFIX: Final = "whsec_"
_VERSION: Final = "v1"
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")


class BadSecret(ValueError):
    """A secret that cannot sign: it is no base64 behind `whsec_`. Its text is not told."""

    def __init__(self) -> None:
        super().__init__("the secret is no base64 behind whsec_")


def is_genuine(
    authentication: Authentication,
    *,
    secret: str | None,
    header: str,
    headers: Mapping[str, str],
    body: bytes,
    at: datetime,
) -> bool:
    """Whether a delivery comes from who knows the secret; without one, nobody does. Raises BadSecret.

    The names in `headers` are in lower case. With the authentication NONE it may come from anybody.
    """
    match authentication:
        case "NONE":
            return True
        case "HEADER_TOKEN":
            return secret is not None and has_token(headers.get(header.lower()), secret)
        case "SIGNATURE":
            return secret is not None and is_signed(headers, body, secret, at)
        case _:
            assert_never(authentication)


def has_token(given: str | None, secret: str) -> bool:
    """Whether a header holds the secret; how long that takes tells nothing about it. An empty secret fits nothing."""
    if given is None or not secret:
        return False
    return hmac.compare_digest(given.encode(), secret.encode())


def is_signed(headers: Mapping[str, str], body: bytes, secret: str, at: datetime) -> bool:
    """Whether one of the signatures is right, and the delivery of now. Raises BadSecret."""
    message_id, timestamp = headers.get(ID_HEADER), headers.get(TIMESTAMP_HEADER)
    if not message_id or timestamp is None or not _TIMESTAMP.fullmatch(timestamp):
        return False
    # A full stop in the id could take the place of the one that ends it, and what is signed be cut elsewhere.
    if "." in message_id:
        return False
    if abs(at.timestamp() - int(timestamp)) > TOLERANCE_S:
        return False
    expected = signature(message_id, timestamp, body, secret).encode()
    given = headers.get(SIGNATURE_HEADER, "").split(" ")
    matches = [hmac.compare_digest(each.encode(), expected) for each in given]
    return any(matches)


def signature(message_id: str, timestamp: str, body: bytes, secret: str) -> str:
    """Return the signature of a message, as it stands in the header. Raises BadSecret."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.digest(_key(secret), signed, "sha256")
    return f"{_VERSION},{base64.b64encode(digest).decode()}"


def _key(secret: str) -> bytes:
    text = secret.removeprefix(_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:  # binascii.Error is one
        raise BadSecret from None
    if not key:
        raise BadSecret
    return key
