"""Joins: what a node with several inputs waits for, and what it does not wait for."""

import random
from datetime import timedelta
from typing import Any

import pytest

from contracts.history import NodesSkipped
from contracts.model import OnError, RetryPolicy
from contracts.statuses import ExecutionStatus, ItemError, SkipReason
from scheduler.core.decision import TimerDue
from tests.core.graphs import ONE_TRY, graph, run
from tests.support.engine import Engine, compiled, document, node, wire

BRANCHES = ("fork -> a", "fork -> b", "a -> join", "b -> join", "join -> after")
NODES = "fork a b join:FLOW.MERGE after"
JOIN_TIMER = "join:join:_"


def merge(nodes: str = NODES, *wires: str, fields: Any = None, **parameters: Any) -> Engine:
    """Return an execution of two branches that meet in a MERGE with these parameters."""
    given = {"join": {"parameters": parameters, **ONE_TRY}} | (fields or {})
    engine = run(nodes, *(wires or BRANCHES), fields=given)
    engine.succeed("fork")
    return engine


class TestAll:
    def test_values_of_all_branches_reach_the_join(self) -> None:
        engine = merge()
        engine.succeed("b", main={"b": 1})
        assert engine.statuses["join"] == "PENDING"

        engine.succeed("a", main={"a": 1})

        assert engine.input("join") == {"a": 1, "b": 1}

    def test_a_dead_branch_is_resolved_and_blocks_nothing(self) -> None:
        engine = merge()
        engine.report("b", ports={})

        engine.succeed("a", main={"a": 1})

        assert engine.input("join") == {"a": 1}

    def test_all_dead_the_join_is_dead_with_all_behind_it(self) -> None:
        engine = merge()
        engine.report("a", ports={})

        decision = engine.report("b", ports={})

        skipped = decision.events[1].data
        assert isinstance(skipped, NodesSkipped)
        assert skipped.reason is SkipReason.DEAD
        assert [ref.node_id for ref in skipped.node_runs] == ["join", "after"]
        assert engine.output == {}

    def test_two_connections_from_one_node_both_count(self) -> None:
        engine = run("a join", "a.a -> join", "a.b -> join")

        engine.succeed("a", a={"x": 1})

        assert engine.statuses["join"] == "RUNNING"
        assert engine.input("join") == {"x": 1}

    def test_a_chain_of_ten_thousand_dead_nodes_is_one_plain_pass(self) -> None:
        ids = [f"n{n}" for n in range(10_000)]
        wires = [wire(f"n{n}{'.a' * (n == 0)} -> n{n + 1}") for n in range(9_999)]
        plan = compiled(document([node(each) for each in ids], wires))
        engine = Engine(plan, checked=False).start()

        engine.succeed("n0", b=1)

        assert engine.status is ExecutionStatus.SUCCESS
        assert engine.kinds[-2:] == ["nodes_skipped", "execution_succeeded"]

    def test_ten_thousand_branches_meet_exactly_once(self) -> None:
        count = 10_000
        ids = ["fork", *(f"w{n}" for n in range(count)), "join"]
        wires = [wire(f"fork -> w{n}") for n in range(count)]
        wires += [wire(f"w{n} -> join") for n in range(count)]
        plan = compiled(document([node(each) for each in ids], wires))
        engine = Engine(plan, checked=False).start()
        engine.succeed("fork")
        order = list(range(count))
        random.Random(7).shuffle(order)

        for n in order[:-1]:
            assert not engine.succeed(f"w{n}").dispatched
        last = engine.succeed(f"w{order[-1]}")

        assert last.dispatched == (("join", ()),)
        assert engine.dispatched.count("join") == 1
        engine.succeed("join", main="done")
        assert engine.output == {"join": "done"}


