"""What an execution begins with that a schedule starts: the same for an occurrence and for one that somebody asked for."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from contracts.execution.plan import Plan
from contracts.execution.trigger_scope import workflow_scope
from contracts.expressions.budget import DEFAULT_LIMITS
from contracts.expressions.regex import Regex
from contracts.expressions.templates import render
from contracts.history import ExecutionCreated, TriggerNode
from contracts.messages import encode
from contracts.schedules import CRON_TRIGGER
from contracts.slots import placed
from contracts.statuses import Mode
from contracts.strict_json import MalformedJson, read_json
from contracts.times import rfc3339


def created_by_schedule(
    plan: Plan,
    *,
    node_id: str,
    user_id: str,
    timezone: str,
    at: datetime,
    traceparent: str | None,
    regex: Regex,
) -> ExecutionCreated:
    """Return the creation of an execution for an occurrence at an instant. Raises ExpressionError if its data fail."""
    settings = plan.document.settings
    created = ExecutionCreated(
        workflow_id=plan.workflow_id,
        version_id=plan.version_id,
        user_id=user_id,
        mode=Mode.TRIGGER,
        input=msgspec.Raw(encode(_trigger_data(plan, node_id, timezone, at, regex))),
        trigger=TriggerNode(node_id, CRON_TRIGGER),
        priority=settings.priority,
        traceparent=traceparent,
    )
    return placed(created, settings, regex)


def _trigger_data(
    plan: Plan, node_id: str, timezone: str, at: datetime, regex: Regex
) -> Mapping[str, Any]:
    scope = {"now": at, **workflow_scope(plan)}
    (node,) = (each for each in plan.document.nodes if each.id == node_id)
    data = render(node.parameters.get("data", {}), scope, DEFAULT_LIMITS, regex)
    return {"scheduled_at": rfc3339(at), "timezone": timezone, "data": _parsed(data)}


def _parsed(data: Any) -> Any:
    """Return the map or list that a text spells; everything else as it is."""
    if not isinstance(data, str) or not data.lstrip().startswith(("{", "[")):
        return data
    try:
        return read_json(data.encode())
    except MalformedJson:
        return data
