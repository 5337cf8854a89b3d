"""Live streams over HTTP: past events first, then what happens, without a gap."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

import db.executions
from bus.client import Bus
from contracts import messages, subjects
from contracts.history import ExecutionStarted, ExecutionSucceeded, NodeSucceeded
from contracts.messages import LiveEvent
from db.store import Store
from gateway.app import create_app
from gateway.execution_reading import message_of
from gateway.settings import GatewayLimits
from nodes.regex import Re2
from tests.support import gateways
from tests.support.gateways import USER, SchedulerStandIn, make_execution, make_workflow, refused

pytestmark = pytest.mark.component

SUCCEEDED = NodeSucceeded(ports={"main": msgspec.Raw(b'{ "a":\n1 }')})
ENDED = ExecutionSucceeded()


class Reader:
    """Reads server-sent events one by one."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()
        self.comments = 0

    async def next(self) -> tuple[str | None, str, dict[str, Any]]:
        """Return id, kind and data of the next event."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for line in self._lines:
                if line.startswith(":"):
                    self.comments += 1
                elif line:
                    name, _, value = line.partition(": ")
                    assert name not in fields
                    fields[name] = value
                elif fields:
                    return fields.get("id"), fields["event"], json.loads(fields["data"])
        raise EOFError

    async def rest(self) -> list[tuple[str | None, str]]:
        """Return id and kind of all events until the end."""
        found = []
        try:
            while True:
                seq, kind, _ = await self.next()
                found.append((seq, kind))
        except EOFError:
            return found


@asynccontextmanager
async def reading(
    api: httpx.AsyncClient, execution_id: str, *, last: str | None = None, query: str = ""
) -> AsyncIterator[Reader]:
    """Follow an execution."""
    headers = {"last-event-id": last} if last is not None else {}
    address = f"/v1/executions/{execution_id}/events{query}"
    async with api.stream("GET", address, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Reader(answer)


async def test_past_events_come_first_then_live_ones_then_the_end(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    execution_id = await make_execution(api, await make_workflow(api))
    await scheduler.record(execution_id, ExecutionStarted())

    async with reading(api, execution_id) as reader:
        created = await reader.next()
        started = await reader.next()
        await scheduler.record(execution_id, ("start", SUCCEEDED), dispatched=("hello",))
        finished = await reader.next()
        dispatched = await reader.next()
        await scheduler.record(execution_id, ("hello", SUCCEEDED), ENDED)
        rest = await reader.rest()

    assert created[:2] == ("1", "execution_created")
    assert created[2]["execution_id"] == execution_id
    assert started[:2] == ("2", "execution_started")
    assert finished[:2] == ("3", "node_succeeded")
    assert finished[2]["data"]["ports"] == {"main": {"a": 1}}
    assert "dispatched" not in finished[2]
    assert dispatched[:2] == (None, "node_dispatched")
    assert dispatched[2]["node_id"] == "hello"
    assert rest == [("4", "node_succeeded"), ("5", "execution_succeeded")]


@pytest.mark.parametrize(
    ("last", "query"),
    [
        pytest.param("3", "", id="header"),
        pytest.param(None, "?after_seq=3", id="parameter"),
        pytest.param("3", "?after_seq=0", id="header over parameter"),
    ],
)
async def test_a_reader_goes_on_where_it_was(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, last: str | None, query: str
) -> None:
    execution_id = await make_execution(api, await make_workflow(api))
    await scheduler.succeed(execution_id)

    async with reading(api, execution_id, last=last, query=query) as reader:
        assert await reader.rest() == [("4", "node_succeeded"), ("5", "execution_succeeded")]


@pytest.mark.parametrize("last", ["5", "9999"])
async def test_a_reader_who_saw_all_is_told_the_end(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, last: str
) -> None:
    execution_id = await make_execution(api, await make_workflow(api))
    await scheduler.succeed(execution_id)

    async with reading(api, execution_id, last=last) as reader:
        assert await reader.rest() == []


async def test_what_core_messages_lose_repeat_or_overtake_is_made_good(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, store: Store
) -> None:
    execution_id = await make_execution(api, await make_workflow(api))
    workflow = "019a0000-0000-7000-8000-000000000001"

    async with reading(api, execution_id) as reader:
        assert (await reader.next())[0] == "1"
        await scheduler.record(
            execution_id, ExecutionStarted(), ("start", SUCCEEDED), is_published=False
        )
        rows = await db.executions.history(store, execution_id, limit=10)
        third, second, first = map(message_of, reversed(rows))
        for event in (third, first, second, third, third):
            await scheduler.publish(event, USER, workflow)
        live = [await reader.next(), await reader.next()]
        await scheduler.record(execution_id, ("hello", SUCCEEDED), ENDED)
        rest = await reader.rest()

    assert [each[0] for each in live] == ["2", "3"]
    assert rest == [("4", "node_succeeded"), ("5", "execution_succeeded")]


async def test_an_end_that_no_message_tells_ends_the_stream_all_the_same(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    execution_id = await make_execution(api, await make_workflow(api))

    async with reading(api, execution_id) as reader:
        await reader.next()
        await scheduler.cancel_silently(execution_id)

        assert await reader.rest() == [("2", "execution_canceled")]


async def test_unrecorded_events_are_shown_without_an_id(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn, bus: Bus
) -> None:
    execution_id = await make_execution(api, await make_workflow(api))
    progress = LiveEvent(
        execution_id=execution_id,
        kind="node_progress",
        at=datetime.now(UTC),
        node_id="hello",
        data={"message": "half\nway", "percent": 50},
    )

    async with reading(api, execution_id) as reader:
        await reader.next()
        await bus.publish(subjects.live(execution_id, progress.kind), messages.encode(progress))
        seq, kind, data = await reader.next()
        await scheduler.cancel_silently(execution_id)

    assert (seq, kind) == (None, "node_progress")
    assert data["data"] == {"message": "half\nway", "percent": 50}


async def test_a_silent_stream_says_that_it_is_there(
    api: httpx.AsyncClient, scheduler: SchedulerStandIn
) -> None:
    execution_id = await make_execution(api, await make_workflow(api))

    async with reading(api, execution_id) as reader:
        await reader.next()
        later = asyncio.get_running_loop().call_later(
            1, lambda: asyncio.ensure_future(scheduler.cancel_silently(execution_id))
        )
        await reader.rest()

    assert later.when()
    assert reader.comments >= 2


async def test_readers_are_counted_and_forgotten(
    api: httpx.AsyncClient,
) -> None:
    execution_id = await make_execution(api, await make_workflow(api))

    async with reading(api, execution_id) as reader:
        await reader.next()
        during = (await api.get("/metrics")).text

    assert "flotilla_gateway_event_streams 1.0" in during
    await _until_nobody_reads(api)


async def test_streams_have_a_limit_per_user(store: Store, bus: Bus) -> None:
    limits = GatewayLimits(streams_per_user=1)
    app = create_app(gateways.settings(limits=limits), store, bus, Re2(), gateways.CALENDAR)
    async with (
        gateways.served(app, asyncio.Event()) as address,
        gateways.client(address) as api,
    ):
        execution_id = await make_execution(api, await make_workflow(api))
        async with reading(api, execution_id) as reader:
            await reader.next()
            second = await api.get(f"/v1/executions/{execution_id}/events")
        await _until_nobody_reads(api)

        refused(second, 429, "rate_limited")
        assert second.headers["retry-after"] == "1"
        async with reading(api, execution_id) as reader:
            assert (await reader.next())[0] == "1"


async def test_asking_for_the_head_of_a_stream_has_an_end(api: httpx.AsyncClient) -> None:
    execution_id = await make_execution(api, await make_workflow(api))

    async with asyncio.timeout(5):
        answer = await api.head(f"/v1/executions/{execution_id}/events")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "99999999999"])
async def test_a_last_event_has_to_be_a_seq(api: httpx.AsyncClient, last: str) -> None:
    execution_id = await make_execution(api, await make_workflow(api))

    answer = await api.get(f"/v1/executions/{execution_id}/events", headers={"last-event-id": last})

    refused(answer, 400, "malformed_request")


async def _until_nobody_reads(api: httpx.AsyncClient) -> None:
    async with asyncio.timeout(5):
        while "event_streams 0.0" not in (await api.get("/metrics")).text:
            pass
