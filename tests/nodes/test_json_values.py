"""What was read from outside becomes JSON that every reader understands alike."""

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.json_values import NotJson, clean, read_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner
    ),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2**53 - 1, 2**53 - 1),
        (2**53, "9007199254740992"),
        (-(2**53), "-9007199254740992"),
        (10**400, "1" + "0" * 400),
        (math.nan, None),
        (math.inf, None),
        (Decimal("0.10"), "0.10"),
        (Decimal("NaN"), None),
        (True, True),
        ("a\0b\ud800c", "a\ufffdb\ufffdc"),
        ({"k\0": 1}, {"k\ufffd": 1}),
        ({1: "a", None: "b", False: "c"}, {"1": "a", "null": "b", "false": "c"}),
        (datetime(2026, 3, 28, 12, tzinfo=UTC), "2026-03-28T12:00:00Z"),
        (datetime(2026, 3, 28, 12), "2026-03-28T12:00:00Z"),  # noqa: DTZ001  # as YAML gives it
        (datetime(2026, 3, 28, 12, tzinfo=timezone(timedelta(hours=2))), "2026-03-28T10:00:00Z"),
        (date(2026, 3, 28), "2026-03-28"),
        (timedelta(seconds=90), 90),
        (b"ab", "YWI="),
        ((1, {2}), [1, [2]]),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_values_become_json(value: Any, expected: Any) -> None:
    assert clean(value) == expected


@pytest.mark.parametrize("value", [object(), lambda: None, [1 + 2j]])
def test_what_has_no_json_form_is_refused(value: Any) -> None:
    with pytest.raises(NotJson):
        clean(value)


def test_depth_and_references_have_an_end() -> None:
    deep: list[Any] = []
    deep.append(deep)
    wide: list[Any] = ["x"]
    for _ in range(10):
        wide = [wide] * 10

    with pytest.raises(NotJson, match="deeper"):
        clean(deep)
    with pytest.raises(NotJson, match="more than"):
        clean(wide)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"a": 1.0}', {"a": 1.0}),
        (b"[9007199254740993, -9007199254740993, 1]", ["9007199254740993", "-9007199254740993", 1]),
        (b"[NaN, Infinity, -Infinity, 1e999]", [None, None, None, None]),
        (b'"\\u0000 \\ud800 \\ud83d\\ude00"', "\ufffd \ufffd \U0001f600"),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'"\xff"', "\ufffd"),
        (b'"a\nb"', "a\nb"),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"1" * 5000, "1" * 5000),
    ],
)
def test_json_of_others_is_read(text: bytes, expected: Any) -> None:
    assert read_json(text) == expected


@pytest.mark.parametrize("text", [b"", b"{", b"nope", b"[1,]", b"[" * 100_000, b"1 2"])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(NotJson):
        read_json(text)


@settings(deadline=None)
@given(JSON)
def test_plain_json_is_read_as_it_stands(value: Any) -> None:
    assert read_json(json.dumps(value)) == value
    assert clean(value) == value


@settings(deadline=None)
@given(st.binary())
def test_reading_ends_in_json_or_a_refusal(data: bytes) -> None:
    try:
        value = read_json(data)
    except NotJson:
        return

    msgspec.json.encode(value)
