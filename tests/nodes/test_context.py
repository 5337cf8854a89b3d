"""What a handler sees."""

import json
from datetime import timedelta

import pytest
import structlog
from msgspec import UNSET

from contracts.expressions.errors import ExpressionError
from contracts.inputs import Arrival
from nodes.attempt_log import LOG_BYTES
from tests.support.tasks import EXECUTION_ID, NOW, context, task_node


def test_it_tells_where_the_attempt_belongs() -> None:
    at = context({"a": 1}, node=task_node(id="fetch", timeout=30))

    assert (at.node.id, at.execution.id, at.attempt, at.iteration) == ("fetch", EXECUTION_ID, 1, ())
    assert at.input == {"a": 1}
    assert at.now == NOW
    assert at.deadline == NOW + timedelta(seconds=30)
    assert at.idempotency_key == f"{EXECUTION_ID}:fetch:_"


def test_ports_hold_what_arrived_with_its_sources() -> None:
    arrived = (Arrival("a", "main", 1), Arrival("b", "other", 2), Arrival("c", "main", 3))

    at = context(None, *arrived)

    assert at.ports == {"main": [arrived[0], arrived[2]], "other": [arrived[1]]}
    assert at.input == {"a": 1, "c": 3, "other": 2}


def test_expressions_see_the_scope_and_more_names() -> None:
    at = context({"n": 2})

    assert at.evaluate("input.n + item", item=3) == 5
    assert at.evaluate("execution.id") == EXECUTION_ID
    assert at.evaluate("trigger.n") == 2
    assert at.evaluate_text("input.n") == "2"
    assert at.condition("input.n == x", x=2)
    assert at.render({"a": ["{{ input.n }}", "{{ item }}!"]}, item=1) == {"a": [2, "1!"]}
    with pytest.raises(ExpressionError):
        at.evaluate("item")


def test_every_evaluation_has_a_budget_of_its_own() -> None:
    at = context(list(range(5000)))

    for _ in range(50):
        assert at.evaluate("size(input.map(i, i))") == 5000


def test_progress_is_handed_on() -> None:
    told: list[tuple[str, float | None]] = []

    context(progress=told).progress("half", 50)

    assert told == [("half", 50)]


def test_what_is_logged_goes_to_the_worker_and_into_the_result() -> None:
    at = context()

    with structlog.testing.capture_logs() as captured:
        at.log.info("page_read", page=3)
        at.log.warning("odd", value=object())

    assert captured[0]["execution_id"] == EXECUTION_ID
    assert (captured[0]["event"], captured[0]["page"]) == ("page_read", 3)
    assert at.logs is not UNSET
    entries = json.loads(bytes(at.logs))
    assert [entry["event"] for entry in entries] == ["page_read", "odd"]
    assert (entries[0]["level"], entries[0]["page"]) == ("info", 3)
    assert entries[0]["at"]


def test_nothing_logged_is_nothing_in_the_result() -> None:
    assert context().logs is UNSET


@pytest.mark.parametrize("most", [LOG_BYTES, 2_000])
def test_a_long_log_is_cut_and_marked(most: int) -> None:
    at = context(log_bytes=most)

    with structlog.testing.capture_logs():
        for _ in range(100):
            at.log.info("line", text="x" * 1000)

    assert at.logs is not UNSET
    assert most - 1_200 <= len(bytes(at.logs)) <= most + 100
    assert json.loads(bytes(at.logs))[-1]["event"] == "log_cut"


def test_a_log_takes_whatever_it_is_given() -> None:
    at = context()

    with structlog.testing.capture_logs():
        at.log.info("odd", half="\ud800", execution_id="other")

    assert at.logs is not UNSET
    assert json.loads(bytes(at.logs))[0]["execution_id"]


async def test_the_clock_is_real() -> None:
    clock = context().clock

    assert clock.now().tzinfo is not None
    before = clock.monotonic()
    await clock.sleep(0)
    assert clock.monotonic() >= before
