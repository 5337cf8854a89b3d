"""IF, SWITCH, MERGE and NOOP; and the triggers, which hand their data on."""

import re
from typing import Any

import pytest

from contracts.expressions.errors import ExpressionError
from contracts.failures import Failure, FailureKind
from contracts.inputs import Arrival
from contracts.specs import Catalogue
from contracts.validation import examine
from nodes import triggers
from nodes.answers import Failed
from nodes.catalogue import builtin_specs
from nodes.context import Context, Outputs
from nodes.flow.branching import if_, switch
from nodes.flow.merging import merge
from nodes.flow.plain import noop
from nodes.parameters import InvalidParameter
from nodes.registry import Handler
from tests.support.documents import chain, node
from tests.support.tasks import context


async def ports(handler: Handler, at: Context, **parameters: Any) -> dict[str, Any]:
    """Return what a handler gives on its ports."""
    answer = await handler(at, handler.reader.read(parameters))
    assert isinstance(answer, Outputs)
    return answer.ports


@pytest.mark.parametrize(("total", "port"), [(5, "true"), (1, "false")])
async def test_if_sends_its_input_on_by_the_condition(total: int, port: str) -> None:
    at = context({"total": total})

    assert await ports(if_, at, condition="input.total > 3") == {port: {"total": total}}


async def test_if_takes_true_and_false_alone() -> None:
    with pytest.raises(ExpressionError, match="true or false"):
        await ports(if_, context(1), condition="input")


MAP = {"5": "five", "true": "yes", "a": "letter"}
LIST: list[dict[str, Any]] = [
    {"equals": 5, "port": "five"},
    {"equals": {"a": [1, 2.0]}, "port": "deep"},
    {"when": "input.x == 'when'", "port": "condition"},
    {"equals": "{{ 'ren' + 'dered' }}", "port": "template"},
]


@pytest.mark.parametrize(
    ("cases", "x", "port"),
    [
        pytest.param(MAP, 5, "five", id="a map compares the text of a number"),
        pytest.param(MAP, True, "yes", id="a map compares the text of a boolean"),
        pytest.param(MAP, "a", "letter", id="a map compares text"),
        pytest.param(MAP, "z", "other", id="nothing fits: the default"),
        pytest.param(LIST, 5.0, "five", id="a list compares by value"),
        pytest.param(LIST, "5", "other", id="text is no number"),
        pytest.param(LIST, {"a": [1.0, 2]}, "deep", id="equality is deep"),
        pytest.param(LIST, "when", "condition", id="a case may be a condition"),
        pytest.param(LIST, "rendered", "template", id="what a case equals may be a template"),
        pytest.param('{"5": "five"}', 5, "five", id="cases may be JSON text"),
    ],
)
async def test_switch_takes_the_first_case_that_fits(cases: Any, x: Any, port: str) -> None:
    at = context({"x": x})

    found = await ports(switch, at, value="input.x", cases=cases, default="other")

    assert found == {port: {"x": x}}


async def test_switch_by_conditions_needs_no_value() -> None:
    cases = [{"when": "input > 1", "port": "many"}]

    assert await ports(switch, context(2), cases=cases) == {"many": 2}
    assert await ports(switch, context(1), cases=cases) == {"default": 1}


@pytest.mark.parametrize("cases", [{"a": "b"}, [{"equals": 1, "port": "one"}]])
async def test_switch_by_value_needs_one(cases: Any) -> None:
    answer = await switch(context(1), switch.reader.read({"cases": cases}))

    assert isinstance(answer, Failure)
    assert (answer.code, answer.details) == ("invalid_parameter", {"parameter": "value"})


@pytest.mark.parametrize(
    "cases",
    [
        {"a": "Not a port"},
        [{"port": "one"}],
        [{"equals": 1, "when": "true", "port": "one"}],
        [{"equals": 1}],
        [{"equals": 1, "port": "one", "surplus": 1}],
        "no json",
    ],
)
def test_switch_refuses_cases_that_say_nothing(cases: Any) -> None:
    with pytest.raises(InvalidParameter) as caught:
        switch.reader.read({"value": "1", "cases": cases})

    assert caught.value.parameter == "cases"


