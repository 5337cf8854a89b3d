"""One look at some executions: rows and histories in one snapshot, folded one after the other and let go again."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from contracts.execution import fold
from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState
from contracts.ids import RunKey
from contracts.payloads import references_in
from db import verification
from db.executions import HistoryRow
from db.store import Session
from db.verification import VerifiedRow
from scheduler.core import soundness
from scheduler.core.soundness import ChildRow, Sought, Stored, Suspicion
from scheduler.executions import Plans, event_of

EVENTS_AT_ONCE: Final = 2_000
"""Events that are in memory at a time; of an execution with more, its state and one page of them."""


class Looked(NamedTuple):
    """What a look at one execution gave: suspicions, and tasks that are still to be looked for in NATS."""

    row: VerifiedRow
    suspicions: list[Suspicion]
    sought: dict[RunKey, Sought]


class _Facts(NamedTuple):
    timers: dict[str, dict[str, float]]
    questions: dict[str, frozenset[str]]


class Look:
    """Looks at executions within one snapshot of the database."""

    def __init__(self, session: Session, plans: Plans) -> None:
        self._session = session
        self._plans = plans

    async def at(self, rows: Sequence[VerifiedRow]) -> AsyncIterator[Looked]:
        """Yield what is to be said of each execution, in order."""
        ids = [row.id for row in rows]
        facts = _Facts(
            await verification.timers(self._session, ids),
            await verification.open_interactions(self._session, ids),
        )
        for group in _groups(rows):
            after = {row.id: 0 for row in group}
            histories = await verification.histories(self._session, after, EVENTS_AT_ONCE)
            missing = await self._missing_payloads(group, histories)
            for row in group:
                looked = await self._one(row, histories.pop(row.id), facts)
                looked.suspicions.extend(missing.get(row.id, ()))
                yield looked

    async def _one(self, row: VerifiedRow, events: list[HistoryRow], facts: _Facts) -> Looked:
        looked = Looked(row, [], {})
        plan = await self._plans.load(row.version_id)
        if plan is None:
            message = f"its version {row.version_id} is missing"
            looked.suspicions.append(Suspicion("history", message))
            return looked
        state = await self._folded(plan, row, events, looked)
        if state is not None:
            stored = await self._stored(row, state, facts)
            looked.suspicions.extend(soundness.row_problems(state, stored))
            if soundness.is_over(row.status):
                looked.suspicions.extend(soundness.leftovers(stored))
            elif not state.is_terminal:
                looked.suspicions.extend(soundness.unmoved(plan, state, stored))
                looked.sought.update(soundness.sought(plan, state))
        return looked

    async def _folded(
        self, plan: Plan, row: VerifiedRow, events: list[HistoryRow], looked: Looked
    ) -> ExecutionState | None:
        """Fold a whole history, the rest of a long one page by page; None if that cannot be done."""
        state: ExecutionState | None = None
        while True:
            seq = 0 if state is None else state.seq
            gap = soundness.gap([event.seq for event in events], seq)
            if gap is None and not events and state is None:
                gap = Suspicion("history", "it has no history")
            if gap is not None:
                looked.suspicions.append(gap)
                return None
            try:
                state = _go_on(plan, row.id, state, events)
            except Exception as error:  # noqa: BLE001 - whatever a broken history does to the fold is what we look for
                problem = f"history cannot be replayed: {type(error).__name__}: {error}"
                looked.suspicions.append(Suspicion("history", problem))
                return None
            if len(events) < EVENTS_AT_ONCE:
                return state
            after = {row.id: state.seq}
            events = (await verification.histories(self._session, after, EVENTS_AT_ONCE))[row.id]

    async def _stored(self, row: VerifiedRow, state: ExecutionState, facts: _Facts) -> Stored:
        children = soundness.children_waited_for(state)
        rows = await verification.by_ids(self._session, list(children)) if children else ()
        return Stored(
            version=row.version,
            status=row.status,
            paused=row.paused,
            started_at=row.started_at,
            finished_at=row.finished_at,
            failure=row.failure,
            silent_s=row.silent_s,
            waits_for_slot=row.concurrency_key is not None and not row.has_slot,
            timers=facts.timers[row.id],
            questions=facts.questions[row.id],
            children={
                child.id: ChildRow(child.status, child.parent_waits, child.silent_s)
                for child in rows
            },
        )

    async def _missing_payloads(
        self, group: Sequence[VerifiedRow], histories: dict[str, list[HistoryRow]]
    ) -> dict[str, list[Suspicion]]:
        """Return suspicions of executions whose history refers to values that are not there."""
        wanted = {
            row.id: {
                (row.user_id, reference.digest)
                for event in histories[row.id]
                for reference in references_in(event.data)
            }
            for row in group
        }
        values = sorted(set[tuple[str, bytes]]().union(*wanted.values()))
        missing = await verification.missing_payloads(self._session, values)
        return {
            execution_id: [
                Suspicion("payload", f"history refers to value {digest.hex()}, which is not stored")
                for user_id, digest in sorted(values_of & missing)
            ]
            for execution_id, values_of in wanted.items()
            if values_of & missing
        }


def _go_on(
    plan: Plan, execution_id: str, state: ExecutionState | None, rows: Iterable[HistoryRow]
) -> ExecutionState:
    events = map(event_of, rows)
    if state is None:
        return fold.replay(plan, execution_id, events)
    for event in events:
        fold.apply(plan, state, event)
    return state


def _groups(rows: Sequence[VerifiedRow]) -> Iterator[list[VerifiedRow]]:
    """Yield executions whose histories fit into memory together; one that is too long stands alone."""
    group: list[VerifiedRow] = []
    events = 0
    for row in rows:
        if group and events + row.version > EVENTS_AT_ONCE:
            yield group
            group, events = [], 0
        group.append(row)
        events += row.version
    if group:
        yield group
