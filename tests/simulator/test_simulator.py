"""Thousands of worlds in which everything goes wrong, and nothing that the engine promises is broken.

`make simulate` runs ten thousand, and fails unless each kind of mishap struck in them; fewer are a part of
`make test`.

A failure names its seed and the command that shows it: `python -m tests.simulator --seed 1234`.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import pytest

from tests.simulator import commit, report

SEEDS = 4_000
CHUNKS = 8
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    """Processes that run seeds."""
    with report.processes() as pool:
        yield pool


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_is_broken_whatever_goes_wrong(chunk: int, pool: Executor) -> None:
    found = report.examine_in(pool, range(chunk * SEEDS // CHUNKS, (chunk + 1) * SEEDS // CHUNKS))

    for seed, text in sorted(found.failures.items())[:1]:
        pytest.fail(
            f"{len(found.failures)} seeds failed; seed {seed}: {text}\n{report.command(seed)}"
        )


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
