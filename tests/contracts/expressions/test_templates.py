"""Templates inside JSON values (NODES.md 1.1, 1.6)."""

from typing import Any

import pytest

from contracts.expressions.budget import Limits
from contracts.expressions.errors import ExpressionError
from contracts.expressions.templates import contains_template, render, sources
from tests.contracts.expressions.evaluating import REGEX, SCOPE, same


def rendered(value: Any, limits: Limits | None = None, **names: Any) -> Any:
    """Return a value rendered in the scope of the examples."""
    return render(value, {**SCOPE, **names}, limits or Limits(), REGEX)


def failed(value: Any, limits: Limits | None = None, **names: Any) -> ExpressionError:
    """Return the error that rendering fails with."""
    with pytest.raises(ExpressionError) as caught:
        rendered(value, limits, **names)
    return caught.value


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        (5, 5),
        (None, None),
        ("{{ 1 }}", 1),
        ("{{1}}", 1),
        (" {{ 1 }}", " 1"),
        ("{{ 1 }}{{ 2 }}", "12"),
        ("{{ 4 / 2 }}", 2),
        ("a{{ 4 / 2 }}", "a2"),
        ("{{ now }}", "2026-03-28T22:30:00Z"),
        ("at {{ now }} for {{ duration('1h') }}", "at 2026-03-28T22:30:00Z for 3600s"),
        ("{{ {'a': '}}'} }}", {"a": "}}"}),
        ("{{ '}}' }}", "}}"),
        ("{{ \"}}\" + '\\'}}' }}", "}}'}}"),
        ("{{ r'\\' + '}}' }}", "\\}}"),
        ("{{ {'a': {}}}}", {"a": {}}),
        ("{{ 1 }}}}", "1}}"),
        ("a }} b", "a }} b"),
        ("{ {1} }", "{ {1} }"),
        ("é{{ 'ü' }}", "éü"),
        (["{{ 1 }}", {"{{ key }}": "{{ 2 }}"}], [1, {"{{ key }}": 2}]),
        (["{{ 1 }}", 2.5, None, True], [1, 2.5, None, True]),
        ({"a": {"b": ["x{{ true }}"]}}, {"a": {"b": ["xtrue"]}}),
    ],
    ids=repr,
)
def test_rendering(template: Any, expected: Any) -> None:
    assert same(rendered(template), expected)


@pytest.mark.parametrize(
    ("template", "code", "position"),
    [
        ("{{ 1", "syntax", 0),
        ("ab {{ '}}'", "syntax", 3),
        ("{{ {'a': 1 }}", "syntax", 0),
        ("{{ }}", "syntax", 1),
        ("{{}}", "syntax", 0),
        ("a {{ 1 + }}", "syntax", 5),
        ("{{ absent }}", "unknown_name", 1),
        ("{{ input.absent }}", "missing", 7),
    ],
)
def test_a_faulty_template_fails(template: str, code: str, position: int) -> None:
    error = failed(template)

    assert (error.code, error.position) == (code, position)


def test_a_value_without_templates_is_passed_on() -> None:
    value: Any = {"a": ["b", {"{{ key }}": 1}]}

    assert contains_template(value) is False
    assert rendered(value) is value


def test_a_whole_string_passes_a_value_on_however_large() -> None:
    large = {"text": "x" * 3_000_000, "list": list(range(200_000))}

    found = rendered({"body": "{{ input }}", "text": "{{ input.text }}"}, input=large)

    assert found["body"] is large
    assert found["text"] is large["text"]


def test_a_value_that_is_passed_on_again_and_again_counts() -> None:
    large = ["x" * 100_000]

    assert failed(["{{ input }}"] * 20, input=large).code == "budget"


def test_sources_name_each_expression_with_its_pointer() -> None:
    value: Any = {"a/b": ["x", "{{ 1 }} {{ 2 }}"], "c~": {"d": "{{ 3 }}"}}

    assert sources(value) == [("/a~1b/1", " 1 "), ("/a~1b/1", " 2 "), ("/c~0/d", " 3 ")]
    assert sources("{{ 1 }}") == [("", " 1 ")]


def test_a_template_has_at_most_100_expressions() -> None:
    assert rendered("{{ 1 }}" * 100) == "1" * 100
    assert failed("{{ 1 }}" * 101).code == "budget"
    assert rendered(["{{ 1 }}"] * 101) == [1] * 101


def test_the_end_of_an_expression_is_looked_for_as_far_as_one_may_reach() -> None:
    assert rendered("{{ 1 " + " " * 4_093 + "}}") == 1
    assert failed("{{ " + " " * 5_000 + "1 }}").code == "syntax"
    assert failed("{{ " * 1_000_000).code == "syntax"


def test_a_rendered_parameter_has_at_most_one_mebibyte() -> None:
    text = "x" * 200_000

    assert len(rendered("{{ input }}" * 5, input=text)) == 1_000_000
    assert failed("{{ input }}" * 6, input=text).code == "budget"
    assert failed(["a{{ input }}"] * 6, input=text).code == "budget"
    assert failed("{{ input }}{{ 1 }}", input="x" * 1_048_577).code == "budget"


def test_each_expression_has_a_budget_of_its_own() -> None:
    heavy = "{{ range(9000).all(x, x >= 0) }}"

    assert rendered(heavy * 20) == "true" * 20


def test_a_value_nested_deeper_than_json_may_be_fails() -> None:
    value: Any = "{{ 1 }}"
    for _ in range(5000):
        value = [value]

    assert contains_template(value) is True
    assert failed(value).code == "budget"
