"""What follows from each input, on small graphs that say what they are about."""

from datetime import timedelta

import msgspec
import pytest

from contracts.failures import Failure, FailureKind
from contracts.history import NodesSkipped, TriggerNode
from contracts.model import OnError, RetryPolicy, Settings
from contracts.statuses import ExecutionStatus, Mode, SkipReason
from scheduler.core.decision import Admitted, AttemptLost, TimerDue
from tests.core.graphs import ONE_TRY, line
from tests.support.engine import START, Engine, compiled, document, node, wire


class TestStart:
    def test_dispatches_the_roots_in_document_order(self) -> None:
        engine = Engine(compiled(document([node("b"), node("a"), node("c")], [wire("a -> c")])))

        decision = engine.feed(Admitted())

        assert decision.dispatched == (("b", ()), ("a", ()))
        assert engine.kinds == ["execution_created", "execution_started"]
        assert engine.state.status is ExecutionStatus.RUNNING

    def test_a_second_start_changes_nothing(self) -> None:
        engine = line("a")

        assert engine.feed(Admitted()).refused == "already_started"

    def test_the_trigger_yields_the_trigger_data(self) -> None:
        nodes = [node("start", "TRIGGER.MANUAL"), node("work")]
        engine = Engine(compiled(document(nodes, [wire("start -> work")])), input={"x": 1}).start()

        run = engine.state.runs["start", ()]

        assert run.ports is not None
        assert msgspec.json.decode(run.ports["main"]) == {"x": 1}
        assert engine.tasks == [(("work", ()), 1)]

    @pytest.mark.parametrize(
        ("fired", "skipped"),
        [
            pytest.param(None, "event", id="by the API the manual one"),
            pytest.param(TriggerNode("event", "TRIGGER.EVENT"), "start", id="the one that fired"),
        ],
    )
    def test_other_triggers_are_skipped_and_their_connections_dead(
        self, fired: TriggerNode | None, skipped: str
    ) -> None:
        nodes = [node("event", "TRIGGER.EVENT"), node("start", "TRIGGER.MANUAL")]
        nodes += [node("after_event"), node("after_start")]
        wires = [wire("event -> after_event"), wire("start -> after_start")]
        engine = Engine(compiled(document(nodes, wires)), trigger=fired).start()

        assert engine.state.runs[skipped, ()].skip_reason is SkipReason.OTHER_TRIGGER
        assert engine.state.runs[f"after_{skipped}", ()].skip_reason is SkipReason.DEAD

    def test_a_workflow_of_a_trigger_alone_succeeds_at_once(self) -> None:
        engine = Engine(compiled(document([node("start", "TRIGGER.MANUAL")], [])), input=7).start()

        assert engine.state.status is ExecutionStatus.SUCCESS
        assert engine.output == {"start": 7}


class TestResults:
    def test_a_line_runs_one_after_the_other_to_its_output(self) -> None:
        engine = line("a", "b")
        engine.succeed("a", main={"from": "a"})

        engine.succeed("b", main={"from": "b"})

        assert engine.state.status is ExecutionStatus.SUCCESS
        assert engine.output == {"b": {"from": "b"}}
        assert engine.kinds[2:] == ["node_succeeded", "node_succeeded", "execution_succeeded"]

    def test_a_branch_not_taken_is_skipped_with_all_behind_it(self) -> None:
        nodes = [node("if"), node("yes"), node("no"), node("no2"), node("join")]
        wires = [wire("if.a -> yes"), wire("if.b -> no"), wire("no -> no2")]
        wires += [wire("yes -> join"), wire("no2 -> join")]
        engine = Engine(compiled(document(nodes, wires))).start()

        decision = engine.succeed("if", a=1)

        skipped = decision.events[-1].data
        assert isinstance(skipped, NodesSkipped)
        assert [ref.node_id for ref in skipped.node_runs] == ["no", "no2"]
        engine.succeed("yes")
        assert engine.statuses["join"] == "RUNNING"
        engine.succeed("join", main="done")
        assert engine.output == {"join": "done"}

    def test_a_join_waits_for_every_live_branch_and_runs_once(self) -> None:
        nodes = [node("fork"), *(node(f"w{n}") for n in range(5)), node("join")]
        wires = [wire(f"fork -> w{n}") for n in range(5)]
        wires += [wire(f"w{n} -> join") for n in range(5)]
        engine = Engine(compiled(document(nodes, wires))).start()
        engine.succeed("fork")

        for n in (3, 1, 4, 0):
            engine.succeed(f"w{n}")
            assert engine.statuses["join"] == "PENDING"
        engine.succeed("w2")

        assert [key for key, _ in engine.tasks].count(("join", ())) == 1

    @pytest.mark.parametrize("repeat", ["same", "older", "unknown node"])
    def test_a_result_that_is_not_of_the_current_attempt_changes_nothing(self, repeat: str) -> None:
        engine = line("a", "b")
        attempt = {"same": 1, "older": 0, "unknown node": 1}[repeat]
        if repeat == "same":
            engine.succeed("a")

        refused = engine.succeed("a" if repeat != "unknown node" else "b", attempt).refused

        assert refused == "stale_result"

    def test_a_result_on_a_port_the_node_does_not_have_is_a_failure(self) -> None:
        engine = line("a")

        engine.succeed("a", nowhere=1)

        assert engine.state.failure is not None
        assert engine.state.failure.code == "undeclared_port"

    def test_a_leaf_that_yields_no_main_gives_its_first_port(self) -> None:
        engine = line("a")

        engine.succeed("a", b=2, a=1)

        assert engine.output == {"a": 1}


