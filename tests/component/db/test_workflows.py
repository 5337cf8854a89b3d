"""Workflows: revisions, versions that are made once, and triggers that follow what is published."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeAlias

import asyncpg
import msgspec
import pytest

from contracts.model import Document, decode_document, encode_document
from contracts.problems import Problem
from db import errors, executions, families, triggers, users, versions, workflows
from db.advances import AdvanceSession
from db.store import Store
from db.triggers import EventTrigger
from db.versions import VersionRow
from db.workflows import WorkflowFilters, WorkflowRow
from tests.component.db import builders
from tests.component.db.builders import Ids, advance, document, node

pytestmark = pytest.mark.component

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

ORDERS = EventTrigger("on_order", "orders.*", "message.data.total > 10")


class Writer(msgspec.Struct, frozen=True):
    """Changes one workflow, with only what a test is about."""

    store: Store
    ids: Ids
    user_id: str
    workflow_id: str

    async def publish(
        self,
        wanted: Document,
        *,
        active: bool | None = None,
        triggers: Sequence[EventTrigger] = (),
        expected_revision: int | None = None,
    ) -> tuple[VersionRow, bool]:
        return await workflows.publish(
            self.store,
            user_id=self.user_id,
            workflow_id=self.workflow_id,
            version_id=self.ids.new(),
            document=wanted,
            note="why",
            created_by=self.user_id,
            active=active,
            triggers=triggers,
            expected_revision=expected_revision,
        )

    async def update(
        self,
        wanted: Document,
        *,
        active: bool | None = None,
        expected_revision: int | None = None,
        problems: Sequence[Problem] = (),
    ) -> WorkflowRow:
        return await workflows.update(
            self.store,
            user_id=self.user_id,
            workflow_id=self.workflow_id,
            document=wanted,
            problems=problems,
            active=active,
            expected_revision=expected_revision,
        )

    async def set_active(self, active: bool, triggers: Sequence[EventTrigger] = ()) -> WorkflowRow:
        return await workflows.set_active(
            self.store,
            user_id=self.user_id,
            workflow_id=self.workflow_id,
            active=active,
            triggers=triggers,
        )

    async def snapshot(self, wanted: Document) -> str:
        return await workflows.snapshot(
            self.store,
            user_id=self.user_id,
            workflow_id=self.workflow_id,
            version_id=self.ids.new(),
            document=wanted,
        )

    async def delete(self) -> tuple[str, ...]:
        return await workflows.delete(
            self.store, user_id=self.user_id, workflow_id=self.workflow_id
        )

    async def read(self) -> WorkflowRow:
        row = await workflows.get(self.store, self.user_id, self.workflow_id)
        assert row is not None
        return row

    async def armed(self) -> list[tuple[str, str]]:
        found = await triggers.armed(self.store, [self.user_id])
        return [(each.subject, each.version_id) for each in found]


@pytest.fixture
async def writer(store: Store, ids: Ids, user_id: str) -> Writer:
    """Changes a new workflow."""
    return Writer(store, ids, user_id, await builders.workflow(store, ids, user_id))


async def test_a_draft_comes_back_byte_for_byte(store: Store, ids: Ids, user_id: str) -> None:
    wanted = document(
        nodes=(node("a", parameters={"z": 1, "a": {"y": [1.5, None], "b": "\u0001"}}),),
        connections=(),
        tags=("b", "a"),
        description="many",
    )
    problem = Problem("/nodes/0", "missing_parameter", "url is missing", "a")

    row = await workflows.create(
        store,
        user_id=user_id,
        workflow_id=ids.new(),
        document=wanted,
        problems=(problem,),
        active=False,
    )

    assert row == await workflows.get(store, user_id, row.id)
    assert row.draft == encode_document(wanted)
    assert (row.name, row.description, row.tags) == ("Orders", "many", ("b", "a"))
    assert (row.active, row.revision, row.problems) == (False, 1, (problem,))
    assert (row.published_version, row.published_version_id) == (None, None)


async def test_a_workflow_of_an_unknown_user_is_refused(store: Store, ids: Ids) -> None:
    with pytest.raises(errors.Conflict):
        await builders.workflow(store, ids, ids.new())


async def test_many_workflows_are_found_at_once_each_for_its_own_user_alone(
    store: Store, ids: Ids, writer: Writer, user_id: str
) -> None:
    stranger = ids.new()
    await users.ensure(store, stranger, "stranger@example.org", "stranger")
    foreign = await builders.workflow(store, ids, stranger)
    deleted = await builders.workflow(store, ids, user_id)
    await workflows.delete(store, user_id=user_id, workflow_id=deleted)
    version, _ = await writer.publish(document())

    asked = [(user_id, each) for each in (writer.workflow_id, foreign, deleted, ids.new())]
    found = await workflows.heads(store, asked)

    assert found.keys() == {(user_id, writer.workflow_id)}
    (head,) = found.values()
    now = await workflows.get(store, user_id, writer.workflow_id)
    assert now is not None
    assert (head.revision, head.published_version_id) == (now.revision, version.id)


async def test_nodes_and_connections_follow_the_draft(writer: Writer, direct: Connection) -> None:
    await writer.update(document(nodes=(node("only", type="ACTION.HTTP_REQUEST"),), connections=()))

    rows = await direct.fetch("select node_id, node_type, node_subtype from nodes")
    assert [tuple(row) for row in rows] == [("only", "ACTION", "HTTP_REQUEST")]
    assert await direct.fetchval("select count(*) from node_connections") == 0


async def test_every_visible_change_raises_the_revision(writer: Writer) -> None:
    await writer.update(document(), expected_revision=1)
    with pytest.raises(errors.RevisionMismatch) as caught:
        await writer.update(document(), expected_revision=1)
    assert (caught.value.expected, caught.value.found) == (1, 2)

    await writer.publish(document(), expected_revision=2)
    await writer.publish(document(), expected_revision=3)
    assert (await writer.set_active(True)).revision == 3, "it was active already"
    assert (await writer.set_active(False)).revision == 4
    with pytest.raises(errors.RevisionMismatch):
        await writer.publish(document(), expected_revision=3)


async def test_of_two_writers_on_one_revision_one_is_refused(writer: Writer) -> None:
    results = await asyncio.gather(
        *(writer.update(document(str(n)), expected_revision=1) for n in range(2)),
        return_exceptions=True,
    )

    assert sorted(type(each).__name__ for each in results) == ["RevisionMismatch", "WorkflowRow"]


async def test_what_is_not_there_is_not_found(store: Store, ids: Ids, writer: Writer) -> None:
    stranger = Writer(
        store,
        ids,
        (await users.ensure(store, ids.new(), "eve@example.org", "Eve")).id,
        writer.workflow_id,
    )

    assert await workflows.get(store, stranger.user_id, writer.workflow_id) is None
    assert await versions.of_number(store, stranger.user_id, writer.workflow_id, 1) is None
    for refused in (
        stranger.update(document()),
        stranger.publish(document()),
        stranger.set_active(True),
        stranger.snapshot(document()),
        stranger.delete(),
    ):
        with pytest.raises(errors.NotFound):
            await refused


async def test_publishing_the_same_again_makes_no_new_version(writer: Writer) -> None:
    first, first_is_new = await writer.publish(document())
    again, again_is_new = await writer.publish(document())
    second, _ = await writer.publish(document(description="changed"))
    third, third_is_new = await writer.publish(document())

    assert (first_is_new, again_is_new, third_is_new) == (True, False, True)
    assert again == first
    assert [each.version for each in (first, second, third)] == [1, 2, 3]
    assert third.content_hash == first.content_hash
    row = await writer.read()
    assert (row.published_version, row.published_version_id) == (3, third.id)


async def test_publishers_that_race_make_one_version(writer: Writer) -> None:
    results = await asyncio.gather(*(writer.publish(document()) for _ in range(4)))

    assert sorted(is_new for _, is_new in results) == [False, False, False, True]
    assert {version.version for version, _ in results} == {1}


async def test_an_older_version_can_be_published_again(store: Store, writer: Writer) -> None:
    first, _ = await writer.publish(document())
    await writer.publish(document(description="changed"))

    async def publish(number: int) -> tuple[VersionRow, bool]:
        return await workflows.publish_existing(
            store,
            user_id=writer.user_id,
            workflow_id=writer.workflow_id,
            version=number,
            active=None,
            triggers=(ORDERS,),
        )

    assert await publish(1) == (first, True)
    assert await publish(1) == (first, False)
    assert (await writer.read()).published_version == 1
    assert await writer.armed() == [("orders.*", first.id)]
    with pytest.raises(errors.NotFound):
        await publish(7)
    third, _ = await writer.publish(document(description="new"))
    assert third.version == 3


async def test_versions_are_listed_newest_first_without_snapshots(
    store: Store, writer: Writer
) -> None:
    for number in range(3):
        await writer.publish(document(description=str(number)))
    await writer.snapshot(document(description="draft"))

    rows, after = await versions.page(store, writer.user_id, writer.workflow_id, 2, None)
    rest, end = await versions.page(store, writer.user_id, writer.workflow_id, 2, after)

    assert [row.version for row in (*rows, *rest)] == [3, 2, 1]
    assert rows[0].document is None
    assert (after, end) == (2, None)
    version = await versions.of_number(store, writer.user_id, writer.workflow_id, 2)
    assert version is not None
    assert version.document is not None
    assert decode_document(version.document).description == "1"


async def test_equal_snapshots_are_kept_once(store: Store, writer: Writer) -> None:
    first, again = await asyncio.gather(*(writer.snapshot(document()) for _ in range(2)))
    other = await writer.snapshot(document(description="changed"))

    assert first == again != other
    stored = await versions.load(store, first)
    assert stored is not None
    assert (stored.version, stored.document) == (None, document())
    assert (stored.workflow_id, stored.workflow_name) == (writer.workflow_id, "Orders")
    assert stored.user_id == writer.user_id
    assert await versions.load(store, writer.ids.new()) is None


async def test_triggers_are_armed_while_the_workflow_is_active_and_published(
    writer: Writer,
) -> None:
    await writer.set_active(True, [ORDERS])
    assert await writer.armed() == [], "nothing is published"

    version, _ = await writer.publish(document(), triggers=[ORDERS])
    assert await writer.armed() == [("orders.*", version.id)]

    await writer.set_active(False)
    assert await writer.armed() == []

    await writer.set_active(True, [ORDERS])
    assert await writer.armed() == [("orders.*", version.id)]

    await writer.update(document(), active=False)
    assert await writer.armed() == []

    await writer.update(document(), active=True)
    assert await writer.armed() == [("orders.*", version.id)]

    second, _ = await writer.publish(
        document(description="2"), triggers=[EventTrigger("on_any", "orders.>")]
    )
    assert await writer.armed() == [("orders.>", second.id)]

    await writer.delete()
    assert await writer.armed() == []


async def test_a_deleted_workflow_is_gone_but_for_its_executions(
    store: Store, ids: Ids, writer: Writer
) -> None:
    published, _ = await writer.publish(document())
    of = builders.Version(writer.user_id, writer.workflow_id, published.id)
    new, waiting, over = execution_ids = [ids.new() for _ in range(3)]
    await builders.started(store, of, execution_ids)
    session = await AdvanceSession.open(store)
    await session.commit([advance(waiting, status="WAITING"), advance(over, status="SUCCESS")])
    await session.close()

    assert await writer.delete() == (new, waiting)

    assert await workflows.get(store, writer.user_id, writer.workflow_id) is None
    assert await families.find(store, writer.user_id, "Orders") == ()
    assert await workflows.page(store, writer.user_id, WorkflowFilters(), 10, None) == ((), None)
    assert await versions.of_number(store, writer.user_id, writer.workflow_id, 1) is None
    assert await versions.load(store, published.id) is not None
    assert await executions.get(store, writer.user_id, over) is not None
    with pytest.raises(errors.NotFound):
        await writer.delete()


async def test_workflows_are_found_by_their_exact_name(
    store: Store, ids: Ids, user_id: str
) -> None:
    first = await builders.workflow(store, ids, user_id, document("Orders"))
    second = await builders.workflow(store, ids, user_id, document("Orders"))
    await builders.workflow(store, ids, user_id, document("orders"))

    found = await families.find(store, user_id, "Orders")

    assert [row.id for row in found] == [first, second]
    assert [row.id for row in await families.find(store, user_id, second)] == [second]


async def test_a_list_is_narrowed_by_every_filter(
    store: Store, ids: Ids, user_id: str, direct: Connection
) -> None:
    mail = await builders.workflow(
        store, ids, user_id, document("Mail", description="Sends 100% of it", tags=("a", "b"))
    )
    web = await builders.workflow(
        store,
        ids,
        user_id,
        document("Web", nodes=(node("x", type="ACTION.HTTP_REQUEST"),), connections=()),
    )
    await Writer(store, ids, user_id, web).set_active(False)
    await direct.execute("update workflows set created_at = $2 where id = $1", mail, builders.START)

    async def found(**filters: object) -> list[str]:
        wanted = msgspec.convert(filters, WorkflowFilters)
        rows, _ = await workflows.page(store, user_id, wanted, 10, None)
        assert all(row.draft is None for row in rows)
        return [row.id for row in rows]

    assert await found() == [web, mail]
    assert await found(name=["Mail", "Other"]) == [mail]
    assert await found(search="SENDS 100%") == [mail]
    assert await found(search="_") == []
    assert await found(tag=["b", "c"]) == [mail]
    assert await found(active=False) == [web]
    assert await found(node_type=["ACTION.HTTP_REQUEST"]) == [web]
    assert await found(created_before=builders.START + timedelta(seconds=1)) == [mail]
    assert await found(created_after=builders.START) == [web]


async def test_a_list_goes_on_where_it_ended(store: Store, ids: Ids, user_id: str) -> None:
    created = [await builders.workflow(store, ids, user_id) for _ in range(3)]

    rows, after = await workflows.page(store, user_id, WorkflowFilters(), 2, None)
    rest, end = await workflows.page(store, user_id, WorkflowFilters(), 2, after)

    assert [row.id for row in (*rows, *rest)] == created[::-1]
    assert end is None