class TestFirst:
    def test_it_goes_on_at_the_first_delivery_and_ignores_the_later_ones(self) -> None:
        engine = merge(wait_for="first")

        assert engine.succeed("b", main={"b": 1}).dispatched == (("join", ()),)
        assert engine.succeed("a", main={"a": 1}).dispatched == ()

        assert engine.input("join") == {"b": 1}
        assert engine.dispatched.count("join") == 1
        engine.succeed("join")
        engine.succeed("after", main="end")
        assert engine.output == {"after": "end"}

    def test_a_later_delivery_after_its_end_changes_nothing(self) -> None:
        engine = merge(wait_for="first")
        engine.succeed("b")
        engine.succeed("join", main="j")

        engine.succeed("a", main={"a": 1})

        assert engine.statuses["join"] == "SUCCESS"
        assert engine.statuses["after"] == "RUNNING"

    def test_a_dead_branch_is_no_delivery(self) -> None:
        engine = merge(wait_for="first")

        engine.report("b", ports={})

        assert engine.statuses["join"] == "PENDING"
        engine.succeed("a")
        assert engine.statuses["join"] == "RUNNING"

    def test_all_dead_it_is_dead(self) -> None:
        engine = merge(wait_for="first")
        engine.report("b", ports={})
        engine.report("a", ports={})

        assert engine.statuses["join"] == "SKIPPED"

    def test_held_back_by_a_pause_it_keeps_to_what_came_first(self) -> None:
        engine = merge(wait_for="first")
        engine.pause()
        engine.succeed("b", main={"b": 1})
        engine.succeed("a", main={"a": 1})

        engine.resume()

        assert engine.input("join") == {"b": 1}
        assert engine.dispatched.count("join") == 1

    def test_disabled_it_passes_on_what_came_first(self) -> None:
        engine = run(
            NODES,
            *BRANCHES,
            fields={"join": {"parameters": {"wait_for": "first"}, "disabled": True}},
        )
        engine.succeed("fork")

        engine.succeed("b", main={"b": 1})

        assert engine.value("join") == {"b": 1}
        assert engine.statuses["after"] == "RUNNING"

    def test_in_a_body_what_leads_in_from_outside_may_be_the_first(self) -> None:
        engine = run(
            "out each:FLOW.LOOP slow join:FLOW.MERGE",
            "each.iteration -> slow",
            "slow -> join",
            "out -> join",
            "join -> each.loop_body",
            fields={"join": {"parameters": {"wait_for": "first"}}},
        )
        engine.succeed("out", main="outside")

        engine.iterate("each", [1])

        assert engine.input("join@0") == "outside"
        engine.succeed("slow@0", main={"late": 1})
        assert engine.input("join@0") == "outside"
        engine.succeed("join@0", main="done")
        assert engine.output["each"]["results"] == ["done"]

    def test_of_two_that_are_there_when_an_iteration_begins_the_first_in_the_document_counts(
        self,
    ) -> None:
        engine = run(
            "out each:FLOW.LOOP join:FLOW.MERGE",
            "out -> join",
            "each.iteration -> join",
            fields={"join": {"parameters": {"wait_for": "first"}}},
        )
        engine.succeed("out", main={"from": "outside"})

        engine.iterate("each", [1])

        assert engine.input("join@0") == {"from": "outside"}


