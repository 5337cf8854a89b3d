"""Figures: what one run of a load gave, and what several rounds of it give together."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import msgspec

from bench.usage import Usage

Metric = Literal["per_s", "p50_ms", "seconds"]


class Spread(msgspec.Struct, frozen=True):
    """How times are distributed, in milliseconds."""

    p50: float
    p99: float


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of a task goes, by its history: until a worker begins, in the handler, until it is recorded."""

    queue_ms: Spread
    run_ms: Spread
    record_ms: Spread


class Figures(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one run of a load gave. `cpu_us` is per operation, and so is `nats_messages`."""

    metric: Metric
    operation: str
    operations: int
    seconds: float
    per_s: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us: dict[str, float] = {}
    cpu_percent: dict[str, float] = {}
    memory_mib: dict[str, float] = {}
    nats_messages: float | None = None
    times: Times | None = None
    #: What was counted and checked besides.
    facts: dict[str, Any] = {}

    @property
    def value(self) -> float:
        """The figure that counts."""
        found = getattr(self, self.metric)
        assert isinstance(found, float | int)
        return found


class Rounds(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A load over all rounds: the round in the middle, and every round's figure. `goals`: what is wanted of it."""

    title: str
    middle: Figures
    values: tuple[float, ...]
    goal: float | None = None
    goal_with_segments: float | None = None

    @property
    def is_more_better(self) -> bool:
        """Whether the figure is a speed, not a time."""
        return self.middle.metric == "per_s"


class Goal(msgspec.Struct, frozen=True):
    """What is wanted of a load, in its metric; the second where nodes in a row run as one segment."""

    value: float
    with_segments: float | None = None


GOALS: Final = {
    "W1": Goal(18, 8),
    "W2": Goal(6_000),
    "W3": Goal(40),
    "W4": Goal(60, 25),
    "W5": Goal(6),
    "W5x64": Goal(1_000),
    "W6": Goal(4),
    "W7": Goal(3_000),
}


def spread(seconds: Iterable[float]) -> Spread:
    """Return how times are distributed; of none, zeros."""
    ordered = sorted(seconds) or [0.0]
    last = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return Spread(_ms(statistics.median(ordered)), _ms(last))


def figures(
    metric: Metric,
    operation: str,
    operations: int,
    seconds: float,
    *,
    usage: Usage,
    each: Sequence[float] = (),
    messages: int | None = None,
    times: Times | None = None,
    facts: dict[str, Any] | None = None,
) -> Figures:
    """Return the figures of a run: `each` are the seconds of the parts that somebody waits for."""
    span = spread(each) if each else None
    return Figures(
        metric=metric,
        operation=operation,
        operations=operations,
        seconds=round(seconds, 3),
        per_s=round(operations / seconds, 1),
        p50_ms=None if span is None else span.p50,
        p99_ms=None if span is None else span.p99,
        cpu_us={name: round(s / operations * 1e6, 1) for name, s in usage.cpu_s.items()},
        memory_mib=rounded(usage.memory_mib),
        nats_messages=None if messages is None else round(messages / operations, 1),
        times=times,
        facts=facts or {},
    )


def summed_up(title: str, runs: Sequence[Figures], goal: Goal | None) -> Rounds:
    """Return what several rounds of a load give."""
    ordered = sorted(runs, key=lambda run: run.value)
    return Rounds(
        title=title,
        middle=ordered[len(ordered) // 2],
        values=tuple(run.value for run in runs),
        goal=None if goal is None else goal.value,
        goal_with_segments=None if goal is None else goal.with_segments,
    )


def rounded(values: dict[str, float]) -> dict[str, float]:
    """Return figures without digits that mean nothing."""
    return {name: round(value, 1) for name, value in values.items()}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
