"""Segments: what is known of a worker that goes on from one node to the next by itself."""

import pytest

from contracts.execution import segments
from contracts.failures import Failure, FailureKind
from contracts.ids import RunKey
from contracts.messages import Head, Task, decode_onward
from contracts.model import Delivery, Settings
from contracts.statuses import ExecutionStatus, NodeRunStatus
from scheduler.core import tasks
from scheduler.core.decision import EARLY, AttemptLost, Reported, TaskReturned
from tests.core.chance import going_on
from tests.support.engine import Engine, compiled, document, node, raw, wire

GONE = Failure(FailureKind.WORKER_LOST, "deliveries_exhausted", "gone")


def line_of_three() -> Engine:
    """Return an execution of `a -> b -> c`, admitted."""
    nodes = [node("a"), node("b"), node("c")]
    return Engine(compiled(document(nodes, [wire("a -> b"), wire("b -> c")]))).start()


def go_on(engine: Engine, name: str, following: str) -> None:
    """Report a success whose worker goes on."""
    result = engine.result(name, ports={"main": raw(name)})
    engine.feed(Reported(going_on(result, following)))


def task_of(engine: Engine, key: RunKey) -> Task:
    """Return the task that would be published now."""
    execution = tasks.task_execution(engine.state)
    return tasks.build(
        engine.plan, engine.state, key, execution=execution, token="", in_segments=True
    )


# --- who may follow ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "wires", "follows"),
    [
        pytest.param({}, ["a -> b"], True, id="one connection"),
        pytest.param({}, ["a.a -> b"], True, id="from any port"),
        pytest.param({}, ["a -> b", "a -> c"], False, id="another node takes the same value"),
        pytest.param({}, ["a -> b", "a.a -> c"], True, id="another one takes another value"),
        pytest.param({}, ["a -> b", "c -> b"], False, id="it waits for somebody else, too"),
        pytest.param({"disabled": True}, ["a -> b"], False, id="it is disabled"),
        pytest.param({"delivery": Delivery.AT_MOST_ONCE}, ["a -> b"], False, id="asks before"),
        pytest.param({"credentials": {"http": "x"}}, ["a -> b"], False, id="it wants a secret"),
        pytest.param({"type": "FLOW.LOOP"}, ["a -> b"], False, id="it has a body"),
        pytest.param({"type": "CUSTOM.GOES_ON"}, ["a -> b"], False, id="it is dispatched again"),
        pytest.param(
            {"parameters": {"text": "{{ now }}"}}, ["a -> b"], False, id="it names the instant"
        ),
        pytest.param(
            {"parameters": {"text": "{{ nodes.a.output }}"}}, ["a -> b"], True, id="names nodes"
        ),
    ],
)
def test_who_may_follow(second: dict[str, object], wires: list[str], *, follows: bool) -> None:
    kind = str(second.pop("type", "CUSTOM.ANY"))
    nodes = [node("a"), node("b", kind, **second), node("c")]

    plan = compiled(document(nodes, [wire(each) for each in wires]))

    assert (plan.nodes["b"].follows is not None) is follows


def test_a_pinned_node_does_not_follow_and_neither_does_one_behind_a_join_that_did_not_wait() -> (
    None
):
    pinned = compiled(document([node("a"), node("b")], [wire("a -> b")], pin_data={"b": 1}))
    first = node("merge", "FLOW.MERGE", parameters={"wait_for": "first"})
    named = node("b", parameters={"text": "{{ nodes.a.output }}"})
    early = compiled(document([node("a"), first, named], [wire("a -> merge"), wire("merge -> b")]))

    assert pinned.nodes["b"].follows is None
    assert early.nodes["b"].follows is None


