"""Children: how they are started, what their end does, and who is left without a parent."""

from typing import Any

import msgspec
import pytest

from contracts.failures import Failure, FailureKind
from contracts.history import Slot, Usage
from contracts.messages import ChildOrder, WaitOrder
from contracts.model import OnError
from contracts.statuses import ExecutionStatus, ItemError, Mode, WaitKind
from scheduler.core.decision import Target
from tests.core.graphs import ONE_TRY, RETRY, run
from tests.support.engine import CHILD, EXECUTION, USER, Engine, failure, raw, timer_of

RETRY_ON_CHILD = msgspec.structs.replace(RETRY, retry_on=("child_failed",))


def parent(*wires: str, **fields: Any) -> Engine:
    """Return an execution whose first node has started a child."""
    engine = run(
        "sub:CUSTOM.YIELDS after",
        *(wires or ("sub -> after",)),
        fields={"sub": ONE_TRY | fields},
    )
    engine.start_child("sub")
    return engine


class TestStart:
    def test_it_is_started_with_the_commit_that_waits_for_it(self) -> None:
        engine = run("sub:CUSTOM.YIELDS")

        decision = engine.start_child("sub")

        child = decision.children[0].created
        assert (child.workflow_id, child.version_id) == (CHILD.workflow_id, CHILD.version_id)
        assert (child.mode, child.user_id, child.depth) == (Mode.TRIGGER, USER, 1)
        assert child.input == raw({"for": "the child"})
        assert child.parent is not None
        assert (child.parent.execution_id, child.parent.node_id) == (EXECUTION, "sub")
        assert not child.parent.is_detached
        assert decision.timers == ()
        assert engine.status is ExecutionStatus.WAITING
        assert engine.kinds[-1] == "node_waiting"

    def test_it_inherits_what_its_workflow_and_its_trace_say(self) -> None:
        engine = run("sub:CUSTOM.YIELDS", traceparent="00-1-2-01")
        slot = Slot(limit=1, key="k")
        target = Target(workflow_id="c", version_id="c-1", priority=3, slot=slot)

        child = engine.start_child("sub", target).children[0].created

        assert (child.priority, child.slot, child.traceparent) == (3, slot, "00-1-2-01")

    def test_in_an_iteration_it_knows_which(self) -> None:
        engine = run("each:FLOW.LOOP sub:CUSTOM.YIELDS", "each.iteration -> sub")
        engine.iterate("each", [1, 2], max_parallel=2)

        ids = [engine.start_child(f"sub@{n}").children[0] for n in range(2)]

        assert ids[0].id != ids[1].id
        assert ids[1].created.parent is not None
        assert ids[1].created.parent.iteration == (1,)

    def test_a_workflow_that_cannot_be_started_is_a_failure(self) -> None:
        engine = run("sub:CUSTOM.YIELDS", fields={"sub": ONE_TRY})
        refused = Failure(FailureKind.REJECTED, "not_published", "publish it")

        engine.start_child("sub", refused)

        assert engine.state.failure is not None
        assert engine.state.failure.code == "not_published"
        assert engine.children == {}

    def test_a_workflow_that_nobody_looked_up_is_a_failure(self) -> None:
        engine = run("sub:CUSTOM.YIELDS", fields={"sub": ONE_TRY})

        engine.start_child("sub", None)

        assert engine.state.failure is not None
        assert engine.state.failure.code == "invalid_result"

    @pytest.mark.parametrize(("depth", "starts"), [(7, True), (8, False)])
    def test_only_so_many_generations(self, depth: int, starts: bool) -> None:
        engine = run("sub:CUSTOM.YIELDS", fields={"sub": ONE_TRY}, depth=depth)

        engine.start_child("sub")

        assert bool(engine.children) is starts
        if not starts:
            assert engine.state.failure is not None
            assert engine.state.failure.kind is FailureKind.REJECTED
            assert engine.state.failure.code == "child_depth"

    def test_a_detached_one_is_not_waited_for(self) -> None:
        engine = run("sub:CUSTOM.YIELDS after", "sub -> after")

        decision = engine.start_child("sub", is_detached=True)

        child = decision.children[0]
        assert engine.value("sub") == {"execution_id": child.id}
        assert child.created.parent is not None
        assert child.created.parent.is_detached
        assert engine.statuses == {"sub": "SUCCESS", "after": "RUNNING"}
        assert engine.end_child("sub", child_id=child.id).refused == "stale_child"
        assert engine.cancel().orphans == ()

    def test_it_tells_what_it_used_up(self) -> None:
        engine = run("sub:CUSTOM.YIELDS")
        order = WaitOrder(kind=WaitKind.CHILD, child=ChildOrder(workflow="child", is_detached=True))

        engine.report("sub", child=CHILD, wait=order, usage=Usage(tool_calls=1))

        assert engine.state.runs["sub", ()].usage == Usage(tool_calls=1)


