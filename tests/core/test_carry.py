"""What retries, forks and single nodes take over, seen by what the new execution does and does not run again."""

from typing import Any

import msgspec
import pytest

from contracts.execution import carry
from contracts.execution.plan import Plan, VersionFacts, compile_plan
from contracts.history import CarriedRun, MaybeRaw
from contracts.messages import LoopOrder
from contracts.model import Connection, ConnectionKind, Node
from contracts.specs import NodeSpec
from contracts.statuses import ExecutionStatus, ItemError, Mode, WaitKind
from tests.core.graphs import CONTINUE, LOOP, LOOP_WIRES, ONE_TRY, graph, over, run
from tests.support.assembling import task_of
from tests.support.engine import (
    ANY,
    CATALOGUE,
    Engine,
    compiled,
    document,
    key_of,
    name_of,
    node,
    raw,
    wire,
)

TWO_STEPS = "each:FLOW.LOOP first second after"
TWO_STEPS_WIRES = (
    "each.iteration -> first",
    "first -> second",
    "second -> each.loop_body",
    "each.complete -> after",
)


def decoded(value: MaybeRaw) -> Any:
    """Return a value that is there."""
    assert value is not msgspec.UNSET
    return msgspec.json.decode(value)


def retry(old: Engine, plan: Plan | None = None) -> Engine:
    """Return the started retry of an execution."""
    plan = plan or old.plan
    return follow(old, plan, carry.carried_for_retry(old.plan, old.state, plan))


def fork(old: Engine, name: str, plan: Plan | None = None, **given: Any) -> Engine:
    """Return the started fork of an execution at a node."""
    plan = plan or old.plan
    value = raw(given["input"]) if given else msgspec.UNSET
    return follow(old, plan, carry.carried_for_fork(old.plan, old.state, plan, name, value))


def follow(old: Engine, plan: Plan, carried: tuple[CarriedRun, ...], **created: Any) -> Engine:
    """Return a started execution that takes something over."""
    given = msgspec.json.decode(old.state.created.input)
    engine = Engine(plan, input=given, mode=Mode.RETRY, carried=carried, **created)
    return engine.start()


def version(plan: Plan, *, name: str = "other", **changes: dict[str, Any]) -> Plan:
    """Return another version, with fields of nodes changed by id."""
    nodes = tuple(
        msgspec.structs.replace(each, **changes.get(each.id, {})) for each in plan.document.nodes
    )
    changed = msgspec.structs.replace(plan.document, nodes=nodes)
    return compile_plan(changed, VersionFacts(version_id=name, workflow_id="workflow"), CATALOGUE)


def statuses(engine: Engine, *names: str) -> list[str]:
    """Return the statuses of node runs."""
    return [engine.statuses[each] for each in names]


