"""Parents and children: a child's end is told to its parent, and a parent's end to the children it waited for.

Both are said once after the commit that decided them. What a crash left unsaid is found in the table of executions: a child
says there whether somebody still waits for it.
"""

from collections.abc import Collection, Iterable
from typing import Final

import msgspec
import structlog

from bus.publisher import Outgoing
from contracts import subjects
from contracts.execution import values
from contracts.execution.state import ExecutionState
from contracts.failures import Failure
from contracts.history import By, ExecutionCreated, ExecutionSucceeded, MaybeRaw, Parent
from contracts.messages import CancelExecution, EndChild, encode, start_of
from contracts.statuses import ExecutionStatus
from db import families
from db.families import End
from db.store import Store
from scheduler.core.decision import CancelAsked, NewChild
from scheduler.entries import Entry
from scheduler.inbox import child_ended
from scheduler.intake import Intake

log: Final = structlog.get_logger()

PAGE: Final = 500
UNHEARD_S: Final = 5.0
"""After that long nobody is about to tell the parent any more."""

_decode_created: Final = msgspec.json.Decoder(ExecutionCreated).decode
_decode_succeeded: Final = msgspec.json.Decoder(ExecutionSucceeded).decode
_decode_failure: Final = msgspec.json.Decoder(Failure).decode
_decode_leaves: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

ABANDONED: Final = By("SYSTEM")
ABANDONED_REASON: Final = "the execution that waited for it is over"


def news_for_parent(state: ExecutionState) -> Outgoing | None:
    """Return what an execution that is over tells the parent that waits for it, if one does."""
    parent = state.created.parent
    if parent is None or parent.is_detached or not state.is_terminal:
        return None
    output: MaybeRaw = msgspec.UNSET if state.output is None else one_value(state.output)
    command = _end_of(parent, state.id, state.status, output, state.failure)
    return Outgoing(subjects.command("child", parent.execution_id), encode(command))


def start_of_child(child: NewChild) -> Outgoing:
    """Return the message that has a child started which a commit created."""
    return Outgoing(
        subjects.command("start", child.id), start_of(child.id, child.created, child.at)
    )


def end_of_orphan(execution_id: str) -> Outgoing:
    """Return the message that ends a child which nobody waits for any more."""
    command = CancelExecution(execution_id=execution_id, by=ABANDONED, reason=ABANDONED_REASON)
    return Outgoing(subjects.command("cancel", execution_id), encode(command))


def one_value(output: msgspec.Raw) -> msgspec.Raw:
    """Return what a child gives to its parent: the value of the only leaf, else the map of them."""
    return values.only_value(_decode_leaves(output))


class Families:
    """Finds ends that nobody was told of."""

    def __init__(self, store: Store, intake: Intake) -> None:
        self._store = store
        self._intake = intake

    async def sweep(self, partitions: Collection[int]) -> None:
        """Hand unheard ends of these partitions to the loop. Raises StoreError."""
        owned = sorted(partitions)
        ended = await families.ended_children(self._store, owned, UNHEARD_S, PAGE)
        for entry in _entries(await families.ends_of(self._store, ended)):
            self._intake.put(entry)
        for execution_id in await families.orphans(self._store, owned, PAGE):
            given = CancelAsked(ABANDONED, ABANDONED_REASON)
            self._intake.put(Entry(execution_id=execution_id, given=given))


def _entries(ends: Iterable[End]) -> Iterable[Entry]:
    for end in ends:
        parent = _decode_created(end.created).parent
        if parent is None:
            continue
        status = ExecutionStatus(end.status)
        output: MaybeRaw = msgspec.UNSET
        if status is ExecutionStatus.SUCCESS:
            output = one_value(_decode_succeeded(end.ended).output)
        failure = None if end.failure is None else _decode_failure(end.failure)
        command = _end_of(parent, end.execution_id, status, output, failure)
        yield Entry(execution_id=parent.execution_id, given=child_ended(command))


def _end_of(
    parent: Parent,
    child_id: str,
    status: ExecutionStatus,
    output: MaybeRaw,
    failure: Failure | None,
) -> EndChild:
    return EndChild(
        execution_id=parent.execution_id,
        node_id=parent.node_id,
        iteration=parent.iteration,
        child_execution_id=child_id,
        status=status,
        output=output,
        failure=failure,
    )
