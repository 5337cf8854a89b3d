"""Bodies of requests: read while the limit holds, then as JSON, then as their contract."""

import asyncio
from typing import Any, Final, Generic, TypeVar

import msgspec

from contracts.strict_json import MalformedJson, read_json
from gateway.answers import Receive
from gateway.contract_errors import entry_of
from gateway.problems import Refused, invalid_request
from gateway.settings import GatewayLimits

B = TypeVar("B")

_EMPTY: Final[dict[str, Any]] = {}
_PARAMETERS: Final = frozenset({b"charset=utf-8", b'charset="utf-8"'})


class Body(msgspec.Struct, Generic[B], frozen=True, kw_only=True):
    """What an operation takes as its body.

    `type` is its contract. With `is_document`, the body is a workflow document: the operation reads
    it with `contracts.document`, which also takes other spellings, and its own limit holds. With
    `is_raw`, it is handed over as the bytes that came, whatever they are.
    """

    type: type[B]
    is_optional: bool = False
    is_document: bool = False
    is_raw: bool = False


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request that says all by its path: none, or an empty object."""


NO_BODY: Final = Body(type=Nothing, is_optional=True)


class ClientLeft(Exception):
    """The client closed the connection before its request was complete."""


async def read_body(
    body: Body[B], headers: dict[bytes, bytes], receive: Receive, limits: GatewayLimits
) -> B:
    """Return the body as its contract says; of a document, the JSON object. Raises Refused."""
    _check_encoding(headers)
    if body.is_raw:
        data = await _received(headers, receive, limits, limit=limits.webhook_bytes)
        return msgspec.convert(data, body.type)
    limit = limits.document_bytes if body.is_document else limits.body_bytes
    _check_media_type(headers, is_optional=body.is_optional)
    data = await _received(headers, receive, limits, limit=limit)
    if not data and body.is_optional:
        return msgspec.convert(_EMPTY, body.type)
    value = parse(data, limits)
    return value if body.is_document else read_contract(value, body.type)


def parse(data: bytes, limits: GatewayLimits) -> Any:
    """Return the JSON value of `data`. Raises Refused."""
    try:
        return read_json(data, max_depth=limits.json_depth)
    except MalformedJson as malformed:
        where = malformed.pointer
        if where is None and malformed.position is not None:
            where = f"position {malformed.position}"
        detail = f"At {where}: {malformed.message}" if where else malformed.message
        raise Refused("malformed_json", detail) from None


def read_contract(value: Any, contract: type[B]) -> B:
    """Return `value` as its contract. Raises Refused."""
    try:
        return msgspec.convert(value, contract)
    except msgspec.ValidationError as error:
        raise invalid_request(entry_of(error)) from None


def _check_encoding(headers: dict[bytes, bytes]) -> None:
    if b"content-encoding" in headers:
        raise Refused("unsupported_media_type", "Send the body without Content-Encoding.")


def _check_media_type(headers: dict[bytes, bytes], *, is_optional: bool) -> None:
    media_type = headers.get(b"content-type")
    if media_type is None and is_optional and _is_empty(headers):
        return
    name, *parameters = (media_type or b"").lower().split(b";")
    known = all(parameter.strip() in _PARAMETERS for parameter in parameters)
    if name.strip() != b"application/json" or not known:
        raise Refused(
            "unsupported_media_type", "Send JSON in UTF-8 as `Content-Type: application/json`."
        )


def _is_empty(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers


async def _received(
    headers: dict[bytes, bytes], receive: Receive, limits: GatewayLimits, *, limit: int
) -> bytes:
    """Return the whole body, which is refused as soon as it is known to be too large."""
    declared = headers.get(b"content-length")
    if declared is not None and declared.isdigit() and int(declared[:20]) > limit:
        raise _too_large(limit)
    message = await receive()
    data: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body", False):
        if len(data) > limit:
            raise _too_large(limit)
        return data
    try:
        async with asyncio.timeout(limits.body_seconds):
            return await _joined(message, receive, limit)
    except TimeoutError:
        detail = f"The body was not complete within {limits.body_seconds} seconds."
        raise Refused("malformed_request", detail) from None


async def _joined(message: Any, receive: Receive, limit: int) -> bytes:
    data = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientLeft
        data += message.get("body", b"")
        if len(data) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(data)
        message = await receive()


def _too_large(limit: int) -> Refused:
    detail = (
        f"The body has more than {limit} bytes, which is the limit here "
        "(LIMIT_BODY_BYTES; for documents LIMIT_DOCUMENT_BYTES, for webhooks LIMIT_WEBHOOK_BYTES)."
    )
    return Refused("body_too_large", detail)
