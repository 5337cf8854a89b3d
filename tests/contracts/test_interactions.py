"""Interactions: on which port an answer goes out, and when enough people have answered."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from contracts.interactions import (
    Answer,
    Outcome,
    Quorum,
    Responder,
    Unfit,
    decided,
    given_by,
    port_of,
    standing,
)

AT = datetime(2026, 11, 22, tzinfo=UTC)
CHOICES = [{"value": "now", "label": "Now", "port": "today"}, {"value": 1, "label": "Later"}]
SHOWN = msgspec.Raw(b'{"text":"draft"}')


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def said(who: str, approved: bool | None = True, **fields: Any) -> Answer:
    """Return what somebody answered."""
    port = {True: "approved", False: "rejected", None: "answered"}[approved]
    given = {"port": port, "approved": approved, **fields}
    return Answer(responder=Responder(id=who, channel="API"), responded_at=AT, **given)


def outcome(answers: list[Answer], **quorum: int) -> Outcome | None:
    return decided("question", answers, Quorum(**quorum), SHOWN)


class TestPorts:
    @pytest.mark.parametrize(
        ("kind", "choices", "given", "expected"),
        [
            pytest.param("approval", [], {"approved": True}, "approved", id="approved"),
            pytest.param("review", [], {"approved": False}, "rejected", id="rejected"),
            pytest.param("confirmation", [], {"port": "rejected"}, "rejected", id="by port"),
            pytest.param(
                "approval", [], {"approved": True, "port": "approved"}, "approved", id="both"
            ),
            pytest.param("APPROVAL", [], {"approved": True}, "approved", id="upper case"),
            pytest.param("input", [], {}, "answered", id="input"),
            pytest.param("input", [], {"port": "answered"}, "answered", id="input by port"),
            pytest.param("choice", CHOICES, {"choice": raw("now")}, "today", id="choice"),
            pytest.param("choice", CHOICES, {"choice": raw(1)}, "answered", id="without port"),
            pytest.param("choice", CHOICES, {"port": "today"}, "today", id="choice by port"),
            pytest.param("choice", ["a", "b"], {"choice": raw("b")}, "answered", id="plain choice"),
        ],
    )
    def test_an_answer_goes_out_on(
        self, kind: str, choices: list[Any], given: dict[str, Any], expected: str
    ) -> None:
        assert port_of(kind, choices, **given) == expected

    @pytest.mark.parametrize(
        ("kind", "choices", "given", "field"),
        [
            pytest.param("approval", [], {}, "approved", id="no verdict"),
            pytest.param("approval", [], {"choice": raw(1)}, "choice", id="nothing to choose"),
            pytest.param("approval", [], {"port": "main"}, "port", id="another port"),
            pytest.param(
                "approval", [], {"approved": True, "port": "rejected"}, "port", id="two verdicts"
            ),
            pytest.param("input", [], {"approved": True}, "approved", id="no vote"),
            pytest.param("input", [], {"choice": raw(1)}, "choice", id="no choice"),
            pytest.param("input", [], {"port": "approved"}, "port", id="port of a vote"),
            pytest.param("choice", CHOICES, {}, "choice", id="nothing chosen"),
            pytest.param("choice", CHOICES, {"choice": raw("never")}, "choice", id="unknown"),
            pytest.param("choice", CHOICES, {"choice": raw(True)}, "choice", id="true is not 1"),
            pytest.param("choice", CHOICES, {"port": "never"}, "port", id="unknown port"),
            pytest.param(
                "choice", CHOICES, {"choice": raw("now"), "port": "answered"}, "port", id="two"
            ),
        ],
    )
    def test_an_answer_does_not_fit(
        self, kind: str, choices: list[Any], given: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(Unfit) as unfit:
            port_of(kind, choices, **given)

        assert unfit.value.field == field


class TestQuorum:
    def test_nobody_has_answered(self) -> None:
        assert outcome([]) is None

    def test_one_decides_where_one_is_enough(self) -> None:
        made = outcome([said("ada", data=raw({"note": 1}), reason="fine")])

        assert made is not None
        assert (made.port, made.approved, made.reason) == ("approved", True, "fine")
        assert made.data == raw({"note": 1})
        assert made.value == SHOWN
        assert made.responder.id == "ada"
        assert [each.responder.id for each in made.answers] == ["ada"]

    def test_an_input_is_answered_once(self) -> None:
        made = outcome([said("ada", None)], approvals=3)

        assert made is not None
        assert (made.port, made.approved) == ("answered", None)

    @pytest.mark.parametrize(
        ("votes", "quorum", "expected"),
        [
            pytest.param("++", {"approvals": 3}, None, id="too few"),
            pytest.param("+++", {"approvals": 3}, "approved", id="enough"),
            pytest.param("-", {"approvals": 3}, "rejected", id="one rejection is enough"),
            pytest.param("-", {"approvals": 2, "rejections": 2}, None, id="two are needed"),
            pytest.param("+--", {"approvals": 2, "rejections": 2}, "rejected", id="rejected"),
            pytest.param("-+", {"rejections": 2, "voters": 2}, "approved", id="in spite of one"),
            pytest.param(
                "-", {"approvals": 3, "rejections": 2, "voters": 3}, "rejected", id="out of reach"
            ),
            pytest.param(
                "-", {"approvals": 2, "rejections": 2, "voters": 3}, None, id="still in reach"
            ),
        ],
    )
    def test_votes_are_counted(
        self, votes: str, quorum: dict[str, int], expected: str | None
    ) -> None:
        answers = [said(str(place), vote == "+") for place, vote in enumerate(votes)]

        made = outcome(answers, **quorum)

        assert (made.port if made else None) == expected

    def test_an_edit_voids_the_approvals_before_it(self) -> None:
        answers = [said("ada"), said("bob", value=raw({"text": "edited"}))]

        assert outcome(answers, approvals=2) is None
        assert given_by(answers, Responder(id="ada", channel="API")) is None
        assert given_by(answers, Responder(id="bob", channel="LINK")) == answers[1]

        made = outcome([*answers, said("ada")], approvals=2)
        assert made is not None
        assert made.value == raw({"text": "edited"})
        assert len(made.answers) == 3

    def test_an_edit_leaves_rejections_standing(self) -> None:
        answers = [said("eve", False), said("ada"), said("bob", value=raw(1))]

        assert [each.responder.id for each in standing(answers)] == ["eve", "bob"]

    def test_people_without_an_id_are_told_apart_by_name(self) -> None:
        one = Responder(name="Ada@example.com", channel="LINK")
        other = Responder(name="ada@example.com", channel="LINK")

        assert one.key == other.key


def test_the_outcome_reads_as_the_output_of_the_node() -> None:
    made = outcome([said("ada", data=raw({"a": 1}), value=raw(2))])

    shown = msgspec.json.decode(msgspec.json.encode(made))

    assert shown == {
        "interaction_id": "question",
        "approved": True,
        "data": {"a": 1},
        "value": 2,
        "port": "approved",
        "responder": {"id": "ada", "channel": "API"},
        "responded_at": "2026-11-22T00:00:00Z",
        "answers": [
            {
                "port": "approved",
                "approved": True,
                "data": {"a": 1},
                "value": 2,
                "responder": {"id": "ada", "channel": "API"},
                "responded_at": "2026-11-22T00:00:00Z",
            }
        ],
    }
    assert made is not None
    assert made.choice is UNSET