def test_nothing_leads_a_worker_into_an_iteration_or_out_of_one() -> None:
    nodes = [node("loop", "FLOW.LOOP"), node("x"), node("y"), node("after")]
    wires = ["loop.iteration -> x", "x -> y", "y -> loop.loop_body", "loop.complete -> after"]

    plan = compiled(document(nodes, [wire(each) for each in wires]))

    assert plan.nodes["x"].follows is None
    assert plan.nodes["y"].follows is not None
    assert segments.after(plan, "y") is None
    assert segments.after(plan, "loop") is None


def test_a_segment_has_an_end_and_carries_what_its_nodes_name() -> None:
    count = segments.MOST_NODES + 10
    named = {"text": "{{ nodes.before.output + trigger.x }}"}
    nodes = [node("before"), *(node(f"n{n}", parameters=named) for n in range(count))]
    wires = [wire("before -> n0"), *(wire(f"n{n} -> n{n + 1}") for n in range(count - 1))]
    plan = compiled(document(nodes, wires))

    segment = segments.after(plan, "n0")

    assert segment is not None
    assert len(decode_onward(bytes(segment.encoded))) <= segments.MOST_NODES
    assert segment.references == ("before",)
    assert segment.names_trigger


# --- what history says ---------------------------------------------------------------------------


def test_a_worker_that_goes_on_needs_no_task_and_each_result_is_recorded_singly() -> None:
    engine = line_of_three()

    go_on(engine, "a", "b")
    go_on(engine, "b", "c")
    engine.succeed("c")

    assert engine.dispatched == ["a"]
    assert engine.kinds[-4:] == ["node_succeeded"] * 3 + ["execution_succeeded"]
    assert engine.status is ExecutionStatus.SUCCESS


def test_the_task_of_its_head_stands_for_a_node_run_until_it_is_tried_again() -> None:
    engine = line_of_three()
    go_on(engine, "a", "b")
    key: RunKey = ("b", ())

    address, task = tasks.address(engine.plan, engine.state, key), task_of(engine, key)

    assert (address.node_id, address.attempt) == ("a", 1)
    assert task.head == Head("a", 1)
    assert task.attempt == 1

    engine.fail("b", retryable=True)
    engine.fire("retry:b:_:1")
    address = tasks.address(engine.plan, engine.state, key)

    assert (address.node_id, address.attempt) == ("b", 2)
    assert task_of(engine, key).head is None


def test_a_failure_in_a_segment_ends_it_like_any_other() -> None:
    engine = line_of_three()
    go_on(engine, "a", "b")

    engine.fail("b")

    assert engine.status is ExecutionStatus.ERROR
    assert engine.state.failure is not None
    assert engine.state.failure.node_id == "b"


def test_a_result_counts_under_its_own_head_alone() -> None:
    engine = line_of_three()
    go_on(engine, "a", "b")

    for head in (None, Head("a", 2), Head("c", 1)):
        assert engine.report("b", ports={}, head=head).refused == "stale_result"

    assert engine.succeed("b").refused is None


def test_a_result_that_overtook_the_one_before_it_comes_again() -> None:
    engine = line_of_three()
    early = Reported(engine.result("b", 1, ports={"main": raw(1)}, head=Head("a", 1)))

    assert engine.feed(early).refused == EARLY

    go_on(engine, "a", "b")

    assert engine.feed(early).refused is None


def test_a_result_of_a_segment_whose_head_is_tried_again_is_stale() -> None:
    engine = line_of_three()
    engine.fail("a", retryable=True)
    late = Reported(engine.result("b", 1, ports={"main": raw(1)}, head=Head("a", 1)))

    assert engine.feed(late).refused == "stale_result"

    engine.fire("retry:a:_:1")

    assert engine.feed(late).refused == "stale_result"


