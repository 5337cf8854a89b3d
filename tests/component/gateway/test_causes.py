"""Every cause that explain knows, with a real scheduler and real queues: what a user sees of an execution that stands still."""

import asyncio
from typing import Any

import httpx
import pytest

from bus.client import Bus
from bus.publisher import Publisher
from contracts.statuses import WaitKind
from db.store import Store
from scheduler.admission import LEAST_WINDOW
from tests.support.engine import ANY, LOOP
from tests.support.fleets import (
    FAILS,
    HUMAN,
    Fleet,
    beat,
    end_of,
    line,
    make_known,
    scheduling,
    until,
    waiting_at,
    waits,
    working,
)
from tests.support.gateways import make_execution, make_workflow
from tests.support.plain_worker import Outcome

pytestmark = pytest.mark.component


async def causes(api: httpx.AsyncClient, execution_id: str, *codes: str) -> list[dict[str, Any]]:
    """Return why an execution is where it is, once these are the reasons."""

    def are_these(explained: Any) -> bool:
        return [each["code"] for each in explained["causes"]] == list(codes)

    explained = await until(api, f"/v1/executions/{execution_id}/explain", are_these)
    assert explained["summary"].startswith(explained["status"])
    found: list[dict[str, Any]] = explained["causes"]
    return found


