"""The matcher over RE2, as the functions of regular expressions use it."""

import pytest

from contracts.expressions.errors import ExpressionError
from contracts.expressions.regex import Regex
from nodes.regex import Re2
from tests.contracts.expressions.evaluating import failure, value


def test_it_is_what_the_language_asks_for() -> None:
    regex: Regex = Re2()

    assert regex.search("b+", "abba") is True
    assert regex.extract("a(b+)", "abba") == "bb"
    assert list(regex.replace("b", "abc", r"<\0>")) == ["a<b>", "c"]


def test_a_simple_pattern_weighs_one_and_a_large_program_more() -> None:
    regex = Re2()

    assert regex.weight("[0-9]+") == 1
    assert regex.weight("[01]*1[01]{400}x") > 100


@pytest.mark.parametrize(
    "pattern", ["(", "*", "(?=a)", r"\1", "a{2000}", "((a{100}){100}){100}", "\ud800"]
)
def test_what_is_no_re2_is_refused(pattern: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Re2().weight(pattern)

    assert caught.value.code == "value"


def test_a_pattern_pays_for_its_weight() -> None:
    bits = "01" * 20_000

    assert value("input.matches('1x')", input=bits) is False
    assert failure("input.matches('[01]*1[01]{400}x')", input=bits).code == "budget"


def test_a_pattern_that_is_used_again_is_paid_for_once() -> None:
    words = [f"w{number}" for number in range(5_000)]

    assert value("input.filter(w, w.matches('^w[0-9]$')).size()", input=words) == 10
