"""Starts: slots, nodes alone, and what another execution gives to this one."""

import pytest

from contracts.failures import FailureKind
from contracts.history import Slot, TriggerNode
from contracts.ids import RunKey
from contracts.statuses import ExecutionStatus, ItemError, Mode, SkipReason, WaitKind
from scheduler.core.decision import Admitted, Target
from tests.core.graphs import LOOP, LOOP_WIRES, ONE_TRY, begun, carried, complete, graph
from tests.support.assembling import task_of
from tests.support.engine import Engine, compiled, document, failure, node, raw, wire


class TestSlots:
    def test_without_one_it_does_not_start(self) -> None:
        engine = Engine(graph("a"), slot=Slot(limit=1))

        assert engine.start().kinds == ["execution_created"]
        assert engine.status is ExecutionStatus.NEW

    def test_with_one_it_does(self) -> None:
        engine = Engine(graph("a"), slot=Slot(limit=1)).start(has_slot=True)

        assert engine.status is ExecutionStatus.RUNNING

    def test_one_whose_key_failed_ends_at_once_with_that(self) -> None:
        why = failure(kind=FailureKind.INVALID_EXPRESSION, code="missing")
        target = Target(workflow_id="rescue", version_id="rescue-1")
        engine = Engine(graph("a"), cannot_start=why, failure_target=target)

        decision = engine.feed(Admitted())

        assert engine.status is ExecutionStatus.ERROR
        assert engine.kinds == ["execution_created", "execution_failed"]
        assert engine.state.failure == why
        assert engine.statuses == {"a": "CANCELED"}
        assert decision.dispatched == ()
        assert [each.created.workflow_id for each in decision.children] == ["rescue"]
        assert engine.feed(Admitted()).refused == "already_finished"

    def test_one_that_needs_none_starts_without(self) -> None:
        assert Engine(graph("a")).start().status is ExecutionStatus.RUNNING


class TestTriggers:
    def test_a_pinned_trigger_yields_its_pin_in_a_manual_execution(self) -> None:
        nodes = [node("start", "TRIGGER.MANUAL"), node("a")]
        wanted = document(nodes, [wire("start -> a")], pin_data={"start": {"pinned": 1}})
        manual = Engine(compiled(wanted), mode=Mode.MANUAL, input={"posted": 1}).start()
        other = Engine(compiled(wanted), mode=Mode.TRIGGER, input={"posted": 1}).start()

        assert manual.input("a") == {"pinned": 1}
        assert manual.state.runs["start", ()].pinned
        assert other.input("a") == {"posted": 1}

    def test_a_disabled_trigger_starts_nothing(self) -> None:
        nodes = [node("start", "TRIGGER.MANUAL", disabled=True), node("a"), node("root")]
        engine = Engine(compiled(document(nodes, [wire("start -> a")]))).start()

        assert engine.statuses == {"start": "SKIPPED", "a": "SKIPPED", "root": "RUNNING"}

    def test_a_trigger_that_is_not_there_any_more_starts_nothing(self) -> None:
        nodes = [node("start", "TRIGGER.MANUAL"), node("root")]
        plan = compiled(document(nodes, []))
        engine = Engine(plan, trigger=TriggerNode("gone", "TRIGGER.EVENT")).start()

        assert engine.state.runs["start", ()].skip_reason is SkipReason.OTHER_TRIGGER
        assert engine.statuses["root"] == "RUNNING"

    def test_where_all_is_skipped_the_execution_succeeds_with_nothing(self) -> None:
        nodes = [node("start", "TRIGGER.MANUAL", disabled=True), node("a")]
        engine = Engine(compiled(document(nodes, [wire("start -> a")]))).start()

        assert engine.output == {}


