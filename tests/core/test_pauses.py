"""Pauses: what is held back, what goes on, and what takes effect with the end of the pause."""

import pytest

from contracts.history import ExecutionPaused
from contracts.model import Settings
from contracts.statuses import ExecutionStatus, ItemError, WaitKind
from scheduler.core.decision import PauseAsked
from tests.core.graphs import LOOP, LOOP_WIRES, ONE_TRY, RETRY, graph, line, run
from tests.support.assembling import task_of
from tests.support.engine import SOMEBODY, Engine, compiled, document, node, raw, timer_of, wire


class TestHeld:
    def test_attempts_under_way_count_and_what_follows_is_held(self) -> None:
        engine = line("a", "b")
        engine.pause()

        decision = engine.succeed("a", main=1)

        assert decision.dispatched == ()
        assert engine.statuses == {"a": "SUCCESS", "b": "PENDING"}
        assert engine.status is ExecutionStatus.RUNNING
        assert engine.state.paused

    def test_with_the_end_of_the_pause_it_is_dispatched_in_document_order(self) -> None:
        engine = run("a c b", "a -> b", "a -> c")
        engine.pause()
        engine.succeed("a")

        decision = engine.resume()

        assert decision.dispatched == (("c", ()), ("b", ()))
        assert not engine.state.paused
        assert engine.state.held == {}

    def test_the_time_of_its_becoming_ready_stays(self) -> None:
        engine = line("a", "b")
        engine.pause()
        engine.succeed("a")
        ready_at = engine.at
        engine.resume()

        run_of_b = engine.state.runs["b", ()]

        assert run_of_b.ready_at == ready_at
        assert run_of_b.dispatched_at == engine.at

    def test_before_the_start_the_roots_are_held(self) -> None:
        engine = Engine(graph("a b"))
        engine.pause()
        engine.start()
        assert engine.statuses == {"a": "PENDING", "b": "PENDING"}
        assert engine.status is ExecutionStatus.RUNNING

        assert engine.resume().dispatched == (("a", ()), ("b", ()))

    def test_resumed_before_the_start_nothing_is_held(self) -> None:
        engine = Engine(graph("a"))
        engine.pause()
        engine.resume()

        assert engine.start().dispatched == ["a"]

    def test_what_needs_no_dispatch_goes_on(self) -> None:
        engine = run("a off b", "a -> off", "off -> b", fields={"off": {"disabled": True}})
        engine.pause()

        engine.succeed("a", main=1)

        assert engine.statuses == {"a": "SUCCESS", "off": "SKIPPED", "b": "PENDING"}

    def test_a_failure_is_tried_again_after_the_pause(self) -> None:
        engine = line("a", retry_policy=RETRY)
        engine.fail("a", retryable=True)
        engine.pause()

        decision = engine.fire(timer_of("a", "RETRY"))

        assert decision.dispatched == ()
        assert engine.statuses == {"a": "PENDING"}
        assert engine.status is ExecutionStatus.RUNNING
        assert engine.resume().dispatched == (("a", ()),)
        assert engine.state.runs["a", ()].attempt == 2

    def test_a_failure_under_stop_ends_it_all_the_same(self) -> None:
        engine = run("a b c", "a -> b", fields={"c": ONE_TRY})
        engine.pause()
        engine.succeed("a")

        engine.fail("c")

        assert engine.status is ExecutionStatus.ERROR
        assert engine.resume().refused == "already_finished"

    def test_the_last_result_ends_it_while_paused(self) -> None:
        engine = line("a")
        engine.pause()

        engine.succeed("a", main=1)

        assert engine.status is ExecutionStatus.SUCCESS
        assert engine.output == {"a": 1}

    def test_cancel_ends_it_while_paused(self) -> None:
        engine = line("a", "b")
        engine.pause()
        engine.succeed("a")

        engine.cancel()

        assert engine.statuses == {"a": "SUCCESS", "b": "CANCELED"}

    def test_the_timeout_of_the_execution_runs_on(self) -> None:
        plan = compiled(document([node("a")], [], Settings(timeout=60)))
        engine = Engine(plan).start()
        engine.pause()

        engine.fire("execution_timeout")

        assert engine.status is ExecutionStatus.ERROR


class TestLoops:
    def test_iterations_begin_and_their_node_runs_are_held(self) -> None:
        engine = run(LOOP, *LOOP_WIRES)
        engine.pause()

        engine.iterate("each", [1, 2, 3], max_parallel=2)

        assert engine.statuses["work@1"] == "PENDING"
        assert engine.resume().dispatched == (("work", (0,)), ("work", (1,)))

    def test_a_loop_on_a_condition_is_not_asked(self) -> None:
        engine = run(LOOP, *LOOP_WIRES)
        engine.iterate("each")
        engine.pause()

        assert engine.succeed("work@0").dispatched == ()
        assert engine.statuses["each"] == "RUNNING"

        assert engine.resume().dispatched == (("each", ()),)
        engine.stop_iterating("each")
        assert engine.statuses["after"] == "RUNNING"

    def test_what_an_iteration_that_failed_held_back_is_never_dispatched(self) -> None:
        engine = run(
            "each:FLOW.LOOP a b c",
            "each.iteration -> a",
            "a -> b",
            "each.iteration -> c",
            fields={"c": ONE_TRY},
        )
        engine.iterate("each", [1], on_item_error=ItemError.NULL)
        engine.pause()
        engine.succeed("a@0")
        engine.fail("c@0")

        assert engine.state.held == {}
        assert engine.status is ExecutionStatus.SUCCESS


