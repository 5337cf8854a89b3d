"""Event triggers: which messages on `flotilla.trigger.>` start which workflows.

Every published version has the rows of its triggers; they are armed while the workflow is active. So to activate and to
deactivate changes one column, and cannot disagree with what is published.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from db import queries
from db.store import Session, Store

_SQL: Final = queries.load("triggers")


class EventTrigger(msgspec.Struct, frozen=True):
    """A TRIGGER.EVENT of a document: the pattern of its subject, and an expression that has to hold."""

    node_id: str
    subject: str
    filter: str | None = None


class ArmedTrigger(msgspec.Struct, frozen=True):
    """An event trigger that starts the version `version_id` when a message fits."""

    workflow_id: str
    node_id: str
    user_id: str
    version_id: str
    subject: str
    filter: str | None


async def armed(store: Store, user_ids: Sequence[str]) -> tuple[ArmedTrigger, ...]:
    """Return the armed triggers of these users, oldest workflow first."""
    rows = await store.fetch(_SQL["armed_triggers"], user_ids)
    return tuple(
        ArmedTrigger(
            str(row["workflow_id"]),
            row["node_id"],
            str(row["user_id"]),
            str(row["version_id"]),
            row["subject"],
            row["filter"],
        )
        for row in rows
    )


async def replace(
    session: Session,
    user_id: str,
    workflow_id: str,
    version_id: str | None,
    wanted: Sequence[EventTrigger],
) -> None:
    """Make these the triggers of a workflow, in the transaction that publishes or deletes it; none if never published."""
    await session.execute(_SQL["delete_triggers"], workflow_id)
    if version_id is None or not wanted:
        return
    await session.execute(
        _SQL["insert_triggers"],
        workflow_id,
        user_id,
        version_id,
        [trigger.node_id for trigger in wanted],
        [trigger.subject for trigger in wanted],
        [trigger.filter for trigger in wanted],
    )
