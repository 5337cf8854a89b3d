"""`python -m tests.faults --row NAME --seed N`: run rows of the fault harness, and print their verdicts."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import msgspec
import structlog

from tests.faults import trial
from tests.faults.patched import SAFEGUARDS
from tests.faults.rows import ROWS
from tests.faults.trial import Verdict


def main() -> int:
    """Run what the arguments name; 0 if every run has bitten and broke nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--row", action="append", choices=[*ROWS, "all"], required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="so many seeds in a row")
    parser.add_argument("--executions", type=int, help="of each run; the row's own without it")
    parser.add_argument("--without", action="append", choices=list(SAFEGUARDS), default=[])
    parser.add_argument("--keep", type=Path, help="folder for the logs of the processes")
    given = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.getLogger("nats").setLevel(logging.CRITICAL)
    plain = [name for name, row in ROWS.items() if not row.without]
    names = plain if "all" in given.row else given.row
    verdicts = asyncio.run(_tried(names, given))
    good = sum(verdict.is_good for verdict in verdicts)
    sys.stdout.write(f"{good} of {len(verdicts)} runs are good\n")
    return 0 if good == len(verdicts) else 1


async def _tried(names: list[str], given: argparse.Namespace) -> list[Verdict]:
    verdicts = []
    without = {*given.without, *(each for name in names for each in ROWS[name].without)}
    async with trial.prepared(without=tuple(sorted(without)), keep=given.keep) as prepared:
        for name in names:
            for seed in range(given.seed, given.seed + given.seeds):
                verdict = await prepared.run(name, ROWS[name], seed, given.executions)
                verdicts.append(verdict)
                _say(verdict)
    return verdicts


def _say(verdict: Verdict) -> None:
    state = "good" if verdict.is_good else "BROKEN" if verdict.has_bitten else "DID NOT BITE"
    sys.stdout.write(f"{verdict.row} seed {verdict.seed}: {state}\n")
    sys.stdout.write(f"  {msgspec.json.encode(verdict).decode()}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
