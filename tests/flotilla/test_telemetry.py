"""Logs as lines, and spans as a collector receives them."""

import io
import json
import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from flotilla import processes
from flotilla.settings import LogFormat, Settings
from flotilla.telemetry import logs, traces
from flotilla.telemetry.requests import traced
from gateway.auth import Guard
from gateway.edge import EXCHANGE, Edge
from gateway.metrics import Metrics
from gateway.settings import GatewaySettings
from tests.support.http_stub import Answer, HttpStub, serving
from tests.support.spans import Span, spans_of

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
CALLERS = f"00-{TRACE}-{CALLER}-01"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("logs_restored")
class TestLogs:
    """What a process writes."""

    def test_an_event_is_one_line_of_json_that_names_its_service(self) -> None:
        stream = io.StringIO()
        logs.set_up("worker", level="INFO", format=None, stream=stream)

        structlog.get_logger().info("task_taken", execution_id="x", at=object)

        (line,) = stream.getvalue().splitlines()
        event = json.loads(line)
        assert (event["event"], event["service"], event["level"]) == (
            "task_taken",
            "worker",
            "info",
        )
        assert event["execution_id"] == "x"
        assert event["timestamp"].endswith("Z")

    def test_what_libraries_log_looks_the_same(self) -> None:
        stream = io.StringIO()
        logs.set_up("gateway", level="INFO", format="json", stream=stream)

        logging.getLogger("some.library").warning("%s is odd", "this")
        logging.getLogger("uvicorn.error").info("Started server process")

        (line,) = stream.getvalue().splitlines()
        event = json.loads(line)
        assert (event["event"], event["service"], event["logger"]) == (
            "this is odd",
            "gateway",
            "some.library",
        )

    def test_events_below_the_level_are_not_written(self) -> None:
        stream = io.StringIO()
        logs.set_up("gateway", level="WARNING", format="json", stream=stream)

        structlog.get_logger().info("quiet")
        structlog.get_logger().warning("loud")

        assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]

    def test_an_exception_stays_on_its_line(self) -> None:
        stream = io.StringIO()
        logs.set_up("gateway", level="INFO", format="json", stream=stream)

        try:
            raise ValueError("of a\nkind")
        except ValueError:
            structlog.get_logger().exception("broken")

        (line,) = stream.getvalue().splitlines()
        assert "ValueError: of a\nkind" in json.loads(line)["exception"]

    @pytest.mark.parametrize("format", ["console", "json"])
    def test_a_trace_shows_no_values_of_variables(self, format: LogFormat) -> None:
        stream = io.StringIO()
        logs.set_up("gateway", level="INFO", format=format, stream=stream)
        secret = "".join(["can", "ary"])  # so that no line of this file shows it

        try:
            raise RuntimeError("broken with " + str(len(secret)))
        except RuntimeError:
            structlog.get_logger().exception("failed")

        assert "RuntimeError: broken with 6" in stream.getvalue()
        assert secret not in stream.getvalue()

    def test_a_terminal_gets_lines_for_people(self) -> None:
        terminal = Terminal()
        logs.set_up("up", level="INFO", format=None, stream=terminal)

        structlog.get_logger().info("process_ready", process="worker")

        assert "process_ready" in terminal.getvalue()
        assert not terminal.getvalue().startswith("{")


@pytest.fixture
def collector() -> Iterator[HttpStub]:
    """A collector of OTLP over HTTP."""
    stub = HttpStub()
    stub.on("POST", "/v1/traces", Answer(200, b"", "application/x-protobuf"))
    with serving(stub):
        yield stub


def spans(collector: HttpStub) -> dict[str, Span]:
    """The spans that arrived, by name."""
    return {span.name: span for span in spans_of(collector)}


def tracer(collector: HttpStub, service: str = "flotilla-worker") -> traces.SpanTracer:
    return traces.tracer(f"{collector.url}/v1/traces", service=service, version="1")