class TestWaits:
    def test_a_timer_is_recorded_and_takes_effect_on_resume(self) -> None:
        engine = run("w:CUSTOM.YIELDS after", "w -> after")
        engine.wait("w", WaitKind.TIMER, seconds=60)
        engine.pause()

        engine.fire(timer_of("w", "WAIT"))

        assert engine.statuses == {"w": "WAITING", "after": "PENDING"}
        assert engine.status is ExecutionStatus.RUNNING
        assert engine.kinds[-1] == "timer_fired"
        engine.resume()
        assert engine.statuses == {"w": "SUCCESS", "after": "RUNNING"}

    def test_a_signal_too(self) -> None:
        engine = run("w:CUSTOM.YIELDS")
        engine.wait("w", WaitKind.SIGNAL, signal="go")
        engine.pause()
        engine.signal("go", "first")
        engine.signal("go", "second")

        engine.resume()

        assert engine.output == {"w": "first"}

    def test_a_wait_that_ends_at_once_for_its_signal_came_before(self) -> None:
        engine = run("w:CUSTOM.YIELDS")
        engine.signal("go", "early")
        engine.pause()

        engine.wait("w", WaitKind.SIGNAL, signal="go", seconds=60)

        assert engine.statuses == {"w": "WAITING"}
        assert engine.timers == {}
        engine.resume()
        assert engine.output == {"w": "early"}

    def test_a_wait_that_ends_in_vain(self) -> None:
        engine = run("w:CUSTOM.YIELDS", fields={"w": ONE_TRY})
        engine.wait("w", WaitKind.SIGNAL, signal="go", seconds=60)
        engine.pause()
        engine.fire(timer_of("w", "DUE"))
        assert engine.status is ExecutionStatus.RUNNING

        engine.resume()

        assert engine.state.failure is not None
        assert engine.state.failure.code == "wait_timeout"

    def test_of_two_that_ended_in_vain_the_first_ends_the_execution(self) -> None:
        engine = run("v:CUSTOM.YIELDS w:CUSTOM.YIELDS", fields={"v": ONE_TRY, "w": ONE_TRY})
        for name in ("v", "w"):
            engine.wait(name, WaitKind.SIGNAL, signal=name, seconds=60)
        engine.pause()
        for name in ("v", "w"):
            engine.fire(timer_of(name, "DUE"))

        engine.resume()

        assert engine.statuses == {"v": "ERROR", "w": "CANCELED"}

    def test_what_came_first_ends_the_wait_and_the_rest_is_kept(self) -> None:
        engine = run("w:CUSTOM.GOES_ON")
        engine.wait("w", WaitKind.SIGNAL, signal="go", seconds=60)
        engine.pause()
        due = engine.timers[timer_of("w", "DUE")]
        engine.fire(due.key)
        engine.signal("go")
        assert engine.end_wait("w").refused == "not_waiting"

        engine.resume()

        resumed = task_of(engine.plan, engine.state, ("w", ())).resumed
        assert resumed is not None
        assert resumed.by == "DUE"
        assert len(engine.state.signals) == 1

    def test_an_answer_closes_the_question_now_and_the_node_goes_on_later(self) -> None:
        engine = run("w:CUSTOM.GOES_ON")
        asked = engine.ask("w")
        engine.pause()

        engine.end_wait(interaction_id=asked, data="yes")

        assert engine.closed == {asked: "ANSWERED"}
        assert engine.statuses == {"w": "WAITING"}
        assert engine.resume().dispatched == (("w", ()),)

    def test_an_answer_to_a_question_that_is_to_be_looked_at(self) -> None:
        engine = run("w:CUSTOM.GOES_ON")
        asked = engine.ask("w", check_seconds=10)
        engine.pause()
        engine.fire(timer_of("w", "CHECK"))

        engine.end_wait(interaction_id=asked, data="yes")

        engine.resume()
        engine.wait("w", WaitKind.INTERACTION, interaction_id=asked)
        resumed = task_of(engine.plan, engine.state, ("w", ())).resumed
        assert resumed is not None
        assert resumed.data == raw("yes")

    @pytest.mark.parametrize("end", ["signal", "check"])
    def test_cancel_after_a_wait_has_ended(self, end: str) -> None:
        engine = run("w:CUSTOM.GOES_ON")
        asked = engine.ask("w", check_seconds=10, signal="go")
        engine.pause()
        if end == "signal":
            engine.signal("go")
        else:
            engine.fire(timer_of("w", "CHECK"))

        engine.cancel()

        assert engine.closed == {asked: "CANCELED"}
        assert engine.statuses == {"w": "CANCELED"}


class TestCommands:
    def test_it_says_who_and_why(self) -> None:
        engine = line("a")

        engine.feed(PauseAsked(SOMEBODY, "look at it"))

        assert engine.events("execution_paused") == [ExecutionPaused(SOMEBODY, "look at it")]

    def test_twice_is_once(self) -> None:
        engine = line("a")
        engine.pause()

        assert engine.pause().refused == "already_paused"

    def test_what_is_not_paused_cannot_be_resumed(self) -> None:
        engine = line("a")

        assert engine.resume().refused == "not_paused"

    def test_with_nothing_held_the_status_stays(self) -> None:
        engine = run("w:CUSTOM.YIELDS")
        engine.wait("w", WaitKind.SIGNAL, signal="go")

        engine.pause()

        assert engine.status is ExecutionStatus.WAITING
        engine.resume()
        assert engine.status is ExecutionStatus.WAITING


def test_a_join_held_back_dispatches_once() -> None:
    nodes = [node(each) for each in ("a", "b", "join")]
    engine = Engine(compiled(document(nodes, [wire("a -> join"), wire("b -> join")]))).start()
    engine.pause()
    engine.succeed("a")
    engine.succeed("b")

    engine.resume()
    engine.pause()
    engine.resume()

    assert engine.dispatched.count("join") == 1
