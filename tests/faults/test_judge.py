"""The judge of the fault harness finds what is wrong, and says nothing where all is well."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.faults import judge
from tests.faults.judge import Run
from tests.faults.ledger import Ledger
from tests.faults.load import Order

AT = datetime(2026, 1, 1, tzinfo=UTC)
ID = "019a0000-0000-7000-8000-00000000000e"


def event(kind: str, node_id: str | None = None, **data: Any) -> dict[str, Any]:
    """Return an event, to be numbered by `run_of`."""
    key = (node_id, None if node_id is None else ())
    return {"at": AT, "kind": kind, "key": key, "attempt": 1, "data": data}


def run_of(*events: dict[str, Any], status: str = "SUCCESS", run_id: str = ID) -> Run:
    """Return an execution with these events."""
    numbered = tuple({**each, "seq": seq} for seq, each in enumerate(events, 1))
    return Run(run_id, status, len(events), numbered)


def called(node_id: str, effect: int, run_id: str = ID) -> dict[str, Any]:
    """Return the success of a node run that wrote an effect."""
    body = {"effect": effect, "key": f"{run_id}:{node_id}:_"}
    return event("node_succeeded", node_id, ports={"main": {"body": body}})


CREATED = event("execution_created", input={"n": 0})
FIRST, SECOND = called("first", 1), called("second", 2)
DUE = AT + timedelta(seconds=5)
WAITING = event("node_waiting", "pause", wait={"due_at": DUE.isoformat()})
FIRED = {**event("timer_fired", "pause", timer="WAIT"), "at": DUE}
END = event("execution_succeeded")
LINE = (CREATED, FIRST, WAITING, FIRED, SECOND, END)


def ledger_of(*keys: str) -> Ledger:
    """Return a ledger with these effects, numbered in order."""
    ledger = Ledger()
    ledger.effects = {key: number for number, key in enumerate(keys, 1)}
    return ledger


def judged(*runs: Run, ledger: Ledger | None = None, **fields: Any) -> list[str]:
    """Return the broken promises, where one line was ordered."""
    order = Order(0, "line", {}, execution_id=ID, is_taken=True, **fields)
    book = ledger or ledger_of(f"{ID}:first:_", f"{ID}:second:_")
    return [each.partition(":")[0] for each in judge.violations(runs, [order], book)]


def test_a_run_as_it_should_be() -> None:
    assert judged(run_of(*LINE)) == []


def test_an_order_that_nobody_carries_out() -> None:
    assert judged(ledger=ledger_of()) == ["LOST"]


def test_an_order_that_is_carried_out_twice() -> None:
    other = "019a0000-0000-7000-8000-00000000000f"
    book = ledger_of(f"{ID}:first:_", f"{ID}:second:_", f"{other}:first:_", f"{other}:second:_")
    again = (CREATED, called("first", 3, other), called("second", 4, other), END)

    assert judged(run_of(*LINE), run_of(*again, run_id=other), ledger=book) == ["DOUBLE", "DOUBLE"]


def test_an_execution_that_does_not_end() -> None:
    assert judged(run_of(*LINE[:-1], status="RUNNING")) == ["STUCK"]


@pytest.mark.parametrize(
    "events",
    [
        (*LINE[:2], FIRST, *LINE[2:]),
        (*LINE[:4], FIRED, *LINE[4:]),
        (*LINE, END),
        (*LINE, SECOND | {"key": ("last", ())}),
        (*LINE[:3], {**FIRED, "at": AT}, *LINE[4:]),
    ],
    ids=["node run twice", "timer twice", "two ends", "something after the end", "too early"],
)
def test_histories_that_cannot_be(events: tuple[dict[str, Any], ...]) -> None:
    assert set(judged(run_of(*events))) == {"HISTORY"}


def test_a_gap() -> None:
    run = run_of(*LINE)
    gap = Run(run.id, run.status, run.version, run.events[:2] + run.events[3:])

    assert "HISTORY" in judged(gap)


@pytest.mark.parametrize(
    "keys",
    [
        (f"{ID}:first:_",),
        (f"{ID}:first:_", f"{ID}:second:_", f"{ID}:third:_"),
        (f"{ID}:second:_", f"{ID}:first:_"),
    ],
    ids=["one is missing", "one too many", "results of somebody else"],
)
def test_a_ledger_that_says_otherwise(keys: tuple[str, ...]) -> None:
    assert set(judged(run_of(*LINE), ledger=ledger_of(*keys))) == {"EFFECTS"}


def test_a_cancel_that_was_confirmed_and_did_not_happen() -> None:
    assert judged(run_of(*LINE), cancel="done") == ["WRONG"]
    assert judged(run_of(*LINE), cancel="too late") == []
