"""What a task carries: the values that arrived, and just the upstream outputs that its expressions name."""

from collections.abc import Iterable

import msgspec
from msgspec import UNSET

from contracts.execution import segments, values
from contracts.execution.plan import Plan, PlannedConnection, PlannedNode
from contracts.execution.state import ExecutionState
from contracts.failures import Failure
from contracts.ids import Iteration, RunKey
from contracts.messages import Delivered, Head, Task, TaskExecution, Upstream, encode
from contracts.statuses import NodeRunStatus
from contracts.subjects import TaskAddress

NO_UPSTREAM: dict[str, Upstream] = {}


def task_execution(state: ExecutionState) -> msgspec.Raw:
    """Return the execution's part of its tasks: the same bytes for all of them."""
    created = state.created
    return msgspec.Raw(
        encode(
            TaskExecution(
                id=state.id,
                workflow_id=created.workflow_id,
                namespace=created.user_id,
                mode=created.mode,
                parent_id=created.parent.execution_id if created.parent else None,
                started_at=state.started_at,
                traceparent=created.traceparent,
            )
        )
    )


def head_of(state: ExecutionState, key: RunKey) -> Head:
    """Return the attempt whose task stands for a node run: its own, unless a worker went on with it by itself."""
    run = state.runs[key]
    return run.head or Head(key[0], run.attempt)


def address(plan: Plan, state: ExecutionState, key: RunKey) -> TaskAddress:
    """Return the address of the task that stands for a node run's current attempt."""
    head = head_of(state, key)
    return TaskAddress(
        plan.nodes[head.node_id].fleet,
        state.created.user_id,
        state.id,
        head.node_id,
        key[1],
        head.attempt,
    )


def build(
    plan: Plan,
    state: ExecutionState,
    key: RunKey,
    *,
    execution: msgspec.Raw,
    token: str,
    in_segments: bool = False,
) -> Task:
    """Return the task for a node run's current attempt; `in_segments` its worker may go on after it."""
    node = plan.nodes[key[0]]
    run = state.runs[key]
    assert run.ready_at is not None, "a task follows from readiness"
    arrived = deliveries(state, node, key[1])
    segment = segments.after(plan, node.id) if in_segments and _is_whole(state) else None
    is_fed = not arrived or node.names_trigger
    names_loop, references = node.names_loop, node.references
    if segment is not None:
        is_fed = is_fed or segment.names_trigger
        names_loop = names_loop or segment.names_loop
        references = (*references, *segment.references)
    return Task(
        execution=execution,
        node=node.encoded,
        iteration=key[1],
        attempt=run.attempt,
        token=token,
        now=run.ready_at,
        deliveries=arrived,
        nodes=_upstream(plan, state, references, node.loops, key[1]) if references else NO_UPSTREAM,
        trigger=state.created.input if is_fed else UNSET,
        loop=values.loop_scope(state, node.loops, key[1]) if names_loop else None,
        next_loop=values.asked_scope(state, node.loops, key) if node.loop is not None else None,
        is_asked=node.loop is not None and key in state.loops,
        resumed=run.resumed,
        checkpoints=run.checkpoints,
        onward=UNSET if segment is None else segment.encoded,
        head=run.head,
    )


def _is_whole(state: ExecutionState) -> bool:
    """Whether every node run that becomes ready is run: nothing is carried over, and no node executed alone."""
    return not state.carried and state.created.single_node_id is None


def build_return(
    plan: Plan, state: ExecutionState, over: RunKey, *, execution: msgspec.Raw
) -> Task:
    """Return what a loop's port `loop_body` got from an iteration, in the form of a task.

    Nobody carries it out: it is what the mappings of connections that lead back are evaluated with.
    """
    loop_id, path = over
    node = plan.nodes[loop_id]
    assert node.loop is not None
    item = state.loops[loop_id, path[:-1]].active[path[-1]]
    arrived = sorted(item.arrived, key=node.loop.back.index)
    around = (*node.loops, loop_id)
    return Task(
        execution=execution,
        node=node.encoded,
        iteration=path,
        attempt=0,
        token="",
        now=state.updated_at,
        deliveries=tuple(_delivery(wire, values.value_over(state, wire, path)) for wire in arrived),
        nodes=_upstream(plan, state, node.references, around, path),
        trigger=state.created.input,
        loop=values.loop_scope(state, around, path),
    )


def deliveries(
    state: ExecutionState, node: PlannedNode, iteration: Iteration
) -> tuple[Delivered, ...]:
    """Return the values that arrived at a node run, in the order of the connections list."""
    run = state.runs[node.id, iteration]
    if run.input is not UNSET:  # a fork gives it in their place
        return (Delivered("", run.input),)
    if state.created.single_node_id is not None and not iteration:
        return ()
    return tuple(_delivery(wire, value) for wire, value in values.delivered(state, node, iteration))


def _delivery(wire: PlannedConnection, value: msgspec.Raw) -> Delivered:
    return Delivered(wire.source, value, wire.to_port, wire.mapping, wire.wired)


def _upstream(
    plan: Plan,
    state: ExecutionState,
    references: Iterable[str],
    around: tuple[str, ...],
    iteration: Iteration,
) -> dict[str, Upstream]:
    """Return what expressions name: of a node outside of these loops the run that holds for all."""
    seen = {}
    for name in references:
        other = plan.nodes.get(name)
        if other is None:
            continue
        levels = max(len(around) - len(other.loops), 0)
        key = (name, iteration[: len(iteration) - levels])
        run = state.runs.get(key)
        if run is not None:
            seen[name] = _seen(other, run.status, run.ports or {}, run.failure)
        elif (carried := state.carried.get(key)) is not None and carried.ports is not None:
            status = NodeRunStatus.SUCCESS if carried.failure is None else NodeRunStatus.ERROR
            seen[name] = _seen(other, status, carried.ports, carried.failure)
    return seen


def _seen(
    node: PlannedNode,
    status: NodeRunStatus,
    ports: dict[str, msgspec.Raw],
    failure: Failure | None,
) -> Upstream:
    error = msgspec.Raw(encode(failure)) if failure is not None else UNSET
    return Upstream(status, ports, node.main_output(ports), error)
