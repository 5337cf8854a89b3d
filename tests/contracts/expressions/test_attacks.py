"""Sources that other template and expression engines fell to, and the budgets of NODES.md 1.6."""

import json
from typing import Any

import pytest

from contracts.expressions.budget import DEFAULT_LIMITS, Limits
from contracts.expressions.errors import ExpressionError
from contracts.expressions.interpreter import evaluate
from contracts.expressions.templates import render
from tests.contracts.expressions.evaluating import REGEX, SCOPE, failure, value


def shortened(source: str) -> str:
    """Return an id for a long source."""
    return source if len(source) <= 70 else f"{source[:60]}... of {len(source)}"


def nested(depth: int) -> Any:
    """Return a list nested so deep."""
    inner: Any = 1
    for _ in range(depth):
        inner = [inner]
    return inner


LARGE: dict[str, Any] = {
    "text": "a" * 5_000_000,
    "same": "a" * 5_000_000,
    "bits": "0110100110010110" * 10_000,
    "quotes": '"\\' * 100_000,
    "escapes": "%41" * 80_000,
    "numbers": list(range(200_000)),
    "lists": [[-1, -2] * 10] * 9_000,
    "twins": [[x, y] for x in (-1, -2) for y in (-1, -2)] * 2_000,
    "map": {f"k{n}": n for n in range(50_000)},
    "keys": [f"k{n}" for n in range(20_000)],
    "parts": "a," + "b" * 300_000,
    "wide": "é" * 300_000,
    "grid": [[1] * 20_000],
    "deep": nested(5_000),
    "deeper": nested(5_000),
    "long_texts": ["a" * 600 + str(n) for n in range(9_000)],
}

REACHING_OUT = [
    "__import__('os').system('id')",
    "input.__class__.__mro__[1].__subclasses__()",
    "''.__class__",
    "''.format(input)",
    "'{0.__class__}'.format(input)",
    "'%s' % input",
    "f'{input}'",
    "`${input}`",
    "this.constructor.constructor('return process')()",
    "input.constructor.constructor('return process.env')()",
    "input['constructor']['prototype']",
    "input.__proto__.polluted",
    "(() => 1)()",
    "[].map.constructor('x')",
    "globals()",
    "eval('1')",
    "exec('import os')",
    "getattr(input, 'a')",
    "open('/etc/passwd')",
    "lambda: 1",
    "[x for x in input]",
    "input if True else 1",
    "input; 1",
    "x = 1",
    "{% for x in input %}",
    "{{ config }}",
    "{{ self.__init__.__globals__ }}",
    "cycler.__init__.__globals__.os",
    "lipsum|attr('x')",
    "$env.SECRET",
    "$node.constructor",
    "process.env",
    "require('child_process')",
    "nodes.constructor.output",
    "nodes['__class__'].output",
    "static.__dict__",
    "now.__class__",
    "now.tzinfo",
    "now.strftime('%s')",
    "size.__globals__",
    "type(1).__bases__",
    "map.__call__",
    "env.HOME",
    "credentials.token",
]

