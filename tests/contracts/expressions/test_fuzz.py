"""Any source over any scope gives JSON or an ExpressionError, within the budget."""

import json
import math
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.expressions.budget import Limits
from contracts.expressions.check import check
from contracts.expressions.errors import ExpressionError
from contracts.expressions.functions.catalogue import FUNCTIONS
from contracts.expressions.interpreter import evaluate
from contracts.expressions.lexer import tokens
from contracts.expressions.parser import LIST_MACROS
from contracts.expressions.paths import read, write
from contracts.expressions.templates import contains_template, render
from tests.contracts.expressions.evaluating import REGEX

CODES = {"syntax", "unknown_name", "missing", "type", "overflow", "budget", "value"}
LIMITS = Limits(steps=5_000, produced_bytes=100_000, string_bytes=20_000, entries=500)

fuzzing = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow],
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["2026-03-28", "1h30m", "a.b[0]", "[1, {}]", "%41", "YQ==", "(a)", "Europe/Berlin"]
    )
)
names = st.sampled_from(["a", "b", "key", "value"])
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(names | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
scopes = st.fixed_dictionaries(
    {"input": json_values},
    optional={
        "now": st.sampled_from(["2026-03-28T22:30:00Z", "9999-12-31T23:59:59Z"]) | json_values,
        "nodes": st.dictionaries(names, st.fixed_dictionaries({"output": json_values})),
        "workflow": st.fixed_dictionaries(
            {"timezone": st.sampled_from(["Europe/Berlin", "UTC", "?"])}
        ),
    },
)


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return sources one level up: everything the grammar makes of smaller ones."""
    binary = ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||"]
    few = st.lists(inner, max_size=3)
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(binary), inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
        st.builds("{}{}".format, st.sampled_from(["-", "!"]), inner),
        st.builds("{}.{}".format, inner, names),
        st.builds("{}[{}]".format, inner, inner),
        few.map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(inner, inner), max_size=3).map(
            lambda entries: "{" + ", ".join(f"{key}: {entry}" for key, entry in entries) + "}"
        ),
        st.builds(call, st.sampled_from(sorted(FUNCTIONS)), few, inner),
        st.builds("{}.{}(v, {})".format, inner, st.sampled_from(sorted(LIST_MACROS)), inner),
        st.builds("{}.map(v, {}, {})".format, inner, inner, inner),
        st.builds("has({})".format, inner),
        st.builds("default({}, {})".format, inner, inner),
    )


def call(name: str, extra: list[str], first: str) -> str:
    """Return a call with a number of arguments that the function takes."""
    function = FUNCTIONS[name]
    most = function.most or 3
    arguments = [first, *extra, "0", "'a'"][: max(function.least, min(most, 1 + len(extra)))]
    return f"{arguments[0]}.{name}({', '.join(arguments[1:])})"


leaves = st.one_of(
    st.sampled_from(
        [
            "input",
            "input.a",
            "input.b",
            "v",
            "now",
            "nodes.a.output",
            "null",
            "true",
            "false",
            "[]",
            "{}",
            "duration('1h')",
            "range(40)",
        ]
    ),
    st.integers(-3, 9007199254740993).map(lambda n: f"({n})"),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda n: f"({n!r})"),
    st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from(
        [
            "'days'",
            "'%Y-%m-%d'",
            "'UTC'",
            "'asc'",
            "'2026-03-28'",
            "'[*].a'",
            "'[a-z]+'",
            "','",
            "''",
        ]
    ),
)
sources = st.recursive(leaves, combined, max_leaves=8)
fragments = st.lists(
    st.sampled_from(
        [
            "input",
            "a",
            ".",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            "?",
            "1",
            "'",
            '"',
            "\\",
            "+",
            "-",
            "!",
            "&&",
            "||",
            "==",
            " ",
            "map",
            "x",
            "{{",
            "}}",
            "in",
            "nodes",
            "$",
            "r'",
            "0x",
            "e",
            "\n",
            "has",
            "default",
            "and",
        ]
    ),
    max_size=25,
).map("".join)


def is_json(value: Any) -> bool:
    """Return whether a value is JSON."""
    if isinstance(value, list):
        return all(is_json(entry) for entry in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_json(entry) for key, entry in value.items())
    return value is None or type(value) in (bool, int, float, str)


def attempted(call: Callable[[], Any]) -> Any:
    """Return what a call gives, or its ExpressionError."""
    try:
        return call()
    except ExpressionError as error:
        return error


def outcome(source: str, scope: dict[str, Any]) -> Any:
    """Return what a source gives, or code and position of its error, checked for all promises."""
    found = attempted(lambda: evaluate(source, scope, LIMITS, REGEX))
    if isinstance(found, ExpressionError):
        assert found.code in CODES
        assert found.source == source
        assert found.position is None or 0 <= found.position <= len(source)
        return (found.code, found.position)
    assert is_json(found)
    assert type(found) is not float or math.isfinite(found)
    return found


@fuzzing
@given(source=st.text(max_size=60), scope=scopes)
def test_any_text_is_an_expression_or_an_error(source: str, scope: dict[str, Any]) -> None:
    outcome(source, scope)


@fuzzing
@given(source=fragments, scope=scopes)
def test_any_pieces_of_syntax_are_an_expression_or_an_error(
    source: str, scope: dict[str, Any]
) -> None:
    outcome(source, scope)


@settings(fuzzing, max_examples=1500)
@given(source=sources, scope=scopes)
def test_any_expression_gives_json_or_an_error(source: str, scope: dict[str, Any]) -> None:
    before = repr(scope)

    first, second = outcome(source, scope), outcome(source, scope)

    assert repr(first) == repr(second)
    assert repr(scope) == before


@fuzzing
@given(source=sources, scope=scopes)
def test_what_the_check_passes_never_fails_for_its_syntax(
    source: str, scope: dict[str, Any]
) -> None:
    checked = attempted(lambda: check(source, names=frozenset({"v"}), regex=REGEX))

    found = outcome(source, scope)

    if isinstance(checked, ExpressionError):
        assert checked.code in CODES
    else:
        assert not (isinstance(found, tuple) and found[0] == "syntax")


@fuzzing
@given(value=st.lists(fragments | st.text(max_size=10) | json_values, max_size=4), scope=scopes)
def test_any_value_renders_or_fails(value: Any, scope: dict[str, Any]) -> None:
    found = attempted(lambda: render(value, scope, LIMITS, REGEX))

    if isinstance(found, ExpressionError):
        assert found.code in CODES
    else:
        assert is_json(found)
        assert contains_template(value) or found is value


@fuzzing
@given(
    path=st.text(max_size=15) | st.text(alphabet="ab.[]0*'\"$\\", max_size=15), value=json_values
)
def test_any_path_reads_and_writes_or_fails(path: str, value: Any) -> None:
    was_read = attempted(lambda: read(value, path))
    written = attempted(lambda: write(value, path, "new"))

    assert not isinstance(was_read, ExpressionError) or was_read.code in ("missing", "value")
    if isinstance(written, ExpressionError):
        assert written.code in ("type", "value")
    else:
        assert read(written, path) == "new"


@fuzzing
@given(text=st.text(max_size=30))
def test_tokens_cover_the_source_in_order(text: str) -> None:
    found = attempted(lambda: tokens(text))

    if isinstance(found, ExpressionError):
        assert found.code in ("syntax", "overflow")
    else:
        ends = [0, *(token.position + len(token.text) for token in found)]
        assert all(token.position >= end for token, end in zip(found, ends, strict=False))
        assert found[-1].kind == "end"


@fuzzing
@given(a=json_values, b=json_values)
def test_equality_agrees_with_distinct(a: Any, b: Any) -> None:
    scope = {"input": [a, b]}

    same = outcome("input[0] == input[1]", scope)
    kept = outcome("input.distinct().size()", scope)

    assert outcome("input[1] == input[0]", scope) == same
    # A number that is none, or beyond 64 bits, cannot be written and so not be told apart.
    assert isinstance(kept, tuple) or kept == (1 if same else 2) or repr(a) == repr(b)
