"""HUMAN_IN_THE_LOOP.APP: the question, and what goes on with the answer."""

from datetime import timedelta
from typing import Any

import pytest

from contracts.failures import Failure, FailureKind
from contracts.messages import Resumed, decode_report, encode
from contracts.specs import Catalogue
from contracts.validation import examine
from nodes.answers import Answer, Failed, Wait
from nodes.catalogue import builtin_specs
from nodes.context import Context, Outputs, WaitKind
from nodes.human import app
from nodes.parameters import InvalidParameter
from tests.support.documents import chain, node, noop, wire
from tests.support.tasks import NOW, context, raw, task, task_node
from tests.workers.test_attempt import result_of

CATALOGUE = Catalogue(builtin_specs())
INPUT = {"amount": 7}


async def answered(at: Context, **parameters: Any) -> Answer:
    return await app(at, app.reader.read({"message": "May it?", **parameters}))


async def asked(**parameters: Any) -> Any:
    """Return the question that such a node puts."""
    answer = await answered(context(INPUT), **parameters)
    assert isinstance(answer, Wait)
    assert answer.kind is WaitKind.INTERACTION
    return answer.question


def after(by: str, *, wired: tuple[str, ...] = (), **fields: Any) -> Context:
    """Return the context of the attempt after the question."""
    at = NOW + timedelta(seconds=100)
    resumed = Resumed(by=by, at=at, waited_since=NOW, interaction_id="i1", **fields)
    return context(INPUT, node=task_node(wired=wired), resumed=resumed)


async def test_a_question_shows_the_input_and_waits_a_day() -> None:
    answer = await answered(context(INPUT))

    assert isinstance(answer, Wait)
    assert answer.seconds == 86_400
    question = answer.question
    assert question is not None
    assert (question.kind, question.title, question.message) == (
        "approval", "Action required", "May it?"
    )  # fmt: skip
    assert (question.value, question.fields, question.choices) == (INPUT, {}, None)


async def test_a_question_travels_with_all_its_values() -> None:
    at = task_node(
        type="HUMAN_IN_THE_LOOP.APP",
        parameters={
            "message": "Which of {{ input.amount }}?",
            "kind": "choice",
            "choices": '[{"value": 1, "label": "one", "port": "first"}, {"value": null}]',
            "approvers": ["a@example.org"],
            "approvals_required": 2,
            "data": {"n": "{{ input.amount }}"},
        },
    )

    result = await result_of(task(at, trigger=INPUT), app)

    assert result.wait is not None
    order = result.wait.interaction
    assert order is not None
    assert order.message == "Which of 7?"
    assert (order.approvers, order.approvals_required) == (("a@example.org",), 2)
    assert bytes(order.value) == b'{"n":7}'  # type: ignore[arg-type]
    assert bytes(order.choices) == (  # type: ignore[arg-type]
        b'[{"value":1,"label":"one","port":"first"},{"value":null}]'
    )
    assert decode_report(encode(result)) == result


async def test_an_edited_value_is_a_field_of_the_form() -> None:
    schema = {"type": "object", "required": ["text"]}
    fields = {"properties": {"note": {"type": "string"}}, "required": ["note"]}

    question = await asked(kind="review", editable=True, data_schema=schema, fields=fields)

    assert question.fields == {
        "type": "object",
        "properties": {"note": {"type": "string"}, "value": schema},
        "required": ["note"],
    }


OUTCOME = {"interaction_id": "i1", "approved": True, "port": "approved", "data": {"note": "ok"}}


@pytest.mark.parametrize("port", ["approved", "rejected", "answered", "first"])
async def test_an_answer_goes_on_at_its_port(port: str) -> None:
    answer = await answered(after("INTERACTION", port=port, data=raw(OUTCOME)))

    assert isinstance(answer, Outputs)
    assert answer.ports == {port: OUTCOME}


async def test_no_answer_in_time_goes_on_at_timeout() -> None:
    answer = await answered(after("DUE", wired=("timeout",)), respond_within=100)

    assert isinstance(answer, Outputs)
    assert answer.ports == {
        "timeout": {
            "interaction_id": "i1",
            "asked_at": "2026-03-28T22:30:00.000000Z",
            "due_at": "2026-03-28T22:31:40.000000Z",
        }
    }


