"""Bodies of loops: what leads into them, what leads back, and what stands in for them."""

from typing import Any

from contracts.failures import FailureKind
from contracts.statuses import ExecutionStatus, ItemError, Mode, SkipReason, WaitKind
from tests.core.graphs import LOOP, LOOP_WIRES, ONE_TRY, RETRY, complete, graph, over, run
from tests.support.engine import Engine, compiled, document, node, wire


class TestBody:
    def test_without_a_way_back_the_leaves_of_the_body_are_the_result(self) -> None:
        engine = run(
            "each:FLOW.LOOP a b c",
            "each.iteration -> a",
            "each.iteration -> b",
            "b -> c",
            fields={"a": ONE_TRY},
        )
        engine.iterate("each", [1, 2])
        engine.succeed("a@0", main="a0")
        engine.succeed("b@0", main="b0")
        engine.succeed("c@0", main="c0")
        engine.succeed("a@1", main="a1")
        engine.succeed("b@1", a="b1")

        assert engine.statuses["c@1"] == "SKIPPED"
        assert complete(engine)["results"] == [
            {"a": "a0", "c": "c0"},
            {"a": "a1", "b": "b1"},
        ]

    def test_the_only_leaf_is_the_result_itself_and_none_is_null(self) -> None:
        engine = run("each:FLOW.LOOP a b", "each.iteration -> a", "a -> b")
        engine.iterate("each", [1, 2])
        engine.succeed("a@0")
        engine.succeed("b@0", main="leaf")
        engine.report("a@1", ports={})

        assert complete(engine)["results"] == ["leaf", None]

    def test_a_loop_without_a_body_gives_null_for_each_item(self) -> None:
        engine = run("each:FLOW.LOOP after", "each.complete -> after")

        engine.iterate("each", [1, 2, 3], max_parallel=2)

        assert complete(engine)["results"] == [None, None, None]
        assert complete(engine)["count"] == 3

    def test_ten_thousand_iterations_of_an_empty_body_are_one_plain_pass(self) -> None:
        engine = Engine(graph("each:FLOW.LOOP"), checked=False).start()

        engine.iterate("each", list(range(10_000)))

        assert engine.output["each"]["count"] == 10_000

    def test_a_dead_way_back_gives_null(self) -> None:
        engine = over([1, 2])
        engine.succeed("work@0", a="elsewhere")
        engine.succeed("work@1", main="here")

        assert complete(engine)["results"] == [None, "here"]

    def test_several_ways_back_give_a_list_of_what_came_in_their_order(self) -> None:
        engine = run(
            "each:FLOW.LOOP a b c",
            *(f"each.iteration -> {each}" for each in "abc"),
            *(f"{each} -> each.loop_body" for each in "abc"),
        )
        engine.iterate("each", [1, 2, 3])
        for name in ("c@0", "a@0", "b@0"):
            engine.succeed(name, main=name)
        engine.report("b@1", ports={})
        engine.succeed("c@1", main="c@1")
        engine.succeed("a@1", main="a@1")
        for name in ("a@2", "b@2", "c@2"):
            engine.report(name, ports={})

        assert complete(engine)["results"] == [["a@0", "b@0", "c@0"], ["a@1", "c@1"], None]

    def test_one_of_two_ports_led_back_is_dead_and_the_other_gives_a_list(self) -> None:
        engine = run(
            "each:FLOW.LOOP work",
            "each.iteration -> work",
            "work.a -> each.loop_body",
            "work.b -> each.loop_body",
        )
        engine.iterate("each", [1])

        engine.succeed("work@0", b=7)

        assert complete(engine)["results"] == [[7]]

    def test_a_branch_in_the_body_is_skipped_per_iteration(self) -> None:
        engine = run(
            "each:FLOW.LOOP if yes no join",
            "each.iteration -> if",
            "if.a -> yes",
            "if.b -> no",
            "yes -> join",
            "no -> join",
            "join -> each.loop_body",
        )
        engine.iterate("each", [1, 2])
        engine.succeed("if@0", a=1)
        engine.succeed("yes@0", main="y")
        engine.succeed("join@0", main="j0")
        engine.succeed("if@1", b=1)
        assert engine.statuses["yes@1"] == "SKIPPED"
        engine.succeed("no@1", main="n")
        engine.succeed("join@1", main="j1")

        assert engine.statuses["no@0"] == "SKIPPED"
        assert complete(engine)["results"] == ["j0", "j1"]

    def test_a_disabled_node_in_the_body_passes_the_item_on(self) -> None:
        engine = run(LOOP, *LOOP_WIRES, fields={"work": {"disabled": True}})

        engine.iterate("each", ["x", "y"])

        assert [each["item"] for each in complete(engine)["results"]] == ["x", "y"]
        assert engine.state.runs["work", (1,)].skip_reason is SkipReason.DISABLED
        assert engine.dispatched == ["each", "after"]

    def test_a_pinned_node_in_the_body_stands_in_each_iteration(self) -> None:
        plan = compiled(
            document(
                [node("each", "FLOW.LOOP"), node("work"), node("after")],
                [wire(each) for each in LOOP_WIRES],
                pin_data={"work": "pinned"},
            )
        )
        engine = Engine(plan, mode=Mode.MANUAL).start()

        engine.iterate("each", [1, 2])

        assert complete(engine)["results"] == ["pinned", "pinned"]
        assert engine.state.runs["work", (1,)].pinned

    def test_a_pinned_loop_does_not_iterate(self) -> None:
        plan = compiled(
            document(
                [node("each", "FLOW.LOOP"), node("work"), node("after")],
                [wire(each) for each in LOOP_WIRES],
                pin_data={"each": {"results": [1]}},
            )
        )

        engine = Engine(plan, mode=Mode.MANUAL).start()

        assert complete(engine) == {"results": [1]}
        assert engine.statuses == {"each": "SUCCESS", "after": "RUNNING"}

    def test_a_disabled_loop_passes_its_input_on_at_complete(self) -> None:
        engine = run(LOOP, *LOOP_WIRES, fields={"each": {"disabled": True}}, input={"x": 1})

        assert complete(engine) == {"x": 1}
        assert engine.statuses == {"each": "SKIPPED", "after": "RUNNING"}

    def test_a_loop_in_a_branch_that_dies_is_skipped_and_its_body_never_exists(self) -> None:
        engine = run("if " + LOOP, "if.a -> each", *LOOP_WIRES)

        engine.succeed("if", b=1)

        assert engine.statuses == {"if": "SUCCESS", "each": "SKIPPED", "after": "SKIPPED"}
        assert engine.status is ExecutionStatus.SUCCESS

    def test_a_retry_inside_an_iteration(self) -> None:
        engine = run(LOOP, *LOOP_WIRES, fields={"work": {"retry_policy": RETRY}})
        engine.iterate("each", [1])
        engine.fail("work@0", retryable=True)
        assert engine.status is ExecutionStatus.WAITING

        engine.fire("retry:work:0:1")

        engine.succeed("work@0", main="at last")
        assert complete(engine)["results"] == ["at last"]

    def test_waits_inside_of_iterations_take_signals_one_after_the_other(self) -> None:
        engine = run(
            "each:FLOW.LOOP work:CUSTOM.YIELDS", "each.iteration -> work", "work -> each.loop_body"
        )
        engine.iterate("each", [1, 2], max_parallel=2)
        engine.wait("work@0", WaitKind.SIGNAL, signal="go")
        engine.wait("work@1", WaitKind.SIGNAL, signal="go")

        engine.signal("go", "first")
        assert engine.statuses["work@1"] == "WAITING"
        engine.signal("go", "second")

        assert complete(engine)["results"] == ["first", "second"]