class TestRetry:
    def test_what_succeeded_is_not_run_again(self) -> None:
        old = run("a b c", "a -> b", "b -> c", fields={"b": ONE_TRY}, input={"n": 1})
        old.succeed("a", main="A")
        old.fail("b")

        new = retry(old)

        assert new.dispatched == ["b"]
        assert new.input("b") == "A"
        assert new.state.runs["a", ()].carried
        new.succeed("b", main="B")
        new.succeed("c", main="C")
        assert new.output == {"c": "C"}
        assert old.status is ExecutionStatus.ERROR

    def test_what_lies_behind_a_continued_failure_runs_again_with_it(self) -> None:
        old = run(
            "a b c d", "a -> b", "a -> d", "b.error -> c", fields={"b": CONTINUE, "d": ONE_TRY}
        )
        old.succeed("a")
        old.fail("b")
        old.succeed("c", main="handled")
        old.fail("d")

        new = retry(old)

        assert new.dispatched == ["b", "d"]
        assert statuses(new, "a", "c") == ["SUCCESS", "PENDING"]

    def test_dead_paths_stay_dead_and_what_joins_behind_them_is_carried(self) -> None:
        old = run(
            "if left right join last",
            "if.a -> left",
            "if.b -> right",
            "left -> join",
            "right -> join",
            "join -> last",
            fields={"last": ONE_TRY},
        )
        old.succeed("if", a=1)
        old.succeed("left", main="L")
        old.succeed("join", main="J")
        old.fail("last")

        new = retry(old)

        assert new.dispatched == ["last"]
        assert statuses(new, "left", "right", "join") == ["SUCCESS", "SKIPPED", "SUCCESS"]

    def test_a_canceled_execution_goes_on_where_it_was(self) -> None:
        old = run("a b", "a -> b")
        old.succeed("a", main=1)
        old.cancel()

        assert retry(old).dispatched == ["b"]

    def test_what_waited_waits_anew(self) -> None:
        old = run("a b:CUSTOM.YIELDS", "a -> b")
        old.succeed("a")
        old.wait("b", WaitKind.SIGNAL, signal="go")
        old.cancel()

        assert retry(old).dispatched == ["b"]

    def test_checkpoints_of_what_failed_are_carried(self) -> None:
        old = run("a b", "a -> b", fields={"b": ONE_TRY})
        old.succeed("a")
        old.checkpoint("b", "call-1", "expensive")
        old.fail("b")

        new = retry(old)

        assert new.state.runs["b", ()].checkpoints == {"call-1": raw("expensive")}
        assert new.dispatched == ["b"]

    def test_checkpoints_are_left_behind_where_the_input_may_be_another_one(self) -> None:
        old = run("a b", "a -> b", "a.error -> b", fields={"a": CONTINUE, "b": ONE_TRY})
        old.fail("a")
        old.checkpoint("b", "call-1", "of another input")
        old.fail("b")

        new = retry(old)
        new.succeed("a")

        assert new.state.runs["b", ()].checkpoints == {}

    def test_a_retry_of_a_retry_carries_what_both_did(self) -> None:
        old = run("a b c", "a -> b", "b -> c", fields={"b": ONE_TRY, "c": ONE_TRY})
        old.succeed("a", main="A")
        old.fail("b")
        again = retry(old)
        again.succeed("b", main="B")
        again.fail("c")

        assert retry(again).dispatched == ["c"]

    def test_a_retry_that_never_started_hands_on_what_it_was_given(self) -> None:
        old = run("a b", "a -> b", fields={"b": ONE_TRY})
        old.succeed("a", main="A")
        old.fail("b")
        carried = carry.carried_for_retry(old.plan, old.state, old.plan)
        unborn = Engine(old.plan, mode=Mode.RETRY, carried=carried)
        unborn.cancel()

        assert retry(unborn).dispatched == ["b"]

    def test_a_trigger_yields_again(self) -> None:
        old = run("go:TRIGGER.MANUAL a", "go -> a", fields={"a": ONE_TRY}, input={"n": 1})
        old.fail("a")

        new = retry(old)

        assert new.dispatched == ["a"]
        assert new.input("a") == {"n": 1}


