"""The life of one process: it runs until a signal asks it to stop, then drains; a second signal ends it at once."""

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

log: Final = structlog.get_logger()

COLLECTOR_THRESHOLDS: Final = (100_000, 50, 100)
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

Main = Callable[[asyncio.Event], Awaitable[None]]
"""A process: returns once it has drained after the event was set."""


def run_until_stopped(main: Main) -> None:
    """Run a process on uvloop, where there is one, until it returns."""
    _collect_seldom()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_run(main))


def _collect_seldom() -> None:
    """Look for cycles of garbage less often than Python would.

    A process holds many small objects that live for long and make no cycles (executions, messages); looking
    through them over and over cost a tenth of its time. What was imported is never looked at again.
    """
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


async def _run(main: Main) -> None:
    stop = asyncio.Event()
    with stopping_on_signals(stop):
        await main(stop)


@contextmanager
def stopping_on_signals(stop: asyncio.Event) -> Iterator[None]:
    """Within, the first SIGINT or SIGTERM sets `stop`, and the second ends the process; needs the main thread."""
    loop = asyncio.get_running_loop()

    def asked(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        log.info("stop_asked", signal=number.name)

    for each in STOP_SIGNALS:
        loop.add_signal_handler(each, asked, each)
    try:
        yield
    finally:
        for each in STOP_SIGNALS:
            loop.remove_signal_handler(each)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the event loop of a process: uvloop's, where there is one."""
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop
