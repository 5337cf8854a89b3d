"""What processes use: processor time and memory, of each with its children."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import psutil

from bench.processes import Pids

MIB: Final = 1024 * 1024
PROC: Final = Path("/proc")
SHARES_MEMORY: Final = frozenset({"postgres"})
"""Processes that share most of their memory with their children: adding up what each sees would count it often."""

_PEAK: Final = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What each process used: seconds of processor time, and MiB of memory at most."""

    cpu_s: dict[str, float]
    memory_mib: dict[str, float]


class Meter:
    """Measures what a piece of work makes processes use. Begin it, do the work, then `read` it."""

    def __init__(self, pids: Pids) -> None:
        self._pids = pids
        for family in _families(pids).values():
            for process in family:
                _forget_peak(process.pid)
        self._before = _cpu(pids)

    def read(self) -> Usage:
        """Return what was used since the beginning."""
        used = {name: after - self._before[name] for name, after in _cpu(self._pids).items()}
        memory = {
            name: _memory(family, shares=name in SHARES_MEMORY) / MIB
            for name, family in _families(self._pids).items()
        }
        return Usage(cpu_s=used, memory_mib=memory)


def _families(pids: Pids) -> dict[str, list[psutil.Process]]:
    return {name: [p for pid in mains for p in _family(pid)] for name, mains in pids.items()}


def _family(pid: int) -> Iterator[psutil.Process]:
    """Yield a process and its children; ours alone, since all the others are our children."""
    process = psutil.Process(pid)
    yield process
    if pid != os.getpid():
        yield from process.children(recursive=True)


def _cpu(pids: Pids) -> dict[str, float]:
    """Return the processor time used so far, that of children that are gone included."""
    return {name: sum(map(_cpu_of_family, mains)) for name, mains in pids.items()}


def _cpu_of_family(pid: int) -> float:
    total = 0.0
    for process in _family(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
            if pid != os.getpid():
                total += times.children_user + times.children_system
    return total


def _memory(family: Sequence[psutil.Process], *, shares: bool) -> float:
    total = 0
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += _share_of(process) if shares else _peak_of(process)
    return total


def _share_of(process: psutil.Process) -> int:
    """Return a process's own memory and its share of what it shares, as far as the system tells."""
    try:
        info = process.memory_full_info()
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    return int(getattr(info, "pss", info.rss))


def _peak_of(process: psutil.Process) -> int:
    """Return the most memory that a process had; where nobody tells, what it has now."""
    try:
        found = _PEAK.search((PROC / str(process.pid) / "status").read_text())
    except OSError:
        found = None
    return int(process.memory_info().rss) if found is None else int(found[1]) * 1024


def _forget_peak(pid: int) -> None:
    """Let the kernel begin anew with the peak of a process, where it can."""
    with contextlib.suppress(OSError):
        (PROC / str(pid) / "clear_refs").write_text("5")