class TestLoops:
    def test_a_loop_that_ended_is_carried_whole(self) -> None:
        old = over([1, 2])
        old.succeed("work@0")
        old.succeed("work@1")
        old.cancel()

        new = retry(old)

        assert new.dispatched == ["after"]
        assert "work@0" not in new.statuses

    def test_finished_iterations_are_not_run_again(self) -> None:
        old = over(["a", "b", "c"])
        old.succeed("work@0", main="A")
        old.fail("work@1")

        new = retry(old)

        assert new.dispatched == ["work@1"]
        assert new.input("work@1")["item"] == "b"
        new.succeed("work@1", main="B")
        new.succeed("work@2", main="C")
        assert new.value("each", "complete")["results"] == ["A", "B", "C"]

    def test_of_an_iteration_that_failed_what_came_before_is_kept(self) -> None:
        old = run(TWO_STEPS, *TWO_STEPS_WIRES, fields={"second": ONE_TRY, "each": ONE_TRY})
        old.iterate("each", ["a", "b"])
        old.succeed("first@0", main="A")
        old.checkpoint("second@0", "call", 1)
        old.fail("second@0")

        new = retry(old)

        assert new.dispatched == ["second@0"]
        assert new.input("second@0") == "A"
        assert new.state.runs[key_of("second@0")].checkpoints == {"call": raw(1)}

    def test_iterations_that_failed_without_end_are_only_retried_if_the_loop_did_not_end(
        self,
    ) -> None:
        old = over([1, 2], on_item_error=ItemError.NULL)
        old.fail("work@0")
        old.succeed("work@1", main=2)
        old.cancel()

        assert retry(old).dispatched == ["after"]

    def test_a_loop_that_had_not_begun_begins(self) -> None:
        old = run(LOOP, *LOOP_WIRES, fields={"each": ONE_TRY})
        old.fail("each")

        assert retry(old).dispatched == ["each"]

    def test_a_loop_on_a_condition_is_asked_again_behind_what_it_had(self) -> None:
        old = run(LOOP, *LOOP_WIRES, fields={"work": ONE_TRY, "each": ONE_TRY})
        old.iterate("each")
        old.succeed("work@0", main=1)
        old.report("each", loop=LoopOrder())
        old.fail("work@1")

        new = retry(old)

        assert new.dispatched == ["each"]
        assert statuses(new, "work@0") == ["SUCCESS"]
        new.report("each", loop=LoopOrder())
        assert new.dispatched == ["each", "work@1"]

    def test_nested_loops_go_on_inside(self) -> None:
        wires = (
            "outer.iteration -> inner",
            "inner.iteration -> work",
            "work -> inner.loop_body",
            "inner.complete -> outer.loop_body",
        )
        fields = {"work": ONE_TRY, "inner": ONE_TRY, "outer": ONE_TRY}
        old = run("outer:FLOW.LOOP inner:FLOW.LOOP work", *wires, fields=fields)
        old.iterate("outer", [1, 2])
        old.iterate("inner@0", ["a", "b"])
        old.succeed("work@0-0", main="A")
        old.succeed("work@0-1", main="B")
        old.iterate("inner@1", ["c", "d"])
        old.succeed("work@1-0", main="C")
        old.fail("work@1-1")

        new = retry(old)

        assert new.dispatched == ["work@1-1"]
        assert statuses(new, "inner@0", "work@1-0") == ["SUCCESS", "SUCCESS"]
        assert "work@0-0" not in new.statuses

    def test_an_iteration_that_may_look_back_at_one_that_runs_again_runs_again(self) -> None:
        fields: dict[str, dict[str, Any]] = {
            "first": CONTINUE | {"parameters": {"value": "{{ loop.previous }}"}},
            "second": ONE_TRY,
            "each": ONE_TRY,
        }
        wires = (*TWO_STEPS_WIRES, "first.error -> second")
        old = run(TWO_STEPS, *wires, fields=fields)
        old.iterate("each", ["a", "b", "c"])
        old.succeed("first@0")
        old.succeed("second@0")
        old.fail("first@1")
        old.succeed("second@1")
        old.succeed("first@2")
        old.fail("second@2")

        new = retry(old)

        assert new.dispatched == ["first@1"]
        new.succeed("first@1")
        new.succeed("second@1")
        assert new.dispatched == ["first@1", "second@1", "first@2"]


