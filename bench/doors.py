"""The loads that come in at the engine's own doors: W5 by REST, W7 by NATS."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bench import documents
from bench.figures import Figures, figures
from bench.http_client import HttpClient
from bench.installation import INPUT
from bench.loads import Scene
from bench.surroundings import BenchError
from bench.usage import Meter
from bus.publisher import Outgoing
from contracts.subjects import TRIGGER_PREFIX
from db import executions
from db.executions import ExecutionFilters

WAIT_SECONDS: Final = 30
WARM_UP: Final = 20
PAGE: Final = 1_000
OUTPUT: Final = {"n0": msgspec.json.decode(INPUT)}


class _Executed(msgspec.Struct):
    status: str
    output: Any = None


_decode = msgspec.json.Decoder(_Executed).decode


async def requests(scene: Scene) -> Figures:
    """W5: start one node by REST and wait for its result, one client."""
    request = await _request(scene)
    async with scene.installation.client() as client:
        await _ask(client, request, min(WARM_UP, scene.sizes.requests))
        meter, begin = Meter(scene.pids), time.perf_counter()
        each = await _ask(client, request, scene.sizes.requests)
        seconds = time.perf_counter() - begin
    return figures("p50_ms", "request", len(each), seconds, usage=meter.read(), each=each)


async def clients(scene: Scene) -> Figures:
    """W5 with many clients at once."""
    request = await _request(scene)
    count = scene.sizes.clients
    await _ask_together(scene, request, count, WARM_UP // 4)
    meter, messages = Meter(scene.pids), await scene.nats_messages()
    begin = time.perf_counter()
    each = await _ask_together(scene, request, count, scene.sizes.client_requests // count)
    seconds = time.perf_counter() - begin
    used, messages = meter.read(), await scene.nats_messages() - messages
    facts = {"clients": count}
    return figures(
        "per_s",
        "request",
        len(each),
        seconds,
        usage=used,
        each=each,
        messages=messages,
        facts=facts,
    )


async def events(scene: Scene) -> Figures:
    """W7: events published to the stream of triggers, until the last of their executions has ended."""
    workflow = await scene.workflow(documents.of_event())
    await _trigger(scene, workflow.id, min(200, scene.sizes.events))
    count = scene.sizes.events
    meter, messages = Meter(scene.pids), await scene.nats_messages()
    seconds = await _trigger(scene, workflow.id, count)
    used, messages = meter.read(), await scene.nats_messages() - messages
    each = await _lives(scene, workflow.id, count)
    return figures("per_s", "event", count, seconds, usage=used, each=each, messages=messages)


async def _request(scene: Scene) -> bytes:
    """Return the request that executes one node and waits for its end."""
    workflow = await scene.workflow(documents.line(1))
    path = f"/v1/workflows/{workflow.id}/execute?wait={WAIT_SECONDS}"
    body = {"input": msgspec.json.decode(INPUT)}
    return scene.installation.client().request("POST", path, body)


async def _ask_together(
    scene: Scene, request: bytes, clients: int, count_each: int
) -> Sequence[float]:
    async def one() -> Sequence[float]:
        async with scene.installation.client() as client:
            return await _ask(client, request, count_each)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(), name="client") for _ in range(clients)]
    return [seconds for task in tasks for seconds in task.result()]


async def _ask(client: HttpClient, request: bytes, count: int) -> Sequence[float]:
    """Send a request so many times, and return the seconds that each took. Raises BenchError for a wrong answer."""
    each: list[float] = []
    for _ in range(count):
        begin = time.perf_counter()
        answer = await client.send(request)
        each.append(time.perf_counter() - begin)
        if answer.status != 200:
            raise BenchError(f"an execution gave {answer.status}: {answer.body.decode()}")
        executed = _decode(answer.body)
        if executed.status != "SUCCESS" or executed.output != OUTPUT:
            raise BenchError(f"an execution ended otherwise: {answer.body.decode()}")
    return each


async def _trigger(scene: Scene, workflow_id: str, count: int) -> float:
    """Publish events, and return the seconds until all their executions have ended."""
    installation = scene.installation
    ends = installation.ends
    wanted = ends.by_workflow.get(workflow_id, 0) + count
    outgoing = Outgoing(f"{TRIGGER_PREFIX}.{documents.EVENTS}", bytes(INPUT))
    begin = time.perf_counter()
    acks = await installation.publisher.publish_all([outgoing] * count)
    if not all(ack.is_good for ack in acks):
        raise BenchError("events were not stored")
    while ends.by_workflow.get(workflow_id, 0) < wanted:
        await ends.next()
    seconds = time.perf_counter() - begin
    if (found := ends.by_workflow[workflow_id]) != wanted:
        raise BenchError(f"{found} executions ended instead of {wanted}")
    ends.take()
    return seconds


async def _lives(scene: Scene, workflow_id: str, count: int) -> Sequence[float]:
    """Return the seconds from the storing of an event to the end of its execution, of the last ones."""
    installation = scene.installation
    filters = ExecutionFilters(workflow_id=(workflow_id,))
    limit = min(count, PAGE)
    page = await executions.page(
        installation.store, installation.user_id, filters, limit, after=None
    )
    return [
        (row.finished_at - row.created_at).total_seconds()
        for row in page[0]
        if row.finished_at is not None
    ]
