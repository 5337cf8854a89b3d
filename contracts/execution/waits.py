"""Which of an execution's waits somebody means."""

from contracts.execution.state import ExecutionState
from contracts.history import Wait
from contracts.ids import Iteration, RunKey, iteration_text
from contracts.statuses import WaitKind


def wait_of(state: ExecutionState, key: RunKey) -> Wait:
    """Return what a suspended node run waits for."""
    wait = state.runs[key].wait
    assert wait is not None
    return wait


def fitting(
    state: ExecutionState,
    *,
    interaction_id: str | None = None,
    node_id: str | None = None,
    iteration: Iteration | None = None,
    signal: str | None = None,
) -> list[RunKey]:
    """Return the node runs whose wait fits all that is given, the oldest first; children end by themselves."""

    def fits(key: RunKey) -> bool:
        wait = wait_of(state, key)
        return (
            wait.kind is not WaitKind.CHILD
            and (interaction_id is None or wait.interaction_id == interaction_id)
            and (node_id is None or key[0] == node_id)
            and (iteration is None or key[1] == iteration)
            and (signal is None or wait.signal == signal)
        )

    return [key for key in state.waits if fits(key)]


def told(state: ExecutionState, keys: list[RunKey]) -> str:
    """Return the waits among which somebody must choose, as a sentence to show."""
    shown = ", ".join(
        f"{node_id} {iteration_text(path)} ({wait_of(state, (node_id, path)).kind.lower()})"
        for node_id, path in keys
    )
    return f"these wait: {shown}; name one by node_id, and iteration if need be"