class TestOtherVersions:
    def test_what_changed_and_what_lies_behind_it_runs_again(self) -> None:
        old = run("a b c d", "a -> b", "b -> c", "a -> d", fields={"c": ONE_TRY})
        for each in "abd":
            old.succeed(each)
        old.fail("c")
        other = version(old.plan, b={"parameters": {"value": 2}})

        new = retry(old, other)

        assert new.dispatched == ["b"]
        assert statuses(new, "a", "c", "d") == ["SUCCESS", "PENDING", "SUCCESS"]

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"type": "CUSTOM.YIELDS"}, id="type"),
            pytest.param({"disabled": True}, id="disabled"),
            pytest.param({"credentials": {"api": "other"}}, id="credentials"),
        ],
    )
    def test_a_node_is_another_one_if(self, change: dict[str, Any]) -> None:
        old = run("a b", "a -> b", fields={"b": ONE_TRY})
        old.succeed("a")
        old.fail("b")

        new = retry(old, version(old.plan, a=change))

        assert not new.state.runs["a", ()].carried

    def test_names_notes_and_policies_change_nothing(self) -> None:
        old = run("a b", "a -> b", fields={"b": ONE_TRY})
        old.succeed("a")
        old.fail("b")
        changes = {"name": "Other", "notes": "!", "timeout": 9.0}

        assert retry(old, version(old.plan, a=changes)).dispatched == ["b"]

    def test_a_new_node_before_another_has_that_run_again(self) -> None:
        old = run("a b", "a -> b", fields={"b": ONE_TRY})
        old.succeed("a")
        old.succeed("b")
        old_plan = graph("a new b", "a -> new", "new -> b")
        other = version(old_plan)

        new = fork(old, "b", other)

        assert new.dispatched == ["new"]

    def test_a_changed_body_opens_its_loop(self) -> None:
        old = run(TWO_STEPS, *TWO_STEPS_WIRES, fields={"after": ONE_TRY})
        old.iterate("each", ["a", "b"])
        for each in ("first@0", "second@0", "first@1", "second@1"):
            old.succeed(each, main=each)
        old.fail("after")
        other = version(old.plan, second={"parameters": {"value": 2}})

        new = retry(old, other)

        assert new.dispatched == ["second@0"]
        new.succeed("second@0", main="anew")
        assert new.dispatched == ["second@0", "second@1"]
        assert new.input("second@1") == "first@1"
        new.succeed("second@1", main="anew")
        assert new.dispatched[-1] == "after"

    def test_what_is_lent_counts_as_the_borrowers(self) -> None:
        agent = NodeSpec(
            type="AI_AGENT.X", title="Agent", borrows=(ConnectionKind.AI_TOOL,), outputs=ANY.outputs
        )
        tool = NodeSpec(type="TOOL.X", title="Tool", lends=(ConnectionKind.AI_TOOL,))
        catalogue = type(CATALOGUE)((*CATALOGUE.newest, agent, tool))

        def plan(name: str, **parameters: Any) -> Plan:
            nodes = [
                node("agent", "AI_AGENT.X"),
                Node(id="tool", name="tool", type="TOOL.X", parameters=parameters),
                node("last", **ONE_TRY),
            ]
            lent = Connection(source="tool", target="agent", kind=ConnectionKind.AI_TOOL)
            wires = [wire("agent -> last"), lent]
            facts = VersionFacts(version_id=name, workflow_id="workflow")
            return compile_plan(document(nodes, wires), facts, catalogue)

        old = Engine(plan("one", value=1)).start()
        old.succeed("agent")
        old.fail("last")

        assert retry(old, plan("two", value=1)).dispatched == ["last"]
        assert retry(old, plan("three", value=2)).dispatched == ["agent"]


class TestFork:
    def test_all_but_what_lies_behind_is_carried(self) -> None:
        old = run("a b c d", "a -> b", "b -> c", "a -> d")
        for each in "abcd":
            old.succeed(each, main=each)

        new = fork(old, "b")

        assert new.dispatched == ["b"]
        assert new.input("b") == "a"
        assert statuses(new, "a", "c", "d") == ["SUCCESS", "PENDING", "SUCCESS"]

    def test_another_input_stands_in_place_of_the_assembled_one(self) -> None:
        old = run("a b", "a -> b")
        old.succeed("a")
        old.succeed("b")

        new = fork(old, "b", input={"edited": True})

        assert new.input("b") == {"edited": True}

    def test_a_root_can_be_forked(self) -> None:
        old = run("a b", "a -> b")
        old.succeed("a")

        assert fork(old, "a", input=1).input("a") == 1

    def test_an_execution_that_is_not_over_can_be_forked(self) -> None:
        old = run("a b c", "a -> b", "a -> c")
        old.succeed("a")
        old.succeed("b", main=1)

        new = fork(old, "c")

        assert new.dispatched == ["c"]
        assert statuses(new, "b") == ["SUCCESS"]

    def test_a_continued_failure_is_an_output_too(self) -> None:
        old = run("a b c", "a.error -> b", "b -> c", fields={"a": CONTINUE})
        old.fail("a")
        old.succeed("b")
        old.succeed("c")

        assert fork(old, "b").dispatched == ["b"]

    def test_a_continued_failure_stands_as_it_ended(self) -> None:
        old = run("a b c", "a.error -> b", "b -> c", fields={"a": CONTINUE})
        old.fail("a", code="broken")
        old.succeed("b")
        old.succeed("c")

        new = fork(old, "b")

        stands = new.state.runs["a", ()]
        before = old.state.runs["a", ()]
        assert new.statuses["a"] == "ERROR"
        assert (stands.failure, stands.policy, stands.ports, stands.carried) == (
            before.failure,
            before.policy,
            before.ports,
            True,
        )
        assert new.state.continued_errors == 1
        new.succeed("b")
        new.succeed("c")
        assert new.status is ExecutionStatus.SUCCESS
        assert fork(new, "c").statuses["a"] == "ERROR", "also from what was carried"

    def test_a_node_alone_sees_a_failure_that_it_names(self) -> None:
        plan = compiled(
            document(
                [node("a", **CONTINUE), node("b", parameters={"x": "{{ nodes.a.error.code }}"})],
                [wire("a.error -> b")],
            )
        )
        old = Engine(plan).start()
        old.fail("a", code="broken")
        carried = carry.carried_for_node(old.state, plan, "b", raw(1))

        new = Engine(plan, single_node_id="b", carried=carried).start()

        seen = task_of(plan, new.state, ("b", ())).nodes["a"]
        assert seen.status == "ERROR"
        assert decoded(seen.error)["code"] == "broken"

    def test_at_a_loop_it_begins_anew(self) -> None:
        old = over([1, 2])
        old.succeed("work@0")
        old.succeed("work@1")
        old.succeed("after")

        assert fork(old, "each").dispatched == ["each"]

    def test_beside_a_loop_under_way_its_iterations_are_kept(self) -> None:
        old = run(f"{LOOP} other", *LOOP_WIRES, fields={"work": ONE_TRY})
        old.iterate("each", [1, 2])
        old.succeed("work@0")
        old.succeed("other")

        new = fork(old, "other")

        assert sorted(new.dispatched) == ["other", "work@1"]

    def test_at_a_trigger_the_input_is_that_of_the_execution(self) -> None:
        old = run("go:TRIGGER.MANUAL a b", "go -> a")
        old.succeed("a")
        old.succeed("b")
        whole = carry.carried_for_fork(old.plan, old.state, old.plan, "go", raw(2))
        same = carry.carried_for_fork(old.plan, old.state, old.plan, "go")

        assert whole == ()
        assert [each.node_id for each in same] == ["b"]

    @pytest.mark.parametrize(
        ("name", "expected"), [("a", True), ("b", True), ("c", False), ("go", True)]
    )
    def test_only_what_was_reached_can_be_forked(self, name: str, expected: bool) -> None:
        old = run("go:TRIGGER.MANUAL a b c", "go -> a", "a.a -> b", "a.b -> c")
        old.succeed("a", a=1)

        assert carry.was_reached(old.state, old.plan.nodes[name]) is expected


