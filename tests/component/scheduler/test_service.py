"""The scheduler on real servers: executions run to a true end through everything that is lost or repeated."""

import asyncio
from collections.abc import Sequence

import msgspec
import nats
import pytest
from nats.aio.msg import Msg

from bus.client import CoreMessage
from bus.tasks import get_message, queue_lengths
from contracts import subjects
from contracts.history import EventMessage
from contracts.ids import partition_of
from contracts.messages import (
    CommandAnswer,
    Result,
    Task,
    UnreadableTask,
    decode_answer,
    decode_task_execution,
    encode,
)
from contracts.model import OnError, RetryPolicy
from db import dead_letters, executions, workflows
from db.dead_letters import DeadLetterFilters, DeadLetterRow
from db.executions import ExecutionFilters, ExecutionRow, HistoryRow
from db.triggers import EventTrigger
from flotilla.embedded.nats import NatsServer
from tests.component.scheduler.conftest import Processes
from tests.support.engine import document, node, wire
from tests.support.installation import Installation, new_id
from tests.support.plain_worker import Outcome, PlainWorker

pytestmark = pytest.mark.component

ANY = "CUSTOM.ANY"
LINE = document([node("a"), node("b"), node("c")], [wire("a -> b"), wire("b -> c")])


def yields(node_id: str, _: Task) -> Outcome:
    """Answer on `main` with the node's name."""
    return {"ports": {"main": {"from": node_id}}}


def successes(history: Sequence[HistoryRow]) -> list[str]:
    """Return the nodes that succeeded, in order."""
    return [row.node_id or "" for row in history if row.kind == "node_succeeded"]


def is_gapless(history: Sequence[HistoryRow]) -> bool:
    """Whether the seqs count from 1 without a gap."""
    return [row.seq for row in history] == list(range(1, len(history) + 1))


async def letters_of(installation: Installation, user_id: str | None) -> Sequence[DeadLetterRow]:
    """Return dead letters, bodies left out as lists do."""
    page = await dead_letters.page(installation.store, user_id, DeadLetterFilters(), 50, None)
    return page[0]


async def test_a_line_runs_to_its_output(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(LINE)
    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, yields):
        (execution_id,) = await installation.start(ids)

        (row,) = await installation.finished([execution_id])

    history = await installation.history(execution_id)
    assert row.status == "SUCCESS"
    assert row.version == len(history)
    assert successes(history) == ["a", "b", "c"]
    assert msgspec.json.decode(history[-1].data)["output"] == {"c": {"from": "c"}}


async def test_events_are_told_from_the_first_to_the_last(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(document([node("a")], []))
    told: asyncio.Queue[EventMessage] = asyncio.Queue()

    async def on_event(message: CoreMessage) -> None:
        await told.put(msgspec.json.decode(message.data, type=EventMessage))

    await installation.bus.subscribe(f"{subjects.EVENT_PREFIX}.>", on_event)
    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, yields):
        (execution_id,) = await installation.start(ids)
        async with asyncio.timeout(30):
            events = [await told.get() for _ in range(4)]

    history = await installation.history(execution_id)
    assert [(each.seq, each.kind) for each in events] == [(row.seq, row.kind) for row in history]
    assert [each.node_id for each in events[1].dispatched] == ["a"]


async def test_many_executions_each_succeed_once_per_node(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(LINE)
    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, yields):
        started = await installation.start(ids, 100)

        rows = await installation.finished(started)

    assert {row.status for row in rows} == {"SUCCESS"}
    for each in started:
        history = await installation.history(each)
        assert is_gapless(history)
        assert successes(history) == ["a", "b", "c"]


async def test_a_start_that_was_never_said_is_found_by_the_sweeper(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(LINE)
    started = await installation.start(ids, 3, say=False)

    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, yields):
        rows = await installation.finished(started)

    assert {row.status for row in rows} == {"SUCCESS"}


