"""The scheduler's hot path: many executions advance in one statement, and what is read to decide.

Every advance names the version it was decided on. Whoever commits a version first wins; a loser has written nothing and
decides again on what it reads. So any number of schedulers may work on the same executions and each version is written once.

A commit is never cancelled once it is under way: a cancelled statement may have happened or not, and its connection is in an
unknown state. If the answer is lost the connection is thrown away, `CommitInDoubt` says so, and the caller reads what
happened. The next commit connects anew.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple, Self, TypeAlias

import asyncpg
import msgspec
from asyncpg.prepared_stmt import PreparedStatement

from contracts.statuses import TERMINAL_EXECUTION
from db import errors, queries
from db.executions import HistoryRow, history_row
from db.store import Row, Store

COMMIT_SECONDS: Final = 60.0
"""How long the answer of a commit may take. It is generous: to give up leaves the commit in doubt."""

CLOSE_SECONDS: Final = 5.0

PLAIN: Final = "commit_events"
WHOLE: Final = "commit_batch"

_SQL: Final = queries.load("advances")
_COMMITS: Final = {PLAIN: _SQL["commit_events"], WHOLE: _SQL["commit_batch"]}
_TERMINAL: Final = frozenset(map(str, TERMINAL_EXECUTION))

EventRow: TypeAlias = tuple[int, datetime, str, str | None, Sequence[int] | None, int | None, str]
"""seq, at, kind, node_id, iteration, attempt, data (JSON as text)."""


class TimerRow(NamedTuple):
    """A durable wake-up of an execution; `key` is unique within it."""

    execution_id: str
    key: str
    kind: str
    node_id: str | None
    iteration: Sequence[int] | None
    due_at: datetime


class ChildRow(msgspec.Struct, frozen=True, kw_only=True):
    """An execution that the commit of another one, `by`, creates; `created` is the data of its first event."""

    by: str
    id: str
    user_id: str
    workflow_id: str
    version_id: str
    mode: str
    priority: int
    concurrency_key: str | None
    parent_execution_id: str | None
    parent_node_id: str | None
    parent_waits: str | None
    at: datetime
    created: msgspec.Raw


class InteractionRow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A question to people that a commit opens; values of users are JSON. It may be answered already."""

    id: str
    user_id: str
    execution_id: str
    workflow_id: str
    node_id: str
    iteration: tuple[int, ...]
    kind: str
    title: str
    message: str
    fields: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    choices: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    editable: bool
    approvers: tuple[str, ...]
    approvals_required: int
    rejections_required: int
    channel: str
    priority: str
    status: str
    answers: tuple[msgspec.Raw, ...] = ()
    due_at: datetime | None = None
    closed_at: datetime | None = None
    at: datetime


class ChangeRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the commit of `by` changes in a question that is PENDING: closes it, with a `status`, or leaves it so.

    `answers` (JSON) are all; `answer` is that of whoever counts them himself, and is taken if there is none.
    """

    by: str
    id: str
    status: str | None = None
    at: datetime
    answer: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    answers: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    approvers: tuple[str, ...] | None = None
    reminders: int | None = None


class Advance(msgspec.Struct, frozen=True):
    """What one decision, or several in a row, adds to an execution at version `was`.

    Its events carry the seqs `was + 1` to `now`; without any it changes timers alone, and wins while the version is still the
    same. `started_at`, `finished_at` and `failure` (JSON) stay as they are when None. A timer that is both set and cleared is
    set: one too many is noticed when it fires, a lost one never. A terminal execution keeps none, whatever is said here.
    `children` are created with it, `released` are children whose end it has taken,
    `given_up` those whose end it will not wait for.
    `opened` are new questions to people, `changed` those that are answered, closed or put to others too.
    """

    execution_id: str
    was: int
    now: int
    status: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failure: bytes | None = None
    events: Sequence[EventRow] = ()
    timers: Sequence[TimerRow] = ()
    cleared: Sequence[str] = ()
    paused: bool = False
    children: Sequence[ChildRow] = ()
    released: Sequence[str] = ()
    given_up: Sequence[str] = ()
    opened: Sequence[InteractionRow] = ()
    changed: Sequence[ChangeRow] = ()

    @property
    def is_terminal(self) -> bool:
        """Whether the execution ends with it."""
        return self.status in _TERMINAL

    @property
    def is_plain(self) -> bool:
        """Whether it changes nothing but the execution and its history."""
        return not (
            self.timers
            or self.cleared
            or self.children
            or self.released
            or self.given_up
            or self.opened
            or self.changed
        )


class StoredExecution(msgspec.Struct, frozen=True):
    """An execution with its whole history, to replay."""

    id: str
    user_id: str
    workflow_id: str
    version_id: str
    status: str
    version: int
    rows: tuple[HistoryRow, ...]


class AdvanceSession:
    """A connection of its own for the loop that commits; one commit at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection: asyncpg.Connection[Row] | None = None
        self._statements: dict[str, PreparedStatement[Row]] = {}

    @classmethod
    async def open(cls, store: Store) -> Self:
        """Connect. Raises StoreUnavailable."""
        session = cls(store)
        await session._connect()
        return session

    async def commit(self, batch: Sequence[Advance]) -> frozenset[str]:
        """Commit a batch, each execution in it once, and return the ids of the winners.

        Raises StoreUnavailable if nothing was written and the same batch may be tried again, CommitInDoubt if that is
        unknown, and any other StoreError if nothing was written and the batch can never be as it is.
        """
        assert is_sound(batch)
        # A terminal execution has no timers to change: who knew of its end has won already.
        over = frozenset(
            each.execution_id for each in batch if each.is_terminal and not each.events
        )
        changing = [each for each in batch if each.execution_id not in over]
        return over | await self._commit_all(changing) if changing else over

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with errors.translated():
                await self._connection.close(timeout=CLOSE_SECONDS)

    async def _commit_all(self, batch: Sequence[Advance]) -> frozenset[str]:
        statement, arguments = statement_of(batch)
        if self._connection is None or self._connection.is_closed():
            await self._connect()
        commit = asyncio.create_task(self._commit(statement, arguments), name=statement)
        try:
            await self._finished(commit)
        except asyncio.CancelledError:
            await self._finished(commit)
            commit.exception()  # nobody is left to hear of it
            raise
        return commit.result()

    async def _finished(self, commit: asyncio.Task[frozenset[str]]) -> None:
        """Wait for the end of a commit. Unlike `wait_for`, `wait` leaves it alone when the caller is cancelled."""
        done, _ = await asyncio.wait((commit,), timeout=COMMIT_SECONDS)
        if not done:
            self._abandon()
            await asyncio.wait((commit,))

    async def _connect(self) -> None:
        connection = await self._store.dedicated()
        try:
            if not self._store.is_pooled:
                with errors.translated():
                    for name, text in _COMMITS.items():
                        self._statements[name] = await connection.prepare(text)
                    await connection.execute(_SQL["end_preparing"])
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection

    def _abandon(self) -> None:
        if self._connection is not None:
            self._connection.terminate()

    async def _commit(self, statement: str, arguments: Sequence[object]) -> frozenset[str]:
        try:
            rows = await self._run(statement, arguments)
        except errors.DRIVER_ERRORS as error:
            if _is_refusal(error):
                raise errors.translate(error) from error
            self._abandon()
            raise errors.CommitInDoubt(errors.describe(error)) from error
        return frozenset([str(execution_id) for (execution_id,) in rows])

    async def _run(self, statement: str, arguments: Sequence[object]) -> list[Row]:
        assert self._connection is not None
        if self._store.is_pooled:
            async with self._connection.transaction():
                await self._connection.execute(_SQL["plan_by_keys"])
                return await self._connection.fetch(_COMMITS[statement], *arguments)
        return await self._statements[statement].fetch(*arguments)


async def load(store: Store, execution_ids: Sequence[str]) -> dict[str, StoredExecution]:
    """Return those of the executions that exist, each with its history up to its version."""
    if not execution_ids:
        return {}
    executions = await store.fetch(_SQL["load_executions"], execution_ids)
    ids = [row["id"] for row in executions]
    versions = [row["version"] for row in executions]
    # History only grows: up to the version it is the same, whatever was committed since the version was read.
    events = await store.fetch(_SQL["load_histories"], ids, versions)
    rows: dict[str, list[HistoryRow]] = {str(row["id"]): [] for row in executions}
    for event in map(history_row, events):
        rows[event.execution_id].append(event)
    return {
        execution.id: execution
        for execution in (_stored_execution(row, rows[str(row["id"])]) for row in executions)
    }


async def due_timers(
    store: Store, partitions: Sequence[int], limit: int
) -> tuple[tuple[TimerRow, ...], datetime | None]:
    """Return what is due in the partitions by the database's clock, earliest first, and when the next timer is due.

    Nothing is taken away: a timer goes with the commit that records its firing. If `limit` timers came, more may be due.
    """
    rows = await store.fetch(_SQL["due_timers"], partitions, limit)
    upcoming = [row["due_at"] for row in rows if not row["is_due"]]
    return tuple(_timer(row) for row in rows if row["is_due"]), min(upcoming, default=None)


async def unfinished(
    store: Store,
    partitions: Sequence[int],
    *,
    statuses: Sequence[str] = ("NEW", "RUNNING"),
    after: str | None,
    limit: int,
    silent_for_seconds: float,
) -> dict[str, int]:
    """Return executions of the partitions whose last commit is that long ago, by id, beyond the id `after`.

    What is told of each is its version: whoever holds it in memory sees whether that is behind.
    """
    rows = await store.fetch(
        _SQL["unfinished"], partitions, statuses, after, limit, silent_for_seconds
    )
    return {str(row["id"]): row["version"] for row in rows}


