"""What a worker promises: results before acks, leases kept, cancels heard, nothing kept when it goes."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from bus import api, provision, tasks
from bus.client import CoreMessage
from bus.errors import BusUnavailable
from bus.publisher import Ack
from contracts import subjects
from contracts.expressions.budget import Limits
from contracts.failures import Failure, FailureKind
from contracts.messages import (
    Announced,
    CancelNotice,
    Result,
    UnreadableTask,
    decode_announcement,
    decode_heartbeat,
    decode_held,
    decode_live,
    encode,
)
from contracts.subjects import TaskAddress
from flotilla.embedded.nats import NatsServer
from nodes.context import Context, Outputs
from nodes.registry import node
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
from tests.support.tasks import EXECUTION_ID, task, task_node
from workers import worker as worker_module
from workers.held import Held, Stop
from workers.slots import Slots
from workers.worker import Worker

pytestmark = pytest.mark.component


Answers = asyncio.Queue[tuple[str, bytes]]


async def acknowledged(rig: Rig) -> Answers:
    """Hear every answer to a delivered task: its subject is the delivery's, `+ACK` and its like the data."""
    answers: Answers = asyncio.Queue()

    async def hear(message: CoreMessage) -> None:
        answers.put_nowait((message.subject, message.data))

    await rig.bus.subscribe(f"$JS.ACK.{subjects.TASKS}.>", hear)
    return answers


async def is_empty(rig: Rig) -> bool:
    queue = (await tasks.queue_lengths(rig.bus))[GATED]
    return queue.pending + queue.in_flight == 0


async def cancel(rig: Rig, execution_id: str = EXECUTION_ID) -> None:
    await rig.bus.publish(subjects.cancel(execution_id), encode(CancelNotice(execution_id)))


async def test_a_result_comes_back_with_the_token_and_outputs(server: NatsServer, rig: Rig) -> None:
    gate = Gate()
    gate.open.set()

    async with working(server.url, gate.handler()):
        await rig.send("n1")
        subject, result = await rig.next(rig.reports)

        address = TaskAddress(GATED, "acme", EXECUTION_ID, "n1", (), 1)
        assert subject == subjects.result(address)
        assert isinstance(result, Result)
        assert (result.token, result.worker_id) == ("token-of-the-attempt", "w1")
        assert result.ports is not None
        assert json.loads(bytes(result.ports["main"])) == {"from": "n1"}
        await until(lambda: is_empty(rig))


async def test_a_result_that_no_message_can_carry_is_reported_as_that(
    server: NatsServer, rig: Rig
) -> None:
    async def talks_too_much(context: Context, parameters: NoParameters) -> Failure:
        """Fail with a code that is longer than a message."""
        return Failure(FailureKind.ERROR, "x" * (rig.bus.max_payload + 1), "m")

    async with working(server.url, node(GATED)(talks_too_much)):
        await rig.send("n1")
        result = await rig.report()

        assert isinstance(result, Result)
        assert result.failure is not None
        assert result.failure.code == "output_too_large"
        assert str(rig.bus.max_payload) in result.failure.message
        await until(lambda: is_empty(rig))


async def test_a_worker_keeps_the_limits_that_it_is_told(server: NatsServer, rig: Rig) -> None:
    async def talkative(context: Context, parameters: NoParameters) -> Outputs:
        """Log much, then evaluate too much."""
        for _ in range(50):
            context.log.info("line", text="x" * 100)
        return Outputs(main=context.evaluate("[1, 2, 3].map(i, i)"))

    limits = Limits(steps=5)
    async with working(server.url, node(GATED)(talkative), log_bytes=1_024, limits=limits):
        await rig.send("n1")
        result = await rig.report()

        assert isinstance(result, Result)
        assert result.logs is not UNSET
        assert 900 < len(bytes(result.logs)) < 1_200
        assert result.failure is not None
        assert (result.failure.kind, result.failure.code) == ("INVALID_EXPRESSION", "budget")


