"""What holds in every state of an execution, counted from scratch: no counter is believed."""

from collections.abc import Mapping

from contracts.execution import values
from contracts.execution.plan import Plan, PlannedConnection, Way
from contracts.execution.state import ExecutionState, NodeRun
from contracts.ids import Iteration, RunKey
from contracts.statuses import ExecutionStatus, NodeRunStatus, TimerKind, WaitKind
from scheduler.core.decision import Timer
from scheduler.core.step import wait_timer_key


def check(plan: Plan, state: ExecutionState, timers: Mapping[str, Timer]) -> None:
    """Fail if the state contradicts itself, or if something is stuck in it."""
    open_runs = {key for key, run in state.runs.items() if not run.status.is_terminal}
    under_way = {key for key, run in state.runs.items() if run.has_task}
    assert state.open_runs == len(open_runs)
    assert state.outstanding == len(under_way)
    assert under_way <= open_runs
    assert set(state.waits) <= open_runs
    assert set(state.held) <= open_runs
    assert not set(state.waits) & under_way
    assert not set(state.held) & under_way
    assert not state.held or state.paused
    for key, run in state.runs.items():
        _check_run(plan, state, key, run)
    if state.is_terminal:
        _check_end(state, timers)
    elif state.started_at is not None:
        assert open_runs, "an execution without open node runs is over"
        for key in open_runs:
            assert _reason(plan, state, key, timers), f"{key} is stuck"
        is_running = bool(under_way or state.held)
        assert (state.status is ExecutionStatus.RUNNING) == is_running
    else:
        assert state.status is ExecutionStatus.NEW
        assert not under_way


def _check_end(state: ExecutionState, timers: Mapping[str, Timer]) -> None:
    assert state.status.is_terminal
    assert state.finished_at is not None
    assert not state.open_runs
    assert not state.waits
    assert not state.held
    assert not state.questions
    assert not timers
    assert not any(loop.active for loop in state.loops.values())


def _check_run(plan: Plan, state: ExecutionState, key: RunKey, run: NodeRun) -> None:
    """Check one node run against its connections, and its own fields against its status."""
    assert run.status.is_terminal == (run.finished_at is not None)
    assert not run.has_task or run.status is NodeRunStatus.RUNNING
    assert run.retry_at is None or run.status is NodeRunStatus.PENDING
    if run.status is NodeRunStatus.WAITING:
        assert key in state.waits or key in state.held
    node = plan.nodes[key[0]]
    if state.created.single_node_id == key[0] or run.status.is_terminal:
        return  # alone nothing is waited for, and what ended need not hear of more
    resolved = [wire for wire in node.incoming if _is_resolved(state, wire, key[1])]
    delivered = [wire for wire in resolved if values.is_delivered(state, wire, key[1])]
    assert run.unresolved == len(node.incoming) - len(resolved), key
    assert run.live == len(delivered), key
    if run.status is NodeRunStatus.PENDING and run.ready_at is None and not state.is_terminal:
        has_roots = bool(node.incoming) or state.started_at is None
        assert run.unresolved or not has_roots or state.started_at is None, f"{key} was overlooked"
    if node.loop is not None and key in state.loops:
        _check_loop(plan, state, key)


def _is_resolved(state: ExecutionState, wire: PlannedConnection, path: Iteration) -> bool:
    if wire.way is Way.ITEM:
        return True
    source = state.runs.get(values.source_of(wire, path))
    return source is None or (
        source.status.is_terminal and source.status is not NodeRunStatus.CANCELED
    )


def _check_loop(plan: Plan, state: ExecutionState, key: RunKey) -> None:
    loop = state.loops[key]
    planned = plan.nodes[key[0]].loop
    assert planned is not None
    assert len(loop.active) <= max(loop.rules.max_parallel, 1)
    assert loop.total is None or loop.begun <= loop.total
    assert not loop.active or state.runs[key].status is NodeRunStatus.RUNNING
    for index, item in loop.active.items():
        path = (*key[1], index)
        runs = [state.runs[node_id, path] for node_id in planned.body]
        assert item.open_runs == sum(not run.status.is_terminal for run in runs)
        assert item.open_runs, "an iteration without open node runs is over"
        unresolved = sum(
            not state.runs[wire.source, path].status.is_terminal for wire in planned.back
        )
        assert item.unresolved == unresolved


def _reason(
    plan: Plan, state: ExecutionState, key: RunKey, timers: Mapping[str, Timer]
) -> str | None:
    """Return why a node run is not over yet, or None if nothing will ever end it."""
    run = state.runs[key]
    if run.has_task:
        return "its task is under way"
    if key in state.held:
        return "a pause holds it back"
    if key in state.waits:
        return _reason_of_wait(state, key, timers)
    if run.retry_at is not None:
        timer_key = wait_timer_key(key, run.attempt, TimerKind.RETRY)
        return "it is tried again" if timer_key in timers else None
    if key in state.loops and state.loops[key].active:
        return "its iterations are under way"
    if run.ready_at is None and run.unresolved:
        return "something before it is under way"
    return None


def _reason_of_wait(state: ExecutionState, key: RunKey, timers: Mapping[str, Timer]) -> str | None:
    run = state.runs[key]
    wait = run.wait
    assert wait is not None
    if any(wait_timer_key(key, run.attempt, kind) in timers for kind in TimerKind):
        return "a timer ends its wait"
    if wait.kind is WaitKind.TIMER:
        return None
    if wait.kind is WaitKind.INTERACTION:
        assert wait.interaction_id in state.questions
    return f"somebody ends its wait for {wait.kind}"
