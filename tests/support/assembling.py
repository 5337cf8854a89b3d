"""Inputs as a worker assembles them, of values that stand in the messages themselves."""

from typing import Any, Final

from contracts import inputs
from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState
from contracts.expressions.budget import DEFAULT_LIMITS
from contracts.expressions.errors import ExpressionError, MappingError
from contracts.ids import RunKey
from contracts.inputs import Arrival
from contracts.messages import Task, decode_task_execution
from nodes.regex import Re2
from scheduler.core import tasks
from scheduler.core.decision import AssemblyFailed

_REGEX: Final = Re2()


def task_of(plan: Plan, state: ExecutionState, key: RunKey) -> Task:
    """Return the task of a node run's current attempt."""
    return tasks.build(plan, state, key, execution=tasks.task_execution(state), token="")


def input_of(plan: Plan, state: ExecutionState, key: RunKey) -> Any:
    """Assemble the input of a node run. Raises AssemblyFailed if a mapping fails."""
    task = task_of(plan, state, key)
    return inputs.merge(_arrivals(plan, key[0], task), task.trigger)


def result_of(plan: Plan, state: ExecutionState, over: RunKey) -> Any:
    """Return what came back from an iteration. Raises AssemblyFailed if a mapping fails."""
    execution = tasks.task_execution(state)
    task = tasks.build_return(plan, state, over, execution=execution)
    given = [each.value for each in _arrivals(plan, over[0], task)]
    planned = plan.nodes[over[0]].loop
    assert planned is not None
    return given if len(planned.back) > 1 else given[0]


def _arrivals(plan: Plan, node_id: str, task: Task) -> tuple[Arrival, ...]:
    node = plan.nodes[node_id].task_node
    scope = inputs.scope_of(node, decode_task_execution(task.execution), task)
    try:
        return inputs.arrivals(task.deliveries, scope, DEFAULT_LIMITS, _REGEX)
    except (ExpressionError, MappingError) as error:
        raise AssemblyFailed(inputs.refusal(error)) from error
