"""Questions to people as the scheduler's commits leave them in the store."""

import os
from datetime import UTC, datetime
from typing import Any

import msgspec

from contracts.ids import uuid7
from db.store import Store

_JSON = ("fields", "choices", "value", "answers")


async def ask(store: Store, user_id: str, execution_id: str | None = None, **fields: Any) -> str:
    """Store an open question, an approval unless fields say otherwise, and return its id."""
    row: dict[str, Any] = {
        "id": _id(),
        "user_id": user_id,
        "execution_id": execution_id or _id(),
        "workflow_id": _id(),
        "node_id": "review",
        "kind": "approval",
        **fields,
    }
    for name in _JSON:
        if name in row and not isinstance(row[name], str):
            row[name] = msgspec.json.encode(row[name]).decode()
    names = ", ".join(row)
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    text = f"insert into interactions ({names}) values ({places})"  # noqa: S608  # names are ours
    await store.execute(text, *row.values())
    return str(row["id"])


def _id() -> str:
    return uuid7(datetime.now(UTC), os.urandom(10))
