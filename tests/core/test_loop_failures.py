"""Loops in loops, and what a failure inside of one does."""

from typing import Any

import pytest

from contracts.model import OnError, Settings
from contracts.statuses import ExecutionStatus, ItemError
from tests.core.graphs import CONTINUE, LOOP, LOOP_WIRES, ONE_TRY, RETRY, complete, over, run
from tests.support.assembling import task_of
from tests.support.engine import Engine, compiled, document, key_of, node, raw, timer_of, wire


class TestNested:
    def nested(self, **fields: Any) -> Engine:
        """Return an execution with a loop in a loop."""
        return run(
            "outer:FLOW.LOOP inner:FLOW.LOOP work after",
            "outer.iteration -> inner",
            "inner.iteration -> work",
            "work -> inner.loop_body",
            "inner.complete -> outer.loop_body",
            "outer.complete -> after",
            fields={"work": ONE_TRY, "inner": ONE_TRY, "outer": ONE_TRY} | fields,
        )

    def test_results_of_results(self) -> None:
        engine = self.nested()
        engine.iterate("outer", ["x", "y"])
        for outer in range(2):
            engine.iterate(f"inner@{outer}", [1, 2], max_parallel=2)
            engine.succeed(f"work@{outer}-1", main=f"{outer}-1")
            engine.succeed(f"work@{outer}-0", main=f"{outer}-0")

        done = complete(engine, "outer")

        assert [each["results"] for each in done["results"]] == [["0-0", "0-1"], ["1-0", "1-1"]]

    def test_all_outer_iterations_at_once(self) -> None:
        engine = self.nested()
        engine.iterate("outer", [1, 2, 3], max_parallel=3)
        for outer in (2, 0, 1):
            engine.iterate(f"inner@{outer}", [1, 2])
        for outer in (1, 2, 0):
            engine.succeed(f"work@{outer}-0", main=outer)
        for outer in (0, 2, 1):
            engine.succeed(f"work@{outer}-1", main=outer)

        done = complete(engine, "outer")

        assert [each["results"] for each in done["results"]] == [[0, 0], [1, 1], [2, 2]]

    def test_expressions_see_the_loops_around(self) -> None:
        parameters = {"x": "{{ loop.item }}{{ loop.parent.item }}"}
        engine = self.nested(work={"parameters": parameters})
        engine.iterate("outer", ["o"])
        engine.iterate("inner@0", ["i"])

        scope = task_of(engine.plan, engine.state, key_of("work@0-0")).loop

        assert scope is not None
        assert (scope.index, scope.count, scope.item) == (0, 1, raw("i"))
        assert scope.parent is not None
        assert scope.parent.item == raw("o")

    def test_a_failure_under_stop_ends_the_inner_loop_then_the_outer_then_all(self) -> None:
        engine = self.nested()
        engine.iterate("outer", [1, 2], max_parallel=2)
        engine.iterate("inner@0", [1, 2], max_parallel=2)
        engine.iterate("inner@1", [1])

        engine.fail("work@0-1")

        assert engine.status is ExecutionStatus.ERROR
        assert engine.statuses == {
            "outer": "ERROR",
            "after": "CANCELED",
            "inner@0": "ERROR",
            "inner@1": "CANCELED",
            "work@0-0": "CANCELED",
            "work@0-1": "ERROR",
            "work@1-0": "CANCELED",
        }
        assert engine.state.failure is not None
        assert (engine.state.failure.node_id, engine.state.failure.iteration) == ("work", (0, 1))

    def test_null_outside_keeps_the_failure_of_an_inner_loop_to_its_iteration(self) -> None:
        engine = self.nested()
        engine.iterate("outer", [1, 2], max_parallel=2, on_item_error=ItemError.NULL)
        engine.iterate("inner@0", [1, 2], max_parallel=2)
        engine.iterate("inner@1", [1])

        engine.fail("work@0-0")

        assert engine.statuses["work@0-1"] == "CANCELED"
        assert engine.statuses["inner@0"] == "ERROR"
        engine.succeed("work@1-0", main="fine")
        done = complete(engine, "outer")
        assert done["results"][0] is None
        assert done["results"][1]["results"] == ["fine"]
        assert done["failed"] == 1
        assert done["errors"][0]["failure"]["node_id"] == "work"

    def test_an_inner_loop_may_go_on_after_a_failure_by_its_own_policy(self) -> None:
        engine = run(
            "outer:FLOW.LOOP inner:FLOW.LOOP work rescue",
            "outer.iteration -> inner",
            "inner.iteration -> work",
            "work -> inner.loop_body",
            "inner.complete -> outer.loop_body",
            "inner.error -> rescue",
            "rescue -> outer.loop_body",
            fields={"work": ONE_TRY, "inner": ONE_TRY},
        )
        engine.iterate("outer", ["o"])
        engine.iterate("inner@0", ["i"])

        engine.fail("work@0-0")

        given = engine.input("rescue@0")
        assert given["item"] == "o"
        assert given["error"]["node_id"] == "work"
        engine.succeed("rescue@0", main="rescued")
        assert complete(engine, "outer")["results"] == [["rescued"]]
        assert engine.state.continued_errors == 1


