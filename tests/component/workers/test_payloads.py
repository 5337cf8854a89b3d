"""Large values of attempts while the schedulers are away: the worker waits, and the node's time does not run."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

import workers.worker
from bus.services import Call, CallRefused, Endpoint, Service
from contracts import subjects
from contracts.messages import Result, encode
from contracts.payloads import PayloadTaken, raw_of, reference_to
from flotilla.embedded.nats import NatsServer
from nodes.context import Context, Outputs
from nodes.registry import Handler, node
from tests.component.workers.rig import GATED, NoParameters, Rig, working
from tests.support.tasks import task, task_node

pytestmark = pytest.mark.component

VALUE = "x" * 300_000
DATA = encode(VALUE)
TIMEOUT = 0.1
REFUSALS = 3  # with pauses of 50, 100 and 200 ms between them


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give an attempt up as soon as its time is over."""
    monkeypatch.setattr(workers.worker, "CLEANUP_SECONDS", 0.0)


def answering(value: object) -> Handler:
    """Return a handler that answers with a value, or with its input."""

    async def answer(context: Context, _: NoParameters) -> Outputs:
        """Answer."""
        return Outputs(main=context.input if value is None else value)

    return node(GATED)(answer)


@asynccontextmanager
async def desk(rig: Rig, subject: str, answer: bytes) -> AsyncIterator[list[Call]]:
    """Stand in for a scheduler whose store is away at first; gives the calls that were answered."""
    calls: list[Call] = []
    refusals = iter(range(REFUSALS))

    async def handle(call: Call) -> bytes:
        if next(refusals, None) is not None:
            raise CallRefused("503", "the store is away")
        calls.append(call)
        return answer

    endpoints = (Endpoint("desk", subject, handle),)
    async with Service(rig.bus, name="desk", version="1.0.0", description="", endpoints=endpoints):
        yield calls


async def reported(rig: Rig) -> Result:
    """Return the next report, a result."""
    report = await rig.report()
    assert isinstance(report, Result)
    return report


async def test_a_large_output_is_stored_before_the_result_is_reported(
    server: NatsServer, rig: Rig
) -> None:
    async with (
        desk(rig, subjects.PAYLOAD_PUT, encode(PayloadTaken())) as calls,
        working(server.url, answering(VALUE)),
    ):
        await rig.send(timeout=TIMEOUT)
        result = await reported(rig)

    assert [call.data for call in calls] == [DATA]
    assert result.failure is None
    assert result.ports == {"main": raw_of(reference_to(DATA))}


async def test_a_large_input_is_fetched_before_the_handler_starts(
    server: NatsServer, rig: Rig
) -> None:
    body = task(task_node(type=GATED, timeout=TIMEOUT))
    body = msgspec.structs.replace(body, trigger=raw_of(reference_to(DATA)))
    async with (
        desk(rig, subjects.PAYLOAD_GET, DATA) as calls,
        desk(rig, subjects.PAYLOAD_PUT, encode(PayloadTaken())),
        working(server.url, answering(None)),
    ):
        await rig.send_task(body)
        result = await reported(rig)

    assert len(calls) == 1
    assert result.failure is None
    assert result.ports == {"main": raw_of(reference_to(DATA))}