class TestNodeAlone:
    def test_it_gets_its_input_and_the_outputs_that_it_names(self) -> None:
        fields = {"c": {"parameters": {"value": "{{ nodes.a.output }}"}}}
        old = run("a b c", "a -> b", "b -> c", fields=fields)
        old.succeed("a", main="A")
        old.succeed("b", main="B")
        carried = carry.carried_for_node(old.state, old.plan, "c", raw({"mine": 1}))

        new = follow(old, old.plan, carried, single_node_id="c")

        assert [(name_of((each.node_id, each.iteration))) for each in carried] == ["a", "c"]
        assert new.dispatched == ["c"]
        assert new.input("c") == {"mine": 1}

    def test_its_retry_gets_the_same(self) -> None:
        fields = {"b": ONE_TRY | {"parameters": {"value": "{{ nodes.a.output }}"}}}
        whole = run("a b", "a -> b", fields=fields)
        whole.succeed("a", main="A")
        carried = carry.carried_for_node(whole.state, whole.plan, "b", raw(1))
        old = follow(whole, whole.plan, carried, single_node_id="b")
        old.checkpoint("b", "call", 1)
        old.fail("b")

        retried = carry.carried_for_retry(old.plan, old.state, old.plan)
        rerun = carry.carried_for_rerun(old.state, old.plan)

        assert follow(old, old.plan, retried, single_node_id="b").input("b") == 1
        assert [each.checkpoints for each in retried] == [{}, {"call": raw(1)}]
        assert [(each.node_id, each.checkpoints) for each in rerun] == [("a", {}), ("b", {})]

    def test_a_rerun_of_a_whole_execution_carries_nothing(self) -> None:
        old = run("a")
        old.succeed("a")

        assert carry.carried_for_rerun(old.state, old.plan) == ()


def test_events_hold_many_small_node_runs_and_one_large_one() -> None:
    small = [
        CarriedRun(node_id=f"n{number}", ports={"main": raw("x" * 1000)}) for number in range(300)
    ]
    large = CarriedRun(node_id="large", ports={"main": raw("x" * carry.EVENT_BYTES)})

    events = carry.in_events([*small, large, small[0]])

    assert [len(each.node_runs) for each in events][-2:] == [1, 1]
    assert [run for each in events for run in each.node_runs] == [*small, large, small[0]]
    assert carry.in_events([]) == ()