class Gate:
    """Holds attempts back until a test has seen enough."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()

    async def attempt(self) -> Outcome:
        """End once the gate is open."""
        self.entered.set()
        await self.opened.wait()
        return {"ports": {"main": 1}}


async def test_without_a_scheduler(api: httpx.AsyncClient, store: Store) -> None:
    await make_known(store)
    execution_id = await make_execution(api, await make_workflow(api, line("a")))

    new, behind = await causes(api, execution_id, "not_admitted", "scheduler_behind")

    assert "scheduler has not taken it up" in new["message"]
    assert "no scheduler is at work" in behind["message"]


async def test_from_the_queue_to_the_worker(
    api: httpx.AsyncClient, store: Store, database_url: str, engine_nats: str
) -> None:
    await make_known(store)
    fleet, gate = Fleet(), Gate()
    fleet.outcomes["a"] = [gate.attempt]
    workflow = await make_workflow(api, line("a"))
    async with scheduling(database_url, engine_nats):
        first = await make_execution(api, workflow)
        (unserved,) = await causes(api, first, "no_live_worker")
        second = await make_execution(api, workflow)
        await causes(api, second, "no_live_worker")
        await beat(store, ANY.type)
        (queued,) = await causes(api, first, "queued")
        (behind,) = await causes(api, second, "queued")
        async with working(engine_nats, fleet, ANY):
            await gate.entered.wait()
            (running,) = await causes(api, first, "attempt_running")
            gate.opened.set()
            over = await end_of(api, first)
            await end_of(api, second)
        (succeeded,) = await causes(api, first, "succeeded")

    assert unserved["details"]["node_type"] == ANY.type
    assert (queued["details"]["queued"], queued["details"]["ahead"]) == (2, 0)
    assert behind["details"]["ahead"] == 1
    assert queued["node_id"] == running["node_id"] == "a"
    assert running["details"]["worker_id"] == "plain"
    assert running["details"]["last_heartbeat_at"].endswith("Z")
    assert succeeded["since"] == over["finished_at"]


async def test_beyond_the_window(
    api: httpx.AsyncClient, store: Store, database_url: str, engine_nats: str
) -> None:
    await make_known(store)
    await beat(store, ANY.type)
    crowd: dict[str, Any] = {"items": [{"input": {}}] * LEAST_WINDOW}
    workflow = await make_workflow(api, line("a"))
    async with scheduling(database_url, engine_nats):
        before = (await api.post(f"{workflow}/execute/batch", json=crowd)).json()["items"]
        for each in before:
            await causes(api, each["execution_id"], "queued")
        first, second = [await make_execution(api, workflow) for _ in range(2)]

        (waiting,) = await causes(api, first, "not_admitted")
        (last,) = await causes(api, second, "not_admitted")

        fleet = Fleet()
        async with working(engine_nats, fleet, ANY):
            await end_of(api, second)

    assert waiting["node_id"] == "a"
    assert waiting["details"] == {
        "attempt": 1,
        "node_type": ANY.type,
        "ahead": 0,
        "queued": LEAST_WINDOW,
        "window": LEAST_WINDOW,
    }
    assert last["details"]["ahead"] == 1


async def test_a_scheduler_that_has_gone(
    api: httpx.AsyncClient, store: Store, database_url: str, engine_nats: str
) -> None:
    await make_known(store)
    fleet = Fleet()
    fleet.outcomes["a"] = [waits(WaitKind.SIGNAL, signal="go")]
    async with scheduling(database_url, engine_nats), working(engine_nats, fleet, ANY):
        execution_id = await make_execution(api, await make_workflow(api, line("a")))
        await causes(api, execution_id, "waiting_signal")

    await causes(api, execution_id, "scheduler_behind", "waiting_signal")


async def test_a_limit_that_others_use_up(api: httpx.AsyncClient, fleet: Fleet) -> None:
    fleet.outcomes["a"] = [waits(WaitKind.SIGNAL, signal="go")]
    settings = {"concurrency": {"limit": 1, "key": "input.customer"}}
    workflow = await make_workflow(api, line("a") | {"settings": settings})
    first = await make_execution(api, workflow, input={"customer": "acme"})
    await waiting_at(api, first, "a")
    second = await make_execution(api, workflow, input={"customer": "acme"})

    (cause,) = await causes(api, second, "concurrency_limit")

    assert cause["details"] == {"limit": 1, "key": "acme", "executions": [first]}
    await api.post(f"/v1/executions/{first}/signal", json={"name": "go"})
    assert (await end_of(api, second))["status"] == "SUCCESS"


async def test_a_pause(api: httpx.AsyncClient, fleet: Fleet) -> None:
    gate = Gate()
    fleet.outcomes["a"] = [gate.attempt]
    execution_id = await make_execution(api, await make_workflow(api, line("a", "b")))
    await gate.entered.wait()
    await api.post(f"/v1/executions/{execution_id}/pause", json={"reason": "lunch"})
    gate.opened.set()

    (cause,) = await causes(api, execution_id, "paused")

    assert "lunch" in cause["message"]
    assert cause["details"]["held"] == [{"node_id": "b", "iteration": []}]


async def test_a_retry_pause(api: httpx.AsyncClient, fleet: Fleet) -> None:
    broken = {"kind": "ERROR", "code": "broken", "message": "It broke.", "retryable": True}
    fleet.outcomes["a"] = [{"failure": broken}]
    policy = {"max_tries": 2, "wait_between_tries": 3600}
    workflow = await make_workflow(api, line("a", a={"retry_policy": policy}))

    (cause,) = await causes(api, await make_execution(api, workflow), "retry_pause")

    assert (cause["node_id"], cause["details"]["code"]) == ("a", "broken")
    assert cause["until"] > cause["since"]


@pytest.mark.parametrize(
    ("order", "code", "details"),
    [
        ({"kind": "TIMER", "seconds": 3600}, "waiting_timer", {}),
        ({"kind": "SIGNAL", "signal": "paid"}, "waiting_signal", {"signal": "paid"}),
        (
            {
                "kind": "INTERACTION",
                "seconds": 3600,
                "interaction": {"kind": "approval", "title": "Now?", "approvers": ["bob"]},
            },
            "waiting_interaction",
            {"answers": 0, "approvers": ["bob"]},
        ),
    ],
)
async def test_what_is_waited_for(
    api: httpx.AsyncClient, fleet: Fleet, order: Any, code: str, details: dict[str, Any]
) -> None:
    fleet.outcomes["a"] = [{"wait": order}]
    execution_id = await make_execution(
        api, await make_workflow(api, line("a", a={"type": HUMAN.type}))
    )

    (cause,) = await causes(api, execution_id, code)

    assert cause["node_id"] == "a"
    assert cause["details"].items() >= details.items()
    assert ("until" in cause) == ("seconds" in order)


async def test_a_join_says_what_has_not_come(api: httpx.AsyncClient, fleet: Fleet) -> None:
    fleet.outcomes["slow"] = [waits(WaitKind.TIMER, seconds=3600)]
    document = line("fast", "both")
    document["nodes"].append({"id": "slow", "type": ANY.type})
    document["connections"].append({"from": "slow", "to": "both"})
    execution_id = await make_execution(api, await make_workflow(api, document))

    found = await causes(api, execution_id, "waiting_join", "waiting_timer")

    assert (found[0]["node_id"], found[1]["node_id"]) == ("both", "slow")
    (missing,) = found[0]["details"]["connections"]
    assert (missing["from"], missing["from_port"]) == ("slow", "main")


def calling(workflow: str) -> Outcome:
    """Return the outcome of an attempt that starts a child and waits for it."""
    return waits(WaitKind.CHILD, child={"workflow": workflow.rpartition("/")[2]})


async def test_a_chain_of_children_down_to_the_node(api: httpx.AsyncClient, fleet: Fleet) -> None:
    gate = Gate()

    async def fails() -> Outcome:
        await gate.attempt()
        return FAILS

    grandchild = await make_workflow(api, line("deep") | {"name": "Deep"}, publish=True)
    child = await make_workflow(api, line("middle") | {"name": "Middle"}, publish=True)
    fleet.outcomes["deep"] = [fails]
    fleet.outcomes["middle"] = [calling(grandchild)]
    fleet.outcomes["top"] = [calling(child)]
    execution_id = await make_execution(api, await make_workflow(api, line("top")))

    (waiting,) = await causes(api, execution_id, "waiting_child")
    middle_id = waiting["details"]["execution_id"]
    (below,) = await causes(api, middle_id, "waiting_child")
    gate.opened.set()
    await end_of(api, execution_id)
    own, middle, deep = await causes(api, execution_id, "failed", "failed", "failed")

    assert waiting["node_id"] == "top"
    assert (own["node_id"], own["details"]["code"]) == ("top", "child_failed")
    assert (middle["details"]["execution_id"], middle["details"]["node_id"]) == (
        middle_id,
        "middle",
    )
    assert (deep["details"]["execution_id"], deep["details"]["node_id"]) == (
        below["details"]["execution_id"],
        "deep",
    )
    assert deep["details"]["code"] == "broken"


async def test_a_failure_inside_of_a_loop(api: httpx.AsyncClient, fleet: Fleet) -> None:
    document: dict[str, Any] = {
        "name": "Loop",
        "nodes": [
            {"id": "each", "type": LOOP.type},
            {"id": "work", "type": ANY.type, "retry_policy": None},
        ],
        "connections": [
            {"from": "each", "from_port": "iteration", "to": "work"},
            {"from": "work", "to": "each", "to_port": "loop_body"},
        ],
    }
    fleet.outcomes["each"] = [{"loop": {"items": [1, 2]}}]
    fleet.outcomes["work"] = [{"ports": {"main": 1}}, FAILS]
    execution_id = await make_execution(api, await make_workflow(api, document))
    await end_of(api, execution_id)

    loop, work = await causes(api, execution_id, "failed", "failed")

    assert (loop["node_id"], loop["details"]["item"]) == ("each", 1)
    assert (work["node_id"], work["iteration"]) == ("work", [1])


async def test_a_cancel_says_who_and_why(api: httpx.AsyncClient, fleet: Fleet) -> None:
    fleet.outcomes["a"] = [waits(WaitKind.SIGNAL, signal="go")]
    execution_id = await make_execution(api, await make_workflow(api, line("a")))
    await waiting_at(api, execution_id, "a")
    await api.post(f"/v1/executions/{execution_id}/cancel", json={"reason": "by mistake"})

    (cause,) = await causes(api, execution_id, "canceled")

    assert "by mistake" in cause["message"]


@pytest.mark.parametrize("way", ["webhook", "event", "failure"])
async def test_a_concurrency_key_that_fails_where_nobody_can_be_told(
    api: httpx.AsyncClient, fleet: Fleet, bus: Bus, way: str
) -> None:
    triggers: dict[str, dict[str, Any]] = {
        "webhook": {"type": "TRIGGER.WEBHOOK", "parameters": {"path": "in", "authentication": "NONE"}},
        "event": {"type": "TRIGGER.EVENT", "parameters": {"subject": "orders"}},
        "failure": {"type": "TRIGGER.MANUAL"},
    }  # fmt: skip
    settings = {"concurrency": {"limit": 1, "key": "input.nobody.sent.this"}}
    document = line("on", "a", on={**triggers[way], "retry_policy": {}}) | {"settings": settings}
    location = await make_workflow(api, document, publish=True)
    workflow_id = location.rpartition("/")[2]
    if way == "webhook":
        await api.post("/v1/webhooks/in", json={})
    elif way == "event":
        async with Publisher(bus) as publisher:
            await publisher.store("flotilla.trigger.orders", b"{}")
    else:
        fleet.outcomes["fails"] = [FAILS]
        fails = line("fails") | {"settings": {"failure_workflow": workflow_id}}
        await make_execution(api, await make_workflow(api, fails))

    found = await until(api, f"{location}/executions", lambda page: bool(page["items"]))
    execution = await end_of(api, found["items"][0]["id"])
    (cause,) = await causes(api, execution["id"], "failed")

    assert (execution["status"], execution["failure"]["kind"]) == ("ERROR", "INVALID_EXPRESSION")
    assert "settings.concurrency.key" in cause["message"]
    assert fleet.ran["a"] == 0