BOMBS = [
    "range(10000).map(a, range(10000).map(b, range(10000)))",
    "range(100).map(a, range(100).map(b, range(100).map(c, a * b * c)))",
    "range(10000).filter(a, range(10000).all(b, true))",
    "[1, 1]" + ".map(x, [x, x])" * 250,
    "toJson([1, 1]" + ".map(x, [x, x])" * 200 + ")",
    "size(toJson([1, 1]" + ".map(x, [x, x])" * 200 + "))",
    "[1, 1]" + ".map(x, [x, x])" * 100 + " == [1, 1]" + ".map(x, [x, x])" * 100,
    "distinct([[1, 1]" + ".map(x, [x, x])" * 100 + "])",
    "flatten([1, 1]" + ".map(x, [x, x])" * 20 + ", 100)",
    "['aaaaaaaaaaaaaaaa']" + ".map(x, x + x)" * 60,
    "['aaaaaaaaaaaaaaaa'].map(x, range(10000).map(i, x)).map(x, x.join())",
    "range(10000).map(x, range(10000))",
    "range(10000).map(x, input)",
    "range(10000).map(x, input.text)",
    "range(10000).map(x, input.numbers)",
    "range(9000).map(i, {string(i): range(100)})",
    "'a'.replace('', input.text)",
    "input.text.replace('a', 'aa')",
    "input.text.replace('', 'a')",
    "input.text + input.text",
    "input.text.split('')",
    "input.text.split('a')",
    "range(5000).map(x, 'ab').join(input.text)",
    "range(9000).map(x, input.text).join()",
    "input.text.upper()",
    "input.text.reverse()",
    "input.text.substring(1)",
    "input.text.slice(1)",
    "base64(input.text)",
    "urlEncode(input.text + '%')",
    "urlEncode(input.escapes)",
    "toJson(input.text)",
    "toJson(input)",
    "string(input.numbers)",
    "parseJson(input.text)",
    "parseJson(input.quotes)",
    "parseJson('[' + input.bits.split('').join(',') + ']')",
    "range(10000).map(x, input.text == input.same)",
    "range(10000).map(x, input.text < input.same)",
    "range(10000).map(x, input.text in [input.same])",
    "range(10000).map(x, input.text.contains('ab'))",
    "range(10000).map(x, input.text.matches('b'))",
    "range(10000).map(x, sha256(input.text))",
    "input.bits.matches('[01]*1[01]{400}x')",
    "input.text.matches('(a?){400}a{400}b')",
    "range(9000).map(x, 'a'.matches('(x{400}y{400})' + string(x)))",
    "regexReplace(input.text, 'a', '')",
    "regexReplace(input.bits, '', '')",
    "regexReplace(input.bits, '1', 'aaaaaaaaaaaaaaaaaaaa')",
    "input.numbers + input.numbers",
    "input.numbers.map(x, x)",
    "input.numbers.filter(x, true)",
    "input.numbers.sort()",
    "input.numbers.sortBy(x, -x)",
    "input.numbers.reverse()",
    "input.numbers.distinct()",
    "input.numbers.all(x, true)",
    "input.numbers.sum()",
    "range(9).map(x, input.numbers.contains(-1))",
    "[input.numbers, input.numbers, input.numbers]",
    "input.map.keys()",
    "input.map.entries()",
    "pick(input.map, input.keys)",
    "input.parts.split(',')",
    "input.wide.split('')",
    "get(input.grid, '[*][*]')",
    "merge(input.map, {'a': 1})",
    "omit(input.map, ['a'])",
    "range(9000).map(x, merge(input.map))",
    "input.lists.distinct()",
    "range(2000).map(x, input.lists == input.twins)",
    "input.deep == input.deeper && input.deep != input.deeper",
    "toJson(input.deep)",
    "string([input.deep])",
    "distinct([input.deep, input.deeper])",
    "flatten(input.deep, 100000)",
    "[" * 33 + "]" * 33,
    "(" * 2000,
    "!" * 4000 + "true",
    "-" * 4000 + "1",
    "[" * 4000,
    "{'a':" * 800,
    "f(" * 2000,
    "true ? " * 600,
    "x.map(x, " * 400,
    "1" * 4097,
    "'" + "a" * 5000 + "'",
    "range(9007199254740991)",
    "range(-9007199254740991, 9007199254740991)",
    "[1].map(x, range(9007199254740991))",
    "input.long_texts.sort() == input.long_texts.sortBy(x, x, 'desc')",
    "range(9000).map(x, dateFormat(now, '%A%B%A%B%A%B%A%B%A%B'))",
    "range(9000).map(x, dateAdd(now, x, 'months')).map(t, string(t)).map(t, timestamp(t))",
    "range(9000).map(x, uuid(string(x))).map(x, uuid(x))",
    "range(500).map(x, get(input, '" + "a." * 1900 + "a'))",
    "get([[[[1, 2]]]], '" + "[*]" * 60 + "')",
]


@pytest.mark.parametrize("source", REACHING_OUT)
def test_nothing_outside_the_scope_can_be_reached(source: str) -> None:
    error = failure(source)

    assert error.code in ("syntax", "unknown_name", "missing", "type")


