"""Parents and children: what an execution may start, and which ends nobody has heard of."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from contracts.ids import is_uuid
from db import queries
from db.store import Store

_SQL: Final = queries.load("families")


class FoundWorkflow(NamedTuple):
    """A workflow that somebody named; without a published version it can only run as a draft."""

    id: str
    name: str
    published_version_id: str | None


class End(NamedTuple):
    """How an execution ended: data of its first and its last event, and its failure, as JSON."""

    execution_id: str
    status: str
    created: bytes
    ended: bytes
    failure: bytes | None


async def find(store: Store, user_id: str, named: str) -> tuple[FoundWorkflow, ...]:
    """Return the user's workflow of that id, or those of that name: more than one is ambiguous."""
    workflow_id = named if is_uuid(named) else None
    rows = await store.fetch(_SQL["find_target"], user_id, workflow_id, named)
    return tuple(
        FoundWorkflow(str(row["id"]), row["name"], _text(row["published_version_id"]))
        for row in rows
    )


async def ended_children(
    store: Store, partitions: Sequence[int], silent_for_seconds: float, limit: int
) -> tuple[str, ...]:
    """Return children that ended that long ago and whose parents, of the partitions, still wait."""
    rows = await store.fetch(_SQL["ended_children"], partitions, silent_for_seconds, limit)
    return tuple(str(row["id"]) for row in rows)


async def orphans(store: Store, partitions: Sequence[int], limit: int) -> tuple[str, ...]:
    """Return children of the partitions that go on though the parent that waited for them gave them up."""
    rows = await store.fetch(_SQL["orphans"], partitions, limit)
    return tuple(str(row["id"]) for row in rows)


async def ends_of(store: Store, execution_ids: Sequence[str]) -> tuple[End, ...]:
    """Return how those of the executions ended that are over."""
    if not execution_ids:
        return ()
    rows = await store.fetch(_SQL["ends_of"], execution_ids)
    return tuple(
        End(
            str(row["id"]),
            row["status"],
            row["created"].encode(),
            row["ended"].encode(),
            None if row["failure"] is None else row["failure"].encode(),
        )
        for row in rows
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
