"""Operations on executions with a real scheduler behind the gateway, and workers that do as a test says."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bus.client import Bus
from contracts.statuses import WaitKind
from db.store import Store
from gateway.app import create_app
from nodes.regex import Re2
from tests.support import gateways
from tests.support.fleets import FAILS, Fleet, end_of, line, until, waiting_at, waits
from tests.support.gateways import STRANGER, USER, make_execution, make_workflow, refused
from tests.support.plain_worker import Outcome

pytestmark = pytest.mark.component


async def explained(api: httpx.AsyncClient, execution_id: str) -> list[str]:
    """Return the codes of the causes of where an execution is."""
    answer = await api.get(f"/v1/executions/{execution_id}/explain")
    return [each["code"] for each in answer.json()["causes"]]


async def test_a_pause_holds_back_what_comes_next(api: httpx.AsyncClient, fleet: Fleet) -> None:
    go_on = asyncio.Event()

    async def slowly() -> Outcome:
        await go_on.wait()
        return {"ports": {"main": 1}}

    fleet.outcomes["a"] = [slowly]
    execution_id = await make_execution(api, await make_workflow(api, line("a", "b")))
    path = f"/v1/executions/{execution_id}"
    await until(api, f"{path}/node-runs/a", lambda run: run["status"] == "RUNNING")

    paused = await api.post(f"{path}/pause", json={"reason": "lunch"})
    assert paused.status_code == 200, paused.text
    go_on.set()
    await until(api, f"{path}/node-runs/a", lambda run: run["status"] == "SUCCESS")
    held = (await api.get(f"{path}/node-runs/b")).json()
    why = await explained(api, execution_id)
    listed = (await api.get("/v1/executions?paused=true")).json()["items"]
    resumed = await api.post(f"{path}/resume")
    final = await end_of(api, execution_id)
    late = await api.post(f"{path}/resume")

    assert paused.json()["paused"] is True
    assert held["status"] == "PENDING"
    assert why == ["paused"]
    assert [each["id"] for each in listed] == [execution_id]
    assert resumed.json()["paused"] is False
    assert final["status"] == "SUCCESS"
    refused(late, 409, "already_finished")


async def test_an_execution_that_is_not_paused_is_not_resumed(
    api: httpx.AsyncClient, fleet: Fleet
) -> None:
    fleet.outcomes["a"] = [waits(WaitKind.TIMER, seconds=3600)]
    execution_id = await make_execution(api, await make_workflow(api, line("a")))
    await waiting_at(api, execution_id, "a")

    refused(await api.post(f"/v1/executions/{execution_id}/resume"), 409, "not_paused")


async def test_a_timer_ends_early(api: httpx.AsyncClient, fleet: Fleet) -> None:
    fleet.outcomes["a"] = [waits(WaitKind.TIMER, seconds=3600)]
    execution_id = await make_execution(api, await make_workflow(api, line("a", "b")))
    path = f"/v1/executions/{execution_id}"
    run = await waiting_at(api, execution_id, "a")
    why = await explained(api, execution_id)

    ended = await api.post(f"{path}/resume", json={"node_id": "a", "data": {"early": True}})
    final = await end_of(api, execution_id)
    after = (await api.get(f"{path}/node-runs/a")).json()

    assert run["wait"]["kind"] == "TIMER"
    assert run["wait"]["due_at"] > run["wait"]["since"]
    assert why == ["waiting_timer"]
    assert ended.status_code == 200, ended.text
    assert final["status"] == "SUCCESS"
    assert after["ports"] == {"main": {"early": True}}
    assert after["resumed"]["by"] == "RESUME"
    assert after["resumed"]["answered_by"]["user_id"] == USER


async def test_a_signal_is_taken_once_and_kept_until_it_is_wanted(
    api: httpx.AsyncClient, fleet: Fleet
) -> None:
    go_on = asyncio.Event()

    async def then_wait() -> Outcome:
        await go_on.wait()
        return waits(WaitKind.SIGNAL, signal="paid", seconds=3600)

    fleet.outcomes["a"] = [then_wait]
    fleet.outcomes["b"] = [waits(WaitKind.SIGNAL, signal="paid", seconds=3600)]
    execution_id = await make_execution(api, await make_workflow(api, line("a", "b")))
    path = f"/v1/executions/{execution_id}"
    early = {"name": "paid", "data": 1, "signal_id": "s-1"}

    first = await api.post(f"{path}/signal", json=early)
    again = await api.post(f"{path}/signal", json=early)
    go_on.set()
    await waiting_at(api, execution_id, "b")
    why = await explained(api, execution_id)
    await api.post(f"{path}/signal", json={"name": "paid", "data": 2})
    final = await end_of(api, execution_id)
    run = (await api.get(f"{path}/node-runs/a")).json()

    assert (first.status_code, again.status_code) == (200, 200), first.text
    assert run["ports"] == {"main": 1}
    assert why == ["waiting_signal"]
    assert final["output"] == {"b": 2}


def asking(**order: Any) -> Outcome:
    """Return the outcome of an attempt that asks somebody."""
    question = {"kind": "approval", "title": "Send it?", "value": {"text": "draft"}, **order}
    return waits(WaitKind.INTERACTION, interaction=question, seconds=3600)


async def asked(api: httpx.AsyncClient, fleet: Fleet, **order: Any) -> tuple[str, str]:
    """Return an execution that waits for an answer, and the question."""
    fleet.outcomes["a"] = [asking(**order)]
    document = line("a", a={"type": "CUSTOM.HUMAN"})
    execution_id = await make_execution(api, await make_workflow(api, document))
    run = await waiting_at(api, execution_id, "a")
    return execution_id, run["wait"]["interaction_id"]


async def test_a_question_is_answered(api: httpx.AsyncClient, fleet: Fleet) -> None:
    execution_id, question = await asked(api, fleet)
    open_ = (await api.get("/v1/interactions?status=PENDING")).json()["items"]
    why = await explained(api, execution_id)

    answered = await api.post(
        f"/v1/interactions/{question}/respond", json={"approved": True, "data": {"n": 1}}
    )
    late = await api.post(f"/v1/interactions/{question}/respond", json={"approved": False})
    final = await end_of(api, execution_id)
    run = (await api.get(f"/v1/executions/{execution_id}/node-runs/a")).json()

    assert [each["id"] for each in open_] == [question]
    assert (open_[0]["title"], open_[0]["execution_id"]) == ("Send it?", execution_id)
    assert why == ["waiting_interaction"]
    assert answered.status_code == 200, answered.text
    assert answered.json()["status"] == "ANSWERED"
    assert len(answered.json()["answers"]) == 1
    refused(late, 409, "already_answered")
    assert final["status"] == "SUCCESS"
    outcome = run["ports"]["approved"]
    assert outcome["interaction_id"] == question
    assert outcome["value"] == {"text": "draft"}
    assert outcome["responder"]["id"] == USER


async def test_of_answers_at_once_one_counts(api: httpx.AsyncClient, fleet: Fleet) -> None:
    _, question = await asked(api, fleet)
    path = f"/v1/interactions/{question}"

    answers = await asyncio.gather(
        *(api.post(f"{path}/respond", json={"approved": True, "reason": str(n)}) for n in range(5))
    )

    assert sorted(each.status_code for each in answers) == [200, 409, 409, 409, 409]
    (counted,) = (await api.get(path)).json()["answers"]
    for each in answers:
        if each.status_code == 409:
            refused(each, 409, "already_answered")
            assert each.json()["first_answer"] == counted


@pytest.fixture
async def stranger(store: Store, bus: Bus) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a user who lives in another namespace."""
    settings = gateways.settings(dev_user_id=STRANGER)
    app = create_app(settings, store, bus, Re2(), gateways.CALENDAR)
    async with (
        gateways.served(app, asyncio.Event()) as address,
        gateways.client(address) as client,
    ):
        yield client


