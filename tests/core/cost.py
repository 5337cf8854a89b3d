"""What one decision costs in the middle of executions of any size, and what a cold replay does: `python -m tests.core.cost` prints both.

Calls of functions are counted, for they are the same on every machine; the tables have processor time besides.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from contracts import history
from contracts.execution import fold
from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState
from contracts.history import Event
from contracts.messages import WaitOrder, encode
from contracts.statuses import WaitKind
from scheduler.core.advance import advance
from scheduler.core.decision import CallFinished, Decision, Input, Reported
from tests.core.graphs import LOOP, LOOP_WIRES, graph
from tests.support import calls
from tests.support.assembling import input_of, result_of, task_of
from tests.support.engine import EXECUTION, Engine, raw

SIZES: Final = (10, 100, 1_000, 10_000)
SAMPLES: Final = 25
REPLAYS: Final = 5


class Middle(NamedTuple):
    """An execution that is half done, and the names of node runs whose results come next."""

    engine: Engine
    next_ones: list[str]


def parallel_loop(size: int) -> Middle:
    """Return a loop over so many items, a tenth of them side by side."""
    return _half_of_a_loop(size, at_once=max(size // 10, 2))


def loop_all_at_once(size: int) -> Middle:
    """Return a loop over so many items, all of them side by side."""
    return _half_of_a_loop(size, at_once=size)


def wide_join(size: int) -> Middle:
    """Return so many branches that meet in one node."""
    branches = [f"w{number}" for number in range(size)]
    wires = [f"fork -> {each}" for each in branches] + [f"{each} -> join" for each in branches]
    engine = Engine(graph(" ".join(["fork", *branches, "join"]), *wires), checked=False).start()
    engine.succeed("fork", main={"x": 1})
    for each in branches[: size // 2]:
        engine.succeed(each, main={"x": 1})
    return Middle(engine, branches[size // 2 : -1])


def line(size: int) -> Middle:
    """Return so many nodes one after the other."""
    ids = [f"n{number}" for number in range(size)]
    wires = [f"n{number} -> n{number + 1}" for number in range(size - 1)]
    engine = Engine(graph(" ".join(ids), *wires), checked=False).start()
    for each in ids[: size // 2]:
        engine.succeed(each, main={"x": 1})
    return Middle(engine, ids[size // 2 : -1])


SHAPES: Final[tuple[Callable[[int], Middle], ...]] = (
    parallel_loop,
    loop_all_at_once,
    wide_join,
    line,
)


def _half_of_a_loop(size: int, at_once: int) -> Middle:
    engine = Engine(graph(LOOP, *LOOP_WIRES), checked=False).start()
    engine.iterate("each", [{"number": number} for number in range(size)], max_parallel=at_once)
    for number in range(size // 2):
        engine.succeed(f"work@{number}", main={"x": 1})
    return Middle(engine, [f"work@{number}" for number in range(size // 2, size - 1)])


def result_given(engine: Engine, name: str) -> Input:
    """Return the result of a node run."""
    return Reported(engine.result(name, ports={"main": raw({"x": 1})}))


def call_given(engine: Engine, name: str) -> Input:
    """Return a finished call of a node run."""
    result = engine.result(name)
    return CallFinished(result.node_id, result.iteration, result.attempt, "call", raw(1))


def wait_given(engine: Engine, name: str) -> Input:
    """Return the result of a node run that wants to wait."""
    order = WaitOrder(kind=WaitKind.TIMER, seconds=60)
    return Reported(engine.result(name, wait=order))


def calls_of(engine: Engine, given: Input) -> int:
    """Return how many functions one decision calls, with the bytes of the tasks that follow from it."""
    return calls.calls_of(lambda: decide(engine, given))


def decide(engine: Engine, given: Input) -> Decision:
    """Decide on an input and encode the tasks that follow, as the scheduler does."""
    decision = advance(
        engine.plan, engine.state, given, at=engine.at, input_of=input_of, result_of=result_of
    )
    for key in decision.dispatched:
        encode(task_of(engine.plan, engine.state, key))
    return decision


def microseconds(middle: Middle) -> float:
    """Return what a result costs in the middle of an execution, as the median of several."""
    taken = []
    for name in middle.next_ones[:SAMPLES]:
        given = result_given(middle.engine, name)
        start = time.process_time()
        decide(middle.engine, given)
        taken.append(time.process_time() - start)
    return statistics.median(taken) * 1e6


class Stored(NamedTuple):
    """A history as it is stored: each event without its data, and these as bytes."""

    plan: Plan
    rows: list[tuple[Event, bytes]]

    def replayed(self) -> ExecutionState:
        """Read it and fold it from its beginning, as a scheduler does that has not heard of the execution."""
        events = (
            msgspec.structs.replace(event, data=history.decode_data(event.kind, data))
            for event, data in self.rows
        )
        return fold.replay(self.plan, EXECUTION, events)


def stored(engine: Engine) -> Stored:
    """Return the history of an execution so far."""
    rows = [(event, history.encode_data(event.data)) for event in engine.history]
    return Stored(engine.plan, rows)


def replay_calls(engine: Engine) -> int:
    """Return how many functions a cold replay calls."""
    cold = stored(engine)
    assert cold.replayed() == engine.state
    return calls.calls_of(cold.replayed)


def replay_milliseconds(engine: Engine) -> float:
    """Return what a cold replay costs in processor time: the best of several."""
    cold, taken = stored(engine), []
    for _ in range(REPLAYS):
        start = time.process_time()
        cold.replayed()
        taken.append(time.process_time() - start)
    return min(taken) * 1e3


def main() -> None:
    """Print the tables."""
    sizes = " | ".join(f"{size:,} node runs" for size in SIZES)
    warm = [f"| one result in the middle of | {sizes} |", "|---|" + "---|" * len(SIZES)]
    cold = [f"| cold replay of | {sizes} |", warm[1]]
    for shape in SHAPES:
        warm_cells, cold_cells = [], []
        for size in SIZES:
            engine, next_ones = shape(size)
            events, calls = len(engine.history), replay_calls(engine)
            cold_cells.append(
                f"{replay_milliseconds(engine):.1f} ms, {events:,} events of {calls / events:.0f} calls"
            )
            calls = calls_of(engine, result_given(engine, next_ones[0]))
            taken = microseconds(Middle(engine, next_ones[1:]))
            warm_cells.append(f"{taken:.0f} us, {calls} calls")
        name = shape.__name__.replace("_", " ")
        warm.append(f"| {name} | " + " | ".join(warm_cells) + " |")
        cold.append(f"| {name} | " + " | ".join(cold_cells) + " |")
    sys.stdout.write("\n".join([*warm, "", *cold]) + "\n")


if __name__ == "__main__":
    main()
