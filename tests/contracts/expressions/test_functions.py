"""The functions of NODES.md 1.4 that take no instant, group by group."""

import json
from typing import Any

import pytest

from contracts.expressions.functions.catalogue import FUNCTIONS
from contracts.expressions.interpreter import evaluate
from tests.contracts.expressions.evaluating import failure, failure_in, same, value


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "[null, true, 1, 1.5, '', [], {}, now, duration('1s')].map(x, type(x))",
            ["null", "bool", "number", "number", "string", "list", "map", "timestamp", "duration"],
        ),
        ("string('a')", "a"),
        ("string(1.50)", "1.5"),
        ("string(4 / 2)", "2"),
        ("string(-0.0)", "0"),
        ("string(true) + string(null)", "truenull"),
        ("string([1, 'é\"', {'b': null, 'a': 2.0}])", '[1,"é\\"",{"b":null,"a":2}]'),
        ("string([now, duration('1.5s')])", '["2026-03-28T22:30:00Z",1.5]'),
        ("string(now)", "2026-03-28T22:30:00Z"),
        ("string(duration('1.5s'))", "1.5s"),
        ("string(-duration('1h'))", "-3600s"),
        ("number(' 42 ')", 42),
        ("number('-1.5e2')", -150),
        ("double(true) + number(false)", 1),
        ("number('.5') + number('+1.')", 1.5),
        ("int(1.9) - int(-1.9)", 2),
        ("int('7.8')", 7),
        ("int(1e300)", 1e300),
        ("int(timestamp('1970-01-01T00:01:00.9Z'))", 60),
        ("int(timestamp('1969-12-31T23:59:58.5Z'))", -1),
        (
            "[bool(0), bool(0.5), bool('true'), bool('0'), bool(false)]",
            [False, True, True, False, False],
        ),
        ("[size('a😀'), size([1, 2]), size({'a': 1}), 'abc'.size()]", [2, 2, 1, 3]),
    ],
    ids=str,
)
def test_types(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("'abc'.contains('b')", True),
        ("contains([1, [2]], [2.0])", True),
        ("contains('abc', '')", True),
        ("'abc'.startsWith('ab') && 'abc'.endsWith('bc')", True),
        ("['abc'.indexOf('c'), 'abc'.indexOf('x'), 'abca'.indexOf('a', 1)]", [2, -1, 3]),
        ("['abc'.indexOf('a', 9), ''.indexOf('')]", [-1, 0]),
        ("lower('ÀB') + upperAscii('é') + lowerAscii('X')", "àbÉx"),
        ("upper('ß')", "SS"),
        ("trim('  a b\\n')", "a b"),
        ("'a,b,c'.split(',')", ["a", "b", "c"]),
        ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
        ("'a,b'.split(',', 0)", []),
        ("'a,b'.split(',', 1)", ["a,b"]),
        ("'a,b'.split(',', -1)", ["a", "b"]),
        ("'aé'.split('')", ["a", "é"]),
        ("'abc'.split('', 2)", ["a", "bc"]),
        ("''.split(',')", [""]),
        ("''.split('')", []),
        ("['a', 'b'].join() + [].join('x')", "ab"),
        ("join(['a', 'b'], '-')", "a-b"),
        ("'aaa'.replace('a', 'b')", "bbb"),
        ("'aaa'.replace('a', 'b', 2)", "bba"),
        ("'aaa'.replace('a', '', 0)", "aaa"),
        ("'aaa'.replace('b', 'c')", "aaa"),
        ("['a', 'b'].contains('c')", False),
        ("slice('abc', 0) + substring('abc', 0)", "abcabc"),
        ("'ab'.replace('', '-')", "-a-b-"),
        ("'héllo'.substring(1, 3) + 'abc'.substring(2)", "élc"),
        ("'abc'.substring(3)", ""),
        ("'añb'.reverse()", "bña"),
        ("'abc'.slice(-2) + slice('abc', 0, -1) + 'abc'.slice(5) + 'abc'.slice(2, 1)", "bcab"),
    ],
    ids=str,
)
def test_strings(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("[min(2, 1.5, 3), max([1, 2]), min('b', 'a'), max([now]) == now]", [1.5, 2, "a", True]),
        ("[abs(-1.5), abs(2)]", [1.5, 2]),
        (
            "[round(-0.5), round(1.005, 2), round(2.675, 2), round(1234, -2)]",
            [-1, 1.01, 2.68, 1200],
        ),
        ("[round(0.4), round(1e300, 3), round(1.25, 1), round(-1.25, 1)]", [0, 1e300, 1.3, -1.3]),
        ("[floor(-1.5), ceil(-1.5), floor(2), ceil(1.1), floor(1e300)]", [-2, -1, 2, 2, 1e300]),
        ("[sum([]), sum([1, 2.5]), sum([0.5, 0.5])]", [0, 3.5, 1]),
        ("avg([1, 2])", 1.5),
        ("round(5) + round(5, 2)", 10),
    ],
    ids=str,
)
def test_numbers(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("sort([3, 1, 2])", [1, 2, 3]),
        ("sort([3, null, 1], 'desc')", [3, 1, None]),
        ("sort([null, 'b', 'a'])", ["a", "b", None]),
        ("sort([true, false])", [False, True]),
        ("sort([])", []),
        ("sort([null, null])", [None, None]),
        ("distinct([1, 1.0, true, '1', 1, null, null])", [1, True, "1", None]),
        ("distinct([[1], [1.0], [true], ['1']])", [[1], [True], ["1"]]),
        ("distinct(parseJson('[[1], [1.0], [1.5], [1.5e0]]'))", [[1], [1.5]]),
        ("distinct([[now], [now - duration('0s')], [duration('1h')]]).size()", 2),
        ("distinct([{'a': 1, 'b': 2}, {'b': 2, 'a': 1}])", [{"a": 1, "b": 2}]),
        ("distinct([[now], [string(now)], [now]]).size()", 2),
        ("distinct([[duration('60s')], [60], [duration('1m')]]).size()", 2),
        ("flatten([1, [2, [3]]])", [1, 2, [3]]),
        ("flatten([1, [2, [3, [4]]]], 2)", [1, 2, 3, [4]]),
        ("flatten([[1]], 0)", [[1]]),
        ("flatten([[[1]]], 9007199254740991)", [1]),
        ("reverse([1, 2])", [2, 1]),
        ("[first([1, 2]), last([1, 2])]", [1, 2]),
        ("[[1, 2, 3].slice(1), [1, 2, 3].slice(-5, 2), [1].slice(1, 0)]", [[2, 3], [1, 2], []]),
        (
            "[range(3), range(1, 4), range(3, 0, -2), range(-2), range(2, 2)]",
            [[0, 1, 2], [1, 2, 3], [3, 1], [], []],
        ),
    ],
    ids=str,
)
def test_lists(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("[keys({'b': 1, 'a': 2}), values({'b': 1, 'a': 2})]", [["b", "a"], [1, 2]]),
        ("entries({'b': 1})", [{"key": "b", "value": 1}]),
        ("fromEntries([{'key': 'a', 'value': 1}, {'key': 'a', 'value': 2}])", {"a": 2}),
        ("fromEntries(entries({'a': 1, 'b': 2}))", {"a": 1, "b": 2}),
        ("merge({'a': {'x': 1}}, {'a': {'y': 2}}, {})", {"a": {"y": 2}}),
        ("merge({'a': 1})", {"a": 1}),
        ("pick({'a': 1, 'b': 2}, ['b', 'c'])", {"b": 2}),
        ("omit({'a': 1, 'b': 2}, ['b', 'c'])", {"a": 1}),
        ("get({'a': null}, 'a', 1)", None),
        ("get({'a': 1}, 'a.b')", None),
        ("get([{'a': 1}, {}], '[*].a')", [1]),
        ("get({'a.b': 1}, '$[\\'a.b\\']')", 1),
        ("get({'a': 1}, '$')", {"a": 1}),
    ],
    ids=str,
)
def test_maps(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("toJson('é\\n')", '"é\\n"'),
        ("toJson(now) + toJson(1e21) + toJson(null)", '"2026-03-28T22:30:00Z"1e+21null'),
        (
            'parseJson(\'{"a": [1, 2.0, "\\\\u00e9", null, true]}\')',
            {"a": [1, 2.0, "é", None, True]},
        ),
        ("parseJson(' 5 ')", 5),
        ("parseJson(toJson({'a': ['x', 1.5]})) == {'a': ['x', 1.5]}", True),
        ("parseJson('18446744073709551615')", 18446744073709551615),
        ("base64('é')", "w6k="),
        ("base64Decode('w6k=') + base64Decode('')", "é"),
        ("sha256('')", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (
            "hmac('what do ya want for nothing?', 'Jefe')",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        ("urlEncode('a/é~-._Z9')", "a%2F%C3%A9~-._Z9"),
        ("urlDecode('a%2F%c3%A9+%20')", "a/é+ "),
        ("uuid('a') == uuid('a') && uuid('a') != uuid('b')", True),
        ("uuid('a').substring(14, 15) + string(uuid('a').size())", "536"),
    ],
    ids=str,
)
def test_encodings(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("'abc'.matches('b') && !'abc'.matches('^b')", True),
        ("matches('é', '^.$')", True),
        ("extract('a-12', '([a-z])-([0-9]+)')", "a"),
        ("extract('a-12', '[0-9]+')", "12"),
        ("extract('abc', '[0-9]')", None),
        ("extract('b', '(a)|b')", None),
        ("regexReplace('a1b22', '[0-9]+', '#')", "a#b#"),
        ("regexReplace('John Smith', r'(\\w+) (\\w+)', r'\\2, \\1')", "Smith, John"),
        ("regexReplace('é1', '([0-9])', r'[\\0\\\\]')", "é[1\\]"),
        ("regexReplace('ab', '', '-')", "-a-b-"),
        ("regexReplace('b', '(a)|b', r'<\\1>')", "<>"),
    ],
    ids=str,
)
def test_regular_expressions(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("number('')", "value"),
        ("number('1,5')", "value"),
        ("number('0x1F')", "value"),
        ("number('nan')", "value"),
        ("number('1_000')", "value"),
        ("number('\u0661')", "value"),
        ("number('" + "9" * 500 + "')", "value"),
        ("number('99999999999999999999')", "overflow"),
        ("number('1e999')", "overflow"),
        ("number(null)", "type"),
        ("int([])", "type"),
        ("bool('yes')", "value"),
        ("bool(null)", "type"),
        ("size(1)", "type"),
        ("size(null)", "type"),
        ("contains({'a': 1}, 'a')", "type"),
        ("'a'.contains(1)", "type"),
        ("'abc'.indexOf('a', -1)", "value"),
        ("'abc'.substring(0, 4)", "missing"),
        ("'abc'.substring(-1)", "missing"),
        ("'abc'.substring(2, 1)", "missing"),
        ("'abc'.substring(0.5)", "type"),
        ("[1].join()", "type"),
        ("lower(1)", "type"),
        ("min([])", "value"),
        ("range('3')", "type"),
        ("sort({})", "type"),
        ("sum(null)", "type"),
        ("abs('1')", "type"),
        ("min()", "type"),
        ("max(1, 'a')", "type"),
        ("max([{}])", "type"),
        ("min(null)", "type"),
        ("avg([])", "value"),
        ("sum(['1'])", "type"),
        ("sum([true])", "type"),
        ("round(1, 16)", "value"),
        ("round(1, 0.5)", "type"),
        ("sort([1, 'a'])", "type"),
        ("sort([[1]])", "type"),
        ("sort([1], 'up')", "value"),
        ("flatten([1], -1)", "value"),
        ("reverse(1)", "type"),
        ("slice(1, 2)", "type"),
        ("range(1.5)", "type"),
        ("range(0, 5, 0)", "value"),
        ("range(10001)", "budget"),
        ("range(0, 9007199254740991, 900719925)", "budget"),
        ("keys([1])", "type"),
        ("fromEntries([1])", "type"),
        ("fromEntries([{'key': 'a'}])", "missing"),
        ("fromEntries([{'key': 1, 'value': 1}])", "type"),
        ("merge({}, 1)", "type"),
        ("pick({}, [1])", "type"),
        ("get({}, 1)", "type"),
        ("get({}, 'a..b')", "value"),
        ("parseJson('{')", "value"),
        ("parseJson('NaN')", "value"),
        ("parseJson('[1e999]')", "value"),
        ("parseJson('18446744073709551616')", "value"),
        ('parseJson(\'{"a": 1, "a": 2}\')', "value"),
        ("parseJson('\"\\\\ud800\"')", "value"),
        ("parseJson('\"\\\\u0000\"')", "value"),
        ("parseJson('" + "[" * 65 + "]" * 65 + "')", "value"),
        ("parseJson(1)", "type"),
        ("base64Decode('a')", "value"),
        ("base64Decode('é')", "value"),
        ("base64Decode('/w==')", "value"),
        ("base64Decode('AA==')", "value"),
        ("urlDecode('%zz')", "value"),
        ("urlDecode('%ff')", "value"),
        ("urlDecode('%00')", "value"),
        ("urlDecode('100%')", "value"),
        ("matches('a', '(')", "value"),
        ("matches('a', '(?=a)')", "value"),
        ("matches('a', r'(a)\\1')", "value"),
        ("matches('a', '" + "a" * 513 + "')", "value"),
        ("regexReplace('a', 'a', r'\\1')", "value"),
        ("matches(1, 'a')", "type"),
        ("foo(1)", "unknown_name"),
        ("input.foo()", "unknown_name"),
        ("size()", "type"),
        ("size(1, 2)", "type"),
        ("has(1, 2)", "type"),
        ("default(1)", "type"),
        ("now(1)", "type"),
    ],
    ids=lambda row: row[:40],
)
def test_a_function_that_cannot_work_fails(source: str, code: str) -> None:
    assert failure(source).code == code