class TestAlone:
    def test_it_runs_with_its_own_input_and_upstream_outputs_that_it_names(self) -> None:
        plan = graph(
            "a b c",
            "a -> b",
            "b -> c",
            fields={"b": {"parameters": {"x": "{{ nodes.a.output.y }}"}, **ONE_TRY}},
        )
        given = (carried("a", main={"y": 5}), carried("b", input=raw({"in": 1})))
        engine = Engine(plan, single_node_id="b", carried=given).start()

        task = task_of(plan, engine.state, ("b", ()))

        assert engine.statuses == {"b": "RUNNING"}
        assert task.nodes["a"].ports == {"main": raw({"y": 5})}
        assert engine.input("b") == {"in": 1}
        engine.succeed("b", a="out")
        assert engine.output == {"b": "out"}

    def test_without_an_input_of_its_own_it_gets_the_trigger_data(self) -> None:
        engine = Engine(graph("a b", "a -> b"), single_node_id="b", input={"x": 1}).start()

        assert engine.input("b") == {"x": 1}

    def test_it_runs_though_it_is_disabled_or_pinned(self) -> None:
        plan = compiled(document([node("a", disabled=True)], [], pin_data={"a": 1}))
        engine = Engine(plan, single_node_id="a", mode=Mode.MANUAL).start()

        assert engine.statuses == {"a": "RUNNING"}

    def test_its_failure_is_that_of_the_execution(self) -> None:
        engine = Engine(graph("a", fields={"a": ONE_TRY}), single_node_id="a").start()

        engine.fail("a")

        assert engine.status is ExecutionStatus.ERROR

    def test_it_may_wait(self) -> None:
        engine = Engine(graph("w:CUSTOM.YIELDS"), single_node_id="w").start()
        engine.wait("w", WaitKind.SIGNAL, signal="go")

        engine.signal("go", 1)

        assert engine.output == {"w": 1}

    def test_a_trigger_alone(self) -> None:
        plan = graph("start:TRIGGER.MANUAL")
        engine = Engine(plan, single_node_id="start").start()

        engine.succeed("start", main=1)

        assert engine.output == {"start": 1}

    def test_a_node_without_a_run_of_its_own_is_a_failure(self) -> None:
        engine = Engine(graph("a"), single_node_id="gone").start()

        assert engine.state.failure is not None
        assert engine.state.failure.code == "unknown_node"


