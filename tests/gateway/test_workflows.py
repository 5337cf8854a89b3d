"""What the operations on workflows decide without asking anybody."""

from typing import Any

import pytest

from contracts.model import Document, Node
from db.triggers import EventTrigger
from gateway.workflows import event_triggers, merge

STORED: dict[str, Any] = {
    "name": "Stored",
    "tags": ["a"],
    "static_data": {"x": 1},
    "settings": {"timezone": "UTC", "timeout": 5, "on_error": "STOP_WORKFLOW_ON_ERROR"},
}


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"name": "New"}, {"name": "New"}, id="a field"),
        pytest.param({"tags": ["b"]}, {"tags": ["b"]}, id="a list, whole"),
        pytest.param({"staticData": {"y": 2}}, {"static_data": {"y": 2}}, id="an object, whole, camelCase"),
        pytest.param(
            {"settings": {"timeout": None}},
            {"settings": {"timezone": "UTC", "on_error": "STOP_WORKFLOW_ON_ERROR"}},
            id="a setting reset",
        ),
        pytest.param(
            {"settings": {"error_policy": "continue"}},
            {"settings": {"timezone": "UTC", "timeout": 5, "error_policy": "continue"}},
            id="a setting under its older name",
        ),
        pytest.param({"settings": 3}, {"settings": 3}, id="what is no object is for the reader to refuse"),
    ],
)  # fmt: skip
def test_only_what_is_sent_changes(changes: dict[str, Any], changed: dict[str, Any]) -> None:
    assert merge(STORED, changes) == STORED | changed


def test_null_resets_a_field() -> None:
    assert "tags" not in merge(STORED, {"tags": None})


def test_a_document_listens_to_what_its_enabled_event_triggers_say() -> None:
    nodes = (
        Node(id="a", name="a", type="TRIGGER.EVENT", parameters={"subject": "x.*"}),
        Node(id="b", name="b", type="TRIGGER.EVENT", parameters={"subject": "y", "filter": "true"}),
        Node(id="c", name="c", type="TRIGGER.EVENT", parameters={"subject": "z"}, disabled=True),
        Node(id="d", name="d", type="TRIGGER.MANUAL"),
    )

    assert event_triggers(Document(name="n", nodes=nodes)) == (
        EventTrigger("a", "x.*", None),
        EventTrigger("b", "y", "true"),
    )