async def test_a_task_is_acknowledged_only_once_its_result_is_stored(
    server: NatsServer, rig: Rig
) -> None:
    """The test stands in for the inbox: it decides when a result counts as stored."""
    answers, results = await acknowledged(rig), asyncio.Queue[CoreMessage]()
    await api.ask(rig.bus, f"STREAM.DELETE.{subjects.INBOX}", answer=dict)

    async def hear(message: CoreMessage) -> None:
        results.put_nowait(message)

    await rig.bus.subscribe(f"{subjects.INBOX_PREFIX}.*.result.>", hear)
    gate = Gate()
    gate.open.set()

    async with working(server.url, gate.handler()):
        await rig.send("n1")
        first = await rig.next(results)
        await first.respond(b'{"error": {"err_code": 10047, "description": "no room"}}')
        second = await rig.next(results)
        assert second.data == first.data
        assert answers.empty()
        assert not await is_empty(rig)

        await second.respond(b'{"stream": "INBOX", "seq": 1}')

        assert (await rig.next(answers))[1] == b"+ACK"
        await until(lambda: is_empty(rig))


async def test_slots_are_never_exceeded(server: NatsServer, rig: Rig) -> None:
    gate = Gate()
    nodes = [f"n{number}" for number in range(20)]
    for node_id in nodes:
        await rig.send(node_id)

    async with working(server.url, gate.handler(), concurrency=3):
        for _ in range(3):
            await rig.next(gate.started)
        gate.open.set()
        reported = {(await rig.report()).node_id for _ in nodes}  # type: ignore[union-attr]

    assert reported == set(nodes)
    assert gate.most_running == 3


async def test_what_is_held_is_kept_alive(
    server: NatsServer, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "KEEP_ALIVE_SECONDS", 0.1)
    answers = await acknowledged(rig)
    gate = Gate()

    async with working(server.url, gate.handler(), concurrency=1):
        await rig.send("n1")
        await rig.next(gate.started)
        kept = [await rig.next(answers) for _ in range(3)]

        assert {answer for _, answer in kept} == {b"+WPI"}
        gate.open.set()
        await rig.report()


async def test_a_cancel_stops_the_attempt_and_drops_its_result(
    server: NatsServer, rig: Rig
) -> None:
    answers = await acknowledged(rig)
    gate = Gate()

    async with working(server.url, gate.handler()):
        await rig.send("n1")
        await rig.next(gate.started)
        await cancel(rig)
        async with asyncio.timeout(PATIENCE):
            await gate.was_cancelled.wait()

        assert (await rig.next(answers))[1] == b"+ACK"
        await until(lambda: is_empty(rig))
        assert rig.reports.empty()


async def test_a_cancel_drops_what_waits_for_a_slot(server: NatsServer, rig: Rig) -> None:
    gate = Gate()
    other = task(task_node(id="n0", type=GATED), trigger=0)
    other_id = EXECUTION_ID.replace("0001", "0002")
    address = TaskAddress(GATED, "acme", other_id, "n0", (), 1)

    async with working(server.url, gate.handler(), concurrency=1):
        await rig.publisher.store(subjects.task(address), encode(other))
        await rig.next(gate.started)
        await rig.send("n1")
        await cancel(rig)
        gate.open.set()
        await rig.report()
        await until(lambda: is_empty(rig))

    assert gate.started.empty()


async def test_a_cancel_of_another_execution_changes_nothing(server: NatsServer, rig: Rig) -> None:
    gate = Gate()

    async with working(server.url, gate.handler()):
        await rig.send("n1")
        await rig.next(gate.started)
        await cancel(rig, EXECUTION_ID.replace("0001", "0009"))
        gate.open.set()

        assert isinstance(await rig.report(), Result)


async def test_a_worker_says_what_it_holds_of_an_execution(server: NatsServer, rig: Rig) -> None:
    gate = Gate()
    other = subjects.attempts(EXECUTION_ID.replace("0001", "0009"))

    async with working(server.url, gate.handler()):
        for node_id in ("n1", "n2"):
            await rig.send(node_id)
            await rig.next(gate.started)
        told = decode_held((await rig.bus.request(subjects.attempts(EXECUTION_ID), b"")).data)
        with pytest.raises(BusUnavailable):
            await rig.bus.request(other, b"", within=timedelta(seconds=0.1))
        gate.open.set()
        for _ in range(2):
            await rig.report()

    assert told.worker_id == "w1"
    assert {(each.node_id, each.iteration, each.attempt) for each in told.attempts} == {
        ("n1", (), 1),
        ("n2", (), 1),
    }
    assert all(each.seconds is not None and each.seconds >= 0 for each in told.attempts)


async def test_a_drain_lets_running_attempts_finish_and_hands_back_the_rest(
    server: NatsServer, rig: Rig
) -> None:
    gate = Gate()

    async with working(server.url, gate.handler(), concurrency=1) as stop:
        await rig.send("n1")
        await rig.next(gate.started)
        await rig.send("n2")
        stop.set()
        gate.open.set()

        assert (await rig.report()).node_id == "n1"  # type: ignore[union-attr]

    assert rig.reports.empty()
    async with working(server.url, gate.handler(), worker_id="w2"):
        result = await rig.report()
        assert isinstance(result, Result)
        assert (result.node_id, result.worker_id) == ("n2", "w2")


