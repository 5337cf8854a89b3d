"""The tables of the engine in memory, and the statements that the scheduler runs on them.

A statement is known by its own text in `db/sql`, and its arguments by the names that this text gives them: whoever changes one
there is told here. `tests/component/db/test_simulated_database.py` holds every statement against PostgreSQL.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import msgspec
from msgspec.structs import asdict

from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState
from contracts.history import KIND_OF, ExecutionCreated, OutputsCarried, encode_data
from contracts.ids import PARTITIONS, partition_of
from contracts.model import encode_document
from contracts.statuses import TERMINAL_EXECUTION
from db import queries
from tests.simulator.shapes import instant_of
from tests.support.engine import USER

OVER: Final = frozenset(map(str, TERMINAL_EXECUTION))
ALL_PARTITIONS: Final = range(PARTITIONS)
FIRST: Final = KIND_OF[ExecutionCreated]
TAKEN_OVER: Final = KIND_OF[OutputsCarried]

Row = Any
Statement = Callable[["Database", Sequence[Any]], list[Row]]
HistoryRow = tuple[str, int, datetime, str, str | None, list[int] | None, int | None, str]

STATEMENTS: Final[dict[str, Statement]] = {}


class Execution(msgspec.Struct, kw_only=True):
    """A row of `workflow_executions`."""

    id: str
    user_id: str
    workflow_id: str
    version_id: str
    updated_at: datetime
    status: str = "NEW"
    version: int = 1
    priority: int = 0
    concurrency_key: str | None = None
    has_slot: bool = False
    parent_execution_id: str | None = None
    parent_waits: str | None = None
    paused: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failure: str | None = None


class Timer(msgspec.Struct, frozen=True):
    """A row of `timers`."""

    execution_id: str
    key: str
    kind: str
    node_id: str | None
    iteration: list[int] | None
    due_at: datetime


class Interaction(msgspec.Struct, kw_only=True):
    """A row of `interactions`, as far as the scheduler changes it."""

    id: str
    execution_id: str
    status: str
    answers: list[bytes] = []


class Watching(Protocol):
    """Who wants to know what is written, before it is."""

    def created(self, rows: Sequence[HistoryRow]) -> None:
        """An execution comes into being, with what it takes over of another one."""

    def advanced(
        self,
        execution_id: str,
        rows: Sequence[HistoryRow],
        timers: Sequence[Timer],
        believed: ExecutionState | None,
    ) -> None:
        """An execution advances by these events.

        `timers` are those it has until then; `believed` is its state in the memory of who commits.
        """

    def committed(self, database: "Database", execution_id: str) -> None:
        """All of the commit that let an execution advance is written."""


Believed = Callable[[str], ExecutionState | None]


def _nothing(_: str) -> None:
    return None


class Database:
    """What is stored. Every statement happens at one instant, all or nothing."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self.executions: dict[str, Execution] = {}
        self.history: dict[str, list[HistoryRow]] = {}
        self.timers: dict[str, dict[str, Timer]] = {}
        self.interactions: dict[str, Interaction] = {}
        self.versions: dict[str, Plan] = {}
        self.specs: tuple[bytes, ...] = ()
        self.deleted_workflows: set[str] = set()
        self.dead_letters: dict[str, tuple[Any, ...]] = {}
        self.watching: Watching | None = None
        self.believed: Believed = _nothing

    def now(self) -> datetime:
        """Return the database's time."""
        return instant_of(self._seconds())

    def run(self, text: str, arguments: Sequence[Any], believed: Believed = _nothing) -> list[Row]:
        """Run a statement of `db/sql`. `believed` tells the states in the memory of who runs it."""
        self.believed = believed
        return STATEMENTS[text](self, arguments)

    def create(
        self,
        execution_id: str,
        created: ExecutionCreated,
        carried: Sequence[OutputsCarried] = (),
    ) -> datetime:
        """Insert a new execution as the gateway does, and return its instant."""
        at = self.now()
        execution = Execution(
            id=execution_id,
            user_id=created.user_id,
            workflow_id=created.workflow_id,
            version_id=created.version_id,
            updated_at=at,
            priority=created.priority,
            concurrency_key=created.slot.key if created.slot else None,
        )
        self.insert(execution, at, encode_data(created).decode(), carried)
        return at

    def insert(
        self,
        execution: Execution,
        at: datetime,
        created: str,
        carried: Sequence[OutputsCarried] = (),
    ) -> None:
        """Insert an execution with its first events; one that is there already stays as it is."""
        if execution.id in self.executions:
            return
        data = (created, *(encode_data(each).decode() for each in carried))
        rows: list[HistoryRow] = [
            (execution.id, seq, at, FIRST if seq == 1 else TAKEN_OVER, None, None, None, each)
            for seq, each in enumerate(data, 1)
        ]
        execution.updated_at = self.now()
        execution.version = len(rows)
        self.executions[execution.id] = execution
        self.history[execution.id] = rows
        self.timers[execution.id] = {}
        if self.watching is not None:
            self.watching.created(rows)

    def held(self, partitions: Sequence[int]) -> Iterator[Execution]:
        """Yield the executions of some partitions, by id."""
        wanted = frozenset(partitions)
        for execution_id in sorted(self.executions):
            if partition_of(execution_id) in wanted:
                yield self.executions[execution_id]


