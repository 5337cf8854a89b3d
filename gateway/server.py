"""The server: uvicorn within our own event loop, and the way it stops.

Stopping is a designed path. Readiness is refused first, event streams end, and waits answer with what
there is; requests are still taken for `notice_seconds`, so that whoever sends them can look away. Then
the door closes, and requests under way have `drain_seconds` to finish.
"""

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable, Iterator
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from gateway.app import GatewayApp, running
from gateway.problems import MEDIA_TYPE, Refused, body_of
from gateway.settings import GatewaySettings
from gateway.traces import read_trace

log = structlog.get_logger("gateway")

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75


class Server(uvicorn.Server):
    """Uvicorn that says when it has started, and leaves signals to the composition root."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: GatewayApp,
    settings: GatewaySettings,
    stop: asyncio.Event,
    *,
    listening: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve until `stop` is set and everything under way is finished. Raises OSError if the port is taken.

    `listening` is told the port once requests are taken; port 0 in the settings means any free one.
    """
    async with contextlib.AsyncExitStack() as stack:
        door = stack.enter_context(contextlib.closing(_listen(settings)))
        await stack.enter_async_context(running(app))
        server = Server(_configuration(app, settings))
        serving = asyncio.create_task(server.serve(sockets=[door]), name="uvicorn")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await server.is_up.wait()
            port: int = door.getsockname()[1]
            log.info("gateway_listening", host=settings.host, port=port)
            listening(port)
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await _drain(app, settings, serving)
        finally:
            server.should_exit = True
            stopping.cancel()
            await serving
    log.info("gateway_stopped")


async def _drain(app: GatewayApp, settings: GatewaySettings, serving: asyncio.Task[None]) -> None:
    app.gateway.lifecycle.begin_draining()
    log.info("gateway_draining", seconds=settings.drain_seconds)
    await asyncio.wait({serving}, timeout=settings.notice_seconds)


def _listen(settings: GatewaySettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    door = socket.create_server(
        (settings.host, settings.port), family=family, backlog=BACKLOG, reuse_port=False
    )
    door.setblocking(False)
    # Accepted sockets inherit it: an answer is written in two parts, and the second must not wait.
    door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return door


def _configuration(app: GatewayApp, settings: GatewaySettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_protocol(),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
    )


def _protocol() -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with our answer to what is no HTTP: a problem, as everywhere."""

    def send_400_response(self: Any, message: str) -> None:
        body = body_of(Refused("malformed_request", message), read_trace(None).trace_id)
        head = (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: %s\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n"
        )
        self.transport.write(head % (MEDIA_TYPE, len(body)) + body)
        self.transport.close()

    return type("Protocol", (AutoHTTPProtocol,), {"send_400_response": send_400_response})
