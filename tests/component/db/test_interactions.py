"""Questions to people: listed newest first, each to its own user, and answers that are noted one after the other."""

from datetime import timedelta
from typing import Any

import pytest

from db import interactions, users
from db.interactions import InteractionFilters
from db.store import Store
from tests.component.db.builders import START, Ids
from tests.support.questions import ask

pytestmark = pytest.mark.component


async def test_a_question_has_all_that_is_asked(store: Store, ids: Ids, user_id: str) -> None:
    question = await ask(
        store,
        user_id,
        iteration=[4, 17],
        fields={"type": "object", "properties": {"z": {}, "a": {}}},
        value='"\\u0000"',
        approvers=["ada@example.org"],
        due_at=START,
    )

    row = await interactions.get(store, user_id, question)

    assert row is not None
    assert row.iteration == (4, 17)
    assert row.fields == b'{"type":"object","properties":{"z":{},"a":{}}}'
    assert row.value == b'"\\u0000"'
    assert row.choices is None
    assert row.approvers == ("ada@example.org",)
    assert row.is_pending
    assert row.answers_read == ()
    assert row.due_at == START
    assert (row.reminders, row.reminded_at, row.escalated_at) == (0, None, None)
    assert row.closed_at is None


async def test_questions_are_listed_by_filters(store: Store, ids: Ids, user_id: str) -> None:
    execution_id = ids.new()
    first = await ask(store, user_id, status="ANSWERED", due_at=START)
    second = await ask(store, user_id, execution_id=execution_id, due_at=START + timedelta(hours=1))
    third = await ask(store, user_id)
    other = (await users.ensure(store, ids.new(), "eve@example.org", "Eve")).id
    foreign = await ask(store, other)

    async def found(limit: int = 10, after: str | None = None, **filters: Any) -> list[str]:
        rows, _ = await interactions.page(
            store, user_id, InteractionFilters(**filters), limit, after
        )
        return [row.id for row in rows]

    assert await found() == [third, second, first]
    assert await found(limit=1, after=third) == [second]
    assert await found(status=("ANSWERED",)) == [first]
    assert await found(status=("ANSWERED", "PENDING")) == [third, second, first]
    assert await found(execution_id=(execution_id,)) == [second]
    assert await found(due_before=START + timedelta(minutes=1)) == [first]
    assert await interactions.get(store, user_id, foreign) is None


@pytest.mark.parametrize("named", ["ada@example.org", "ADA@Example.org"])
async def test_who_is_named_finds_the_questions_of_others(
    store: Store, ids: Ids, user_id: str, named: str
) -> None:
    ada = (await users.ensure(store, ids.new(), "Ada@example.org", "Ada")).id
    own = await ask(store, ada)
    by_address = await ask(store, user_id, approvers=["bob@example.org", named])
    by_id = await ask(store, user_id, approvers=[ada.upper()])
    of_bob = await ask(store, user_id, approvers=["bob@example.org"])
    names = await interactions.names(store, ada)

    async def found(limit: int, after: str | None = None) -> list[str]:
        filters = InteractionFilters(status=("PENDING",))
        rows, _ = await interactions.page(store, ada, filters, limit, after, names)
        return [row.id for row in rows]

    assert names == (ada, "ada@example.org")
    assert await found(10) == [by_id, by_address, own]
    assert await found(1, by_id) == [by_address]
    assert await interactions.get(store, ada, by_address, names) is not None
    assert await interactions.get(store, ada, of_bob, names) is None
    assert await interactions.get(store, ada, by_address) is None


async def test_somebody_unknown_is_named_by_his_id_alone(store: Store, ids: Ids) -> None:
    nobody = ids.new()

    assert await interactions.names(store, nobody) == (nobody,)