def statement(subject: str, name: str) -> Callable[[Statement], Statement]:
    """Declare a function to be what a named query does."""

    def known(statement: Statement) -> Statement:
        STATEMENTS[queries.load(subject)[name]] = statement
        return statement

    return known


# --- reading -------------------------------------------------------------------------------------


@statement("advances", "load_executions")
def _load_executions(database: Database, arguments: Sequence[Any]) -> list[Row]:
    (ids,) = arguments
    found = [database.executions[each] for each in sorted(set(ids)) if each in database.executions]
    return [
        {
            "id": each.id,
            "user_id": each.user_id,
            "workflow_id": each.workflow_id,
            "version_id": each.version_id,
            "status": each.status,
            "version": each.version,
        }
        for each in found
    ]


@statement("advances", "load_histories")
def _load_histories(database: Database, arguments: Sequence[Any]) -> list[Row]:
    ids, versions = arguments
    return [
        row
        for execution_id, version in sorted(zip(ids, versions, strict=True))
        for row in database.history[execution_id]
        if row[1] <= version
    ]


@statement("advances", "due_timers")
def _due_timers(database: Database, arguments: Sequence[Any]) -> list[Row]:
    partitions, limit = arguments
    now, wanted = database.now(), frozenset(partitions)
    timers = [
        timer
        for execution_id, own in database.timers.items()
        if own and partition_of(execution_id) in wanted
        for timer in own.values()
    ]
    if not timers:
        return []
    timers.sort(key=lambda timer: (timer.due_at, timer.execution_id, timer.key))
    due = [timer for timer in timers if timer.due_at <= now]
    return [
        *(asdict(timer) | {"is_due": True} for timer in due[:limit]),
        *(asdict(timer) | {"is_due": False} for timer in timers[len(due) : len(due) + 1]),
    ]


@statement("advances", "unfinished")
def _unfinished(database: Database, arguments: Sequence[Any]) -> list[Row]:
    partitions, statuses, after, limit, silent = arguments
    until = database.now() - timedelta(seconds=silent)
    found = [
        {"id": each.id, "version": each.version}
        for each in database.held(partitions)
        if each.status in statuses
        and (after is None or each.id > after)
        and each.updated_at <= until
    ]
    return found[:limit]


@statement("advances", "abandoned")
def _abandoned(database: Database, arguments: Sequence[Any]) -> list[Row]:
    partitions, limit = arguments
    if not database.deleted_workflows:
        return []
    found = [
        {"id": each.id}
        for each in database.held(partitions)
        if each.status not in OVER and each.workflow_id in database.deleted_workflows
    ]
    return found[:limit]


