"""What msgspec says about a value, as an entry with a pointer."""

from typing import Annotated, Any

import msgspec
import pytest

from gateway.contract_errors import entry_of


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    """A part of the contract under test."""

    size: Annotated[int, msgspec.Meta(ge=0)] = 0


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    """The contract under test."""

    name: str
    items: tuple[Inner, ...] = ()
    free: dict[str, int] = {}


@pytest.mark.parametrize(
    ("value", "pointer", "code"),
    [
        pytest.param({}, "/name", "missing_field", id="missing"),
        pytest.param({"name": "a", "x/y": 1}, "/x~1y", "unknown_field", id="unknown, escaped"),
        pytest.param({"name": 3}, "/name", "invalid_type", id="type"),
        pytest.param({"name": "a", "items": [{}, {"size": -1}]}, "/items/1/size", "invalid_value", id="range"),
        pytest.param({"name": "a", "items": [{"sice": 1}]}, "/items/0/sice", "unknown_field", id="inner unknown"),
        pytest.param({"name": "a", "free": {"k": "v"}}, "/free", "invalid_type", id="member of a free object"),
        pytest.param([], "", "invalid_type", id="all of it"),
    ],
)  # fmt: skip
def test_the_pointer_leads_to_what_is_wrong(value: Any, pointer: str, code: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, Outer)

    entry = entry_of(caught.value)

    assert (entry.pointer, entry.code) == (pointer, code)
    assert "`$" not in entry.message
