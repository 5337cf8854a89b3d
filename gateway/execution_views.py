"""Executions and node runs as the API shows them: views of the fold of history.

What is optional and absent is left out. Values of users go out as the bytes they came in.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from contracts.execution import state as folded
from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState
from contracts.failures import Failure
from contracts.history import By, Forked, Parent, TriggerNode, Usage
from contracts.ids import RunKey
from contracts.messages import Resumed
from contracts.model import OnError
from contracts.statuses import ExecutionStatus, Mode, NodeRunStatus, SkipReason, WaitKind
from contracts.times import rfc3339
from gateway.instants import Instant, shown


class UsageView(msgspec.Struct, frozen=True):
    """What model and tool calls used up; cost in US dollars."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0
    model_calls: int = 0
    tool_calls: int = 0


class ExecutionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """An execution as lists show it: without its values."""

    id: str
    workflow_id: str
    workflow_version: int | None
    version_id: str
    status: ExecutionStatus
    paused: bool
    mode: Mode
    metadata: Raw
    priority: int
    created_at: Instant
    failure: Failure | UnsetType = UNSET
    started_at: Instant | UnsetType = UNSET
    finished_at: Instant | UnsetType = UNSET
    parent_execution_id: str | UnsetType = UNSET
    retry_of: str | UnsetType = UNSET
    forked_from: str | UnsetType = UNSET


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a workflow version."""

    id: str
    workflow_id: str
    workflow_version: int | None
    version_id: str
    status: ExecutionStatus
    paused: bool
    mode: Mode
    input: Raw
    continued_errors: int
    usage: UsageView
    node_counts: dict[NodeRunStatus, int]
    metadata: dict[str, Any]
    priority: int
    created_at: Instant
    trigger: TriggerNode | UnsetType = UNSET
    output: Raw | UnsetType = UNSET
    failure: Failure | UnsetType = UNSET
    parent: Parent | UnsetType = UNSET
    retry_of: str | UnsetType = UNSET
    forked_from: Forked | UnsetType = UNSET
    single_node_id: str | UnsetType = UNSET
    started_at: Instant | UnsetType = UNSET
    finished_at: Instant | UnsetType = UNSET


class WaitView(msgspec.Struct, frozen=True, kw_only=True):
    """What a node run is suspended on, and until when at the latest."""

    kind: WaitKind
    since: Instant | UnsetType = UNSET
    due_at: Instant | UnsetType = UNSET
    signal: str | UnsetType = UNSET
    interaction_id: str | UnsetType = UNSET
    child_execution_id: str | UnsetType = UNSET


class ResumedView(msgspec.Struct, frozen=True, kw_only=True):
    """Why a node run that waited went on.

    `by` is a timer (WAIT, CHECK or DUE), SIGNAL, INTERACTION, or RESUME if somebody ended the wait.
    """

    by: str
    at: Instant
    signal: str | UnsetType = UNSET
    interaction_id: str | UnsetType = UNSET
    answered_by: By | UnsetType = UNSET


class NodeRunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A node run as lists show it: without its values."""

    node_id: str
    iteration: tuple[int, ...]
    type: str
    status: NodeRunStatus
    attempt: int
    tries: int
    pinned: bool
    carried: bool
    skip_reason: SkipReason | UnsetType = UNSET
    retry_at: Instant | UnsetType = UNSET
    wait: WaitView | UnsetType = UNSET
    failure: Failure | UnsetType = UNSET
    policy: OnError | UnsetType = UNSET
    usage: UsageView | UnsetType = UNSET
    worker_id: str | UnsetType = UNSET
    dispatched_at: Instant | UnsetType = UNSET
    started_at: Instant | UnsetType = UNSET
    finished_at: Instant | UnsetType = UNSET


class NodeRun(NodeRunSummary, frozen=True, kw_only=True):
    """One node within one execution and loop iteration. `checkpoints` are the keys of its finished calls.

    `carried` says that its output is that of the execution that this one follows.
    """

    checkpoints: tuple[str, ...] = ()
    resumed: ResumedView | UnsetType = UNSET
    logs: Raw
    ports: dict[str, Raw] | UnsetType = UNSET


