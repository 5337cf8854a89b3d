"""Loops: items, batches, iterations side by side, and loops on a condition."""

import random

import msgspec
import pytest

from contracts.execution import values
from contracts.failures import FailureKind
from contracts.history import LoopRules, LoopStarted
from contracts.messages import LoopOrder, LoopScope
from contracts.statuses import ExecutionStatus, ItemError
from tests.core.graphs import LOOP, LOOP_WIRES, ONE_TRY, RETRY, complete, over, run
from tests.support.assembling import task_of
from tests.support.engine import key_of, raw, timer_of


class TestItems:
    def test_one_iteration_after_the_other_in_order(self) -> None:
        engine = over(["a", "b"])
        assert engine.statuses == {
            "each": "RUNNING",
            "work@0": "RUNNING",
            "after": "PENDING",
        }
        assert engine.input("work@0") == {"item": "a", "index": 0, "count": 2, "is_last": False}

        engine.succeed("work@0", main="A")

        assert engine.statuses["work@1"] == "RUNNING"
        assert engine.input("work@1") == {"item": "b", "index": 1, "count": 2, "is_last": True}
        engine.succeed("work@1", main="B")
        assert complete(engine) == {
            "results": ["A", "B"],
            "count": 2,
            "failed": 0,
            "errors": [],
            "last": "B",
        }
        engine.succeed("after", main="end")
        assert engine.output == {"after": "end"}
        assert engine.kinds == [
            "execution_created",
            "execution_started",
            "loop_started",
            "node_succeeded",
            "node_succeeded",
            "node_succeeded",
            "node_succeeded",
            "execution_succeeded",
        ]

    def test_a_loop_that_nothing_follows_is_a_leaf(self) -> None:
        engine = run("each:FLOW.LOOP work", "each.iteration -> work", "work -> each.loop_body")
        engine.iterate("each", [1])

        engine.succeed("work@0", main=2)

        assert engine.output["each"]["results"] == [2]

    def test_no_items_complete_at_once_and_no_node_run_of_the_body_exists(self) -> None:
        engine = over([])

        assert complete(engine) == {
            "results": [],
            "count": 0,
            "failed": 0,
            "errors": [],
            "last": None,
        }
        assert engine.statuses == {"each": "SUCCESS", "after": "RUNNING"}

    @pytest.mark.parametrize(
        ("size", "shares"),
        [(2, [[1, 2], [3, 4], [5]]), (5, [[1, 2, 3, 4, 5]]), (9, [[1, 2, 3, 4, 5]])],
    )
    def test_batches(self, size: int, shares: list[list[int]]) -> None:
        engine = over([1, 2, 3, 4, 5], batch_size=size)

        for index, share in enumerate(shares):
            given = engine.input(f"work@{index}")
            assert given == {
                "items": share,
                "index": index,
                "count": len(shares),
                "is_last": index == len(shares) - 1,
            }
            engine.succeed(f"work@{index}", main=sum(share))

        assert complete(engine)["results"] == [sum(share) for share in shares]
        assert complete(engine)["count"] == len(shares)

    def test_without_collecting_only_the_last_result_is_kept(self) -> None:
        engine = over([1, 2, 3], collect=False, max_parallel=3)
        for index in (2, 0, 1):
            engine.succeed(f"work@{index}", main=index)

        given = complete(engine)

        assert list(engine.state.loops["each", ()].results) == [2]
        assert "results" not in given
        assert given["last"] == 2
        assert given["count"] == 3

    def test_a_worker_that_says_nothing_of_use_fails_the_loop(self) -> None:
        engine = run(LOOP, *LOOP_WIRES, fields={"each": ONE_TRY})

        engine.iterate("each", {"a": 1})  # type: ignore[arg-type]

        assert engine.state.failure is not None
        assert engine.state.failure.code == "invalid_result"

    @pytest.mark.parametrize("rules", [{"batch_size": 0}, {"max_parallel": 0}])
    def test_rules_under_which_nothing_would_ever_run_are_a_failure(
        self, rules: dict[str, int]
    ) -> None:
        engine = run(LOOP, *LOOP_WIRES, fields={"each": ONE_TRY})

        engine.iterate("each", [1, 2], **rules)

        assert engine.state.failure is not None
        assert engine.state.failure.code == "invalid_result"

    def test_a_node_that_is_no_loop_cannot_iterate(self) -> None:
        engine = run("a", fields={"a": ONE_TRY})

        engine.iterate("a", [1])

        assert engine.state.failure is not None
        assert "no loop" in engine.state.failure.message

    def test_a_failed_attempt_of_the_loop_itself_is_retried_before_it_begins(self) -> None:
        engine = run(LOOP, *LOOP_WIRES, fields={"each": {"retry_policy": RETRY}})
        engine.fail("each", retryable=True)
        engine.fire(timer_of("each", "RETRY"))

        engine.iterate("each", [1])

        assert engine.statuses["work@0"] == "RUNNING"
        assert engine.state.runs["each", ()].attempt == 2

    def test_expressions_see_item_index_count_and_what_the_iteration_before_gave(self) -> None:
        engine = run(LOOP, *LOOP_WIRES, fields={"work": {"parameters": {"x": "{{ loop.item }}"}}})
        engine.iterate("each", ["a", "b"])
        engine.succeed("work@0", main="A")

        scope = task_of(engine.plan, engine.state, ("work", (1,))).loop

        assert scope == LoopScope(index=1, item=raw("b"), count=2, previous=raw("A"))

    def test_side_by_side_there_is_none_before(self) -> None:
        engine = run(LOOP, *LOOP_WIRES, fields={"work": {"parameters": {"x": "{{ loop.items }}"}}})
        engine.iterate("each", ["a", "b", "c"], max_parallel=2, batch_size=2)
        engine.succeed("work@0", main="A")

        scope = task_of(engine.plan, engine.state, ("work", (1,))).loop

        assert scope == LoopScope(index=1, items=raw(["c"]), count=2)