class TestItemErrors:
    def test_stop_cancels_the_others_and_fails_the_loop(self) -> None:
        engine = over([1, 2, 3], max_parallel=3)
        engine.succeed("work@2", main=3)

        decision = engine.fail("work@1")

        assert engine.statuses == {
            "each": "ERROR",
            "after": "CANCELED",
            "work@0": "CANCELED",
            "work@1": "ERROR",
            "work@2": "SUCCESS",
        }
        assert decision.stop_workers
        assert engine.succeed("work@0", 1).refused == "already_finished"

    def test_stop_with_the_error_port_of_the_loop_wired(self) -> None:
        engine = run(
            LOOP + " rescue",
            *LOOP_WIRES,
            "each.error -> rescue",
            fields={"work": ONE_TRY},
            input={"all": [1, 2]},
        )
        engine.iterate("each", [1, 2], max_parallel=2)

        engine.fail("work@0")

        assert engine.statuses["after"] == "SKIPPED"
        assert engine.statuses["work@1"] == "CANCELED"
        assert engine.succeed("work@1", 1).refused == "stale_result"
        given = engine.input("rescue")
        assert given["all"] == [1, 2]
        assert given["error"]["node_id"] == "work"
        engine.succeed("rescue", main="ok")
        assert engine.output == {"rescue": "ok"}

    def test_a_loop_is_not_tried_again_after_an_iteration_failed(self) -> None:
        engine = run(LOOP, *LOOP_WIRES, fields={"work": ONE_TRY, "each": {"retry_policy": RETRY}})
        engine.iterate("each", [1])

        engine.fail("work@0", retryable=True)

        assert engine.status is ExecutionStatus.ERROR

    @pytest.mark.parametrize(
        ("rule", "results"),
        [(ItemError.NULL, ["a", None, "c"]), (ItemError.DROP, ["a", "c"])],
    )
    def test_null_and_drop(self, rule: ItemError, results: list[Any]) -> None:
        engine = over([1, 2, 3], on_item_error=rule)
        engine.succeed("work@0", main="a")
        engine.fail("work@1")
        engine.succeed("work@2", main="c")

        done = complete(engine)

        assert done["results"] == results
        assert (done["count"], done["failed"], done["last"]) == (3, 1, "c")
        assert engine.state.continued_errors == 1
        assert done["errors"][0]["index"] == 1
        assert done["errors"][0]["failure"]["code"] == "broken"

    def test_errors_stand_in_item_order(self) -> None:
        engine = over([1, 2, 3], max_parallel=3, on_item_error=ItemError.DROP)
        for index in (2, 0, 1):
            engine.fail(f"work@{index}")

        done = complete(engine)

        assert [each["index"] for each in done["errors"]] == [0, 1, 2]
        assert (done["results"], done["last"]) == ([], None)

    def test_what_is_left_of_a_failed_iteration_is_canceled_with_its_waits(self) -> None:
        engine = run(
            "each:FLOW.LOOP bad slow:CUSTOM.YIELDS child:CUSTOM.YIELDS behind",
            "each.iteration -> bad",
            "each.iteration -> slow",
            "each.iteration -> child",
            "slow -> behind",
            fields={"bad": ONE_TRY},
        )
        engine.iterate("each", [1, 2], on_item_error=ItemError.NULL)
        engine.ask("slow@0", seconds=60)
        engine.start_child("child@0")

        decision = engine.fail("bad@0")

        assert len(decision.orphans) == 1
        assert [each.status for each in decision.closed] == ["CANCELED"]
        assert engine.statuses["behind@0"] == "CANCELED"
        assert engine.dispatched[-3:] == ["bad@1", "slow@1", "child@1"]
        assert engine.fire(timer_of("slow@0", "DUE")).refused == "stale_timer"

    def test_a_continued_failure_inside_does_not_end_the_iteration(self) -> None:
        engine = run(
            "each:FLOW.LOOP work rescue",
            "each.iteration -> work",
            "work.error -> rescue",
            "rescue -> each.loop_body",
            fields={"work": CONTINUE},
        )
        engine.iterate("each", ["x"])

        engine.fail("work@0")

        assert engine.input("rescue@0")["item"] == "x"
        engine.succeed("rescue@0", main="saved")
        assert complete(engine)["results"] == ["saved"]

    def test_a_failed_leaf_that_went_on_is_no_result(self) -> None:
        engine = run("each:FLOW.LOOP work", "each.iteration -> work", fields={"work": CONTINUE})
        engine.iterate("each", ["x"])

        engine.fail("work@0")

        assert complete(engine)["results"] == [None]


def test_the_policy_of_the_workflow_holds_inside_of_loops() -> None:
    nodes = [node("each", "FLOW.LOOP"), node("work", **ONE_TRY)]
    wires = [wire("each.iteration -> work"), wire("work -> each.loop_body")]
    settings = Settings(on_error=OnError.CONTINUE_REGULAR)
    engine = Engine(compiled(document(nodes, wires, settings))).start()
    engine.iterate("each", ["x"])

    engine.fail("work@0")

    assert engine.output["each"]["results"][0]["item"] == "x"
    assert engine.output["each"]["results"][0]["error"]["code"] == "broken"
