"""Properties of the core over graphs, outcomes and orders of chance: loops, joins, waits, children, pauses.

After every input the engine under test checks that the stored history folds into the very state, that
statuses move only along the tables, that every counter is right, and that nothing is stuck.
"""

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import history
from contracts.execution import carry, fold, values
from contracts.execution.plan import Way
from contracts.messages import encode
from contracts.model import OnError
from contracts.statuses import ExecutionStatus, ItemError, NodeRunStatus
from tests.core.chance import Case, Order, case
from tests.support.engine import EXECUTION, Engine

SEEDS = st.integers(0, 2**24 - 1)
CALM = st.builds(lambda seed: case(seed, 1 + seed % 40, calm=True), SEEDS)
WILD = st.builds(lambda seed: case(seed, 1 + seed % 40, calm=False), SEEDS)

INSTANT = re.compile(rb"\d{4}-\d\d-\d\dT[\d:.]+Z")
ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def timeless(value: Any) -> bytes:
    """Return a value as JSON without the instants and ids in it."""
    return ID.sub(b"id", INSTANT.sub(b"instant", encode(value)))


def end_of(engine: Engine) -> dict[str, Any]:
    """Return everything about the end that must not depend on the order of inputs."""
    runs = {
        key: (
            run.status,
            timeless(run.ports),
            run.tries,
            run.attempt,
            run.skip_reason,
            run.policy,
        )
        for key, run in engine.state.runs.items()
    }
    return {
        "status": engine.status,
        "runs": runs,
        "output": timeless(engine.state.output),
        "continued_errors": engine.state.continued_errors,
    }


def stored(engine: Engine) -> list[bytes]:
    """Return history as the bytes that are stored."""
    return [
        encode((each.seq, each.at, each.kind, each.node_id, each.iteration, each.attempt))
        + history.encode_data(each.data)
        for each in engine.history
    ]


@settings(max_examples=120, deadline=None)
@given(case=CALM, order=SEEDS)
def test_any_order_repetition_and_pause_reaches_one_final_state(case: Case, order: int) -> None:
    """And whether or not workers go on by themselves from one node to the next."""
    first, second = (
        end_of(Order(case, order + n, in_segments=in_segments).run())
        for n, in_segments in enumerate((False, True))
    )

    assert first == second


@settings(max_examples=350, deadline=None)
@given(case=WILD, order=SEEDS)
def test_every_execution_ends_and_its_end_is_true(case: Case, order: int) -> None:
    engine = Order(case, order, ends_early=order % 3 == 0, in_segments=order % 2 == 0).run()
    state = engine.state

    stopped = [
        key
        for key, run in state.runs.items()
        if run.status is NodeRunStatus.ERROR and run.policy is OnError.STOP and not key[1]
    ]
    match engine.status:
        case ExecutionStatus.SUCCESS:
            assert stopped == []
            ends = {run.status for key, run in state.runs.items() if not key[1]}
            assert NodeRunStatus.CANCELED not in ends
        case ExecutionStatus.ERROR:
            assert state.failure is not None
            assert bool(stopped) is (state.failure.code != "execution_timeout")
        case _:
            assert engine.kinds[-1] == "execution_canceled"
            assert stopped == []
    assert len(engine.tasks) == len(set(engine.tasks)), "no attempt is dispatched twice"
    for (node_id, _), run in state.runs.items():
        retry = case.plan.nodes[node_id].retry_policy
        assert run.tries <= (retry.max_tries if retry else 1)
    failed = [run for run in state.runs.values() if run.status is NodeRunStatus.ERROR]
    lost_items = sum(
        len(loop.failures)
        for loop in state.loops.values()
        if loop.rules.on_item_error is not ItemError.STOP
    )
    assert state.continued_errors == sum(run.ports is not None for run in failed) + lost_items


@settings(max_examples=100, deadline=None)
@given(case=WILD, order=SEEDS)
def test_connections_decide_what_runs_and_what_is_skipped(case: Case, order: int) -> None:
    engine = Order(case, order).run()

    for (node_id, path), run in engine.state.runs.items():
        node = case.plan.nodes[node_id]
        live = any(
            wire.way is Way.ITEM
            or wire.from_port in (engine.state.runs[values.source_of(wire, path)].ports or {})
            for wire in node.incoming
        )
        if run.skip_reason == "DEAD":
            assert not live
        elif run.status in (NodeRunStatus.SUCCESS, NodeRunStatus.ERROR):
            assert live or node.is_root


@settings(max_examples=120, deadline=None)
@given(case=WILD, order=SEEDS)
def test_the_same_inputs_give_the_same_bytes_also_to_who_forgets_all_in_between(
    case: Case, order: int
) -> None:
    first = Order(case, order).run()
    second = Order(case, order, forgets=True).run()

    assert stored(first) == stored(second)
    assert fold.replay(case.plan, EXECUTION, second.history) == first.state


@settings(max_examples=100, deadline=None)
@given(case=WILD, order=SEEDS)
def test_a_retry_goes_on_with_what_it_takes_over_and_ends_too(case: Case, order: int) -> None:
    failed = Order(case, order, ends_early=True).run()
    carried = carry.carried_for_retry(case.plan, failed.state, case.plan)

    retried = Order(case, order + 1, carried=carried).run()

    stood = {key for key, run in retried.state.runs.items() if run.carried}
    assert stood <= {(each.node_id, each.iteration) for each in carried if each.ports is not None}
    assert stood.isdisjoint(key for key, _ in retried.tasks)


@settings(max_examples=100, deadline=None)
@given(case=WILD, order=SEEDS)
def test_any_node_alone_ends_and_nothing_else_runs_but_its_body(case: Case, order: int) -> None:
    alone = sorted(case.plan.nodes)[order % len(case.plan.nodes)]

    engine = Order(case, order, alone=alone).run()

    inside = {node.id for node in case.plan.nodes.values() if alone in node.loops}
    assert {node_id for node_id, _ in engine.state.runs} <= {alone, *inside}
