"""Builders of documents as users send them."""

from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

START: dict[str, Any] = {"id": "start", "type": "TRIGGER.MANUAL"}


def noop(node_id: str, **fields: Any) -> dict[str, Any]:
    """Return a node that hands its input on."""
    return {"id": node_id, "type": "FLOW.NOOP", **fields}


def node(node_id: str, node_type: str, /, **parameters: Any) -> dict[str, Any]:
    """Return a node with parameters."""
    return {"id": node_id, "type": node_type, "parameters": parameters}


def wire(source: str, target: str, **fields: Any) -> dict[str, Any]:
    """Return a connection."""
    return {"from": source, "to": target, **fields}


def document(nodes: list[Any], connections: Any = (), **fields: Any) -> dict[str, Any]:
    """Return a document of these nodes."""
    wires = list(connections) if isinstance(connections, tuple) else connections
    return {"name": "Test", "nodes": nodes, "connections": wires, **fields}


def chain(*nodes: dict[str, Any]) -> dict[str, Any]:
    """Return a document whose nodes follow each other, after a manual trigger."""
    ids = ["start", *(each["id"] for each in nodes)]
    wires = [wire(*pair) for pair in pairwise(ids)]
    return document([START, *nodes], wires)


_WORDS = st.text("abcdefgh ", min_size=1, max_size=12).map(str.strip).filter(bool)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=5,
)
_POLICIES = st.sampled_from(("stop", "continue", "CONTINUE_ERROR_OUTPUT", "continueRegularOutput"))
_SPELLINGS = st.sampled_from(("FLOW.NOOP", "flow.noop", "FLOW_NODE.FLOW_NOOP", "Flow.Noop_Node"))


@st.composite
def valid_documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a document that can be published: a trigger, and nodes that only follow earlier ones."""
    count = draw(st.integers(1, 8))
    nodes: list[dict[str, Any]] = [dict(START)]
    wires = []
    for index in range(count):
        nodes.append(draw(_node(index)))
        sources = draw(st.sets(st.integers(0, index), min_size=1, max_size=3))
        wires += [wire(nodes[source]["id"], nodes[-1]["id"]) for source in sorted(sources)]
    return document(
        nodes,
        draw(st.sampled_from((_as_list, _as_map)))(wires),
        **draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "description": _WORDS,
                    "staticData": st.dictionaries(_WORDS, _JSON, max_size=2),
                    "settings": st.fixed_dictionaries({"errorPolicy": _POLICIES}),
                    "tags": st.lists(_WORDS, unique=True, max_size=3),
                    "version": _WORDS,
                },
            )
        ),
    )


def _node(index: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"id": st.just(f"n{index}"), "type": _SPELLINGS},
        optional={
            "name": st.just(f"Node {index}"),
            "parameters": st.fixed_dictionaries({}, optional={"data": _JSON}),
            "disabled": st.booleans(),
            "onError": _POLICIES,
            "retryPolicy": st.none() | st.fixed_dictionaries({"maxTries": st.integers(1, 10)}),
            "timeout": st.none() | st.integers(1, 3600),
            "notes": _WORDS | st.dictionaries(_WORDS, _JSON, max_size=2),
            "position": st.fixed_dictionaries({"x": st.integers(-9, 9)}),
            "metadata": st.dictionaries(_WORDS, _JSON, max_size=2),
        },
    )


def _as_list(wires: list[dict[str, Any]]) -> Any:
    return wires


def _as_map(wires: list[dict[str, Any]]) -> Any:
    found: dict[str, Any] = {}
    for each in wires:
        found.setdefault(each["from"], {"main": []})["main"].append({"node": each["to"]})
    return found
