"""What whoever asked hears of a commit."""

from contracts.execution.state import ExecutionState
from contracts.messages import CommandAnswer
from contracts.statuses import ExecutionStatus
from scheduler.core.decision import AS_WISHED, CancelAsked, Decision
from scheduler.entries import Entry


def answer(state: ExecutionState, entry: Entry, decision: Decision) -> CommandAnswer:
    """Return the answer to a command, as committed. What is so already is no refusal."""
    code = decision.refused
    is_canceled = isinstance(entry.given, CancelAsked) and state.status is ExecutionStatus.CANCELED
    if is_canceled or code in AS_WISHED:
        code = None
    return CommandAnswer(state.id, state.status, state.seq, code, decision.detail)
