"""What the strict reader takes, what it refuses, and how fast it says no."""

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.strict_json import MalformedJson, check_value, read_json

REFUSED = {
    "NaN": (b"NaN", "NaN is no JSON"),
    "infinity": (b"[Infinity]", "Infinity is no JSON"),
    "negative infinity": (b'{"a": -Infinity}', "-Infinity is no JSON"),
    "a number that overflows": (b"1e400", "is too large"),
    "an integer past 64 bits": (b"18446744073709551616", "64 bits"),
    "a negative integer past 64 bits": (b"-9223372036854775809", "64 bits"),
    "an integer of many digits": (b"9" * 5000, "64 bits"),
    "an escaped NUL": (b'{"a": ["x\\u0000y"]}', "NUL"),
    "an escaped NUL in a key": (b'{"\\u0000": 1}', "NUL"),
    "a raw NUL": (b'"\0"', "no JSON"),
    "half a surrogate pair": (b'"\\ud800"', "surrogate"),
    "the other half": (b'"\\uDC00 x"', "surrogate"),
    "an encoded surrogate": (b'"\xed\xa0\x80"', "UTF-8"),
    "a repeated key": (b'{"a": 1, "b": 2, "a": 3}', "'a' stands twice"),
    "a repeated key, spelled with an escape": (b'{"a": 1, "\\u0061": 3}', "'a' stands twice"),
    "bytes that are no UTF-8": (b'"\xff"', "byte 1 is no UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "byte order mark"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "UTF-8"),
    "nothing": (b"", "no JSON"),
    "two values": (b"1 2", "Extra data"),
    "a trailing comma": (b"[1,]", "no JSON"),
    "single quotes": (b"{'a': 1}", "no JSON"),
    "nesting past the limit": (b"[" * 65 + b"]" * 65, "more than 64 deep"),
    "objects past the limit": (b'{"a":' * 65 + b"1" + b"}" * 65, "more than 64 deep"),
}


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED)
def test_what_readers_could_understand_differently_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MalformedJson) as caught:
        read_json(data)

    assert message in caught.value.message


TAKEN = {
    "the least signed integer": (b"-9223372036854775808", -(2**63)),
    "the greatest unsigned integer": (b"18446744073709551615", 2**64 - 1),
    "an escaped surrogate pair": (b'"\\ud83d\\ude00"', "\U0001f600"),
    "an escaped backslash before u0000": (b'"\\\\u0000"', "\\u0000"),
    "text beyond ASCII": ('"é"'.encode(), "é"),
    "white space around": (b" \r\n\t{} ", {}),
    "brackets inside text": (json.dumps("[" * 100 + '\\"' + "{" * 100).encode(), "[" * 100 + '\\"' + "{" * 100),
    "nesting up to the limit": (b"[" * 64 + b"]" * 64, None),
    "many lists side by side": (b"[" + b"[]," * 1000 + b"[]]", [[]] * 1001),
}  # fmt: skip


@pytest.mark.parametrize(("data", "value"), TAKEN.values(), ids=TAKEN)
def test_what_json_allows_is_read(data: bytes, value: Any) -> None:
    read = read_json(data)

    assert value is None or read == value


def test_a_syntax_error_tells_its_position() -> None:
    with pytest.raises(MalformedJson) as caught:
        read_json(b'{"a": x}')

    assert caught.value.position == 6


def test_a_refused_value_tells_its_pointer() -> None:
    with pytest.raises(MalformedJson) as caught:
        read_json(b'{"a/b": [1, "\\u0000"]}')

    assert caught.value.pointer == "/a~1b/1"


HOSTILE = {
    "brackets alone": b"[" * 10_000_000,
    "braces with keys": b'{"a":' * 1_000_000,
    "a text without end": b"[" * 100 + b'"' + b'\\"' * 5_000_000,
    "quotes alone": b'"' * 10_000_000,
    "digits alone": b"9" * 10_000_000,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_ten_hostile_megabytes_are_refused(data: bytes) -> None:
    """One pass over them takes a moment, anything worse the patience of this test."""
    with pytest.raises(MalformedJson):
        read_json(data)


plain_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | plain_text,
    lambda inner: st.lists(inner) | st.dictionaries(plain_text, inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(json_values, st.booleans())
def test_every_json_value_comes_back_as_it_was_written(value: Any, is_ascii: bool) -> None:
    data = json.dumps(value, ensure_ascii=is_ascii).encode()

    assert read_json(data) == value
    assert check_value(value) == value


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read_json(data)
    except MalformedJson as error:
        assert error.message  # noqa: PT017  either outcome is right


def test_dates_of_yaml_become_text() -> None:
    value = {"day": date(2026, 3, 28), "at": [datetime(2026, 3, 28, 1, 2, tzinfo=UTC)]}

    assert check_value(value) == {"day": "2026-03-28", "at": ["2026-03-28T01:02:00+00:00"]}


UNFIT = {
    "NaN": ({"a": float("nan")}, "/a", "nan"),
    "infinity": ([1, float("inf")], "/1", "inf"),
    "a large integer": ([2**64], "/0", "64 bits"),
    "a very large integer": ([10**6000], "/0", "64 bits"),
    "a number as key": ({"a": {1: "x"}}, "/a", "quotes"),
    "a boolean as key": ({True: "x"}, "", "quotes"),
    "bytes": ({"a": b"x"}, "/a", "bytes"),
    "a set": ({"a": {1}}, "/a", "set"),
    "half a surrogate pair": (["\ud800"], "/0", "surrogate"),
    "NUL": ({"a\0": 1}, "", "NUL"),
}


@pytest.mark.parametrize(("value", "pointer", "message"), UNFIT.values(), ids=UNFIT)
def test_what_json_cannot_say_is_refused(value: Any, pointer: str, message: str) -> None:
    with pytest.raises(MalformedJson) as caught:
        check_value(value)

    assert caught.value.pointer == pointer
    assert message in caught.value.message


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(MalformedJson, match="deep"):
        check_value(value)


def test_aliases_are_expanded_up_to_the_size_limit_only() -> None:
    value: list[Any] = ["lol"] * 10
    for _ in range(20):
        value = [value] * 10

    with pytest.raises(MalformedJson, match="longer than"):
        check_value(value)
