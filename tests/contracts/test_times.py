"""Instants as text."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from contracts.times import rfc3339


@pytest.mark.parametrize(
    ("at", "text"),
    [
        pytest.param(
            datetime(2026, 3, 28, 22, 30, tzinfo=UTC), "2026-03-28T22:30:00.000000Z", id="UTC"
        ),
        pytest.param(
            datetime(2026, 3, 28, 22, 30, 1, 500_000, tzinfo=UTC),
            "2026-03-28T22:30:01.500000Z",
            id="half a second",
        ),
        pytest.param(
            datetime(2026, 3, 28, 22, 30, 1, 5, tzinfo=timezone(timedelta(hours=2))),
            "2026-03-28T20:30:01.000005Z",
            id="another zone",
        ),
    ],
)
def test_rfc3339(at: datetime, text: str) -> None:
    assert rfc3339(at) == text
