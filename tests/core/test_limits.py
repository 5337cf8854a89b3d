"""Limits that settings change: what is past one is refused, and the setting named."""

import msgspec
import pytest

from contracts.history import Usage
from contracts.limits import CoreLimits
from contracts.messages import ChildOrder, WaitOrder
from contracts.payloads import Reference, raw_of
from contracts.statuses import WaitKind
from scheduler.core.advance import advance
from scheduler.core.decision import CallFinished, Decision, Input, Reported, SignalSent
from tests.core.graphs import CONTINUE, LOOP, LOOP_WIRES, ONE_TRY, RETRY, run
from tests.support import assembling
from tests.support.engine import CHILD, SOMEBODY, Engine, raw


def decided(engine: Engine, given: Input, limits: CoreLimits) -> Decision:
    """Return what follows from an input under limits."""
    return advance(
        engine.plan,
        engine.state,
        given,
        at=engine.at,
        input_of=assembling.input_of,
        limits=limits,
    )


def test_signals_that_nothing_waits_for() -> None:
    engine, limits = run("a"), CoreLimits(signals=2)
    refusals = [
        decided(
            engine, SignalSent(signal_id=each, name="go", data=raw(1), by=SOMEBODY), limits
        ).refused
        for each in "12"
    ]
    third = SignalSent(signal_id="3", name="go", data=raw(1), by=SOMEBODY)
    refused = decided(engine, third, limits)

    assert refusals == [None, None]
    assert refused.refused == "limit_exceeded"
    assert "2 signals" in str(refused.detail)
    assert "the limit is 2 (LIMIT_SIGNALS)" in str(refused.detail)


def test_checkpoints_of_a_node_run() -> None:
    engine, limits = run("a"), CoreLimits(checkpoints=1)
    first, second = [CallFinished("a", (), 1, each, raw(1), Usage()) for each in "12"]

    assert decided(engine, first, limits).refused is None
    refused = decided(engine, second, limits)

    assert refused.refused == "limit_exceeded"
    assert "1 checkpoints; the limit is 1 (LIMIT_CHECKPOINTS)" in str(refused.detail)


@pytest.mark.parametrize(("most", "starts"), [(3, True), (2, False)])
def test_children_inside_each_other(most: int, starts: bool) -> None:
    engine = run("sub:CUSTOM.YIELDS", fields={"sub": ONE_TRY}, depth=2)
    order = WaitOrder(kind=WaitKind.CHILD, child=ChildOrder(workflow="child", input=raw(1)))
    asked = Reported(engine.result("sub", wait=order), CHILD)

    decision = decided(engine, asked, CoreLimits(child_depth=most))

    assert bool(decision.children) is starts
    if not starts:
        assert engine.state.failure is not None
        assert engine.state.failure.code == "child_depth"
        assert "2 deep" in engine.state.failure.message
        assert "the limit is 2 (LIMIT_CHILD_DEPTH)" in engine.state.failure.message


@pytest.mark.parametrize(
    ("given", "size"),
    [
        pytest.param(raw("x" * 600), 600, id="in place"),
        pytest.param(raw_of(Reference(f"sha256:{'0' * 64}", 5_000)), 5_000, id="a reference"),
    ],
)
def test_what_a_loop_yields_in_the_end(given: msgspec.Raw, size: int) -> None:
    engine = run(LOOP, *LOOP_WIRES, fields={"each": {"retry_policy": RETRY}})
    engine.iterate("each", [1])
    limits = CoreLimits(value_bytes=500)

    decision = decided(engine, Reported(engine.result("work@0", ports={"main": given})), limits)

    failure = engine.state.failure
    assert failure is not None
    assert (failure.kind, failure.code, failure.retryable) == (
        "PAYLOAD_TOO_LARGE", "output_too_large", False
    )  # fmt: skip
    assert "port complete of node each" in failure.message
    assert "the limit is 500 (LIMIT_VALUE_BYTES)" in failure.message
    assert failure.details["size"] >= size
    assert decision.timers == ()
    assert engine.statuses["each"] == "ERROR"


def test_a_loop_that_yields_too_much_may_be_gone_on_without() -> None:
    engine = run(LOOP, *LOOP_WIRES, fields={"each": CONTINUE})
    engine.iterate("each", [1])

    decided(
        engine,
        Reported(engine.result("work@0", ports={"main": raw("x" * 600)})),
        CoreLimits(value_bytes=500),
    )

    assert engine.state.continued_errors == 1


def test_what_a_loop_does_not_collect_may_be_of_any_size() -> None:
    engine = run(LOOP, *LOOP_WIRES)
    engine.iterate("each", [1, 2], collect=False)
    for name in ("work@0", "work@1"):
        result = Reported(engine.result(name, ports={"main": raw("x" * 300)}))
        decided(engine, result, CoreLimits(value_bytes=500))

    assert engine.statuses["each"] == "SUCCESS"
