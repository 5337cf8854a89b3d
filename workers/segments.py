"""Going on: what a worker does after a node whose successor it may carry out too, without asking anybody.

The next attempt begins once the result of the one before is stored in the inbox, and that result says so. Its task is made here
of the one that the segment began with: the same token, and as delivery what the node before yielded.
"""

from typing import Final

import msgspec

from contracts.messages import Delivered, Head, Result, Task, Upstream
from contracts.statuses import NodeRunStatus
from contracts.subjects import TaskAddress
from workers.attempt import Following, Prepared

FIRST_ATTEMPT: Final = 1
"""Of a node run that nobody dispatched before."""


def following(prepared: Prepared, result: Result) -> Prepared | None:
    """Return the attempt that may follow a result, if the worker serves its node."""
    segment = prepared.segment
    if segment is None or result.ports is None or len(result.ports) != 1:
        return None
    [(port, value)] = result.ports.items()
    found = segment.steps.get((prepared.node.id, port))
    if found is None:
        return None
    return Prepared(
        _task(prepared, found, result.ports, value),
        prepared.execution,
        found.setup,
        segment=segment,
    )


def address_of(prepared: Prepared) -> TaskAddress:
    """Return the address of an attempt, by which its result is told."""
    node, task = prepared.node, prepared.task
    execution = prepared.execution
    return TaskAddress(
        node.type, execution.namespace, execution.id, node.id, task.iteration, task.attempt
    )


def _task(
    prepared: Prepared, found: Following, ports: dict[str, msgspec.Raw], value: msgspec.Raw
) -> Task:
    before, onward = prepared.task, found.onward
    source = prepared.node.id
    return Task(
        execution=before.execution,
        node=onward.node,
        iteration=before.iteration,
        attempt=FIRST_ATTEMPT,
        token=before.token,
        now=before.now,
        deliveries=(Delivered(source, value, onward.to_port, onward.mapping),),
        nodes=_seen(prepared, source, ports),
        trigger=before.trigger,
        loop=before.loop,
        onward=before.onward,
        head=before.head or Head(source, before.attempt),
    )


def _seen(prepared: Prepared, source: str, ports: dict[str, msgspec.Raw]) -> dict[str, Upstream]:
    """Return what expressions may ask of other node runs, this one included if a later node names it."""
    seen = prepared.task.nodes
    if prepared.segment is None or source not in prepared.segment.named:
        return seen
    return {**seen, source: Upstream(NodeRunStatus.SUCCESS, ports, next(iter(ports)))}
