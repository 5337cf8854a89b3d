"""The live view: what its table and its times look like."""

import io
from datetime import timedelta

import pytest
from rich.console import Console

from flotilla.cli.live import MovingTable, duration
from flotilla.cli.progress import Progress
from flotilla.client import StreamedEvent

AT = "2026-03-01T10:00:00Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(0, "0.0 ms", id="nothing"),
        pytest.param(-1, "0.0 ms", id="clocks that differ"),
        pytest.param(0.00184, "1.8 ms", id="little"),
        pytest.param(0.25, "250 ms", id="part of a second"),
        pytest.param(1.25, "1.2 s", id="seconds"),
        pytest.param(3725, "1:02:05", id="more than an hour"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text


def test_the_table_has_a_row_per_node_run_from_the_start() -> None:
    progress = Progress()
    progress.seed(
        [{"node_id": "fetch", "iteration": []}, {"node_id": "each", "iteration": [4, 17]}]
    )
    progress.take(StreamedEvent("2", "execution_started", {"at": AT, "data": {}}))
    progress.take(StreamedEvent("", "node_dispatched", {"at": AT, "node_id": "fetch", "data": {}}))

    assert drawn(progress) == [
        "execution 1  RUNNING",
        "NODE        STATUS   TIME",
        "fetch       RUNNING",
        "each[4-17]  PENDING",
    ]


def test_what_came_late_does_not_undo_what_is_over() -> None:
    progress = Progress()
    progress.take(
        StreamedEvent("3", "node_succeeded", {"at": AT, "node_id": "a", "data": {"ports": {}}})
    )

    progress.take(StreamedEvent("", "node_dispatched", {"at": AT, "node_id": "a", "data": {}}))

    assert [row.status for row in progress.rows] == ["SUCCESS"]


def test_progress_and_markup_of_others_show_as_text() -> None:
    progress = Progress()
    data = {"message": "[bold]half\x1b[2J"}
    progress.take(StreamedEvent("", "node_progress", {"at": AT, "node_id": "a", "data": data}))

    assert "[bold]half�[2J" in drawn(progress)[-1]


def drawn(progress: Progress) -> list[str]:
    """The view as lines of plain text."""
    console = Console(width=80, color_system=None, record=True, file=io.StringIO())
    console.print(MovingTable(progress, "execution 1").render())
    return [line.rstrip() for line in console.export_text().splitlines()]
