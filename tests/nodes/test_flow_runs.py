"""FLOW and human nodes in whole workflows: the core decides, the handlers answer, and both mean the same."""

from typing import Any

import pytest

from contracts.statuses import ExecutionStatus
from tests.support.documents import START, node, noop, wire
from tests.support.flows import Flow


def document(nodes: list[dict[str, Any]], *wires: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": "Flow", "nodes": [START, *nodes], "connections": list(wires), **fields}


def looping(body: Any, /, kind: str = "FLOW.FOR_EACH", **parameters: Any) -> dict[str, Any]:
    """Return start -> each, with one NOOP of this `data` as the body of each."""
    return document(
        [node("each", kind, **parameters), noop("body", parameters={"data": body})],
        wire("start", "each"),
        wire("each", "body", from_port="iteration"),
        wire("body", "each", to_port="loop_body"),
    )


async def test_a_loop_over_items_gives_all_results() -> None:
    sent = looping("{{ [loop.index, loop.count, loop.item, input.is_last] }}", max_parallel=2)

    flow = await Flow(sent, input=["a", "b", "c"]).run()

    assert flow.engine.output["each"] == {
        "results": [[0, 3, "a", False], [1, 3, "b", False], [2, 3, "c", True]],
        "count": 3,
        "failed": 0,
        "errors": [],
        "last": [2, 3, "c", True],
    }


async def test_a_loop_over_nothing_is_over_at_once() -> None:
    flow = await Flow(looping("{{ loop.item }}"), input=[]).run()

    assert flow.engine.output["each"]["results"] == []
    assert flow.engine.status is ExecutionStatus.SUCCESS


async def test_a_loop_over_batches_and_numbers() -> None:
    sent = looping("{{ loop.items }}", "FLOW.LOOP", loop_type="for", count=5, batch_size=2)

    flow = await Flow(sent).run()

    assert flow.engine.output["each"]["results"] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    ("loop_type", "condition", "results"),
    [
        pytest.param("while", "loop.index < 3", [0, 10, 20], id="while"),
        pytest.param("while", "loop.previous != null && loop.index < 3", [], id="never"),
        pytest.param("until", "loop.previous >= 10", [0, 10], id="until"),
        pytest.param("until", "true", [0], id="once"),
    ],
)
async def test_a_loop_on_a_condition(loop_type: str, condition: str, results: list[int]) -> None:
    sent = looping("{{ loop.index * 10 }}", "FLOW.LOOP", loop_type=loop_type, condition=condition)

    flow = await Flow(sent).run()

    assert flow.engine.output["each"]["results"] == results


async def test_a_condition_that_never_ends_fails_its_loop() -> None:
    sent = looping("{{ loop.index }}", "FLOW.WHILE", condition="true", max_iterations=3)

    flow = await Flow(sent).run()

    assert flow.engine.status is ExecutionStatus.ERROR
    assert flow.failure.code == "too_many_iterations"
    assert flow.engine.statuses["body@2"] == "SUCCESS"


async def test_previous_is_the_result_of_the_iteration_before() -> None:
    flow = await Flow(looping("{{ [loop.item, loop.previous] }}"), input=[1, 2]).run()

    assert flow.engine.output["each"]["results"] == [[1, None], [2, [1, None]]]


@pytest.mark.parametrize(("on_item_error", "results"), [("NULL", [1, None, 3]), ("DROP", [1, 3])])
async def test_a_failed_iteration_counts_as_its_loop_says(
    on_item_error: str, results: list[Any]
) -> None:
    sent = looping("{{ loop.item.a }}", on_item_error=on_item_error)

    flow = await Flow(sent, input=[{"a": 1}, {}, {"a": 3}]).run()

    output = flow.engine.output["each"]
    assert (output["results"], output["failed"]) == (results, 1)
    assert output["errors"][0]["index"] == 1
    assert output["errors"][0]["failure"]["code"] == "missing"


