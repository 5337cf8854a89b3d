"""Waits for timers, signals and people: what ends them, and how the node run goes on."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from contracts.execution.plan import LONGEST_WAIT
from contracts.failures import FailureKind
from contracts.history import Usage
from contracts.messages import WaitOrder
from contracts.statuses import ExecutionStatus, WaitKind
from scheduler.core.decision import EndWaitAsked, TimerDue
from tests.core.graphs import CONTINUE, ONE_TRY, RETRY, graph, run
from tests.support.assembling import task_of
from tests.support.engine import SOMEBODY, Engine, raw, timer_of

YIELDS = "w:CUSTOM.YIELDS after"
GOES_ON = "w:CUSTOM.GOES_ON after"


def yields(*wires: str, **fields: Any) -> Engine:
    """Return an execution whose first node yields what a wait brings."""
    return run(YIELDS, "w -> after", *wires, fields={"w": ONE_TRY | fields})


def goes_on(*wires: str, **fields: Any) -> Engine:
    """Return an execution whose first node is dispatched again with what a wait brings."""
    return run(GOES_ON, "w -> after", *wires, fields={"w": ONE_TRY | fields})


class TestTimer:
    def test_the_node_run_waits_and_no_worker_is_held(self) -> None:
        engine = yields()

        decision = engine.wait("w", WaitKind.TIMER, seconds=60)

        assert engine.statuses["w"] == "WAITING"
        assert engine.status is ExecutionStatus.WAITING
        assert decision.timers[0].due_at == engine.at + timedelta(seconds=60)

    def test_it_ends_the_wait_once(self) -> None:
        engine = yields()
        engine.wait("w", WaitKind.TIMER, seconds=60)
        due = TimerDue(timer_of("w", "WAIT"), "WAIT", "w")

        engine.fire(due.key)

        assert engine.statuses == {"w": "SUCCESS", "after": "RUNNING"}
        assert engine.kinds[-2:] == ["timer_fired", "node_succeeded"]
        assert engine.feed(due).refused == "stale_timer"
        assert engine.timers == {}

    def test_an_instant_may_have_passed(self) -> None:
        engine = yields()

        decision = engine.wait("w", WaitKind.TIMER, seconds=-5)

        assert decision.timers[0].due_at == engine.at

    def test_dispatched_again_the_handler_gets_its_state(self) -> None:
        engine = goes_on()
        since = engine.at + timedelta(milliseconds=1)
        engine.wait("w", WaitKind.TIMER, seconds=60, state=raw({"step": 1}))

        decision = engine.fire(timer_of("w", "WAIT"))

        assert decision.dispatched == (("w", ()),)
        resumed = task_of(engine.plan, engine.state, ("w", ())).resumed
        assert resumed is not None
        assert (resumed.by, resumed.state) == ("WAIT", raw({"step": 1}))
        assert (resumed.waited_since, resumed.at) == (since, engine.at)
        assert engine.state.runs["w", ()].attempt == 2
        engine.succeed("w", main="done")
        assert engine.statuses["after"] == "RUNNING"

    def test_a_wait_after_a_wait_has_a_timer_of_its_own(self) -> None:
        engine = goes_on()
        engine.wait("w", WaitKind.TIMER, seconds=60)
        engine.fire(timer_of("w", "WAIT", 1))

        engine.wait("w", WaitKind.TIMER, seconds=60)

        assert list(engine.timers) == [timer_of("w", "WAIT", 2)]
        assert engine.feed(TimerDue(timer_of("w", "WAIT", 1), "WAIT", "w")).refused == "stale_timer"

    def test_a_timer_of_no_known_kind_is_only_cleared(self) -> None:
        engine = yields()
        engine.wait("w", WaitKind.TIMER, seconds=60)

        decision = engine.feed(TimerDue("what:w:_:1", "WHAT", "w"))

        assert (decision.refused, decision.cleared) == ("stale_timer", ("what:w:_:1",))

    def test_a_failure_after_a_wait_is_retried_with_what_the_wait_brought(self) -> None:
        engine = goes_on(retry_policy=RETRY)
        engine.wait("w", WaitKind.SIGNAL, signal="go")
        engine.signal("go", 7)
        engine.fail("w", retryable=True)

        engine.fire(timer_of("w", "RETRY", 2))

        resumed = task_of(engine.plan, engine.state, ("w", ())).resumed
        assert resumed is not None
        assert resumed.data == raw(7)


class TestSignal:
    def test_it_ends_the_wait_of_its_name(self) -> None:
        engine = yields()
        engine.wait("w", WaitKind.SIGNAL, signal="paid", seconds=60)

        decision = engine.signal("paid", {"amount": 5})

        assert engine.value("w") == {"amount": 5}
        assert decision.cleared == (timer_of("w", "DUE"),)
        assert engine.statuses["after"] == "RUNNING"

    def test_it_comes_before_anything_waits_and_is_kept(self) -> None:
        engine = yields()
        engine.signal("paid", "early")
        assert engine.statuses["w"] == "RUNNING"

        decision = engine.wait("w", WaitKind.SIGNAL, signal="paid", seconds=60)

        assert engine.value("w") == "early"
        assert decision.timers == ()

    def test_it_comes_before_the_start(self) -> None:
        engine = Engine(graph(YIELDS, "w -> after"))
        engine.signal("paid", "early")
        assert engine.status is ExecutionStatus.NEW
        engine.start()

        engine.wait("w", WaitKind.SIGNAL, signal="paid")

        assert engine.value("w") == "early"

    def test_kept_signals_are_taken_in_their_order_one_by_each_wait(self) -> None:
        engine = run("a:CUSTOM.YIELDS b:CUSTOM.YIELDS")
        engine.signal("go", 1)
        engine.signal("other", 2)
        engine.signal("go", 3)

        engine.wait("b", WaitKind.SIGNAL, signal="go")
        engine.wait("a", WaitKind.SIGNAL, signal="go")

        assert engine.output == {"a": 3, "b": 1}

    def test_a_signal_of_another_name_ends_nothing(self) -> None:
        engine = yields()
        engine.wait("w", WaitKind.SIGNAL, signal="paid")

        engine.signal("shipped")

        assert engine.statuses["w"] == "WAITING"

    def test_the_first_wait_of_its_name_takes_it(self) -> None:
        engine = run("a:CUSTOM.YIELDS b:CUSTOM.YIELDS")
        engine.wait("b", WaitKind.SIGNAL, signal="go")
        engine.wait("a", WaitKind.SIGNAL, signal="go")

        engine.signal("go", "first")

        assert engine.statuses == {"a": "WAITING", "b": "SUCCESS"}

    def test_the_same_signal_counts_once(self) -> None:
        engine = run("a:CUSTOM.YIELDS b:CUSTOM.YIELDS")
        engine.wait("a", WaitKind.SIGNAL, signal="go")
        engine.signal("go", signal_id="one")

        again = engine.signal("go", signal_id="one")

        assert again.refused == "repeated"
        engine.wait("b", WaitKind.SIGNAL, signal="go")
        assert engine.statuses["b"] == "WAITING"

    def test_after_the_wait_it_is_kept_for_another(self) -> None:
        engine = yields()
        engine.wait("w", WaitKind.SIGNAL, signal="go", seconds=60)
        engine.signal("go", 1)
        engine.signal("go", 2)

        assert [signal.data for signal, _ in engine.state.signals] == [raw(2)]

    def test_a_thousand_are_kept_and_no_more(self) -> None:
        engine = run("a:CUSTOM.YIELDS", checked=False)
        for number in range(1_000):
            engine.signal("go", number)

        assert engine.signal("go").refused == "limit_exceeded"

        engine.wait("a", WaitKind.SIGNAL, signal="other")
        assert engine.signal("other").refused is None

    def test_dispatched_again_the_handler_gets_the_signal(self) -> None:
        engine = goes_on()
        engine.wait("w", WaitKind.SIGNAL, signal="go", state=raw("kept"))

        engine.signal("go", {"x": 1})

        resumed = task_of(engine.plan, engine.state, ("w", ())).resumed
        assert resumed is not None
        assert (resumed.by, resumed.signal, resumed.data) == ("SIGNAL", "go", raw({"x": 1}))
        assert resumed.answered_by == SOMEBODY


class TestInVain:
    def test_the_port_timeout_yields_where_it_is_wired(self) -> None:
        engine = run(YIELDS + " late", "w -> after", "w.timeout -> late", fields={"w": ONE_TRY})
        engine.wait("w", WaitKind.SIGNAL, signal="go", seconds=60)

        engine.fire(timer_of("w", "DUE"))

        assert engine.statuses == {"w": "SUCCESS", "after": "SKIPPED", "late": "RUNNING"}

    def test_unwired_it_is_a_failure(self) -> None:
        engine = yields()
        engine.wait("w", WaitKind.SIGNAL, signal="go", seconds=60)

        engine.fire(timer_of("w", "DUE"))

        assert engine.state.failure is not None
        assert engine.state.failure.kind is FailureKind.TIMEOUT
        assert engine.state.failure.code == "wait_timeout"

    def test_its_failure_may_go_on(self) -> None:
        engine = run(
            YIELDS + " rescue", "w.error -> rescue", fields={"w": CONTINUE}, input={"x": 1}
        )
        engine.wait("w", WaitKind.SIGNAL, signal="go", seconds=60)

        engine.fire(timer_of("w", "DUE"))

        assert engine.input("rescue")["error"]["code"] == "wait_timeout"
        assert engine.input("rescue")["x"] == 1

    def test_its_failure_may_be_tried_again_if_the_node_says_so(self) -> None:
        policy = msgspec.structs.replace(RETRY, retry_on=("wait_timeout",))
        engine = yields(retry_policy=policy)
        engine.wait("w", WaitKind.SIGNAL, signal="go", seconds=60)
        engine.fire(timer_of("w", "DUE"))
        assert engine.statuses["w"] == "PENDING"

        engine.fire(timer_of("w", "RETRY"))

        engine.wait("w", WaitKind.SIGNAL, signal="go", seconds=60)
        engine.signal("go", "second try")
        assert engine.value("w") == "second try"

    def test_dispatched_again_the_handler_is_told(self) -> None:
        engine = goes_on("w.timeout -> after")
        engine.wait("w", WaitKind.SIGNAL, signal="go", seconds=60)

        engine.fire(timer_of("w", "DUE"))

        resumed = task_of(engine.plan, engine.state, ("w", ())).resumed
        assert resumed is not None
        assert resumed.by == "DUE"


class TestLooksInBetween:
    def test_the_handler_looks_at_it_and_waits_on(self) -> None:
        engine = goes_on()
        engine.wait("w", WaitKind.SIGNAL, seconds=60, check_seconds=10)
        assert set(engine.timers) == {timer_of("w", "DUE"), timer_of("w", "CHECK")}

        decision = engine.fire(timer_of("w", "CHECK"))

        assert decision.dispatched == (("w", ()),)
        assert engine.timers == {}
        engine.wait("w", WaitKind.SIGNAL, seconds=50, check_seconds=10)
        assert set(engine.timers) == {timer_of("w", "DUE", 2), timer_of("w", "CHECK", 2)}

    def test_a_signal_during_the_look_is_kept(self) -> None:
        engine = goes_on()
        engine.wait("w", WaitKind.SIGNAL, signal="go", check_seconds=10)
        engine.fire(timer_of("w", "CHECK"))
        engine.signal("go", "meanwhile")

        engine.wait("w", WaitKind.SIGNAL, signal="go", check_seconds=10)

        resumed = task_of(engine.plan, engine.state, ("w", ())).resumed
        assert resumed is not None
        assert (resumed.by, resumed.data) == ("SIGNAL", raw("meanwhile"))
        assert engine.timers == {}


class TestEndedByPeople:
    def test_the_only_wait_needs_no_name(self) -> None:
        engine = yields()
        engine.wait("w", WaitKind.TIMER, seconds=60)

        decision = engine.end_wait(data="now")

        assert engine.value("w") == "now"
        assert decision.cleared == (timer_of("w", "WAIT"),)

    def test_among_several_it_must_be_named(self) -> None:
        engine = run("a:CUSTOM.YIELDS b:CUSTOM.YIELDS")
        engine.wait("a", WaitKind.TIMER, seconds=60)
        engine.wait("b", WaitKind.SIGNAL, signal="go")

        refused = engine.end_wait()

        assert refused.refused == "ambiguous_target"
        assert "a _" in str(refused.detail)
        engine.end_wait("b", data="b")
        engine.end_wait(signal="none")
        assert engine.statuses == {"a": "WAITING", "b": "SUCCESS"}

    def test_by_the_name_of_its_signal(self) -> None:
        engine = run("a:CUSTOM.GOES_ON b:CUSTOM.GOES_ON")
        engine.wait("a", WaitKind.SIGNAL, signal="one")
        engine.wait("b", WaitKind.SIGNAL, signal="two")

        engine.end_wait(signal="two", data=2)

        resumed = task_of(engine.plan, engine.state, ("b", ())).resumed
        assert resumed is not None
        assert (resumed.by, resumed.signal) == ("SIGNAL", "two")

    def test_in_an_iteration(self) -> None:
        engine = run("each:FLOW.LOOP w:CUSTOM.YIELDS", "each.iteration -> w")
        engine.iterate("each", [1, 2], max_parallel=2)
        for name in ("w@0", "w@1"):
            engine.wait(name, WaitKind.TIMER, seconds=60)

        engine.end_wait("w@1", data="one")

        assert engine.statuses["w@0"] == "WAITING"
        assert engine.value("w@1") == "one"

    def test_without_a_name_of_a_signal_it_is_a_resume(self) -> None:
        engine = goes_on()
        engine.wait("w", WaitKind.SIGNAL, signal="go")

        engine.end_wait("w", data=1)

        resumed = task_of(engine.plan, engine.state, ("w", ())).resumed
        assert resumed is not None
        assert resumed.by == "RESUME"

    @pytest.mark.parametrize("about", [{}, {"name": "w"}, {"signal": "go"}, {"name": "after"}])
    def test_what_does_not_wait_is_refused(self, about: dict[str, Any]) -> None:
        engine = yields()

        assert engine.end_wait(**about).refused == "not_waiting"

    def test_twice_it_is_taken_once(self) -> None:
        engine = goes_on()
        engine.wait("w", WaitKind.TIMER, seconds=60)
        engine.end_wait(signal_id="one")
        engine.wait("w", WaitKind.TIMER, seconds=60)

        assert engine.end_wait(signal_id="one").refused == "repeated"

    def test_on_a_port(self) -> None:
        engine = run(YIELDS, "w.a -> after")
        engine.wait("w", WaitKind.TIMER, seconds=60)

        engine.end_wait("w", data="x", port="a")

        assert engine.input("after") == "x"

    def test_on_a_port_that_the_node_does_not_have_it_fails(self) -> None:
        engine = yields()
        engine.wait("w", WaitKind.TIMER, seconds=60)

        engine.end_wait("w", port="nowhere")

        assert engine.state.failure is not None
        assert engine.state.failure.code == "undeclared_port"


class TestQuestions:
    def test_it_is_opened_with_the_commit_and_answered_once(self) -> None:
        engine = goes_on()
        asked = engine.ask("w", seconds=60)
        assert engine.open[asked].due_at == engine.at + timedelta(seconds=60)

        decision = engine.end_wait(interaction_id=asked, data={"yes": True}, port="approved")

        answer = decision.closed[0]
        assert (answer.id, answer.status, answer.port) == (asked, "ANSWERED", "approved")
        assert answer.by == SOMEBODY
        resumed = task_of(engine.plan, engine.state, ("w", ())).resumed
        assert resumed is not None
        assert (resumed.by, resumed.port, resumed.interaction_id) == (
            "INTERACTION",
            "approved",
            asked,
        )
        assert engine.end_wait(interaction_id=asked).refused == "not_waiting"

    def test_named_by_its_node_alone_it_is_not_answered(self) -> None:
        engine = goes_on()
        asked = engine.ask("w")

        assert engine.end_wait("w", data=1).refused == "not_waiting"
        assert set(engine.open) == {asked}

    def test_the_question_of_another_node_run_cannot_be_waited_for(self) -> None:
        engine = run("a:CUSTOM.GOES_ON b:CUSTOM.GOES_ON", fields={"b": ONE_TRY})
        asked = engine.ask("a")

        engine.wait("b", WaitKind.INTERACTION, interaction_id=asked)

        assert engine.state.failure is not None
        assert engine.state.failure.code == "invalid_result"

    def test_another_question_is_not_meant(self) -> None:
        engine = goes_on()
        engine.ask("w")

        assert engine.end_wait(interaction_id="other").refused == "not_waiting"

    def test_too_late_it_is_timed_out(self) -> None:
        engine = goes_on("w.timeout -> after")
        asked = engine.ask("w", seconds=60)

        engine.fire(timer_of("w", "DUE"))

        assert engine.closed == {asked: "TIMED_OUT"}
        assert engine.end_wait(interaction_id=asked).refused == "not_waiting"

    def test_cancel_closes_it(self) -> None:
        engine = goes_on()
        asked = engine.ask("w", seconds=60)

        decision = engine.cancel()

        assert [(each.id, each.status) for each in decision.closed] == [(asked, "CANCELED")]

    def test_a_failure_elsewhere_closes_it(self) -> None:
        engine = run("w:CUSTOM.GOES_ON bad", fields={"bad": ONE_TRY})
        asked = engine.ask("w")

        engine.fail("bad")

        assert engine.closed == {asked: "CANCELED"}

    def test_while_its_handler_looks_at_it_an_answer_is_kept(self) -> None:
        engine = goes_on()
        asked = engine.ask("w", seconds=60, check_seconds=0)
        engine.fire(timer_of("w", "CHECK"))
        assert engine.statuses["w"] == "RUNNING"

        engine.end_wait(interaction_id=asked, data="yes", port="approved")

        assert engine.closed == {asked: "ANSWERED"}
        assert engine.end_wait(interaction_id=asked).refused == "not_waiting"
        engine.wait("w", WaitKind.INTERACTION, interaction_id=asked, seconds=60)
        resumed = task_of(engine.plan, engine.state, ("w", ())).resumed
        assert resumed is not None
        assert (resumed.by, resumed.data) == ("INTERACTION", raw("yes"))
        assert engine.timers == {}

    def test_after_the_look_it_is_open_as_before(self) -> None:
        engine = goes_on()
        asked = engine.ask("w", seconds=60, check_seconds=10)
        engine.fire(timer_of("w", "CHECK"))

        engine.wait("w", WaitKind.INTERACTION, interaction_id=asked, seconds=50)

        assert set(engine.open) == {asked}
        engine.end_wait(interaction_id=asked)
        assert engine.closed == {asked: "ANSWERED"}

    @pytest.mark.parametrize("end", ["failure", "cancel", "success"])
    def test_the_end_of_a_handler_that_looks_at_it_closes_it(self, end: str) -> None:
        engine = goes_on()
        asked = engine.ask("w", seconds=60, check_seconds=10)
        engine.fire(timer_of("w", "CHECK"))

        if end == "failure":
            engine.fail("w")
        elif end == "cancel":
            engine.cancel()
        else:
            engine.succeed("w")

        assert engine.closed == {asked: "CANCELED"}

    def test_a_new_question_closes_the_old_one(self) -> None:
        engine = goes_on()
        first = engine.ask("w", seconds=60, check_seconds=10)
        engine.fire(timer_of("w", "CHECK"))

        second = engine.ask("w", seconds=60)

        assert engine.closed == {first: "CANCELED"}
        assert set(engine.open) == {second}

    def test_a_question_of_another_try_is_another_question(self) -> None:
        engine = goes_on(retry_policy=RETRY)
        first = engine.ask("w", check_seconds=10)
        engine.fire(timer_of("w", "CHECK"))
        engine.fail("w", retryable=True)
        assert set(engine.open) == {first}
        engine.fire(timer_of("w", "RETRY", 2))

        second = engine.ask("w")

        assert second != first
        assert engine.closed == {first: "CANCELED"}


class TestStrangeOrders:
    @pytest.mark.parametrize(
        "order",
        [
            pytest.param({"kind": WaitKind.TIMER}, id="a timer without an instant"),
            pytest.param({"kind": WaitKind.CHILD}, id="a child that is not named"),
            pytest.param({"kind": WaitKind.INTERACTION}, id="a question that is not asked"),
            pytest.param(
                {"kind": WaitKind.TIMER, "due_at": "2026-03-28T13:00:00"}, id="no time zone"
            ),
        ],
    )
    def test_what_nothing_could_end_is_a_failure(self, order: dict[str, Any]) -> None:
        engine = yields()

        engine.report("w", wait=msgspec.convert(order, WaitOrder))

        assert engine.state.failure is not None
        assert engine.state.failure.code == "invalid_result"

    @pytest.mark.parametrize("order", [{"seconds": 1e300}, {"due_at": "9999-01-01T00:00:00Z"}])
    def test_a_wait_past_the_limit_is_a_failure(self, order: dict[str, Any]) -> None:
        engine = yields()

        engine.report("w", wait=msgspec.convert({"kind": "TIMER", **order}, WaitOrder))

        assert engine.state.failure is not None
        assert engine.state.failure.code == "wait_too_long"
        assert str(LONGEST_WAIT) in engine.state.failure.message

    def test_a_wait_for_the_whole_limit_is_none(self) -> None:
        engine = yields()

        engine.wait("w", WaitKind.TIMER, seconds=LONGEST_WAIT)

        assert engine.statuses["w"] == "WAITING"


def test_an_answer_without_any_question_of_the_execution_is_refused() -> None:
    engine = yields()
    given = EndWaitAsked(signal_id="x", interaction_id="unknown", by=SOMEBODY)

    assert engine.feed(given).refused == "not_waiting"


def test_a_wait_takes_what_the_worker_reports_besides() -> None:
    engine = goes_on()
    usage = Usage(model_calls=2)

    engine.report("w", wait=WaitOrder(kind=WaitKind.SIGNAL, signal="x"), usage=usage)

    assert engine.state.runs["w", ()].usage == usage
