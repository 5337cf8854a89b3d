"""Keep child processes running, and end them in order.

Each child runs in a session of its own: Ctrl-C on the terminal reaches the supervisor alone, which then sends SIGTERM stage
by stage, gives every stage its time to drain, and kills what is left. A child that ends by itself has crashed, whatever
its exit code; it is started again after a delay that doubles with every crash and is forgotten after some health.

On a terminal the children's lines carry their name in colour. Otherwise children write to our own output, untouched.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TextIO

import msgspec
import structlog

from flotilla import orphans
from flotilla.backoff import backoff_seconds, crashes_in_a_row

log = structlog.get_logger()

PROBE_INTERVAL_SECONDS = 0.05
PROBE_SECONDS = 5.0
LAST_LINES_SECONDS = 1.0
LINE_BYTES = 64 * 1024
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
COLOURS = (36, 32, 35, 33, 34, 31)  # ANSI: cyan, green, magenta, yellow, blue, red

Probe = Callable[[], Awaitable[bool]]
Sleep = Callable[[float], Awaitable[None]]
Clock = Callable[[], float]


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A process to keep running."""

    name: str
    argv: tuple[str, ...]
    #: The whole environment; nothing of ours is added but PYTHONUNBUFFERED.
    env: Mapping[str, str]
    #: Children of a lower stage are stopped, and have ended, before the next stage is told to stop.
    stop_stage: int = 0
    #: Whether the child is ready; an OSError or TimeoutError says no. Without a probe a child is ready once it runs.
    probe: Probe | None = None


class NotReadyError(Exception):
    """A child was not ready in time."""

    def __init__(self, names: Sequence[str], seconds: float) -> None:
        self.names = names
        self.seconds = seconds
        super().__init__(f"not ready after {seconds:g} s: {', '.join(names)}")


class Supervisor:
    """Runs children from `run` until `stop`; see the module.

    Args:
        drain_seconds: What each stage gets between SIGTERM and SIGKILL. Children that drain for a while themselves need
            more than that here.
        output: Where the lines of the children go if it is a terminal.
        sleep, clock: How delays pass and lives are measured, in seconds; for tests.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        *,
        drain_seconds: float = 30,
        output: TextIO = sys.stdout,
        sleep: Sleep = asyncio.sleep,
        clock: Clock = time.monotonic,
    ) -> None:
        assert len({spec.name for spec in specs}) == len(specs), "names of children are unique"
        writers = terminals([spec.name for spec in specs], output)
        self.children = [
            Child(spec, terminal=terminal, sleep=sleep, clock=clock)
            for spec, terminal in zip(specs, writers, strict=True)
        ]
        self.drain_seconds = drain_seconds
        self._stop_asked = asyncio.Event()
        self._hurry_asked = asyncio.Event()

    async def run(self) -> Mapping[str, int | None]:
        """Start all children, keep them running until `stop`, and return their last exit codes by name.

        A negative code is the number of a signal, None a child that was not running. If a child cannot be started at all,
        or if this is cancelled, all are killed at once.
        """
        async with asyncio.TaskGroup() as group:
            for child in self.children:
                group.create_task(child.run(), name=f"supervise {child.spec.name}")
            await self._stop_asked.wait()
            await self._stop_stage_by_stage()
        return {child.spec.name: child.exit_code for child in self.children}

    async def wait_ready(self, *, seconds: float) -> None:
        """Wait until every child is ready; raises NotReadyError, which names those that are not."""
        try:
            async with asyncio.timeout(seconds):
                for child in self.children:
                    await child.ready.wait()
        except TimeoutError:
            late = [child.spec.name for child in self.children if not child.ready.is_set()]
            raise NotReadyError(late, seconds) from None

    def stop(self) -> None:
        """Ask for the ordered stop; asking again kills what is still there."""
        if self._stop_asked.is_set():
            self._hurry_asked.set()
        self._stop_asked.set()

    @contextlib.contextmanager
    def stopping_on_signals(self) -> Iterator[None]:
        """Within, SIGINT and SIGTERM to this process call `stop`; needs the main thread."""
        loop = asyncio.get_running_loop()
        for each in STOP_SIGNALS:
            loop.add_signal_handler(each, self.stop)
        try:
            yield
        finally:
            for each in STOP_SIGNALS:
                loop.remove_signal_handler(each)

    async def _stop_stage_by_stage(self) -> None:
        for stage in sorted({child.spec.stop_stage for child in self.children}):
            async with asyncio.TaskGroup() as group:
                for child in self.children:
                    if child.spec.stop_stage == stage:
                        group.create_task(self._stop_child(child), name=f"stop {child.spec.name}")

    async def _stop_child(self, child: "Child") -> None:
        child.terminate()
        await _first(
            child.ended.wait(), self._hurry_asked.wait(), asyncio.sleep(self.drain_seconds)
        )
        child.kill()
        await child.ended.wait()


class Child:
    """One supervised process, over all its lives.

    `ready` is set while the process is ready, `ended` once no process will run any more.
    """

    def __init__(
        self, spec: ChildSpec, *, terminal: "Terminal | None", sleep: Sleep, clock: Clock
    ) -> None:
        self.spec = spec
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.exit_code: int | None = None
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._terminal = terminal
        self._sleep = sleep
        self._clock = clock

    @property
    def pid(self) -> int | None:
        """The process of the present life, None between two lives."""
        return self._process.pid if self._process else None

    async def run(self) -> None:
        """Start the process, again after every crash, until `terminate` or `kill`; cancelling kills it."""
        crashes = 0
        try:
            while not self._stopping.is_set():
                started_at = self._clock()
                await self._live()
                crashes = crashes_in_a_row(crashes, lived_seconds=self._clock() - started_at)
                if not self._stopping.is_set():
                    await self._recover(crashes)
        finally:
            self.ended.set()

    def terminate(self) -> None:
        """Ask the process to end, and let no other one follow."""
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End the process, and whatever else it has started, without asking."""
        self._stopping.set()
        if self._process is not None:
            _kill_group(self._process.pid)

    async def _live(self) -> None:
        """One life of the process, from its start to its end."""
        async with _forwarding(self._terminal, name=self.spec.name) as output:
            self._process = process = await self._launch(output)
            log.info("process_started", process=self.spec.name, pid=process.pid)
            try:
                if self._stopping.is_set():  # it was told to while it was being launched
                    process.terminate()
                await self._attend(process)
            finally:
                self.ready.clear()
                _kill_group(process.pid)
                self.exit_code = await process.wait()
                self._process = None
        self._report_end(process.pid)

    async def _launch(self, output: int | None) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.spec.argv,
            env={"PYTHONUNBUFFERED": "1", **self.spec.env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=orphans.die_with_parent(signal.SIGTERM),
        )

    async def _attend(self, process: asyncio.subprocess.Process) -> None:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._watch_readiness(), name=f"probe {self.spec.name}")
            await process.wait()
            watch.cancel()

    async def _watch_readiness(self) -> None:
        while not await _says_yes(self.spec.probe):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(PROBE_INTERVAL_SECONDS)
        self.ready.set()
        log.info("process_ready", process=self.spec.name)

    def _report_end(self, pid: int) -> None:
        facts = {"process": self.spec.name, "pid": pid, "exit_code": self.exit_code}
        if self._stopping.is_set():
            log.info("process_stopped", **facts)
        else:
            log.warning("process_crashed", **facts)

    async def _recover(self, crashes: int) -> None:
        delay = backoff_seconds(crashes)
        log.warning(
            "process_restarting", process=self.spec.name, crashes=crashes, delay_seconds=delay
        )
        await _first(self._sleep(delay), self._stopping.wait())