async def test_people_of_two_namespaces_decide_together(
    api: httpx.AsyncClient, stranger: httpx.AsyncClient, fleet: Fleet
) -> None:
    quorum = {"approvers": [USER, "EVE@example.com"], "approvals_required": 2, "editable": True}
    execution_id, question = await asked(api, fleet, **quorum)
    path = f"/v1/interactions/{question}"

    first = await api.post(f"{path}/respond", json={"approved": True})
    again = await api.post(f"/v1/executions/{execution_id}/resume", json={"approved": False})
    (seen,) = (await stranger.get("/v1/interactions?status=PENDING")).json()["items"]
    edited = await stranger.post(f"{path}/respond", json={"approved": True, "value": "final"})
    resumed = await api.post(f"/v1/executions/{execution_id}/resume", json={"approved": True})
    final = await end_of(api, execution_id)
    history = (await api.get(f"/v1/executions/{execution_id}/history?kind=signal_received")).json()

    assert (first.status_code, first.json()["status"]) == (200, "PENDING"), first.text
    refused(again, 409, "already_answered")
    assert again.json()["first_answer"]["approved"] is True
    assert seen["id"] == question
    assert (edited.status_code, edited.json()["status"]) == (200, "PENDING"), "it voids the first"
    assert resumed.status_code == 200, resumed.text
    assert final["status"] == "SUCCESS"
    answers = [each["data"]["answer"]["responder"]["id"] for each in history["items"]]
    assert answers == [USER, STRANGER, USER]
    outcome = final["output"]["a"]
    assert (outcome["approved"], outcome["value"], len(outcome["answers"])) == (True, "final", 3)
    for elsewhere in (f"/v1/executions/{execution_id}", f"/v1/executions/{execution_id}/history"):
        refused(await stranger.get(elsewhere), 404, "not_found")
    assert (await stranger.get(path)).json()["status"] == "ANSWERED"


