"""Children, failure workflows and slots on real servers, with what is said once and may be lost."""

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from bus.client import Bus
from bus.ending import end
from contracts import subjects
from contracts.history import By, ExecutionCreated, Slot
from contracts.messages import (
    EndWait,
    PauseExecution,
    SendSignal,
    Starting,
    Task,
    UnpauseExecution,
    decode_task_node,
    encode,
)
from contracts.model import Concurrency, Document, Settings
from contracts.specs import NodeSpec, Port
from db import executions, node_types
from db.executions import ExecutionFilters, ExecutionRow
from flotilla.embedded.nats import NatsServer
from scheduler.core.decision import CancelAsked
from scheduler.intake import Intake
from scheduler.slots import Slots
from tests.component.scheduler.conftest import Processes
from tests.support.engine import document, node, wire
from tests.support.installation import Installation, new_id
from tests.support.plain_worker import Outcome, PlainWorker

pytestmark = pytest.mark.component

ANY = "CUSTOM.ANY"
LOOP = NodeSpec(
    type="CUSTOM.LOOP",
    title="Loop",
    inputs=(Port("main"), Port("loop_body")),
    outputs=(Port("iteration"), Port("complete")),
    pass_through="complete",
)
ONE = document([node("only")], [])
ME = By("API", "somebody")


def calls(workflow_id: str, **order: Any) -> Outcome:
    """Return the wait for a child of this workflow."""
    return {"wait": {"kind": "CHILD", "child": {"workflow": workflow_id, "input": 7, **order}}}


def behaves(workflow_id: str, **order: Any) -> Any:
    """Return a worker that starts a child at node `call`, and answers everywhere else with what it got."""

    def behaviour(node_id: str, task: Task) -> Outcome:
        if node_id == "call":
            return calls(workflow_id, **order)
        given = task.deliveries[0].value if task.deliveries else task.trigger
        assert given is not UNSET
        if node_id == "breaks":
            return {"failure": {"kind": "ERROR", "code": "broken", "message": "it broke"}}
        return {"ports": {"main": {"node": node_id, "got": msgspec.json.decode(bytes(given))}}}

    return behaviour


async def children_of(installation: Installation, execution_id: str) -> tuple[ExecutionRow, ...]:
    filters = ExecutionFilters(parent_execution_id=(execution_id,))
    rows, _ = await executions.page(installation.store, installation.user_id, filters, 10, None)
    return tuple(rows)


async def output_of(installation: Installation, execution_id: str) -> Any:
    history = await installation.history(execution_id)
    return msgspec.json.decode(history[-1].data)["output"]


async def tell(bus: Bus, kind: str, command: Any) -> dict[str, Any]:
    """Send a command and return its answer."""
    return await ask(bus, subjects.command(kind, command.execution_id), command)


async def ask(bus: Bus, subject: str, question: Any) -> dict[str, Any]:
    """Send what is answered after a commit, and return the answer."""
    answered: asyncio.Queue[bytes] = asyncio.Queue()
    inbox = bus.new_inbox()

    async def on_answer(message: Any) -> None:
        await answered.put(message.data)

    subscription = await bus.subscribe(inbox, on_answer)
    asked = msgspec.structs.replace(question, reply_to=inbox)
    await bus.publish(subject, encode(asked))
    async with asyncio.timeout(20):
        answer: dict[str, Any] = msgspec.json.decode(await answered.get())
    await subscription.unsubscribe()
    return answer


async def test_a_parent_gets_the_output_of_its_child(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    child_id, _ = await installation.publish(ONE)
    ids = await installation.add(document([node("call"), node("after")], [wire("call -> after")]))
    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, behaves(child_id)):
        (parent_id,) = await installation.start(ids)
        (row,) = await installation.finished([parent_id])

    (child,) = await children_of(installation, parent_id)
    assert (row.status, child.status) == ("SUCCESS", "SUCCESS")
    assert await output_of(installation, parent_id) == {
        "after": {"node": "after", "got": {"node": "only", "got": 7}}
    }