class TestCarried:
    def test_what_stands_does_not_run_and_what_follows_does(self) -> None:
        engine = Engine(graph("a b", "a -> b"), carried=[carried("a", main={"old": 1})]).start()

        assert engine.statuses == {"a": "SUCCESS", "b": "RUNNING"}
        assert engine.state.runs["a", ()].carried
        assert engine.dispatched == ["b"]
        assert engine.input("b") == {"old": 1}
        assert engine.kinds == ["execution_created", "outputs_carried", "execution_started"]

    def test_nothing_happens_before_the_start(self) -> None:
        engine = Engine(graph("a b", "a -> b"), carried=[carried("a", main=1)])

        assert engine.status is ExecutionStatus.NEW
        assert engine.statuses == {"a": "PENDING", "b": "PENDING"}

    def test_dead_paths_follow(self) -> None:
        plan = graph("if yes no no2 end", "if.a -> yes", "if.b -> no", "no -> no2", "yes -> end")
        given = [carried("if", ports={"a": raw(1)}), carried("yes", main="y")]

        engine = Engine(plan, carried=given).start()

        assert engine.statuses == {
            "if": "SUCCESS",
            "yes": "SUCCESS",
            "no": "SKIPPED",
            "no2": "SKIPPED",
            "end": "RUNNING",
        }
        assert engine.kinds[-1] == "nodes_skipped"

    def test_where_all_stands_the_execution_succeeds_at_once(self) -> None:
        given = [carried("a", main=1), carried("b", main=2)]

        engine = Engine(graph("a b", "a -> b"), carried=given).start()

        assert engine.output == {"b": 2}
        assert engine.dispatched == []

    def test_what_lies_behind_a_node_that_runs_again_still_waits_for_it(self) -> None:
        engine = Engine(graph("a b", "a -> b"), carried=[carried("b", main="old")]).start()
        assert engine.statuses == {"a": "RUNNING", "b": "PENDING"}

        engine.succeed("a")

        assert engine.output == {"b": "old"}

    def test_a_trigger_yields_as_ever(self) -> None:
        plan = graph("start:TRIGGER.MANUAL a b", "start -> a", "a -> b")

        engine = Engine(plan, carried=[carried("a", main=1)], input={"x": 1}).start()

        assert engine.value("start") == {"x": 1}
        assert engine.statuses["b"] == "RUNNING"

    def test_a_fork_gives_its_node_another_input(self) -> None:
        given = [carried("a", main="old"), carried("b", input=raw({"edited": 1}))]

        engine = Engine(graph("a b c", "a -> b", "b -> c"), carried=given).start()

        assert engine.input("b") == {"edited": 1}
        engine.succeed("b", main="new")
        assert engine.input("c") == "new"

    def test_checkpoints_of_a_failed_attempt_are_found_again(self) -> None:
        given = [carried("a", checkpoints={"model:1": raw("paid")})]
        engine = Engine(graph("a"), carried=given).start()

        assert task_of(engine.plan, engine.state, ("a", ())).checkpoints == {"model:1": raw("paid")}
        engine.checkpoint("a", "model:2", 2)
        assert set(engine.state.runs["a", ()].checkpoints) == {"model:1", "model:2"}
        assert set(given[0].checkpoints) == {"model:1"}

    def test_a_disabled_node_passes_on_what_is_carried_to_it(self) -> None:
        plan = graph("a off b", "a -> off", "off -> b", fields={"off": {"disabled": True}})

        engine = Engine(plan, carried=[carried("a", main="x")]).start()

        assert engine.input("b") == "x"


