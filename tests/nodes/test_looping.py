"""LOOP and its presets: what they iterate over, and whether they go on."""

from typing import Any

import pytest
from msgspec import UNSET

from contracts.expressions.errors import ExpressionError
from contracts.failures import FailureKind
from contracts.history import LoopRules
from contracts.limits import NodeLimits
from contracts.messages import LoopScope
from contracts.specs import Catalogue
from contracts.statuses import ItemError
from contracts.validation import examine
from nodes.answers import Failed, Loop
from nodes.catalogue import builtin_specs
from nodes.context import Context
from nodes.flow.looping import loop
from tests.support.documents import START, node, noop, wire
from tests.support.tasks import context, raw

CATALOGUE = Catalogue(builtin_specs())


def asked(index: int, previous: Any = None, *, is_asked: bool = True, value: Any = None) -> Context:
    """Return the context of a loop on a condition, before its iteration `index`."""
    scope = LoopScope(index=index, previous=raw(previous))
    return context(value, next_loop=scope, is_asked=is_asked)


async def looped(at: Context, **parameters: Any) -> Loop:
    answer = await loop(at, loop.reader.read(parameters))
    assert isinstance(answer, Loop)
    return answer


@pytest.mark.parametrize(
    ("value", "parameters", "items"),
    [
        pytest.param([1, 2], {}, [1, 2], id="the list that the input is"),
        pytest.param({"data": [1]}, {}, [1], id="the list in the input"),
        pytest.param({"a": [3]}, {"items": "input.a"}, [3], id="a list by expression"),
        pytest.param([], {}, [], id="no items"),
        pytest.param(None, {"loop_type": "for", "count": 3}, [0, 1, 2], id="a count"),
        pytest.param(None, {"loop_type": "for", "count": "2", "start": 5}, [5, 6], id="from 5 on"),
        pytest.param(None, {"loop_type": "for", "end": 6, "step": 2}, [0, 2, 4], id="a range"),
        pytest.param(
            None, {"loop_type": "for", "start": 3, "end": 0, "step": -1}, [3, 2, 1], id="downwards"
        ),
    ],
)
async def test_a_loop_iterates_over_items(
    value: Any, parameters: dict[str, Any], items: list[Any]
) -> None:
    answer = await looped(context(value), **parameters)

    assert answer == Loop(items=items)


async def test_a_loop_says_how_it_runs() -> None:
    answer = await looped(
        context([1]), batch_size=2, max_parallel=5, on_item_error="drop", collect=False
    )

    assert answer.rules == LoopRules(
        batch_size=2, max_parallel=5, on_item_error=ItemError.DROP, collect=False
    )


@pytest.mark.parametrize(
    ("value", "parameters", "code"),
    [
        ({"a": 1}, {}, "not_a_list"),
        ([1, 2, 3], {"max_iterations": 2}, "too_many_iterations"),
        (None, {"loop_type": "for", "count": 100_001}, "too_many_iterations"),
        (
            None,
            {"loop_type": "for", "end": 2**53 - 1, "start": -(2**53 - 1)},
            "too_many_iterations",
        ),
        (None, {"loop_type": "for"}, "invalid_parameter"),
        (None, {"loop_type": "for", "end": 3, "count": 3}, "invalid_parameter"),
        (None, {"loop_type": "for", "end": 3, "step": 0}, "invalid_parameter"),
        ([], {"max_parallel": 1001}, "invalid_parameter"),
        (None, {"loop_type": "while"}, "invalid_parameter"),
    ],
)
async def test_what_cannot_be_iterated_over_is_refused(
    value: Any, parameters: dict[str, Any], code: str
) -> None:
    with pytest.raises(Failed) as caught:
        await looped(context(value), **parameters)

    assert (caught.value.failure.kind, caught.value.failure.code) == (
        FailureKind.INVALID_INPUT,
        code,
    )


async def test_the_limit_of_items_is_the_operators() -> None:
    at = context([1, 2, 3], limits=NodeLimits(loop_items=2))

    with pytest.raises(Failed, match="3 items, and may have 2"):
        await looped(at)