class TestWayBack:
    def mapped(self, expression: str, items: int = 1, **rules: Any) -> Engine:
        """Return an execution whose way back is mapped by an expression."""
        mapping = {"type": "TRANSFORM", "expression": expression}
        nodes = [node("each", "FLOW.LOOP", **ONE_TRY), node("work"), node("after")]
        wires = [
            wire("each.iteration -> work"),
            wire("work -> each.loop_body", mapping=mapping),
            wire("each.complete -> after"),
        ]
        engine = Engine(compiled(document(nodes, wires))).start()
        engine.iterate("each", list(range(items)), **rules)
        return engine

    def test_its_mapping_makes_the_result(self) -> None:
        engine = self.mapped("input.x + loop.index", items=2)
        engine.succeed("work@0", main={"x": 10})
        engine.succeed("work@1", main={"x": 20})

        assert complete(engine)["results"] == [10, 21]
        assert engine.kinds.count("iteration_finished") == 2

    def test_mapped_results_of_iterations_side_by_side_stand_in_input_order(self) -> None:
        engine = self.mapped("input * 10 + loop.index", items=2, max_parallel=2)
        engine.succeed("work@1", main=2)
        engine.succeed("work@0", main=1)

        assert complete(engine)["results"] == [10, 21]

    def test_a_mapping_that_names_a_node_of_the_body(self) -> None:
        engine = self.mapped("nodes.work.output.y")

        engine.succeed("work@0", main={"y": "seen"})

        assert complete(engine)["results"] == ["seen"]

    def test_a_mapping_is_not_asked_where_nothing_came(self) -> None:
        engine = self.mapped("input.x")

        engine.report("work@0", ports={})

        assert complete(engine)["results"] == [None]
        assert "iteration_finished" not in engine.kinds

    def test_a_failing_mapping_fails_the_iteration_and_so_the_loop(self) -> None:
        engine = self.mapped("input.x.y")

        engine.succeed("work@0", main={})

        assert engine.status is ExecutionStatus.ERROR
        assert engine.state.failure is not None
        assert engine.state.failure.kind is FailureKind.INVALID_EXPRESSION
        assert (engine.state.failure.node_id, engine.state.failure.iteration) == ("each", (0,))

    def test_under_null_a_failing_mapping_costs_its_item_alone(self) -> None:
        engine = self.mapped("input.x.y", items=2, on_item_error=ItemError.NULL)
        engine.succeed("work@0", main={})
        engine.succeed("work@1", main={"x": {"y": 5}})

        done = complete(engine)
        assert done["results"] == [None, 5]
        assert done["errors"][0]["index"] == 0
        assert done["errors"][0]["failure"]["kind"] == "INVALID_EXPRESSION"

    def test_two_mappings_of_iterations_that_end_at_once_the_first_fails_the_loop(self) -> None:
        mapping = {"type": "TRANSFORM", "expression": "input.x.y"}
        nodes = [node("out"), node("each", "FLOW.LOOP", **ONE_TRY), node("join")]
        nodes[2] = node("join", disabled=True)
        wires = [
            wire("out -> join"),
            wire("each.iteration -> join"),
            wire("join -> each.loop_body", mapping=mapping),
        ]
        engine = Engine(compiled(document(nodes, wires))).start()
        engine.iterate("each", [1, 2, 3], max_parallel=2)

        engine.succeed("out", main={})

        assert engine.status is ExecutionStatus.ERROR
        assert len(engine.events("iteration_finished")) >= 1


