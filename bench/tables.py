"""A report for people: tables on a terminal."""

from collections.abc import Iterable, Mapping
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.figures import Figures, Rounds, Spread
from bench.report import Compared, Report

WIDTH: Final = 132
"""Wide enough for every column, wherever the tables are written."""

PROCESSES: Final = ("scheduler", "worker", "gateway", "nats", "postgres", "bench")
UNITS: Final = {"per_s": "/s", "p50_ms": " ms", "seconds": " s"}


def show(report: Report, console: Console) -> None:
    """Print everything that a report says."""
    console.print(_settings(report))
    for table in _tables(report):
        console.print(table)


def console() -> Console:
    """Return where tables go: stdout."""
    return Console(width=WIDTH, highlight=False)


def _tables(report: Report) -> Iterable[Table]:
    if report.loads:
        yield _loads(report)
        yield _cpu({name: each.middle for name, each in report.loads.items()}, report.compared)
        yield _memory(report)
    resting = {"at rest": report.rest, "waiting": report.waiting}
    if any(resting.values()):
        yield _resting({name: each for name, each in resting.items() if each is not None})
    yield _limits(report)


def _settings(report: Report) -> str:
    settings = report.settings
    sync = settings.nats_sync_interval_s
    environment = " ".join(f"{name}={value}" for name, value in settings.environment.items())
    return (
        f"{settings.at}; {settings.cores} cores, load {settings.load_average[0]:.1f}; "
        f"Python {settings.python}, PostgreSQL {settings.postgres} (fsync {settings.fsync}, "
        f"synchronous_commit {settings.synchronous_commit}), nats-server {settings.nats} "
        f"(files, sync_interval {'unknown' if sync is None else f'{sync:g} s'}); "
        f"schedulers {settings.schedulers}, workers {settings.workers} with {settings.concurrency} slots, "
        f"W2 with {settings.in_flight} in flight, rounds {settings.rounds}; {environment}"
    )


def _loads(report: Report) -> Table:
    table = _table(
        "Loads: the round in the middle", "load", "", "figure", "goal", "all rounds", "p50 ms",
        "p99 ms", "queue", "run", "record",
    )  # fmt: skip
    for name, rounds in report.loads.items():
        middle = rounds.middle
        table.add_row(
            name,
            rounds.title,
            _shown(middle.value) + UNITS[middle.metric],
            _goal(rounds),
            " ".join(map(_shown, rounds.values)),
            _optional(middle.p50_ms),
            _optional(middle.p99_ms),
            *_times(middle),
        )
    return table


def _goal(rounds: Rounds) -> str:
    if rounds.goal is None:
        return ""
    reached = (rounds.middle.value >= rounds.goal) is rounds.is_more_better
    text = f"{_shown(rounds.goal)} {'reached' if reached else 'missed'}"
    if rounds.goal_with_segments is None:
        return text
    return f"{text} (segments {_shown(rounds.goal_with_segments)})"


def _times(figures: Figures) -> Iterable[str]:
    times = figures.times
    if times is None:
        return ("", "", "")
    return (_spread(times.queue_ms), _spread(times.run_ms), _spread(times.record_ms))


def _cpu(loads: Mapping[str, Figures], compared: Mapping[str, Compared]) -> Table:
    title = "Processor time in us per operation"
    table = _table(
        title, "load", "operation", *PROCESSES, "NATS messages", "of the bare loop's speed"
    )
    for name, figures in loads.items():
        beside = compared.get(name)
        if beside is not None:
            bare = beside.bare.middle
            speed = f"{_shown(bare.value)}{UNITS[bare.metric]}"
            table.add_row(f"bare {name}", bare.operation, *_by_process(bare.cpu_us), "", speed)
        table.add_row(
            name,
            figures.operation,
            *_by_process(figures.cpu_us),
            _optional(figures.nats_messages),
            "" if beside is None else _kept(beside),
        )
    return table


def _kept(compared: Compared) -> str:
    rounds = " ".join(f"{each:.0%}" for each in compared.kept)
    return f"{compared.kept_median:.0%} ({rounds})"


def _memory(report: Report) -> Table:
    table = _table("Most memory in MiB", "load", *PROCESSES)
    for name, rounds in report.loads.items():
        table.add_row(name, *_by_process(rounds.middle.memory_mib))
    return table


def _resting(resting: Mapping[str, Figures]) -> Table:
    table = _table("Doing nothing", "", "", *PROCESSES)
    for name, figures in resting.items():
        facts = ", ".join(f"{key} {value}" for key, value in figures.facts.items())
        table.add_row(name, "% of a core", *_by_process(figures.cpu_percent))
        table.add_row(facts, "MiB", *_by_process(figures.memory_mib))
    return table


def _limits(report: Report) -> Table:
    limits = report.limits
    table = _table("Limits of the servers on this machine", "limit", "figure")
    table.add_row("commit of one row, ms p50/p99", _spread(limits.commit_ms))
    table.add_row(
        f"commit of {limits.batch_rows} rows, ms p50/p99", _spread(limits.batch_commit_ms)
    )
    table.add_row("rows in such commits", f"{_shown(limits.rows_per_s)}/s")
    table.add_row(
        "JetStream publishes, pipelined, acks read", f"{_shown(limits.publishes_per_s)}/s"
    )
    table.add_row("JetStream pulls and acks", f"{_shown(limits.pulls_per_s)}/s")
    return table


def _table(title: str, *heads: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for head in heads:
        table.add_column(
            head, justify="left" if head in ("load", "", "operation", "limit") else "right"
        )
    return table


def _by_process(values: Mapping[str, float]) -> Iterable[str]:
    return [_shown(values[name]) if name in values else "" for name in PROCESSES]


def _spread(spread: Spread) -> str:
    return f"{_shown(spread.p50)}/{_shown(spread.p99)}"


def _optional(value: float | None) -> str:
    return "" if value is None else _shown(value)


def _shown(value: float) -> str:
    """Return a figure with about three digits."""
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
