"""What a child or a failure workflow is started of: a name becomes a workflow version.

A child takes the published version; the child of a draft's execution takes the draft while nothing is published.
"""

import os
from datetime import datetime
from typing import Final

import msgspec

from contracts.execution.plan import Plan
from contracts.expressions.regex import Regex
from contracts.failures import Failure, FailureKind
from contracts.ids import uuid7
from contracts.model import decode_document
from contracts.slots import slot_or_failure
from db import families, workflows
from db.errors import NotFound
from db.store import Store
from scheduler.core.decision import Target
from scheduler.executions import Plans

CALLED: Final = "parameter workflow_id"
ON_FAILURE: Final = "settings.failure_workflow"


class Targets:
    """Finds the version that an execution starts another workflow of."""

    def __init__(self, store: Store, plans: Plans, regex: Regex) -> None:
        self._store = store
        self._plans = plans
        self._regex = regex

    async def find(
        self, named: str, *, of: Plan, user_id: str, value: msgspec.Raw, at: datetime, where: str
    ) -> Target | Failure:
        """Return what to start, or why there is nothing. Raises StoreError."""
        found = await families.find(self._store, user_id, named)
        exact = [each for each in found if each.id == named] or list(found)
        if len(exact) != 1:
            return _not_found(named, where, len(exact))
        version_id = exact[0].published_version_id
        if version_id is None and of.version is None:
            version_id = await self._draft(user_id, exact[0].id, at)
        plan = await self._plans.load(version_id) if version_id is not None else None
        if plan is None:
            return _not_published(exact[0].name, where)
        settings = plan.document.settings
        slot = slot_or_failure(settings, value, self._regex)
        if isinstance(slot, Failure) and where == CALLED:
            return slot
        return Target(
            workflow_id=plan.workflow_id,
            version_id=plan.version_id,
            priority=settings.priority,
            slot=None if isinstance(slot, Failure) else slot,
            cannot_start=slot if isinstance(slot, Failure) else None,
        )

    async def _draft(self, user_id: str, workflow_id: str, at: datetime) -> str | None:
        """Keep the draft as a version of its own, as for any execution of one."""
        row = await workflows.get(self._store, user_id, workflow_id)
        if row is None or row.draft is None or row.problems:
            return None
        try:
            return await workflows.snapshot(
                self._store,
                user_id=user_id,
                workflow_id=workflow_id,
                version_id=uuid7(at, os.urandom(10)),
                document=decode_document(row.draft),
            )
        except NotFound:
            return None


def _not_found(named: str, where: str, count: int) -> Failure:
    if count:
        message = f"{where}: {count} workflows or more are named {named!r:.200}; give the id of one"
    else:
        message = f"{where}: there is no workflow with the id or name {named!r:.200}"
    return Failure(
        FailureKind.INVALID_INPUT, "unknown_workflow", message, {"workflow": named[:200]}
    )


def _not_published(name: str, where: str) -> Failure:
    message = f"{where}: workflow {name!r:.200} has no published version; publish it"
    return Failure(FailureKind.INVALID_INPUT, "not_published", message, {"workflow": name[:200]})
