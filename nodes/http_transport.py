"""The way out for HTTP: a transport of httpx whose connections go to checked addresses only.

A name is resolved once per connection, every address checked, and the connection made to one of them;
host header and TLS keep the name. Connections are pooled per origin, and a pooled one needs no second
look: it is to the address that was checked. SDKs get the same by `httpx.AsyncClient(transport=…)`.
"""

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import httpcore
import httpx

from nodes.addresses import AddressRefused, Guard

CONNECT_SECONDS: Final = 10.0
"""For name and connection, and once more for TLS."""

MAX_CONNECTIONS: Final = 512
MAX_IDLE_CONNECTIONS: Final = 64
IDLE_SECONDS: Final = 30.0

ADDRESS_SECONDS: Final = 3.0
"""For one address of several, so that the last ones get their turn."""

_TIMEOUTS: Final = {"connect": CONNECT_SECONDS}


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests to where they may go. No retries, no proxies, nothing from the environment.

    Raises AddressRefused besides httpx's own exceptions.
    """

    def __init__(self, guard: Guard, tls: ssl.SSLContext | None = None) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or httpx.create_ssl_context(trust_env=False),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_IDLE_CONNECTIONS,
            keepalive_expiry=IDLE_SECONDS,
            retries=0,
            network_backend=_GuardedBackend(guard),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        timeouts = request.extensions.get("timeout", _TIMEOUTS)
        with _translated(request):
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=_core_url(request.url),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions={**request.extensions, "timeout": timeouts},
                )
            )
        assert isinstance(response.stream, AsyncIterable)
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response, request),
            extensions=response.extensions,
            request=request,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """The bytes of a response as they come; closing it early gives the connection up."""

    def __init__(self, response: httpcore.Response, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._response.stream, AsyncIterable)
        with _translated(self._request):
            async for part in self._response.stream:
                yield part

    async def aclose(self) -> None:
        with _translated(self._request):
            await self._response.aclose()


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the checked addresses of a host, one after the other until one answers."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the name is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._guard.addresses(host, port)
                return await self._first_of(addresses, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} did not answer in time") from error
        except OSError as error:
            raise httpcore.ConnectError(f"{host}: {error}") from error

    async def _first_of(self, addresses: tuple[str, ...], port: int) -> httpcore.AsyncNetworkStream:
        *others, last = addresses
        for address in others:
            try:
                return await self._plain.connect_tcp(address, port, timeout=ADDRESS_SECONDS)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._plain.connect_tcp(last, port)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  # the name is httpcore's
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefused("a socket of this machine", path)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _core_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )


_HTTPX_OF: Final[dict[type[Exception], type[httpx.RequestError]]] = {
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.ReadError: httpx.ReadError,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
    httpcore.WriteError: httpx.WriteError,
    httpcore.WriteTimeout: httpx.WriteTimeout,
}


@contextmanager
def _translated(request: httpx.Request) -> Iterator[None]:
    """Raise httpx's exceptions in place of httpcore's, as the SDKs expect them."""
    try:
        yield
    except tuple(_HTTPX_OF) as error:
        raise _HTTPX_OF[type(error)](str(error), request=request) from error