def test_what_a_worker_may_not_go_on_with_is_dispatched() -> None:
    nodes = [node("a"), node("b"), node("c", disabled=True), node("d")]
    wires = [wire("a -> b"), wire("a.a -> c"), wire("b -> d")]
    engine = Engine(compiled(document(nodes, wires))).start()

    for following in ("c", "d", "nobody"):
        result = engine.result("a", ports={"main": raw(1)})
        plan, ports = engine.plan, result.ports
        assert not segments.may_go_on(plan, "a", ports, following)
    engine.feed(Reported(going_on(engine.result("a", ports={"main": raw(1)}), "d")))

    assert engine.dispatched == ["a", "b"]


# --- pause, cancel, loss -------------------------------------------------------------------------


def test_a_worker_that_went_on_before_it_heard_of_a_pause_finishes_and_counts() -> None:
    engine = line_of_three()
    engine.pause()

    go_on(engine, "a", "b")
    engine.succeed("b")

    assert engine.statuses == {"a": "SUCCESS", "b": "SUCCESS", "c": "PENDING"}
    engine.resume()
    assert engine.dispatched == ["a", "c"]


def test_after_a_cancel_nothing_of_a_segment_counts() -> None:
    engine = line_of_three()
    go_on(engine, "a", "b")
    engine.cancel()

    late = engine.report("b", 1, ports={"main": raw(1)}, head=Head("a", 1))

    assert late.refused == "already_finished"


def test_a_lost_segment_fails_the_node_run_that_it_had_come_to() -> None:
    engine = line_of_three()
    go_on(engine, "a", "b")

    engine.feed(AttemptLost("a", (), 1, GONE))

    assert engine.statuses["a"] == NodeRunStatus.SUCCESS
    assert engine.statuses["b"] == NodeRunStatus.ERROR


def test_who_is_given_a_task_again_is_told_how_far_it_came() -> None:
    engine = line_of_three()
    asked = TaskReturned("a", (), 1, "worker", ("CUSTOM.ANY",))

    assert engine.feed(asked).returned == ("a", ())
    go_on(engine, "a", "b")
    assert engine.feed(asked).returned == ("b", ())
    engine.succeed("b")
    assert engine.feed(asked).refused == "stale_result"


def test_a_node_that_the_new_worker_does_not_serve_is_dispatched_by_itself() -> None:
    engine = line_of_three()
    go_on(engine, "a", "b")
    late = Reported(engine.result("b", ports={"main": raw(1)}))

    decision = engine.feed(TaskReturned("a", (), 1, "worker", ("CUSTOM.OTHER",)))

    assert decision.refused == "handed_back"
    assert engine.kinds[-1] == "node_handed_back"
    assert engine.dispatched == ["a", "b"]
    assert tasks.address(engine.plan, engine.state, ("b", ())).attempt == 2
    assert engine.feed(late).refused == "stale_result"
    assert engine.state.runs["b", ()].tries == 0


def test_what_is_handed_back_while_the_execution_is_paused_waits() -> None:
    engine = line_of_three()
    go_on(engine, "a", "b")
    engine.pause()

    engine.feed(TaskReturned("a", (), 1, "worker", ()))

    assert engine.dispatched == ["a"]
    engine.resume()
    assert engine.dispatched == ["a", "b"]


def test_a_head_is_told_to_whoever_has_its_task() -> None:
    engine = line_of_three()

    assert engine.feed(TaskReturned("a", (), 1, "worker", ())).returned == ("a", ())


def test_an_execution_of_which_outputs_are_carried_over_has_no_segments() -> None:
    engine = line_of_three()
    alone = Engine(engine.plan, single_node_id="a").start()

    assert task_of(engine, ("a", ())).onward
    assert not task_of(alone, ("a", ())).onward


def test_timeouts_of_the_whole_execution_end_a_segment_too() -> None:
    nodes = [node("a"), node("b")]
    plan = compiled(document(nodes, [wire("a -> b")], Settings(timeout=5)))
    engine = Engine(plan).start()
    go_on(engine, "a", "b")

    engine.fire("execution_timeout")

    assert engine.status is ExecutionStatus.ERROR
    assert engine.decisions[-1][1].stop_workers
