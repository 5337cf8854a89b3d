"""Data as text."""

from typing import Any

import pytest

from nodes import formats
from nodes.formats import Format, InvalidData


@pytest.mark.parametrize(
    ("format_name", "text", "value"),
    [
        ("json", '{"a": [1, null]}', {"a": [1, None]}),
        ("csv", 'a,b\n1,"x, ""y"""\n', [{"a": "1", "b": 'x, "y"'}]),
        ("csv", "a,b\n1\n", [{"a": "1", "b": None}]),
        ("csv", "", []),
        ("yaml", "a: [1, yes]\nb: 2026-03-28\n1: x\n", {"a": [1, True], "b": "2026-03-28", "1": "x"}),
        ("yaml", "x: 9007199254740993", {"x": "9007199254740993"}),
        ("text", "one\ntwo\r\nthree", ["one", "two", "three"]),
        ("xml", "<a/>", {"a": None}),
        ("xml", "<a>text &amp; more</a>", {"a": "text & more"}),
        ("xml", '<a k="v">t</a>', {"a": {"@k": "v", "#text": "t"}}),
        ("xml", "<r><i>1</i><i>2</i><j/></r>", {"r": {"i": ["1", "2"], "j": None}}),
        ("xml", "<r><![CDATA[<x>]]></r>", {"r": "<x>"}),
    ],
)  # fmt: skip
def test_text_is_read(format_name: Format, text: str, value: Any) -> None:
    assert formats.read(text, format_name) == value


@pytest.mark.parametrize(
    ("format_name", "text"),
    [
        ("json", "{"),
        ("csv", 'a\n"open'),
        ("csv", "a\n1,2\n"),
        ("yaml", "a: [1"),
        ("yaml", "!!python/object/apply:os.system ['true']"),
        ("yaml", "a: &a [*a]"),
        ("xml", "<a>"),
        ("xml", "<a></b>"),
        ("xml", "text"),
        ("xml", "<a>" * 100 + "</a>" * 100),
        ("xml", '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'),
        ("xml", '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>'),
    ],
)
def test_text_that_is_not_of_its_format_is_refused(format_name: Format, text: str) -> None:
    with pytest.raises(InvalidData):
        formats.read(text, format_name)


def test_aliases_of_yaml_do_not_multiply_without_end() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    with pytest.raises(InvalidData, match="more than"):
        formats.read("\n".join(lines), "yaml")


@pytest.mark.parametrize(
    ("format_name", "value", "text"),
    [
        ("json", {"a": 1}, {"a": 1}),
        ("csv", [{"a": 1, "b": None}, {"b": "x,y", "c": [1]}], 'a,b,c\n1,,\n,"x,y",[1]\n'),
        ("csv", [], "\n"),
        ("yaml", {"b": 1, "a": ["\u00fc"]}, "b: 1\na:\n- \u00fc\n"),
        ("text", ["one", 2, None, {"a": 1}], 'one\n2\n\n{"a":1}\n'),
        ("xml", {"a": None}, "<a/>"),
        ("xml", {"a": {"@k": 'q"', "#text": "<&>", "c": [1, True]}},
         "<a k='q\"'>&lt;&amp;&gt;<c>1</c><c>true</c></a>"),
        ("xml", {"a": "x\x01y"}, "<a>x\ufffdy</a>"),
    ],
)  # fmt: skip
def test_values_are_written(format_name: Format, value: Any, text: Any) -> None:
    assert formats.write(value, format_name) == text


@pytest.mark.parametrize(
    ("format_name", "value"),
    [
        ("csv", {"a": 1}),
        ("csv", [1]),
        ("text", "one"),
        ("xml", {"a": 1, "b": 2}),
        ("xml", [1]),
        ("xml", {"a": [1, 2]}),
        ("xml", {"a b": 1}),
        ("xml", {"a": {"@": 1}}),
        ("xml", {"a": {"x><script": 1}}),
    ],
)
def test_values_without_a_form_are_refused(format_name: Format, value: Any) -> None:
    with pytest.raises(InvalidData):
        formats.write(value, format_name)


@pytest.mark.parametrize(
    "value", [{"r": {"i": ["1", "2"], "@k": "v", "j": None}}, {"r": "text"}, {"r": None}]
)
def test_xml_that_was_written_reads_back(value: Any) -> None:
    assert formats.read(formats.write(value, "xml"), "xml") == value
