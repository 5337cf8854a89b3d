"""Servers that outlived a killed `flotilla up`: found by their pid file, identified by their command line, stopped.

A pid alone proves nothing, since the number may belong to somebody else by now. A process is taken for a leftover only if
its command line names the folder or file that only this server uses. The caller holds the folder's lock, so a living
owner cannot exist.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import structlog

from flotilla.embedded.polling import comes_true

log = structlog.get_logger()

PROC = Path("/proc")
REAP_SECONDS = 0.5


async def stop_leftover(
    pid_file: Path, *, argument: str, signals: Sequence[signal.Signals], grace_seconds: float
) -> None:
    """Stop the process that `pid_file` names if `argument` is one of its arguments; else do nothing.

    Each of `signals` gets `grace_seconds` to take effect, then comes SIGKILL.
    """
    pid = pid_in(pid_file)
    if pid is None or not runs_with(pid, argument):
        return
    log.warning("leftover_server_stopping", pid=pid, pid_file=str(pid_file))
    for stop_signal in (*signals, signal.SIGKILL):
        _send(pid, stop_signal)
        if await comes_true(lambda: not runs_with(pid, argument), seconds=grace_seconds):
            return


def pid_in(pid_file: Path) -> int | None:
    """The number on the first line, which is where PostgreSQL's own pid file has it too; None if there is none."""
    try:
        first_line, *_ = pid_file.read_text().splitlines()
        return int(first_line)
    except (FileNotFoundError, ValueError):
        return None


def exists(pid: int) -> bool:
    """Whether the number belongs to a process, were it one that has ended and was not waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True


async def is_strangers(pid: int, argument: str) -> bool:
    """Whether the number belongs to a process that has not this argument.

    One that has ended keeps its number until somebody has waited for its end, which is given a moment.
    """
    if runs_with(pid, argument):
        return False
    await comes_true(lambda: not _has_ended(pid), seconds=REAP_SECONDS)
    return exists(pid)


def runs_with(pid: int, argument: str) -> bool:
    """Whether the process runs, and has this argument; one that has ended and was not waited for does not run."""
    if (PROC / "self").exists():
        return argument in _arguments_in_proc(pid)
    return argument in _command_by_ps(pid)  # which does not tell where an argument ends


def _has_ended(pid: int) -> bool:
    """Whether nothing is left of a process but its number; where there is no /proc, nobody tells."""
    return _arguments_in_proc(pid) == [""]


def _arguments_in_proc(pid: int) -> Sequence[str]:
    try:
        return (PROC / str(pid) / "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return ()


def _command_by_ps(pid: int) -> str:
    found = subprocess.run(  # noqa: S603
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout


def _send(pid: int, stop_signal: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, stop_signal)
