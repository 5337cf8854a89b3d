"""What the expressions of a trigger see of their workflow, before there is an execution."""

from typing import Any

from contracts.execution.plan import Plan


def workflow_scope(plan: Plan) -> dict[str, Any]:
    """Return the names `static` and `workflow` of a workflow version."""
    document = plan.document
    workflow = {
        "id": plan.workflow_id,
        "name": document.name,
        "version": plan.version,
        "timezone": document.settings.timezone,
    }
    return {"static": document.static_data, "workflow": workflow}