def execution_of(state: ExecutionState, *, version: int | None) -> Execution:
    """Return an execution as its history says it is."""
    created = state.created
    return Execution(
        id=state.id,
        workflow_id=created.workflow_id,
        workflow_version=version,
        version_id=created.version_id,
        status=state.status,
        paused=state.paused,
        mode=created.mode,
        trigger=_given(created.trigger),
        input=created.input,
        output=_given(state.output),
        failure=_given(state.failure),
        continued_errors=state.continued_errors,
        usage=_total(state),
        node_counts=dict(Counter(run.status for run in state.runs.values())),
        metadata=created.metadata,
        priority=created.priority,
        parent=_given(created.parent),
        retry_of=_given(created.retry_of),
        forked_from=_given(created.forked_from),
        single_node_id=_given(created.single_node_id),
        created_at=rfc3339(state.created_at),
        started_at=shown(state.started_at),
        finished_at=shown(state.finished_at),
    )


def node_run_summaries(plan: Plan, state: ExecutionState) -> Iterator[NodeRunSummary]:
    """Yield all node runs, in the order of the document and of their iterations."""
    for key in ordered(plan, state):
        yield NodeRunSummary(**_row_fields(plan, key, state.runs[key]))


def node_run_of(plan: Plan, state: ExecutionState, key: RunKey) -> NodeRun:
    """Return one node run with its values."""
    run = state.runs[key]
    return NodeRun(
        **_row_fields(plan, key, run),
        checkpoints=tuple(run.checkpoints),
        resumed=UNSET if run.resumed is None else _resumed(run.resumed),
        ports=_given(run.ports),
        logs=run.logs if run.logs is not UNSET else Raw(b"[]"),
    )


def ordered(plan: Plan, state: ExecutionState) -> list[RunKey]:
    """Return the keys of all node runs, in the order of the document and of their iterations."""
    return sorted(state.runs, key=lambda key: (plan.nodes[key[0]].index, key[1]))


def _row_fields(plan: Plan, key: RunKey, run: folded.NodeRun) -> dict[str, Any]:
    node_id, iteration = key
    return {
        "node_id": node_id,
        "iteration": iteration,
        "type": plan.document.nodes[plan.nodes[node_id].index].type,
        "status": run.status,
        "attempt": run.attempt,
        "tries": run.tries,
        "pinned": run.pinned,
        "carried": run.carried,
        "skip_reason": _given(run.skip_reason),
        "retry_at": shown(run.retry_at),
        "wait": _wait(run),
        "failure": _given(run.failure),
        "policy": _given(run.policy),
        "usage": UNSET if run.usage is None else _usage(run.usage),
        "worker_id": _given(run.worker_id),
        "dispatched_at": shown(run.dispatched_at),
        "started_at": _given(run.timing.started_at if run.timing else None),
        "finished_at": shown(run.finished_at),
    }


def _wait(run: folded.NodeRun) -> WaitView | UnsetType:
    """Return what a node run waits for; once it goes on, nothing."""
    wait = run.wait
    if wait is None or run.status is not NodeRunStatus.WAITING or run.resumed is not None:
        return UNSET
    return WaitView(
        kind=wait.kind,
        since=shown(run.waiting_since),
        due_at=shown(wait.due_at),
        signal=_given(wait.signal),
        interaction_id=_given(wait.interaction_id),
        child_execution_id=_given(wait.child_execution_id),
    )


def _resumed(resumed: Resumed) -> ResumedView:
    return ResumedView(
        by=resumed.by,
        at=rfc3339(resumed.at),
        signal=_given(resumed.signal),
        interaction_id=_given(resumed.interaction_id),
        answered_by=_given(resumed.answered_by),
    )


def _usage(usage: Usage) -> UsageView:
    return UsageView(**msgspec.structs.asdict(usage))


def _total(state: ExecutionState) -> UsageView:
    used = [run.usage for run in state.runs.values() if run.usage is not None]
    return UsageView(
        input_tokens=sum(each.input_tokens for each in used),
        output_tokens=sum(each.output_tokens for each in used),
        cost_usd=sum(each.cost_usd for each in used),
        model_calls=sum(each.model_calls for each in used),
        tool_calls=sum(each.tool_calls for each in used),
    )


def _given(value: Any) -> Any:
    return UNSET if value is None else value
