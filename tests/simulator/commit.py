"""The statements `commit_batch` and `commit_events` on tables in memory, read by their own text.

Each part of the statement is a function here, named as the part is. What it unnests, or reads from JSON, it gets as rows with the
column names of the text. A part or a column that is new there, and not known here, fails `test_database.py`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from db import queries
from db.advances import ChangeRow, ChildRow, InteractionRow
from tests.simulator.database import (
    OVER,
    Database,
    Execution,
    HistoryRow,
    Interaction,
    Row,
    Timer,
    statement,
)

_ADVANCES: Final = queries.load("advances")
END_PREPARING: Final = _ADVANCES["end_preparing"]
TEXTS: Final = frozenset({_ADVANCES["commit_batch"], _ADVANCES["commit_events"]})

Values = tuple[Any, ...]


class Part:
    """One part of the statement: which of its arguments it reads, by the names of the columns."""

    def __init__(self, name: str, body: str) -> None:
        self._name = name
        self._lists: tuple[int, ...] = ()
        self._json: int | None = None
        self.columns: tuple[str, ...] = ()
        if unnested := re.search(r"unnest\(([^)]*)\)\s+as \w+ \(([^)]*)\)", body):
            self._lists = _numbers(unnested[1])
            self.columns = tuple(name.strip() for name in unnested[2].split(","))
        elif read := re.search(r"json_to_recordset\(\$(\d+)::json\)\s+as \w+ \(([^)]*)\)", body):
            self._json = int(read[1]) - 1
            self.columns = tuple(column.split()[0] for column in read[2].split(","))
        elif chosen := re.search(r"any \(\$(\d+)::uuid\[\]\)", body):
            self._lists = _numbers(chosen[0])

    def rows(self, arguments: Sequence[Any]) -> Iterator[Values]:
        """Yield what it unnests, row by row."""
        return zip(*(arguments[number] for number in self._lists), strict=True)

    def json(self, arguments: Sequence[Any]) -> str:
        """Return what it reads as JSON."""
        assert self._json is not None
        text: str = arguments[self._json]
        return text


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) - 1 for number in re.findall(r"\$(\d+)", text))


def _parts(text: str) -> dict[str, Part]:
    found = re.split(r"^(?:with )?(\w+) as \($", text, flags=re.MULTILINE)[1:]
    return {name: Part(name, body) for name, body in zip(found[::2], found[1::2], strict=True)}


PARTS: Final = _parts(_ADVANCES["commit_batch"])
PLAIN_PARTS: Final = _parts(_ADVANCES["commit_events"])


class Commit:
    """One execution of a statement with these parts. Nothing of a loser is written."""

    def __init__(
        self, database: Database, arguments: Sequence[Any], parts: dict[str, Part]
    ) -> None:
        self._database = database
        self._arguments = arguments
        self._parts = parts
        self._winners: dict[str, None] = {}
        self._events: dict[str, list[HistoryRow]] = {}
        for execution_id, *rest, iteration, attempt, data in self._rows("recorded"):
            row: Any = (execution_id, *rest, _read_array(iteration), attempt, data)
            self._events.setdefault(execution_id, []).append(row)

    def run(self) -> list[Row]:
        """Write what the winners bring, and return who they are."""
        self._win()
        self._change_timers()
        self._release_children()
        if "born" in self._parts:
            self._bear_children()
            self._open_questions()
            self._change_questions()
        if self._database.watching is not None:
            for execution_id in self._winners:
                self._database.watching.committed(self._database, execution_id)
        return [(execution_id,) for execution_id in self._winners]

    def _rows(self, part: str) -> Iterator[Values]:
        return self._parts[part].rows(self._arguments) if part in self._parts else iter(())

    def _win(self) -> None:
        paused = frozenset(execution_id for (execution_id,) in self._rows("winner"))
        for execution_id, was, becomes, status, started_at, finished_at, failure in self._rows(
            "advance"
        ):
            execution = self._database.executions.get(execution_id)
            if execution is None or execution.version != was or execution.status in OVER:
                continue
            self._winners[execution_id] = None
            self._record(execution_id)
            execution.version = becomes
            execution.status = str(status)
            execution.started_at = started_at or execution.started_at
            execution.finished_at = finished_at or execution.finished_at
            execution.failure = failure or execution.failure
            execution.paused = execution_id in paused
            execution.updated_at = self._database.now()

    def _record(self, execution_id: str) -> None:
        database = self._database
        rows = self._events.get(execution_id, [])
        history = database.history[execution_id]
        if database.watching is not None:
            timers = list(database.timers[execution_id].values())
            database.watching.advanced(execution_id, rows, timers, database.believed(execution_id))
        assert not {row[1] for row in rows} & {row[1] for row in history}, "history_pkey"
        history.extend(rows)

    def _change_timers(self) -> None:
        timers = self._database.timers
        for execution_id, key in self._rows("cleared"):
            if execution_id in self._winners:
                timers[execution_id].pop(key, None)
        for execution_id, key, kind, node_id, iteration, due_at in self._rows("armed"):
            if execution_id in self._winners:
                timer = Timer(execution_id, key, str(kind), node_id, _read_array(iteration), due_at)
                timers[execution_id][key] = timer
        for (execution_id,) in self._rows("ended"):
            if execution_id in self._winners:
                timers[execution_id].clear()

    def _bear_children(self) -> None:
        for child in _read_children(self._parts["born"].json(self._arguments)):
            if child.by in self._winners:
                self._database.insert(_execution(child), child.at, bytes(child.created).decode())

    def _release_children(self) -> None:
        """Note what parents say of children: not of those that advance or are born with this very statement.

        A statement sees the tables as they were before it, and PostgreSQL changes no row twice in one.
        """
        for by, execution_id, parent_waits in self._rows("released"):
            child = self._database.executions.get(execution_id)
            if by in self._winners and child is not None and child.id not in self._winners:
                child.parent_waits = parent_waits

    def _open_questions(self) -> None:
        for question in _read_questions(self._parts["opened"].json(self._arguments)):
            if question.execution_id in self._winners:
                opened = Interaction(
                    id=question.id,
                    execution_id=question.execution_id,
                    status=question.status,
                    answers=[bytes(each) for each in question.answers],
                )
                self._database.interactions.setdefault(question.id, opened)

    def _change_questions(self) -> None:
        for change in _read_changes(self._parts["changed"].json(self._arguments)):
            question = self._database.interactions.get(change.id)
            if change.by not in self._winners or question is None or question.status != "PENDING":
                continue
            assert question.execution_id == change.by
            question.status = change.status or question.status
            if change.answers is not msgspec.UNSET:
                question.answers = [bytes(each) for each in _read_answers(change.answers)]
            elif not question.answers and change.answer is not msgspec.UNSET:
                question.answers = [bytes(change.answer)]


@statement("advances", "commit_batch")
def _commit_batch(database: Database, arguments: Sequence[Any]) -> list[Row]:
    return Commit(database, arguments, PARTS).run()


@statement("advances", "commit_events")
def _commit_events(database: Database, arguments: Sequence[Any]) -> list[Row]:
    return Commit(database, arguments, PLAIN_PARTS).run()


KNOWN: Final[dict[str, tuple[str, ...]]] = {
    "advance": ("id", "was", "becomes", "status", "started_at", "finished_at", "failure"),
    "winner": (),
    "recorded": ("execution_id", "seq", "at", "kind", "node_id", "iteration", "attempt", "data"),
    "armed": ("execution_id", "key", "kind", "node_id", "iteration", "due_at"),
    "cleared": ("execution_id", "key"),
    "ended": (),
    "born": (
        *(
            "by",
            "id",
            "user_id",
            "workflow_id",
            "version_id",
            "mode",
            "priority",
            "concurrency_key",
        ),
        *("parent_execution_id", "parent_node_id", "parent_waits", "at"),
    ),
    "begun": ("id", "at", "created"),
    "released": ("by", "id", "parent_waits"),
    "opened": (
        *("id", "user_id", "execution_id", "workflow_id", "node_id", "iteration", "kind", "title"),
        *("message", "fields", "choices", "value", "editable", "approvers", "approvals_required"),
        *("rejections_required", "channel", "priority", "status", "answers", "due_at", "closed_at"),
        "at",
    ),
    "changed": ("by", "id", "status", "at", "answer", "answers", "approvers", "reminders"),
}
"""The parts and columns that `Commit` knows of."""

_read_children: Final = msgspec.json.Decoder(list[ChildRow]).decode
_read_questions: Final = msgspec.json.Decoder(list[InteractionRow]).decode
_read_changes: Final = msgspec.json.Decoder(list[ChangeRow]).decode
_read_answers: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def unknown() -> Iterator[str]:
    """Yield what the statements write and `Commit` does not."""
    for name in PARTS.keys() | KNOWN.keys():
        if name not in PARTS or KNOWN.get(name) != PARTS[name].columns:
            yield name
    for name, part in PLAIN_PARTS.items():
        if KNOWN.get(name) != part.columns:
            yield name


def _execution(child: ChildRow) -> Execution:
    return Execution(
        id=child.id,
        user_id=child.user_id,
        workflow_id=child.workflow_id,
        version_id=child.version_id,
        updated_at=child.at,
        priority=child.priority,
        concurrency_key=child.concurrency_key,
        parent_execution_id=child.parent_execution_id,
        parent_waits=child.parent_waits,
    )


def _read_array(text: str | None) -> list[int] | None:
    """Read an array in PostgreSQL's notation."""
    return None if text is None else [int(part) for part in text[1:-1].split(",") if part]
