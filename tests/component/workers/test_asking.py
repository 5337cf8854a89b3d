"""What a worker asks before it goes on: whether it may call a handler, and that a finished call is kept.

The test stands in for the scheduler: it hears the questions and answers them.
"""

import json
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from contracts import subjects
from contracts.messages import Checkpoint, CommandAnswer, Report, Result, Starting, encode
from contracts.model import Delivery
from contracts.payloads import PayloadTaken, raw_of, reference_to
from flotilla.embedded.nats import NatsServer
from nodes.context import Context, Outputs
from nodes.registry import node
from tests.component.workers.rig import GATED, Gate, NoParameters, Rig, until, working
from tests.component.workers.test_payloads import desk
from tests.component.workers.test_worker import (
    acknowledged,
    cancel,
    is_empty,
    shorten_ack_wait,
)
from tests.support.tasks import EXECUTION_ID, raw, task, task_node
from workers import asking
from workers import worker as worker_module

pytestmark = pytest.mark.component


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers ask again soon."""
    monkeypatch.setattr(asking, "ASK_AGAIN_SECONDS", 0.1)


async def question(rig: Rig) -> Starting:
    """Wait for a worker to ask whether it may call a handler."""
    report = await rig.report()
    assert isinstance(report, Starting)
    return report


async def answer(rig: Rig, asked: Starting | Checkpoint, code: str | None = None) -> None:
    assert asked.reply_to is not None
    told = CommandAnswer(asked.execution_id, code=code, detail=code and f"because of {code}")
    await rig.bus.publish(asked.reply_to, encode(told))


async def test_a_handler_is_called_only_once_the_start_is_recorded(
    server: NatsServer, rig: Rig
) -> None:
    gate = Gate()
    gate.open.set()

    async with working(server.url, gate.handler()):
        await rig.send("n1", delivery=Delivery.AT_MOST_ONCE)
        asked = await question(rig)
        assert (asked.execution_id, asked.node_id, asked.attempt) == (EXECUTION_ID, "n1", 1)
        assert (asked.token, asked.worker_id) == ("token-of-the-attempt", "w1")
        assert gate.started.empty()

        await answer(rig, asked)

        assert isinstance(await rig.report(), Result)
        await until(lambda: is_empty(rig))


async def test_a_refused_start_ends_the_task_without_a_word(server: NatsServer, rig: Rig) -> None:
    gate = Gate()

    async with working(server.url, gate.handler()):
        await rig.send("n1", delivery=Delivery.AT_MOST_ONCE)
        await answer(rig, await question(rig), "stale_result")
        await until(lambda: is_empty(rig))

    assert gate.started.empty()
    assert rig.reports.empty()


@pytest.mark.usefixtures("impatient")
async def test_a_lost_answer_is_asked_for_again_by_the_same_name(
    server: NatsServer, rig: Rig
) -> None:
    gate = Gate()

    async with working(server.url, gate.handler()):
        await rig.send("n1", delivery=Delivery.AT_MOST_ONCE)
        first = await question(rig)
        second = await question(rig)
        assert second == first

        await answer(rig, second)
        await rig.next(gate.started)
        await answer(rig, second)  # late, and of no use
        gate.open.set()

        report = await rig.report()
        while isinstance(report, Starting):  # asked once more while we answered
            report = await rig.report()
        assert isinstance(report, Result)

    assert gate.started.empty()


@pytest.mark.usefixtures("impatient")
async def test_without_an_answer_the_task_comes_again_under_another_name(
    server: NatsServer, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "GIVE_UP_SECONDS", 0.3)
    await shorten_ack_wait(rig, timedelta(seconds=1))
    gate = Gate()

    async with working(server.url, gate.handler()):
        await rig.send("n1", delivery=Delivery.AT_MOST_ONCE)
        first = await question(rig)
        again = await question(rig)
        while again.delivery == first.delivery:
            again = await question(rig)
        assert gate.started.empty()

        await answer(rig, again, "outcome_unknown")
        await until(lambda: is_empty(rig))

    assert gate.started.empty()


async def test_a_worker_that_goes_down_before_the_answer_says_that_nothing_was_called(
    server: NatsServer, rig: Rig
) -> None:
    gate = Gate()

    async with working(server.url, gate.handler(), drain_seconds=0.01) as stop:
        await rig.send("n1", delivery=Delivery.AT_MOST_ONCE)
        await question(rig)
        stop.set()
        result = await rig.report()

    assert isinstance(result, Result)
    assert result.failure is not None
    assert (result.failure.code, result.failure.retryable) == ("worker_stopped", True)
    assert gate.started.empty()
    await until(lambda: is_empty(rig))


async def test_a_cancel_ends_the_wait_for_an_answer(server: NatsServer, rig: Rig) -> None:
    gate = Gate()

    async with working(server.url, gate.handler()):
        await rig.send("n1", delivery=Delivery.AT_MOST_ONCE)
        await question(rig)
        await cancel(rig)
        await until(lambda: is_empty(rig))

    assert gate.started.empty()
    assert rig.reports.empty()


async def test_the_time_for_an_answer_is_none_of_the_handlers(
    server: NatsServer, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "CLEANUP_SECONDS", 0.01)
    monkeypatch.setattr(worker_module, "KEEP_ALIVE_SECONDS", 0.1)
    answers = await acknowledged(rig)
    gate = Gate()
    gate.open.set()

    async with working(server.url, gate.handler()):
        await rig.send("n1", delivery=Delivery.AT_MOST_ONCE, timeout=0.05)
        asked = await question(rig)
        for _ in range(3):  # kept alive for longer than its handler may take
            assert (await rig.next(answers))[1] == b"+WPI"
        await answer(rig, asked)
        result = await rig.report()

    assert isinstance(result, Result)
    assert result.failure is None


class Stepper:
    """A handler of two checkpoints, and how far it came."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.values: list[Any] = []

    def handler(self) -> Any:
        async def stepping(context: Context, parameters: NoParameters) -> Outputs:
            """Do two things, each once."""
            for key in ("first", "second"):
                self.values.append(await context.checkpoints.once(key, partial(self._do, key)))
            return Outputs(main=self.values)

        return node(GATED)(stepping)

    async def _do(self, key: str) -> dict[str, str]:
        self.calls.append(key)
        return {"did": key}