class TestFailures:
    def test_under_stop_the_execution_ends_and_workers_are_told(self) -> None:
        engine = Engine(compiled(document([node("a", **ONE_TRY), node("b")], []))).start()

        decision = engine.fail("a")

        assert decision.stop_workers
        assert engine.state.status is ExecutionStatus.ERROR
        assert engine.statuses == {"a": "ERROR", "b": "CANCELED"}
        assert engine.state.failure is not None
        assert engine.state.failure.node_id == "a"

    def test_with_a_wired_error_port_the_failure_goes_on_there(self) -> None:
        nodes = [node("a", **ONE_TRY), node("ok"), node("rescue")]
        wires = [wire("a -> ok"), wire("a.error -> rescue")]
        engine = Engine(compiled(document(nodes, wires)), input={"order": 7}).start()

        engine.fail("a")

        assert engine.statuses == {"a": "ERROR", "ok": "SKIPPED", "rescue": "RUNNING"}
        ports = engine.state.runs["a", ()].ports
        assert ports is not None
        value = msgspec.json.decode(ports["error"])
        assert value["order"] == 7
        assert value["error"]["code"] == "broken"
        assert value["error"]["attempts"] == 1
        engine.succeed("rescue")
        assert engine.state.status is ExecutionStatus.SUCCESS
        assert engine.state.continued_errors == 1

    def test_continued_on_the_regular_output_an_input_that_is_no_object_is_wrapped(self) -> None:
        nodes = [node("a", on_error=OnError.CONTINUE_REGULAR, **ONE_TRY), node("b")]
        engine = Engine(compiled(document(nodes, [wire("a -> b")])), input=[1]).start()

        engine.fail("a")

        ports = engine.state.runs["a", ()].ports
        assert ports is not None
        assert msgspec.json.decode(ports["main"])["input"] == [1]
        assert engine.statuses["b"] == "RUNNING"

    def test_the_last_continued_failure_ends_the_execution_in_success(self) -> None:
        settings = Settings(on_error=OnError.CONTINUE_ERROR)
        engine = Engine(compiled(document([node("a", **ONE_TRY)], [], settings))).start()

        engine.fail("a")

        assert engine.state.status is ExecutionStatus.SUCCESS
        assert engine.output == {}

    def test_a_lost_attempt_fails_like_a_reported_one(self) -> None:
        engine = line("a")
        failure = Failure(FailureKind.WORKER_LOST, "deliveries_exhausted", "gone")

        engine.feed(AttemptLost("a", (), 1, failure))

        assert engine.state.status is ExecutionStatus.ERROR
        assert engine.feed(AttemptLost("a", (), 1, failure)).refused == "already_finished"