async def abandoned(store: Store, partitions: Sequence[int], limit: int) -> tuple[str, ...]:
    """Return executions of the partitions that are not over though their workflow was deleted."""
    rows = await store.fetch(_SQL["abandoned"], partitions, limit)
    return tuple(str(row["id"]) for row in rows)


def statement_of(batch: Iterable[Advance]) -> tuple[str, list[Sequence[object] | str]]:
    """Return the statement that commits a batch, by name, and its arguments: one array per column."""
    ordered = sorted(
        batch, key=lambda advance: advance.execution_id
    )  # no two sessions wait for each other
    if all(advance.is_plain for advance in ordered):
        return PLAIN, [*_plain_columns(ordered), *_flags(ordered)]
    return WHOLE, [
        *_plain_columns(ordered),
        *_timer_columns(ordered),
        *_flags(ordered),
        *_family_columns(ordered),
    ]


def _plain_columns(ordered: Iterable[Advance]) -> list[Sequence[object]]:
    """Return what becomes of the executions, and their events."""
    return [
        *_transposed(
            [
                (
                    advance.execution_id,
                    advance.was,
                    advance.now,
                    advance.status,
                    advance.started_at,
                    advance.finished_at,
                    advance.failure.decode() if advance.failure is not None else None,
                )
                for advance in ordered
            ],
            width=7,
        ),
        *_transposed(
            [
                (advance.execution_id, seq, at, kind, node_id, _array(iteration), attempt, data)
                for advance in ordered
                for seq, at, kind, node_id, iteration, attempt, data in advance.events
            ],
            width=8,
        ),
    ]


def _timer_columns(ordered: Iterable[Advance]) -> list[Sequence[object]]:
    """Return timers to set and to clear."""
    alive = [advance for advance in ordered if not advance.is_terminal]
    return [
        *_transposed(
            [
                (*timer[:4], _array(timer.iteration), timer.due_at)
                for advance in alive
                for timer in {timer.key: timer for timer in advance.timers}.values()
            ],
            width=6,
        ),
        *_transposed(
            [
                (advance.execution_id, key)
                for advance in alive
                if advance.cleared
                for key in set(advance.cleared).difference(timer.key for timer in advance.timers)
            ],
            width=2,
        ),
    ]


def _flags(ordered: Iterable[Advance]) -> list[Sequence[object]]:
    """Return the executions that end, and those that stand paused."""
    return [
        [advance.execution_id for advance in ordered if advance.is_terminal],
        [advance.execution_id for advance in ordered if advance.paused],
    ]


def _family_columns(ordered: Iterable[Advance]) -> list[Sequence[object] | str]:
    """Return children to create and to let go of, and questions to open and to close."""
    return [
        _json([child for advance in ordered for child in advance.children]),
        *_transposed(
            [
                (advance.execution_id, child, parent_waits)
                for advance in ordered
                for parent_waits, children in (
                    (None, advance.released),
                    ("NO_MORE", advance.given_up),
                )
                for child in children
            ],
            width=3,
        ),
        _json([question for advance in ordered for question in advance.opened]),
        _json([change for advance in ordered for change in advance.changed]),
    ]


def is_sound(batch: Sequence[Advance]) -> bool:
    """Whether each execution stands there once, with events that leave no gap, and timers of its own."""
    return len({advance.execution_id for advance in batch}) == len(batch) and all(
        map(_is_sound, batch)
    )


def _is_sound(advance: Advance) -> bool:
    seq = advance.was
    for event in advance.events:
        seq += 1
        if event[0] != seq:
            return False
    return seq == advance.now and not any(
        timer.execution_id != advance.execution_id for timer in advance.timers
    )


def _transposed(rows: list[tuple[object, ...]], *, width: int) -> Sequence[Sequence[object]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width


def _json(rows: Sequence[msgspec.Struct]) -> str:
    """Return rare rows as one argument: most commits have none."""
    return msgspec.json.encode(rows).decode() if rows else "[]"


def _array(iteration: Sequence[int] | None) -> str | None:
    """Return an array in PostgreSQL's notation: arrays of arrays cannot be of different lengths."""
    return None if iteration is None else f"{{{','.join(map(str, iteration))}}}"


def _is_refusal(error: Exception) -> bool:
    """Whether the server, or the driver before it sent anything, said that nothing was written."""
    if isinstance(error, asyncpg.PostgresError) and error.severity_en is not None:
        return error.severity_en == "ERROR"
    return isinstance(error, asyncpg.DataError)


def _timer(row: Row) -> TimerRow:
    return TimerRow(
        str(row["execution_id"]),
        row["key"],
        row["kind"],
        row["node_id"],
        None if row["iteration"] is None else tuple(row["iteration"]),
        row["due_at"],
    )


def _stored_execution(row: Row, rows: list[HistoryRow]) -> StoredExecution:
    return StoredExecution(
        id=str(row["id"]),
        user_id=str(row["user_id"]),
        workflow_id=str(row["workflow_id"]),
        version_id=str(row["version_id"]),
        status=row["status"],
        version=row["version"],
        rows=tuple(rows),
    )