async def test_a_drain_hands_back_at_once_what_does_not_finish(
    server: NatsServer, rig: Rig
) -> None:
    gate, other = Gate(), Gate()
    other.open.set()

    async with working(server.url, gate.handler(), drain_seconds=0.01) as stop:
        await rig.send("n1")
        await rig.next(gate.started)
        stop.set()
        async with asyncio.timeout(PATIENCE):
            await gate.was_cancelled.wait()

    async with working(server.url, other.handler(), worker_id="w2"):
        result = await rig.report()
        assert isinstance(result, Result)
        assert result.worker_id == "w2"


async def test_an_unreadable_task_becomes_a_report(server: NatsServer, rig: Rig) -> None:
    subject = task_subject()
    async with working(server.url, Gate().handler()):
        await rig.publisher.store(subject, b'{"v": 1, "nonsense": true}', {"traceparent": "00-1"})
        report = await rig.report()

        assert isinstance(report, UnreadableTask)
        assert (report.subject, report.worker_id) == (subject, "w1")
        assert report.body == b'{"v": 1, "nonsense": true}'
        assert report.headers == {"traceparent": "00-1"}
        assert "required field" in report.error
        await until(lambda: is_empty(rig))


async def test_a_task_with_an_unreadable_subject_is_reported_to_the_first_partition(
    server: NatsServer, rig: Rig
) -> None:
    subject = f"{subjects.TASK_PREFIX}.{GATED}.too.short"

    async with working(server.url, Gate().handler()):
        await rig.publisher.store(subject, b"{}")
        where, report = await rig.next(rig.reports)

        assert isinstance(report, UnreadableTask)
        assert report.subject == subject
        assert where.startswith(f"{subjects.INBOX_PREFIX}.0.result.")
        await until(lambda: is_empty(rig))


async def test_a_long_attempt_is_shown_and_a_short_one_is_not(server: NatsServer, rig: Rig) -> None:
    gate, quick = Gate(), Gate()
    quick.open.set()

    async with working(server.url, quick.handler()):
        await rig.send("quick")
        await rig.report()
    async with working(server.url, gate.handler()):
        await rig.send("long")
        shown = decode_live((await rig.next(rig.live)).data)
        gate.open.set()
        await rig.report()

    assert (shown.kind, shown.node_id, shown.attempt) == ("node_started", "long", 1)
    assert shown.data == {"worker_id": "w1"}
    assert rig.live.empty()


async def test_the_latest_progress_is_shown(server: NatsServer, rig: Rig) -> None:
    gate = Gate()

    async with working(server.url, gate.handler()):
        await rig.send("n1")
        context = await rig.next(gate.started)
        context.progress("one")
        context.progress("two", 50)
        shown = [decode_live((await rig.next(rig.live)).data) for _ in range(2)]
        gate.open.set()
        await rig.report()

    assert [each.kind for each in shown] == ["node_started", "node_progress"]
    assert shown[1].data == {"message": "two", "percent": 50}


async def test_a_handler_that_ignores_its_deadline_is_reported_without_it(
    server: NatsServer, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "CLEANUP_SECONDS", 0.05)
    release = asyncio.Event()

    async def stubborn(context: Context, parameters: NoParameters) -> Outputs:
        """Go on in spite of everything."""
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return Outputs(main=None)

    async with working(server.url, node(GATED)(stubborn)):
        await rig.send("n1", timeout=0.05)
        result = await rig.report()
        release.set()

        assert isinstance(result, Result)
        assert result.failure is not None
        assert (result.failure.kind, result.failure.code) == (
            FailureKind.TIMEOUT,
            "attempt_timeout",
        )
        await until(lambda: is_empty(rig))

    assert rig.reports.empty()


async def test_specs_are_announced_until_a_scheduler_has_stored_them(
    server: NatsServer, rig: Rig
) -> None:
    announcements: asyncio.Queue[CoreMessage] = asyncio.Queue()

    async def answer(message: CoreMessage) -> None:
        error = "not yet" if announcements.empty() else None
        announcements.put_nowait(message)
        await message.respond(encode(Announced(error)))

    await rig.bus.subscribe(subjects.ANNOUNCE, answer)
    await rig.bus.flush()

    async with working(server.url, Gate().handler()):
        await rig.next(announcements)
        again = decode_announcement((await rig.next(announcements)).data)

    assert (again.worker_id, [spec.type for spec in again.specs]) == ("w1", [GATED])


