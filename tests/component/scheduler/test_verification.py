"""`flotilla verify` on a live system: silent where all is well, and each broken promise is found and named."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from bus.api import ask
from bus.client import Bus
from bus.tasks import purge_execution, task_subjects
from contracts import subjects
from contracts.messages import Task, encode
from contracts.model import Settings
from db.executions import ExecutionRow
from db.store import Store
from flotilla.verifying import fixing
from flotilla.verifying.findings import Finding, Report
from flotilla.verifying.verifier import Patience, Verifier
from scheduler.core.soundness import CHECKS
from tests.component.scheduler.conftest import Processes
from tests.support.engine import document, node, wire
from tests.support.installation import Installation
from tests.support.plain_worker import Outcome, PlainWorker

pytestmark = pytest.mark.component

ANY = "CUSTOM.ANY"
AT_ONCE = Patience(silent_s=0, looks=2, pause_s=0.2)
PATIENT = Patience(silent_s=90, looks=2, pause_s=0.2)
CHILD = document([node("inner")], [])
KINDS = ("timer", "signal", "question", "child")
WAITS = document(
    [node("task"), *(node(kind) for kind in KINDS), node("retry")],
    [wire(f"task -> {kind}") for kind in (*KINDS, "retry")],
    Settings(timeout=3_000),
)
ONE = document([node("task")], [])


def first_waits(child_id: str) -> Callable[[str, Task], Outcome]:
    """Answer so that an execution of WAITS waits for all that can be waited for, and its child for a worker."""
    outcomes: dict[str, Outcome] = {
        "task": {"ports": {"main": 1}},
        "timer": {"wait": {"kind": "TIMER", "seconds": 1_000}},
        "signal": {"wait": {"kind": "SIGNAL", "signal": "go", "seconds": 900}},
        "question": {
            "wait": {
                "kind": "INTERACTION",
                "interaction": {"kind": "APPROVAL", "title": "t", "message": "May we?"},
            }
        },
        "child": {"wait": {"kind": "CHILD", "child": {"workflow": child_id, "input": 7}}},
        "retry": {
            "failure": {
                "kind": "ERROR",
                "code": "later",
                "message": "not now",
                "retryable": True,
                "retry_after": 800,
            }
        },
        "inner": {"wait": {"kind": "SIGNAL", "signal": "never"}},
    }
    return lambda node_id, _: outcomes[node_id]


async def verified(store: Store, bus: Bus, patience: Patience = AT_ONCE) -> Report:
    """Return what a verification says."""
    return await Verifier(store, bus, patience).run()


def told(report: Report) -> set[tuple[str, str | None, str | None]]:
    """Return findings as check, execution and node."""
    return {(each.check, each.execution_id, each.node_id) for each in report.findings}


def is_waiting(row: ExecutionRow) -> bool:
    """Whether nothing is outstanding any more."""
    return row.status == "WAITING"


async def waiting_execution(installation: Installation, url: str) -> str:
    """Bring an execution to where it waits for everything, and return its id."""
    child_id, _ = await installation.publish(CHILD)
    ids = await installation.add(WAITS)
    async with PlainWorker(url, ANY, first_waits(child_id)):
        (execution_id,) = await installation.start(ids)
        await installation.until([execution_id], is_waiting)
        children = await installation.store.fetch(
            "select id from workflow_executions where parent_execution_id = $1", execution_id
        )
        await installation.until([str(row["id"]) for row in children], is_waiting)
    return execution_id


async def outstanding_execution(installation: Installation) -> str:
    """Start an execution whose task nobody takes, and return its id once the task is stored."""
    (execution_id,) = await installation.start(await installation.add(ONE))
    await installation.until([execution_id], lambda row: row.status == "RUNNING")
    while not [page async for page in task_subjects(installation.bus)]:
        await installation.next_event()
    return execution_id


async def change(database_url: str, statement: str, *arguments: object) -> None:
    """Do what the engine never does."""
    session = await asyncpg.connect(database_url)
    try:
        assert await session.execute(statement, *arguments) not in ("UPDATE 0", "DELETE 0")
    finally:
        await session.close()


async def test_an_installation_that_waits_for_everything_is_sound(
    installation: Installation, processes: Processes
) -> None:
    async with processes.scheduler():
        await waiting_execution(installation, processes.nats_url)
        await outstanding_execution(installation)

        report = await verified(installation.store, installation.bus)

    assert report.findings == ()
    assert (report.executions, report.under_way, report.outstanding) == (3, 3, 1)
    assert set(report.counts) == set(CHECKS)


Damage = tuple[str, str | None, str]
"""The check that is to find it, the node that it is to name, and the statement that does it, `$1` being the execution."""

DAMAGES: dict[str, Damage] = {
    "an event is gone": (
        "history",
        None,
        "delete from history where execution_id = $1 and seq = 3",
    ),
    "the last event is gone": (
        "history",
        None,
        "delete from history where execution_id = $1 and seq = "
        "(select version from workflow_executions where id = $1)",
    ),
    "an event nobody committed": (
        "history",
        None,
        "insert into history (execution_id, seq, at, kind, data) select id, version + 1, now(), "
        '\'execution_paused\', \'{"by": {"source": "API"}}\' from workflow_executions where id = $1',
    ),
    "the status is another": (
        "status",
        None,
        "update workflow_executions set status = 'RUNNING' where id = $1",
    ),
    "the pause is another": (
        "status",
        None,
        "update workflow_executions set paused = true where id = $1",
    ),
    "a wait lost its timer": (
        "timer",
        "timer",
        "delete from timers where execution_id = $1 and node_id = 'timer'",
    ),
    "a wait lost its end": (
        "timer",
        "signal",
        "delete from timers where execution_id = $1 and node_id = 'signal'",
    ),
    "a pause lost its end": (
        "timer",
        "retry",
        "delete from timers where execution_id = $1 and node_id = 'retry'",
    ),
    "the timeout is gone": (
        "timer",
        None,
        "delete from timers where execution_id = $1 and kind = 'EXECUTION_TIMEOUT'",
    ),
    "the question is closed": (
        "interaction",
        "question",
        "update interactions set status = 'CANCELED' where execution_id = $1",
    ),
    "a question that nobody waits for": (
        "interaction",
        None,
        "update interactions set id = gen_random_uuid() where execution_id = $1",
    ),
    "the child knows nothing of it": (
        "child",
        "child",
        "update workflow_executions set parent_waits = null where parent_execution_id = $1",
    ),
    "the child is gone": (
        "child",
        "child",
        "delete from workflow_executions where parent_execution_id = $1",
    ),
}


@pytest.mark.parametrize(("check", "node_id", "statement"), DAMAGES.values(), ids=DAMAGES)
async def test_what_was_changed_behind_the_engines_back_is_found(
    check: str,
    node_id: str | None,
    statement: str,
    installation: Installation,
    processes: Processes,
) -> None:
    async with processes.scheduler():
        execution_id = await waiting_execution(installation, processes.nats_url)
    async with processes.scheduler():
        await change(processes.database_url, statement, execution_id)

        report = await verified(installation.store, installation.bus)

    assert (check, execution_id, node_id) in told(report)


async def test_an_overdue_timer_is_found(installation: Installation, processes: Processes) -> None:
    async with processes.scheduler():
        execution_id = await waiting_execution(installation, processes.nats_url)
    late = "update timers set due_at = now() - interval '40 s' where execution_id = $1"
    await change(processes.database_url, late, execution_id)

    report = await verified(installation.store, installation.bus)

    found = told(report)
    assert ("timer", execution_id, None) in found
    assert ("scheduler", None, None) in found


async def test_a_lost_task_is_found_after_a_while_and_published_again(
    installation: Installation, processes: Processes
) -> None:
    async with processes.scheduler():
        execution_id = await outstanding_execution(installation)
        await purge_execution(installation.bus, installation.user_id, execution_id)

        early = await verified(installation.store, installation.bus, PATIENT)
        found = await verified(installation.store, installation.bus)
        (repaired,) = await fixing.fix(installation.store, installation.bus, found.findings)
        async with PlainWorker(processes.nats_url, ANY, lambda *_: {"ports": {"main": 1}}):
            (row,) = await installation.finished([execution_id])
        after = await verified(installation.store, installation.bus)

    assert early.findings == ()
    assert told(found) == {("task", execution_id, "task")}
    assert repaired.repaired == fixing.ASKED
    assert row.status == "SUCCESS"
    assert after.findings == ()


async def test_an_execution_that_never_began_is_found_and_begun(
    installation: Installation, processes: Processes
) -> None:
    (execution_id,) = await installation.start(await installation.add(ONE), say=False)
    await change(
        processes.database_url,
        "update workflow_executions set updated_at = now() - interval '70 s' where id = $1",
        execution_id,
    )
    seconds_apart = Patience(silent_s=0, looks=2, pause_s=1.5)
    found = await verified(installation.store, installation.bus, seconds_apart)
    await fixing.fix(installation.store, installation.bus, found.findings)

    async with processes.scheduler():
        (row,) = await installation.until([execution_id], lambda row: row.status == "RUNNING")

    assert ("stuck", execution_id, None) in told(found)
    assert row.version > 1


async def test_nothing_that_could_move_it_is_found(
    installation: Installation, processes: Processes
) -> None:
    """A history that ends in the middle: what should have followed was never decided."""
    async with processes.scheduler():
        execution_id = await outstanding_execution(installation)
    await purge_execution(installation.bus, installation.user_id, execution_id)
    failed = encode(
        {
            "failure": {"kind": "ERROR", "code": "x", "message": "x"},
            "tries": 1,
            "policy": "CONTINUE_REGULAR_OUTPUT",
        }
    ).decode()
    statement = (
        "with event as (insert into history (execution_id, seq, at, kind, node_id, iteration, attempt, data) "
        "select id, version + 1, now(), 'node_failed', 'task', '{}', 1, $2::text::json "
        "from workflow_executions where id = $1) "
        "update workflow_executions set version = version + 1, status = 'WAITING' where id = $1"
    )
    await change(processes.database_url, statement, execution_id, failed)

    report = await verified(installation.store, installation.bus)

    assert ("stuck", execution_id, None) in told(report)


LEFT = (
    "insert into timers (execution_id, key, kind, due_at) "
    "values ($1, 'x', 'RETRY', now() + interval '1 day')"
)


async def test_what_an_ended_execution_left_is_found_and_cleared_away(
    installation: Installation, processes: Processes
) -> None:
    async with processes.scheduler():
        execution_id = await waiting_execution(installation, processes.nats_url)
        await installation.cancel(execution_id)
        await installation.finished([execution_id])
        assert (await verified(installation.store, installation.bus)).findings == ()
        await change(processes.database_url, LEFT, execution_id)
        await change(
            processes.database_url,
            "update interactions set status = 'PENDING' where execution_id = $1",
            execution_id,
        )
        subject = subjects.task(
            subjects.TaskAddress(ANY, installation.user_id, execution_id, "task", (), 9)
        )
        await installation.publisher.store(subject, b"{}")

        report = await verified(installation.store, installation.bus)
        repaired = await fixing.fix(installation.store, installation.bus, report.findings)
        after = await verified(installation.store, installation.bus)

    assert told(report) == {("leftover", execution_id, None)}
    assert len(report.findings) == 3, report.findings
    assert {each.repaired for each in repaired} == {"cleared 1 timers, 1 questions, 1 tasks"}
    assert after.findings == ()


async def test_timers_of_nobody_are_found_and_cleared_away(
    installation: Installation, processes: Processes
) -> None:
    nobody = "019a0000-0000-7000-8000-00000000000e"
    await change(processes.database_url, LEFT, nobody)
    async with processes.scheduler():
        found = await verified(installation.store, installation.bus)
        await fixing.fix(installation.store, installation.bus, found.findings)
        after = await verified(installation.store, installation.bus)

    assert told(found) == {("leftover", nobody, None)}
    assert after.findings == ()


async def test_more_slots_than_there_are_is_found(
    installation: Installation, processes: Processes
) -> None:
    ids = await installation.add(ONE)
    async with processes.scheduler():
        (first,) = await installation.start(ids, slot=(1, "QUEUE"))
        await installation.until([first], lambda row: row.status == "RUNNING")
        (second,) = await installation.start(ids, slot=(1, "QUEUE"))
        sound = await verified(installation.store, installation.bus)
    await change(
        processes.database_url,
        "update workflow_executions set has_slot = true where id = $1",
        second,
    )
    found = await verified(installation.store, installation.bus)
    await change(
        processes.database_url,
        "update workflow_executions set has_slot = false where id = $1",
        first,
    )
    without = await verified(installation.store, installation.bus)

    assert sound.findings == ()
    assert "2 executions hold a slot, the limit is 1" in _of(found, "slot").message
    assert "under way without a slot" in _of(without, "slot").message


def _of(report: Report, check: str) -> Finding:
    (found,) = (each for each in report.findings if each.check == check)
    return found


async def test_a_value_that_is_gone_is_found(
    installation: Installation, processes: Processes
) -> None:
    large: dict[str, Any] = {"ports": {"main": "x" * 300_000}}
    async with processes.scheduler(), PlainWorker(processes.nats_url, ANY, lambda *_: large):
        (execution_id,) = await installation.start(await installation.add(ONE))
        await installation.finished([execution_id])
        sound = await verified(installation.store, installation.bus)
        await change(processes.database_url, "delete from payloads where $1", True)

        report = await verified(installation.store, installation.bus)

    assert sound.findings == ()
    assert ("payload", execution_id, None) in told(report)


async def _stream_gone(bus: Bus) -> None:
    await ask(bus, "STREAM.DELETE.EVENTS", answer=dict)


async def _consumer_gone(bus: Bus) -> None:
    await ask(bus, f"CONSUMER.DELETE.TASKS.{subjects.task_consumer(ANY)}", answer=dict)


@pytest.mark.parametrize("harm", [_stream_gone, _consumer_gone])
async def test_streams_and_consumers_that_are_gone_are_found_and_made_anew(
    harm: Callable[[Bus], Awaitable[None]], installation: Installation, processes: Processes
) -> None:
    async with processes.scheduler():
        await harm(installation.bus)

        found = await verified(installation.store, installation.bus)
        (repaired,) = await fixing.fix(installation.store, installation.bus, found.findings)
        after = await verified(installation.store, installation.bus)

    assert told(found) == {("stream", None, None)}
    assert "is missing" in repaired.message
    assert repaired.repaired is not None
    assert after.findings == ()


async def test_long_histories_are_read_page_by_page(
    installation: Installation, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with processes.scheduler():
        execution_id = await waiting_execution(installation, processes.nats_url)
        monkeypatch.setattr("flotilla.verifying.looking.EVENTS_AT_ONCE", 2)

        sound = await verified(installation.store, installation.bus)
        await change(
            processes.database_url,
            "delete from history where execution_id = $1 and seq = 5",
            execution_id,
        )
        found = await verified(installation.store, installation.bus)

    assert sound.findings == ()
    assert told(found) == {("history", execution_id, None)}