class TestFromOutside:
    WIRES = ("out -> join", "each.iteration -> join", "join -> each.loop_body")

    def test_resolved_before_the_iteration_began_it_holds_in_each(self) -> None:
        engine = run("out each:FLOW.LOOP join", *self.WIRES)
        engine.succeed("out", main={"from": "outside"})

        engine.iterate("each", [1, 2])

        assert engine.input("join@0")["from"] == "outside"
        engine.succeed("join@0")
        assert engine.input("join@1") == {
            "from": "outside",
            "item": 2,
            "index": 1,
            "count": 2,
            "is_last": True,
        }

    def test_resolved_after_iterations_began_it_makes_them_ready(self) -> None:
        engine = run("out each:FLOW.LOOP join", *self.WIRES)
        engine.iterate("each", [1, 2, 3], max_parallel=2)
        assert engine.under_way == {("out", ())}

        decision = engine.succeed("out", main={"x": 1})

        assert decision.dispatched == (("join", (0,)), ("join", (1,)))
        engine.succeed("join@1")
        assert engine.statuses["join@2"] == "RUNNING"

    def test_dead_it_is_resolved_and_brings_nothing(self) -> None:
        engine = run("out each:FLOW.LOOP join", "out.a -> join", *self.WIRES[1:])
        engine.iterate("each", [1])

        engine.succeed("out", b=1)

        assert engine.input("join@0")["item"] == 1

    def test_into_a_node_that_waits_for_it_alone(self) -> None:
        engine = run(
            "out each:FLOW.LOOP gate join",
            "each.iteration -> gate",
            "gate.a -> join",
            "out -> join",
            "join -> each.loop_body",
        )
        engine.iterate("each", [1])
        engine.succeed("gate@0", b=1)
        assert engine.statuses["join@0"] == "PENDING"

        engine.succeed("out", main="late")

        assert engine.input("join@0") == "late"

    def test_into_the_body_of_an_inner_loop_over_two_levels(self) -> None:
        engine = run(
            "out outer:FLOW.LOOP inner:FLOW.LOOP join",
            "outer.iteration -> inner",
            "inner.iteration -> join",
            "join -> inner.loop_body",
            "inner.complete -> outer.loop_body",
            "out -> join",
        )
        engine.iterate("outer", [1, 2], max_parallel=2)
        engine.iterate("inner@0", [1, 2], max_parallel=2)
        assert engine.statuses["join@0-1"] == "PENDING"

        decision = engine.succeed("out", main={"x": 1})

        assert decision.dispatched == (("join", (0, 0)), ("join", (0, 1)))
        engine.iterate("inner@1", [5])
        assert engine.input("join@1-0")["x"] == 1

    def test_the_item_of_the_outer_loop_reaches_into_the_inner_body(self) -> None:
        engine = run(
            "outer:FLOW.LOOP inner:FLOW.LOOP join",
            "outer.iteration -> inner",
            "outer.iteration -> join.input1",
            "inner.iteration -> join",
            "join -> inner.loop_body",
            "inner.complete -> outer.loop_body",
        )
        engine.iterate("outer", ["o0", "o1"], max_parallel=2)
        engine.iterate("inner@1", ["i0"])

        given = engine.input("join@1-0")

        assert (given["item"], given["input1"]["item"]) == ("i0", "o1")

    def test_from_the_outer_body_into_the_inner_one(self) -> None:
        engine = run(
            "outer:FLOW.LOOP prepare inner:FLOW.LOOP join",
            "outer.iteration -> prepare",
            "outer.iteration -> inner",
            "prepare -> join",
            "inner.iteration -> join",
            "join -> inner.loop_body",
            "inner.complete -> outer.loop_body",
        )
        engine.iterate("outer", [1, 2], max_parallel=2)
        engine.iterate("inner@0", [1])
        engine.iterate("inner@1", [1])

        decision = engine.succeed("prepare@1", main={"p": 1})

        assert decision.dispatched == (("join", (1, 0)),)
        assert engine.input("join@1-0")["p"] == 1


