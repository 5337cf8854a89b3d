"""The tasks that follow from a commit, as messages: with tokens, and with large values apart."""

from collections.abc import Callable, Iterable

import msgspec

from bus.publisher import Outgoing
from bus.wire import Sendable
from contracts import subjects
from contracts.execution.state import ExecutionState
from contracts.failures import Failure, FailureKind
from contracts.ids import RunKey
from contracts.messages import Task, encode
from scheduler.answers import answer
from scheduler.core import tasks
from scheduler.core.decision import AttemptLost
from scheduler.entries import Entry
from scheduler.executions import Live
from scheduler.intake import Intake
from scheduler.pending import Pending
from scheduler.tokens import Tokens
from scheduler.values import LargeValues


class Dispatch:
    """Makes the messages of tasks; an attempt whose task is too large for any fails through the intake."""

    def __init__(
        self,
        *,
        intake: Intake,
        tokens: Tokens,
        values: LargeValues,
        max_payload: Callable[[], int],
        in_segments: bool,
    ) -> None:
        self._intake = intake
        self._tokens = tokens
        self._values = values
        self._max_payload = max_payload
        self._in_segments = in_segments
        self._heavy: list[tuple[Live, RunKey, Task, int]] = []

    @property
    def has_heavy(self) -> bool:
        """Whether tasks are left to `lightened`."""
        return bool(self._heavy)

    def message(self, live: Live, key: RunKey) -> Outgoing | None:
        """Return the message of a node run's task; one with too much in it is left to `lightened`."""
        task = self._build(live, key)
        data = encode(task)
        if self._values.is_heavy(data):
            self._heavy.append((live, key, task, len(data)))
            return None
        return Outgoing(subjects.task(tasks.address(live.plan, live.state, key)), data)

    def _build(self, live: Live, key: RunKey) -> Task:
        head = tasks.head_of(live.state, key)
        return tasks.build(
            live.plan,
            live.state,
            key,
            execution=live.task_execution,
            token=self._tokens.make(live.state.id, (head.node_id, key[1]), head.attempt),
            in_segments=self._in_segments,
        )

    async def lightened(self) -> list[Outgoing]:
        """Return tasks with large values apart, or let attempts fail whose tasks are still too large."""
        heavy, self._heavy = self._heavy, []
        outgoing = []
        for live, key, task, size in heavy:
            user_id = live.state.created.user_id
            data = encode(await self._values.lightened(user_id, task, size=size))
            if len(data) > self._max_payload():
                self._intake.put(too_large(live.state, key, len(data), self._max_payload()))
            else:
                subject = subjects.task(tasks.address(live.plan, live.state, key))
                outgoing.append(Outgoing(subject, data))
        return outgoing

    async def returned(self, winners: Iterable[Pending]) -> list[Sendable]:
        """Return the answers to workers that were given a segment again: the task that is outstanding there now."""
        answers: list[Sendable] = []
        for pending in winners:
            state = pending.live.state
            for entry, decision in pending.entries:
                if entry.reply_to is None or decision.returned is None:
                    continue
                if not state.runs[decision.returned].has_task:
                    continue  # a later input ended it: the worker asks again
                task = self._build(pending.live, decision.returned)
                data = encode(task)
                if self._values.is_heavy(data):
                    user_id = state.created.user_id
                    data = encode(await self._values.lightened(user_id, task, size=len(data)))
                said = answer(state, entry, decision)
                said = msgspec.structs.replace(said, task=msgspec.Raw(data))
                answers.append((entry.reply_to, encode(said), None, ""))
        return answers


def too_large(state: ExecutionState, key: RunKey, size: int, limit: int) -> Entry:
    """Return the entry that fails an attempt whose task does not fit into a message."""
    message = (
        f"the task of node {key[0]!r} has {size} bytes, the limit of one message is {limit}; "
        "pass on less, or name only the fields that are needed"
    )
    failure = Failure(
        FailureKind.PAYLOAD_TOO_LARGE, "input_too_large", message, {"size": size, "limit": limit}
    )
    lost = AttemptLost(key[0], key[1], state.runs[key].attempt, failure)
    return Entry(execution_id=state.id, given=lost)