@pytest.mark.parametrize("source", BOMBS, ids=shortened)
def test_a_bomb_ends_within_the_budget(source: str) -> None:
    try:
        found = evaluate(source, {**SCOPE, "input": LARGE}, regex=REGEX)
    except ExpressionError as error:
        found = error.code

    assert len(json.dumps(found)) < 2 * DEFAULT_LIMITS.produced_bytes


@pytest.mark.parametrize(
    "source",
    [
        "range(10000).map(x, range(10000))",
        "range(10000).map(x, input)",
        "[1, 1]" + ".map(x, [x, x])" * 250,
        "toJson([1, 1]" + ".map(x, [x, x])" * 200 + ")",
        "['aaaaaaaaaaaaaaaa']" + ".map(x, x + x)" * 60,
        "input.text + input.text",
        "input.numbers.all(x, true)",
        "input.deep == input.deeper && toJson(input.deep) == ''",
    ],
    ids=shortened,
)
def test_a_bomb_fails_with_the_code_budget_which_default_does_not_catch(source: str) -> None:
    assert failure(source, input=LARGE).code == "budget"
    if len(source) < 1000:
        assert failure(f"default({source}, 1)", input=LARGE).code == "budget"


def test_deeply_nested_input_can_be_compared_and_passed_on() -> None:
    assert value("input.deep == input.deeper", input=LARGE) is True
    assert value("input.deep", input=LARGE) is LARGE["deep"]
    assert value("[input.deep]", input=LARGE)[0] is LARGE["deep"]
    assert value("input.deep[0][0][0].size()", input=LARGE) == 1


def test_what_is_only_passed_on_costs_nothing() -> None:
    poor = Limits(steps=20, produced_bytes=100, string_bytes=10, entries=2)

    assert value("input.text", poor, input=LARGE) is LARGE["text"]
    assert value("true ? input : 1", poor, input=LARGE) is LARGE
    assert value("[input.numbers, input.map]", poor, input=LARGE) == [
        LARGE["numbers"],
        LARGE["map"],
    ]
    assert value("input.numbers[199999]", poor, input=LARGE) == 199_999


@pytest.mark.parametrize(
    ("source", "limits"),
    [
        ("1 + 1", Limits(steps=2)),
        ("[1, 2].map(x, x)", Limits(steps=7)),
        ("'" + "a" * 200 + "' + 'b'", Limits(steps=6)),
        ("'aaaaaaaa' + 'bbb'", Limits(string_bytes=10)),
        ("'ééééé' + 'é'", Limits(string_bytes=11)),
        ("[1, 2, 3]", Limits(entries=2)),
        ("{'a': 1, 'b': 2, 'c': 3}", Limits(entries=2)),
        ("range(3)", Limits(entries=2)),
        ("[1, 2].filter(x, true) + [1]", Limits(entries=2)),
        ("[[1], [2]]", Limits(produced_bytes=31)),
        ("1 + 1", Limits(source_chars=4)),
        ("((1))", Limits(nesting=1)),
    ],
    ids=lambda row: str(row)[:30],
)
def test_each_limit_can_be_set(source: str, limits: Limits) -> None:
    if limits.source_chars == 4:
        source = source + " " * 300
    assert failure(source, limits).code == "budget"


def test_the_limits_are_those_of_the_contract() -> None:
    assert Limits() == Limits(
        source_chars=4096,
        steps=100_000,
        produced_bytes=4_194_304,
        string_bytes=262_144,
        entries=10_000,
        nesting=32,
        template_expressions=100,
        rendered_bytes=1_048_576,
    )


def test_honest_work_on_large_lists_fits() -> None:
    orders = [{"id": n, "total": n / 4, "tags": ["a", "b"]} for n in range(9_000)]

    assert value("input.filter(o, o.total > 1000 && 'a' in o.tags).size()", input=orders) == 4_999
    assert value("input.map(o, o.total).sum()", input=orders) == 10_123_875
    assert value("input.sortBy(o, o.total, 'desc').first().id", input=orders) == 8_999
    assert value("input.map(o, {'n': o.id})", input=orders)[-1] == {"n": 8_999}


@pytest.mark.parametrize("source", ["{{ " + source + " }}" for source in REACHING_OUT[:12]])
def test_templates_reach_no_further(source: str) -> None:
    with pytest.raises(ExpressionError):
        render(source, SCOPE)
