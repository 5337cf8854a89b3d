"""Segments: consecutive nodes that one worker runs one after the other, without a scheduler in between.

A task tells its worker which nodes may follow (`onward`). Once the result of a node is durably stored, a worker that serves
the next node's type goes on with it, and says so in that result (`goes_on`). Each result is committed singly, as if the
scheduler had dispatched the node; what differs is that no task of its own is published: the task at the *head* of the segment
stays unacknowledged until its worker is done, and so is delivered again if that dies. `NodeRun.head` says whose task stands
for a node run.

Who may follow whom is a matter of the plan alone (`PlannedNode.follows`); whether a worker goes on is its own.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from contracts.execution.plan import Plan, PlannedNode, Segment
from contracts.messages import Onward, encode

MOST_NODES: Final = 64
MOST_BYTES: Final = 32 * 1024
"""What the nodes of a segment may take in a task."""


def after(plan: Plan, node_id: str) -> Segment | None:
    """Return the segment that a task of this node may begin, or None."""
    if node_id not in plan.segments:
        plan.segments[node_id] = _made(plan, plan.nodes[node_id])
    return plan.segments[node_id]


def may_go_on(
    plan: Plan, node_id: str, ports: Mapping[str, msgspec.Raw] | None, goes_on: str
) -> bool:
    """Whether a worker may take a node that yielded on these ports for done and go on with that other one."""
    target = plan.nodes.get(goes_on)
    wire = None if target is None else target.follows
    return (
        wire is not None
        and wire.source == node_id
        and ports is not None
        and list(ports) == [wire.from_port]
    )


def _made(plan: Plan, head: PlannedNode) -> Segment | None:
    members = list(_members(plan, head))
    if not members:
        return None
    steps = [_onward(node) for node in members]
    inside = {head.id, *(node.id for node in members)}
    references = {name for node in members for name in node.references}
    return Segment(
        encoded=msgspec.Raw(encode(steps)),
        references=tuple(sorted(references - inside)),
        names_trigger=any(node.names_trigger for node in members),
        names_loop=any(node.names_loop for node in members),
    )


def _members(plan: Plan, head: PlannedNode) -> Iterator[PlannedNode]:
    """Yield the nodes that may follow, the nearest first, as many as a task may carry."""
    if head.loop is not None:
        return
    room, nodes = MOST_BYTES, MOST_NODES
    sources = deque([head])
    while sources:
        for wire in sources.popleft().outgoing:
            node = plan.nodes[wire.target]
            if node.follows is not wire:
                continue
            room -= len(node.encoded)
            nodes -= 1
            if room < 0 or nodes < 0:
                return
            yield node
            sources.append(node)


def _onward(node: PlannedNode) -> Onward:
    wire = node.follows
    assert wire is not None
    return Onward(
        source=wire.source,
        from_port=wire.from_port,
        to_port=wire.to_port,
        mapping=wire.mapping,
        references=node.references,
        node=node.encoded,
    )
