"""Questions to people: every answer is recorded, enough of them end the wait, and looks in between change who is asked."""

from typing import Any

import msgspec
import pytest

from contracts.history import SignalReceived
from contracts.messages import encode
from contracts.statuses import WaitKind
from scheduler.core.decision import AnswerGiven, ChangedInteraction
from tests.core.graphs import CONTINUE, ONE_TRY, RETRY, run
from tests.support.assembling import task_of
from tests.support.engine import SOMEBODY, USER, Engine, raw, timer_of

TWO = {"approvals_required": 2, "rejections_required": 2, "approvers": ("ada", "bob", "eve")}


def asking(**fields: Any) -> Engine:
    """Return an execution whose first node is dispatched again with what a wait brings."""
    return run("w:CUSTOM.GOES_ON after", "w -> after", fields={"w": ONE_TRY | fields})


def resumed(engine: Engine, name: str = "w") -> Any:
    """Return with what a node run was dispatched again."""
    node_id, _, path = name.partition("@")
    key = (node_id, tuple(map(int, path.split("-"))) if path else ())
    return task_of(engine.plan, engine.state, key).resumed


def outcome(engine: Engine, name: str = "w") -> Any:
    """Return what was answered, as the handler sees it."""
    return msgspec.json.decode(resumed(engine, name).data)


def answers(engine: Engine) -> list[SignalReceived]:
    """Return the answers that history has."""
    return [event.data for event in engine.history if isinstance(event.data, SignalReceived)]


class TestQuorum:
    def test_one_answer_is_enough_where_nothing_else_is_said(self) -> None:
        engine = asking()
        asked = engine.ask("w", {"value": raw("draft")}, seconds=60)

        decision = engine.answer(asked, data=raw({"note": 1}), reason="fine")

        assert engine.closed == {asked: "ANSWERED"}
        assert engine.timers == {}
        assert (resumed(engine).by, resumed(engine).port) == ("INTERACTION", "approved")
        said = outcome(engine)
        assert (said["approved"], said["value"], said["reason"]) == (True, "draft", "fine")
        assert said["responder"]["id"] == "ada"
        assert decision.closed[0].answers == (answers(engine)[0].answer,)

    def test_every_answer_is_recorded_and_the_last_one_decides(self) -> None:
        engine = asking()
        asked = engine.ask("w", TWO)

        first = engine.answer(asked, "ada")
        assert engine.statuses["w"] == "WAITING"
        assert set(engine.open) == {asked}
        second = engine.answer(asked, "bob", approved=False)
        third = engine.answer(asked, "eve")

        assert [len(each.changed[0].answers or ()) for each in (first, second)] == [1, 2]
        assert third.changed == ()
        assert len(third.closed[0].answers or ()) == 3
        assert [each.stays_open for each in answers(engine)] == [True, True, False]
        said = outcome(engine)
        assert said["approved"] is True
        assert [each["responder"]["id"] for each in said["answers"]] == ["ada", "bob", "eve"]
        assert engine.kinds.count("signal_received") == 3

    @pytest.mark.parametrize(
        ("votes", "question", "approved"),
        [
            ("--", TWO, False),
            ("-+-", TWO | {"approvers": ()}, False),
            ("-", {"approvers": ("ada", "bob"), "approvals_required": 2}, False),
            ("-", {"approvers": ("ADA", "ada", "bob"), "approvals_required": 2,
                   "rejections_required": 2}, False),
            ("+-+", TWO, True),
        ],
    )  # fmt: skip
    def test_it_is_rejected_by_enough_or_when_approval_is_out_of_reach(
        self, votes: str, question: dict[str, Any], approved: bool
    ) -> None:
        engine = asking()
        asked = engine.ask("w", question)

        for who, vote in zip(("ada", "bob", "eve"), votes, strict=False):
            assert engine.statuses["w"] == "WAITING"
            engine.answer(asked, who, approved=vote == "+")

        assert outcome(engine)["approved"] is approved

    def test_each_person_counts_once(self) -> None:
        engine = asking()
        asked = engine.ask("w", TWO)
        engine.answer(asked, "ada")

        assert engine.answer(asked, "ada").refused == "already_answered"
        assert engine.answer(asked, "ada", approved=False).refused == "already_answered"
        assert len(answers(engine)) == 1

    def test_an_edit_voids_the_approvals_before_it(self) -> None:
        engine = asking()
        asked = engine.ask("w", TWO | {"value": raw("draft")})
        engine.answer(asked, "ada")
        engine.answer(asked, "bob", value=raw("edited"))
        assert engine.statuses["w"] == "WAITING"

        engine.answer(asked, "ada")

        assert outcome(engine)["value"] == "edited"
        assert len(outcome(engine)["answers"]) == 3

    def test_an_answer_that_is_delivered_twice_counts_once(self) -> None:
        engine = asking()
        asked = engine.ask("w", TWO)
        engine.answer(asked, "ada")
        given = engine_answer(engine, answers(engine)[0])

        assert engine.feed(given).refused == "repeated"

    def test_after_the_end_nothing_is_answered(self) -> None:
        engine = asking()
        asked = engine.ask("w")
        engine.answer(asked)

        assert engine.answer(asked, "bob").refused == "not_waiting"
        assert engine.answer("unknown").refused == "not_waiting"

    def test_a_question_without_recorded_rules_goes_by_those_of_its_row(self) -> None:
        engine = asking()
        asked = engine.ask("w", TWO)
        rules = engine.state.questions[asked].rules
        given = engine_answer(engine, said_by("ada", asked), rules=rules)
        for state in (engine.state, engine._stored):
            state.questions[asked].rules = None  # as an earlier release left it

        assert engine.answer(asked, "bob").refused == "not_waiting"
        assert engine.feed(given).refused is None
        assert engine.statuses["w"] == "WAITING"


