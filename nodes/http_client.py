"""The guarded client: every call of a node to the outside goes through it.

One `HttpClient` serves a worker; each attempt gets `HttpCalls`, which adds the idempotency key and the
trace context. A call goes to public addresses and to what the operator allows (`nodes.addresses`),
follows redirects itself and checks each, reads no more than it may (`nodes.http_body`), retries nothing
and keeps no cookies. It ends with the attempt, whose deadline cancels it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
import msgspec

from contracts.failures import Failure, FailureKind
from nodes.addresses import AddressRefused, AllowedHosts, Guard, Resolver
from nodes.answers import Failed
from nodes.checkpoints import current_key
from nodes.http_body import ACCEPTED, BodyTooLarge, BodyUnreadable, read_body
from nodes.http_transport import GuardedTransport

MAX_REDIRECTS: Final = 5
MAX_RESPONSE_BYTES: Final = 5 * 1024 * 1024
BODY_SHOWN_BYTES: Final = 2048
"""Of a refused call, in the details of its failure."""

MAX_PORT: Final = 65535

IDEMPOTENCY_KEY: Final = "idempotency-key"
TRACEPARENT: Final = "traceparent"

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CREDENTIAL_HEADERS: Final = ("authorization", "cookie", "proxy-authorization", "x-api-key")
_BODY_HEADERS: Final = ("content-encoding", "content-language", "content-length", "content-type")
_OWN_HEADERS: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding",
     "upgrade"}
)  # fmt: skip
"""Set by the client alone: others would make it say one thing and do another."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call to the outside, its body encoded.

    `max_redirects` None leaves redirects to the caller; `max_response_bytes` counts after unpacking;
    `timeout` in seconds is the call's own, beside the attempt's. `credential_headers`, in lower case, stay behind when
    a redirect leads to another origin; `credential_query` is a parameter that no answer tells.
    """

    method: str = "GET"
    url: str
    headers: Mapping[str, str] = {}
    content: bytes = b""
    max_redirects: int | None = MAX_REDIRECTS
    max_response_bytes: int = MAX_RESPONSE_BYTES
    timeout: float | None = None
    credential_headers: tuple[str, ...] = ()
    credential_query: str | None = None


class HttpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. Header names are in lower case; `url` is the last one, after redirects."""

    status_code: int
    headers: dict[str, str]
    content: bytes
    url: str
    seconds: float


class HttpClient:
    """The connections of a worker to the outside; use `aclose` at its end.

    Args:
        allowed: Hosts, host:port, addresses and networks beside the public ones.
        resolve: Stands in for the system's name service.
    """

    def __init__(self, allowed: Sequence[str] = (), resolve: Resolver | None = None) -> None:
        self.guard = Guard(AllowedHosts(allowed), resolve)
        self.transport = GuardedTransport(self.guard)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.transport.aclose()

    async def call(self, call: Call) -> HttpAnswer:
        """Carry out a call. Raises Failed: REJECTED, PAYLOAD_TOO_LARGE, INVALID_INPUT or a retryable ERROR."""
        started = time.monotonic()
        request = _request(call)
        try:
            async with asyncio.timeout(call.timeout):
                response, content = await self._exchange(request, call)
        except TimeoutError as error:
            raise Failed(_call_timeout(request, f"after {call.timeout:g} s")) from error
        return HttpAnswer(
            status_code=response.status_code,
            headers=dict(response.headers),
            content=content,
            url=_told(response.request.url, call),
            seconds=round(time.monotonic() - started, 6),
        )

    async def _exchange(self, request: httpx.Request, call: Call) -> tuple[httpx.Response, bytes]:
        redirects = 0
        while True:
            response = await self._send(request, is_redirect=redirects > 0)
            try:
                if call.max_redirects is None or not _is_redirect(response):
                    return response, await _content(response, call)
                redirects += 1
                if redirects > call.max_redirects:
                    raise Failed(_too_many_redirects(request, call.max_redirects))
                request = _redirected(response, call)
            finally:
                await response.aclose()

    async def _send(self, request: httpx.Request, *, is_redirect: bool) -> httpx.Response:
        try:
            return await self.transport.handle_async_request(request)
        except AddressRefused as error:
            code = "redirect_refused" if is_redirect else "address_refused"
            raise Failed(Failure(FailureKind.REJECTED, code, str(error))) from error
        except httpx.RequestError as error:
            raise Failed(_broken(request, error)) from error


