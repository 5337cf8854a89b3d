"""A worker that goes on from one node to the next by itself. The test stands in for the scheduler."""

import asyncio
import itertools
import json
from typing import Any

import msgspec
import pytest

from bus import tasks
from bus.client import CoreMessage
from contracts import subjects
from contracts.messages import (
    CommandAnswer,
    Head,
    Onward,
    PauseNotice,
    Result,
    Returned,
    Task,
    UnreadableTask,
    encode,
)
from contracts.subjects import TaskAddress
from flotilla.embedded.nats import NatsServer
from nodes.context import Context, Outputs
from nodes.registry import Handler, node
from tests.component.workers.rig import (
    GATED,
    PATIENCE,
    Gate,
    NoParameters,
    Rig,
    task_subject,
    until,
    working,
)
from tests.component.workers.test_worker import acknowledged, cancel, is_empty
from tests.support.tasks import EXECUTION_ID, task, task_node
from workers.horizon import Horizon
from workers.worker import Worker

pytestmark = pytest.mark.component

OTHER = "CUSTOM.OTHER"


def onward(*node_ids: str, **fields: Any) -> msgspec.Raw:
    """Return a segment of these nodes, each after the one before; the first is the task's own."""
    steps = [
        Onward(
            source=before,
            node=msgspec.Raw(encode(task_node(id=after, **{"type": GATED, **fields}))),
        )
        for before, after in itertools.pairwise(node_ids)
    ]
    return msgspec.Raw(encode(steps))


def segment(*node_ids: str, **fields: Any) -> Task:
    """Return the task of a node that others follow."""
    first = task_node(id=node_ids[0], type=GATED)
    return task(first, trigger={"from": "trigger"}, onward=onward(*node_ids, **fields))


def marking() -> Handler:
    """Return a handler that adds its node to what came."""

    def mark(context: Context, parameters: NoParameters) -> Outputs:
        """Tell which nodes it came through."""
        came = context.input if isinstance(context.input, list) else []
        return Outputs(main=[*came, context.node.id])

    return node(GATED, is_brief=True)(mark)


async def result(rig: Rig) -> Result:
    report = await rig.report()
    assert isinstance(report, Result)
    return report


