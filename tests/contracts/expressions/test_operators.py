"""Literals, operators, precedence, numbers, equality and order (NODES.md 1.3, 1.7)."""

from typing import Any

import pytest

from contracts.expressions.errors import ExpressionError
from tests.contracts.expressions.evaluating import failure, same, value


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("12", 12),
        ("0x1F", 31),
        ("1u", 1),
        ("1.5", 1.5),
        ("1e3", 1000),
        ("1.50e-1", 0.15),
        ("9007199254740991", 9007199254740991),
        ("007", 7),
        ("'a' + \"b\"", "ab"),
        (r"r'\n'", "\\n"),
        (r"'\n\t\r\\\'\"\x41\u00e9\U0001F600'", "\n\t\r\\'\"Aé😀"),
        ("true", True),
        ("null", None),
        ("[1, 2,]", [1, 2]),
        ("[]", []),
        ("{'a': 1, 'b' + 'c': [2],}", {"a": 1, "bc": [2]}),
        ("{}", {}),
        (" \t\n1 ", 1),
    ],
    ids=str,
)
def test_a_literal_gives_its_value(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "  ",
        "1 2",
        "1 +",
        "(1",
        "[1",
        "{'a'}",
        "{'a': 1",
        "'a",
        "a.",
        "a.1",
        "f(",
        ".5",
        "1abc",
        "1.5u",
        "'\\q'",
        "'\\u12'",
        "'\\ud800'",
        "'\\x00'",
        "'\\U00110000'",
        "b'bytes'",
        "1 // comment",
        "1 # comment",
        "a ? b",
        "[,]",
        "in",
        "x in",
        "\x00",
        "é",
        "{{ 1",
        "\ud800",
        "[1].map(1, 2)",
        "[1].map(true, 2)",
        "[1].map(nodes, 2)",
        "[1].map(x.y, 2)",
    ],
    ids=repr,
)
def test_bad_syntax_is_told_with_its_position(source: str) -> None:
    error = failure(source)

    assert error.code == "syntax"
    assert error.position is not None
    assert 0 <= error.position <= len(source)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 4 - 3", 3),
        ("100 / 10 / 5", 2),
        ("2 * 3 % 4", 2),
        ("-2 * 3", -6),
        ("--2", 2),
        ("-7 % 3", -1),
        ("!true == false", True),
        ("1 + 1 == 2", True),
        ("1 < 2 == true", True),
        ("1 in [1] && true", True),
        ("2 + 1 in [3]", True),
        ("true || false && false", True),
        ("(true || false) && false", False),
        ("false ? 1 : true ? 2 : 3", 2),
        ("true ? false ? 1 : 2 : 3", 2),
        ("false || true ? 'a' : 'b'", "a"),
        ("-[1, 2][1]", -2),
        ("!{'a': false}.a", True),
        ("1 + 2 > 2 && 2 * 2 <= 4 || false", True),
    ],
    ids=str,
)
def test_precedence(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("false && input.absent", False),
        ("true || input.absent", True),
        ("true ? 1 : input.absent", 1),
        ("false ? input.absent : 2", 2),
        ("true && false && 1 / 0 == 1", False),
    ],
    ids=str,
)
def test_what_is_not_needed_is_not_evaluated(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize("source", ["input.absent && false", "input.absent || true"])
def test_the_right_never_absorbs_an_error_on_the_left(source: str) -> None:
    assert failure(source).code == "missing"


@pytest.mark.parametrize(
    "source",
    ["1 && true", "true && 1", "'a' || true", "null ? 1 : 2", "!1", "!''", "[] && true"],
)
def test_there_is_no_truthiness(source: str) -> None:
    assert failure(source).code == "type"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("7 / 2", 3.5),
        ("6 / 2", 3),
        ("-6 / 2", -3),
        ("7 % -3", 1),
        ("-7.5 % 2", -1.5),
        ("7.5 % 2.5", 0),
        ("2 * 0.5", 1),
        ("0.5 + 0.5", 1),
        ("-0.0", 0),
        ("0 * -1", 0),
        ("1e300 * 10", 1e301),
        ("9007199254740991 * 1.0 + 1.5", 9007199254740992.0),
        ("9007199254740990 + 1", 9007199254740991),
        ("input.n", 9223372036854775807),
        ("input.whole", 2),
        ("[input.whole]", [2]),
    ],
    ids=str,
)
def test_numbers_are_one_type(source: str, expected: Any) -> None:
    assert same(value(source, input={"n": 9223372036854775807, "whole": 2.0}), expected)