class HttpCalls:
    """The calls of one attempt, numbered: the first carries the idempotency key, later ones `:2`, `:3`, …

    Those inside a checkpoint carry its key and are numbered apart: later attempts make no calls there, and
    the others keep their numbers.
    """

    def __init__(
        self, client: HttpClient, idempotency_key: str, traceparent: str | None = None
    ) -> None:
        self._client = client
        self._idempotency_key = idempotency_key
        self._traceparent = traceparent
        self._calls: Counter[str] = Counter()  # by checkpoint

    async def call(self, call: Call) -> HttpAnswer:
        """Carry out a call, as `HttpClient.call`; headers of the caller's win over those added."""
        headers = {**self._added(call.method), **_lower(call.headers)}
        return await self._client.call(msgspec.structs.replace(call, headers=headers))

    def _added(self, method: str) -> dict[str, str]:
        added = {}
        checkpoint = current_key()
        self._calls[checkpoint] += 1
        if method.upper() not in _SAFE_METHODS:
            place = f":{checkpoint}" if checkpoint else ""
            number = f":{self._calls[checkpoint]}" if self._calls[checkpoint] > 1 else ""
            added[IDEMPOTENCY_KEY] = f"{self._idempotency_key}{place}{number}"
        if self._traceparent is not None:
            added[TRACEPARENT] = self._traceparent
        return added


def status_failure(answer: HttpAnswer, now: datetime) -> Failure:
    """Return the failure that a status of 400 and more is, after a call without a credential."""
    kind, status = FailureKind.ERROR, answer.status_code
    details = {"status_code": status, "body": _shown(answer.content)}
    message = f"{origin_of(answer.url)} answered with status {status}"
    wait = retry_after(answer.headers, now)
    if status == 429:
        return Failure(kind, "rate_limited", message, details, retryable=True, retry_after=wait)
    if status in (408, 425) or status >= 500:
        return Failure(kind, "unavailable", message, details, retryable=True, retry_after=wait)
    if status in (404, 410):
        return Failure(kind, "not_found", message, details)
    if status in (409, 412):
        return Failure(kind, "conflict", message, details)
    return Failure(kind, "request_refused", message, details)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that `Retry-After` asks for, given as such or as an instant; None without one."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())


def same_origin(left: str, right: str) -> bool:
    """Whether two URLs lead to the same scheme, host and port."""
    return origin_of(left) == origin_of(right)


def without_credentials(headers: Mapping[str, str], further: Sequence[str] = ()) -> dict[str, str]:
    """Return the headers that may go on to another origin; `further` ones hold credentials too."""
    kept_back = {*_CREDENTIAL_HEADERS, *further}
    return {name: value for name, value in headers.items() if name.lower() not in kept_back}


def _request(call: Call) -> httpx.Request:
    url = _checked_url(call.url)
    headers = {"accept": "*/*", "accept-encoding": ACCEPTED, "user-agent": "Flotilla"}
    try:
        return httpx.Request(
            call.method, url, headers=headers | _checked_headers(call.headers), content=call.content
        )
    except (ValueError, TypeError) as error:
        raise Failed(_invalid(f"a header cannot be sent: {error}")) from error


def _checked_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError) as error:
        raise Failed(_invalid(f"url cannot be read: {error}")) from error
    if url.scheme not in ("http", "https"):
        message = f"only http and https can be called, not {url.scheme or 'a url without a scheme'}"
        raise Failed(Failure(FailureKind.REJECTED, "address_refused", message))
    if not _has_place(url):
        raise Failed(_invalid("url names no host, or no port that there is"))
    if url.userinfo:
        raise Failed(_invalid("url holds a user name or password; put them into a credential"))
    return url