@pytest.fixture
async def familiar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every task for one that nobody had before, however early it was published."""
    monkeypatch.setattr(Horizon, "is_behind", lambda _, message: message.num_delivered > 1)


@pytest.mark.usefixtures("familiar")
async def test_one_task_carries_a_worker_through_a_segment(server: NatsServer, rig: Rig) -> None:
    async with working(server.url, marking()):
        await rig.send_task(segment("n1", "n2", "n3"))
        subjects_of, results = [], []
        for _ in range(3):
            subject, report = await rig.next(rig.reports)
            assert isinstance(report, Result)
            subjects_of.append(subject)
            results.append(report)
        await until(lambda: is_empty(rig))

    assert [each.node_id for each in results] == ["n1", "n2", "n3"]
    assert [each.goes_on for each in results] == ["n2", "n3", None]
    assert [each.head for each in results] == [None, Head("n1", 1), Head("n1", 1)]
    assert {each.token for each in results} == {"token-of-the-attempt"}
    assert results[2].ports is not None
    assert json.loads(bytes(results[2].ports["main"])) == ["n1", "n2", "n3"]
    last = TaskAddress(GATED, "acme", EXECUTION_ID, "n3", (), 1)
    assert subjects_of[2] == subjects.result(last)


@pytest.mark.usefixtures("familiar")
async def test_the_task_is_acknowledged_when_the_segment_is_over_and_not_before(
    server: NatsServer, rig: Rig
) -> None:
    gate = Gate()
    answers = await acknowledged(rig)

    async with working(server.url, gate.handler()):
        await rig.send_task(segment("n1", "n2"))
        await rig.next(gate.started)
        gate.open.set()
        assert (await result(rig)).goes_on == "n2"
        assert (await result(rig)).goes_on is None

        assert (await rig.next(answers))[1] == b"+ACK"
        assert answers.empty()


@pytest.mark.usefixtures("familiar")
async def test_expressions_of_a_later_node_see_the_nodes_before_it(
    server: NatsServer, rig: Rig
) -> None:
    def told(context: Context, parameters: NoParameters) -> Outputs:
        """Tell what expressions see."""
        if context.node.id == "n3":
            return Outputs(main=context.evaluate("nodes.n1.output + '-' + nodes.n1.status"))
        return Outputs(main=context.node.id)

    steps = [
        Onward(source="n1", node=msgspec.Raw(encode(task_node(id="n2", type=GATED)))),
        Onward(
            source="n2",
            references=("n1",),
            node=msgspec.Raw(encode(task_node(id="n3", type=GATED))),
        ),
    ]
    body = task(task_node(id="n1", type=GATED), trigger={}, onward=msgspec.Raw(encode(steps)))
    async with working(server.url, node(GATED, is_brief=True)(told)):
        await rig.send_task(body)
        results = [await result(rig) for _ in range(3)]

    assert results[2].ports is not None
    assert json.loads(bytes(results[2].ports["main"])) == "n1-SUCCESS"


@pytest.mark.usefixtures("familiar")
async def test_a_node_that_the_worker_does_not_serve_is_left_to_others(
    server: NatsServer, rig: Rig
) -> None:
    async with working(server.url, marking()):
        await rig.send_task(segment("n1", "n2", type=OTHER))

        assert (await result(rig)).goes_on is None
        await until(lambda: is_empty(rig))


@pytest.mark.usefixtures("familiar")
async def test_a_worker_that_heard_of_a_pause_does_not_go_on(
    server: NatsServer, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    heard = asyncio.Event()
    hear = Worker._on_pause

    async def note(self: Worker, message: CoreMessage) -> None:
        await hear(self, message)
        heard.set()

    monkeypatch.setattr(Worker, "_on_pause", note)

    async with working(server.url, gate.handler()):
        await rig.send_task(segment("n1", "n2", "n3"))
        await rig.next(gate.started)
        await rig.bus.publish(subjects.pause(EXECUTION_ID), encode(PauseNotice(EXECUTION_ID)))
        async with asyncio.timeout(PATIENCE):
            await heard.wait()
        gate.open.set()

        first = await result(rig)
        await until(lambda: is_empty(rig))

    assert first.goes_on is None


@pytest.mark.usefixtures("familiar")
async def test_a_cancel_ends_a_segment_wherever_it_is(server: NatsServer, rig: Rig) -> None:
    gate = Gate()

    async with working(server.url, gate.handler()):
        await rig.send_task(segment("n1", "n2"))
        await rig.next(gate.started)
        gate.open.set()
        await result(rig)
        gate.open.clear()
        await cancel(rig)
        await until(lambda: is_empty(rig))


async def answer(rig: Rig, asked: Returned, **fields: Any) -> None:
    assert asked.reply_to is not None
    await rig.bus.publish(asked.reply_to, encode(CommandAnswer(asked.execution_id, **fields)))


async def test_a_task_that_somebody_may_have_had_before_is_gone_on_with_where_it_stands(
    server: NatsServer, rig: Rig
) -> None:
    """It was published before the worker came: somebody else may have gone on from it."""
    await rig.send_task(segment("n1", "n2", "n3"))
    third = task(task_node(id="n3", type=GATED), trigger=["so far"], head=Head("n1", 1))

    async with working(server.url, marking()):
        asked = await rig.report()
        assert isinstance(asked, Returned)
        assert (asked.node_id, asked.attempt) == ("n1", 1)
        await answer(rig, asked, task=msgspec.Raw(encode(third)))

        found = await result(rig)
        await until(lambda: is_empty(rig))

    assert (found.node_id, found.head) == ("n3", Head("n1", 1))
    assert found.ports is not None
    assert json.loads(bytes(found.ports["main"])) == ["so far", "n3"]


async def test_an_answer_that_cannot_be_read_ends_the_task_and_not_the_worker(
    server: NatsServer, rig: Rig
) -> None:
    await rig.send_task(segment("n1", "n2"))

    async with working(server.url, marking()):
        asked = await rig.report()
        assert isinstance(asked, Returned)
        await answer(rig, asked, task=msgspec.Raw(b'{"v":1}'))

        report = await rig.report()
        assert isinstance(report, UnreadableTask)
        assert report.subject == task_subject("n1")
        await until(lambda: is_empty(rig))


async def test_a_segment_that_is_over_is_acknowledged_without_a_run(
    server: NatsServer, rig: Rig
) -> None:
    gate = Gate()
    await rig.send_task(segment("n1", "n2"))

    async with working(server.url, gate.handler()):
        asked = await rig.report()
        assert isinstance(asked, Returned)
        await answer(rig, asked, code="stale_result")
        await until(lambda: is_empty(rig))

    assert gate.started.empty()


async def test_a_task_without_a_segment_is_never_asked_about(server: NatsServer, rig: Rig) -> None:
    await rig.send()

    async with working(server.url, marking()):
        assert (await result(rig)).node_id == "n1"


@pytest.mark.usefixtures("familiar")
async def test_a_worker_that_goes_down_hands_the_rest_of_a_segment_back(
    server: NatsServer, rig: Rig
) -> None:
    gate = Gate()

    async with working(server.url, gate.handler(), drain_seconds=PATIENCE) as stop:
        await rig.send_task(segment("n1", "n2"))
        await rig.next(gate.started)
        stop.set()
        await until(lambda: _drains(rig))
        gate.open.set()

        assert (await result(rig)).goes_on is None
    assert await is_empty(rig)


async def _drains(rig: Rig) -> bool:
    return not (await tasks.queue_lengths(rig.bus))[GATED].waiting
