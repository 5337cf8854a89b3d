"""Many seeds: each examined, all of them counted."""

import gc
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Final

import msgspec

from contracts.history import DATA_OF
from tests.simulator import verdict
from tests.simulator.chaos import EVENTS, FAULTS
from tests.simulator.graphs import FEATURES
from tests.simulator.shapes import AFTER_THE_END, ASKS, work_of
from tests.simulator.simulation import Outcome, run

SLICE: Final = 50
OBJECTS: Final = 100_000
"""So many objects may come into being before unreachable ones among them are looked for."""
REPEATED_EVERY: Final = 50
"""Of so many seeds one is run twice: it must give the same bytes."""

REFUSALS: Final = (
    "already_finished",
    "already_paused",
    "already_started",
    "ambiguous_target",
    "no_slot",
    "not_paused",
    "not_waiting",
    "outcome_unknown",
    "repeated",
    "stale_child",
    "stale_result",
    "stale_timer",
    "token",
)
REMARKABLE: Final = (
    "answers",
    "attempts stopped",
    "calls not saved",
    "checkpoints found again",
    "children",
    "children, detached",
    "conflicts",
    "ends of waits asked",
    "events while paused",
    "failure workflows",
    "handlers called at most once",
    "handlers not called",
    "items delivered",
    "made by fork",
    "made by retry",
    "made with outputs carried",
    "questions answered",
    "republished",
    "schedulers replaced",
    "signals sent",
    "slots taken",
    "task redeliveries",
    "tasks that waited in line",
    "waits ended early",
    "worker crashes",
)
"""Counts besides faults and refusals that must not be zero after many seeds; nor may the number of asks of any kind."""

NOT_YET: Final = frozenset[str]()
"""Kinds of events that no seed brings about so far: nothing in `graphs.py` and `shapes.py` leads to them."""


class Report(msgspec.Struct):
    """What happened under many seeds. `failures` holds what was wrong, by seed."""

    seeds: int = 0
    failures: dict[int, str] = {}
    counts: dict[str, int] = {}
    faults: dict[str, int] = {}
    refused: dict[str, int] = {}
    events: dict[str, int] = {}
    features: dict[str, int] = {}
    exactness: dict[str, int] = {}
    moves: set[str] = set()

    def add(self, outcome: Outcome) -> None:
        """Count a world in."""
        _add(self.counts, outcome.counts)
        _add(self.faults, outcome.struck)
        _add(self.refused, outcome.refused)
        _add(self.events, outcome.kinds)
        work = work_of(outcome.seed)
        _add(self.features, dict.fromkeys(work.features, 1))
        _add(self.exactness, {work.exactness.name: 1})
        self.moves |= {f"{was} -> {now}" for was, now in outcome.moves}

    def merge(self, other: "Report") -> None:
        """Count another report in."""
        self.seeds += other.seeds
        self.failures |= other.failures
        _add(self.counts, other.counts)
        _add(self.faults, other.faults)
        _add(self.refused, other.refused)
        _add(self.events, other.events)
        _add(self.features, other.features)
        _add(self.exactness, other.exactness)
        self.moves |= other.moves

    @property
    def missing(self) -> tuple[str, ...]:
        """What never happened though it was meant to: such a simulation proves less than it claims."""
        return (
            *(f"fault {name}" for name in (*FAULTS, *EVENTS) if not self.faults.get(name)),
            *(f"refusal {name}" for name in REFUSALS if not self.refused.get(name)),
            *(f"count {name}" for name in REMARKABLE if not self.counts.get(name)),
            *(
                f"ask {name}"
                for name in ASKS.keys() - AFTER_THE_END
                if not self.counts.get(f"asked to {name}")
            ),
            *(f"feature {name}" for name in FEATURES if not self.features.get(name)),
            *(
                f"event {kind}"
                for kind in sorted(DATA_OF.keys() - NOT_YET)
                if not self.events.get(kind)
            ),
        )

    @property
    def headline(self) -> str:
        """The report in one line."""
        return f"{self.seeds} seeds, {len(self.failures)} failed"

    def lines(self) -> Iterator[str]:
        """Yield the report for people."""
        yield self.headline
        for title, table in (
            ("what happened", self.counts),
            ("what went wrong, by its own or on purpose", self.faults),
            ("inputs refused", self.refused),
            ("events recorded", self.events),
            ("seeds that had a feature", self.features),
            ("seeds whose end must be that of a calm run", self.exactness),
        ):
            yield f"\n{title}"
            for name, count in sorted(table.items(), key=lambda item: -item[1]):
                yield f"  {count:>10,}  {name}"
        yield f"\nmoves of node runs\n  {', '.join(sorted(self.moves))}"
        for name in self.missing:
            yield f"never: {name}"


def examine(seed: int, report: Report) -> None:
    """Run a seed with and without trouble, and count what happened; what is wrong goes to the failures."""
    report.seeds += 1
    outcome = run(seed)
    report.add(outcome)
    if outcome.objection is None:
        objections = list(_objections(outcome, run(seed, troubled=False)))
        if seed % REPEATED_EVERY == 0 and run(seed).digest != outcome.digest:
            objections.append("the same seed gave another history")
    else:
        objections = [outcome.objection]
    if objections:
        report.failures[seed] = "\n".join(objections)


def _objections(outcome: Outcome, calm: Outcome) -> Iterator[str]:
    if calm.objection is not None:
        yield f"without trouble: {calm.objection}"
        return
    work = work_of(outcome.seed)
    for execution_id, events in outcome.histories.items():
        plan = work.plans[outcome.states[execution_id].created.version_id]
        name = outcome.names[execution_id]
        yield from (f"{name} ({execution_id}): {each}" for each in verdict.problems(plan, events))
    yield from verdict.family_problems(work, outcome)
    yield from verdict.Comparison(work, outcome, calm).differences()


def examine_all(seeds: Sequence[int]) -> Report:
    """Examine seeds one after the other."""
    report = Report()
    for seed in seeds:
        examine(seed, report)
    return report


@contextmanager
def processes() -> Iterator[Executor]:
    """Give one process for each core; they inherit nothing of this one."""
    context = get_context("spawn")
    pool = ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=_settle)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _settle() -> None:
    """Collect garbage seldom, and never look through what was imported: a world is small, and leaves little behind."""
    gc.freeze()
    gc.set_threshold(OBJECTS)


def examine_in(pool: Executor, seeds: Sequence[int]) -> list[Future[Report]]:
    """Let seeds be examined in several processes, in slices; the reports come in the order of the seeds."""
    slices = [seeds[first : first + SLICE] for first in range(0, len(seeds), SLICE)]
    return [pool.submit(examine_all, each) for each in slices]


def merged(reports: Iterable[Future[Report]]) -> Report:
    """Return one report of several, once all are there."""
    total = Report()
    for report in reports:
        total.merge(report.result())
    return total


def command(seed: int) -> str:
    """Return the command that shows what happened under a seed."""
    return f"python -m tests.simulator --seed {seed}"


def _add(table: dict[str, int], more: Counter[str] | dict[str, int]) -> None:
    for name, count in more.items():
        table[name] = table.get(name, 0) + count
