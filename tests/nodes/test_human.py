"""HUMAN_IN_THE_LOOP.APP: the question, and what goes on with the answer."""

from datetime import timedelta
from typing import Any

import pytest

from contracts.failures import Failure, FailureKind
from contracts.interactions import Answer as Said
from contracts.interactions import Responder
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


def said(who: str) -> Said:
    """Return an approval."""
    responder = Responder(id=who, channel="API")
    return Said(port="approved", approved=True, responder=responder, responded_at=NOW)


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
            "approvers": ["a@example.org", "b@example.org"],
            "approvals_required": 2,
            "data": {"n": "{{ input.amount }}"},
        },
    )

    result = await result_of(task(at, trigger=INPUT), app)

    assert result.wait is not None
    order = result.wait.interaction
    assert order is not None
    assert order.message == "Which of 7?"
    assert (order.approvers, order.approvals_required) == (
        ("a@example.org", "b@example.org"),
        2,
    )
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


ADA = said("ada")
OUTCOME = {"interaction_id": "i1", "approved": True, "port": "approved", "data": {"note": "ok"}}


@pytest.mark.parametrize("port", ["approved", "rejected", "answered", "first"])
async def test_an_answer_goes_on_at_its_port(port: str) -> None:
    answer = await answered(after("INTERACTION", port=port, data=raw(OUTCOME)))

    assert isinstance(answer, Outputs)
    assert answer.ports == {port: OUTCOME}


async def test_no_answer_in_time_goes_on_at_timeout() -> None:
    late = after("DUE", wired=("timeout",), answers=(ADA,))

    answer = await answered(late, respond_within=100)

    assert isinstance(answer, Outputs)
    assert answer.ports == {
        "timeout": {
            "interaction_id": "i1",
            "asked_at": "2026-03-28T22:30:00.000000Z",
            "due_at": "2026-03-28T22:31:40.000000Z",
            "answers": [
                {
                    "port": "approved",
                    "approved": True,
                    "responder": {"id": "ada", "channel": "API"},
                    "responded_at": "2026-03-28T22:30:00Z",
                }
            ],
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
        {"approvers": ["ada", "ADA", "bob"], "approvals_required": 3},
        {"respond_within": 60, "reminders": [30, 60]},
        {"respond_within": 60, "escalation": {"after": 60, "approvers": ["zoe"]}},
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


@pytest.mark.parametrize(
    "parameters",
    [
        {"reminders": [0]},
        {"reminders": "soon"},
        {"escalation": {"after": 10, "approvers": []}},
        {"escalation": {"approvers": ["zoe"]}},
        {"free_text": 7},
    ],
)
def test_looks_that_make_no_sense_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter):
        app.reader.read({"message": "m", **parameters})


def test_how_people_are_reminded_is_read() -> None:
    sent = chain(
        node(
            "ask", "HUMAN_IN_THE_LOOP.APP", message="m", reminders=[60, 3600], free_text=False,
            escalation={"after": 120, "approvers": ["zoe@example.org"]},
        )
    )  # fmt: skip

    assert examine(sent, CATALOGUE).problems == ()


LOOKS: dict[str, Any] = {
    "respond_within": 100,
    "reminders": [30, 10, 40],
    "escalation": {"after": 20, "approvers": ["zoe"]},
}


async def looked(at: float, state: Any, **parameters: Any) -> Wait:
    """Return how it goes on after a look so many seconds after the question was put."""
    instant = NOW + timedelta(seconds=at)
    resumed = Resumed(
        by="CHECK", at=instant, waited_since=NOW, interaction_id="i1", state=raw(state)
    )
    answer = await answered(context(INPUT, resumed=resumed), **(LOOKS | parameters))
    assert isinstance(answer, Wait)
    assert (answer.kind, answer.interaction_id, answer.question) == (
        WaitKind.INTERACTION, "i1", None
    )  # fmt: skip
    assert answer.due_at == NOW + timedelta(seconds=100)
    return answer


async def test_the_first_look_is_planned_with_the_question() -> None:
    answer = await answered(context(INPUT), **LOOKS)

    assert isinstance(answer, Wait)
    assert (answer.check_seconds, answer.is_reminder, answer.seconds) == (10, True, 100)
    assert answer.state == {"planned": 10}


async def test_looks_follow_each_other_and_count_from_when_it_was_put() -> None:
    first = await looked(10.5, {"planned": 10})
    second = await looked(20, first.state)
    third = await looked(30, second.state)
    last = await looked(40, third.state)

    assert (first.check_seconds, first.is_reminder, first.approvers) == (9.5, False, ())
    assert (second.check_seconds, second.is_reminder, second.approvers) == (10, True, ("zoe",))
    assert (third.check_seconds, third.is_reminder, third.approvers) == (10, True, ())
    assert (last.check_seconds, last.is_reminder, last.approvers) == (None, False, ())


async def test_what_is_put_at_keeps_over_all_waits() -> None:
    state = {"put_at": "2026-03-28T22:30:00.000000Z", "looked": 10, "planned": 20}
    instant = NOW + timedelta(seconds=20)
    resumed = Resumed(
        by="CHECK",
        at=instant,
        waited_since=NOW + timedelta(seconds=15),
        interaction_id="i1",
        state=raw(state),
    )

    answer = await answered(context(INPUT, resumed=resumed), **LOOKS)

    assert isinstance(answer, Wait)
    assert answer.due_at == NOW + timedelta(seconds=100)


async def test_a_look_that_seems_too_early_is_not_planned_again() -> None:
    answer = await looked(9.999, {"planned": 10})

    assert answer.check_seconds == pytest.approx(10.001)
    assert answer.state["planned"] == 20


async def test_what_was_slept_through_is_done_once() -> None:
    answer = await looked(35, {"planned": 10})

    assert (answer.check_seconds, answer.is_reminder) == (5, True)
    assert answer.approvers == ("zoe",)


async def test_a_look_after_the_due_time_plans_no_other() -> None:
    answer = await looked(200, {"planned": 40, "looked": 30})

    assert (answer.check_seconds, answer.approvers) == (None, ())


async def test_a_look_travels_with_whom_it_asks() -> None:
    at = task_node(
        type="HUMAN_IN_THE_LOOP.APP",
        parameters={"message": "m", "escalation": {"after": 5, "approvers": ["{{ input.who }}"]}},
    )
    due = NOW + timedelta(seconds=5)
    resumed = Resumed(by="CHECK", at=due, waited_since=NOW, interaction_id="i1", state=raw({}))

    result = await result_of(task(at, trigger={"who": "zoe"}, resumed=resumed), app)

    assert result.wait is not None
    assert result.wait.approvers == ("zoe",)
    assert decode_report(encode(result)) == result