class TestAlone:
    """A loop that is executed alone runs with its body."""

    def alone(self, node_id: str, *wires: str, nodes: str) -> Engine:
        """Return an execution of one node alone."""
        return Engine(graph(nodes, *wires), single_node_id=node_id, input={"x": 1}).start()

    def test_it_runs_with_its_body(self) -> None:
        engine = self.alone("each", *LOOP_WIRES, nodes=LOOP)
        engine.iterate("each", [1, 2])
        engine.succeed("work@0", main="a")
        engine.succeed("work@1", main="b")

        assert engine.output["each"]["results"] == ["a", "b"]
        assert set(engine.statuses) == {"each", "work@0", "work@1"}

    def test_what_leads_in_from_outside_is_not_waited_for(self) -> None:
        engine = self.alone(
            "each",
            "out -> join",
            "each.iteration -> join",
            "join -> each.loop_body",
            nodes="out each:FLOW.LOOP join",
        )

        engine.iterate("each", [1])

        assert engine.input("join@0")["item"] == 1

    NESTED = (
        "outer.iteration -> before",
        "before -> inner",
        "before -> work",
        "inner.iteration -> deep",
        "deep.iteration -> work",
        "inner.iteration -> side",
        "side -> work",
        "work -> deep.loop_body",
        "deep.complete -> inner.loop_body",
        "inner.complete -> outer.loop_body",
    )

    def test_an_inner_loop_alone_has_iterations_of_its_own_only(self) -> None:
        engine = self.alone(
            "inner",
            *self.NESTED,
            nodes="outer:FLOW.LOOP before inner:FLOW.LOOP deep:FLOW.LOOP side work",
        )
        engine.iterate("inner", ["i0", "i1"], max_parallel=2)
        engine.iterate("deep@0", ["d"])
        engine.iterate("deep@1", ["d"])

        decision = engine.succeed("side@1", main={"side": 1})

        assert decision.dispatched == (("work", (1, 0)),)
        assert engine.input("work@1-0")["side"] == 1
        engine.succeed("work@1-0", main="w")
        engine.succeed("side@0")
        engine.fail("work@0-0", retryable=False)
        assert engine.status is ExecutionStatus.ERROR

    def test_a_node_of_a_body_alone(self) -> None:
        engine = self.alone("work", *LOOP_WIRES, nodes=LOOP)

        engine.succeed("work", main="done")

        assert engine.output == {"work": "done"}

    def test_a_disabled_node_of_its_body_does_not_run(self) -> None:
        plan = graph(LOOP, *LOOP_WIRES, fields={"work": {"disabled": True}})
        engine = Engine(plan, single_node_id="each").start()

        engine.iterate("each", [1])

        assert engine.statuses["work@0"] == "SKIPPED"