@pytest.mark.parametrize(
    ("loop_type", "index", "previous", "is_asked", "goes_on"),
    [
        pytest.param("while", 0, None, False, True, id="while is asked before the first"),
        pytest.param(
            "while", 3, {"done": True}, True, False, id="while ends once it does not hold"
        ),
        pytest.param("until", 0, None, False, True, id="until is not asked before the first"),
        pytest.param("until", 1, {"done": False}, True, False, id="until ends once it holds"),
        pytest.param("until", 3, {"done": True}, True, True, id="until goes on while it does not"),
    ],
)
async def test_a_loop_on_a_condition_asks_it(
    loop_type: str, index: int, previous: Any, is_asked: bool, goes_on: bool
) -> None:
    condition = "loop.index < 2 && (loop.previous == null || !loop.previous.done)"

    answer = await looped(
        asked(index, previous, is_asked=is_asked),
        loop_type=loop_type,
        condition=condition,
        max_parallel=7,
    )

    assert (answer.items, answer.goes_on) == (UNSET, goes_on)
    assert answer.rules.max_parallel == 1


async def test_a_condition_that_never_ends_is_stopped() -> None:
    parameters = {"loop_type": "while", "condition": "true"}

    assert (await looped(asked(999), **parameters)).goes_on
    with pytest.raises(Failed) as caught:
        await looped(asked(1000), **parameters)
    assert caught.value.failure.code == "too_many_iterations"
    with pytest.raises(Failed):
        await looped(asked(1), **parameters, max_iterations=1)


async def test_an_inner_loop_sees_the_outer_one_in_its_items_and_as_parent() -> None:
    outer = LoopScope(index=4, item=raw({"ids": [7]}), count=9)
    own = LoopScope(index=0, previous=raw(None), parent=outer)
    at = context(None, loop=outer, next_loop=own)

    assert (await looped(at, items="loop.item.ids")).items == [7]
    on_condition = await looped(
        at, loop_type="while", condition="loop.index == 0 && loop.parent.index == 4"
    )
    assert on_condition.goes_on


async def test_a_condition_is_true_or_false() -> None:
    with pytest.raises(ExpressionError):
        await looped(asked(0), loop_type="while", condition="loop.index")


def document(inside: dict[str, Any], kind: str = "FLOW.LOOP", /, **parameters: Any) -> Any:
    """Return a loop with one node in its body."""
    return {
        "name": "Loop",
        "nodes": [START, node("each", kind, **parameters), noop("body", parameters=inside)],
        "connections": [
            wire("start", "each"),
            wire("each", "body", from_port="iteration"),
            wire("body", "each", to_port="loop_body"),
        ],
    }


@pytest.mark.parametrize(
    ("sent", "problems"),
    [
        pytest.param(document({"data": "{{ loop.item }}"}), [], id="loop in a body"),
        pytest.param(
            document({}, items="loop.item"),
            [("/nodes/1/parameters/items", "invalid_expression")],
            id="no loop around the loop",
        ),
        pytest.param(
            document({}, "FLOW.WHILE", condition="loop.index < 3 && loop.previous == null"),
            [],
            id="a condition sees its own loop",
        ),
        pytest.param(
            document({}, "FLOW.WHILE"),
            [("/nodes/1/parameters/condition", "missing_parameter")],
            id="a preset needs what its type needs",
        ),
        pytest.param(
            document({}, "FLOW.FOR_EACH", loop_type="for"),
            [("/nodes/1/parameters/loop_type", "invalid_parameter")],
            id="a preset's parameter is fixed",
        ),
        pytest.param(
            document({"data": "{{ loop.previous }}"}, max_parallel=1), [], id="one after the other"
        ),
        pytest.param(
            document({"data": "{{ 1 + loop['previous'] }}"}, parallel_execution=True),
            [("/nodes/2/parameters/data", "invalid_expression")],
            id="no iteration is before another",
        ),
        pytest.param(
            document({"data": "{{ loop.parent.previous }}"}, max_parallel=5),
            [],
            id="it is not this loop's",
        ),
        pytest.param(
            document(
                {"data": "{{ loop.previous }}"}, "FLOW.WHILE", condition="true", max_parallel=5
            ),
            [],
            id="a condition goes one by one",
        ),
        pytest.param(
            document({}, max_parallel=1001),
            [("/nodes/1/parameters/max_parallel", "limit_exceeded")],
            id="too many at a time",
        ),
    ],
)
def test_documents_with_loops_are_judged(sent: Any, problems: list[tuple[str, str]]) -> None:
    found = examine(sent, CATALOGUE).problems

    assert [(each.pointer, each.code) for each in found] == problems


def test_older_spellings_are_read() -> None:
    sent = document({}, loop_type="for_range", parallel_execution=True, break_on_error=False, end=2)

    reading = examine(sent, CATALOGUE)

    assert reading.document is not None
    assert reading.document.nodes[1].parameters == {
        "loop_type": "for", "max_parallel": 10, "on_item_error": "NULL", "end": 2
    }  # fmt: skip