def test_the_ports_of_switch_follow_from_its_cases() -> None:
    spec = switch.spec

    assert spec.output_ports({"cases": {"a": "x", "b": "y"}}) == ("x", "y", "default", "error")
    assert spec.output_ports({"cases": LIST[:2], "default": "z"}) == (
        "five",
        "deep",
        "z",
        "error",
    )


async def test_noop_hands_on_its_input_or_data() -> None:
    assert await ports(noop, context({"a": 1})) == {"main": {"a": 1}}
    assert await ports(noop, context({"a": 1}), data=None) == {"main": None}
    assert await ports(noop, context({"a": 1}), data='{"b": 2}') == {"main": {"b": 2}}


async def test_triggers_hand_on_their_data() -> None:
    at = context({"posted": 1})

    assert await ports(triggers.manual, at) == {"main": {"posted": 1}}
    assert await ports(triggers.event, at, subject="orders.>") == {"main": {"posted": 1}}


def arrived(*streams: Any) -> Context:
    """Return a context whose ports got these values, one each, and main the first."""
    names = ("main", "input1", "input2", "input3")
    return context(
        None,
        *(
            Arrival(f"s{number}", name, value)
            for number, (name, value) in enumerate(zip(names, streams, strict=False))
        ),
    )


A = [{"id": 1, "a": "x"}, {"id": 2, "a": "y"}, {"id": 3, "a": "z"}]
B = [{"id": 2, "b": "p"}, {"id": 3, "b": "q"}, {"id": 3, "b": "r"}, {"id": 4, "b": "s"}]


@pytest.mark.parametrize(
    ("parameters", "streams", "data"),
    [
        pytest.param({}, ([1, 2], [2, 3]), [1, 2, 2, 3], id="concat appends"),
        pytest.param(
            {"strategy": "concat"},
            ({"items": [1]}, {"data": [2]}, {"results": [3]}, 4),
            [1, 2, 3, 4],
            id="a stream's list is found, or it counts as one",
        ),
        pytest.param(
            {"strategy": "union"},
            ([1, True, "1"], [1.0, {"a": 1}], [{"a": 1.0}]),
            [1, True, "1", {"a": 1}],
            id="union is without repeats, by value",
        ),
        pytest.param(
            {"strategy": "union", "key": "item.id"},
            (A, B),
            [*A, {"id": 4, "b": "s"}],
            id="union by key keeps the first",
        ),
        pytest.param(
            {"strategy": "intersection"}, ([3, 1, 2, 1], [1, 3], [1, 3, 5]), [3, 1],
            id="intersection is in the order of the first",
        ),
        pytest.param(
            {"strategy": "intersection", "key": "item.id"},
            (A, B),
            A[1:],
            id="intersection by key has the values of the first",
        ),
        pytest.param(
            {"strategy": "join", "key": "item.id"},
            (A, B),
            [
                {"id": 2, "a": "y", "b": "p"},
                {"id": 3, "a": "z", "b": "q"},
                {"id": 3, "a": "z", "b": "r"},
            ],
            id="an inner join keeps what matches",
        ),
        pytest.param(
            {"strategy": "join", "key": "item.id", "how": "left"},
            (A[:2], B[:1]),
            [{"id": 1, "a": "x"}, {"id": 2, "a": "y", "b": "p"}],
            id="a left join keeps the left",
        ),
        pytest.param(
            {"strategy": "join", "key": "item.id", "how": "outer"},
            (A[:1], B[:1], [{"id": 2, "c": 1}]),
            [{"id": 1, "a": "x"}, {"id": 2, "b": "p", "c": 1}],
            id="an outer join keeps both, stream after stream",
        ),
        pytest.param(
            {"strategy": "combine"},
            ({"a": 1, "b": 1}, {"b": 2}),
            {"a": 1, "b": 2},
            id="combine merges maps",
        ),
        pytest.param(
            {"strategy": "custom", "rule": "{'n': size(inputs), 'first': ports.input1[0]}"},
            ([1], "x"),
            {"n": 2, "first": "x"},
            id="custom is an expression over inputs and ports",
        ),
    ],
)  # fmt: skip
async def test_merge_joins_its_streams(
    parameters: dict[str, Any], streams: tuple[Any, ...], data: Any
) -> None:
    found = await ports(merge, arrived(*streams), **parameters)

    assert found["main"]["data"] == data
    assert found["main"]["count"] == len(data)


