"""Webhooks: armed with their workflow, in its transaction, and one at each path."""

import asyncio
from typing import Any, TypeAlias

import asyncpg
import pytest

from contracts.webhooks import Webhook
from db import users, webhooks, workflows
from db.store import Store
from db.webhooks import ArmedWebhook, WebhookPathTaken
from tests.component.db import builders
from tests.component.db.builders import Ids, document

pytestmark = pytest.mark.component

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


def webhook(path: str = "orders", **fields: Any) -> Webhook:
    """Return a webhook."""
    plain: dict[str, Any] = {
        "node_id": "hook",
        "path": path,
        "methods": ("POST", "PUT"),
        "authentication": "NONE",
        "header": "X-Token",
        "response_mode": "WAIT",
        "response_timeout": 2.5,
    }
    return Webhook(**{**plain, **fields})


async def publish(
    store: Store, ids: Ids, user_id: str, workflow_id: str, *received: Webhook, **fields: Any
) -> str:
    """Publish a new version that receives these, and return its id."""
    version_id = ids.new()
    version, _ = await workflows.publish(
        store,
        user_id=user_id,
        workflow_id=workflow_id,
        version_id=version_id,
        document=document(description=version_id),
        note="",
        created_by=user_id,
        received=received,
        **{"active": None, "triggers": (), **fields},
    )
    return version.id


async def test_a_webhook_is_found_by_its_path_as_it_was_armed(
    store: Store, ids: Ids, user_id: str
) -> None:
    workflow_id = await builders.workflow(store, ids, user_id)

    version_id = await publish(
        store, ids, user_id, workflow_id, webhook(filter="message.method == 'PUT'")
    )

    assert await webhooks.find(store, "orders") == ArmedWebhook(
        user_id=user_id,
        workflow_id=workflow_id,
        version_id=version_id,
        node_id="hook",
        path="orders",
        methods=("POST", "PUT"),
        authentication="NONE",
        header="X-Token",
        response_mode="WAIT",
        response_timeout=2.5,
        filter="message.method == 'PUT'",
    )
    assert await webhooks.find(store, "Orders") is None


async def test_what_was_published_last_is_what_is_received(
    store: Store, ids: Ids, user_id: str
) -> None:
    workflow_id = await builders.workflow(store, ids, user_id)
    await publish(store, ids, user_id, workflow_id, webhook("a"), webhook("b", node_id="other"))

    version_id = await publish(store, ids, user_id, workflow_id, webhook("b"))

    assert await webhooks.find(store, "a") is None
    found = await webhooks.find(store, "b")
    assert found is not None
    assert (found.node_id, found.version_id) == ("hook", version_id)


async def test_a_webhook_is_armed_while_its_workflow_is_active(
    store: Store, ids: Ids, user_id: str
) -> None:
    workflow_id = await builders.workflow(store, ids, user_id)
    await publish(store, ids, user_id, workflow_id, webhook(), active=False)
    own: dict[str, Any] = {"user_id": user_id, "workflow_id": workflow_id}
    draft: dict[str, Any] = {"document": document(), "problems": (), "expected_revision": None}

    async def is_armed() -> bool:
        return await webhooks.find(store, "orders") is not None

    assert not await is_armed()
    await workflows.set_active(store, **own, active=True, triggers=(), received=(webhook(),))
    assert await is_armed()
    await workflows.update(store, **own, **draft, active=None)
    assert await is_armed()
    await workflows.update(store, **own, **draft, active=False)
    assert not await is_armed()
    await workflows.update(store, **own, **draft, active=True, received=(webhook(),))
    assert await is_armed()
    await workflows.set_active(store, **own, active=False, triggers=())
    assert not await is_armed()
    await publish(store, ids, user_id, workflow_id, webhook(), active=True)
    assert await is_armed()
    await workflows.delete(store, **own)
    assert not await is_armed()


async def test_a_path_of_another_user_is_taken_and_nothing_of_the_change_happens(
    store: Store, ids: Ids, user_id: str
) -> None:
    first = await builders.workflow(store, ids, user_id)
    await publish(store, ids, user_id, first, webhook())
    eve = (await users.ensure(store, ids.new(), "eve@example.org", "Eve")).id
    second = await builders.workflow(store, ids, eve)
    before = await workflows.get(store, eve, second)

    with pytest.raises(WebhookPathTaken) as caught:
        await publish(store, ids, eve, second, webhook("a"), webhook("orders", node_id="b"))

    assert caught.value.path == "orders"
    assert await workflows.get(store, eve, second) == before
    assert await webhooks.find(store, "a") is None
    await publish(store, ids, eve, second, webhook(), active=False)
    with pytest.raises(WebhookPathTaken):
        await workflows.set_active(
            store, user_id=eve, workflow_id=second, active=True, triggers=(), received=(webhook(),)
        )
    await workflows.set_active(store, user_id=user_id, workflow_id=first, active=False, triggers=())
    await workflows.set_active(
        store, user_id=eve, workflow_id=second, active=True, triggers=(), received=(webhook(),)
    )
    found = await webhooks.find(store, "orders")
    assert found is not None
    assert found.user_id == eve


async def test_of_workflows_that_race_for_paths_one_gets_them(
    store: Store, ids: Ids, user_id: str
) -> None:
    racing = [await builders.workflow(store, ids, user_id) for _ in range(4)]

    async def race(number: int, workflow_id: str) -> str | None:
        wanted = [webhook("a", node_id="a"), webhook("b", node_id="b")]
        if number % 2:
            wanted.reverse()
        try:
            return await publish(store, ids, user_id, workflow_id, *wanted)
        except WebhookPathTaken:
            return None

    published = await asyncio.gather(*(race(n, each) for n, each in enumerate(racing)))

    (winner,) = [each for each in published if each]
    for path in ("a", "b"):
        found = await webhooks.find(store, path)
        assert found is not None
        assert found.version_id == winner


async def test_a_workflow_that_an_older_release_disarmed_receives_nothing(
    store: Store, ids: Ids, user_id: str, direct: Connection
) -> None:
    workflow_id = await builders.workflow(store, ids, user_id)
    await publish(store, ids, user_id, workflow_id, webhook())

    await direct.execute("update workflows set active = false")

    assert await webhooks.find(store, "orders") is None


async def test_the_table_keeps_paths_apart_and_its_rows_to_their_users(
    store: Store, ids: Ids, user_id: str, direct: Connection
) -> None:
    workflow_id = await builders.workflow(store, ids, user_id)
    await publish(store, ids, user_id, workflow_id, webhook())
    copy = (
        "insert into webhooks (user_id, workflow_id, version_id, node_id, path, methods, auth_mode, header, "
        "response_mode, response_timeout_s) select user_id, workflow_id, version_id, {}, {}, methods, auth_mode, "
        "header, response_mode, response_timeout_s from webhooks"
    )

    with pytest.raises(asyncpg.UniqueViolationError, match="webhooks_path_key"):
        await direct.execute(copy.format("'other'", "path"))
    with pytest.raises(asyncpg.UniqueViolationError, match="webhooks_workflow_id_node_id_key"):
        await direct.execute(copy.format("node_id", "'other'"))
    before = await direct.fetchval("select updated_at from webhooks")
    await direct.execute("update webhooks set header = 'X-Other'")
    assert await direct.fetchval("select updated_at from webhooks") > before
    is_guarded = "select relrowsecurity from pg_class where relname = 'webhooks'"
    assert await direct.fetchval(is_guarded)
