"""What several rounds give together, and how a load is compared with the bare loop."""

import pytest

from bench.comparison import kept
from bench.figures import Figures, Goal, Metric, Spread, figures, spread, summed_up
from bench.usage import Usage


def run(value: float, metric: Metric = "per_s") -> Figures:
    """Return the figures of a run with this value."""
    return Figures(
        metric=metric,
        operation="step",
        operations=10,
        seconds=1,
        per_s=value if metric == "per_s" else 0,
        p50_ms=value if metric == "p50_ms" else None,
    )


def test_the_round_in_the_middle_stands_for_all() -> None:
    rounds = summed_up("many", [run(300), run(100), run(200)], Goal(250))

    assert rounds.middle.value == 200
    assert list(rounds.values) == [300, 100, 200]
    assert rounds.goal == 250
    assert rounds.is_more_better


def test_times_are_spread_over_their_middle_and_their_slowest_hundredth() -> None:
    assert spread(number / 1000 for number in range(1, 202)) == Spread(101, 199)
    assert spread([]) == Spread(0, 0)


def test_processor_time_is_told_per_operation() -> None:
    usage = Usage(cpu_s={"worker": 2.0}, memory_mib={"worker": 10.04})

    found = figures("per_s", "step", 1000, 4.0, usage=usage, each=[0.002], messages=9000)

    assert found.per_s == 250
    assert found.cpu_us == {"worker": 2000}
    assert found.memory_mib == {"worker": 10.0}
    assert found.nats_messages == 9
    assert (found.p50_ms, found.p99_ms) == (2, 2)


@pytest.mark.parametrize(
    ("metric", "engine", "bare", "share"),
    [
        pytest.param("per_s", 4000, 8000, 0.5, id="steps per second: half of them"),
        pytest.param("p50_ms", 20, 10, 0.5, id="milliseconds: twice as many are half the speed"),
    ],
)
def test_the_share_kept_of_the_bare_loop_is_one_of_speed(
    metric: Metric, engine: float, bare: float, share: float
) -> None:
    assert kept([run(engine, metric)], [run(bare, metric)]) == [share]
