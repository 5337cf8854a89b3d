"""Dead letters are kept, whatever is in them."""

import asyncio

import msgspec
import pytest

from db import dead_letters
from db.dead_letters import DeadLetter, DeadLetterFilters
from scheduler.dead_letters import Letters
from tests.support.installation import Installation, new_id

pytestmark = pytest.mark.component


def letter(**fields: object) -> DeadLetter:
    """Return a letter with only what a test is about."""
    plain = DeadLetter(
        id=new_id(),
        user_id=None,
        source="TASK",
        reason="UNREADABLE",
        subject="flotilla.task.x",
        body=b"as it came",
    )
    return msgspec.structs.replace(plain, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"user_id": new_id()}, id="its user is gone"),
        pytest.param({"error": "a NUL: \0"}, id="a text is no text to the store"),
        pytest.param({"headers": {"x": "\0"}}, id="neither is a header"),
        pytest.param({"execution_id": "nonsense"}, id="its execution is none"),
    ],
)
async def test_a_letter_that_cannot_be_stored_as_it_is_is_stored_bare_and_holds_up_no_other(
    installation: Installation, fields: dict[str, object]
) -> None:
    letters = Letters(installation.store)
    odd, plain = letter(**fields), letter()

    async with asyncio.timeout(20):
        await letters.store(odd)
        await letters.store(plain)

    page, _ = await dead_letters.page(installation.store, None, DeadLetterFilters(), 10, None)
    assert {each.id for each in page} >= {odd.id, plain.id}
    assert all(each.body == b"as it came" for each in page if each.id == odd.id)