def said_by(who: str, asked: str) -> SignalReceived:
    """Return the record of an answer that another execution of the same graph got."""
    other = asking()
    question = other.ask("w", TWO)
    other.answer(question, who)
    return msgspec.structs.replace(answers(other)[0], interaction_id=asked, signal_id="once")


def engine_answer(engine: Engine, recorded: SignalReceived, **fields: Any) -> AnswerGiven:
    """Return the input that was recorded."""
    assert recorded.answer is not None
    assert recorded.interaction_id is not None
    return AnswerGiven(
        signal_id=recorded.signal_id,
        interaction_id=recorded.interaction_id,
        answer=recorded.answer,
        by=SOMEBODY,
        **fields,
    )


class TestLooks:
    def test_a_reminder_is_recorded_and_counted(self) -> None:
        engine = asking()
        asked = engine.ask("w", seconds=60, check_seconds=10, is_reminder=True)

        decision = engine.fire(timer_of("w", "REMINDER"))

        assert decision.changed == (ChangedInteraction(id=asked, reminders=1),)
        assert engine.history[-1].data.timer == "REMINDER"  # type: ignore[union-attr]
        assert resumed(engine).by == "REMINDER"
        assert engine.timers == {}
        engine.wait("w", WaitKind.INTERACTION, interaction_id=asked, seconds=50, check_seconds=5,
                    is_reminder=True)  # fmt: skip
        assert engine.fire(timer_of("w", "REMINDER", 2)).changed[0].reminders == 2

    def test_the_handler_sees_what_was_answered_so_far(self) -> None:
        engine = asking()
        asked = engine.ask("w", TWO, seconds=60)
        engine.answer(asked, "ada")

        engine.fire(timer_of("w", "DUE"))

        assert [each.responder.id for each in resumed(engine).answers] == ["ada"]
        assert engine.closed == {asked: "TIMED_OUT"}

    def test_further_people_are_asked(self) -> None:
        engine = asking()
        asked = engine.ask("w", TWO, seconds=60, check_seconds=10)
        engine.fire(timer_of("w", "CHECK"))

        decision = engine.wait(
            "w", WaitKind.INTERACTION, interaction_id=asked, seconds=50, approvers=("Eve", "zoe")
        )

        everybody = ("ada", "bob", "eve", "zoe")
        assert decision.changed == (ChangedInteraction(id=asked, approvers=everybody),)
        rules = engine.state.questions[asked].rules
        assert rules is not None
        assert (rules.approvers, rules.approvals) == (everybody, 2)

    def test_where_anybody_was_asked_the_namespace_still_is(self) -> None:
        engine = asking()
        asked = engine.ask("w", {"approvals_required": 3}, seconds=60, check_seconds=10)
        engine.fire(timer_of("w", "CHECK"))

        decision = engine.wait(
            "w", WaitKind.INTERACTION, interaction_id=asked, seconds=50, approvers=("zoe",)
        )

        assert decision.changed[0].approvers == (USER, "zoe")
        engine.answer(asked, "zoe")
        assert engine.statuses["w"] == "WAITING", "links may bring a third one"

    def test_what_is_shown_stands_in_history_once(self) -> None:
        engine = asking()
        asked = engine.ask("w", {"value": raw("draft")}, seconds=60, check_seconds=10)
        engine.fire(timer_of("w", "CHECK"))
        engine.wait("w", WaitKind.INTERACTION, interaction_id=asked, approvers=("zoe",))

        engine.answer(asked, "zoe")

        assert sum(encode(event.data).count(b"draft") for event in engine.history[:-1]) == 1
        assert outcome(engine)["value"] == "draft"

    def test_answers_count_while_its_handler_looks_at_it(self) -> None:
        engine = asking()
        asked = engine.ask("w", TWO, seconds=60, check_seconds=10)
        engine.fire(timer_of("w", "CHECK"))
        engine.answer(asked, "ada")
        assert engine.statuses["w"] == "RUNNING"
        engine.answer(asked, "bob")
        assert engine.closed == {asked: "ANSWERED"}

        decision = engine.wait(
            "w", WaitKind.INTERACTION, interaction_id=asked, seconds=50, approvers=("zoe",)
        )

        assert decision.changed == ()
        assert outcome(engine)["approved"] is True

    def test_answers_count_while_its_handler_is_tried_again(self) -> None:
        engine = asking(retry_policy=RETRY)
        asked = engine.ask("w", TWO, seconds=60, check_seconds=10)
        engine.fire(timer_of("w", "CHECK"))
        engine.fail("w", retryable=True)

        engine.answer(asked, "ada")

        assert engine.statuses["w"] == "PENDING"
        engine.fire(timer_of("w", "RETRY", 2))
        assert resumed(engine).by == "CHECK"
        engine.wait("w", WaitKind.INTERACTION, interaction_id=asked, seconds=50)
        engine.answer(asked, "bob")
        assert outcome(engine)["approved"] is True

    def test_while_it_is_paused_people_may_answer(self) -> None:
        engine = asking()
        asked = engine.ask("w", TWO, seconds=60, check_seconds=10, is_reminder=True)
        engine.pause()
        engine.answer(asked, "ada")
        engine.fire(timer_of("w", "REMINDER"))
        engine.answer(asked, "bob")
        assert engine.closed == {asked: "ANSWERED"}

        engine.resume()
        engine.wait("w", WaitKind.INTERACTION, interaction_id=asked, seconds=50)

        assert outcome(engine)["approved"] is True


