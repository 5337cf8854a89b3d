"""Webhooks of a document: where they receive what, and the paths that are made up for them."""

from typing import Any

import pytest

from contracts.model import Document, Node
from contracts.specs import Catalogue
from contracts.validation import examine
from contracts.webhooks import CHANCE_BYTES, Webhook, keep_paths, make_paths, webhooks_of
from nodes.catalogue import builtin_specs

CATALOGUE = Catalogue(builtin_specs())
CHANCE = bytes(range(CHANCE_BYTES))


def hook(node_id: str = "hook", **parameters: Any) -> Node:
    """Return a webhook."""
    return Node(id=node_id, name=node_id, type="TRIGGER.WEBHOOK", parameters=parameters)


def document(*nodes: Node) -> Document:
    """Return a document of these nodes."""
    return Document(name="n", nodes=nodes)


def paths(of: Document) -> list[Any]:
    """Return the paths of all nodes."""
    return [node.parameters.get("path") for node in of.nodes]


def test_what_is_not_said_is_as_the_spec_says() -> None:
    assert webhooks_of(document(hook(path="orders")), CATALOGUE) == (
        Webhook(
            node_id="hook",
            path="orders",
            methods=("POST",),
            authentication="HEADER_TOKEN",
            header="X-Webhook-Token",
            response_mode="IMMEDIATELY",
            response_timeout=30,
        ),
    )


def test_values_count_that_are_written_as_text() -> None:
    sent = hook(
        path="a",
        methods='["GET", "PUT"]',
        authentication="NONE",
        header="X-Key",
        response_mode="WAIT",
        response_timeout="2.5",
        filter=True,
    )

    (found,) = webhooks_of(document(sent), CATALOGUE)

    assert found == Webhook(
        node_id="hook",
        path="a",
        methods=("GET", "PUT"),
        authentication="NONE",
        header="X-Key",
        response_mode="WAIT",
        response_timeout=2.5,
        filter="true",
    )


@pytest.mark.parametrize(
    "path",
    ["interactions-1", "a b", "a/b", "", ".", "..", ".a", "x" * 201, "ü", "a\n", "{{ a }}", ["a"]],
)
def test_a_path_is_one_part_of_an_address(path: Any) -> None:
    sent = {"path": path, "authentication": "NONE"}
    nodes = [{"id": "hook", "type": "TRIGGER.WEBHOOK", "parameters": sent}]

    problems = examine({"name": "n", "nodes": nodes}, CATALOGUE).problems

    found = {(each.pointer, each.code) for each in problems}
    assert ("/nodes/0/parameters/path", "invalid_parameter") in found


@pytest.mark.parametrize(
    "path", [5, "a", "_", "-a.b_c-9", "x" * 200, "Interactions-1", "interactions"]
)
def test_a_path_may_be(path: Any) -> None:
    sent = {"path": path, "authentication": "NONE"}
    nodes = [{"id": "hook", "type": "TRIGGER.WEBHOOK", "parameters": sent}]

    assert examine({"name": "n", "nodes": nodes}, CATALOGUE).problems == ()


def test_disabled_ones_and_other_triggers_receive_nothing() -> None:
    off = Node(id="a", name="a", type="TRIGGER.WEBHOOK", parameters={"path": "a"}, disabled=True)
    other = Node(id="b", name="b", type="TRIGGER.EVENT", parameters={"subject": "b"})

    assert webhooks_of(document(off, other), CATALOGUE) == ()


def test_a_path_is_made_where_there_is_none_and_only_chance_tells_it() -> None:
    sent = document(hook("a"), hook("b", path=None), hook("c", path="mine"), Node(
        id="d", name="d", type="FLOW.NOOP"
    ))  # fmt: skip

    made = make_paths(sent, CHANCE)

    a, b, c, d = paths(made)
    assert (c, d) == ("mine", None)
    assert a != b
    assert all(len(path) == 32 and path.isalnum() for path in (a, b))
    assert make_paths(sent, CHANCE) == made
    assert make_paths(made, bytes(CHANCE_BYTES)) == made
    assert not {a, b} & set(paths(make_paths(sent, bytes(CHANCE_BYTES))))
    assert paths(sent)[0] is None


def test_too_little_chance_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        make_paths(document(hook()), b"short")


def test_a_path_that_was_made_stays_with_its_node() -> None:
    before = make_paths(document(hook("a"), hook("b"), hook("c")), CHANCE)
    other = Node(id="b", name="b", type="TRIGGER.EVENT", parameters={"subject": "x"})

    kept = keep_paths(document(hook("a"), other, hook("c", path="mine"), hook("d")), before)

    assert paths(kept) == [paths(before)[0], None, "mine", None]
