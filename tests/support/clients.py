"""What tests ask of a running gateway, through the client of the CLI."""

import asyncio
from collections.abc import Mapping
from typing import Any

from flotilla.client import Client

PATIENCE_SECONDS = 60
LOOK_SECONDS = 0.05


async def published(client: Client, document: Mapping[str, Any]) -> str:
    """Create a workflow, publish it, and return its id."""
    workflow = await client.post("/v1/workflows", document)
    await client.post(f"/v1/workflows/{workflow['id']}/publish", {})
    return str(workflow["id"])


async def execute(client: Client, workflow_id: str, value: Any = None) -> str:
    """Start an execution, and return its id."""
    started = await client.post(f"/v1/workflows/{workflow_id}/execute", {"input": value or {}})
    return str(started["id"])


async def ended(client: Client, execution_id: str) -> Any:
    """Return an execution once it is over."""
    execution = await client.get(f"/v1/executions/{execution_id}", {"wait": PATIENCE_SECONDS})
    assert execution.get("finished_at") is not None, execution
    return execution


async def first_execution(client: Client, workflow_id: str) -> str:
    """Return the id of the first execution of a workflow, once there is one."""
    found: list[Any] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not found:
            await asyncio.sleep(LOOK_SECONDS)  # nobody will tell us
            found = (await client.get(f"/v1/workflows/{workflow_id}/executions"))["items"]
    return str(found[-1]["id"])


async def output(client: Client, workflow_id: str, value: Any = None) -> Any:
    """Execute a workflow to its good end, and return what it answers."""
    execution = await ended(client, await execute(client, workflow_id, value))
    assert execution["status"] == "SUCCESS", execution
    return execution["output"]


async def until(client: Client, execution_id: str, kind: str, count: int = 1) -> None:
    """Follow an execution until something has happened so often."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for event in client.events(f"/v1/executions/{execution_id}/events"):
            count -= event.kind == kind
            if count == 0:
                return
    raise AssertionError(f"{execution_id} ended with {count} too few events {kind}")


async def history(client: Client, execution_id: str) -> list[dict[str, Any]]:
    """Return the whole history of an execution."""
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 500}
    while True:
        page = await client.get(f"/v1/executions/{execution_id}/history", query)
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]