class TestManyQuestions:
    def test_each_iteration_has_its_own(self) -> None:
        engine = run(
            "each:FLOW.LOOP w:CUSTOM.GOES_ON",
            "each.iteration -> w",
            "w -> each.loop_body",
        )
        engine.iterate("each", ["a", "b"], max_parallel=2)
        first = engine.ask("w@0", TWO, seconds=60)
        second = engine.ask("w@1", TWO, seconds=60, check_seconds=10, is_reminder=True)

        engine.answer(first, "ada")
        engine.answer(second, "ada")
        engine.fire(timer_of("w@1", "REMINDER"))
        engine.wait("w@1", WaitKind.INTERACTION, interaction_id=second, seconds=50)
        engine.answer(first, "bob", approved=False)
        engine.answer(first, "eve", approved=False)
        engine.answer(second, "bob")

        assert (outcome(engine, "w@0")["approved"], outcome(engine, "w@1")["approved"]) == (
            False,
            True,
        )

    def test_branches_wait_beside_each_other(self) -> None:
        engine = run("a:CUSTOM.GOES_ON b:CUSTOM.GOES_ON", fields={"a": CONTINUE})
        first, second = engine.ask("a", TWO), engine.ask("b", TWO)

        for asked in (first, second):
            engine.answer(asked, "ada")
        engine.answer(second, "bob")

        assert engine.statuses == {"a": "WAITING", "b": "RUNNING"}
        assert set(engine.open) == {first}

    def test_people_are_reminded_while_something_else_runs(self) -> None:
        engine = run("w:CUSTOM.GOES_ON busy")
        engine.ask("w", seconds=60, check_seconds=10, is_reminder=True)
        assert engine.status == "RUNNING"

        engine.fire(timer_of("w", "REMINDER"))

        assert engine.statuses == {"w": "RUNNING", "busy": "RUNNING"}