class TestRetries:
    POLICY = RetryPolicy(max_tries=3, wait_between_tries=10, multiplier=2, jitter=False)

    def test_a_retryable_failure_waits_on_a_timer_and_runs_again(self) -> None:
        engine = line("a", retry_policy=self.POLICY)

        decision = engine.fail("a", retryable=True)

        assert decision.timers[0].due_at == engine.at + timedelta(seconds=10)
        assert engine.state.status is ExecutionStatus.WAITING
        decision = engine.fire("retry:a:_:1")
        assert decision.dispatched == (("a", ()),)
        assert engine.state.runs["a", ()].attempt == 2
        assert engine.succeed("a", 1).refused == "stale_result"
        engine.succeed("a", main="at last")
        assert engine.output == {"a": "at last"}

    def test_a_pause_ends_while_others_are_under_way(self) -> None:
        nodes = [node("a", retry_policy=self.POLICY), node("b")]
        engine = Engine(compiled(document(nodes, []))).start()
        engine.fail("a", retryable=True)
        assert engine.state.status is ExecutionStatus.RUNNING

        engine.fire("retry:a:_:1")

        assert engine.statuses == {"a": "RUNNING", "b": "RUNNING"}

    def test_the_pause_grows_and_the_last_try_is_final(self) -> None:
        engine = line("a", retry_policy=self.POLICY)
        pauses = []
        for _ in range(2):
            timer = engine.fail("a", retryable=True).timers[0]
            pauses.append((timer.due_at - engine.at).total_seconds())
            engine.fire(timer.key)

        engine.fail("a", retryable=True)

        assert pauses == [10, 20]
        assert engine.state.status is ExecutionStatus.ERROR
        assert engine.state.runs["a", ()].tries == 3

    def test_a_failure_that_is_not_retryable_is_final(self) -> None:
        engine = line("a", retry_policy=self.POLICY)

        engine.fail("a", retryable=False)

        assert engine.state.status is ExecutionStatus.ERROR

    def test_a_timer_that_was_read_twice_does_not_cut_the_next_pause_short(self) -> None:
        engine = line("a", retry_policy=self.POLICY)
        engine.fail("a", retryable=True)
        first = TimerDue("retry:a:_:1", "RETRY", "a")
        engine.fire(first.key)
        engine.fail("a", retryable=True)

        decision = engine.feed(first)

        assert decision.refused == "stale_timer"
        assert engine.state.status is ExecutionStatus.WAITING
        assert engine.fire("retry:a:_:2").dispatched == (("a", ()),)

    def test_a_timer_that_no_longer_matters_is_only_cleared(self) -> None:
        engine = line("a", retry_policy=self.POLICY)
        engine.fail("a", retryable=True)
        engine.fire("retry:a:_:1")

        decision = engine.feed(TimerDue("retry:a:_:1", "RETRY", "a"))

        assert decision.refused == "stale_timer"
        assert decision.cleared == ("retry:a:_:1",)


class TestEnding:
    def test_cancel_ends_everything_and_nothing_starts_after(self) -> None:
        engine = line("a", "b")

        decision = engine.cancel()

        assert decision.stop_workers
        assert engine.statuses == {"a": "CANCELED", "b": "CANCELED"}
        assert engine.succeed("a", 1).refused == "already_finished"
        assert engine.cancel().refused == "already_finished"

    def test_an_execution_that_was_not_admitted_can_be_canceled(self) -> None:
        engine = Engine(compiled(document([node("a")], [])))

        engine.cancel()

        assert engine.state.status is ExecutionStatus.CANCELED

    def test_the_execution_timeout_counts_from_its_start(self) -> None:
        plan = compiled(document([node("a")], [], Settings(timeout=60)))
        engine = Engine(plan)
        engine.feed(Admitted(), after=5)

        assert engine.timers["execution_timeout"].due_at == START + timedelta(seconds=65)
        engine.fire("execution_timeout")

        assert engine.state.failure is not None
        assert engine.state.failure.code == "execution_timeout"

    def test_an_execution_without_a_timeout_has_none_to_pass(self) -> None:
        engine = line("a")

        decision = engine.feed(TimerDue("execution_timeout", "EXECUTION_TIMEOUT"))

        assert decision.refused == "stale_timer"
        assert engine.statuses == {"a": "RUNNING"}


class TestStandIns:
    def test_a_disabled_node_passes_its_input_on(self) -> None:
        nodes = [node("a"), node("off", disabled=True), node("b")]
        wires = [wire("a -> off"), wire("off -> b")]
        engine = Engine(compiled(document(nodes, wires))).start()

        engine.succeed("a", main={"x": 1})

        off = engine.state.runs["off", ()]
        assert off.skip_reason is SkipReason.DISABLED
        assert off.ports is not None
        assert msgspec.json.decode(off.ports["main"]) == {"x": 1}
        assert engine.statuses["b"] == "RUNNING"

    @pytest.mark.parametrize(
        ("mode", "runs"),
        [
            pytest.param(Mode.MANUAL, False, id="stands in for a manual execution"),
            pytest.param(Mode.TRIGGER, True, id="is ignored by others"),
        ],
    )
    def test_a_pin(self, mode: Mode, runs: bool) -> None:
        nodes = [node("a"), node("b")]
        plan = compiled(document(nodes, [wire("a -> b")], pin_data={"a": {"pinned": True}}))

        engine = Engine(plan, mode=mode).start()

        assert (engine.statuses["a"] == "RUNNING") is runs
        assert engine.state.runs["a", ()].pinned is not runs
