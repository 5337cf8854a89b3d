"""Attempts: at most once, checkpoints, and what all of them used up together."""

import msgspec

from contracts.failures import FailureKind
from contracts.history import CheckpointSaved, NodeStarted, Usage
from contracts.limits import CORE_LIMITS
from contracts.messages import WaitOrder
from contracts.model import Delivery, OnError
from contracts.statuses import ExecutionStatus, WaitKind
from scheduler.core.decision import CallFinished, HandlerStarts
from tests.core.graphs import ONE_TRY, RETRY, line, run
from tests.support.assembling import task_of
from tests.support.engine import Engine, failure, raw, timer_of

ONCE = {"delivery": Delivery.AT_MOST_ONCE, **ONE_TRY}


class TestAtMostOnce:
    def test_the_call_of_the_handler_is_recorded_before(self) -> None:
        engine = line("a", **ONCE)

        decision = engine.call_handler("a")

        assert decision.refused is None
        started = engine.events("node_started")[0]
        assert started == NodeStarted("worker", "first")
        assert engine.status is ExecutionStatus.RUNNING

    def test_the_same_delivery_may_ask_again_and_gets_the_same_answer(self) -> None:
        engine = line("a", **ONCE)
        engine.call_handler("a")

        again = engine.call_handler("a")

        assert again.refused == "repeated"
        assert engine.kinds.count("node_started") == 1
        engine.succeed("a", main=1)
        assert engine.output == {"a": 1}

    def test_another_delivery_must_not_call_it_and_the_attempt_is_lost(self) -> None:
        engine = line("a", **ONCE)
        engine.call_handler("a")

        decision = engine.call_handler("a", delivery="second")

        assert decision.refused == "outcome_unknown"
        assert engine.state.failure is not None
        assert engine.state.failure.kind is FailureKind.WORKER_LOST
        assert engine.state.failure.code == "worker_lost"
        assert engine.succeed("a", 1).refused == "already_finished"

    def test_its_failure_goes_on_as_any_other(self) -> None:
        engine = line("a", "b", delivery=Delivery.AT_MOST_ONCE, on_error=OnError.CONTINUE_REGULAR)
        engine.call_handler("a")

        engine.call_handler("a", delivery="second")

        assert engine.statuses == {"a": "ERROR", "b": "RUNNING"}

    def test_named_by_retry_on_it_is_tried_again_and_each_attempt_calls_anew(self) -> None:
        policy = msgspec.structs.replace(RETRY, retry_on=("WORKER_LOST",))
        engine = line("a", delivery=Delivery.AT_MOST_ONCE, retry_policy=policy)
        engine.call_handler("a")
        engine.call_handler("a", delivery="second")
        engine.fire(timer_of("a", "RETRY"))

        assert engine.call_handler("a", delivery="third").refused is None
        engine.succeed("a", main="done")
        assert engine.output == {"a": "done"}

    def test_an_attempt_that_is_over_is_not_called(self) -> None:
        engine = line("a", "b", **ONCE)
        engine.succeed("a")

        assert engine.feed(HandlerStarts("a", (), 1, "worker", "x")).refused == "stale_result"
        assert engine.feed(HandlerStarts("none", (), 1, "worker", "x")).refused == "stale_result"

    def test_a_reported_failure_is_tried_again_as_always(self) -> None:
        engine = line("a", delivery=Delivery.AT_MOST_ONCE, retry_policy=RETRY)
        engine.call_handler("a")

        engine.fail("a", retryable=True)

        assert engine.status is ExecutionStatus.WAITING