def _has_place(url: httpx.URL) -> bool:
    return bool(url.host) and (url.port is None or 0 < url.port <= MAX_PORT)


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    lower = _lower(headers)
    for name in lower:
        if name in _OWN_HEADERS:
            raise Failed(_invalid(f"the header {name} is set by the client; leave it out"))
    return lower


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _is_redirect(response: httpx.Response) -> bool:
    return response.status_code in _REDIRECTS and "location" in response.headers


def _told(url: httpx.URL, call: Call) -> str:
    """Return the address that was called, without a credential."""
    if call.credential_query is None or call.credential_query not in url.params:
        return str(url)
    return str(url.copy_with(params=url.params.remove(call.credential_query)))


def _redirected(response: httpx.Response, call: Call) -> httpx.Request:
    """Return the request that a redirect asks for, without what must not leave the origin."""
    request = response.request
    url = _target(request.url, response.headers["location"])
    headers = {name: value for name, value in request.headers.items() if name != "host"}
    method, content = _redirected_method(request.method, response.status_code), request.content
    if method != request.method:
        headers = {name: value for name, value in headers.items() if name not in _BODY_HEADERS}
        content = b""
    if origin_of(url) != origin_of(request.url):
        headers = without_credentials(headers, call.credential_headers)
    return httpx.Request(method, url, headers=headers, content=content)


def _target(base: httpx.URL, location: str) -> httpx.URL:
    try:
        url = base.join(location)
    except httpx.InvalidURL as error:
        raise Failed(_redirect_refused(base, "to a url that cannot be read")) from error
    if url.scheme not in ("http", "https") or not _has_place(url):
        raise Failed(_redirect_refused(base, "to something that is no http or https url"))
    return url.copy_with(userinfo=b"") if url.userinfo else url


def _redirected_method(method: str, status: int) -> str:
    """Return the method that browsers go on with (RFC 9110, 15.4)."""
    if status == 303 and method != "HEAD":
        return "GET"
    return "GET" if status in (301, 302) and method == "POST" else method


async def _content(response: httpx.Response, call: Call) -> bytes:
    limit = call.max_response_bytes
    encoding = response.headers.get("content-encoding", "")
    try:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        return await read_body(response.stream, encoding, limit)
    except BodyTooLarge as error:
        message = f"{origin_of(response.request.url)} answered with more than {limit} bytes"
        details = {"limit": limit}
        code = "response_too_large"
        raise Failed(Failure(FailureKind.PAYLOAD_TOO_LARGE, code, message, details)) from error
    except BodyUnreadable as error:
        raise Failed(Failure(FailureKind.ERROR, "invalid_response", str(error))) from error
    except httpx.RequestError as error:
        raise Failed(_broken(response.request, error)) from error


def origin_of(url: httpx.URL | str) -> str:
    """Return scheme, host and port: all of a URL that failures and logs may show."""
    url = httpx.URL(url)
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}:{port}"


def _shown(content: bytes) -> str:
    return content[:BODY_SHOWN_BYTES].decode("utf-8", "replace").replace("\0", "\ufffd")


def _broken(request: httpx.Request, error: httpx.RequestError) -> Failure:
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
        return _call_timeout(request, str(error))
    if isinstance(error, httpx.LocalProtocolError):
        return _invalid(f"the request cannot be sent: {error}")
    message = f"no answer from {origin_of(request.url)}: {str(error) or type(error).__name__}"
    return Failure(FailureKind.ERROR, "connection_failed", message, retryable=True)


def _call_timeout(request: httpx.Request, when: str) -> Failure:
    message = f"no answer from {origin_of(request.url)} {when}".rstrip()
    return Failure(FailureKind.ERROR, "call_timeout", message, retryable=True)


def _too_many_redirects(request: httpx.Request, limit: int) -> Failure:
    return _redirect_refused(request.url, f"for more than the {limit} times that are followed")


def _redirect_refused(url: httpx.URL, where: str) -> Failure:
    message = f"{origin_of(url)} redirects {where}"
    return Failure(FailureKind.REJECTED, "redirect_refused", message)


def _invalid(message: str) -> Failure:
    return Failure(FailureKind.INVALID_INPUT, "invalid_parameter", message)
