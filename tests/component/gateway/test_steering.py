"""Steering executions over HTTP: pause, resume, signal, with the scheduler's word for each."""

import asyncio
from typing import Any

import httpx
import pytest

from contracts.history import ExecutionStarted, NodeWaiting, Wait
from contracts.messages import EndWait, PauseExecution, Respond, SendSignal, UnpauseExecution
from contracts.statuses import WaitKind
from db.store import Store
from gateway.app import create_app
from nodes.regex import Re2
from tests.support import gateways
from tests.support.gateways import (
    CALENDAR,
    USER,
    SchedulerStandIn,
    Wish,
    make_execution,
    make_workflow,
    refused,
)
from tests.support.questions import ask

pytestmark = pytest.mark.component

TWO: dict[str, Any] = {
    "name": "Two",
    "nodes": [
        {"id": "one", "type": "FLOW.NOOP"},
        {"id": "two", "type": "FLOW.NOOP"},
    ],
}


async def started(api: httpx.AsyncClient, scheduler: SchedulerStandIn) -> str:
    """Return the id of an execution of two nodes that are dispatched."""
    execution_id = await make_execution(api, await make_workflow(api, TWO))
    await scheduler.record(execution_id, ExecutionStarted())
    return execution_id


async def waiting(api: httpx.AsyncClient, scheduler: SchedulerStandIn, **nodes: Wait) -> str:
    """Return the id of an execution whose nodes wait."""
    execution_id = await started(api, scheduler)
    waits = [(node_id, NodeWaiting(wait=wait)) for node_id, wait in nodes.items()]
    await scheduler.record(execution_id, *waits)
    return execution_id


def wish_of(scheduler: SchedulerStandIn) -> Wish:
    """Return the one command that was sent."""
    wish = scheduler.wishes.get_nowait()
    assert scheduler.wishes.empty()
    return wish