@statement("versions", "load_version")
def _load_version(database: Database, arguments: Sequence[Any]) -> list[Row]:
    plan = database.versions.get(arguments[0])
    if plan is None:
        return []
    return [
        {
            "id": plan.version_id,
            "workflow_id": plan.workflow_id,
            "workflow_name": plan.document.name,
            "user_id": USER,
            "version": plan.version,
            "document": encode_document(plan.document),
        }
    ]


@statement("node_types", "load_node_types")
def _load_node_types(database: Database, _: Sequence[Any]) -> list[Row]:
    return [{"spec": each} for each in database.specs]


# --- writing -------------------------------------------------------------------------------------


@statement("dead_letters", "add_dead_letters")
def _add_dead_letters(database: Database, arguments: Sequence[Any]) -> list[Row]:
    for letter in zip(*arguments, strict=True):
        database.dead_letters.setdefault(letter[0], letter)
    return []


@statement("leases", "release_leases")
def _release(_: Database, __: Sequence[Any]) -> list[Row]:
    return []  # who holds what is drawn by the seed


# --- parents, children and slots -----------------------------------------------------------------


@statement("families", "find_target")
def _find_target(database: Database, arguments: Sequence[Any]) -> list[Row]:
    _, workflow_id, named = arguments
    found = {
        plan.workflow_id: {
            "id": plan.workflow_id,
            "name": plan.document.name,
            "published_version_id": plan.version_id,
        }
        for plan in database.versions.values()
        if plan.workflow_id not in database.deleted_workflows
        and (plan.workflow_id == workflow_id or plan.document.name == named)
    }
    return [found[each] for each in sorted(found)][:2]


@statement("families", "ended_children")
def _ended_children(database: Database, arguments: Sequence[Any]) -> list[Row]:
    partitions, silent, limit = arguments
    until = database.now() - timedelta(seconds=silent)
    parents = {each.id: each for each in database.held(partitions) if each.status not in OVER}
    found = [
        {"id": child.id, "parent_execution_id": child.parent_execution_id}
        for child in database.held(ALL_PARTITIONS)
        if child.parent_waits == "YES"
        and child.status in OVER
        and child.parent_execution_id in parents
        and child.updated_at <= until
    ]
    return found[:limit]


@statement("families", "orphans")
def _orphans(database: Database, arguments: Sequence[Any]) -> list[Row]:
    partitions, limit = arguments
    found = [
        {"id": each.id}
        for each in database.held(partitions)
        if each.parent_waits == "NO_MORE" and each.status not in OVER
    ]
    return found[:limit]


@statement("families", "ends_of")
def _ends_of(database: Database, arguments: Sequence[Any]) -> list[Row]:
    (ids,) = arguments
    found = [database.executions[each] for each in sorted(set(ids)) if each in database.executions]
    return [
        {
            "id": each.id,
            "status": each.status,
            "failure": each.failure,
            "created": database.history[each.id][0][-1],
            "ended": database.history[each.id][-1][-1],
        }
        for each in found
        if each.status in OVER
    ]


@statement("slots", "lock_slots")
def _lock_slots(_: Database, __: Sequence[Any]) -> list[Row]:
    return []  # each statement happens at one instant


@statement("slots", "fill_slots")
def _fill_slots(database: Database, arguments: Sequence[Any]) -> list[Row]:
    workflow_id, key, limit = arguments
    of_key = [
        each
        for each in database.held(ALL_PARTITIONS)
        if each.workflow_id == workflow_id and each.concurrency_key == key
    ]
    taken = sum(each.has_slot and each.status not in OVER for each in of_key)
    new = [each for each in of_key if each.status == "NEW"]
    waiting = sorted(
        (each for each in new if not each.has_slot), key=lambda each: (-each.priority, each.id)
    )
    for each in waiting[: max(limit - taken, 0)]:
        each.has_slot = True
    return [{"id": each.id} for each in new if each.has_slot]


@statement("slots", "without_slot")
def _without_slot(database: Database, arguments: Sequence[Any]) -> list[Row]:
    (ids,) = arguments
    found = [database.executions[each] for each in ids if each in database.executions]
    return [{"id": each.id} for each in found if each.status == "NEW" and not each.has_slot]
