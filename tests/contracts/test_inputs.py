"""Input assembly and the scope of expressions."""

from typing import Any

import pytest

from contracts import inputs
from contracts.expressions.budget import DEFAULT_LIMITS
from contracts.expressions.errors import ExpressionError, MappingError
from contracts.expressions.interpreter import evaluate
from contracts.failures import FailureKind
from contracts.messages import Delivered, Upstream
from contracts.statuses import NodeRunStatus
from nodes.regex import Re2
from tests.support.tasks import NOW, delivered, raw, task, task_execution, task_node


def assembled(*deliveries: Delivered, trigger: Any = None) -> Any:
    body = task(deliveries=deliveries, trigger=trigger)
    scope = inputs.scope_of(task_node(), task_execution(), body)
    return inputs.assemble(body.deliveries, body.trigger, scope, DEFAULT_LIMITS, Re2())


@pytest.mark.parametrize(
    ("deliveries", "expected"),
    [
        pytest.param([delivered({"a": 1})], {"a": 1}, id="one value is the input"),
        pytest.param([delivered(7)], 7, id="one value need not be an object"),
        pytest.param(
            [delivered({"a": 1, "b": 1}), delivered({"b": 2}, "b")],
            {"a": 1, "b": 2},
            id="objects merge shallowly and later fields win",
        ),
        pytest.param(
            [delivered({"a": {"x": 1}}), delivered({"a": {"y": 2}}, "b")],
            {"a": {"y": 2}},
            id="merging is not deep",
        ),
        pytest.param(
            [delivered({"a": 1}), delivered([1], "b"), delivered(None, "c")],
            {"a": 1, "b": [1], "c": None},
            id="of several, what is no object goes under its source",
        ),
        pytest.param(
            [delivered({"a": 1}), delivered("x", "b", to_port="other")],
            {"a": 1, "other": "x"},
            id="another port is a field",
        ),
        pytest.param(
            [delivered("x", "b", to_port="other", wired=2)],
            {"other": ["x"]},
            id="a port wired twice always gets a list",
        ),
        pytest.param(
            [
                delivered("x", "b", to_port="other", wired=2),
                delivered("y", "c", to_port="other", wired=2),
            ],
            {"other": ["x", "y"]},
            id="a list is in the order of the connections",
        ),
        pytest.param(
            [delivered([1]), delivered("x", "b", to_port="other")],
            {"main": [1], "other": "x"},
            id="beside a port, what is no object goes under main",
        ),
        pytest.param(
            [delivered([1]), delivered({"k": 2}, "b"), delivered("x", "c", to_port="other")],
            {"a": [1], "k": 2, "other": "x"},
            id="several main values merge before the ports are added",
        ),
    ],
)
def test_deliveries_merge(deliveries: list[Delivered], expected: Any) -> None:
    assert assembled(*deliveries) == expected


def test_without_deliveries_the_input_is_the_trigger_data() -> None:
    assert assembled(trigger={"posted": True}) == {"posted": True}


def test_merging_leaves_the_delivered_values_as_they_are() -> None:
    first = inputs.Arrival("a", "main", {"a": 1})

    inputs.merge([first, inputs.Arrival("b", "other", 2)])

    assert first.value == {"a": 1}


def test_a_mapping_sees_the_travelling_value_as_input() -> None:
    mapping = {"type": "TRANSFORM", "expression": "{'total': input.body.total}"}

    assert assembled(delivered({"body": {"total": 5}}, mapping=mapping)) == {"total": 5}


def test_a_mapping_sees_the_scope_of_its_target() -> None:
    mapping = {"type": "TEMPLATE", "template": {"id": "{{ execution.id }}", "x": "{{ input }}"}}

    found = assembled(delivered(1, mapping=mapping))

    assert found == {"id": task_execution().id, "x": 1}


def test_a_failing_mapping_is_a_failure_of_the_expression() -> None:
    mapping = {"type": "TRANSFORM", "expression": "input.nothing"}

    with pytest.raises(ExpressionError) as caught:
        assembled(delivered({}, mapping=mapping))

    failure = inputs.refusal(caught.value)
    assert (failure.kind, failure.code) == (FailureKind.INVALID_EXPRESSION, "missing")
    assert failure.details["source"] == "input.nothing"
    assert not failure.retryable


def test_a_mapping_that_lacks_a_required_field_is_invalid_input() -> None:
    fields = [{"from": "a", "to": "b", "required": True}]

    with pytest.raises(MappingError) as caught:
        assembled(delivered({}, mapping={"type": "FIELD_MAPPING", "fields": fields}))

    failure = inputs.refusal(caught.value)
    assert (failure.kind, failure.details["path"]) == (FailureKind.INVALID_INPUT, "b")


def test_a_refusal_names_the_parameter() -> None:
    failure = inputs.refusal(ExpressionError("missing", "no such field"), parameter="url")

    assert failure.details["parameter"] == "url"
    assert failure.message.startswith("parameter url: ")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("nodes.fetch.output", {"left": 0}),
        ("nodes.fetch.ports.main.left", 0),
        ("nodes.fetch.status", "SUCCESS"),
        ("has(nodes.fetch.error)", False),
        ("nodes.broken.error.code", "not_found"),
        ("has(nodes.broken.output)", False),
        ("trigger.email", "ada@example.org"),
        ("static.limit", 100),
        ("workflow.timezone", "Europe/Berlin"),
        ("workflow.version", None),
        ("execution.mode", "MANUAL"),
        ("execution.user_id", "acme"),
        ("execution.parent_id", None),
        ("now", "2026-03-28T22:30:00Z"),
        ("now - execution.started_at", 3600),
    ],
)
def test_the_scope_has_what_expressions_may_name(source: str, expected: Any) -> None:
    node = task_node(static={"limit": 100}, timezone="Europe/Berlin")
    execution = task_execution(started_at=NOW.replace(hour=21))
    upstream = {
        "fetch": Upstream(NodeRunStatus.SUCCESS, {"main": raw({"left": 0})}, "main"),
        "broken": Upstream(NodeRunStatus.ERROR, {}, None, raw({"code": "not_found"})),
    }
    body = task(node, execution, nodes=upstream, trigger={"email": "ada@example.org"})

    assert evaluate(source, inputs.scope_of(node, execution, body)) == expected


def test_the_scope_is_a_mapping_of_the_names_that_there_are() -> None:
    node, execution = task_node(), task_execution()
    with_trigger = inputs.scope_of(node, execution, task(trigger=1))
    without = inputs.scope_of(node, execution, task(deliveries=[delivered(1)]))

    assert set(with_trigger) - set(without) == {"trigger"}
    assert len(with_trigger) == len(without) + 1
    assert "trigger" not in without


def test_a_named_scope_lays_names_over_another() -> None:
    named = inputs.Named({"a": 1, "b": 2}, {"b": 3, "c": 4})

    assert dict(named) == {"a": 1, "b": 3, "c": 4}
    assert len(named) == 3
