"""Starting executions over HTTP: what is committed, what the scheduler is told, and what the client gets."""

import asyncio
from typing import Any

import httpx

import db.executions
from contracts.history import ExecutionCreated, decode_data
from db.store import Store
from tests.support.gateways import HELLO, USER, SchedulerStandIn

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def make(api: httpx.AsyncClient, document: dict[str, Any] = HELLO) -> str:
    """Create a workflow and return its address."""
    made = await api.post("/v1/workflows", json=document)
    assert made.status_code == 201, made.text
    return made.headers["location"]


async def test_an_execution_is_committed_and_the_scheduler_told(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    workflow = await make(api)

    accepted = await api.post(
        f"{workflow}/execute",
        json={"input": {"name": "Ada"}, "metadata": {"ticket": 7}, "priority": 3},
        headers={"traceparent": TRACEPARENT},
    )

    assert accepted.status_code == 202, accepted.text
    execution = accepted.json()
    assert accepted.headers["location"] == f"/v1/executions/{execution['id']}"
    assert accepted.headers["traceparent"].split("-")[1] == TRACEPARENT.split("-")[1]
    assert execution["status"] == "NEW"
    assert execution["mode"] == "MANUAL"
    assert execution["input"] == {"name": "Ada"}
    assert execution["trigger"] == {"node_id": "start", "type": "TRIGGER.MANUAL"}
    assert execution["node_counts"] == {"PENDING": 2}
    assert execution["workflow_version"] is None

    start = await asyncio.wait_for(scheduler.starts.get(), 5)
    (created,) = await db.executions.history(store, execution["id"], limit=10)
    told = decode_data("execution_created", bytes(start.created or b""))
    assert isinstance(told, ExecutionCreated)
    assert start.execution_id == execution["id"]
    assert start.created_at == created.at
    assert told == decode_data(created.kind, created.data)
    assert told.user_id == USER
    assert told.priority == 3
    assert (told.traceparent or "").split("-")[1] == TRACEPARENT.split("-")[1]
    assert (await api.get(accepted.headers["location"])).json() == execution