async def checkpoint(rig: Rig) -> Checkpoint:
    report: Report = await rig.report()
    assert isinstance(report, Checkpoint)
    return report


async def test_a_finished_call_is_recorded_before_the_handler_goes_on(
    server: NatsServer, rig: Rig
) -> None:
    stepper = Stepper()

    async with working(server.url, stepper.handler()):
        await rig.send("n1")
        first = await checkpoint(rig)
        assert (first.key, json.loads(bytes(first.value))) == ("first", {"did": "first"})
        assert (first.token, first.attempt) == ("token-of-the-attempt", 1)
        assert (stepper.calls, stepper.values) == (["first"], [])

        await answer(rig, first)
        await answer(rig, await checkpoint(rig))
        result = await rig.report()

    assert isinstance(result, Result)
    assert result.ports is not None
    assert json.loads(bytes(result.ports["main"])) == [{"did": "first"}, {"did": "second"}]


async def test_what_was_finished_before_is_not_called(server: NatsServer, rig: Rig) -> None:
    stepper = Stepper()
    done = task(task_node(type=GATED), checkpoints={"first": raw(1)}, attempt=2)

    async with working(server.url, stepper.handler()):
        await rig.send_task(done)
        await answer(rig, await checkpoint(rig))
        assert isinstance(await rig.report(), Result)

    assert stepper.calls == ["second"]
    assert stepper.values == [1, {"did": "second"}]


async def test_a_large_value_is_stored_before_its_checkpoint(server: NatsServer, rig: Rig) -> None:
    value = "x" * 300_000

    async def keep(context: Context, parameters: NoParameters) -> Outputs:
        """Keep much."""

        async def much() -> str:
            return value

        return Outputs(main=len(await context.checkpoints.once("much", much)))

    async with (
        desk(rig, subjects.PAYLOAD_PUT, encode(PayloadTaken())) as calls,
        working(server.url, node(GATED)(keep)),
    ):
        await rig.send("n1")
        asked = await checkpoint(rig)
        assert [call.data for call in calls] == [encode(value)]
        assert asked.value == raw_of(reference_to(encode(value)))

        await answer(rig, asked)
        result = await rig.report()

    assert isinstance(result, Result)
    assert result.ports == {"main": raw(300_000)}


async def test_a_checkpoint_that_is_refused_ends_the_attempt(server: NatsServer, rig: Rig) -> None:
    stepper = Stepper()

    async with working(server.url, stepper.handler()):
        await rig.send("n1")
        await answer(rig, await checkpoint(rig), "limit_exceeded")
        result = await rig.report()

    assert isinstance(result, Result)
    assert result.failure is not None
    assert result.failure.code == "checkpoint_refused"
    assert "because of limit_exceeded" in result.failure.message
    assert stepper.calls == ["first"]