async def test_a_failed_child_fails_its_parent_and_a_detached_one_does_not(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    broken = document([node("breaks", retry_policy=None)], [])
    child_id, _ = await installation.publish(broken)
    ids = await installation.add(document([node("call", retry_policy=None)], []))
    async with processes.scheduler():
        async with PlainWorker(nats_alone.url, ANY, behaves(child_id)):
            (waits,) = await installation.start(ids)
            (failed,) = await installation.finished([waits])
        async with PlainWorker(nats_alone.url, ANY, behaves(child_id, is_detached=True)):
            (goes_on,) = await installation.start(ids)
            (done,) = await installation.finished([goes_on])

    (child,) = await children_of(installation, waits)
    assert failed.failure is not None
    failure = msgspec.json.decode(failed.failure)
    assert (failed.status, failure["code"], failure["node_id"]) == ("ERROR", "child_failed", "call")
    assert failure["details"]["execution_id"] == child.id
    assert done.status == "SUCCESS"
    (apart,) = await children_of(installation, goes_on)
    assert await output_of(installation, goes_on) == {"call": {"execution_id": apart.id}}


async def test_a_child_of_a_workflow_that_is_not_there_is_a_failure_that_says_so(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(document([node("call", retry_policy=None)], []))
    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, behaves("No such")):
        (execution_id,) = await installation.start(ids)
        (row,) = await installation.finished([execution_id])

    assert row.failure is not None
    failure = msgspec.json.decode(row.failure)
    assert failure["code"] == "unknown_workflow"
    assert "'No such'" in failure["message"]


async def test_cancelling_a_parent_cancels_the_child_it_waits_for(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    def waits_or_calls(node_id: str, _: Task) -> Outcome:
        if node_id == "call":
            return calls(child_id)
        return {"wait": {"kind": "SIGNAL", "signal": "never"}}

    child_id, _ = await installation.publish(ONE)
    ids = await installation.add(document([node("call")], []))
    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, waits_or_calls):
        (parent_id,) = await installation.start(ids)
        await installation.until([parent_id], lambda row: row.status == "WAITING")
        async with asyncio.timeout(20):
            while not (children := await children_of(installation, parent_id)):
                await installation.next_event()
        await installation.until([children[0].id], lambda row: row.status == "WAITING")

        await installation.cancel(parent_id)

        (parent, child) = await installation.finished([parent_id, children[0].id])
    assert (parent.status, child.status) == ("CANCELED", "CANCELED")


async def test_an_end_that_nobody_told_the_parent_is_found_by_the_sweeper(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    """The child ends while its parent's partition has no stream to hear it: all messages are lost."""
    child_id, _ = await installation.publish(ONE)
    ids = await installation.add(document([node("call")], []))
    async with processes.scheduler("first"), PlainWorker(nats_alone.url, ANY, behaves(child_id)):
        (parent_id,) = await installation.start(ids)
        async with asyncio.timeout(20):
            while not (children := await children_of(installation, parent_id)):
                await installation.next_event()
        await installation.finished([parent_id, children[0].id])
    # As a crash between the commit of the child's end and the word to its parent would leave it:
    await installation.store.execute(
        "update workflow_executions set parent_waits = 'YES', updated_at = now() - interval '1 hour' where id = $1",
        children[0].id,
    )
    await installation.store.execute(
        "delete from history where execution_id = $1 and seq > 3", parent_id
    )
    await installation.store.execute(
        "update workflow_executions set status = 'WAITING', finished_at = null, version = 3 where id = $1",
        parent_id,
    )

    async with processes.scheduler("second"):
        (row,) = await installation.finished([parent_id], seconds=60)

    assert row.status == "SUCCESS"


async def test_a_failure_starts_the_failure_workflow_once(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    handler_id, _ = await installation.publish(ONE)
    settings = Settings(failure_workflow=handler_id)
    broken = document([node("breaks", retry_policy=None)], [], settings)
    ids = await installation.add(broken)
    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, behaves("")):
        (execution_id,) = await installation.start(ids)
        await installation.finished([execution_id])
        filters = ExecutionFilters(workflow_id=(handler_id,))
        page, _ = await executions.page(installation.store, installation.user_id, filters, 10, None)
        rows = await installation.finished([row.id for row in page])

    assert [row.status for row in rows] == ["SUCCESS"]
    created = msgspec.json.decode(
        (await installation.history(rows[0].id))[0].data, type=ExecutionCreated
    )
    told = msgspec.json.decode(bytes(created.input))
    assert (told["execution_id"], told["failure"]["code"]) == (execution_id, "broken")


def limited(limit: int, on_limit: str = "QUEUE", key: str | None = None) -> Document:
    """Return a workflow of which only so many executions may be under way."""
    settings = Settings(concurrency=Concurrency(limit, key, on_limit))
    return document([node("a"), node("b")], [wire("a -> b")], settings)


async def test_no_more_executions_than_slots_are_under_way(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    most = 0

    async def counts(node_id: str, task: Task) -> Outcome:
        nonlocal most
        if node_id == "a":
            filters = ExecutionFilters(status=("RUNNING", "WAITING"))
            rows, _ = await executions.page(
                installation.store, installation.user_id, filters, 50, None
            )
            most = max(most, len(rows))
        return {"ports": {"main": None}}

    ids = await installation.add(limited(2))
    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, counts):
        started = await installation.start(ids, 12, slot=(2, "QUEUE"))
        rows = await installation.finished(started)

    assert {row.status for row in rows} == {"SUCCESS"}
    assert most == 2


async def test_what_finds_no_slot_and_does_not_queue_is_canceled(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(limited(1, "DROP"))
    async with processes.scheduler():
        (first,) = await installation.start(ids, slot=(1, "DROP"))
        await installation.until([first], lambda row: row.status == "RUNNING")
        others = await installation.start(ids, 3, slot=(1, "DROP"))
        dropped = await installation.finished(others)
        async with PlainWorker(nats_alone.url, ANY, behaves("")):
            (done,) = await installation.finished([first])

    assert {row.status for row in dropped} == {"CANCELED"}
    assert done.status == "SUCCESS"


async def test_a_paused_execution_dispatches_nothing_until_it_is_resumed(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(document([node("a"), node("b")], [wire("a -> b")]))
    async with processes.scheduler():
        (execution_id,) = await installation.start(ids)
        await installation.until([execution_id], lambda row: row.status == "RUNNING")
        paused = await tell(
            installation.bus, "pause", PauseExecution(execution_id=execution_id, by=ME)
        )
        async with PlainWorker(nats_alone.url, ANY, behaves("")) as worker:
            # `a` was under way and counts; `b` is held back.
            (held,) = await installation.until([execution_id], lambda row: row.version >= 4)
            again = await tell(
                installation.bus, "pause", PauseExecution(execution_id=execution_id, by=ME)
            )
            assert [seen[1] for seen in worker.seen] == ["a"]
            resumed = await tell(
                installation.bus, "unpause", UnpauseExecution(execution_id=execution_id, by=ME)
            )
            (row,) = await installation.finished([execution_id])

    assert [each.get("code") for each in (paused, again, resumed)] == [None, None, None]
    assert (held.paused, held.status) == (True, "RUNNING")
    assert (row.paused, row.status) == (False, "SUCCESS")


async def test_a_signal_is_kept_until_something_waits_for_it_and_taken_once(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    def waits(node_id: str, task: Task) -> Outcome:
        if task.resumed is None:
            return {"wait": {"kind": "SIGNAL", "signal": "go"}}
        return {"ports": {"main": msgspec.json.decode(bytes(task.resumed.data))}}

    spec = NodeSpec(type="CUSTOM.WAIT", title="Wait", after_wait="dispatch")
    await node_types.store(installation.store, (spec,))
    ids = await installation.add(document([node("w", "CUSTOM.WAIT")], []))
    async with processes.scheduler():
        (execution_id,) = await installation.start(ids)
        await installation.until([execution_id], lambda row: row.status == "RUNNING")
        signal = SendSignal(
            execution_id=execution_id,
            signal_id="one",
            name="go",
            data=msgspec.Raw(b'{"n":1}'),
            by=ME,
        )
        answers = [await tell(installation.bus, "signal", signal) for _ in range(2)]
        nobody = EndWait(execution_id=execution_id, signal_id="two", node_id="nothing", by=ME)
        refused = await tell(installation.bus, "end_wait", nobody)
        async with PlainWorker(nats_alone.url, "CUSTOM.WAIT", waits):
            (row,) = await installation.finished([execution_id])

    assert [each.get("code") for each in answers] == [None, None]
    assert refused["code"] == "not_waiting"
    assert row.status == "SUCCESS"
    assert await output_of(installation, execution_id) == {"w": {"n": 1}}
    kinds = [event.kind for event in await installation.history(execution_id)]
    assert kinds.count("signal_received") == 1


async def test_a_loop_of_a_thousand_items_gives_its_results_in_order(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    def doubles(node_id: str, task: Task) -> Outcome:
        if decode_task_node(task.node).type == LOOP.type:
            rules = {"max_parallel": 100}
            return {"loop": {"items": list(range(1000)), "rules": rules}}
        item = msgspec.json.decode(bytes(task.deliveries[0].value))["item"]
        return {"ports": {"main": item * 2}}

    await node_types.store(installation.store, (LOOP,))
    looping = document(
        [node("each", LOOP.type), node("double")],
        [wire("each.iteration -> double"), wire("double -> each.loop_body")],
    )
    ids = await installation.add(looping)
    async with (
        processes.scheduler(),
        PlainWorker(nats_alone.url, ANY, doubles),
        PlainWorker(nats_alone.url, LOOP.type, doubles),
    ):
        (execution_id,) = await installation.start(ids)
        (row,) = await installation.finished([execution_id])

    history = await installation.history(execution_id)
    done = next(
        msgspec.json.decode(event.data)
        for event in history
        if event.kind == "node_succeeded" and event.node_id == "each"
    )
    assert row.status == "SUCCESS"
    assert done["ports"]["complete"]["results"] == [2 * item for item in range(1000)]
    assert len(history) == 1005


async def test_a_question_is_stored_answered_once_and_closed(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    def asks(node_id: str, task: Task) -> Outcome:
        interaction = {"kind": "approval", "title": "May I?"}
        return {"wait": {"kind": "INTERACTION", "interaction": interaction, "seconds": 3600}}

    ids = await installation.add(document([node("ask")], []))
    async with processes.scheduler(), PlainWorker(nats_alone.url, ANY, asks):
        (execution_id,) = await installation.start(ids)
        await installation.until([execution_id], lambda row: row.status == "WAITING")
        (asked,) = await installation.store.fetch(
            "select id, status, title from interactions where execution_id = $1", execution_id
        )
        yes = EndWait(
            execution_id=execution_id,
            signal_id=new_id(),
            interaction_id=str(asked["id"]),
            data=msgspec.Raw(b'{"ok":true}'),
            port="main",
            by=ME,
        )
        first = await tell(installation.bus, "end_wait", yes)
        (row,) = await installation.finished([execution_id])
        second = await tell(
            installation.bus, "end_wait", msgspec.structs.replace(yes, signal_id=new_id())
        )

    (closed,) = await installation.store.fetch(
        "select status, answers from interactions where execution_id = $1", execution_id
    )
    assert (asked["status"], asked["title"]) == ("PENDING", "May I?")
    assert (first.get("code"), second.get("code")) == (None, "already_finished")
    assert row.status == "SUCCESS"
    assert closed["status"] == "ANSWERED"
    assert msgspec.json.decode(closed["answers"])[0]["data"] == {"ok": True}


async def test_a_worker_without_the_right_token_is_told_at_once_that_it_may_not_start(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(ONE)
    async with processes.scheduler():
        (execution_id,) = await installation.start(ids)
        await installation.until([execution_id], lambda row: row.status == "RUNNING")
        address = subjects.TaskAddress(ANY, installation.user_id, execution_id, "only", (), 1)
        forged = Starting(
            execution_id=execution_id,
            node_id="only",
            attempt=1,
            token="forged",
            worker_id="w",
            delivery="d",
        )
        answer = await ask(installation.bus, subjects.result(address), forged)

    assert answer["code"] == "token_refused"
    kinds = [event.kind for event in await installation.history(execution_id)]
    assert "node_started" not in kinds


async def test_who_asked_twice_for_a_slot_and_got_it_is_not_dropped(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    """The word that an execution waits is said again by the sweeper, and may be heard after its start."""
    ids = await installation.add(limited(1, "DROP"))
    intake = Intake()
    async with processes.scheduler():
        (first,) = await installation.start(ids, slot=(1, "DROP"))
        await installation.until([first], lambda row: row.status == "RUNNING")
        (second,) = await installation.start(ids, slot=(1, "DROP"), say=False)
        slots = Slots(installation.store, intake)
        slots.wanted(first, ids[0], Slot(1, "", "DROP"))
        slots.wanted(second, ids[0], Slot(1, "", "DROP"))
        running = asyncio.create_task(slots.run())
        async with asyncio.timeout(20):
            (entry,) = await intake.take(10)
        await end(running)

    assert entry.execution_id == second
    assert isinstance(entry.given, CancelAsked)
