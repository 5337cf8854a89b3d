"""Interactions over HTTP: who may answer what, when enough have answered, and who came too late."""

import hashlib
import json
from typing import Any

import httpx
import msgspec
import pytest

import db.payloads
from contracts.history import ExecutionStarted, NodeWaiting, Wait
from contracts.messages import Respond
from contracts.payloads import raw_of, reference_to
from contracts.statuses import WaitKind
from db.payloads import Payload
from db.store import Store
from tests.support.gateways import (
    STRANGER,
    USER,
    SchedulerStandIn,
    Wish,
    make_execution,
    make_workflow,
    refused,
)
from tests.support.questions import ask

pytestmark = pytest.mark.component

EMAIL = "ada@example.com"
FORM = {
    "type": "object",
    "required": ["note"],
    "properties": {"note": {"type": "string"}, "value": {"type": "object"}},
}
CHOICES = [{"value": "now", "label": "Now", "port": "today"}, {"value": "later", "label": "Later"}]


async def question(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store, **fields: Any
) -> str:
    """Return the id of a question that a node run waits for."""
    execution_id = await make_execution(api, await make_workflow(api))
    asked = await ask(store, USER, execution_id, node_id="hello", **fields)
    wait = Wait(kind=WaitKind.INTERACTION, interaction_id=asked)
    await scheduler.record(execution_id, ExecutionStarted(), ("hello", NodeWaiting(wait=wait)))
    return asked


async def respond(api: httpx.AsyncClient, asked: str, **answer: Any) -> httpx.Response:
    """Answer a question."""
    return await api.post(f"/v1/interactions/{asked}/respond", json=answer)


async def outcome_of(api: httpx.AsyncClient, scheduler: SchedulerStandIn) -> tuple[Respond, Any]:
    """Return the one command that was sent, and what the node run gets."""
    wish = scheduler.wishes.get_nowait()
    assert scheduler.wishes.empty()
    assert isinstance(wish, Respond)
    path = f"/v1/executions/{wish.execution_id}/history?kind=signal_received"
    (event,) = (await api.get(path)).json()["items"]
    return wish, event["data"]["data"]


