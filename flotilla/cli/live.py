"""The live view of an execution, on stderr: a table that moves on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flotilla.cli.output import note, printable
from flotilla.cli.progress import NodeRow, Progress

STYLES: Final = {
    "PENDING": "dim",
    "RUNNING": "cyan",
    "WAITING": "yellow",
    "RETRY": "yellow",
    "SUCCESS": "green",
    "ERROR": "bold red",
    "SKIPPED": "dim",
    "CANCELED": "magenta",
}
MOST_ROWS: Final = 200
FRAMES_PER_SECOND: Final = 10


class View(Protocol):
    """Shows progress as it is made."""

    def show(self, changed: Sequence[NodeRow]) -> None:
        """Show what an event changed."""


@contextmanager
def view(progress: Progress, title: str) -> Iterator[View]:
    """The view that suits stderr."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    table = MovingTable(progress, title)
    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=FRAMES_PER_SECOND, get_renderable=table.render):
        yield table


class Lines:
    """One line per change, for logs and pipes."""

    def show(self, changed: Sequence[NodeRow]) -> None:
        """Write what is over, and what fails meanwhile."""
        for row in changed:
            if row.is_over or row.status == "RETRY":
                note(
                    f"{row.status:<8} {duration(row.took(_now())):>9}  {row.label}  {row.note}".rstrip()
                )


class MovingTable:
    """A table that is drawn anew several times a second, so that times run."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._title = title

    def show(self, changed: Sequence[NodeRow]) -> None:
        """Nothing: the next frame shows it."""

    def render(self) -> Group:
        """The table as it is now."""
        status = self._progress.status
        title = Text.assemble(printable(self._title), "  ", (status, STYLES.get(status, "")))
        return Group(title, self._table(_now()))

    def _table(self, now: datetime) -> Table:
        table = Table(box=None, pad_edge=False)
        table.add_column("NODE", no_wrap=True)
        table.add_column("STATUS", no_wrap=True)
        table.add_column("TIME", justify="right", no_wrap=True)
        table.add_column("", overflow="ellipsis", no_wrap=True)
        for row in self._progress.rows[-MOST_ROWS:]:
            status = Text(row.status, STYLES.get(row.status, ""))
            table.add_row(
                Text(printable(row.label)),
                status,
                duration(row.took(now)),
                Text(printable(row.note)),
            )
        return table


def duration(length: timedelta | None) -> str:
    """A length of time in three digits or so."""
    if length is None:
        return ""
    seconds = max(length.total_seconds(), 0)
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return str(timedelta(seconds=round(seconds)))


def _now() -> datetime:
    return datetime.now(UTC)
