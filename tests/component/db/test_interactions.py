"""Questions to people: listed newest first, each to its own user, and answers that are noted one after the other."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from contracts.interactions import Answer, Responder
from db import interactions, users
from db.interactions import InteractionFilters
from db.store import Store
from tests.component.db.builders import START, Ids
from tests.support.questions import ask

pytestmark = pytest.mark.component


def said(who: str) -> Answer:
    """Return an approval."""
    return Answer(
        port="approved",
        approved=True,
        responder=Responder(id=who, channel="API"),
        responded_at=START,
    )


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


async def test_who_answers_at_once_answers_one_after_the_other(
    store: Store, ids: Ids, user_id: str
) -> None:
    question = await ask(store, user_id)

    async def answer(who: str) -> None:
        async with store.transaction() as session:
            row = await interactions.lock(session, user_id, question)
            assert row is not None
            await interactions.note_answers(session, question, (*row.answers_read, said(who)))

    await asyncio.gather(answer("ada"), answer("bob"), answer("eve"))

    row = await interactions.get(store, user_id, question)
    assert row is not None
    assert {each.responder.id for each in row.answers_read} == {"ada", "bob", "eve"}
    assert row.answers_read[0] == said(row.answers_read[0].responder.id or "")


async def test_nobody_locks_the_question_of_another_user(
    store: Store, ids: Ids, user_id: str
) -> None:
    question = await ask(store, user_id)

    async with store.transaction() as session:
        assert await interactions.lock(session, ids.new(), question) is None