async def test_a_question_is_answered_by_a_resume(api: httpx.AsyncClient, fleet: Fleet) -> None:
    execution_id, question = await asked(api, fleet)

    ended = await api.post(f"/v1/executions/{execution_id}/resume", json={"approved": False})
    final = await end_of(api, execution_id)

    assert ended.status_code == 200, ended.text
    assert final["output"]["a"]["approved"] is False
    assert (await api.get(f"/v1/interactions/{question}")).json()["status"] == "ANSWERED"


async def test_a_cancel_closes_questions(api: httpx.AsyncClient, fleet: Fleet) -> None:
    execution_id, question = await asked(api, fleet)

    await api.post(f"/v1/executions/{execution_id}/cancel")
    late = await api.post(f"/v1/interactions/{question}/respond", json={"approved": True})

    assert (await api.get(f"/v1/interactions/{question}")).json()["status"] == "CANCELED"
    refused(late, 409, "not_waiting")
    assert await explained(api, execution_id) == ["canceled"]


async def test_a_retry_runs_only_what_failed(api: httpx.AsyncClient, fleet: Fleet) -> None:
    fleet.outcomes["b"] = [FAILS]
    workflow = await make_workflow(api, line("a", "b", "c"))
    old = await make_execution(api, workflow, input={"n": 1})
    assert (await end_of(api, old))["status"] == "ERROR"
    why = (await api.get(f"/v1/executions/{old}/explain")).json()

    accepted = await api.post(f"/v1/executions/{old}/retry")
    final = await end_of(api, accepted.json()["id"])
    runs = (await api.get(f"/v1/executions/{final['id']}/node-runs")).json()["items"]
    events = (await api.get(f"/v1/executions/{final['id']}/history")).json()["items"]

    assert [(each["code"], each["node_id"]) for each in why["causes"]] == [("failed", "b")]
    assert final["status"] == "SUCCESS"
    assert final["retry_of"] == old
    assert fleet.ran == {"a": 1, "b": 2, "c": 1}
    assert [(each["node_id"], each["carried"]) for each in runs] == [
        ("a", True),
        ("b", False),
        ("c", False),
    ]
    assert [each["kind"] for each in events][:3] == [
        "execution_created",
        "outputs_carried",
        "execution_started",
    ]


