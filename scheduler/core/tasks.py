"""What a task carries: the values that arrived, and just the upstream outputs that its expressions name."""

import msgspec
from msgspec import UNSET

from contracts.execution.plan import Plan, PlannedNode
from contracts.execution.state import ExecutionState, NodeRun
from contracts.ids import Iteration, RunKey
from contracts.messages import Delivered, Task, TaskExecution, Upstream, encode
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


def address(plan: Plan, state: ExecutionState, key: RunKey) -> TaskAddress:
    """Return the address of a node run's current attempt."""
    node_id, iteration = key
    return TaskAddress(
        plan.nodes[node_id].fleet,
        state.created.user_id,
        state.id,
        node_id,
        iteration,
        state.runs[key].attempt,
    )


def build(
    plan: Plan, state: ExecutionState, key: RunKey, *, execution: msgspec.Raw, token: str
) -> Task:
    """Return the task for a node run's current attempt."""
    node = plan.nodes[key[0]]
    run = state.runs[key]
    assert run.ready_at is not None, "a task follows from readiness"
    return Task(
        execution=execution,
        node=node.encoded,
        iteration=key[1],
        attempt=run.attempt,
        token=token,
        now=run.ready_at,
        deliveries=deliveries(state, node, key[1]),
        nodes=_upstream(plan, state, node, key[1]) if node.references else NO_UPSTREAM,
        trigger=state.created.input if node.is_root or node.names_trigger else UNSET,
    )


def deliveries(
    state: ExecutionState, node: PlannedNode, iteration: Iteration
) -> tuple[Delivered, ...]:
    """Return the values that arrived at a node run, in the order of the connections list."""
    arrived = []
    for each in node.incoming:
        ports = state.runs[each.source, iteration].ports
        if ports is not None and each.from_port in ports:
            value = ports[each.from_port]
            arrived.append(Delivered(each.source, value, each.to_port, each.mapping, each.wired))
    return tuple(arrived)


def _upstream(
    plan: Plan, state: ExecutionState, node: PlannedNode, iteration: Iteration
) -> dict[str, Upstream]:
    return {
        name: _seen(plan.nodes[name], state.runs[name, iteration])
        for name in node.references
        if name in plan.nodes
    }


def _seen(node: PlannedNode, run: NodeRun) -> Upstream:
    ports = run.ports or {}
    error = msgspec.Raw(encode(run.failure)) if run.failure is not None else UNSET
    return Upstream(run.status, ports, node.main_output(ports), error)