@pytest.mark.parametrize(
    "source", ["matches('a', 'a')", "extract('a', 'a')", "regexReplace('a', 'a', 'b')"]
)
def test_without_a_matcher_regular_expressions_fail(source: str) -> None:
    with pytest.raises(Exception, match="not available"):
        evaluate(source, {})


@pytest.mark.parametrize(
    "call",
    [
        "sha256(input)",
        "urlEncode(input)",
        "uuid(input)",
        "matches(input, 'a')",
        "base64(input)",
        "parseJson(input)",
    ],
)
def test_half_a_surrogate_pair_in_a_scope_fails(call: str) -> None:
    assert failure_in(call, {"input": "\ud800"}).code == "value"


@pytest.mark.parametrize(
    "source",
    [
        "[x].map(v, v)",
        "[x].map(v, true, v)",
        "[x].filter(v, true)",
        "[x].sortBy(v, 1)",
        "[x] + [x]",
        "{'a': x}",
        "sort([x])",
        "distinct([x])",
        "distinct([[x]])",
        "flatten([[x]])",
        "reverse([x])",
        "slice([x], 0)",
        "values({'a': x})",
        "entries({'a': x})",
        "fromEntries([{'key': 'a', 'value': x}])",
        "merge({'a': x})",
        "pick({'a': x}, ['a'])",
        "omit({'a': x}, ['b'])",
        "get([{'a': x}], '[*].a')",
        "[[[x]]]",
        "default(input.absent, [x])",
    ],
)
@pytest.mark.parametrize("time", ["now", "duration('90s')"])
def test_no_time_leaves_in_another_form_than_json(source: str, time: str) -> None:
    found = value(
        source.replace("[x", f"[{time}").replace(": x", f": {time}").replace("(x", f"({time}")
    )

    assert json.dumps(found).count("90" if "90" in time else "2026-03-28T22:30:00Z") >= 1


def test_every_function_can_be_written_as_a_method() -> None:
    for name, function in FUNCTIONS.items():
        assert function.least >= 1, name
