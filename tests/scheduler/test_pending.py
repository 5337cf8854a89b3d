"""What the decisions of one batch become: rows of one statement, which changes each row once."""

import msgspec

from scheduler.entries import Entry
from scheduler.executions import Live
from scheduler.pending import Pending, advance_of
from tests.core.graphs import run
from tests.support.engine import EXECUTION


def test_a_question_that_is_asked_and_answered_in_one_batch_is_stored_with_its_answer() -> None:
    engine = run("x:CUSTOM.GOES_ON")
    pending = Pending(Live(engine.plan, engine.state))

    asked = engine.ask("x")
    engine.end_wait("x", {"ok": True}, interaction_id=asked)
    for given, decision in engine.decisions[-2:]:
        pending.add(Entry(execution_id=EXECUTION, given=given), decision)
    advance = advance_of(pending)

    (question,) = advance.opened
    assert (question.id, question.status) == (asked, "ANSWERED")
    (answer,) = question.answers
    assert msgspec.json.decode(answer)["data"] == {"ok": True}
    assert list(advance.changed) == []