class TestEnd:
    def test_its_output_is_what_the_node_yields(self) -> None:
        engine = parent()

        engine.end_child("sub", output=raw({"x": 1}))

        assert engine.value("sub") == {"x": 1}
        assert engine.kinds[-2:] == ["child_finished", "node_succeeded"]
        assert engine.orphans == []

    def test_a_failure_is_kept_in_the_state_as_it_stands_in_history(self) -> None:
        engine = parent()
        of_a_node = Failure(FailureKind.ERROR, "broken", "it broke", node_id="n", iteration=(1,))

        engine.end_child("sub", ExecutionStatus.ERROR, failure=of_a_node)

        failure = engine.state.runs["sub", ()].failure
        assert failure is not None
        assert failure.details["failure"]["iteration"] == [1]

    def test_without_an_output_it_is_null(self) -> None:
        engine = parent()

        engine.end_child("sub")

        assert engine.value("sub") is None

    def test_its_failure_is_a_failure_of_the_node(self) -> None:
        engine = parent()
        inner = failure(code="inner", message="it is wrong")

        engine.end_child("sub", ExecutionStatus.ERROR, failure=inner)

        told = engine.state.failure
        assert told is not None
        assert (told.kind, told.code, told.retryable) == (FailureKind.ERROR, "child_failed", False)
        assert told.details["failure"]["code"] == "inner"
        assert told.details["execution_id"] in engine.children
        assert "it is wrong" in told.message

    def test_a_failure_that_does_not_say_why(self) -> None:
        engine = parent()

        engine.end_child("sub", ExecutionStatus.ERROR)

        assert engine.state.failure is not None
        assert "failure" not in engine.state.failure.details

    def test_its_failure_is_not_tried_again_by_itself(self) -> None:
        engine = parent(retry_policy=RETRY)

        engine.end_child("sub", ExecutionStatus.ERROR)

        assert engine.status is ExecutionStatus.ERROR

    def test_named_by_retry_on_another_try_starts_another_child(self) -> None:
        engine = parent(retry_policy=RETRY_ON_CHILD)
        first = next(iter(engine.children))
        engine.end_child("sub", ExecutionStatus.ERROR)
        assert engine.statuses["sub"] == "PENDING"
        engine.fire(timer_of("sub", "RETRY"))

        second = engine.start_child("sub").children[0].id

        assert second != first
        assert engine.end_child("sub", child_id=first).refused == "stale_child"
        engine.end_child("sub", output=raw("second"))
        assert engine.value("sub") == "second"

    def test_canceled_it_is_a_failure_that_nothing_tries_again(self) -> None:
        policy = msgspec.structs.replace(RETRY, retry_on=("ANY",))
        engine = parent(retry_policy=policy)

        engine.end_child("sub", ExecutionStatus.CANCELED)

        assert engine.state.failure is not None
        assert engine.state.failure.kind is FailureKind.CANCELED

    def test_its_failure_may_go_on(self) -> None:
        engine = parent("sub.error -> after", on_error=OnError.CONTINUE_ERROR)

        engine.end_child("sub", ExecutionStatus.CANCELED)

        assert engine.input("after")["error"]["code"] == "child_canceled"

    def test_told_twice_it_counts_once(self) -> None:
        engine = parent()
        child_id = next(iter(engine.children))
        engine.end_child("sub", output=raw(1))

        assert engine.end_child("sub", child_id=child_id).refused == "stale_child"

    def test_another_child_is_not_meant(self) -> None:
        engine = parent()

        assert engine.end_child("sub", child_id="other").refused == "stale_child"
        assert engine.end_child("after", child_id="other").refused == "stale_child"

    def test_nobody_else_ends_the_wait_for_a_child(self) -> None:
        engine = parent()

        assert engine.end_wait().refused == "not_waiting"
        assert engine.end_wait("sub").refused == "not_waiting"

    def test_while_paused_it_counts_and_what_follows_is_held(self) -> None:
        engine = parent()
        engine.pause()

        engine.end_child("sub", output=raw(1))

        assert engine.statuses == {"sub": "SUCCESS", "after": "PENDING"}
        engine.resume()
        assert engine.statuses["after"] == "RUNNING"


