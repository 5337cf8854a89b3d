"""What starting an execution decides without asking anybody."""

from typing import Any

import pytest

from gateway.executing import holds_reference


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param({"$payload": {"id": "sha256:0"}}, True, id="a reference"),
        pytest.param([{"a": [{"$payload": None}]}], True, id="inside"),
        pytest.param({"$payload": 1, "b": 2}, False, id="not alone"),
        pytest.param(["$payload", {"a": "$payload"}], False, id="a text"),
        pytest.param(None, False, id="null"),
    ],
)
def test_an_object_with_the_lone_key_is_a_reference(value: Any, expected: bool) -> None:
    assert holds_reference(value) is expected
