"""The judgement of a run: journal, ledger and history have to say the same, and `verify` nothing."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from db.errors import StoreError
from db.store import Store
from tests.faults.ledger import Ledger
from tests.faults.load import EFFECTS, Order

LOOK_S: Final = 0.5
SKEW: Final = timedelta(seconds=0.2)
"""Timers are due by the database's clock, and instants of history by the scheduler's measure of it."""
OVER: Final = ("SUCCESS", "ERROR", "CANCELED")
ENDS: Final = ("execution_succeeded", "execution_failed", "execution_canceled")
LAST: Final = frozenset({"node_succeeded", "node_failed"})


class Run(msgspec.Struct, frozen=True):
    """An execution with its history, as it is stored."""

    id: str
    status: str
    version: int
    events: tuple[dict[str, Any], ...]

    @property
    def number(self) -> int | None:
        """Which order it carries out."""
        given: Any = self.events[0]["data"].get("input") or {}
        given = given.get("data", given)
        number = given.get("n")
        return number if isinstance(number, int) else None


async def wait_until_over(store: Store, journal: Sequence[Order], seconds: float) -> None:
    """Return when all that was ordered is over, or the time is up."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < seconds:
        try:
            row = await store.fetch_row(
                "select count(*) as number, count(*) filter (where status = any ($1)) as over "
                "from workflow_executions",
                OVER,
            )
        except StoreError:
            row = None
        if row is not None and row["number"] == row["over"] and row["over"] >= len(journal):
            return
        await asyncio.sleep(LOOK_S)


async def runs(store: Store) -> list[Run]:
    """Return all executions with their histories."""
    rows = await store.fetch(
        "select execution.id, execution.status, execution.version, history.seq, history.at, "
        "history.kind, history.node_id, history.iteration, history.attempt, history.data "
        "from workflow_executions as execution join history on history.execution_id = execution.id "
        "order by execution.id, history.seq"
    )
    grouped: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        grouped[str(row["id"])].append(row)
    return [
        Run(execution_id, each[0]["status"], each[0]["version"], tuple(map(_event, each)))
        for execution_id, each in grouped.items()
    ]


def _event(row: Any) -> dict[str, Any]:
    iteration = row["iteration"]
    return {
        "seq": row["seq"],
        "at": row["at"],
        "kind": row["kind"],
        "key": (row["node_id"], None if iteration is None else tuple(iteration)),
        "attempt": row["attempt"],
        "data": msgspec.json.decode(row["data"]),
    }


def violations(found: Sequence[Run], journal: Sequence[Order], ledger: Ledger) -> Iterator[str]:
    """Yield every broken promise."""
    by_number: dict[int | None, list[Run]] = defaultdict(list)
    for run in found:
        by_number[run.number].append(run)
    for order in journal:
        mine = by_number.pop(order.number, [])
        if not mine:
            yield f"LOST: order {order.number} ({order.kind}) has no execution"
        elif len(mine) > 1:
            yield f"DOUBLE: order {order.number} has executions {[run.id for run in mine]}"
        for run in mine:
            yield from _problems(run, order, ledger)
    for number, strange in by_number.items():
        yield f"STRANGE: executions {[run.id for run in strange]} of order {number}"
    known = {run.id for run in found}
    for key in ledger.effects:
        if key.partition(":")[0] not in known:
            yield f"STRANGE: the effect {key} is of no execution"


def _problems(run: Run, order: Order, ledger: Ledger) -> Iterator[str]:
    name = f"order {order.number} ({order.kind}, {run.id})"
    if order.execution_id not in (None, run.id):
        yield f"DOUBLE: {name} was told to be {order.execution_id}"
    if run.status not in OVER:
        yield f"STUCK: {name} is {run.status}"
    elif run.status != _expected(run, order):
        yield f"WRONG: {name} is {run.status}, expected {_expected(run, order)}"
    for problem in _history_problems(run):
        yield f"HISTORY: {name}: {problem}"
    for problem in _effect_problems(run, order, ledger):
        yield f"EFFECTS: {name}: {problem}"


def _expected(run: Run, order: Order) -> str:
    if order.kind == "poison":
        return "ERROR"
    if order.cancel == "asked":  # nobody said: either is right
        return run.status
    return "CANCELED" if order.cancel == "done" else "SUCCESS"


def _history_problems(run: Run) -> Iterator[str]:
    seqs = [event["seq"] for event in run.events]
    if seqs != list(range(1, len(seqs) + 1)) or run.version != len(seqs):
        yield f"events {seqs} at version {run.version}"
    ends = [event["seq"] for event in run.events if event["kind"] in ENDS]
    if run.status in OVER and ends != seqs[-1:]:
        yield f"it ends at {ends} of {len(seqs)}"
    finals = Counter(
        event["key"]
        for event in run.events
        if event["kind"] in LAST and "retry_at" not in event["data"]
    )
    for key, count in finals.items():
        if count > 1:
            yield f"node run {key} ended {count} times"
    fired = Counter(
        (event["key"], event["attempt"]) for event in run.events if event["kind"] == "timer_fired"
    )
    for timer, count in fired.items():
        if count > 1:
            yield f"timer {timer} fired {count} times"
    yield from _early_timers(run)


def _early_timers(run: Run) -> Iterator[str]:
    due = {
        event["key"]: datetime.fromisoformat(event["data"]["wait"]["due_at"])
        for event in run.events
        if event["kind"] == "node_waiting"
    }
    for event in run.events:
        is_wait = event["kind"] == "timer_fired" and event["data"]["timer"] == "WAIT"
        if is_wait and event["at"] < due.get(event["key"], event["at"]) - SKEW:
            yield f"timer of {event['key']} fired before its time"


def _effect_problems(run: Run, order: Order, ledger: Ledger) -> Iterator[str]:
    """An effect that history speaks of is in the ledger under that number, and what succeeded has all of them."""
    expected = {f"{run.id}:{suffix}" for suffix in EFFECTS[order.kind]}
    own = {key for key in ledger.effects if key.startswith(f"{run.id}:")}
    if own - expected:
        yield f"nobody wanted {sorted(own - expected)}"
    if run.status == "SUCCESS" and expected - own:
        yield f"{sorted(expected - own)} are missing"
    for event in run.events:
        if event["kind"] != "node_succeeded" or event["key"][0] not in ("first", "second", "call"):
            continue
        ports: dict[str, Any] = event["data"]["ports"]
        port = ports.get("main")
        body = port.get("body") if isinstance(port, dict) else None
        key = body.get("key") if isinstance(body, dict) else None
        if body is None or key is None or ledger.effects.get(key) != body["effect"]:
            yield f"the result of {event['key']} was made up: {port}"
