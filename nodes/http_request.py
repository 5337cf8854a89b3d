"""ACTION.HTTP_REQUEST: any request, any answer, page after page."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import httpx
import msgspec

from contracts.credentials import Credential
from contracts.specs import CredentialSlot
from nodes.answers import invalid_parameter
from nodes.context import Context, Failed, Failure, FailureKind, Outputs
from nodes.credentials import credential_refused
from nodes.http_client import (
    Call,
    HttpAnswer,
    origin_of,
    same_origin,
    status_failure,
    without_credentials,
)
from nodes.json_values import NotJson, clean_text, read_json
from nodes.parameters import Json, parameter
from nodes.registry import node

SLOT: Final = "http"
TIMEOUT_SECONDS: Final = 30
MIB: Final = 1024 * 1024
VALUE_BYTES: Final = 16 * MIB
"""What all pages may hold together: more would not fit into an output."""

MASKED: Final = "***"
_MASKED_HEADERS: Final = frozenset({"authorization", "cookie", "set-cookie", "x-api-key"})
_TEXT_TYPES: Final = frozenset(
    {"application/xml", "application/javascript", "application/x-www-form-urlencoded",
     "application/yaml", "application/x-ndjson", "image/svg+xml"}
)  # fmt: skip

Names = dict[str, Any]
Pairs = list[tuple[str, str | int | float | bool | None]]
"""Names with texts, as wide as httpx declares them."""


class FilePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a multipart body; `content` is base64."""

    name: str
    content: str
    filename: str = "file"
    content_type: str = "application/octet-stream"


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of ACTION.HTTP_REQUEST."""

    url: Annotated[
        str,
        msgspec.Meta(min_length=1),
        parameter(schema={"type": "string", "format": "uri", "minLength": 1}),
    ]
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] = "GET"
    query: Annotated[
        Names, parameter(aliases=("query_params",), description="A list gives a name several times")
    ] = {}
    headers: Names = {}
    body: Annotated[Any | msgspec.UnsetType, parameter(aliases=("data",))] = msgspec.UNSET
    body_type: Literal["json", "form", "multipart", "raw", "none"] = "json"
    files: tuple[FilePart, ...] = ()
    response_type: Literal["auto", "json", "text", "base64"] = "auto"
    success: Annotated[
        str, parameter("expr", scope=("response",), description="Whether the answer is a good one")
    ] = "response.status_code < 400"
    ignore_http_errors: bool = False
    follow_redirects: bool = True
    max_redirects: Annotated[int, msgspec.Meta(ge=0, le=20)] = 5
    max_response_bytes: Annotated[int, msgspec.Meta(ge=1, le=VALUE_BYTES)] = 5 * MIB
    next_url: Annotated[
        str | None,
        parameter("expr", scope=("response",), description="The next page; null ends"),
    ] = None
    max_pages: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10


@node(
    "ACTION.HTTP_REQUEST",
    title="HTTP request",
    outputs={
        "main": {
            "status_code": int,
            "headers": dict[str, str],
            "body": Json,
            "url": str,
            "seconds": float,
            "pages": list[Json],
        }
    },
    ignored_parameters=("authentication",),
    credentials=(CredentialSlot(SLOT),),
    timeout=TIMEOUT_SECONDS,
)
async def http_request(context: Context, parameters: HttpRequest) -> Outputs | Failure:
    """Call a URL and read the answer; with `next_url`, one page after the other."""
    call = first_call(parameters)
    # Only one that is named: a default one would go along with calls to anybody.
    credential = await context.credentials.get(SLOT) if SLOT in context.node.credentials else None
    first_url = call.url
    pages: list[Any] = []
    read_bytes = 0
    while True:
        is_meant = credential is not None and same_origin(call.url, first_url)
        sent = await _authorised(context, call, credential if is_meant else None)
        answer = await context.http.call(sent)
        response = read_response(answer, parameters.response_type)
        failure = _judged(context, parameters, answer, response, credential if is_meant else None)
        if failure is not None:
            return failure
        if parameters.next_url is None:
            return Outputs(main=response)
        pages.append(response["body"])
        read_bytes += len(answer.content)
        url = _next_url(context, parameters.next_url, response)
        if url is None or len(pages) == parameters.max_pages:
            return Outputs(main={**response, "pages": pages})
        call = _next_call(call, url, max_bytes=VALUE_BYTES - read_bytes)


async def _authorised(context: Context, call: Call, credential: Credential | None) -> Call:
    if credential is None:
        return call
    return await context.authorised(call, credential, context.node.parameters.get("url"))


def first_call(parameters: HttpRequest) -> Call:
    """Return the call that the parameters describe, its body encoded. Raises Failed."""
    content, content_type = _encoded_body(parameters)
    headers = {name.lower(): _text("headers", each) for name, each in parameters.headers.items()}
    if content_type is not None:
        headers.setdefault("content-type", content_type)
    return Call(
        method=parameters.method,
        url=_with_query(parameters.url, parameters.query),
        headers=headers,
        content=content,
        max_redirects=parameters.max_redirects if parameters.follow_redirects else None,
        max_response_bytes=parameters.max_response_bytes,
    )


def read_response(answer: HttpAnswer, response_type: str) -> dict[str, Any]:
    """Return what the node gives of an answer; the names that `response` has in expressions."""
    return {
        "status_code": answer.status_code,
        "headers": {
            name: MASKED if name in _MASKED_HEADERS else clean_text(value)
            for name, value in answer.headers.items()
        },
        "body": _read_body(answer, response_type),
        "url": answer.url,
        "seconds": answer.seconds,
    }


def _judged(
    context: Context,
    parameters: HttpRequest,
    answer: HttpAnswer,
    response: dict[str, Any],
    credential: Credential | None,
) -> Failure | None:
    if credential is not None and answer.status_code == 401:
        context.forget_token(credential)
    if parameters.ignore_http_errors or context.condition(parameters.success, response=response):
        return None
    if credential is not None and answer.status_code in (401, 403):
        origin = origin_of(answer.url)
        return credential_refused(context.node.id, SLOT, answer.status_code, origin)
    if answer.status_code >= 400:
        return status_failure(answer, context.clock.now())
    message = f"status {answer.status_code} came back, and the condition `success` is false for it"
    details = {"status_code": answer.status_code}
    return Failure(FailureKind.ERROR, "unsuccessful", message, details)


def _next_url(context: Context, source: str, response: dict[str, Any]) -> str | None:
    url = context.evaluate(source, response=response)
    if url is None or url == "":
        return None
    if not isinstance(url, str):
        raise invalid_parameter("next_url", "gives neither a url nor null")
    try:
        return str(httpx.URL(response["url"]).join(url))
    except httpx.InvalidURL as error:
        raise invalid_parameter("next_url", f"gives a url that cannot be read: {error}") from error


def _next_call(call: Call, url: str, *, max_bytes: int) -> Call:
    """Return the call for the next page; credentials stay with the origin they were meant for."""
    headers = call.headers if same_origin(call.url, url) else without_credentials(call.headers)
    limit = max(0, min(call.max_response_bytes, max_bytes))
    return msgspec.structs.replace(call, url=url, headers=headers, max_response_bytes=limit)


def _with_query(url: str, query: Mapping[str, Any]) -> str:
    if not query:
        return url
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise invalid_parameter("url", f"cannot be read: {error}") from error
    pairs: Pairs = [*parsed.params.multi_items(), *_pairs("query", query)]
    return str(parsed.copy_with(params=httpx.QueryParams(pairs)))


def _pairs(name: str, values: Mapping[str, Any]) -> Pairs:
    """Return names with texts; a list gives its name several times, null leaves it out."""
    return [
        (key, _text(name, each))
        for key, value in values.items()
        for each in (value if isinstance(value, list) else [value])
        if each is not None
    ]


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()
    raise invalid_parameter(name, "takes texts, numbers and booleans as values")


def _encoded_body(parameters: HttpRequest) -> tuple[bytes, str | None]:
    """Return the bytes of the body and their media type."""
    body = None if parameters.body is msgspec.UNSET else parameters.body
    match parameters.body_type:
        case "none":
            return b"", None
        case "json" if parameters.body is msgspec.UNSET:
            return b"", None
        case "json":
            return _json_body(body), "application/json"
        case "raw":
            return _raw_body(body), "text/plain; charset=utf-8" if body is not None else None
        case "form":
            return _form_body(_fields(body))
        case "multipart":
            return _multipart_body(_fields(body), parameters.files)


def _json_body(body: Any) -> bytes:
    """Return JSON; a text that is the JSON of a map or list already goes out as it stands."""
    if isinstance(body, str) and body.lstrip().startswith(("{", "[")):
        try:
            read_json(body)
        except NotJson as error:
            raise invalid_parameter("body", f"looks like JSON, but {error}") from error
        return body.encode()
    return msgspec.json.encode(body)


def _raw_body(body: Any) -> bytes:
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else msgspec.json.encode(body)


def _fields(body: Any) -> Names:
    if isinstance(body, str):
        try:
            body = read_json(body)
        except NotJson as error:
            raise invalid_parameter("body", f"is no map of fields: {error}") from error
    if body is not None and not isinstance(body, dict):
        raise invalid_parameter("body", "is no map of fields")
    return body or {}


def _form_body(fields: Names) -> tuple[bytes, str]:
    encoded = str(httpx.QueryParams(_pairs("body", fields)))
    return encoded.encode(), "application/x-www-form-urlencoded"


def _multipart_body(fields: Names, files: Sequence[FilePart]) -> tuple[bytes, str]:
    parts: list[tuple[str, tuple[str | None, bytes, str | None]]] = [
        (name, (None, str(value).encode(), None)) for name, value in _pairs("body", fields)
    ]
    parts += [(part.name, (part.filename, _decoded(part), part.content_type)) for part in files]
    request = httpx.Request("POST", "http://body.invalid", files=parts)
    return request.read(), request.headers.get("content-type", "multipart/form-data")


def _decoded(part: FilePart) -> bytes:
    try:
        return base64.b64decode(part.content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_parameter(
            "files", f"holds {part.filename:.80} whose content is no base64"
        ) from error


def _read_body(answer: HttpAnswer, response_type: str) -> Any:
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response_type == "auto":
        response_type = _type_of(media_type, answer.content)
        if not answer.content:
            return None if response_type == "json" else ""
    match response_type:
        case "json":
            return _read_json(answer)
        case "text":
            return clean_text(_decoded_text(answer))
        case _:
            return base64.b64encode(answer.content).decode()


def _type_of(media_type: str, content: bytes) -> str:
    if not media_type:
        return "text" if _is_utf8(content) else "base64"
    if media_type == "application/json" or media_type.endswith("+json"):
        return "json"
    is_text = media_type.startswith("text/") or media_type.endswith("+xml")
    return "text" if is_text or media_type in _TEXT_TYPES else "base64"


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_json(answer: HttpAnswer) -> Any:
    try:
        return read_json(answer.content)
    except NotJson as error:
        if answer.status_code >= 400:
            # The status says more about what went wrong than the page that came with it.
            return clean_text(_decoded_text(answer))
        message = f"the answer should be JSON, but {error}"
        raise Failed(Failure(FailureKind.ERROR, "invalid_response", message)) from error


def _decoded_text(answer: HttpAnswer) -> str:
    response = httpx.Response(200, headers=_content_type(answer), content=answer.content)
    return response.text


def _content_type(answer: HttpAnswer) -> dict[str, str]:
    found = answer.headers.get("content-type")
    return {} if found is None else {"content-type": found}


HANDLERS = (http_request,)