class Terminal(msgspec.Struct, frozen=True):
    """Writes the lines of one child, each behind its coloured name."""

    prefix: str
    output: TextIO

    def write(self, line: bytes) -> None:
        """Write one line at once."""
        self.output.write(f"{self.prefix}{line.decode(errors='replace')}\n")
        self.output.flush()


def terminals(names: Sequence[str], output: TextIO) -> Sequence[Terminal | None]:
    """One writer per name, with prefixes of equal width; none if the output is no terminal."""
    if not output.isatty():
        return [None for _ in names]
    width = max(map(len, names), default=0)
    return [
        Terminal(f"\x1b[{colour}m{name:<{width}} |\x1b[0m ", output)
        for name, colour in zip(names, itertools.cycle(COLOURS), strict=False)
    ]


@contextlib.asynccontextmanager
async def _forwarding(terminal: Terminal | None, *, name: str) -> AsyncIterator[int | None]:
    """A descriptor for a child to write to, whose lines appear on the terminal; None means our own output.

    The pipe is ours and not the event loop's, because the latter takes a process for running as long as anybody holds
    its pipe.
    """
    if terminal is None:
        yield None
        return
    reading_end, writing_end = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading_end, "rb")
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_forward(reader, terminal), name=f"forward {name}")
        try:
            yield writing_end
        finally:
            os.close(writing_end)
            await asyncio.wait([task], timeout=LAST_LINES_SECONDS)
            task.cancel()
            transport.close()


async def _forward(reader: asyncio.StreamReader, terminal: Terminal) -> None:
    async for line in lines_of(reader):
        terminal.write(line)


async def lines_of(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a stream without their ends; one of more than 64 KiB comes in pieces."""
    rest = b""
    while chunk := await reader.read(LINE_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > LINE_BYTES:
            yield rest
            rest = b""
    if rest:
        yield rest


async def _says_yes(probe: Probe | None) -> bool:
    if probe is None:
        return True
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return await probe()
    except (OSError, TimeoutError):
        return False


async def _first(*waits: Awaitable[object]) -> None:
    """Wait until the first of them is done, and cancel the others."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: the latter for zombies
        os.killpg(leader, signal.SIGKILL)
