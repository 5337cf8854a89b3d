"""Documents in files: what is read, what is refused, and where things stand."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotilla import documents
from flotilla.documents import UnreadableDocument


def read(text: str | bytes, source: str = "w.yaml") -> dict[str, Any]:
    data = text.encode() if isinstance(text, str) else text
    return documents.read(data, source=source).value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("1", 1, id="integer"),
        pytest.param("-0x1F", "-0x1F", id="hexadecimal has no sign"),
        pytest.param("0x1F", 31, id="hexadecimal"),
        pytest.param("0o17", 15, id="octal"),
        pytest.param("010", 10, id="a zero in front is no octal"),
        pytest.param("1.5e3", 1500.0, id="decimal"),
        pytest.param(".5", 0.5, id="decimal without a whole part"),
        pytest.param("1_000", "1_000", id="no underscores"),
        pytest.param("12:30", "12:30", id="a time is text"),
        pytest.param("2026-01-02", "2026-01-02", id="a date is text"),
        pytest.param("on", "on", id="on is text"),
        pytest.param("no", "no", id="no is text"),
        pytest.param("True", True, id="true"),
        pytest.param("~", None, id="null"),
        pytest.param("", None, id="nothing is null"),
        pytest.param("'1'", "1", id="quoted"),
        pytest.param("!!str 1", "1", id="tagged as text"),
        pytest.param("! 1", "1", id="non-specific tag means text"),
        pytest.param("[1, {a: b}]", [1, {"a": "b"}], id="flow style"),
        pytest.param("|\n  a\n  b\n", "a\nb\n", id="block"),
        pytest.param(">-\n  a\n  b\n", "a b", id="folded"),
        pytest.param("{{ input.a }}", None, id="braces without quotes"),
    ],
)
def test_a_scalar_means_what_json_could_say(text: str, value: object) -> None:
    if text.startswith("{{"):
        with pytest.raises(UnreadableDocument, match="a key is a text"):
            read(f"a: {text}")
    else:
        assert read(f"a: {text}") == {"a": value}


def test_yaml_and_json_are_read_alike() -> None:
    value = {"name": "a", "nodes": [{"id": "x", "parameters": {"n": 1.5, "t": "é", "no": None}}]}

    as_json = documents.read(json.dumps(value).encode(), source="w.json")

    assert as_json.value == value == read(json.dumps(value))


def test_aliases_are_expanded() -> None:
    text = "a: &x {b: [1, &y two]}\nc: *x\nd: *y\n*y : key\n"

    assert read(text) == {"a": {"b": [1, "two"]}, "c": {"b": [1, "two"]}, "d": "two", "two": "key"}


def test_aliases_that_would_fill_the_memory_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]

    with pytest.raises(UnreadableDocument, match="longer than 5242880 bytes"):
        read("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a: 1\nb: 2\na: 3", "w.yaml:3: the key 'a' stands twice", id="repeated key"),
        pytest.param("a: !!python/object:os.system x", "w.yaml:1: the tag tag:yaml.org,2002:python", id="python tag"),
        pytest.param("a:\n  !secret x", "w.yaml:2: the tag !secret is not read", id="tag of another tool"),
        pytest.param("a: !x [1]", "the tag !x is not read", id="tag of a list"),
        pytest.param("1: a", "the key 1 is no text", id="number as a key"),
        pytest.param("[1]: a", "a key is a text", id="list as a key"),
        pytest.param("a: &x [*x]", "w.yaml:1: \\*x names nothing that is complete here", id="contains itself"),
        pytest.param("a: *nowhere", "nowhere", id="alias without anchor"),
        pytest.param("a: 1\n---\nb: 2", "w.yaml:2: a second document begins here", id="two documents"),
        pytest.param("a: .nan", "is no JSON", id="not a number"),
        pytest.param("a: -.inf", "is no JSON", id="infinity"),
        pytest.param("a: 1e999", "is no JSON", id="too large a decimal"),
        pytest.param(f"a: {2**64}", "w.yaml:1: ", id="too large an integer"),
        pytest.param(f"a: {'9' * 5000}", "is too long", id="endless integer"),
        pytest.param("a: [1\n", "this is no YAML", id="open list"),
        pytest.param("a: b: c", "w.yaml:1: this is no YAML", id="two colons"),
        pytest.param("- 1", "w.yaml:1: a document is an object", id="a list"),
        pytest.param("", "a document is an object", id="empty file"),
        pytest.param(f"a: {'[' * 500}", "nested more than 64 deep", id="deep nesting"),
        pytest.param('a: "\\0"', "NUL", id="NUL"),
    ],
)  # fmt: skip
def test_what_json_could_not_say_is_refused(text: str, message: str) -> None:
    with pytest.raises(UnreadableDocument, match=message):
        read(text)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b'{"a": 1,\n "a": 2}', "w.json: the key 'a' stands twice", id="repeated key"),
        pytest.param(b'{"a": 1,\n}', "w.json:2: this is no JSON", id="comma at the end"),
        pytest.param(b'{"a": NaN}', "NaN is no JSON", id="not a number"),
        pytest.param(b'{"a": "\xff"}', "no UTF-8", id="no UTF-8"),
        pytest.param(b"\xef\xbb\xbf{}", "byte order mark", id="byte order mark"),
        pytest.param(b"[" * 100_000, "nested more than 64 deep", id="deep nesting"),
        pytest.param(b" " * (5 * 1024 * 1024) + b"{}", "more than the 5242880 of a document", id="too large"),
    ],
)  # fmt: skip
def test_bad_json_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UnreadableDocument, match=message):
        read(data, "w.json")


def test_lines_are_known_for_yaml_and_json() -> None:
    yaml = documents.read(
        b"name: a\nnodes:\n  - id: x\n    parameters:\n      p: 1\n", source="w.yml"
    )
    as_json = documents.read(
        b'{"name": "a",\n "nodes": [\n  {"id": "x",\n   "parameters": {}}]}', source="w.json"
    )

    assert yaml.line_of("/nodes/0/parameters/p") == 5
    assert yaml.line_of("/nodes/0/nowhere/deep") == 3
    assert yaml.line_of("") == 1
    assert as_json.line_of("/nodes/0/parameters") == 4


def test_json_that_yaml_does_not_read_has_no_lines() -> None:
    document = documents.read(b'{\n\t"name": "a"}', source="w.json")

    assert document.value == {"name": "a"}
    assert document.line_of("/name") in (None, 2)


def test_without_a_suffix_the_first_character_decides() -> None:
    assert read(b' {"a": 1}', "-") == read(b"a: 1", "-")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match="No such file"):
        documents.read_file(tmp_path / "w.yaml")


@given(st.binary(max_size=200))
def test_any_bytes_give_a_document_or_a_refusal(data: bytes) -> None:
    for source in ("w.yaml", "w.json"):
        try:
            value = read(data, source)
        except UnreadableDocument:
            continue
        assert isinstance(value, dict)


# Beyond it JSON escapes in pairs of surrogates, which YAML does not know.
TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs", "Cc"]), max_size=8)
ATOMS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | TEXT
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_json_survives_a_yaml_file(value: dict[str, Any]) -> None:
    assert read(json.dumps(value, indent=1)) == value
