"""People asked by real handlers: reminded, asked beyond those who were named, and counted, across schedulers."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from contracts import subjects
from contracts.history import By
from contracts.interactions import Answer, Responder
from contracts.messages import Respond, encode
from db import interactions, node_types
from db.executions import HistoryRow
from db.interactions import InteractionFilters, InteractionRow
from flotilla.embedded.nats import NatsServer
from nodes.catalogue import builtin_handlers, builtin_specs
from tests.component.scheduler.conftest import Processes
from tests.component.scheduler.test_real_nodes import read
from tests.component.workers.rig import working
from tests.support.documents import node as sent
from tests.support.documents import noop, wire
from tests.support.installation import Installation, new_id

pytestmark = pytest.mark.component


@pytest.fixture(autouse=True)
async def known(installation: Installation) -> None:
    """Let the database know the node types."""
    await node_types.store(installation.store, builtin_specs())


async def questions(installation: Installation, execution_id: str) -> list[InteractionRow]:
    """Return the questions of an execution, in the order of their iterations."""
    filters = InteractionFilters(execution_id=(execution_id,))
    rows, _ = await interactions.page(installation.store, installation.user_id, filters, 100, None)
    return sorted(rows, key=lambda row: row.iteration)


async def respond(
    installation: Installation, row: InteractionRow, who: str, *, approved: bool
) -> None:
    """Answer a question, as the gateway does."""
    answer = Answer(
        port="approved" if approved else "rejected",
        approved=approved,
        responder=Responder(id=who, channel="API"),
        responded_at=datetime.now(UTC),
    )
    wish = Respond(
        execution_id=row.execution_id,
        signal_id=new_id(),
        interaction_id=row.id,
        answer=answer,
        by=By("API", who),
    )
    await installation.publisher.store(subjects.command("respond", row.execution_id), encode(wish))


async def waits(installation: Installation, execution_id: str, count: int) -> None:
    """Wait until node runs have begun to wait so often."""

    async def so_often() -> bool:
        rows = await installation.history(execution_id)
        return sum(row.kind == "node_waiting" for row in rows) >= count

    while not await so_often():
        await installation.next_event()


def data_of(rows: tuple[HistoryRow, ...], kind: str) -> list[Any]:
    return [msgspec.json.decode(row.data) for row in rows if row.kind == kind]


@pytest.mark.parametrize("named", [("ada", "bob"), ()])
async def test_people_are_reminded_and_further_ones_decide_after_a_restart(
    installation: Installation, processes: Processes, nats_alone: NatsServer, named: tuple[str, ...]
) -> None:
    ask = sent(
        "ask",
        "HUMAN_IN_THE_LOOP.APP",
        message="Shall we?",
        approvers=list(named),
        approvals_required=2,
        reminders=[1],
        escalation={"after": 2, "approvers": ["zoe"]},
    )
    ids = await installation.add(
        read([noop("before"), ask], wire("start", "before"), wire("before", "ask"))
    )
    async with processes.scheduler(), working(nats_alone.url, *builtin_handlers()):
        (execution_id,) = await installation.start(ids)
        await waits(installation, execution_id, 1)
        (row,) = await questions(installation, execution_id)
        await respond(installation, row, "ada", approved=True)

    async with processes.scheduler("two"), working(nats_alone.url, *builtin_handlers()):
        await waits(installation, execution_id, 3)
        (row,) = await questions(installation, execution_id)
        await respond(installation, row, "zoe", approved=True)
        (over,) = await installation.finished([execution_id])

    rows = await installation.history(execution_id)
    (closed,) = await questions(installation, execution_id)
    assert over.status == "SUCCESS", rows[-1].data
    assert (row.reminders, row.approvers) == (1, (*(named or (installation.user_id,)), "zoe"))
    assert row.reminded_at is not None
    assert row.escalated_at is not None
    assert (closed.status, len(closed.answers_read), closed.due_at) == ("ANSWERED", 2, row.due_at)
    assert [each["timer"] for each in data_of(rows, "timer_fired")] == ["REMINDER", "CHECK"]
    assert [each["answer"]["responder"]["id"] for each in data_of(rows, "signal_received")] == [
        "ada", "zoe"
    ]  # fmt: skip
    assert [row.node_id for row in rows if row.kind == "node_succeeded"].count("before") == 1


async def test_each_iteration_and_branch_asks_for_itself(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    quorum = {"message": "{{ loop.item }}?", "approvers": ["ada", "bob"], "approvals_required": 2}
    document = read(
        [
            sent("each", "FLOW.FOR_EACH", items="['a', 'b']", max_parallel=2),
            sent("ask", "HUMAN_IN_THE_LOOP.APP", **quorum),
            sent("beside", "HUMAN_IN_THE_LOOP.APP", message="And this?"),
        ],
        wire("start", "each"),
        wire("start", "beside"),
        wire("each", "ask", from_port="iteration"),
        wire("ask", "each", from_port="approved", to_port="loop_body"),
        wire("ask", "each", from_port="rejected", to_port="loop_body"),
    )
    ids = await installation.add(document)
    async with processes.scheduler(), working(nats_alone.url, *builtin_handlers()):
        (execution_id,) = await installation.start(ids)
        await waits(installation, execution_id, 3)
        beside, first, second = await questions(installation, execution_id)
        for row in (first, second, beside):
            await respond(installation, row, "ada", approved=True)
        await respond(installation, first, "bob", approved=True)
        await respond(installation, second, "bob", approved=False)
        (over,) = await installation.finished([execution_id])

    rows = await installation.history(execution_id)
    assert over.status == "SUCCESS", rows[-1].data
    output = msgspec.json.decode(rows[-1].data)["output"]
    assert output["beside"]["approved"] is True
    assert len(data_of(rows, "signal_received")) == 5
    assert [
        [each["port"] for each in value if each is not None] for value in output["each"]["results"]
    ] == [["approved"], ["rejected"]]
