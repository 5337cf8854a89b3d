"""Inputs that the scheduler itself has to assemble: of disabled nodes, of failures that are continued, of iterations.

The core asks for them, and hands in plan and state; the worker assembles all others.
"""

from typing import Any

from contracts import inputs
from contracts.execution.plan import Plan
from contracts.execution.state import ExecutionState
from contracts.expressions.budget import DEFAULT_LIMITS
from contracts.expressions.errors import ExpressionError, MappingError
from contracts.expressions.regex import Regex
from contracts.ids import RunKey
from contracts.inputs import Arrival
from contracts.messages import Task, decode_task_execution
from contracts.payloads import PayloadError
from scheduler.core import tasks
from scheduler.core.decision import AssemblyFailed
from scheduler.values import LargeValues


class Assembling:
    """Evaluates mappings within the same limits as a worker."""

    def __init__(self, regex: Regex, values: LargeValues) -> None:
        self._regex = regex
        self._values = values

    def input_of(self, plan: Plan, state: ExecutionState, key: RunKey) -> Any:
        """Assemble a node run's input as its worker would.

        Raises AssemblyFailed if a mapping fails, and PayloadsNeeded for large values to be read first.
        """
        execution = tasks.task_execution(state)
        task = tasks.build(plan, state, key, execution=execution, token="")
        task = self._filled(state, key[0], task)
        return inputs.merge(self._arrivals(plan, key[0], task), task.trigger)

    def result_of(self, plan: Plan, state: ExecutionState, over: RunKey) -> Any:
        """Return what came back from an iteration: of several connections a list. Raises as `input_of`."""
        execution = tasks.task_execution(state)
        task = tasks.build_return(plan, state, over, execution=execution)
        task = self._filled(state, over[0], task)
        given = [each.value for each in self._arrivals(plan, over[0], task)]
        planned = plan.nodes[over[0]].loop
        assert planned is not None
        return given if len(planned.back) > 1 else given[0]

    def _filled(self, state: ExecutionState, node_id: str, task: Task) -> Task:
        try:
            return self._values.filled(state.id, state.created.user_id, task)
        except PayloadError as error:
            raise AssemblyFailed(error.failure(node_id)) from error

    def _arrivals(self, plan: Plan, node_id: str, task: Task) -> tuple[Arrival, ...]:
        node = plan.nodes[node_id].task_node
        scope = inputs.scope_of(node, decode_task_execution(task.execution), task)
        try:
            arrived = inputs.arrivals(task.deliveries, scope, DEFAULT_LIMITS, self._regex)
        except (ExpressionError, MappingError) as error:
            raise AssemblyFailed(inputs.refusal(error)) from error
        return tuple(arrived)