async def test_a_retry_of_a_loop_goes_on_with_the_iteration_that_failed(
    api: httpx.AsyncClient, fleet: Fleet
) -> None:
    document: dict[str, Any] = {
        "name": "Loop",
        "nodes": [
            {"id": "each", "type": "FLOW.LOOP"},
            {"id": "work", "type": "CUSTOM.ANY", "retry_policy": None},
        ],
        "connections": [
            {"from": "each", "from_port": "iteration", "to": "work"},
            {"from": "work", "to": "each", "to_port": "loop_body"},
        ],
    }
    fleet.outcomes["each"] = [{"loop": {"items": ["x", "y", "z"]}}]
    fleet.outcomes["work"] = [{"ports": {"main": "X"}}, FAILS]
    old = await make_execution(api, await make_workflow(api, document))
    assert (await end_of(api, old))["status"] == "ERROR"

    fleet.outcomes["work"] = [{"ports": {"main": "Y"}}, {"ports": {"main": "Z"}}]
    accepted = await api.post(f"/v1/executions/{old}/retry")
    final = await end_of(api, accepted.json()["id"])
    path = f"/v1/executions/{final['id']}/node-runs/work"
    first = (await api.get(f"{path}?iteration=0")).json()
    second = (await api.get(f"{path}?iteration=1")).json()

    assert final["status"] == "SUCCESS"
    assert final["output"]["each"]["results"] == ["X", "Y", "Z"]
    assert fleet.ran == {"each": 1, "work": 4}
    assert (first["carried"], first["iteration"]) == (True, [0])
    assert (second["carried"], second["ports"]) == (False, {"main": "Y"})


async def test_a_fork_runs_what_lies_behind_with_another_input(
    api: httpx.AsyncClient, fleet: Fleet
) -> None:
    old = await make_execution(api, await make_workflow(api, line("a", "b", "c")))
    await end_of(api, old)

    forked = await api.post(
        f"/v1/executions/{old}/fork", json={"node_id": "b", "input": {"edited": True}}
    )
    final = await end_of(api, forked.json()["id"])

    assert final["status"] == "SUCCESS"
    assert final["forked_from"] == {"execution_id": old, "node_id": "b"}
    assert fleet.ran == {"a": 1, "b": 2, "c": 2}


async def test_a_node_runs_alone(api: httpx.AsyncClient, fleet: Fleet) -> None:
    workflow = await make_workflow(api, line("a", "b", "c"))

    alone = await api.post(f"{workflow}/nodes/b/execute?wait=20", json={"input": 5})

    assert alone.status_code == 200, alone.text
    assert alone.json()["output"] == {"b": {"from": "b", "attempt": 1}}
    assert alone.json()["node_counts"] == {"SUCCESS": 1}
    assert fleet.ran == {"b": 1}


async def test_many_are_canceled_and_retried(api: httpx.AsyncClient, fleet: Fleet) -> None:
    workflow = await make_workflow(api, line("a"))
    fleet.outcomes["a"] = [waits(WaitKind.TIMER, seconds=3600) for _ in range(5)]
    ids = [await make_execution(api, workflow) for _ in range(5)]
    for each in ids:
        await waiting_at(api, each, "a")

    canceled = await api.post("/v1/executions/bulk/cancel", json={"filter": {"status": "WAITING"}})
    retried = await api.post("/v1/executions/bulk/retry", json={"filter": {"status": "CANCELED"}})
    retries = (await api.get("/v1/executions?mode=RETRY")).json()["items"]
    ends = [(await end_of(api, each["id"]))["status"] for each in retries]

    assert canceled.json()["done"] == 5, canceled.text
    assert retried.json()["done"] == 5, retried.text
    assert ends == ["SUCCESS"] * 5


async def test_events_of_operations_are_streamed(api: httpx.AsyncClient, fleet: Fleet) -> None:
    fleet.outcomes["a"] = [waits(WaitKind.SIGNAL, signal="paid", seconds=3600)]
    execution_id = await make_execution(api, await make_workflow(api, line("a")))
    path = f"/v1/executions/{execution_id}"
    await waiting_at(api, execution_id, "a")
    async with api.stream("GET", f"{path}/events") as stream:
        for command, body in (("pause", {}), ("signal", {"name": "paid"}), ("resume", {})):
            assert (await api.post(f"{path}/{command}", json=body)).status_code == 200
        lines = [text async for text in stream.aiter_lines()]

    told = [text.removeprefix("event: ") for text in lines if text.startswith("event: ")]
    assert [each for each in told if each != "node_dispatched"] == [
        "execution_created",
        "execution_started",
        "node_waiting",
        "execution_paused",
        "signal_received",
        "execution_resumed",
        "node_succeeded",
        "execution_succeeded",
    ]