class TestOrphans:
    def test_cancel_leaves_its_child_alone(self) -> None:
        engine = parent()

        decision = engine.cancel()

        assert decision.orphans == tuple(engine.children)
        assert engine.end_child("sub").refused == "already_finished"

    def test_a_failure_elsewhere_too(self) -> None:
        engine = run("sub:CUSTOM.YIELDS bad", fields={"bad": ONE_TRY})
        engine.start_child("sub")

        decision = engine.fail("bad")

        assert decision.orphans == tuple(engine.children)

    def test_the_end_of_an_iteration_too(self) -> None:
        engine = run(
            "each:FLOW.LOOP sub:CUSTOM.YIELDS bad",
            "each.iteration -> sub",
            "each.iteration -> bad",
            fields={"bad": ONE_TRY},
        )
        engine.iterate("each", [1], on_item_error=ItemError.NULL)
        engine.start_child("sub@0")

        decision = engine.fail("bad@0")

        assert decision.orphans == tuple(engine.children)
        assert engine.status is ExecutionStatus.SUCCESS

    def test_a_child_that_is_over_is_no_orphan(self) -> None:
        engine = parent()
        engine.end_child("sub")

        assert engine.cancel().orphans == ()


class TestFailureWorkflow:
    TARGET = Target(workflow_id="rescue", version_id="rescue-1", slot=Slot(limit=2))

    def failed(self, **created: Any) -> Engine:
        """Return an execution that failed and has a failure workflow."""
        engine = run("a", fields={"a": ONE_TRY}, failure_target=self.TARGET, **created)
        engine.fail("a")
        return engine

    def test_it_is_started_with_the_failure(self) -> None:
        engine = self.failed()

        (child,) = engine.children.values()
        assert child.created.workflow_id == "rescue"
        assert child.created.slot == Slot(limit=2)
        assert child.created.is_of_failure
        assert (child.created.parent, child.created.depth) == (None, 0)
        told = msgspec.json.decode(child.created.input)
        assert (told["execution_id"], told["workflow_id"]) == (EXECUTION, "workflow")
        assert told["failure"]["node_id"] == "a"

    def test_an_execution_that_it_started_starts_none(self) -> None:
        engine = self.failed(is_of_failure=True)

        assert engine.children == {}

    def test_neither_does_one_that_succeeds_or_is_canceled(self) -> None:
        engine = run("a", failure_target=self.TARGET)
        engine.succeed("a")
        canceled = run("a", failure_target=self.TARGET)
        canceled.cancel()

        assert engine.children == canceled.children == {}

    def test_a_child_of_it_counts_as_of_the_failure(self) -> None:
        engine = run("sub:CUSTOM.YIELDS", is_of_failure=True)

        child = engine.start_child("sub").children[0]

        assert child.created.is_of_failure
