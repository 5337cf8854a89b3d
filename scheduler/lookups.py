"""What a decision may start, looked up before it is made: the core reads nothing."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec
import structlog
from msgspec import UNSET

from contracts.failures import Failure
from contracts.messages import encode
from contracts.payloads import PayloadError
from scheduler.core.decision import Reported, Target
from scheduler.entries import Entry
from scheduler.executions import Live
from scheduler.targets import CALLED, ON_FAILURE, Targets
from scheduler.values import LargeValues

log: Final = structlog.get_logger()


class Lookups:
    """Finds the version of a child's workflow, that of the failure workflow, and the items of a loop that are stored apart."""

    def __init__(self, targets: Targets, values: LargeValues, now: Callable[[], datetime]) -> None:
        self._targets = targets
        self._values = values
        self._now = now

    def wants(self, entry: Entry, live: Live) -> bool:
        """Whether there is anything to look up: for most inputs there is not."""
        given = entry.given
        is_plain = isinstance(given, Reported) and given.result.ports is not None
        return not is_plain or live.plan.failure_workflow is not None

    async def complete(self, entry: Entry, live: Live) -> None:
        """Give an input, and its execution, what a decision on it may start."""
        given = entry.given
        if isinstance(given, Reported):
            entry.given = given = await self._looked_up(given, live)
        if live.plan.failure_workflow is not None:
            created = live.state.created
            told = msgspec.Raw(
                encode({"execution_id": live.state.id, "workflow_id": created.workflow_id})
            )
            found = await self._find(live, live.plan.failure_workflow, told, ON_FAILURE)
            if isinstance(found, Failure):
                log.warning(
                    "failure_workflow_missing", execution_id=live.state.id, reason=found.message
                )
            live.failure_target = found if isinstance(found, Target) else None

    async def _looked_up(self, given: Reported, live: Live) -> Reported:
        """Return a report with what the core needs to follow it: a child's version, the items of a loop."""
        result, user_id = given.result, live.state.created.user_id
        try:
            if result.loop is not None and result.loop.items is not UNSET:
                items = await self._values.unwrapped(user_id, result.loop.items)
                loop = msgspec.structs.replace(result.loop, items=items)
                return msgspec.structs.replace(
                    given, result=msgspec.structs.replace(result, loop=loop)
                )
            order = None if result.wait is None else result.wait.child
            if order is not None and given.child is None:
                value = await self._values.unwrapped(user_id, order.input)
                child = await self._find(live, order.workflow, value, CALLED)
                return msgspec.structs.replace(given, child=child)
        except PayloadError as error:
            failure = error.failure(result.node_id)
            failed = msgspec.structs.replace(result, wait=None, loop=None, failure=failure)
            return msgspec.structs.replace(given, result=failed)
        return given

    async def _find(
        self, live: Live, named: str, value: msgspec.Raw, where: str
    ) -> Target | Failure:
        user_id = live.state.created.user_id
        return await self._targets.find(
            named, of=live.plan, user_id=user_id, value=value, at=self._now(), where=where
        )
