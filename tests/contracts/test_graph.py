"""The graph of a document: order, bodies, what is upstream, who starts and who only lends."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.document import read_document
from contracts.graph import Graph, build_graph, start_trigger
from contracts.model import Document
from tests.support.calls import growth
from tests.support.documents import START, document, node, noop, wire
from tests.support.specs import CATALOGUE


def read(nodes: list[Any], connections: Iterable[Any] = ()) -> Document:
    reading = read_document(document(nodes, list(connections)), CATALOGUE)
    assert reading.document is not None, reading.problems
    return reading.document


def graph_of(nodes: list[Any], connections: Iterable[Any] = ()) -> Graph:
    return build_graph(read(nodes, connections), CATALOGUE)


def nested_loops() -> Graph:
    """Return outer(a, inner(b), c), then `after`."""
    return graph_of(
        [
            START,
            node("outer", "FLOW.LOOP"),
            noop("a"),
            node("inner", "FLOW.FOR_EACH"),
            noop("b"),
            noop("c"),
            noop("after"),
        ],
        [
            wire("start", "outer"),
            wire("outer", "a", from_port="iteration"),
            wire("a", "inner"),
            wire("inner", "b", from_port="iteration"),
            wire("b", "inner", to_port="loop_body"),
            wire("inner", "c", from_port="complete"),
            wire("c", "outer", to_port="loop_body"),
            wire("outer", "after", from_port="complete"),
        ],
    )


def test_order_puts_every_node_after_those_upstream_and_ties_by_document_order() -> None:
    graph = graph_of(
        [noop("d"), noop("b"), noop("a"), noop("c")],
        [wire("a", "d"), wire("b", "d"), wire("b", "c")],
    )

    assert graph.order == ("b", "a", "d", "c")


def test_successors_and_predecessors_keep_the_order_of_the_list() -> None:
    graph = graph_of(
        [noop("a"), noop("b"), noop("c")], [wire("c", "b"), wire("a", "c"), wire("a", "b")]
    )

    assert [each.target for each in graph.successors["a"]] == ["c", "b"]
    assert [each.source for each in graph.predecessors["b"]] == ["c", "a"]
    assert graph.successors["b"] == ()


def test_a_connection_back_into_a_loop_is_no_part_of_the_order() -> None:
    graph = nested_loops()

    assert graph.cycles == ()
    assert graph.order == ("start", "outer", "a", "inner", "b", "c", "after")
    assert [each.source for each in graph.predecessors["outer"]] == ["start"]
    assert [each.source for each in graph.returns["outer"]] == ["c"]


def test_the_body_of_a_loop_is_what_its_iterations_reach() -> None:
    graph = nested_loops()

    assert graph.bodies == {
        "outer": frozenset(("a", "inner", "b", "c")),
        "inner": frozenset(("b",)),
    }
    assert graph.beyond["outer"] == {"after"}
    assert graph.beyond["inner"] == {"c"}


def test_loops_around_a_node_are_listed_from_outside_in() -> None:
    loops = nested_loops().loops

    assert loops["b"] == ("outer", "inner")
    assert loops["inner"] == loops["c"] == ("outer",)
    assert loops["outer"] == loops["after"] == ()


def test_upstream_leaves_out_bodies_seen_from_outside() -> None:
    graph = nested_loops()

    assert graph.upstream("after") == {"start", "outer"}
    assert graph.upstream("b") == {"start", "outer", "a", "inner"}
    assert not graph.sees("after", "a")
    assert graph.sees("c", "inner")


def test_roots_are_nodes_without_input_that_are_neither_triggers_nor_lenders() -> None:
    graph = graph_of(
        [
            START,
            noop("a"),
            noop("alone"),
            node("agent", "AI_AGENT.OPENAI"),
            node("tool", "TOOL.HTTP"),
            node("both", "TOOL.HTTP"),
            node("loop", "FLOW.LOOP"),
            noop("body"),
        ],
        [
            wire("start", "a"),
            wire("a", "agent"),
            wire("tool", "agent", kind="AI_TOOL"),
            wire("both", "agent", kind="AI_TOOL"),
            wire("both", "body"),
            wire("loop", "body", from_port="iteration"),
            wire("body", "loop", to_port="loop_body"),
        ],
    )

    assert graph.roots == ("alone", "both", "loop")
    assert graph.triggers == ("start",)
    assert graph.lenders == {"tool"}
    assert [each.source for each in graph.borrowed["agent"]] == ["tool", "both"]


def test_a_lender_sees_what_all_its_borrowers_see() -> None:
    agents = [node("first", "AI_AGENT.OPENAI"), node("second", "AI_AGENT.OPENAI")]
    nodes = [START, noop("x"), noop("y"), *agents, node("tool", "TOOL.HTTP")]
    order = [wire("start", "x"), wire("x", "first"), wire("start", "y"), wire("y", "second")]
    to_first = wire("tool", "first", kind="AI_TOOL")
    to_second = wire("tool", "second", kind="AI_TOOL")

    one = graph_of(nodes, [*order, to_first])
    both = graph_of(nodes, [*order, to_first, to_second])

    assert one.sees("tool", "x")
    assert not both.sees("tool", "x")
    assert both.sees("tool", "start")


def test_a_lender_of_a_lender_sees_what_the_last_borrower_sees() -> None:
    graph = graph_of(
        [
            node("tool", "TOOL.HTTP"),
            node("helper", "AI_AGENT.OPENAI"),
            node("agent", "AI_AGENT.OPENAI"),
            START,
        ],
        [
            wire("tool", "helper", kind="AI_TOOL"),
            wire("helper", "agent", kind="AI_TOOL"),
            wire("start", "agent"),
        ],
    )

    assert graph.lenders == {"tool", "helper"}
    assert graph.sees("tool", "start")


def test_a_lender_to_a_body_is_inside_the_loop() -> None:
    graph = graph_of(
        [node("loop", "FLOW.LOOP"), node("agent", "AI_AGENT.OPENAI"), node("tool", "TOOL.HTTP")],
        [wire("loop", "agent", from_port="iteration"), wire("tool", "agent", kind="AI_TOOL")],
    )

    assert graph.loops["tool"] == ("loop",)


def test_a_cycle_is_a_shortest_way_round() -> None:
    graph = graph_of(
        [noop("a"), noop("b"), noop("c"), noop("d")],
        [wire("a", "b"), wire("b", "c"), wire("c", "a"), wire("b", "a"), wire("c", "d")],
    )

    assert graph.cycles == (("a", "b"),)


def test_the_start_trigger_is_the_one_that_fired_else_the_first_enabled_manual_one() -> None:
    event = node("event", "TRIGGER.EVENT", subject="x")
    off = START | {"id": "off", "disabled": True}
    triggers = read([event, off, START])

    assert start_trigger(triggers) == "start"
    assert start_trigger(triggers, fired="event") == "event"
    assert start_trigger(triggers, fired="off") is None
    assert start_trigger(read([event, off])) == "event"
    assert start_trigger(read([noop("a")])) is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_upstream_and_cycles_agree_with_a_plain_search(pairs: list[tuple[int, int]]) -> None:
    edges = sorted({(source, target) for source, target in pairs if source != target})
    graph = graph_of(
        [noop(f"n{index}") for index in range(8)],
        [wire(f"n{source}", f"n{target}") for source, target in edges],
    )

    reaches = set(edges)
    for middle in range(8):
        reaches |= {
            (a, b) for a in range(8) for b in range(8) if {(a, middle), (middle, b)} <= reaches
        }

    for index in range(8):
        expected = {f"n{source}" for source, target in reaches if target == index}
        assert graph.upstream(f"n{index}") == expected
    on_cycles = {f"n{index}" for index in range(8) if (index, index) in reaches}
    assert bool(graph.cycles) == bool(on_cycles)
    assert {node_id for way in graph.cycles for node_id in way} <= on_cycles
    assert sorted(graph.order) == sorted(graph.ids)
    if not on_cycles:
        places = {node_id: place for place, node_id in enumerate(graph.order)}
        assert all(places[f"n{a}"] < places[f"n{b}"] for a, b in edges)


def test_what_a_chain_of_many_loops_costs_grows_with_its_square_at_most() -> None:
    """What lies beyond each loop is a set of its own."""

    def building(size: int) -> Callable[[], Graph]:
        nodes: list[Any] = [START]
        wires = []
        for index in range(size):
            nodes += [node(f"l{index}", "FLOW.LOOP"), noop(f"b{index}")]
            before = f"l{index - 1}" if index else "start"
            port = {"from_port": "complete"} if index else {}
            wires += [
                wire(before, f"l{index}", **port),
                wire(f"l{index}", f"b{index}", from_port="iteration"),
                wire(f"b{index}", f"l{index}", to_port="loop_body"),
            ]
        return partial(build_graph, read(nodes, wires), CATALOGUE)

    assert building(499)().loops["b498"] == ("l498",)
    assert growth(building, 249) < 4.5
