"""A small HTTP server for tests: answers as it is told and remembers what it was asked."""

import contextlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec


class Request(msgspec.Struct, frozen=True):
    """A request as it came in."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    groups: tuple[str, ...] = ()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


class Answer(msgspec.Struct, frozen=True):
    """What to answer: bytes, or chunks that are sent as they come."""

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    media_type: str = "application/json"


Handle = Callable[[Request], Answer]


def ok(value: Any, status: int = 200) -> Answer:
    """An answer of JSON."""
    return Answer(status, msgspec.json.encode(value))


class HttpStub:
    """Answers by a table of methods and path patterns; the last fitting entry counts."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._routes: list[tuple[str, re.Pattern[str], Handle]] = []
        self.url = ""

    def on(self, method: str, pattern: str, handle: Handle | Answer) -> None:
        """Answer requests for paths that match a regular expression as a whole."""
        answer = handle if callable(handle) else lambda _: handle
        self._routes.append((method, re.compile(pattern), answer))

    def asked(self, method: str, path: str) -> list[Request]:
        """The requests of this method and path, in order."""
        return [each for each in self.requests if (each.method, each.path) == (method, path)]

    def answer(self, request: Request) -> Answer:
        """What the table says; 404 if it says nothing."""
        self.requests.append(request)
        for method, pattern, handle in reversed(self._routes):
            match = pattern.fullmatch(request.path)
            if method == request.method and match:
                return handle(msgspec.structs.replace(request, groups=match.groups()))
        return problem(404, "not_found")


def problem(status: int, code: str, **fields: Any) -> Answer:
    """A refusal, as the gateway makes them."""
    body = {"status": status, "code": code, "detail": f"because of {code}", **fields}
    return Answer(status, msgspec.json.encode(body), "application/problem+json")


@contextlib.contextmanager
def serving(stub: HttpStub) -> Iterator[HttpStub]:
    """Serve on a free port of loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(stub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(stub: HttpStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            address = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            request = Request(
                self.command,
                address.path,
                parse_qs(address.query),
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(length),
            )
            self.send(stub.answer(request))

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.media_type)
            if isinstance(answer.body, bytes):
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            chunks = [answer.body] if isinstance(answer.body, bytes) else answer.body
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for chunk in chunks:
                    self.wfile.write(chunk)
                    self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    return Handler
