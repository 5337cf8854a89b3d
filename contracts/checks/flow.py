"""Checks of order: cycles, loop bodies, and what can start or be reached."""

from collections.abc import Iterator

from contracts.checks.subject import Subject
from contracts.graph import ITERATION, is_trigger
from contracts.problems import Problem, pointer

_SHOWN = 20


def check_flow(subject: Subject) -> Iterator[Problem]:
    """Yield what is wrong with the order of the nodes."""
    yield from _cycles(subject)
    yield from _mixed_bodies(subject)
    yield from _returns(subject)
    yield from _deep_loops(subject)
    yield from _starts(subject)


def _cycles(subject: Subject) -> Iterator[Problem]:
    for way in subject.graph.cycles:
        message = (
            f"these nodes wait for each other: {_way(way)}; cut one of the connections, or lead it "
            "into the port loop_body of a LOOP"
        )
        yield subject.problem(way[0], "", "cycle", message)


def _way(ids: tuple[str, ...]) -> str:
    shown = ids if len(ids) <= _SHOWN else (*ids[:_SHOWN], f"… {len(ids) - _SHOWN} more")
    return " → ".join((*shown, ids[0]))


def _mixed_bodies(subject: Subject) -> Iterator[Problem]:
    graph = subject.graph
    for loop_id, body in graph.bodies.items():
        mixed = sorted(body & graph.beyond[loop_id], key=graph.places.__getitem__)
        for node_id in mixed[:1]:  # the others follow it, or are like it
            message = (
                f"{node_id!r} follows both the port iteration and another port of the loop "
                f"{loop_id!r}; it must be inside its body or outside"
            )
            yield subject.problem(node_id, "", "loop_body_mixed", message)


def _returns(subject: Subject) -> Iterator[Problem]:
    """Yield connections into a `loop_body` that do not come from that body itself."""
    graph = subject.graph
    for index, wire in subject.main:
        if not graph.leads_back(wire):
            continue
        inner = _loops_inside(subject, wire.source, wire.target)
        if wire.source in graph.bodies and wire.from_port == ITERATION:
            inner = inner or (wire.source if wire.source != wire.target else None)
        if wire.source not in graph.bodies[wire.target]:
            message = (
                f"{wire.source!r} is not in the body of the loop {wire.target!r}; only a node that "
                "follows its port iteration may lead back into loop_body"
            )
        elif inner is not None:
            message = (
                f"{wire.source!r} is in the body of the inner loop {inner!r}; lead the port complete "
                f"of {inner!r} back into {wire.target!r}"
            )
        else:
            continue
        yield Problem(
            pointer("connections", index), "loop_body_mixed", message, node_id=wire.target
        )


def _loops_inside(subject: Subject, node_id: str, outer: str) -> str | None:
    """Return a loop around the node that lies inside the loop `outer`, or None."""
    graph = subject.graph
    inside = (loop_id for loop_id in graph.loops[node_id] if loop_id in graph.bodies[outer])
    return next((loop_id for loop_id in inside if loop_id != outer), None)


def _deep_loops(subject: Subject) -> Iterator[Problem]:
    graph, most = subject.graph, subject.limits.loop_depth
    for loop_id in graph.bodies:
        depth = len(graph.loops[loop_id]) + 1
        if depth == most + 1:
            message = f"loops are nested {depth} deep here; the limit is {most} (LIMIT_LOOP_DEPTH)"
            yield subject.problem(loop_id, "", "limit_exceeded", message)


def _starts(subject: Subject) -> Iterator[Problem]:
    graph = subject.graph
    enabled = [node_id for node_id in graph.triggers if not subject.nodes[node_id].disabled]
    if not enabled:
        message = "no enabled TRIGGER node; the workflow starts by API or as a child only"
        yield Problem("/nodes", "no_trigger", message)
    if graph.cycles:
        return  # what a cycle cuts off would be reported twice
    if not enabled and not graph.roots:
        message = "nothing could start: no enabled trigger, and no other node without incoming MAIN connections"
        yield Problem("/nodes", "no_root", message)
    if enabled:
        yield from _roots_beside(subject)
    yield from _unreachable(subject, enabled)


def _roots_beside(subject: Subject) -> Iterator[Problem]:
    for node_id in subject.graph.roots:
        message = (
            f"{node_id!r} has no incoming MAIN connection: it starts beside the trigger, with the "
            "trigger data; connect it if it should wait"
        )
        yield subject.problem(node_id, "", "root_beside_trigger", message)


def _unreachable(subject: Subject, enabled: list[str]) -> Iterator[Problem]:
    graph = subject.graph
    reached = graph.reached((*enabled, *graph.roots)) | graph.lenders
    for node in subject.document.nodes:
        if node.id not in reached and not is_trigger(node):
            message = f"{node.id!r} can never run: no enabled trigger or root leads to it"
            yield subject.problem(node.id, "", "unreachable", message)
