"""Properties of the core over random graphs, outcomes and orders.

The engine under test checks after every input that history has no gap, that replaying it gives the
very state, that statuses move only along the tables, and that nothing is stuck without a reason.
"""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.execution.plan import Plan
from contracts.ids import RunKey
from contracts.model import OnError, RetryPolicy
from contracts.statuses import ExecutionStatus
from scheduler.core.decision import Admitted, Reported
from tests.support.engine import Engine, compiled, document, node, raw, wire

PORTS = ("main", "a", "b", "error")
POLICIES = (OnError.CONTINUE_ERROR, OnError.CONTINUE_REGULAR)
RETRIES = (None, RetryPolicy(max_tries=2, wait_between_tries=1))


@st.composite
def plans(draw: st.DrawFn, *, stop: bool) -> Plan:
    """Draw an acyclic graph: connections go from earlier to later nodes, over any port."""
    size = draw(st.integers(1, 9))
    policies = (*POLICIES, OnError.STOP) if stop else POLICIES
    nodes = [
        node(
            f"n{index}",
            on_error=draw(st.sampled_from(policies)),
            retry_policy=draw(st.sampled_from(RETRIES)),
            disabled=draw(st.integers(0, 9)) == 0,
        )
        for index in range(size)
    ]
    pairs = [(left, right) for right in range(size) for left in range(right)]
    wires = {
        (left, port, right)
        for left, right in draw(
            st.lists(st.sampled_from(pairs), max_size=20) if pairs else st.just([])
        )
        for port in (draw(st.sampled_from(PORTS)),)
    }
    connections = [wire(f"n{left}.{port} -> n{right}") for left, port, right in sorted(wires)]
    return compiled(document(nodes, connections))


def outcome(seed: int, key: RunKey, attempt: int) -> dict[str, Any]:
    """Return what an attempt does: it follows from the node and the attempt alone."""
    chance = random.Random(f"{seed}:{key}:{attempt}")
    if chance.random() < 0.3:
        return {"retryable": chance.random() < 0.7}
    ports = [port for port in ("main", "a", "b") if chance.random() < 0.6]
    return {"ports": {port: f"{key[0]}.{port}" for port in ports}}


def report(engine: Engine, seed: int, key: RunKey, attempt: int) -> None:
    """Report an attempt's outcome, whether it still matters or not."""
    result = outcome(seed, key, attempt)
    if "ports" in result:
        ports = {port: raw(value) for port, value in result["ports"].items()}
        engine.feed(Reported(engine.result(key[0], attempt, ports=ports)))
    else:
        engine.fail(key[0], attempt, retryable=result["retryable"])


def run(plan: Plan, seed: int, order: random.Random, *, cancel_after: int | None = None) -> Engine:
    """Run to the end: results, repeats and timers in an order of chance."""
    engine = Engine(plan, input={"seed": seed}).start()
    steps = 0
    while not engine.state.is_terminal:
        steps += 1
        assert steps < 2_000, "every execution ends"
        if steps == cancel_after:
            engine.cancel()
            break
        if engine.timers and (not engine.under_way or order.random() < 0.3):
            engine.fire(order.choice(sorted(engine.timers)))
        elif order.random() < 0.25:
            report(engine, seed, *order.choice(engine.tasks))  # a repeat, or early: any task so far
        else:
            key = order.choice(sorted(engine.under_way))
            report(engine, seed, key, engine.state.runs[key].attempt)
        if order.random() < 0.1:
            engine.feed(Admitted())
    return engine


def outcome_of(engine: Engine) -> tuple[Any, ...]:
    """Return everything about the end that must not depend on the order of messages."""
    runs = {
        key: (run.status, run.ports, run.tries, run.attempt, run.skip_reason)
        for key, run in engine.state.runs.items()
    }
    without_instants = {
        key: (status, sorted(ports or {}), *rest) for key, (status, ports, *rest) in runs.items()
    }
    return engine.state.status, without_instants, engine.state.continued_errors


@settings(max_examples=250, deadline=None)
@given(plan=plans(stop=False), seed=st.integers(0, 2**32), orders=st.integers(0, 2**32))
def test_any_order_and_repetition_reaches_one_final_state(
    plan: Plan, seed: int, orders: int
) -> None:
    ends = [outcome_of(run(plan, seed, random.Random(orders + n))) for n in range(3)]

    assert ends[0] == ends[1] == ends[2]
    assert ends[0][0] is ExecutionStatus.SUCCESS


@settings(max_examples=150, deadline=None)
@given(plan=plans(stop=True), seed=st.integers(0, 2**32), order=st.integers(0, 2**32))
def test_every_execution_ends_and_its_end_is_true(plan: Plan, seed: int, order: int) -> None:
    engine = run(plan, seed, random.Random(order))

    failed = [run for run in engine.state.runs.values() if run.policy is OnError.STOP]
    stopped = [run for run in failed if run.retry_at is None and run.status.name == "ERROR"]
    assert (engine.state.status is ExecutionStatus.ERROR) == bool(stopped)
    for (node_id, _), node_run in engine.state.runs.items():
        retry = plan.nodes[node_id].retry_policy
        assert node_run.tries <= (retry.max_tries if retry else 1)


@settings(max_examples=100, deadline=None)
@given(
    plan=plans(stop=True),
    seed=st.integers(0, 2**32),
    order=st.integers(0, 2**32),
    cancel_after=st.integers(1, 12),
)
def test_cancelling_always_ends_and_nothing_is_dispatched_after(
    plan: Plan, seed: int, order: int, cancel_after: int
) -> None:
    engine = run(plan, seed, random.Random(order), cancel_after=cancel_after)
    tasks = list(engine.tasks)

    for key, attempt in tasks:
        report(engine, seed, key, attempt)

    assert engine.state.is_terminal
    assert engine.tasks == tasks


@settings(max_examples=100, deadline=None)
@given(plan=plans(stop=True), seed=st.integers(0, 2**32), order=st.integers(0, 2**32))
def test_the_same_inputs_give_the_same_history(plan: Plan, seed: int, order: int) -> None:
    first, second = (run(plan, seed, random.Random(order)) for _ in range(2))

    assert first.history == second.history