async def test_a_successor_goes_on_where_the_scheduler_was_when_it_stopped(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(LINE)
    async with processes.scheduler("first"):
        started = await installation.start(ids, 20)
        await installation.until(started, lambda row: row.status == "RUNNING")

    async with processes.scheduler("second"), PlainWorker(nats_alone.url, ANY, yields):
        rows = await installation.finished(started)

    assert {row.status for row in rows} == {"SUCCESS"}


async def test_two_schedulers_on_the_same_executions_decide_each_step_once(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(LINE)
    async with (
        processes.scheduler("one"),
        processes.scheduler("two"),
        PlainWorker(nats_alone.url, ANY, yields),
    ):
        started = await installation.start(ids, 50)
        rows = await installation.finished(started)

    assert {row.status for row in rows} == {"SUCCESS"}
    for each in started:
        assert successes(await installation.history(each)) == ["a", "b", "c"]


async def test_results_that_come_twice_count_once(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(LINE)
    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, yields, reports=2):
        started = await installation.start(ids, 10)
        await installation.finished(started)

    for each in started:
        assert successes(await installation.history(each)) == ["a", "b", "c"]


async def test_a_result_with_a_wrong_token_changes_nothing(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(document([node("a")], []))
    forged = asyncio.Event()

    def forge(node_id: str, task: Task) -> Outcome:
        if not forged.is_set():
            forged.set()
            return {"token": "0" * 24, "ports": {"main": "forged"}}
        return {"ports": {"main": "true"}}

    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, forge):
        (execution_id,) = await installation.start(ids)
        async with asyncio.timeout(20):
            await forged.wait()
        await installation.cancel(execution_id)
        (row,) = await installation.finished([execution_id])

    assert row.status == "CANCELED"
    assert successes(await installation.history(execution_id)) == []


async def test_a_retry_waits_on_a_durable_timer_through_a_restart(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    policy = RetryPolicy(max_tries=2, wait_between_tries=1, jitter=False)
    ids = await installation.add(document([node("a", retry_policy=policy)], []))

    def fails_first(_: str, task: Task) -> Outcome:
        if task.attempt == 1:
            failure = {"kind": "ERROR", "code": "x", "message": "no", "retryable": True}
            return {"failure": failure}
        return {"ports": {"main": task.attempt}}

    async with PlainWorker(nats_alone.url, ANY, fails_first) as worker:
        async with processes.scheduler("first"):
            (execution_id,) = await installation.start(ids)
            await installation.until([execution_id], lambda row: row.status == "WAITING")
        async with processes.scheduler("second"):
            (row,) = await installation.finished([execution_id])

    assert row.status == "SUCCESS"
    assert [attempt for _, _, attempt in worker.seen] == [1, 2]


async def test_a_failure_ends_the_execution_or_takes_the_error_port(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    stopping = await installation.add(document([node("a", retry_policy=None)], []))
    nodes = [node("a", retry_policy=None), node("rescue")]
    going_on = await installation.add(document(nodes, [wire("a.error -> rescue")]))

    def fails(node_id: str, _: Task) -> Outcome:
        if node_id == "a":
            return {"failure": {"kind": "ERROR", "code": "broken", "message": "it broke"}}
        return {"ports": {"main": "rescued"}}

    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, fails):
        started = await installation.start(stopping) + await installation.start(going_on)
        stopped, went_on = await installation.finished(started)

    assert stopped.status == "ERROR"
    assert stopped.failure is not None
    assert msgspec.json.decode(stopped.failure)["code"] == "broken"
    assert went_on.status == "SUCCESS"


async def test_cancel_is_answered_after_the_commit_and_workers_are_told(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(LINE)
    answers: asyncio.Queue[CommandAnswer] = asyncio.Queue()
    told = asyncio.Event()
    inbox = installation.bus.new_inbox()

    async def on_answer(message: CoreMessage) -> None:
        await answers.put(decode_answer(message.data))

    async def on_notice(_: CoreMessage) -> None:
        told.set()

    await installation.bus.subscribe(inbox, on_answer)
    async with processes.scheduler():
        (execution_id,) = await installation.start(ids)
        await installation.bus.subscribe(subjects.cancel(execution_id), on_notice)
        await installation.until([execution_id], lambda row: row.status == "RUNNING")
        async with asyncio.timeout(20):
            await installation.cancel(execution_id, inbox)
            first = await answers.get()
            committed = await installation.row(execution_id)
            await told.wait()
            await installation.cancel(execution_id, inbox)
            second = await answers.get()
            await installation.cancel(new_id(), inbox)
            unknown = await answers.get()

    assert (first.status, first.code) == ("CANCELED", None)
    assert committed.status == "CANCELED"
    assert (second.status, second.code) == ("CANCELED", None)
    assert unknown.code == "not_found"


async def test_a_cancel_takes_the_queued_tasks_off_the_stream(
    installation: Installation, processes: Processes
) -> None:
    ids = await installation.add(LINE)
    async with processes.scheduler():
        (execution_id,) = await installation.start(ids)
        async with asyncio.timeout(20):
            while (await queue_lengths(installation.bus))[ANY].pending != 1:
                await installation.next_event()

            await installation.cancel(execution_id)

            while (await queue_lengths(installation.bus))[ANY].pending:
                await installation.next_event()

    assert (await installation.row(execution_id)).status == "CANCELED"


async def test_an_event_starts_the_workflows_whose_pattern_and_filter_fit_once(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    nodes = [node("on", "TRIGGER.EVENT"), node("a")]
    graph = document(nodes, [wire("on -> a")], static_data={"least": 10})
    fitting = EventTrigger("on", "orders.*", "message.data.total > static.least")
    workflow_id, _ = await installation.publish(graph, fitting)
    await installation.publish(graph, EventTrigger("on", "invoices.>"))
    seen: list[object] = []

    def collects(_: str, task: Task) -> Outcome:
        seen.append(msgspec.json.decode(task.deliveries[0].value))
        return {"ports": {"main": None}}

    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, collects):
        client = await nats.connect(nats_alone.url)
        stream = client.jetstream()
        for _ in range(2):
            body = {"total": 25}
            headers = {"Nats-Msg-Id": "order-1"}
            await stream.publish("flotilla.trigger.orders.new", encode(body), headers=headers)
        await stream.publish("flotilla.trigger.orders.new", encode({"total": 5}))
        await stream.publish("flotilla.trigger.orders.new", encode({"total": 30}))
        await client.close()
        async with asyncio.timeout(30):
            while len(seen) < 2:
                await installation.next_event()

    rows, _ = await executions.page(
        installation.store, installation.user_id, ExecutionFilters(mode=("TRIGGER",)), 10, None
    )
    created = [msgspec.json.decode((await installation.history(row.id))[0].data) for row in rows]
    assert all(each["traceparent"].startswith("00-") for each in created)
    totals = [each["data"]["total"] for each in seen if isinstance(each, dict)]
    assert sorted(totals) == [25, 30]
    assert workflow_id


async def test_a_scheduler_tells_nobody_to_start_what_it_starts_itself(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    graph = document([node("on", "TRIGGER.EVENT"), node("a")], [wire("on -> a")])
    await installation.publish(graph, EventTrigger("on", "orders.>"))
    told: list[str] = []

    async def tells(message: CoreMessage) -> None:
        told.append(message.subject)

    def done(_: str, __: Task) -> Outcome:
        return {"ports": {"main": None}}

    await installation.bus.subscribe(f"{subjects.INBOX_PREFIX}.*.command.start.>", tells)
    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, done):
        client = await nats.connect(nats_alone.url)
        for _ in range(20):
            await client.jetstream().publish("flotilla.trigger.orders.new", b"{}")
        await client.close()
        rows: Sequence[ExecutionRow] = ()
        async with asyncio.timeout(30):
            while len(rows) < 20 or any(row.finished_at is None for row in rows):
                await installation.next_event()
                rows, _ = await executions.page(
                    installation.store, installation.user_id, ExecutionFilters(), 30, None
                )
        await installation.bus.flush()

    assert [row.status for row in rows] == ["SUCCESS"] * 20
    assert told == []


async def test_an_event_that_cannot_be_stored_is_kept_and_stops_no_other(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    graph = document([node("on", "TRIGGER.EVENT")], [])
    await installation.publish(graph, EventTrigger("on", "orders.>"))
    async with processes.scheduler():
        client = await nats.connect(nats_alone.url)
        for message_id in ("one", "nul \0", "two"):
            headers = {"Nats-Msg-Id": message_id}
            await client.jetstream().publish("flotilla.trigger.orders.new", b"{}", headers=headers)
        await client.close()
        async with asyncio.timeout(20):
            while not (letters := await letters_of(installation, None)):
                await installation.next_event()
            rows: Sequence[ExecutionRow] = ()
            while len(rows) < 2:
                rows, _ = await executions.page(
                    installation.store, installation.user_id, ExecutionFilters(), 10, None
                )
                await installation.next_event()

    assert [(each.source, each.reason) for each in letters] == [("TRIGGER", "UNREADABLE")]


async def test_an_event_without_a_namespace_becomes_a_dead_letter(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    processes.namespace = ""
    async with processes.scheduler():
        client = await nats.connect(nats_alone.url)
        await client.jetstream().publish("flotilla.trigger.orders", b"{}")
        await client.close()
        async with asyncio.timeout(20):
            while not (letters := await letters_of(installation, None)):
                await installation.next_event()

    assert (letters[0].source, letters[0].reason) == ("TRIGGER", "NO_NAMESPACE")


async def test_a_message_that_nobody_can_read_becomes_a_dead_letter(
    installation: Installation, processes: Processes
) -> None:
    execution_id = new_id()
    async with processes.scheduler():
        await installation.publisher.store(subjects.command("start", execution_id), b"{nonsense")
        async with asyncio.timeout(20):
            while not (letters := await letters_of(installation, None)):
                await installation.next_event()

    assert (letters[0].source, letters[0].reason) == ("COMMAND", "UNREADABLE")


async def test_a_task_that_its_worker_cannot_read_fails_its_attempt_and_is_kept(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    single = document([node("a", retry_policy=None, on_error=OnError.STOP)], [])
    ids = await installation.add(single)
    async with processes.scheduler():
        (execution_id,) = await installation.start(ids)
        await installation.until([execution_id], lambda row: row.status == "RUNNING")
        address = subjects.TaskAddress(ANY, installation.user_id, execution_id, "a", (), 1)
        report = UnreadableTask(
            subject=subjects.task(address), error="not JSON", worker_id="w", body=b"\xff"
        )
        await installation.publisher.store(subjects.result(address), encode(report))
        (row,) = await installation.finished([execution_id])
        async with asyncio.timeout(20):
            while not (letters := await letters_of(installation, installation.user_id)):
                await installation.next_event()

    assert row.status == "ERROR"
    assert row.failure is not None
    assert msgspec.json.decode(row.failure)["code"] == "unreadable_task"
    assert letters[0].execution_id == execution_id


async def test_a_report_on_the_task_of_somebody_else_is_not_believed(
    installation: Installation, processes: Processes
) -> None:
    ids = await installation.add(document([node("a")], []))
    async with processes.scheduler():
        (execution_id,) = await installation.start(ids)
        await installation.until([execution_id], lambda row: row.status == "RUNNING")
        address = subjects.TaskAddress(ANY, installation.user_id, execution_id, "a", (), 1)
        report = UnreadableTask(
            subject=subjects.task(address), error="not JSON", worker_id="w", body=b""
        )
        door = subjects.result(address._replace(node_type="CUSTOM.OTHER"))
        await installation.publisher.store(door, encode(report))
        async with asyncio.timeout(20):
            while not (letters := await letters_of(installation, None)):
                await installation.next_event()
        row = await installation.row(execution_id)

    assert row.status == "RUNNING"
    assert letters[0].execution_id is None


async def test_a_result_that_can_never_be_stored_fails_its_attempt(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(document([node("a", retry_policy=None)], []))

    async def reports_no_text(node_id: str, task: Task) -> Outcome:
        execution = decode_task_execution(task.execution)
        result = Result(
            execution_id=execution.id,
            node_id=node_id,
            attempt=task.attempt,
            token=task.token,
            worker_id="w",
            started_at="",
            finished_at="",
            ports={"main": msgspec.Raw(b'"\xff"')},
        )
        address = subjects.TaskAddress(ANY, execution.namespace, execution.id, node_id, (), 1)
        await installation.publisher.store(subjects.result(address), encode(result))
        return {"token": "of nobody", "ports": {}}

    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, reports_no_text):
        started = await installation.start(ids)
        (row,) = await installation.finished(started)

    assert row.failure is not None
    assert msgspec.json.decode(row.failure)["code"] == "invalid_result"


async def test_a_task_that_no_worker_survives_fails_and_leaves_the_stream(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(document([node("a", retry_policy=None)], []))
    async with processes.scheduler():
        started = await installation.start(ids)
        client = await nats.connect(nats_alone.url)
        for nonsense in (b"[]", b'{"type":"max_deliver","stream_seq":"x"}'):
            await client.publish("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.TASKS.x", nonsense)
        inbox = client.new_inbox()
        arrived: asyncio.Queue[Msg] = asyncio.Queue()
        await client.subscribe(inbox, cb=arrived.put)
        consumer = f"$JS.API.CONSUMER.MSG.NEXT.TASKS.{subjects.task_consumer(ANY)}"
        await client.publish(consumer, b'{"batch":6,"expires":20000000000}', reply=inbox)
        async with asyncio.timeout(20):
            for _ in range(5):
                await (await arrived.get()).nak()
        (row,) = await installation.finished(started)
        await client.close()
        async with asyncio.timeout(20):
            while await get_message(installation.bus, subjects.TASKS, 1) is not None:
                await installation.next_event()

    assert row.failure is not None
    assert msgspec.json.decode(row.failure)["kind"] == "WORKER_LOST"
    letters = await letters_of(installation, installation.user_id)
    assert [(each.reason, each.execution_id) for each in letters] == [
        ("DELIVERIES_EXHAUSTED", started[0])
    ]


async def test_a_wiped_nats_store_only_delays_work(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(LINE)
    async with processes.scheduler():
        started = await installation.start(ids, 10)
        await installation.until(started, lambda row: row.status == "RUNNING")
        for stream in (subjects.TASKS, subjects.INBOX):
            client = await nats.connect(nats_alone.url)
            await client.jetstream().delete_stream(stream)
            await client.close()
        async with PlainWorker(nats_alone.url, ANY, yields):
            rows = await installation.finished(started, seconds=90)

    assert {row.status for row in rows} == {"SUCCESS"}


async def test_a_stream_of_tasks_that_was_deleted_is_made_anew_by_the_next_task(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(LINE)
    async with processes.scheduler():
        started = await installation.start(ids, 5)
        await installation.until(started, lambda row: row.status == "RUNNING")
        client = await nats.connect(nats_alone.url)
        await client.jetstream().delete_stream(subjects.TASKS)
        await client.close()

        started += await installation.start(ids)
        async with PlainWorker(nats_alone.url, ANY, yields):
            rows = await installation.finished(started, seconds=30)

    assert {row.status for row in rows} == {"SUCCESS"}


async def test_executions_of_a_deleted_workflow_are_canceled_by_whoever_sweeps(
    installation: Installation, processes: Processes
) -> None:
    workflow_id, version_id = await installation.add(LINE)
    async with processes.scheduler():
        started = await installation.start((workflow_id, version_id), 3)
        await installation.until(started, lambda row: row.status == "RUNNING")
        await workflows.delete(
            installation.store,
            user_id=installation.user_id,
            workflow_id=workflow_id,
            expected_revision=None,
        )

        rows = await installation.finished(started)

    assert {row.status for row in rows} == {"CANCELED"}


def test_partitions_agree_with_the_subjects() -> None:
    execution_id = new_id()

    assert subjects.command("start", execution_id).split(".")[2] == str(partition_of(execution_id))