async def test_a_pause_is_told_and_shown(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    execution_id = await started(api, scheduler)
    path = f"/v1/executions/{execution_id}"

    paused = await api.post(f"{path}/pause", json={"reason": "lunch"})
    again = await api.post(f"{path}/pause")

    assert paused.status_code == 200, paused.text
    assert paused.json()["paused"] is True
    assert again.json() == paused.json()
    wish = wish_of(scheduler)
    assert isinstance(wish, PauseExecution)
    assert (wish.reason, wish.by.user_id, wish.by.source) == ("lunch", USER, "API")
    listed = (await api.get("/v1/executions?paused=true")).json()["items"]
    assert [(each["id"], each["paused"]) for each in listed] == [(execution_id, True)]
    assert (await api.get("/v1/executions?paused=false")).json()["items"] == []


async def test_a_pause_ends_by_a_resume_without_a_body(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    execution_id = await started(api, scheduler)
    path = f"/v1/executions/{execution_id}"
    await api.post(f"{path}/pause")
    scheduler.wishes.get_nowait()

    resumed = await api.post(f"{path}/resume", json={"reason": "done"})

    assert resumed.status_code == 200, resumed.text
    assert resumed.json()["paused"] is False
    wish = wish_of(scheduler)
    assert isinstance(wish, UnpauseExecution)
    assert wish.reason == "done"


async def test_what_the_scheduler_refuses_is_refused(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    path = f"/v1/executions/{await started(api, scheduler)}"

    scheduler.refuse("not_paused")
    refused(await api.post(f"{path}/resume"), 409, "not_paused")
    scheduler.refuse("already_finished")
    refused(await api.post(f"{path}/pause"), 409, "already_finished")
    scheduler.refuse("limit_exceeded", "1000 signals are kept")
    full = await api.post(f"{path}/signal", json={"name": "paid"})
    refused(full, 409, "limit_exceeded")
    assert full.json()["detail"] == "1000 signals are kept"


async def test_what_is_so_already_is_no_refusal(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    path = f"/v1/executions/{await started(api, scheduler)}"

    scheduler.refuse("already_paused")
    assert (await api.post(f"{path}/pause")).status_code == 200
    scheduler.refuse("repeated")
    assert (await api.post(f"{path}/signal", json={"name": "x"})).status_code == 200


async def test_a_signal_is_handed_on(api: httpx.AsyncClient, scheduler: SchedulerStandIn) -> None:
    path = f"/v1/executions/{await started(api, scheduler)}"

    sent = await api.post(
        f"{path}/signal", json={"name": "paid", "data": {"amount": 12}, "signal_id": "s-1"}
    )
    without = await api.post(f"{path}/signal", json={"name": "paid"})

    assert sent.status_code == 200, sent.text
    first, second = scheduler.wishes.get_nowait(), scheduler.wishes.get_nowait()
    assert isinstance(first, SendSignal)
    assert isinstance(second, SendSignal)
    assert (first.name, first.signal_id, bytes(first.data)) == ("paid", "s-1", b'{"amount":12}')
    assert bytes(second.data) == b"null"
    assert second.signal_id != first.signal_id
    assert without.status_code == 200


async def test_a_large_signal_travels_as_a_reference(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    path = f"/v1/executions/{await started(api, scheduler)}"

    sent = await api.post(f"{path}/signal", json={"name": "big", "data": "x" * 600_000})

    assert sent.status_code == 200, sent.text
    wish = wish_of(scheduler)
    assert isinstance(wish, SendSignal)
    assert b"$payload" in bytes(wish.data)
    row = await store.fetch_row("select size from payloads where user_id = $1", USER)
    assert row is not None
    assert row["size"] == 600_002


async def test_the_one_wait_that_fits_is_ended(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    execution_id = await waiting(
        api,
        scheduler,
        one=Wait(kind=WaitKind.TIMER),
        two=Wait(kind=WaitKind.SIGNAL, signal="paid"),
    )
    path = f"/v1/executions/{execution_id}"

    shown = (await api.get(f"{path}/node-runs/two")).json()
    ended = await api.post(f"{path}/resume", json={"signal": "paid", "data": {"early": True}})
    run = (await api.get(f"{path}/node-runs/two")).json()
    rest = await api.post(f"{path}/resume", json={"data": 1})

    assert shown["status"] == "WAITING"
    assert shown["wait"]["kind"] == "SIGNAL"
    assert shown["wait"]["signal"] == "paid"
    assert ended.status_code == 200, ended.text
    assert run["resumed"]["by"] == "SIGNAL"
    assert "wait" not in run
    assert rest.status_code == 200, rest.text
    first, second = scheduler.wishes.get_nowait(), scheduler.wishes.get_nowait()
    assert isinstance(first, EndWait)
    assert isinstance(second, EndWait)
    assert (first.node_id, first.iteration, first.signal) == ("two", (), "paid")
    assert bytes(first.data) == b'{"early":true}'
    assert (second.node_id, second.signal) == ("one", None)


@pytest.mark.parametrize("iteration", ["_", []], ids=["text", "list"])
async def test_a_wait_is_named_by_its_node_run(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, iteration: Any
) -> None:
    timer = Wait(kind=WaitKind.TIMER)
    execution_id = await waiting(api, scheduler, one=timer, two=timer)

    body = {"node_id": "two", "iteration": iteration, "port": "main"}
    ended = await api.post(f"/v1/executions/{execution_id}/resume", json=body)

    assert ended.status_code == 200, ended.text
    wish = wish_of(scheduler)
    assert isinstance(wish, EndWait)
    assert (wish.node_id, wish.iteration, wish.port) == ("two", (), "main")


async def test_it_must_be_clear_which_wait_is_meant(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    timer = Wait(kind=WaitKind.TIMER)
    execution_id = await waiting(api, scheduler, one=timer, two=timer)
    path = f"/v1/executions/{execution_id}/resume"

    several = await api.post(path, json={"data": 1})

    refused(several, 409, "ambiguous_target")
    assert "one" in several.json()["detail"]
    assert "two" in several.json()["detail"]
    refused(await api.post(path, json={"node_id": "nobody"}), 409, "not_waiting")
    refused(await api.post(path, json={"signal": "paid"}), 409, "not_waiting")
    refused(await api.post(path, json={"node_id": "one", "iteration": "4"}), 409, "not_waiting")
    assert scheduler.wishes.empty()


async def test_a_child_ends_by_itself(api: httpx.AsyncClient, scheduler: SchedulerStandIn) -> None:
    child = Wait(kind=WaitKind.CHILD, child_execution_id="c")
    execution_id = await waiting(api, scheduler, one=child)

    answer = await api.post(f"/v1/executions/{execution_id}/resume", json={"node_id": "one"})

    refused(answer, 409, "not_waiting")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        pytest.param({"node_id": "one", "approved": True}, "/approved", id="no question"),
        pytest.param({"node_id": "one", "choice": 1}, "/choice", id="no choice"),
        pytest.param({"node_id": "one", "value": 1}, "/value", id="nothing shown"),
        pytest.param({"node_id": "one", "port": "nowhere"}, "/port", id="no such port"),
        pytest.param({"node_id": "one", "port": "error"}, "/port", id="port of failures"),
        pytest.param({"node_id": "one", "data": {"$payload": 1}}, "/data", id="a reference"),
        pytest.param({"iteration": "x"}, "/iteration", id="iteration"),
        pytest.param({"nodeid": "one"}, "/nodeid", id="unknown field"),
    ],
)
async def test_what_does_not_fit_is_refused_and_it_waits_on(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, body: Any, pointer: str
) -> None:
    execution_id = await waiting(api, scheduler, one=Wait(kind=WaitKind.TIMER))

    answer = await api.post(f"/v1/executions/{execution_id}/resume", json=body)

    refused(answer, 422, "invalid_request", pointer)
    assert scheduler.wishes.empty()


@pytest.mark.parametrize("name", ["", "x" * 256])
async def test_a_signal_has_a_name(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, name: str
) -> None:
    path = f"/v1/executions/{await started(api, scheduler)}/signal"

    refused(await api.post(path, json={"name": name}), 422, "invalid_request", "/name")


@pytest.mark.parametrize("target", ["node", "interaction", "nothing else"])
async def test_a_question_is_answered_by_its_own_rules(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store, target: str
) -> None:
    execution_id = await started(api, scheduler)
    question = await ask(store, USER, execution_id, node_id="one")
    wait = Wait(kind=WaitKind.INTERACTION, interaction_id=question)
    await scheduler.record(execution_id, ("one", NodeWaiting(wait=wait)))
    path = f"/v1/executions/{execution_id}/resume"
    meant = {"node": {"node_id": "one"}, "interaction": {"interaction_id": question}}.get(
        target, {}
    )

    unclear = await api.post(path, json={**meant, "data": {}})
    approved = await api.post(path, json={**meant, "approved": True, "reason": "fine"})

    refused(unclear, 422, "invalid_request", "/approved")
    assert approved.status_code == 200, approved.text
    wish = wish_of(scheduler)
    assert isinstance(wish, Respond)
    assert (wish.interaction_id, wish.answer.port) == (question, "approved")
    row = (await api.get(f"/v1/interactions/{question}")).json()
    assert row["status"] == "ANSWERED"
    assert row["answers"][0]["reason"] == "fine"


async def test_nothing_is_steered_that_is_over(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    execution_id = await make_execution(api, await make_workflow(api))
    await scheduler.succeed(execution_id)
    path = f"/v1/executions/{execution_id}"

    refused(await api.post(f"{path}/pause"), 409, "already_finished")
    refused(await api.post(f"{path}/resume"), 409, "already_finished")
    refused(await api.post(f"{path}/signal", json={"name": "x"}), 409, "already_finished")
    assert scheduler.wishes.empty()


async def test_without_the_schedulers_word_there_is_no_answer(
    store: Store, bus: Any, scheduler: SchedulerStandIn
) -> None:
    settings = gateways.settings(command_seconds=0.3)
    app = create_app(settings, store, bus, Re2(), CALENDAR)
    async with (
        gateways.served(app, asyncio.Event()) as address,
        gateways.client(address) as api,
    ):
        path = f"/v1/executions/{await started(api, scheduler)}"
        scheduler.on_wish = ignore

        for command, body in (("pause", {}), ("resume", {}), ("signal", {"name": "x"})):
            answer = await api.post(f"{path}/{command}", json=body)

            refused(answer, 503, "unavailable")
            assert answer.headers["retry-after"] == "1"


async def ignore(_: Wish) -> None:
    """Answer nothing."""
