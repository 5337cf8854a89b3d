"""Thousands of worlds in which everything goes wrong, and nothing that the engine promises is broken.

`make test` runs ten thousand of them, and fails unless each kind of mishap struck in them; `make simulate` runs the same, and
tells what they came across.

A failure names its seed and the command that shows it: `python -m tests.simulator --seed 1234`.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.simulator import commit, report

SEEDS = 10_000
CHUNKS = 20
REPOSITORY = Path(__file__).parents[2]


Reports = list[Future[report.Report]]


@pytest.fixture(scope="module")
def reports() -> Iterator[Reports]:
    """What processes find out about all seeds, slice by slice, while the tests wait for their parts."""
    with report.processes() as pool:
        yield report.examine_in(pool, range(SEEDS))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_is_broken_whatever_goes_wrong(chunk: int, reports: Reports) -> None:
    size = len(reports) // CHUNKS

    found = report.merged(reports[chunk * size : (chunk + 1) * size])

    assert found.seeds == SEEDS // CHUNKS
    for seed, text in sorted(found.failures.items())[:1]:
        pytest.fail(
            f"{len(found.failures)} seeds failed; seed {seed}: {text}\n{report.command(seed)}"
        )


@pytest.mark.timeout(600)  # alone it waits for all of them
def test_everything_that_can_happen_did(reports: Reports) -> None:
    found = report.merged(reports)

    assert found.seeds == SEEDS
    assert found.missing == ()


@pytest.mark.parametrize("seed", [7, 101])
def test_a_seed_decides_everything_in_any_process(seed: int) -> None:
    arguments = [sys.executable, "-m", "tests.simulator", "--digest", "--seed", str(seed)]

    digests = {
        subprocess.run(
            arguments,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONHASHSEED": str(hashes)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hashes in (1, 2)
    }

    assert len(digests) == 1
    assert digests.pop().strip()


def test_the_simulated_commit_knows_all_that_the_real_one_writes() -> None:
    assert list(commit.unknown()) == []