class TestAttempts:
    """Spans of workers."""

    def test_an_attempt_is_a_child_of_the_execution_and_parent_of_its_calls(
        self, collector: HttpStub
    ) -> None:
        with (
            tracer(collector) as own,
            own.attempt(CALLERS, "FLOW.NOOP", {"flotilla.attempt": 2}) as handed_on,
        ):
            pass

        span = spans(collector)["FLOW.NOOP"]
        assert (span.trace, span.parent) == (TRACE, CALLER)
        assert handed_on == f"00-{TRACE}-{span.id}-01"
        assert span.service == "flotilla-worker"
        assert span.attributes["flotilla.attempt"] == 2

    def test_an_attempt_without_context_begins_a_trace(self, collector: HttpStub) -> None:
        with tracer(collector) as own, own.attempt(None, "FLOW.IF", {}) as handed_on:
            assert handed_on is not None

        span = spans(collector)["FLOW.IF"]
        assert span.parent == ""
        assert handed_on.startswith(f"00-{span.trace}-{span.id}-")

    def test_a_caller_that_does_not_sample_gets_no_spans(self, collector: HttpStub) -> None:
        with (
            tracer(collector) as own,
            own.attempt(f"00-{TRACE}-{CALLER}-00", "FLOW.IF", {}) as handed_on,
        ):
            assert handed_on is not None

        assert handed_on.startswith(f"00-{TRACE}-")
        assert handed_on.endswith("-00")
        assert spans(collector) == {}

    def test_an_attempt_that_raises_is_marked(self, collector: HttpStub) -> None:
        with tracer(collector) as own, pytest.raises(ValueError, match="odd"):  # noqa: SIM117
            with own.attempt(CALLERS, "FLOW.IF", {}):
                raise ValueError("odd")

        assert spans(collector)["FLOW.IF"].is_error

    def test_attempts_at_the_same_time_do_not_mix(self, collector: HttpStub) -> None:
        other = f"00-{'1' * 32}-{'2' * 16}-01"

        with (
            tracer(collector) as own,
            own.attempt(CALLERS, "one", {}),
            own.attempt(other, "two", {}),
        ):
            pass

        found = spans(collector)
        assert (found["one"].trace, found["two"].trace) == (TRACE, "1" * 32)


class TestRequests:
    """Spans of the gateway."""

    async def _served(
        self, collector: HttpStub, headers: list[tuple[bytes, bytes]], *, status: int = 200
    ) -> tuple[str, str]:
        """Serve one request; return the traceparent inside and the one that was answered."""
        inside = ""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal inside
            exchange = scope[EXCHANGE]
            exchange.route = "/openapi.json"
            inside = exchange.trace.traceparent
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        edge = Edge(app, guard=Guard(GatewaySettings()), metrics=Metrics())
        scope = {"type": "http", "method": "GET", "path": "/openapi.json", "headers": headers}
        with tracer(collector, "flotilla-gateway") as own:
            await traced(edge, own)(scope, receive, send)
        return inside, dict(sent[0]["headers"])[b"traceparent"].decode()

    async def test_a_request_is_recorded_under_the_ids_that_it_was_announced_with(
        self, collector: HttpStub
    ) -> None:
        inside, answered = await self._served(collector, [(b"traceparent", CALLERS.encode())])

        span = spans(collector)["GET /openapi.json"]
        assert inside == answered == f"00-{span.trace}-{span.id}-01"
        assert (span.trace, span.parent) == (TRACE, CALLER)
        assert span.attributes["http.response.status_code"] == 200
        assert span.nanoseconds > 0

    async def test_a_request_without_context_begins_the_trace(self, collector: HttpStub) -> None:
        _, answered = await self._served(collector, [])

        span = spans(collector)["GET /openapi.json"]
        assert span.parent == ""
        assert answered == f"00-{span.trace}-{span.id}-01"

    async def test_a_malformed_context_counts_as_none(self, collector: HttpStub) -> None:
        await self._served(collector, [(b"traceparent", b"00-nothing")])

        assert spans(collector)["GET /openapi.json"].parent == ""

    async def test_a_failure_of_ours_is_marked(self, collector: HttpStub) -> None:
        await self._served(collector, [], status=503)

        assert spans(collector)["GET /openapi.json"].is_error

    async def test_one_trace_spans_request_and_attempt(self, collector: HttpStub) -> None:
        inside, _ = await self._served(collector, [])

        with tracer(collector) as own, own.attempt(inside, "FLOW.NOOP", {}):
            pass

        found = spans(collector)
        request, attempt = found["GET /openapi.json"], found["FLOW.NOOP"]
        assert (attempt.trace, attempt.parent) == (request.trace, request.id)


def test_a_collector_that_is_away_disturbs_nobody() -> None:
    with (
        traces.tracer("http://127.0.0.1:1/v1/traces", service="s", version="1") as own,
        own.attempt(CALLERS, "FLOW.NOOP", {}) as handed_on,
    ):
        assert handed_on is not None


def test_without_an_endpoint_there_is_no_tracer() -> None:
    with processes.tracer_of(Settings(), "flotilla-worker") as own:
        assert own is None


def test_without_an_endpoint_nothing_is_imported() -> None:
    code = """
        import sys
        from flotilla import processes
        from flotilla.settings import Settings
        import workers.worker
        with processes.tracer_of(Settings(), "s"):
            print(any(name.startswith("opentelemetry") for name in sys.modules))
    """

    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "False"
