"""A thin client of the REST API: JSON in, JSON out, and every refusal an exception with the gateway's own words."""

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx
import msgspec

from flotilla.installation import Installation
from flotilla.settings import DEFAULT_URL, Settings, is_loopback

Query = Mapping[str, Any]

CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 70  # `?wait=` goes up to 60
SILENCE_SECONDS: Final = 40  # a stream says something every 15


class Entry(msgspec.Struct, frozen=True):
    """One thing that is wrong with what was sent."""

    pointer: str
    code: str
    message: str
    node_id: str | None = None


class ProblemBody(msgspec.Struct, frozen=True):
    """The body of a refusal (`application/problem+json`)."""

    code: str
    title: str = ""
    detail: str = ""
    errors: tuple[Entry, ...] = ()
    trace_id: str = ""


class ClientError(Exception):
    """The root of what a client raises."""


class ApiProblem(ClientError):
    """The gateway refused a request."""

    def __init__(self, status: int, problem: ProblemBody) -> None:
        self.status = status
        self.problem = problem
        super().__init__(f"{problem.code}: {problem.detail or problem.title}")


class Unreachable(ClientError):
    """The gateway did not answer."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(
            f"{url} is out of reach ({reason}): start it with `flotilla up`, or set FLOTILLA_URL"
        )


class StreamedEvent(msgspec.Struct, frozen=True):
    """One server-sent event; `id` is empty for what is not recorded."""

    id: str
    kind: str
    data: Any


class Answer(msgspec.Struct, frozen=True):
    """A success of the gateway."""

    status: int
    value: Any


class Client:
    """Speaks with one gateway; an async context manager."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self.has_token = token is not None
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(
            base_url=url,
            headers=headers,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,  # no proxy of the environment stands between us and our own gateway
        )

    async def get(self, path: str, query: Query | None = None) -> Any:
        """Return the resource. Raises ApiProblem and Unreachable, as all of these do."""
        return (await self.ask("GET", path, query=query)).value

    async def post(self, path: str, body: Any = None, *, query: Query | None = None) -> Any:
        """Return what the gateway made of `body`."""
        return (await self.ask("POST", path, body, query=query)).value

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request, with JSON unless `body` is None, and return status and value of the answer."""
        content = None if body is None else msgspec.json.encode(body)
        sent = {**(headers or {}), **({} if body is None else {"Content-Type": "application/json"})}
        try:
            response = await self._http.request(
                method, path, params=_written(query), content=content, headers=sent
            )
        except httpx.TransportError as error:
            raise Unreachable(self.url, _reason(error)) from error
        _check(response.status_code, response.content)
        return Answer(response.status_code, _value(response.content))

    async def events(
        self, path: str, *, last_event_id: str | None = None
    ) -> AsyncIterator[StreamedEvent]:
        """Yield server-sent events until the stream ends. Raises Unreachable also when it breaks."""
        headers = {"Accept": "text/event-stream"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        try:
            async with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
                if response.status_code != 200:
                    _check(response.status_code, await response.aread())
                async for event in _events(response.aiter_lines()):
                    yield event
        except httpx.TransportError as error:
            raise Unreachable(self.url, _reason(error)) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()


def connect(settings: Settings) -> Client:
    """The gateway that the settings name, else the one that `up` has started in DATA_DIR.

    The dev token that `up` has kept is sent to this machine only.
    """
    installation = Installation(settings.data_dir)
    url = settings.flotilla_url or installation.address() or DEFAULT_URL
    kept = installation.token() if is_loopback(httpx.URL(url).host) else None
    return Client(url, settings.flotilla_token or kept)


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[StreamedEvent]:
    """The events of a stream (HTML standard, 9.2.6); comments keep it alive and are left out."""
    fields: dict[str, list[str]] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
            continue
        if "data" in fields:
            data = msgspec.json.decode("\n".join(fields["data"]))
            yield StreamedEvent(_last(fields, "id"), _last(fields, "event"), data)
        fields = {}


def _last(fields: Mapping[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[-1]


def _check(status: int, content: bytes) -> None:
    if status >= 400:
        raise ApiProblem(status, _problem(status, content))


def _problem(status: int, content: bytes) -> ProblemBody:
    try:
        return msgspec.json.decode(content, type=ProblemBody)
    except msgspec.DecodeError:
        return ProblemBody(f"http_{status}", detail="the answer is not one of Flotilla's gateway")


def _value(content: bytes) -> Any:
    if not content:
        return None
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        problem = ProblemBody("no_json", detail="the answer is not one of Flotilla's gateway")
        raise ApiProblem(502, problem) from None


def _written(query: Query | None) -> httpx.QueryParams:
    """Query parameters: a sequence stands once per item, None not at all."""
    pairs: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in (query or {}).items():
        values = value if isinstance(value, list | tuple) else [value]
        pairs += [(name, str(each)) for each in values if each is not None]
    return httpx.QueryParams(pairs)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