class TestCheckpoints:
    def test_a_later_attempt_finds_what_an_earlier_one_saved(self) -> None:
        engine = line("a", retry_policy=RETRY)
        engine.checkpoint("a", "model:1", {"text": "hi"})
        engine.checkpoint("a", "tool:1", 5)
        engine.fail("a", retryable=True)
        engine.fire(timer_of("a", "RETRY"))

        task = task_of(engine.plan, engine.state, ("a", ()))

        assert task.checkpoints == {"model:1": raw({"text": "hi"}), "tool:1": raw(5)}

    def test_the_first_value_stays(self) -> None:
        engine = line("a")
        engine.checkpoint("a", "k", 1)

        assert engine.checkpoint("a", "k", 2).refused == "repeated"
        assert engine.state.runs["a", ()].checkpoints == {"k": raw(1)}

    def test_an_attempt_that_is_over_saves_nothing(self) -> None:
        engine = line("a", retry_policy=RETRY)
        engine.fail("a", retryable=True)
        engine.fire(timer_of("a", "RETRY"))

        assert engine.feed(CallFinished("a", (), 1, "k", raw(1))).refused == "stale_result"
        assert engine.feed(CallFinished("a", (), 2, "k", raw(1))).refused is None

    def test_there_is_a_limit(self) -> None:
        engine = Engine(line("a").plan, checked=False).start()
        for number in range(CORE_LIMITS.checkpoints):
            engine.checkpoint("a", str(number))

        refused = engine.checkpoint("a", "one more")

        assert refused.refused == "limit_exceeded"
        assert f"{CORE_LIMITS.checkpoints} (LIMIT_CHECKPOINTS)" in str(refused.detail)

    def test_they_survive_a_wait(self) -> None:
        engine = run("w:CUSTOM.GOES_ON")
        engine.checkpoint("w", "sent", True)
        engine.wait("w", WaitKind.TIMER, seconds=5)
        engine.fire(timer_of("w", "WAIT"))

        assert "sent" in task_of(engine.plan, engine.state, ("w", ())).checkpoints


class TestReports:
    def test_the_state_knows_what_the_last_report_says(self) -> None:
        engine = line("a", **ONE_TRY)

        engine.report("a", ports={}, logs=raw(["hi"]))

        told = engine.state.runs["a", ()]
        assert (told.worker_id, told.logs, told.tries) == ("worker", raw(["hi"]), 0)
        assert told.timing is not None
        assert told.timing.started_at == "2026-03-28T12:00:00Z"
        assert told.timing.dispatched_at == "2026-03-28T12:00:00.001000Z"


class TestUsage:
    def test_of_all_attempts_it_is_added_up(self) -> None:
        engine = line("a", retry_policy=RETRY)
        broken = failure(retryable=True)
        engine.report("a", failure=broken, usage=Usage(input_tokens=5, cost_usd=0.5))
        engine.fire(timer_of("a", "RETRY"))
        engine.report("a", ports={}, usage=Usage(input_tokens=7, model_calls=1))

        used = Usage(input_tokens=12, cost_usd=0.5, model_calls=1)
        assert engine.state.runs["a", ()].usage == used
        assert msgspec.structs.asdict(engine.history[-1].data)["usage"] == used

    def test_a_finished_call_counts_even_if_its_attempt_is_lost(self) -> None:
        engine = line("a", "b", **ONE_TRY)
        engine.checkpoint("a", "model:1", usage=Usage(model_calls=1))
        engine.checkpoint("a", "model:1", usage=Usage(model_calls=1))
        engine.cancel()

        assert msgspec.structs.asdict(engine.history[-1].data)["usage"] == Usage(model_calls=1)
        saved = engine.events("checkpoint_saved")
        assert saved == [CheckpointSaved("model:1", raw(None), Usage(model_calls=1))]

    def test_of_a_wait_it_stays(self) -> None:
        engine = run("w:CUSTOM.YIELDS")
        order = WaitOrder(kind=WaitKind.SIGNAL, signal="go")
        engine.report("w", wait=order, usage=Usage(tool_calls=2))

        engine.signal("go")

        assert msgspec.structs.asdict(engine.history[-1].data)["usage"] == Usage(tool_calls=2)

    def test_of_all_node_runs_it_is_the_execution_s(self) -> None:
        engine = run("a b c")
        engine.report("a", ports={}, usage=Usage(input_tokens=1))
        engine.report("b", ports={}, usage=Usage(output_tokens=2))
        engine.report("c", ports={})

        used = Usage(input_tokens=1, output_tokens=2)
        assert msgspec.structs.asdict(engine.history[-1].data)["usage"] == used

    def test_where_nothing_was_told_there_is_none(self) -> None:
        engine = run("a")
        engine.succeed("a")

        assert msgspec.structs.asdict(engine.history[-1].data)["usage"] is None
