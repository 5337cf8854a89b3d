"""Builders of tasks, and of contexts for handlers."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from contracts.expressions.budget import DEFAULT_LIMITS
from contracts.inputs import Arrival, Scope, merge
from contracts.limits import NodeLimits
from contracts.messages import Delivered, Task, TaskExecution, TaskNode, Upstream, encode
from contracts.statuses import Mode
from nodes.attempt_log import LOG_BYTES
from nodes.context import Clock, Context, Services
from nodes.http_client import HttpClient
from nodes.regex import Re2

EXECUTION_ID = "018f0000-0000-7000-8000-000000000001"
NOW = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)


def raw(value: Any) -> msgspec.Raw:
    """Return a value as it travels."""
    return msgspec.Raw(json.dumps(value).encode())


def task_node(**fields: Any) -> TaskNode:
    """Return the node of a task, a NOOP unless told otherwise."""
    return TaskNode(**{"id": "n1", "name": "n1", "type": "FLOW.NOOP", "timeout": 30, **fields})


def task_execution(**fields: Any) -> TaskExecution:
    """Return the execution of a task."""
    known = {"id": EXECUTION_ID, "workflow_id": "w1", "namespace": "acme", "mode": Mode.MANUAL}
    return TaskExecution(**{**known, **fields})


def delivered(value: Any, source: str = "a", **fields: Any) -> Delivered:
    """Return what arrived over one connection."""
    return Delivered(source, raw(value), **fields)


def task(
    node: TaskNode | None = None,
    execution: TaskExecution | None = None,
    *,
    deliveries: Sequence[Delivered] = (),
    trigger: Any = None,
    nodes: Mapping[str, Upstream] | None = None,
    **fields: Any,
) -> Task:
    """Return a task as the scheduler sends it; without deliveries the node is a root."""
    return Task(
        execution=msgspec.Raw(encode(execution or task_execution())),
        node=msgspec.Raw(encode(node or task_node())),
        token="token-of-the-attempt",
        now=NOW,
        deliveries=tuple(deliveries),
        trigger=raw(trigger) if trigger is not None or not deliveries else msgspec.UNSET,
        nodes=dict(nodes or {}),
        **{"attempt": 1, **fields},
    )


@lru_cache
def _unused_client() -> HttpClient:
    """Return a client for contexts that call nothing; it costs some milliseconds to make."""
    return HttpClient()


def services(
    http: HttpClient | None = None,
    clock: Clock | None = None,
    log_bytes: int = LOG_BYTES,
    limits: NodeLimits | None = None,
    **stored: Any,
) -> Services:
    """Return what the attempts of a worker share."""
    return Services(
        http or _unused_client(),
        DEFAULT_LIMITS,
        Re2(),
        clock or Clock(),
        log_bytes,
        limits or NodeLimits(),
        **stored,
    )


def context(
    value: Any = None,
    *arrived: Arrival,
    node: TaskNode | None = None,
    http: HttpClient | None = None,
    traceparent: str | None = None,
    progress: list[tuple[str, float | None]] | None = None,
    log_bytes: int = LOG_BYTES,
    kept: dict[str, Any] | None = None,
    limits: NodeLimits | None = None,
    stored: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Context:
    """Return the context of an attempt whose input is `value`, or what these arrivals make.

    `kept` takes its checkpoints, `stored` are the services that have to do with credentials; `fields` are
    further ones of its task.
    """
    node, execution = node or task_node(), task_execution()
    body = task(node, execution, trigger=value, **fields)
    checkpoints: dict[str, Any] = {} if kept is None else kept

    async def save(key: str, value: Any) -> msgspec.Raw:
        checkpoints[key] = value
        return raw(value)

    told: list[tuple[str, float | None]] = [] if progress is None else progress
    return Context(
        services(http, log_bytes=log_bytes, limits=limits, **(stored or {})),
        node,
        execution,
        body,
        scope=Scope(node, execution, body),
        arrived=arrived or (Arrival("a", "main", value),),
        value=merge(arrived) if arrived else value,
        started_at=NOW,
        progress=lambda message, percent: told.append((message, percent)),
        save=save,
        traceparent=traceparent,
    )
