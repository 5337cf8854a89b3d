"""Answers of people: each is recorded, and the one that makes enough of them ends the wait."""

import msgspec

from contracts.execution.state import OpenQuestion
from contracts.history import SignalReceived
from contracts.ids import RunKey
from contracts.interactions import Outcome, decided, given_by
from contracts.messages import encode
from scheduler.core import waiting
from scheduler.core.decision import (
    AnswerGiven,
    ChangedInteraction,
    ClosedInteraction,
    Decision,
    refuse,
)
from scheduler.core.step import Step


def answer_given(step: Step, given: AnswerGiven) -> Decision:
    """Note an answer to an open question, once per person; the question closes when enough have answered.

    A question may be answered while a handler looks at it: the outcome is kept for its next wait.
    """
    if given.signal_id in step.state.heard:
        return refuse("repeated")
    question = step.state.questions.get(given.interaction_id)
    rules = None if question is None else question.rules or given.rules
    if question is None or rules is None:
        return refuse("not_waiting")
    if given_by(question.answers, given.answer.responder) is not None:
        return refuse("already_answered")
    answer = msgspec.structs.replace(given.answer, responded_at=step.at)
    answers = (*question.answers, answer)
    outcome = decided(given.interaction_id, answers, rules.quorum, rules.value)
    signal = SignalReceived(
        signal_id=given.signal_id, interaction_id=given.interaction_id, answer=answer, by=given.by
    )
    if outcome is None:
        _keep_open(step, question, signal)
    else:
        _close(step, question, signal, outcome)
    return step.decision()


def _keep_open(step: Step, question: OpenQuestion, signal: SignalReceived) -> None:
    assert signal.interaction_id is not None
    key = question.key
    stays = msgspec.structs.replace(signal, stays_open=True)
    step.record(stays, key, step.state.runs[key].attempt)
    step.changed.append(ChangedInteraction(id=signal.interaction_id, answers=question.answers))


def _close(step: Step, question: OpenQuestion, signal: SignalReceived, outcome: Outcome) -> None:
    assert signal.interaction_id is not None
    data = msgspec.Raw(encode(outcome))
    ends = msgspec.structs.replace(signal, data=data, port=outcome.port)
    waiting.receive(step, _waiting(step, question.key), ends)
    closed = ClosedInteraction(id=signal.interaction_id, status="ANSWERED", answers=outcome.answers)
    step.closed.append(closed)


def _waiting(step: Step, key: RunKey) -> RunKey | None:
    """Return the node run if it waits just now; else its handler looks at the question."""
    return key if key in step.state.waits else None