async def test_the_worker_gives_signs_of_life(server: NatsServer, rig: Rig) -> None:
    beats: asyncio.Queue[CoreMessage] = asyncio.Queue()

    async def hear(message: CoreMessage) -> None:
        beats.put_nowait(message)

    await rig.bus.subscribe(subjects.heartbeat("w1"), hear)
    await rig.bus.flush()

    async with working(server.url, Gate().handler(), concurrency=7, version="1.2.3"):
        alive = decode_heartbeat((await rig.next(beats)).data)
    draining = decode_heartbeat((await rig.next(beats)).data)

    assert (alive.status, alive.slots, alive.version) == ("ALIVE", 7, "1.2.3")
    assert alive.node_types == (GATED,)
    assert draining.status == "DRAINING"


async def test_a_task_delivered_twice_to_one_worker_runs_once(server: NatsServer, rig: Rig) -> None:
    await shorten_ack_wait(rig, timedelta(milliseconds=300))
    gate = Gate()

    async with working(server.url, gate.handler()):
        await rig.send("n1")
        await rig.next(gate.started)
        await until(lambda: _is_redelivered(rig))
        gate.open.set()
        await rig.report()
        await until(lambda: is_empty(rig))

    assert gate.started.empty()
    assert rig.reports.empty()


async def shorten_ack_wait(rig: Rig, ack_wait: timedelta) -> None:
    """Let the consumer's leases lapse before the worker renews them."""
    name = subjects.task_consumer(GATED)
    declared = provision.task_consumer(GATED)
    config: dict[str, Any] = msgspec.to_builtins(declared)
    config["ack_wait"] = api.nanoseconds(ack_wait)
    body = {"stream_name": subjects.TASKS, "config": config, "action": "update"}
    path = f"CONSUMER.CREATE.{subjects.TASKS}.{name}.{declared.filter_subject}"
    await api.ask(rig.bus, path, body, answer=dict)


async def _is_redelivered(rig: Rig) -> bool:
    return (await tasks.queue_lengths(rig.bus))[GATED].redelivered > 0


async def test_a_task_that_is_published_again_is_still_there(server: NatsServer, rig: Rig) -> None:
    gate = Gate()

    async with working(server.url, gate.handler()):
        subject = await rig.send("n1")
        await rig.next(gate.started)
        ack = await rig.publisher.publish(subject, b"{}")
        gate.open.set()
        await rig.report()

    assert ack is Ack.STILL_THERE


async def test_a_cancel_before_the_first_step_of_an_attempt_gives_its_slot_back(
    server: NatsServer, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is cancelled before its first step never runs a line of its coroutine."""
    gate = Gate()
    gate.open.set()
    start = Worker._start_waiting

    def start_and_cancel_the_first(worker: Worker) -> None:
        start(worker)
        for held in worker.held.values():
            if held.address.node_id == "first":
                held.end(Stop.CANCELED)

    monkeypatch.setattr(Worker, "_start_waiting", start_and_cancel_the_first)
    async with working(server.url, gate.handler(), concurrency=1):
        await rig.send("first")
        await until(lambda: is_empty(rig))
        await rig.send("second")

        context = await rig.next(gate.started)

        assert context.node.id == "second"
        await until(lambda: is_empty(rig))


async def test_a_worker_that_holds_nothing_looks_at_nothing(
    server: NatsServer, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "TICK_SECONDS", 0)
    monkeypatch.setattr(worker_module, "HEARTBEAT_SECONDS", 0.01)
    looks = 0

    class Counting(Slots[Held]):
        def may_ask_again(self) -> bool:
            nonlocal looks
            looks += 1
            return super().may_ask_again()

    monkeypatch.setattr(worker_module, "Slots", Counting)
    beats: asyncio.Queue[CoreMessage] = asyncio.Queue()
    await rig.bus.subscribe(f"{subjects.HEARTBEAT_PREFIX}.*", beats.put)
    gate = Gate()
    async with working(server.url, gate.handler()):
        await rig.send()
        await rig.next(gate.started)
        gate.open.set()
        await rig.report()
        await until(lambda: is_empty(rig))
        seen = looks
        assert seen > 0
        for _ in range(10):
            await rig.next(beats)

        assert looks <= seen + 2