class TestCarriedLoops:
    def test_finished_iterations_stand_and_the_rest_runs(self) -> None:
        given = [begun("each", ["a", "b", "c"]), carried("work@0", main="A")]

        engine = Engine(graph(LOOP, *LOOP_WIRES), carried=given).start()

        assert engine.statuses == {
            "each": "RUNNING",
            "work@0": "SUCCESS",
            "work@1": "RUNNING",
            "after": "PENDING",
        }
        assert engine.dispatched == ["work@1"]
        assert engine.input("work@1")["item"] == "b"
        engine.succeed("work@1", main="B")
        engine.succeed("work@2", main="C")
        assert complete(engine)["results"] == ["A", "B", "C"]

    def test_any_of_the_iterations_may_be_finished(self) -> None:
        given = [
            begun("each", list(range(4)), max_parallel=2),
            carried("work@1", main=1),
            carried("work@3", main=3),
        ]
        engine = Engine(graph(LOOP, *LOOP_WIRES), carried=given).start()
        assert engine.dispatched == ["work@0", "work@2"]

        engine.succeed("work@2", main=2)
        engine.succeed("work@0", main=0)

        assert complete(engine)["results"] == [0, 1, 2, 3]

    def test_where_all_iterations_are_finished_the_loop_completes(self) -> None:
        given = [begun("each", [1, 2]), carried("work@0", main=10), carried("work@1", main=20)]

        engine = Engine(graph(LOOP, *LOOP_WIRES), carried=given).start()

        assert complete(engine)["results"] == [10, 20]
        assert engine.dispatched == ["after"]

    def test_ten_thousand_finished_iterations_are_one_plain_pass(self) -> None:
        count = 10_000
        given = [begun("each", list(range(count)))]
        given += [carried(f"work@{n}", main=n) for n in range(count)]

        engine = Engine(graph(LOOP, *LOOP_WIRES), carried=given, checked=False).start()

        assert complete(engine)["results"] == list(range(count))

    def test_a_mapping_on_the_way_back_is_evaluated_anew(self) -> None:
        mapping = {"type": "TRANSFORM", "expression": "input + 1"}
        nodes = [node("each", "FLOW.LOOP"), node("work")]
        wires = [wire("each.iteration -> work"), wire("work -> each.loop_body", mapping=mapping)]
        given = [begun("each", [1, 2]), carried("work@0", main=10), carried("work@1", main=20)]

        engine = Engine(compiled(document(nodes, wires)), carried=given).start()

        assert engine.output["each"]["results"] == [11, 21]

    def test_a_loop_that_ended_stands_without_its_iterations(self) -> None:
        given = [carried("each", ports={"complete": raw({"results": [1]})})]

        engine = Engine(graph(LOOP, *LOOP_WIRES), carried=given).start()

        assert engine.statuses == {"each": "SUCCESS", "after": "RUNNING"}
        assert engine.input("after") == {"results": [1]}

    def test_one_on_a_condition_goes_on_with_the_question(self) -> None:
        given = [begun("each", None), carried("work@0", main="old")]

        engine = Engine(graph(LOOP, *LOOP_WIRES), carried=given).start()

        assert engine.dispatched == ["each"]
        assert task_of(engine.plan, engine.state, ("each", ())).is_asked
        engine.iterate("each")
        assert engine.input("work@1") == {"index": 1, "previous": "old"}

    @pytest.mark.parametrize("order", ["out first", "loop first"])
    def test_what_leads_in_from_outside_counts_once(self, order: str) -> None:
        names = "out each:FLOW.LOOP join" if order == "out first" else "each:FLOW.LOOP out join"
        plan = graph(
            names,
            "out -> join",
            "each.iteration -> join",
            "join -> each.loop_body",
            fields={"out": ONE_TRY},
        )
        given = [carried("out", main={"o": 1}), begun("each", [1, 2])]

        engine = Engine(plan, carried=given).start()

        assert engine.statuses["join@0"] == "RUNNING"
        assert engine.input("join@0")["o"] == 1
        engine.succeed("join@0", main="j0")
        engine.succeed("join@1", main="j1")
        assert engine.output["each"]["results"] == ["j0", "j1"]

    @pytest.mark.parametrize("order", ["before inner", "inner before"])
    def test_in_an_outer_body_too(self, order: str) -> None:
        first, second = order.split()
        ids = {"before": "before", "inner": "inner:FLOW.LOOP"}
        plan = graph(
            f"outer:FLOW.LOOP {ids[first]} {ids[second]} work",
            "outer.iteration -> before",
            "outer.iteration -> inner",
            "before -> work",
            "inner.iteration -> work",
            "work -> inner.loop_body",
            "inner.complete -> outer.loop_body",
        )
        given = [
            begun("outer", ["o"]),
            carried("before@0", main={"b": 1}),
            begun("inner@0", ["i", "j"]),
            carried("work@0-0", main="w0"),
        ]

        engine = Engine(plan, carried=given).start()

        assert engine.dispatched == ["work@0-1"]
        assert engine.input("work@0-1")["b"] == 1
        engine.succeed("work@0-1", main="w1")
        assert engine.output["outer"]["results"][0]["results"] == ["w0", "w1"]

    def test_failed_items_are_tried_again_and_may_fail_again(self) -> None:
        given = [
            begun("each", [1, 2], on_item_error=ItemError.NULL),
            carried("work@1", main="ok"),
        ]
        engine = Engine(graph(LOOP, *LOOP_WIRES, fields={"work": ONE_TRY}), carried=given).start()

        engine.fail("work@0")

        assert complete(engine)["results"] == [None, "ok"]

    def test_while_paused_nothing_of_it_is_dispatched(self) -> None:
        given = [begun("each", [1, 2]), carried("work@0", main=1)]
        engine = Engine(graph(LOOP, *LOOP_WIRES), carried=given)
        engine.pause()
        engine.start()
        held: list[RunKey] = list(engine.state.held)

        engine.resume()

        assert held == [("work", (1,))]
        assert engine.dispatched == ["work@1"]
