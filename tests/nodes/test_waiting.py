"""WAIT and DELAY: what they wait for, and what they give when it ends."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import UNSET

from contracts.expressions.errors import ExpressionError
from contracts.failures import Failure, FailureKind
from contracts.limits import NodeLimits
from contracts.messages import Resumed
from nodes.answers import Answer, Failed, Wait
from nodes.context import Context, Outputs, WaitKind
from nodes.flow.waiting import wait
from tests.support.tasks import NOW, context, raw, task_node

INPUT = {"a": 1}


async def waited(at: Context, **parameters: Any) -> Answer:
    return await wait(at, wait.reader.read(parameters))


def resumed(by: str, *, after: float = 5, state: Any = UNSET, **fields: Any) -> Resumed:
    """Return what ended a wait that began at NOW."""
    return Resumed(
        by=by,
        at=NOW + timedelta(seconds=after),
        waited_since=NOW,
        state=state if state is UNSET else raw(state),
        **fields,
    )


def after(by: str, *, wired: tuple[str, ...] = (), **fields: Any) -> Context:
    """Return the context of the attempt after a wait."""
    return context(INPUT, node=task_node(wired=wired), resumed=resumed(by, **fields))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param(
            {"wait_type": "duration", "duration": "1.5"},
            Wait(WaitKind.TIMER, seconds=1.5),
            id="for a while",
        ),
        pytest.param(
            {"wait_type": "signal", "signal": "paid"},
            Wait(WaitKind.SIGNAL, seconds=3600, signal="paid"),
            id="for a signal, an hour at most",
        ),
        pytest.param(
            {"wait_type": "signal", "signal": "paid", "max_wait": None},
            Wait(WaitKind.SIGNAL, seconds=31_536_000, signal="paid"),
            id="for a signal, as long as may be",
        ),
        pytest.param(
            {"wait_type": "condition", "condition": "signal != null", "max_wait": 60},
            Wait(WaitKind.SIGNAL, seconds=60, check_seconds=10, signal="n1"),
            id="for a condition, by the node's own name",
        ),
        pytest.param(
            {
                "wait_type": "condition",
                "condition": "input.a > 1",
                "signal": "look",
                "check_interval": 2,
            },
            Wait(WaitKind.SIGNAL, seconds=3600, check_seconds=2, signal="look"),
            id="for a condition, by a name",
        ),
    ],
)
async def test_a_wait_begins(parameters: dict[str, Any], expected: Wait) -> None:
    assert await waited(context(INPUT), **parameters) == expected


async def test_a_condition_that_holds_is_not_waited_for() -> None:
    answer = await waited(context(INPUT), wait_type="condition", condition="input.a == 1")

    assert isinstance(answer, Outputs)
    assert answer.ports == {"main": INPUT}


def soon() -> datetime:
    return (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)


async def test_an_instant_is_waited_for() -> None:
    due_at = soon()

    answer = await waited(context(INPUT), wait_type="until", until=due_at.isoformat())

    assert answer == Wait(WaitKind.TIMER, due_at=due_at)


async def test_an_instant_without_zone_is_in_that_of_the_workflow() -> None:
    due_at = soon()
    at = context(INPUT, node=task_node(timezone="Asia/Kolkata"))
    local = (due_at + timedelta(hours=5, minutes=30)).replace(tzinfo=None)

    answer = await waited(at, wait_type="until", until=local.isoformat())

    assert answer == Wait(WaitKind.TIMER, due_at=due_at)


@pytest.mark.parametrize("until", ["2020-01-01T00:00:00Z", "2020-01-01", "2020-01-01T10:00"])
async def test_an_instant_that_is_over_is_not_waited_for(until: str) -> None:
    answer = await waited(context(INPUT), wait_type="until", until=until)

    assert isinstance(answer, Outputs)
    assert answer.ports == {"main": INPUT}


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"wait_type": "duration"}, "invalid_parameter"),
        ({"wait_type": "until", "until": "tomorrow"}, "invalid_parameter"),
        ({"wait_type": "signal"}, "invalid_parameter"),
        ({"wait_type": "condition"}, "invalid_parameter"),
        ({"wait_type": "duration", "duration": 1e30}, "wait_too_long"),
        ({"wait_type": "duration", "duration": 101}, "wait_too_long"),
        ({"wait_type": "until", "until": "9999-01-01"}, "wait_too_long"),
        ({"wait_type": "signal", "signal": "s", "max_wait": 101}, "wait_too_long"),
    ],
)
async def test_what_cannot_be_waited_for_is_refused(parameters: dict[str, Any], code: str) -> None:
    at = context(INPUT, limits=NodeLimits(wait_s=100))

    with pytest.raises(Failed) as caught:
        await waited(at, **parameters)

    failure = caught.value.failure
    assert (failure.kind, failure.code) == (FailureKind.INVALID_INPUT, code)


@pytest.mark.parametrize("by", ["WAIT", "RESUME"])
@pytest.mark.parametrize(
    "parameters",
    [
        {"wait_type": "duration", "duration": 5},
        {"wait_type": "signal", "signal": "paid"},
        {"wait_type": "condition", "condition": "false"},
    ],
    ids=lambda parameters: parameters["wait_type"],
)
async def test_the_input_goes_on_when_it_is_time_or_somebody_says_so(
    by: str, parameters: dict[str, Any]
) -> None:
    answer = await waited(after(by), **parameters)

    assert isinstance(answer, Outputs)
    assert answer.ports == {"main": INPUT}


async def test_a_signal_goes_on_with_the_input() -> None:
    at = after("SIGNAL", signal="paid", data=raw({"sum": 5}))

    answer = await waited(at, wait_type="signal", signal="paid")

    assert isinstance(answer, Outputs)
    assert answer.ports["main"] == {
        "data": INPUT,
        "signal": {
            "name": "paid",
            "data": {"sum": 5},
            "received_at": "2026-03-28T22:30:05.000000Z",
        },
    }


async def test_a_wait_in_vain_goes_on_at_timeout() -> None:
    at = after("DUE", wired=("timeout",))

    answer = await waited(at, wait_type="signal", signal="paid")

    assert isinstance(answer, Outputs)
    assert answer.ports == {"timeout": {"data": INPUT, "waited_seconds": 5.0}}


async def test_a_wait_in_vain_fails_where_timeout_leads_nowhere() -> None:
    answer = await waited(after("DUE", wired=("main",)), wait_type="signal", signal="paid")

    assert isinstance(answer, Failure)
    assert (answer.kind, answer.code) == (FailureKind.TIMEOUT, "wait_timeout")
    assert not answer.retryable


CONDITION = {"wait_type": "condition", "check_interval": 3, "max_wait": 60}


@pytest.mark.parametrize(
    ("by", "condition"),
    [
        ("CHECK", "signal == null && now == timestamp('2026-03-28T22:30:05Z')"),
        ("SIGNAL", "signal.data.ok && signal.received_at == now && signal.name == 'go'"),
    ],
)
async def test_a_condition_is_looked_at_again(by: str, condition: str) -> None:
    came: dict[str, Any] = {"signal": "go", "data": raw({"ok": True})} if by == "SIGNAL" else {}

    answer = await waited(after(by, **came), **CONDITION, condition=condition)

    assert isinstance(answer, Outputs)
    main = answer.ports["main"]
    assert main == INPUT if by == "CHECK" else main["signal"]["data"] == {"ok": True}


async def test_a_condition_that_does_not_hold_yet_is_waited_for_on() -> None:
    first = await waited(after("CHECK"), **CONDITION, condition="false")

    state = {"since": "2026-03-28T22:30:00.000000Z"}
    expected = Wait(WaitKind.SIGNAL, seconds=55, check_seconds=3, signal="n1", state=state)
    assert first == expected

    later = context(
        INPUT,
        resumed=Resumed(
            by="SIGNAL",
            at=NOW + timedelta(seconds=40),
            waited_since=NOW + timedelta(seconds=30),
            state=raw(state),
            signal="n1",
        ),
    )
    again = await waited(later, **CONDITION, condition="false")

    assert isinstance(again, Wait)
    assert (again.seconds, again.state) == (20, state)


async def test_a_look_past_the_longest_wait_ends_it() -> None:
    at = after("CHECK", after=60, wired=("timeout",))

    answer = await waited(at, **CONDITION, condition="false")

    assert isinstance(answer, Outputs)
    assert answer.ports["timeout"]["waited_seconds"] == 60


async def test_a_condition_that_fails_fails_the_wait() -> None:
    with pytest.raises(ExpressionError):
        await waited(after("CHECK"), **CONDITION, condition="signal.data.ok")
