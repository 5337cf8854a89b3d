"""A decision costs the same however large its execution is, a cold replay the same for each event: calls are counted, no clock is asked."""

from collections.abc import Callable

import pytest

from tests.core import cost
from tests.core.cost import Middle


def counted(shape: Callable[[int], Middle], size: int) -> dict[str, float]:
    """Return the calls of decisions in the middle of an execution of this size."""
    engine, (first, second, *_) = shape(size)
    assert len(engine.state.runs) >= size // 2
    counts = {
        "event of a cold replay": cost.replay_calls(engine) / len(engine.history),
        "finished call": cost.calls_of(engine, cost.call_given(engine, first)),
        "result": cost.calls_of(engine, cost.result_given(engine, first)),
    }
    return counts | {"wait": cost.calls_of(engine, cost.wait_given(engine, second))}


@pytest.mark.parametrize("shape", cost.SHAPES)
def test_a_decision_or_a_replayed_event_calls_as_many_functions_in_any_execution(
    shape: Callable[[int], Middle],
) -> None:
    counts = [counted(shape, size) for size in cost.SIZES]

    for name in counts[0]:
        # Where the first event alone makes all node runs, few events after it do not even that out.
        of_sizes = [each[name] for each in counts[1 if "replay" in name else 0 :]]
        assert max(of_sizes) <= 1.1 * min(of_sizes), (name, of_sizes)


def test_the_counting_sees_work_that_grows() -> None:
    counts = []
    for size in (10, 1_000):
        engine, next_ones = cost.wide_join(size)
        for name in next_ones:
            engine.succeed(name, main={"x": 1})
        counts.append(cost.calls_of(engine, cost.result_given(engine, f"w{size - 1}")))

    assert counts[1] > 10 * counts[0], "the join itself takes all that arrived"
