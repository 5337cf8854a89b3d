"""What starting an execution needs to know of its workflow, for many requests in one statement.

It is read for every start, because somebody may have published a moment ago, at another gateway; drafts are not.
"""

from collections.abc import Sequence
from typing import Final

import db.workflows
from contracts.ids import is_uuid
from db.errors import StoreUnavailable
from db.store import Store
from db.workflows import WorkflowHead
from gateway.batches import Batches
from gateway.problems import not_found

MAX_BATCH: Final = 200

Key = tuple[str, str]
"""A user's id, and a workflow's."""


class WorkflowHeads:
    """Reads workflows without their drafts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._batches: Batches[Key, WorkflowHead | None] = Batches(
            "read-workflows", self._read, limit=MAX_BATCH, shared=(StoreUnavailable,)
        )

    async def read(self, user_id: str, workflow_id: str) -> WorkflowHead:
        """Return a user's workflow. Raises Refused for unknown, foreign and malformed ids alike."""
        found = await self._batches.add((user_id, workflow_id)) if is_uuid(workflow_id) else None
        if found is None:
            raise not_found()
        return found

    async def stop(self) -> None:
        """Wait for what is under way."""
        await self._batches.aclose()

    async def _read(self, keys: Sequence[Key]) -> Sequence[WorkflowHead | None]:
        found = await db.workflows.heads(self._store, sorted(set(keys)))
        return [found.get(key) for key in keys]