async def test_merge_takes_streams_by_port_then_in_document_order() -> None:
    at = context(
        None,
        Arrival("late", "additional", 9),
        Arrival("ten", "input10", 10),
        Arrival("two", "input2", 2),
        Arrival("first", "main", [0, 1]),
        Arrival("second", "main", 1.5),
    )

    found = (await ports(merge, at))["main"]

    assert found["data"] == [0, 1, 1.5, 2, 10, 9]
    assert [(each.node_id, each.port, each.count) for each in found["sources"]] == [
        ("first", "main", 2),
        ("second", "main", 1),
        ("two", "input2", 1),
        ("ten", "input10", 1),
        ("late", "additional", 1),
    ]


@pytest.mark.parametrize(
    ("parameters", "streams", "code"),
    [
        ({"strategy": "join"}, (A, B), "invalid_parameter"),
        ({"strategy": "custom"}, (A, B), "invalid_parameter"),
        ({"strategy": "join", "key": "1"}, (A, [1]), "invalid_input"),
        ({"strategy": "combine"}, ({}, [1]), "invalid_input"),
    ],
)
async def test_merge_refuses_what_it_cannot_join(
    parameters: dict[str, Any], streams: tuple[Any, ...], code: str
) -> None:
    with pytest.raises(Failed) as caught:
        await ports(merge, arrived(*streams), **parameters)

    assert (caught.value.failure.kind, caught.value.failure.code) == (
        FailureKind.INVALID_INPUT,
        code,
    )


async def test_a_join_that_multiplies_is_stopped() -> None:
    same = [{"id": 1}] * 600

    with pytest.raises(Failed) as caught:
        await ports(merge, arrived(same, same), strategy="join", key="item.id")

    assert caught.value.failure.kind is FailureKind.PAYLOAD_TOO_LARGE


def test_how_long_merge_waits_is_stored_as_the_engine_reads_it() -> None:
    sent = node(
        "merge", "FLOW.MERGE", wait_for_all=False, timeout_seconds="30", on_timeout="proceed"
    )

    reading = examine(chain(sent), Catalogue(builtin_specs()))

    assert reading.problems == ()
    assert reading.document is not None
    assert reading.document.nodes[1].parameters == {
        "wait_for": "first",
        "max_wait": 30,
        "on_timeout": "PROCEED",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("wait_for", "{{ 'first' }}"), ("max_wait", 0), ("max_wait", "{{ 5 }}"), ("on_timeout", "x")],
)
def test_how_long_merge_waits_is_a_constant(name: str, value: Any) -> None:
    document = chain(node("merge", "FLOW.MERGE", **{name: value}))

    problems = examine(document, Catalogue(builtin_specs())).problems

    assert [(each.pointer, each.code) for each in problems] == [
        (f"/nodes/1/parameters/{name}", "invalid_parameter")
    ]


@pytest.mark.parametrize(
    ("subject", "fits"),
    [
        ("orders.*", True),
        ("orders.*.paid", True),
        ("orders.>", True),
        (">", True),
        ("*", True),
        ("orders.>.x", False),
        ("flotilla.trigger.orders", False),
        ("ä.b", False),
        ("a*b", False),
        ("a..b", False),
        ("", False),
    ],
)
def test_only_subjects_that_can_fire_are_taken(subject: str, fits: bool) -> None:
    schema = triggers.event.spec.parameter("subject")
    assert schema is not None

    assert (re.search(schema.schema["pattern"], subject) is not None) is fits
