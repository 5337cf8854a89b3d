"""Reading rendered values into parameters."""

from typing import Annotated, Any, Literal

import msgspec
import pytest

from nodes.parameters import InvalidParameter, Json, ParameterReader, describe, parameter


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An item of a list."""

    name: str
    size: int = 1


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One field of every kind."""

    text: Annotated[str, msgspec.Meta(max_length=9), parameter("literal", aliases=("old",))] = ""
    whole: Annotated[int, msgspec.Meta(ge=1)] = 1
    number: float = 0
    flag: bool = False
    maybe: int | None = None
    mode: Literal["FAST", "slow"] = "FAST"
    fields: dict[str, Any] = {}
    items: list[int] = []
    parts: tuple[Part, ...] = ()
    anything: Any = None
    json: Json = None
    unset: Any | msgspec.UnsetType = msgspec.UNSET
    source: Annotated[str, parameter("expr", scope=("item",), description="What")] = "item"


READER = ParameterReader(Sample)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"whole": "5"}, 5),
        ({"whole": 5.0}, 5),
        ({"number": "1.5"}, 1.5),
        ({"flag": "true"}, True),
        ({"maybe": "7"}, 7),
        ({"maybe": None}, None),
        ({"text": 5}, "5"),
        ({"text": True}, "true"),
        ({"text": 1.5}, "1.5"),
        ({"mode": "SLOW"}, "slow"),
        ({"mode": " fast "}, "FAST"),
        ({"fields": '{"a": 1}'}, {"a": 1}),
        ({"items": "[1, 2]"}, [1, 2]),
        ({"items": ["1"]}, [1]),
        ({"parts": [{"name": "x", "size": "2"}]}, (Part("x", 2),)),
        ({"anything": "[1]"}, "[1]"),
        ({"json": "[1]"}, [1]),
        ({"json": ' {"a": "007"}'}, {"a": "007"}),
        ({"json": "007"}, "007"),
        ({"json": "{no json"}, "{no json"),
        ({"unset": None}, None),
    ],
)
def test_text_stands_for_values(values: dict[str, Any], expected: Any) -> None:
    (name,) = values

    found = getattr(READER.read(values), name)

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"whole": "five"}, "whole"),
        ({"whole": 0}, "whole"),
        ({"whole": True}, "whole"),
        ({"whole": 1.5}, "whole"),
        ({"text": None}, "text"),
        ({"text": ["a"]}, "text"),
        ({"text": "far too long"}, "text"),
        ({"mode": "medium"}, "mode"),
        ({"fields": "text"}, "fields"),
        ({"fields": "[1]"}, "fields"),
        ({"parts": [{"size": 1}]}, "parts"),
        ({"parts": [{"name": "x", "surplus": 1}]}, "parts"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_what_does_not_fit_names_its_parameter(values: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        READER.read(values)

    assert caught.value.parameter == named
    assert str(caught.value).startswith(f"parameter {named}: ")


def test_a_missing_required_parameter_is_named() -> None:
    with pytest.raises(InvalidParameter) as caught:
        ParameterReader(Part).read({})

    assert (caught.value.parameter, caught.value.reason) == ("name", "is required")


def test_a_description_has_what_validators_need() -> None:
    described = {each.name: each for each in describe(Sample)}

    assert list(described) == [field.name for field in msgspec.structs.fields(Sample)]
    assert described["text"].kind == "literal"
    assert described["text"].aliases == ("old",)
    assert described["text"].schema == {"type": "string", "maxLength": 9}
    assert described["whole"].kind == "template"
    assert described["whole"].default == 1
    assert not described["whole"].required
    assert described["fields"].default == {}
    assert described["unset"].default is None
    assert described["source"].scope == ("item",)
    assert described["source"].description == "What"
    assert "Part" in described["parts"].schema["$defs"]