async def test_no_answer_in_time_fails_where_timeout_leads_nowhere() -> None:
    answer = await answered(after("DUE"))

    assert isinstance(answer, Failure)
    assert (answer.kind, answer.code, answer.retryable) == (
        FailureKind.TIMEOUT, "interaction_timeout", False
    )  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "port", "told"),
    [
        (
            {"default_answer": {"approved": False, "reason": "late"}},
            "rejected",
            {"approved": False, "reason": "late", "data": {}, "value": INPUT},
        ),
        (
            {"kind": "input", "default_answer": {"data": {"note": "-"}, "value": 1}},
            "answered",
            {"data": {"note": "-"}, "value": 1},
        ),
        (
            {
                "kind": "choice",
                "choices": [{"value": "a", "port": "first"}],
                "default_answer": '{"choice": "a"}',
            },
            "first",
            {"choice": "a", "data": {}, "value": INPUT},
        ),
    ],
)
async def test_no_answer_in_time_may_be_a_default_one(
    parameters: dict[str, Any], port: str, told: dict[str, Any]
) -> None:
    answer = await answered(after("DUE"), timeout_action="default", **parameters)

    assert isinstance(answer, Outputs)
    assert answer.ports == {
        port: {
            **told,
            "interaction_id": "i1",
            "port": port,
            "responder": {"channel": "SYSTEM"},
            "responded_at": "2026-03-28T22:31:40Z",
        }
    }


@pytest.mark.parametrize(
    "parameters",
    [
        {"kind": "choice"},
        {"timeout_action": "default"},
        {"timeout_action": "default", "default_answer": {}},
        {"timeout_action": "default", "default_answer": {"choice": 1}},
        {"fields": True},
    ],
)
async def test_a_question_that_nobody_could_answer_is_not_put(parameters: dict[str, Any]) -> None:
    with pytest.raises(Failed) as caught:
        await answered(context(INPUT), **parameters)

    assert caught.value.failure.code == "invalid_parameter"


@pytest.mark.parametrize("port", ["timeout", "error", "No"])
def test_a_choice_goes_on_at_a_port_of_its_own(port: str) -> None:
    with pytest.raises(InvalidParameter):
        app.reader.read({"message": "m", "choices": [{"value": 1, "port": port}]})


def test_older_spellings_are_read() -> None:
    sent = node(
        "ask", "HUMAN_IN_THE_LOOP.IN_APP",
        message_template="m", required_fields=["why"], timeout_hours=2, interaction_type="Input",
    )  # fmt: skip

    reading = examine(chain(sent), CATALOGUE)

    assert reading.problems == ()
    assert reading.document is not None
    assert reading.document.nodes[1].parameters == {
        "message": "m",
        "kind": "input",
        "respond_within": 7200,
        "fields": {
            "type": "object", "properties": {"why": {"type": "string"}}, "required": ["why"]
        },
    }  # fmt: skip


def test_ports_follow_from_the_choices() -> None:
    ask = node("ask", "HUMAN_IN_THE_LOOP.APP", message="m", kind="choice")
    ask["parameters"]["choices"] = [{"value": 1, "port": "first"}]
    sent = chain(ask)
    sent["nodes"] += [noop("one"), noop("none")]
    sent["connections"] += [
        wire("ask", "one", from_port="first"), wire("ask", "none", from_port="second")
    ]  # fmt: skip

    problems = examine(sent, CATALOGUE).problems

    assert [(each.pointer, each.code) for each in problems] == [
        (f"/connections/{len(sent['connections']) - 1}/from_port", "unknown_port")
    ]


@pytest.mark.parametrize("name", ["reminders", "escalation", "free_text"])
def test_what_has_no_effect_is_unknown(name: str) -> None:
    sent = chain(node("ask", "HUMAN_IN_THE_LOOP.APP", message="m", **{name: 1}))

    assert [each.code for each in examine(sent, CATALOGUE).problems] == ["unknown_parameter"]
