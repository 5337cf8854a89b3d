"""`python -m bench.idle`: what the whole embedded stack costs while it has nothing to do.

Starts `flotilla up` in a folder of its own, waits until it is ready and has come to rest, and reads each process's
processor time and memory over `--seconds`. Memory is PSS: a page that several processes share counts once in all.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import psutil

START_SECONDS = 90
MIB = 1024 * 1024


def name_of(process: psutil.Process) -> str:
    """Return what a process is in the stack."""
    words = process.cmdline()
    if "flotilla" in words:
        return str(words[words.index("flotilla") + 1])
    name = process.name()
    return "postgres" if name.startswith("postgres") else name


def wait_until_ready(folder: Path) -> None:
    """Wait until the gateway says that everything is there."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        address = folder / "gateway_url"
        try:
            with urllib.request.urlopen(f"{address.read_text().strip()}/health") as answer:  # noqa: S310
                if msgspec.json.decode(answer.read())["status"] == "healthy":
                    return
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.5)  # noqa: TID251  # it is another process
    raise SystemExit("the stack was not healthy in time")


def measure(root: psutil.Process, seconds: float) -> dict[str, Any]:
    """Return percent of one core, PSS and RSS in MiB by process, and in all."""
    processes = [root, *root.children(recursive=True)]
    before = {each.pid: cpu(each) for each in processes}
    time.sleep(seconds)  # noqa: TID251  # this is what is measured
    rows: dict[str, dict[str, float]] = {}
    for each in processes:
        if not each.is_running():
            continue
        memory = each.memory_full_info()
        row = rows.setdefault(
            name_of(each), {"processes": 0, "percent": 0, "pss_mib": 0, "rss_mib": 0}
        )
        row["processes"] += 1
        row["percent"] += (cpu(each) - before[each.pid]) / seconds * 100
        row["pss_mib"] += memory.pss / MIB
        row["rss_mib"] += memory.rss / MIB
    rows["all"] = {
        column: sum(row[column] for row in rows.values())
        for column in ("processes", "percent", "pss_mib", "rss_mib")
    }
    return {name: {c: round(v, 2) for c, v in row.items()} for name, row in rows.items()}


def cpu(process: psutil.Process) -> float:
    """Return the processor time of a process in seconds, without that of its children."""
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(prog="bench.idle", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--settle", type=float, default=15, help="seconds of rest before it counts")
    parser.add_argument("--dir", default=None, help="where the stack keeps its data")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flotilla-idle-", dir=arguments.dir) as name:
        os.chmod(name, 0o755)  # noqa: S103  # the database's own user must reach its folder below
        folder = Path(name) / "data"
        env = {**os.environ, "DATA_DIR": str(folder), "LOG_LEVEL": "WARNING"}
        up = subprocess.Popen(
            [sys.executable, "-m", "flotilla", "up"], env=env, stdout=subprocess.DEVNULL
        )
        try:
            wait_until_ready(folder)
            time.sleep(arguments.settle)  # noqa: TID251
            for row in measure(psutil.Process(up.pid), arguments.seconds).items():
                print(msgspec.json.encode(row).decode(), flush=True)
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(60)


if __name__ == "__main__":
    main()