class TestMaxWait:
    def test_it_counts_from_the_first_delivery(self) -> None:
        engine = merge(max_wait=60)
        assert JOIN_TIMER not in engine.timers

        engine.succeed("a")

        assert engine.timers[JOIN_TIMER].due_at == engine.at + timedelta(seconds=60)

    def test_all_in_time_it_runs_once_and_the_timer_means_nothing(self) -> None:
        engine = merge(max_wait=60)
        engine.succeed("a")
        engine.succeed("b")

        decision = engine.fire(JOIN_TIMER)

        assert decision.refused == "stale_timer"
        assert decision.cleared == (JOIN_TIMER,)
        assert engine.dispatched.count("join") == 1

    def test_in_vain_it_fails(self) -> None:
        engine = merge(max_wait=60)
        engine.succeed("a")

        engine.fire(JOIN_TIMER)

        assert engine.status is ExecutionStatus.ERROR
        assert engine.state.failure is not None
        assert engine.state.failure.code == "merge_timeout"
        assert engine.state.failure.node_id == "join"

    def test_its_failure_may_go_on_with_what_had_arrived(self) -> None:
        engine = run(
            NODES,
            *BRANCHES[:-1],
            "join.error -> after",
            fields={"join": {"parameters": {"max_wait": 60}, **ONE_TRY}},
        )
        engine.succeed("fork")
        engine.succeed("a", main={"a": 1})

        engine.fire(JOIN_TIMER)

        given = engine.input("after")
        assert given["a"] == 1
        assert given["error"]["code"] == "merge_timeout"
        engine.succeed("b", main={"b": 1})
        assert engine.statuses["join"] == "ERROR"

    def test_it_is_not_tried_again_for_nothing_was_tried(self) -> None:
        engine = merge(
            max_wait=60,
            fields={
                "join": {
                    "parameters": {"max_wait": 60},
                    "retry_policy": RetryPolicy(retry_on=("ANY",)),
                }
            },
        )
        engine.succeed("a")

        engine.fire(JOIN_TIMER)

        assert engine.status is ExecutionStatus.ERROR

    def test_it_may_proceed_with_what_has_arrived(self) -> None:
        engine = merge(max_wait=60, on_timeout="PROCEED")
        engine.succeed("b", main={"b": 1})

        decision = engine.fire(JOIN_TIMER)

        assert decision.dispatched == (("join", ()),)
        assert engine.input("join") == {"b": 1}
        engine.succeed("a", main={"a": 1})
        assert engine.input("join") == {"b": 1}
        engine.succeed("join", main="j")
        engine.succeed("after", main="end")
        assert engine.output == {"after": "end"}

    def test_a_timer_read_twice_does_nothing_more(self) -> None:
        engine = merge(max_wait=60, on_timeout="PROCEED")
        engine.succeed("b")
        engine.fire(JOIN_TIMER)

        again = engine.feed(TimerDue(JOIN_TIMER, "DUE", "join"))

        assert again.refused == "stale_timer"
        assert engine.dispatched.count("join") == 1

    def test_two_deliveries_at_once_need_no_timer(self) -> None:
        engine = run(
            "a join:FLOW.MERGE",
            "a.a -> join",
            "a.b -> join",
            fields={"join": {"parameters": {"max_wait": 60}}},
        )

        decision = engine.succeed("a", a=1, b=2)

        assert decision.timers == ()
        assert decision.dispatched == (("join", ()),)

    def test_dead_branches_bring_no_timer(self) -> None:
        engine = merge(max_wait=60)

        assert engine.report("a", ports={}).timers == ()

    def test_in_a_body_the_time_counts_from_the_beginning_of_the_iteration(self) -> None:
        engine = run(
            "out each:FLOW.LOOP slow join:FLOW.MERGE",
            "each.iteration -> slow",
            "slow -> join",
            "out -> join",
            "join -> each.loop_body",
            fields={"join": {"parameters": {"max_wait": 60, "on_timeout": "PROCEED"}}},
        )
        engine.succeed("out", main="outside")

        engine.iterate("each", [1])

        engine.fire("join:join:0")
        assert engine.input("join@0") == "outside"

    def test_in_a_body_its_failure_is_that_of_the_iteration(self) -> None:
        engine = run(
            "each:FLOW.LOOP fast slow join:FLOW.MERGE",
            "each.iteration -> fast",
            "each.iteration -> slow",
            "fast -> join",
            "slow -> join",
            "join -> each.loop_body",
            fields={"join": {"parameters": {"max_wait": 60}}, "each": ONE_TRY},
        )
        engine.iterate("each", [1])
        engine.succeed("fast@0")

        engine.fire("join:join:0")

        assert engine.statuses["slow@0"] == "CANCELED"
        assert engine.state.failure is not None
        assert engine.state.failure.iteration == (0,)

    def test_the_timer_of_a_join_that_was_canceled_with_its_iteration_means_nothing(self) -> None:
        engine = run(
            "each:FLOW.LOOP fast slow join:FLOW.MERGE",
            "each.iteration -> fast",
            "each.iteration -> slow",
            "fast -> join",
            "slow -> join",
            fields={"join": {"parameters": {"max_wait": 60}}, "slow": ONE_TRY},
        )
        engine.iterate("each", [1, 2], on_item_error=ItemError.DROP)
        engine.succeed("fast@0")
        engine.fail("slow@0")

        assert engine.statuses["join@0"] == "CANCELED"
        assert engine.fire("join:join:0").refused == "stale_timer"

    def test_the_timer_of_a_join_that_is_ready_and_held_back_means_nothing(self) -> None:
        engine = merge(max_wait=60)
        engine.succeed("a")
        engine.pause()
        engine.succeed("b")

        assert engine.fire(JOIN_TIMER).refused == "stale_timer"
        assert engine.resume().dispatched == (("join", ()),)

    @pytest.mark.parametrize("on_timeout", ["FAIL", "PROCEED"])
    def test_while_paused_it_takes_effect_on_resume(self, on_timeout: str) -> None:
        engine = merge(max_wait=60, on_timeout=on_timeout)
        engine.succeed("a", main={"a": 1})
        engine.pause()
        engine.fire(JOIN_TIMER)
        assert engine.statuses["join"] == "PENDING"
        assert engine.feed(TimerDue(JOIN_TIMER, "DUE", "join")).refused == "stale_timer"

        engine.resume()

        assert engine.statuses["join"] == ("ERROR" if on_timeout == "FAIL" else "RUNNING")

    def test_what_completes_it_during_the_pause_counts(self) -> None:
        engine = merge(max_wait=60)
        engine.succeed("a", main={"a": 1})
        engine.pause()
        engine.fire(JOIN_TIMER)
        engine.succeed("b", main={"b": 1})

        decision = engine.resume()

        assert decision.dispatched == (("join", ()),)
        assert engine.input("join") == {"a": 1, "b": 1}

    def test_a_wait_beyond_all_limits_is_cut(self) -> None:
        plan = graph(NODES, *BRANCHES, fields={"join": {"parameters": {"max_wait": 1e300}}})

        join = plan.nodes["join"].join

        assert join is not None
        assert join.max_wait == 31_536_000

    def test_a_disabled_join_waits_as_well(self) -> None:
        engine = merge(
            fields={"join": {"parameters": {"max_wait": 60}, "disabled": True}}, max_wait=60
        )
        engine.succeed("a", main={"a": 1})
        assert engine.statuses["join"] == "PENDING"

        engine.succeed("b", main={"b": 1})

        assert engine.value("join") == {"a": 1, "b": 1}

    def test_a_node_that_is_no_merge_waits_for_all(self) -> None:
        engine = run(
            "fork a b join",
            *BRANCHES[:4],
            fields={"join": {"parameters": {"max_wait": 60, "wait_for": "first"}}},
        )
        engine.succeed("fork")

        decision = engine.succeed("a")

        assert decision.timers == ()
        assert engine.statuses["join"] == "PENDING"


def test_a_failure_that_goes_on_reaches_the_join_over_its_port() -> None:
    engine = run(
        "fork a b join",
        "fork -> a",
        "fork -> b",
        "a.error -> join",
        "b -> join",
        fields={"a": ONE_TRY | {"on_error": OnError.CONTINUE_ERROR}},
    )
    engine.succeed("fork", main={"x": 1})
    engine.fail("a")

    engine.succeed("b", main={"b": 1})

    given = engine.input("join")
    assert given["b"] == 1
    assert given["error"]["node_id"] == "a"


def test_ports_beside_main_are_fields_of_the_input() -> None:
    engine = run("a b join", "a -> join", "b -> join.input1")
    engine.succeed("a", main={"a": 1})
    engine.succeed("b", main=[2])

    assert engine.input("join") == {"a": 1, "input1": [2]}
