"""Python programs as child processes, to be killed; and what is left of processes."""

import contextlib
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from flotilla.embedded.polling import comes_true

PATIENCE_SECONDS = 20


class Program:
    """A running Python program that talks to the test in lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def line(self) -> str:
        """The next line that it prints; empty when it has ended. The test's own timeout bounds the wait."""
        return _pipe(self.process.stdout).readline().strip()

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code."""
        return self.process.wait(PATIENCE_SECONDS)


@contextlib.contextmanager
def program(source: str, *arguments: object) -> Iterator[Program]:
    """Run Python source with arguments; it is killed in the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield Program(process)
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)
        _pipe(process.stdout).close()


def is_running(pid: int) -> bool:
    """Whether the process exists and has not ended; one that nobody waited for yet has ended."""
    if Path("/proc/self").exists():
        return _state_in_proc(pid) not in ("", "Z")
    found = subprocess.run(
        ["/bin/ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()[:1] not in ("", "Z")


def _state_in_proc(pid: int) -> str:
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return line.rpartition(")")[2].split()[0]


async def ends(pid: int) -> bool:
    """Wait for the end of a process that need not be our child; False if it does not come."""
    return await comes_true(lambda: not is_running(pid), seconds=PATIENCE_SECONDS)


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
