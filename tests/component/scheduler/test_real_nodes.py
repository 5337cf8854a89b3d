"""Schedulers and workers together: loops, waits, checkpoints, and handlers that are called at most once."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from contracts import subjects
from contracts.history import By
from contracts.messages import SendSignal, encode
from contracts.model import Document
from contracts.specs import Catalogue
from contracts.validation import examine
from db import node_types
from flotilla.embedded.nats import NatsServer
from nodes.catalogue import builtin_handlers, builtin_specs
from nodes.context import Context, Failure, FailureKind, Outputs
from nodes.registry import Handler, node
from tests.component.scheduler.conftest import Processes
from tests.component.workers.rig import Gate, NoParameters, working
from tests.support.documents import START, noop, wire
from tests.support.documents import node as sent
from tests.support.installation import Installation, new_id
from tests.support.tasks import raw

pytestmark = pytest.mark.component


@pytest.fixture(autouse=True)
async def known(installation: Installation) -> None:
    """Let the database know the node types."""
    await node_types.store(installation.store, builtin_specs())


def read(
    nodes: list[dict[str, Any]], *wires: dict[str, Any], handler: Handler | None = None
) -> Document:
    """Return start and these nodes as a document, which must be valid."""
    specs = (*builtin_specs(), *(handler.specs if handler else ()))
    raw_document = {"name": "Real", "nodes": [START, *nodes], "connections": list(wires)}
    reading = examine(raw_document, Catalogue(specs))
    assert reading.problems == ()
    assert reading.document is not None
    return reading.document


async def output_of(installation: Installation, execution_id: str) -> Any:
    (row,) = await installation.finished([execution_id])
    history = await installation.history(execution_id)
    assert row.status == "SUCCESS", history[-1].data
    return msgspec.json.decode(history[-1].data)["output"]


async def test_a_loop_whose_body_waits_and_is_called_at_most_once(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    once = noop("once", parameters={"data": "{{ loop.item * 2 }}"}, delivery="at_most_once")
    document = read(
        [
            sent("each", "FLOW.FOR_EACH", items="[1, 2, 3]", max_parallel=2),
            sent("pause", "FLOW.DELAY", duration=0.05),
            once,
        ],
        wire("start", "each"),
        wire("each", "pause", from_port="iteration"),
        wire("pause", "once"),
        wire("once", "each", to_port="loop_body"),
    )
    ids = await installation.add(document)
    async with processes.scheduler(), working(nats_alone.url, *builtin_handlers()):
        (execution_id,) = await installation.start(ids)

        output = await output_of(installation, execution_id)

    kinds = [row.kind for row in await installation.history(execution_id)]
    assert output["each"]["results"] == [2, 4, 6]
    assert (kinds.count("node_started"), kinds.count("node_waiting")) == (3, 3)


async def test_a_signal_that_comes_before_its_wait(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    document = read(
        [
            sent("pause", "FLOW.DELAY", duration=0.5),
            sent("wait", "FLOW.WAIT", wait_type="signal", signal="go"),
        ],
        wire("start", "pause"),
        wire("pause", "wait"),
    )
    ids = await installation.add(document)
    async with processes.scheduler(), working(nats_alone.url, *builtin_handlers()):
        (execution_id,) = await installation.start(ids)
        go = SendSignal(
            execution_id=execution_id,
            signal_id=new_id(),
            name="go",
            data=raw({"n": 1}),
            by=By("NATS"),
        )
        await installation.publisher.store(subjects.command("signal", execution_id), encode(go))

        output = await output_of(installation, execution_id)

    assert output["wait"]["signal"]["data"] == {"n": 1}


async def test_a_finished_call_is_not_repeated_by_the_next_attempt(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    calls: list[int] = []

    async def charge(context: Context, parameters: NoParameters) -> Outputs | Failure:
        """Call once, and fail at first."""

        async def call() -> dict[str, int]:
            calls.append(context.attempt)
            return {"charged_by": context.attempt}

        charged = await context.checkpoints.once("charge", call)
        if context.attempt == 1:
            return Failure(FailureKind.ERROR, "later", "not yet", retryable=True)
        return Outputs(main=charged)

    handler = node("CUSTOM.CHARGE")(charge)
    await node_types.store(installation.store, handler.specs)
    policy = {"wait_between_tries": 0.1, "jitter": False}
    one = sent("charge", "CUSTOM.CHARGE") | {"retry_policy": policy}
    ids = await installation.add(read([one], wire("start", "charge"), handler=handler))
    async with processes.scheduler(), working(nats_alone.url, handler):
        (execution_id,) = await installation.start(ids)

        output = await output_of(installation, execution_id)

    assert output == {"charge": {"charged_by": 1}}
    assert calls == [1]


async def test_a_handler_whose_worker_is_lost_is_not_called_again(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    first, second = Gate(), Gate()
    second.open.set()
    handler = first.handler()
    await node_types.store(installation.store, handler.specs)
    one = sent("gated", handler.spec.type) | {"delivery": "at_most_once"}
    ids = await installation.add(read([one], wire("start", "gated"), handler=handler))
    async with processes.scheduler():
        async with working(nats_alone.url, handler, drain_seconds=0.01):
            (execution_id,) = await installation.start(ids)
            async with asyncio.timeout(30):
                await first.started.get()
        async with working(nats_alone.url, second.handler(), worker_id="w2"):
            (row,) = await installation.finished([execution_id])

    history = await installation.history(execution_id)
    failure = json.loads(history[-1].data)["failure"]
    assert (row.status, failure["kind"], failure["code"]) == ("ERROR", "WORKER_LOST", "worker_lost")
    assert second.started.empty()