class TestParallel:
    @pytest.mark.parametrize("seed", range(5))
    def test_results_stand_in_input_order_whatever_the_order_of_their_coming(
        self, seed: int
    ) -> None:
        chance = random.Random(seed)
        engine = over(list(range(12)), max_parallel=5)

        while engine.statuses["each"] == "RUNNING":
            under_way = sorted(key for key in engine.under_way if key[0] == "work")
            assert len(under_way) <= 5
            _, path = chance.choice(under_way)
            engine.succeed(f"work@{path[0]}", main=path[0] * 10)

        assert complete(engine)["results"] == [10 * n for n in range(12)]

    def test_at_most_so_many_at_once_and_the_next_as_soon_as_one_ends(self) -> None:
        engine = over([1, 2, 3, 4], max_parallel=2)
        assert engine.dispatched == ["each", "work@0", "work@1"]

        engine.succeed("work@1")

        assert engine.dispatched[3:] == ["work@2"]
        engine.succeed("work@0")
        assert engine.dispatched[4:] == ["work@3"]

    def test_more_at_once_than_there_are_items(self) -> None:
        engine = over([1, 2], max_parallel=10)

        assert engine.dispatched == ["each", "work@0", "work@1"]

    def test_ready_node_runs_go_in_document_order_then_by_iteration(self) -> None:
        engine = run(
            "each:FLOW.LOOP first second",
            "each.iteration -> second",
            "each.iteration -> first",
            "first -> each.loop_body",
            "second -> each.loop_body",
        )

        decision = engine.iterate("each", [1, 2], max_parallel=2)

        assert decision.dispatched == (
            ("first", (0,)),
            ("first", (1,)),
            ("second", (0,)),
            ("second", (1,)),
        )


