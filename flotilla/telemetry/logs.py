"""Logs: one event per line, JSON or for the console, ours and those of libraries alike.

Our events go through structlog straight to the stream; what libraries log with the standard library (uvicorn, nats, asyncio) is
formatted by the same processors. Every line names its service.
"""

import contextlib
import logging
import sys
from typing import Any, Final, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from flotilla.settings import LogFormat, LogLevel

# What they say at INFO is about themselves: every request, every connection.
QUIET: Final = ("asyncio", "httpcore", "httpx", "nats", "urllib3", "uvicorn", "opentelemetry")


def set_up(
    service: str, *, level: LogLevel, format: LogFormat | None, stream: TextIO | None = None
) -> None:
    """Send all logs of this process to `stream`, by default stdout; without `format`: console on a terminal, else JSON."""
    stream = stream or sys.stdout
    renderer = _renderer(format or ("console" if stream.isatty() else "json"), stream)
    shared = _shared_processors(service)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        # It writes a line at once, so that processes which share a pipe do not mix theirs.
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", Lines(stream))),
        cache_logger_on_first_use=True,
    )
    _bridge(stream, level, shared, renderer)


class Lines:
    """A stream for logs that nobody has to read: once the reader is gone, lines go nowhere, and their writer goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a line."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        with contextlib.suppress(BrokenPipeError):
            self._stream.flush()


def _shared_processors(service: str) -> list[Processor]:
    def name_service(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {"service": service, **event}

    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_service,
    ]


def _renderer(format: LogFormat, stream: TextIO) -> Processor:
    if format == "console":
        # The traces of `rich`, which are its default, show the values of variables: secrets among them.
        plain = structlog.dev.plain_traceback
        return structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)
    return _render_json


def _render_json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    structlog.processors.format_exc_info(logger, method, event)
    return msgspec.json.encode(event, enc_hook=repr).decode()


def _bridge(stream: TextIO, level: str, shared: list[Processor], renderer: Processor) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _name_logger],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _name_logger(_: Any, __: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    return {**event, "logger": record.name}
