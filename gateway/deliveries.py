"""Deliveries: a request from outside as the trigger data that a workflow sees.

The body is read as its media type says: JSON becomes its value, a form an object, any other text its text. What is no
text goes on as base64 in `raw_body`, and `body` is null.
"""

import base64
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from contracts.times import rfc3339
from gateway.bodies import parse
from gateway.calls import Request
from gateway.problems import Refused
from gateway.settings import GatewayLimits

MAX_FIELDS: Final = 1_000
"""Parameters of a query string, and fields of a form."""

_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
_BINARY: Final = ("image/", "audio/", "video/", "font/", "multipart/", "application/octet-stream")
_HIDDEN: Final = frozenset({"authorization", "cookie"})


def headers_of(request: Request) -> dict[str, str]:
    """Return the headers of a request by their names in lower case; the values of one that repeats are joined."""
    found: dict[str, str] = {}
    for name, value in request.headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def trigger_data(
    request: Request,
    body: bytes,
    *,
    path: str,
    token_header: str,
    at: datetime,
    limits: GatewayLimits,
) -> dict[str, Any]:
    """Return what a workflow sees of a request. Raises Refused for one that cannot be read.

    Headers that hold secrets are left out: Authorization, Cookie, and the one that carries the token.
    """
    headers = headers_of(request)
    hidden = _HIDDEN | {token_header.lower()}
    return {
        "method": request.method,
        "path": path,
        "headers": {name: text for name, text in headers.items() if name not in hidden},
        "query": _fields(request.query_string, "The query string"),
        **_body(body, headers.get("content-type", ""), limits),
        "client_ip": request.client_ip,
        "received_at": rfc3339(at),
    }


def _body(body: bytes, content_type: str, limits: GatewayLimits) -> dict[str, Any]:
    media_type = content_type.partition(";")[0].strip().lower()
    if not body:
        return {"body": None}
    if media_type == _JSON or media_type.endswith("+json"):
        return {"body": parse(body, limits)}
    if media_type == _FORM:
        return {"body": _fields(body, "The form")}
    text = None if media_type.startswith(_BINARY) else _text(body)
    if text is None:
        return {"body": None, "raw_body": base64.b64encode(body).decode()}
    return {"body": text}


def _text(body: bytes) -> str | None:
    """Return the text that bytes are, or None: a NUL character stands in no text."""
    try:
        return None if b"\0" in body else body.decode()
    except UnicodeDecodeError:
        return None


def _fields(encoded: bytes, what: str) -> dict[str, str | list[str]]:
    """Return the fields of a form or query string; one that repeats is a list. Raises Refused."""
    try:
        pairs = parse_qsl(
            encoded.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise Refused("malformed_request", f"{what} cannot be read.") from None
    if any("\0" in name or "\0" in value for name, value in pairs):
        raise Refused("malformed_request", f"{what} holds a NUL character.")
    found: dict[str, str | list[str]] = {}
    for name, value in pairs:
        earlier = found.get(name)
        if earlier is None:
            found[name] = value
        elif isinstance(earlier, list):
            earlier.append(value)
        else:
            found[name] = [earlier, value]
    return found