async def test_loops_inside_each_other() -> None:
    sent = document(
        [
            node("rows", "FLOW.FOR_EACH"),
            node("cells", "FLOW.FOR_EACH", items="loop.item"),
            noop("cell", parameters={"data": "{{ [loop.parent.index, loop.item] }}"}),
        ],
        wire("start", "rows"),
        wire("rows", "cells", from_port="iteration"),
        wire("cells", "cell", from_port="iteration"),
        wire("cell", "cells", to_port="loop_body"),
        wire(
            "cells",
            "rows",
            from_port="complete",
            to_port="loop_body",
            mapping={"type": "TRANSFORM", "expression": "input.results"},
        ),
    )

    flow = await Flow(sent, input=[["a", "b"], ["c"]]).run()

    assert flow.engine.output["rows"]["results"] == [[[0, "a"], [0, "b"]], [[1, "c"]]]


def waiting(*further: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    """Return start -> wait -> after."""
    return document(
        [node("wait", "FLOW.WAIT", **parameters), noop("after"), noop("late")],
        wire("start", "wait"),
        wire("wait", "after"),
        *(further or (wire("after", "late"),)),
    )


async def test_a_delay_passes() -> None:
    flow = await Flow(waiting(wait_type="duration", duration=60), input={"a": 1}).run()
    assert flow.engine.status is ExecutionStatus.WAITING

    await flow.fire("WAIT")

    assert flow.engine.output == {"late": {"a": 1}}
    assert (flow.engine.at - flow.engine.history[0].at).total_seconds() >= 60


async def test_a_signal_is_waited_for() -> None:
    flow = await Flow(waiting(wait_type="signal", signal="paid"), input=7).run()

    await flow.signal("other")
    assert flow.engine.status is ExecutionStatus.WAITING
    await flow.signal("paid", {"sum": 5})

    output = flow.engine.output["late"]
    assert (output["data"], output["signal"]["data"]) == (7, {"sum": 5})


@pytest.mark.parametrize("is_wired", [True, False])
async def test_a_signal_that_does_not_come(is_wired: bool) -> None:
    further = (wire("wait", "late", from_port="timeout"),) if is_wired else ()
    sent = waiting(*further, wait_type="signal", signal="paid", max_wait=30)

    flow = await (await Flow(sent, input=7).run()).fire("DUE")

    if is_wired:
        assert flow.engine.output["late"]["waited_seconds"] >= 30
        assert flow.engine.statuses["after"] == "SKIPPED"
    else:
        assert flow.failure.code == "wait_timeout"


async def test_a_condition_is_looked_at_until_it_holds() -> None:
    sent = waiting(
        wait_type="condition",
        condition="signal != null && signal.data > 1",
        check_interval=5,
        max_wait=12,
    )
    flow = await Flow(sent, input=7).run()

    await flow.fire("CHECK")
    await flow.signal("wait", 1)
    assert flow.engine.status is ExecutionStatus.WAITING
    await flow.signal("wait", 2)

    assert flow.engine.output["late"]["signal"]["data"] == 2
    assert flow.engine.dispatched.count("wait") == 4


async def test_a_condition_that_never_holds_is_not_waited_for_longer_than_said() -> None:
    sent = waiting(
        wire("wait", "late", from_port="timeout"),
        wait_type="condition",
        condition="false",
        check_interval=5,
        max_wait=12,
    )
    flow = await Flow(sent, input=7).run()

    await flow.fire("CHECK")
    await flow.fire("CHECK")
    await flow.fire("DUE")

    assert flow.engine.output["late"]["waited_seconds"] == pytest.approx(12, abs=0.1)


async def test_a_wait_that_somebody_ends_goes_on_with_the_input() -> None:
    flow = await Flow(waiting(wait_type="signal", signal="paid"), input=7).run()

    flow.engine.end_wait("wait", {"from": "somebody"})
    await flow.run()

    assert flow.engine.output == {"late": 7}


@pytest.mark.parametrize("on_error", ["CONTINUE_REGULAR_OUTPUT", "CONTINUE_ERROR_OUTPUT"])
async def test_stop_and_error_ends_the_execution_whatever_the_policies_say(on_error: str) -> None:
    stop = node("stop", "FLOW.STOP_AND_ERROR", message="no {{ input.a }}", code="nope")
    sent = document([stop | {"on_error": on_error}, noop("after")], wire("start", "stop"))
    sent["connections"].append(wire("stop", "after", from_port="error"))
    sent["settings"] = {"on_error": on_error}

    flow = await Flow(sent, input={"a": 5}).run()

    assert flow.engine.status is ExecutionStatus.ERROR
    assert (flow.failure.code, flow.failure.message, flow.failure.node_id) == (
        "nope", "no 5", "stop"
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["wait", "start"])
async def test_a_child_is_started_and_waited_for(mode: str) -> None:
    call = node(
        "call", "FLOW.SUB_WORKFLOW", workflow_id="Other", input={"n": "{{ input }}"}, mode=mode
    )
    flow = await Flow(document([call], wire("start", "call")), input=7).run()
    ((child_id, child),) = flow.engine.children.items()
    assert bytes(child.created.input) == b'{"n":7}'

    if mode == "wait":
        assert flow.engine.status is ExecutionStatus.WAITING
        flow.engine.end_child("call", output=child.created.input)
        assert flow.engine.output == {"call": {"n": 7}}
    else:
        assert flow.engine.output == {"call": {"execution_id": child_id}}


@pytest.mark.parametrize(
    "further", [{"wait_for": "first"}, {"max_wait": 5, "on_timeout": "PROCEED"}]
)
async def test_a_merge_need_not_wait_for_all(further: dict[str, Any]) -> None:
    sent = document(
        [
            noop("fast"),
            node("slow", "FLOW.DELAY", duration=60),
            node("merge", "FLOW.MERGE", **further),
        ],
        wire("start", "fast"),
        wire("start", "slow"),
        wire("fast", "merge"),
        wire("slow", "merge", to_port="input1"),
    )
    flow = await Flow(sent, input=7).run()
    if "max_wait" in further:
        await flow.fire("DUE")

    assert flow.engine.value("merge")["data"] == [7]
    await flow.fire("WAIT")
    assert flow.engine.output["merge"]["sources"] == [
        {"node_id": "fast", "port": "main", "count": 1}
    ]


def asking(**parameters: Any) -> dict[str, Any]:
    """Return start -> ask, and behind it a node for each of its ports."""
    ports = ("approved", "rejected", "answered", "timeout")
    return document(
        [node("ask", "HUMAN_IN_THE_LOOP.APP", message="May it?", **parameters), *map(noop, ports)],
        wire("start", "ask"),
        *(wire("ask", port, from_port=port) for port in ports),
    )


async def test_a_question_is_answered() -> None:
    flow = await Flow(asking(kind="review", approvals_required=2), input={"n": 1}).run()
    ((interaction_id, opened),) = flow.engine.open.items()
    assert (opened.order.kind, opened.order.approvals_required) == ("review", 2)

    outcome = {"interaction_id": interaction_id, "approved": False, "port": "rejected"}
    flow.engine.end_wait(None, outcome, interaction_id=interaction_id, port="rejected")
    await flow.run()

    assert flow.engine.output == {"rejected": outcome}
    assert flow.engine.closed == {interaction_id: "ANSWERED"}


async def test_a_question_that_nobody_answers() -> None:
    flow = await Flow(asking(respond_within=60), input={"n": 1}).run()
    (interaction_id,) = flow.engine.open

    await flow.fire("DUE")

    assert flow.engine.output["timeout"]["interaction_id"] == interaction_id
    assert flow.engine.closed == {interaction_id: "TIMED_OUT"}
