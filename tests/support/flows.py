"""Whole workflows of real node types in one process: the core decides, a worker's attempts answer, nothing is sent."""

from typing import Any, Final

import msgspec

from contracts.execution.plan import VersionFacts, compile_plan
from contracts.failures import Failure
from contracts.messages import encode
from contracts.specs import Catalogue
from contracts.validation import examine
from nodes.catalogue import builtin_handlers, builtin_specs
from scheduler.core.decision import Reported, Target
from tests.support.assembling import task_of
from tests.support.engine import CHILD, Engine
from tests.support.tasks import services
from workers.attempt import Attempts

CATALOGUE: Final = Catalogue(builtin_specs())
_FACTS: Final = VersionFacts(version_id="version", workflow_id="workflow", version=1)


class Flow:
    """One execution of a document, as users send it. Children are those of the engine."""

    def __init__(self, document: dict[str, Any], *, input: Any = None) -> None:
        reading = examine(document, CATALOGUE)
        assert reading.problems == ()
        assert reading.document is not None
        self.engine = Engine(compile_plan(reading.document, _FACTS, CATALOGUE), input=input)
        self._attempts = Attempts(
            builtin_handlers(), services(), worker_id="worker", value_bytes=1_000_000
        )
        self._done = 0
        self.engine.start()

    async def run(self) -> "Flow":
        """Carry tasks out until none is outstanding: the execution is over, or it waits."""
        while self._done < len(self.engine.tasks):
            key, attempt = self.engine.tasks[self._done]
            self._done += 1
            if (
                self.engine.state.runs[key].attempt != attempt
                or not self.engine.state.runs[key].has_task
            ):
                continue
            task = task_of(self.engine.plan, self.engine.state, key)
            prepared = self._attempts.read(encode(task))
            result = await self._attempts.run(prepared, lambda message, percent: None, _keep)
            child: Target | None = None
            if result.wait is not None and result.wait.child is not None:
                child = CHILD
            self.engine.feed(Reported(result, child))
        return self

    async def fire(self, kind: str) -> "Flow":
        """Let the one timer of a kind come due, and carry out what follows."""
        (key,) = (timer.key for timer in self.engine.timers.values() if timer.kind == kind)
        self.engine.fire(key)
        return await self.run()

    async def signal(self, name: str, data: Any = None) -> "Flow":
        """Send a signal, and carry out what follows."""
        self.engine.signal(name, data)
        return await self.run()

    @property
    def failure(self) -> Failure:
        """How the execution failed."""
        assert self.engine.state.failure is not None
        return self.engine.state.failure


async def _keep(key: str, value: msgspec.Raw) -> Failure | None:
    return None