@pytest.mark.parametrize(
    "source",
    [
        "9007199254740991 + 1",
        "-9007199254740991 - 1",
        "9007199254740991 * 2",
        "9007199254740992",
        "99999999999999999999",
        "0xFFFFFFFFFFFFFFFF",
        "input.n + 0",
        "-input.n",
        "1e400",
        "1e308 * 10",
        "1e308 + 1e308",
        "1 / 0",
        "1 % 0",
        "1.5 / 0",
        "1.5 % 0",
        "0.0 / 0.0",
        "abs(input.n)",
        "input.huge * 1.5",
        "input.huge + ''.size()",
        "string(input.huge)",
        "toJson([input.huge])",
        "input.infinite",
        "input.infinite - input.infinite",
    ],
    ids=str,
)
def test_a_number_out_of_range_fails(source: str) -> None:
    names = {"n": 9223372036854775807, "huge": 10**5000, "infinite": float("inf")}

    assert failure(source, input=names).code == "overflow"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1 == 1.0", True),
        ("'1' == 1", False),
        ("true == 1", False),
        ("false == 0", False),
        ("null == false", False),
        ("null == null", True),
        ("[1, {'a': [2.0]}] == [1.0, {'a': [2]}]", True),
        ("[1] == [true]", False),
        ("{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", True),
        ("{'a': 1} == {'b': 1}", False),
        ("{'a': 1} == {'a': 1, 'b': 1}", False),
        ("[] == {}", False),
        ("[1, 2] == [2, 1]", False),
        ("now == timestamp('2026-03-28T23:30:00+01:00')", True),
        ("now == '2026-03-28T22:30:00Z'", False),
        ("duration('1h') == duration('60m')", True),
        ("duration('60s') == 60", False),
        ("1 != 2", True),
        ("[1] != [1]", False),
    ],
    ids=str,
)
def test_equality_is_deep_and_never_fails(source: str, expected: bool) -> None:
    assert value(source) is expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1 < 1.5", True),
        ("2 >= 2.0", True),
        ("'Z' < 'a'", True),
        ("'a' < 'ab'", True),
        ("'é' > 'z'", True),
        ("'\U0001f600' > '\uffff'", True),
        ("false < true", True),
        ("now > timestamp('2026-01-01')", True),
        ("duration('1h') <= duration('3600s')", True),
    ],
    ids=ascii,
)
def test_order_within_a_type(source: str, expected: bool) -> None:
    assert value(source) is expected


@pytest.mark.parametrize(
    "source",
    [
        "1 < '2'",
        "true < 1",
        "null < 1",
        "null < null",
        "[1] < [2]",
        "{} < {}",
        "now < 1",
        "1 < 2 < 3",
    ],
)
def test_no_order_between_other_values(source: str) -> None:
    assert failure(source).code == "type"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("[1] + [2, 3]", [1, 2, 3]),
        ("'é' + 'a'", "éa"),
        ("string(now + duration('1m'))", "2026-03-28T22:31:00Z"),
        ("duration('1m') + now", "2026-03-28T22:31:00Z"),
        ("duration('1m') + duration('1s')", 61),
        ("now - now", 0),
        ("now - duration('0.5s')", "2026-03-28T22:29:59.500000Z"),
        ("duration('1m') - duration('90s')", -30),
        ("-duration('1.5s')", -1.5),
        ("1 in [2, 1.0]", True),
        ("[1] in [[1]]", True),
        ("3 in [1, 2]", False),
        ("'a' in {'a': 1}", True),
        ("'b' in {'a': 1}", False),
    ],
    ids=str,
)
def test_operators_of_other_types(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize(
    "source",
    [
        "'a' + 1",
        "1 + 'a'",
        "[1] + 1",
        "{} + {}",
        "null + 1",
        "true + true",
        "true + 1",
        "'a' * 3",
        "'a' / 1",
        "[1] * 3",
        "'a' - 'a'",
        "'%s' % 'a'",
        "now + now",
        "now + 1",
        "duration('1s') - now",
        "1 in {'a': 1}",
        "'a' in 'abc'",
        "1 in 1",
        "-'a'",
        "-true",
        "-null",
    ],
)
def test_operators_never_convert(source: str) -> None:
    assert failure(source).code == "type"


def test_a_key_that_stands_twice_fails() -> None:
    assert failure("{'a': 1, 'a': 2}").code == "value"


@pytest.mark.parametrize("source", ["{1: 2}", "{null: 2}", "{true: 2}"])
def test_a_key_that_is_no_string_fails(source: str) -> None:
    assert failure(source).code == "type"


def test_an_instant_out_of_range_fails() -> None:
    assert failure("timestamp('9999-12-31T23:59:59Z') + duration('1d')").code == "overflow"


def test_a_long_chain_is_no_nesting() -> None:
    assert value("+".join(["1"] * 2000)) == 2000
    assert value("&&".join(["true"] * 600)) is True
    assert value("false?1:" * 500 + "2") == 2


@pytest.mark.parametrize(
    ("opening", "inside", "closing"),
    [
        ("(", "1", ")"),
        ("[", "", "]"),
        ("[1][", "0", "]"),
        ("{'a':", "1", "}"),
        ("-", "1", ""),
        ("!", "true", ""),
        ("abs(", "1", ")"),
        ("true?", "1", ":0"),
        ("1+(", "1", ")"),
    ],
)
def test_nesting_ends_at_32(opening: str, inside: str, closing: str) -> None:
    error = failure(opening * 33 + inside + closing * 33)

    assert error.code == "budget"
    assert "nested" in error.message


@pytest.mark.parametrize(
    ("opening", "inside", "closing"),
    [
        ("(", "1", ")"),
        ("-", "1", ""),
        ("abs(", "1", ")"),
        ("true?", "1", ":0"),
        ("1*1+1*(", "1", ")"),
    ],
)
def test_nesting_up_to_32_is_fine(opening: str, inside: str, closing: str) -> None:
    assert value(opening * 32 + inside + closing * 32) in (1, 33)


def test_a_deep_stack_below_leaves_room_for_an_expression() -> None:
    """Handlers call from deep inside frameworks: the worst nesting must fit on top of that."""

    def below(frames: int) -> Any:
        return below(frames - 1) if frames else value("1||1&&1==1+1*-[" * 16 + "1" + "]" * 16)

    with pytest.raises(ExpressionError, match="true or false"):
        below(250)