class TestOnCondition:
    def test_it_is_asked_before_each_iteration(self) -> None:
        engine = run(LOOP, *LOOP_WIRES)
        engine.iterate("each")
        assert engine.input("work@0") == {"index": 0, "previous": None}
        engine.succeed("work@0", main="r0")
        assert engine.dispatched == ["each", "work@0", "each"]

        engine.iterate("each")
        assert engine.input("work@1") == {"index": 1, "previous": "r0"}
        engine.succeed("work@1", main="r1")
        engine.stop_iterating("each")

        assert complete(engine)["results"] == ["r0", "r1"]
        assert engine.kinds.count("loop_continued") == 1
        assert engine.state.runs["each", ()].attempt == 3

    def test_the_question_carries_the_scope_of_the_iteration_to_come(self) -> None:
        engine = run(LOOP, *LOOP_WIRES)
        first = task_of(engine.plan, engine.state, ("each", ()))
        engine.iterate("each")
        engine.succeed("work@0", main="r0")

        second = task_of(engine.plan, engine.state, ("each", ()))

        assert not first.is_asked
        assert second.is_asked
        assert first.next_loop is not None
        assert second.next_loop is not None
        assert (first.next_loop.index, first.next_loop.previous) == (0, raw(None))
        assert (second.next_loop.index, second.next_loop.previous) == (1, raw("r0"))

    def test_a_condition_that_never_holds_completes_without_an_iteration(self) -> None:
        engine = run(LOOP, *LOOP_WIRES)

        engine.stop_iterating("each")

        assert complete(engine)["count"] == 0
        assert engine.statuses == {"each": "SUCCESS", "after": "RUNNING"}

    def test_its_rules_hold_even_so(self) -> None:
        engine = run(LOOP, *LOOP_WIRES)

        engine.report("each", loop=LoopOrder(goes_on=False, rules=LoopRules(collect=False)))

        assert "results" not in complete(engine)

    def test_a_condition_that_fails_fails_the_loop(self) -> None:
        engine = run(LOOP, *LOOP_WIRES, fields={"each": ONE_TRY})
        engine.iterate("each")
        engine.succeed("work@0")

        engine.fail("each", kind=FailureKind.INVALID_EXPRESSION)

        assert engine.status is ExecutionStatus.ERROR
        assert engine.statuses["after"] == "CANCELED"

    def test_a_question_that_is_lost_is_asked_again(self) -> None:
        engine = run(LOOP, *LOOP_WIRES, fields={"each": {"retry_policy": RETRY}})
        engine.iterate("each")
        engine.succeed("work@0", main="r0")
        engine.fail("each", retryable=True)
        assert engine.statuses["each"] == "PENDING"

        engine.fire("retry:each:_:2")

        engine.iterate("each")
        assert engine.input("work@1") == {"index": 1, "previous": "r0"}

    def test_without_a_body_it_is_asked_again_at_once(self) -> None:
        engine = run("each:FLOW.LOOP")
        engine.iterate("each")
        assert engine.dispatched == ["each", "each"]

        engine.stop_iterating("each")

        assert engine.output["each"]["results"] == [None]

    @pytest.mark.parametrize("rule", [ItemError.NULL, ItemError.DROP])
    def test_after_a_failed_iteration_previous_is_null(self, rule: ItemError) -> None:
        engine = run(LOOP, *LOOP_WIRES, fields={"work": ONE_TRY})
        engine.iterate("each", on_item_error=rule)
        engine.succeed("work@0", main="r0")
        engine.iterate("each")
        engine.fail("work@1")
        engine.iterate("each")

        assert engine.input("work@2") == {"index": 2, "previous": None}
        assert engine.input("work@1") == {"index": 1, "previous": "r0"}

    def test_without_collecting_previous_is_known_all_the_same(self) -> None:
        engine = run(LOOP, *LOOP_WIRES)
        engine.iterate("each", collect=False)
        engine.succeed("work@0", main="r0")

        engine.iterate("each")

        assert engine.input("work@1") == {"index": 1, "previous": "r0"}

    def test_inside_of_an_outer_loop_the_scope_has_the_outer_one_as_parent(self) -> None:
        engine = run(
            "outer:FLOW.LOOP inner:FLOW.LOOP work",
            "outer.iteration -> inner",
            "inner.iteration -> work",
            "work -> inner.loop_body",
            "inner.complete -> outer.loop_body",
            fields={"inner": {"parameters": {"condition": "{{ loop.index < 3 }}"}}},
        )
        engine.iterate("outer", ["o"])

        task = task_of(engine.plan, engine.state, key_of("inner@0"))

        assert task.loop is not None
        assert task.loop.item == raw("o")
        assert task.next_loop is not None
        assert task.next_loop.index == 0
        assert task.next_loop.parent is not None
        assert task.next_loop.parent.item == raw("o")


def test_an_answer_of_a_loop_that_goes_on_is_not_taken_twice() -> None:
    engine = over([1, 2])

    again = engine.report("each", 1, loop=LoopOrder(items=raw([1, 2, 3])))

    assert again.refused == "stale_result"
    assert engine.state.loops["each", ()].total == 2


def test_cancel_ends_all_iterations() -> None:
    engine = over([1, 2, 3], max_parallel=2)

    engine.cancel()

    assert engine.statuses == {
        "each": "CANCELED",
        "after": "CANCELED",
        "work@0": "CANCELED",
        "work@1": "CANCELED",
    }


def test_an_event_of_a_loop_reads_back_as_it_was_written() -> None:
    engine = over([{"a": 1}], batch_size=2, max_parallel=3, on_item_error=ItemError.DROP)

    started = engine.events("loop_started")[0]

    assert isinstance(started, LoopStarted)
    assert started.total == 1
    assert values.items_of(msgspec.Raw(bytes(started.items))) == [raw({"a": 1})]  # type: ignore[arg-type]