async def test_a_question_is_shown_and_listed(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    asked = await question(
        api, scheduler, store, title="Send it?", fields=FORM, value={"text": "draft"}
    )

    shown = (await api.get(f"/v1/interactions/{asked}")).json()
    listed = (await api.get("/v1/interactions?status=PENDING")).json()
    of_execution = await api.get(f"/v1/interactions?execution_id={shown['execution_id']}")

    assert shown["title"] == "Send it?"
    assert shown["fields"] == FORM
    assert shown["value"] == {"text": "draft"}
    assert shown["answers"] == []
    assert (shown["node_id"], shown["iteration"], shown["status"]) == ("hello", [], "PENDING")
    assert shown["due_at"] is None
    assert "choices" not in shown
    assert [each["id"] for each in listed["items"]] == [asked]
    assert "fields" not in listed["items"][0]
    assert [each["id"] for each in of_execution.json()["items"]] == [asked]
    assert (await api.get("/v1/interactions?status=ANSWERED")).json()["items"] == []
    refused(await api.get("/v1/interactions?status=DONE"), 422, "invalid_request")


async def test_an_approval_ends_the_wait(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    asked = await question(api, scheduler, store, value={"text": "draft"})

    answered = await respond(api, asked, approved=True, data={"n": 1}, reason="fine")

    assert answered.status_code == 200, answered.text
    assert answered.json()["status"] == "ANSWERED"
    assert answered.json()["closed_at"]
    assert answered.json()["answers"][0]["approved"] is True
    wish, outcome = await outcome_of(api, scheduler)
    assert (wish.interaction_id, wish.answer.port) == (asked, "approved")
    assert wish.by.user_id == USER
    assert outcome["interaction_id"] == asked
    assert outcome["approved"] is True
    assert outcome["port"] == "approved"
    assert outcome["data"] == {"n": 1}
    assert outcome["value"] == {"text": "draft"}
    assert outcome["reason"] == "fine"
    assert outcome["responder"] == {"id": USER, "name": "Ada", "channel": "API"}
    assert len(outcome["answers"]) == 1


async def test_the_first_answer_counts(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    asked = await question(api, scheduler, store)
    await respond(api, asked, approved=False, reason="no")

    late = await respond(api, asked, approved=True)

    refused(late, 409, "already_answered")
    assert late.json()["first_answer"]["reason"] == "no"


@pytest.mark.parametrize(
    ("fields", "answer", "pointer"),
    [
        pytest.param({}, {}, "/approved", id="no verdict"),
        pytest.param({}, {"approved": True, "port": "rejected"}, "/port", id="two verdicts"),
        pytest.param({}, {"approved": True, "value": 1}, "/value", id="not editable"),
        pytest.param({"fields": FORM}, {"approved": True}, "/data/note", id="form is missing"),
        pytest.param(
            {"fields": FORM}, {"approved": False, "data": {"note": 1}}, "/data/note", id="form"
        ),
        pytest.param(
            {"fields": FORM, "editable": True},
            {"approved": True, "data": {"note": ""}, "value": "text"},
            "/data/value",
            id="edited value",
        ),
        pytest.param(
            {"kind": "choice", "choices": CHOICES}, {"choice": "never"}, "/choice", id="choice"
        ),
        pytest.param({"kind": "input"}, {"approved": True}, "/approved", id="no vote"),
        pytest.param({}, {"approved": True, "data": {"$payload": 1}}, "/data", id="reference"),
        pytest.param({}, {"approved": "yes"}, "/approved", id="type"),
        pytest.param({}, {"approve": True}, "/approve", id="unknown field"),
    ],
)
async def test_what_does_not_fit_is_refused_and_it_stays_open(
    api: httpx.AsyncClient,
    scheduler: SchedulerStandIn,
    store: Store,
    fields: dict[str, Any],
    answer: dict[str, Any],
    pointer: str,
) -> None:
    asked = await question(api, scheduler, store, **fields)

    refused(await respond(api, asked, **answer), 422, "invalid_request", pointer)

    assert scheduler.wishes.empty()
    shown = (await api.get(f"/v1/interactions/{asked}")).json()
    assert (shown["status"], shown["answers"]) == ("PENDING", [])


@pytest.mark.parametrize(
    ("fields", "answer", "port"),
    [
        pytest.param({"fields": FORM}, {"approved": False}, "rejected", id="no form to reject"),
        pytest.param(
            {"fields": FORM}, {"approved": True, "data": {"note": "x"}}, "approved", id="form"
        ),
        pytest.param({"kind": "choice", "choices": CHOICES}, {"choice": "now"}, "today", id="port"),
        pytest.param(
            {"kind": "choice", "choices": CHOICES}, {"choice": "later"}, "answered", id="choice"
        ),
        pytest.param(
            {"kind": "input", "fields": FORM}, {"data": {"note": "x"}}, "answered", id="input"
        ),
    ],
)
async def test_what_fits_is_yielded_on(
    api: httpx.AsyncClient,
    scheduler: SchedulerStandIn,
    store: Store,
    fields: dict[str, Any],
    answer: dict[str, Any],
    port: str,
) -> None:
    asked = await question(api, scheduler, store, **fields)

    answered = await respond(api, asked, **answer)

    assert answered.status_code == 200, answered.text
    wish, outcome = await outcome_of(api, scheduler)
    assert (wish.answer.port, outcome["port"]) == (port, port)


async def test_what_is_shown_can_be_edited(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    asked = await question(api, scheduler, store, editable=True, value={"text": "draft"})

    await respond(api, asked, approved=True, value={"text": "final"})

    _, outcome = await outcome_of(api, scheduler)
    assert outcome["value"] == {"text": "final"}


@pytest.mark.parametrize("approvers", [[USER], [EMAIL], [EMAIL.upper(), "bob@example.com"]])
async def test_approvers_are_users_by_id_or_address(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store, approvers: list[str]
) -> None:
    asked = await question(api, scheduler, store, approvers=approvers)

    answered = await respond(api, asked, approved=True)

    assert answered.json()["status"] == "ANSWERED"


async def test_others_than_the_approvers_are_refused(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    asked = await question(api, scheduler, store, approvers=["bob@example.com"])

    refused(await respond(api, asked, approved=True), 403, "forbidden")


async def test_it_stays_open_until_enough_have_answered(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    asked = await question(
        api, scheduler, store, approvals_required=2, approvers=[USER, "bob@example.com"]
    )

    first = await respond(api, asked, approved=True, reason="first")
    scheduler.refuse("already_answered")
    again = await respond(api, asked, approved=False)

    assert first.status_code == 200, first.text
    assert first.json()["status"] == "PENDING"
    assert len(first.json()["answers"]) == 1
    refused(again, 409, "already_answered")
    assert again.json()["first_answer"]["reason"] == "first"


async def test_a_rejection_that_puts_approval_out_of_reach_decides(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    asked = await question(
        api,
        scheduler,
        store,
        approvals_required=2,
        rejections_required=2,
        approvers=[USER, "bob@example.com"],
    )

    answered = await respond(api, asked, approved=False)

    assert answered.json()["status"] == "ANSWERED"
    assert (await outcome_of(api, scheduler))[1]["approved"] is False


@pytest.mark.parametrize("status", ["TIMED_OUT", "CANCELED"])
async def test_what_needs_no_answer_takes_none(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store, status: str
) -> None:
    asked = await question(api, scheduler, store, status=status)

    refused(await respond(api, asked, approved=True), 409, "not_waiting")


async def test_an_execution_that_ended_meanwhile_is_told_apart(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    asked = await question(api, scheduler, store)

    async def cancel_first(wish: Wish) -> None:
        await store.execute("update interactions set status = 'CANCELED' where id = $1", asked)
        await scheduler.answer(wish, "already_finished")

    scheduler.on_wish = cancel_first

    refused(await respond(api, asked, approved=True), 409, "not_waiting")


async def test_an_answer_that_was_not_confirmed_can_be_repeated(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    asked = await question(api, scheduler, store)

    scheduler.refuse("not_waiting")
    first = await respond(api, asked, approved=True, reason="first")
    scheduler.on_wish = scheduler.obey
    second = await respond(api, asked, approved=True, reason="second")

    refused(first, 503, "unavailable")
    assert second.status_code == 200, second.text
    assert [each["reason"] for each in second.json()["answers"]] == ["second"]


@pytest.mark.parametrize("named", [USER, EMAIL.upper()])
async def test_who_is_named_sees_and_answers_a_question_of_another_namespace(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store, named: str
) -> None:
    large = {"text": "x" * 300_000}
    data = json.dumps(large, separators=(",", ":")).encode()
    asked = await question(
        api,
        scheduler,
        store,
        approvers=[named, "bob@example.com"],
        editable=True,
        value=msgspec.json.decode(raw_of(reference_to(data))),
    )
    execution_id = (await api.get(f"/v1/interactions/{asked}")).json()["execution_id"]
    await db.payloads.put(store, [Payload(STRANGER, hashlib.sha256(data).digest(), data)])
    for table, key in (("interactions", asked), ("workflow_executions", execution_id)):
        text = f"update {table} set user_id = $1 where id = $2"  # noqa: S608  # names are ours
        await store.execute(text, STRANGER, key)

    shown = (await api.get(f"/v1/interactions/{asked}")).json()
    listed = (await api.get("/v1/interactions?status=PENDING")).json()["items"]
    answered = await respond(api, asked, approved=True, value="edited")
    resumed = await api.post(f"/v1/executions/{execution_id}/resume", json={"approved": True})

    assert shown["value"] == large, "references would lead nowhere"
    assert [each["id"] for each in listed] == [asked]
    assert answered.status_code == 200, answered.text
    assert answered.json()["status"] == "ANSWERED"
    wish = scheduler.wishes.get_nowait()
    assert isinstance(wish, Respond)
    assert (wish.execution_id, wish.by.user_id) == (execution_id, USER)
    refused(resumed, 404, "not_found")
    refused(await api.get(f"/v1/executions/{execution_id}"), 404, "not_found")


async def test_questions_of_others_are_not_found(api: httpx.AsyncClient, store: Store) -> None:
    foreign = await ask(store, STRANGER, approvers=["bob@example.com"])
    for_all = await ask(store, STRANGER)

    for interaction_id in (foreign, for_all, "x", "%00"):
        refused(await api.get(f"/v1/interactions/{interaction_id}"), 404, "not_found")
        refused(await respond(api, interaction_id, approved=True), 404, "not_found")
    assert (await api.get("/v1/interactions")).json()["items"] == []


async def test_pages_of_questions(api: httpx.AsyncClient, store: Store) -> None:
    ids = [await ask(store, USER) for _ in range(3)]

    first = (await api.get("/v1/interactions?limit=2")).json()
    second = (await api.get(f"/v1/interactions?limit=2&cursor={first['next_cursor']}")).json()

    assert {each["id"] for each in (*first["items"], *second["items"])} == set(ids)
    assert second["next_cursor"] is None
