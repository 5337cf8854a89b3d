"""`flotilla bench`, short: everything runs, and what is written has the shape that readers rely on. No times."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.options import LOADS
from bench.report import Report
from flotilla.cli.exits import Exit
from tests.support import servers
from tests.system.test_up import command, environment, flotilla

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

PROCESSES = {"scheduler", "worker", "gateway", "nats", "postgres", "bench"}
IN_ROUNDS = {*LOADS, "W5x64"} - {"W0"}


def measured(*arguments: str) -> tuple[Report, str]:
    """Run a short benchmark; return what it wrote, and what it printed."""
    with servers.server_folder() as folder:
        file = folder / "report.json"
        done = flotilla(folder / "data", "bench", "--short", "--json", str(file), *arguments)
        assert done.returncode == Exit.DONE, done.stdout + done.stderr
        assert list((folder / "data").iterdir()) == []
        return msgspec.json.decode(file.read_bytes(), type=Report), done.stdout


def test_every_load_runs_and_tells_everything() -> None:
    report, printed = measured()

    assert report.loads.keys() == IN_ROUNDS
    assert report.compared.keys() == {"W1", "W2"}
    for name, rounds in report.loads.items():
        middle = rounds.middle
        assert len(rounds.values) == 1
        assert rounds.goal is None  # these are not the sizes that goals are about
        assert middle.operations > 0
        assert middle.value > 0
        assert middle.cpu_us.keys() == middle.memory_mib.keys() == PROCESSES
        assert name in printed
    assert report.loads["W6"].middle.facts == {"iterations": 50, "exact": True}
    assert all(report.loads[name].middle.times for name in ("W1", "W2", "W3", "W4"))
    assert report.rest is not None
    assert report.rest.cpu_percent.keys() == PROCESSES
    assert report.settings.fsync == "on"
    assert report.settings.nats_sync_interval_s == 1
    assert report.limits.rows_per_s > 0
    assert "/s" in printed


def test_executions_that_wait_are_looked_at_and_then_go_on() -> None:
    report, printed = measured("--waiting", "30", "--no-segments")

    assert report.loads == {}
    assert report.waiting is not None
    assert report.waiting.facts["waiting"] == 30
    assert report.waiting.memory_mib["scheduler"] > 0
    assert report.settings.environment["SEGMENTS"] == "false"
    assert "waiting 30" in printed


def test_a_benchmark_that_is_broken_off_leaves_nothing_behind() -> None:
    with servers.server_folder() as folder:
        data = folder / "data"
        process = subprocess.Popen(
            command("bench", "--only", "W2"),
            env=environment(data),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        while not process.stderr.readline().startswith("round 1"):
            assert process.poll() is None

        process.send_signal(signal.SIGINT)
        said = process.stderr.read()

        assert process.wait(60) == Exit.INTERRUPTED
        assert said.splitlines()[-1] == "flotilla: broken off; nothing was measured"
        assert "Traceback" not in said
        assert list(data.iterdir()) == []
        process.stderr.close()


@pytest.mark.parametrize(
    ("only", "said"),
    [
        pytest.param("W1,W9", "--only names 'W9'; there are W0, W1", id="unknown load"),
        pytest.param(",", "--only names no load", id="no load"),
    ],
)
def test_a_load_that_there_is_not_is_refused(tmp_path: Path, only: str, said: str) -> None:
    refused: Any = flotilla(tmp_path, "bench", "--only", only)

    assert refused.returncode == Exit.USAGE
    assert said in refused.stderr
