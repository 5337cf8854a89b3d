"""Run seeds: `--seed N` shows one, `--seeds N` examines as many, from `--first` on."""

import argparse
import os
import sys
import time

from tests.simulator import report
from tests.simulator.simulation import run
from tests.simulator.story import story


def main() -> int:
    """Run what the command line asks for; 1 if something is wrong, or a report lacks a kind of mishap."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, help="show what happens under this seed")
    parser.add_argument("--seeds", type=int, default=1_000, help="examine so many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--report", action="store_true", help="print what the seeds came across")
    parser.add_argument(
        "--digest", action="store_true", help="print the digest of the seed's histories alone"
    )
    arguments = parser.parse_args()
    if arguments.digest:
        _say(run(arguments.seed).digest)
        return 0
    if arguments.seed is not None:
        return _show(arguments.seed)
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    return _examine(seeds, in_full=arguments.report)


def _show(seed: int) -> int:
    for line in story(run(seed)):
        _say(line)
    found = report.examine_all([seed])
    _say(found.failures.get(seed, "\nnothing is wrong"))
    return len(found.failures)


def _examine(seeds: range, *, in_full: bool) -> int:
    began = time.perf_counter()
    with report.processes() as pool:
        found = report.merged(report.examine_in(pool, seeds))
    for line in found.lines() if in_full else (found.headline,):
        _say(line)
    for seed, text in list(found.failures.items())[:10]:
        _say(f"\nseed {seed}: {text}\n  {report.command(seed)}")
    took, spent = time.perf_counter() - began, os.times()
    processor = spent.children_user + spent.children_system
    _say(
        f"\n{took:.1f} s; {processor:.0f} s of processor time, {processor / len(seeds) * 1000:.1f} ms for each seed"
    )
    return 1 if found.failures or (in_full and found.missing) else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
