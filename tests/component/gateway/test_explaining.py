"""Explaining over HTTP: the facts that are gathered from leases, workers and queues."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

import db.leases
from bus import provision
from bus.client import Bus, CoreMessage
from bus.publisher import Publisher
from bus.pull import Pull
from contracts import subjects
from contracts.history import By, ExecutionPaused, ExecutionStarted, NodeWaiting, Wait
from contracts.messages import AttemptHeld, AttemptsHeld, LiveEvent, TaskInLine, encode
from contracts.statuses import WaitKind
from contracts.subjects import TaskAddress
from db.store import Store
from gateway.app import GatewayApp
from gateway.attempts import Attempt
from tests.support.fleets import beat
from tests.support.gateways import (
    SCHEDULER,
    USER,
    SchedulerStandIn,
    make_execution,
    make_workflow,
    refused,
)

pytestmark = pytest.mark.component

NOOP = "FLOW.NOOP"
ONE: dict[str, Any] = {"name": "One", "nodes": [{"id": "one", "type": NOOP}]}


async def started(api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store) -> str:
    """Return the id of an execution whose node is dispatched, by a scheduler that holds a lease."""
    await db.leases.acquire(store, SCHEDULER, 16, 60)
    execution_id = await make_execution(api, await make_workflow(api, ONE))
    await scheduler.record(execution_id, ExecutionStarted())
    return execution_id


async def causes(api: httpx.AsyncClient, execution_id: str) -> list[dict[str, Any]]:
    """Return why an execution is where it is."""
    answer = await api.get(f"/v1/executions/{execution_id}/explain")
    assert answer.status_code == 200, answer.text
    explained = answer.json()
    assert explained["causes"]
    assert explained["summary"].startswith(explained["status"])
    found: list[dict[str, Any]] = explained["causes"]
    return found


async def queue(bus: Bus, execution_id: str, node_id: str = "one") -> None:
    """Publish the task of a node run."""
    await provision.ensure(bus, [NOOP])
    address = TaskAddress(NOOP, USER, execution_id, node_id, (), 1)
    async with Publisher(bus) as publisher:
        await publisher.store(subjects.task(address), b"{}")


async def test_a_new_execution_waits_for_a_scheduler(
    api: httpx.AsyncClient, store: Store, scheduler: SchedulerStandIn
) -> None:
    execution_id = await make_execution(api, await make_workflow(api))

    alone = await causes(api, execution_id)
    await db.leases.acquire(store, SCHEDULER, 16, 60)
    served = await causes(api, execution_id)

    assert [each["code"] for each in alone] == ["not_admitted", "scheduler_behind"]
    assert [each["code"] for each in served] == ["not_admitted"]
    assert served[0]["since"].endswith("Z")
    assert "node_id" not in served[0]


async def test_a_task_is_looked_for(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store, bus: Bus
) -> None:
    execution_id = await started(api, scheduler, store)

    nowhere = await causes(api, execution_id)
    await queue(bus, execution_id, "another")
    await queue(bus, execution_id)
    unserved = await causes(api, execution_id)
    await beat(store, NOOP, worker_id="w1")
    queued = await causes(api, execution_id)
    async with Pull(bus, subjects.TASKS, subjects.task_consumer(NOOP)) as pull:
        taken = list(await pull.take(2))
        while len(taken) < 2:
            taken += await pull.take(2 - len(taken))
        running = await causes(api, execution_id)
        for message in taken:
            await message.ack()

    assert [each["code"] for each in nowhere] == ["scheduler_behind"]
    assert [each["code"] for each in unserved] == ["no_live_worker"]
    assert [each["code"] for each in queued] == ["queued"]
    assert (queued[0]["details"]["queued"], queued[0]["details"]["ahead"]) == (2, 1)
    assert (queued[0]["node_id"], queued[0]["iteration"]) == ("one", [])
    assert [each["code"] for each in running] == ["attempt_running"]
    assert running[0]["details"]["worker_id"] == "w1"
    assert running[0]["details"]["last_heartbeat_at"].endswith("Z")


async def test_a_task_that_waits_for_its_turn_is_asked_for(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    execution_id = await started(api, scheduler, store)
    await beat(store, NOOP, worker_id="w1")
    place: dict[str, Any] = {"node_type": NOOP, "ahead": 5, "queued": 64, "window": 64}
    scheduler.in_line = (
        TaskInLine(node_id="one", attempt=1, **place),
        TaskInLine(node_id="one", attempt=2, **place),
        TaskInLine(node_id="other", attempt=1, **place),
    )

    (cause,) = await causes(api, execution_id)

    assert (cause["code"], cause["node_id"]) == ("not_admitted", "one")
    assert cause["details"] == {"attempt": 1, **place}


async def test_a_scheduler_that_holds_the_lease_and_is_silent_is_behind(
    api: httpx.AsyncClient, store: Store
) -> None:
    await db.leases.acquire(store, "dead", 16, 60)
    execution_id = await make_execution(api, await make_workflow(api, ONE))

    found = await causes(api, execution_id)

    assert [each["code"] for each in found] == ["not_admitted", "scheduler_behind"]
    assert "does not answer" in found[1]["message"]


async def test_what_workers_say_of_their_attempts_is_remembered(
    api: httpx.AsyncClient,
    app: GatewayApp,
    scheduler: SchedulerStandIn,
    store: Store,
    bus: Bus,
) -> None:
    execution_id = await started(api, scheduler, store)
    await queue(bus, execution_id)
    await beat(store, NOOP, worker_id="w1")
    await beat(store, NOOP, worker_id="w2")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    event = LiveEvent(execution_id, "node_started", at, "one", (), 1, {"worker_id": "w2"})
    await bus.publish(subjects.live(execution_id, "node_started"), encode(event))
    await bus.flush()
    async with Pull(bus, subjects.TASKS, subjects.task_consumer(NOOP)) as pull:
        (message,) = await pull.take(1)
        (running,) = await causes(api, execution_id)
        await message.ack()

    assert app.gateway.attempts.of(Attempt(execution_id, "one", (), 1)) == ("w2", at)
    assert running["details"]["worker_id"] == "w2"
    assert running["since"] == "2026-01-01T00:00:00.000000Z"


async def test_which_of_several_workers_holds_an_attempt_is_asked(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store, bus: Bus
) -> None:
    execution_id = await started(api, scheduler, store)
    await queue(bus, execution_id)
    for worker_id in ("w1", "w2"):
        await beat(store, NOOP, worker_id=worker_id)

    async def answer(message: CoreMessage) -> None:
        other = AttemptHeld(node_id="one", attempt=7, seconds=1)
        own = AttemptHeld(node_id="one", attempt=1, seconds=3600)
        await message.respond(encode(AttemptsHeld("w2", (other, own))))

    async with Pull(bus, subjects.TASKS, subjects.task_consumer(NOOP)) as pull:
        (message,) = await pull.take(1)
        (unknown,) = await causes(api, execution_id)
        listening = await bus.subscribe(subjects.attempts(execution_id), answer)
        await bus.flush()
        (running,) = await causes(api, execution_id)
        await listening.unsubscribe()
        await message.ack()

    assert "worker_id" not in unknown["details"]
    assert (running["code"], running["details"]["worker_id"]) == ("attempt_running", "w2")
    assert running["since"] < unknown["since"]


async def test_waits_and_pauses_are_told(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    execution_id = await started(api, scheduler, store)
    wait = Wait(kind=WaitKind.SIGNAL, signal="paid")
    await scheduler.record(
        execution_id,
        ("one", NodeWaiting(wait=wait)),
        ExecutionPaused(By("API", USER), "lunch"),
    )

    paused, waiting = await causes(api, execution_id)

    assert (paused["code"], waiting["code"]) == ("paused", "waiting_signal")
    assert "lunch" in paused["message"]
    assert waiting["details"] == {"signal": "paid"}


async def test_the_end_is_told(api: httpx.AsyncClient, scheduler: SchedulerStandIn) -> None:
    workflow = await make_workflow(api)
    over, canceled = [await make_execution(api, workflow) for _ in range(2)]
    await scheduler.succeed(over)
    await api.post(f"/v1/executions/{canceled}/cancel", json={"reason": "by mistake"})

    (success,) = await causes(api, over)
    (cancel,) = await causes(api, canceled)

    assert success["code"] == "succeeded"
    assert cancel["code"] == "canceled"
    assert "by mistake" in cancel["message"]
    assert cancel["details"]["by"]["user_id"] == USER


async def test_executions_of_nobody_are_not_explained(api: httpx.AsyncClient) -> None:
    refused(await api.get("/v1/executions/x/explain"), 404, "not_found")
