"""Delays before a restart."""

import pytest

from flotilla.backoff import backoff_seconds, crashes_in_a_row


def test_delays_double_up_to_ten_seconds() -> None:
    assert [backoff_seconds(crashes) for crashes in range(1, 8)] == [0.5, 1, 2, 4, 8, 10, 10]


def test_any_number_of_crashes_has_a_delay() -> None:
    assert backoff_seconds(1_000_000) == 10


@pytest.mark.parametrize(
    ("lived_seconds", "expected"),
    [
        pytest.param(0, 4, id="ended at once"),
        pytest.param(29.9, 4, id="ended too early"),
        pytest.param(30, 1, id="was healthy"),
    ],
)
def test_health_makes_earlier_crashes_forgotten(lived_seconds: float, expected: int) -> None:
    assert expected == crashes_in_a_row(3, lived_seconds=lived_seconds)
