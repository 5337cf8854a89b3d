"""Looks at a question that nobody has answered yet: people are reminded of it, and further ones are asked.

The handler that put the question is called at each of these instants, and goes on waiting. All of them count
from when it was put, so that nothing drifts; what the engine slept through is done once.
"""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import msgspec

from contracts.times import rfc3339
from nodes.context import Question, Resumption, Wait, WaitKind

MOST_REMINDERS: Final = 100
LEAST_SECONDS: Final = 1

After = Annotated[float, msgspec.Meta(ge=LEAST_SECONDS)]


class Escalation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is asked too, if nobody has decided so many seconds after the question was put."""

    after: After
    approvers: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class Looks(msgspec.Struct, frozen=True, kw_only=True):
    """When to look at a question, in seconds after it was put."""

    reminders: tuple[float, ...]
    escalation: Escalation | None
    respond_within: float

    def late(self) -> list[str]:
        """Return the parameters that come after the due time, and so never."""
        instants = {"reminders": max(self.reminders, default=0.0)}
        if self.escalation is not None:
            instants["escalation"] = self.escalation.after
        return [name for name, at in instants.items() if at >= self.respond_within]

    def after(self, elapsed: float) -> "tuple[float, bool] | None":
        """Return the next look, and whether people are reminded then."""
        following = [each for each in self.reminders if each > elapsed]
        if self.escalation is not None and self.escalation.after > elapsed:
            following.append(self.escalation.after)
        first = min(following, default=None)
        return None if first is None else (first, first in self.reminders)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where in its looks a question is: when it was put, up to when it was looked at, and what is next."""

    put_at: datetime
    looked: float
    planned: float

    @classmethod
    def of(cls, resumed: Resumption) -> "Place":
        """Return where a question is that a handler is called about again."""
        state = resumed.state or {}
        put_at = state.get("put_at")
        return cls(
            put_at=resumed.waited_since if put_at is None else datetime.fromisoformat(put_at),
            looked=state.get("looked", 0),
            planned=state.get("planned", 0),
        )


def first_wait(looks: Looks, question: Question) -> Wait:
    """Return the wait for the answer to a question that is put now."""
    following = looks.after(0)
    if following is None:
        return Wait(WaitKind.INTERACTION, seconds=looks.respond_within, question=question)
    at, is_reminder = following
    return Wait(
        WaitKind.INTERACTION,
        seconds=looks.respond_within,
        check_seconds=at,
        is_reminder=is_reminder,
        question=question,
        state={"planned": at},
    )


def further_wait(looks: Looks, resumed: Resumption) -> Wait:
    """Return the wait that goes on after a look; those who are asked from now on are in it."""
    place = Place.of(resumed)
    passed = (resumed.at - place.put_at).total_seconds()
    # The clocks of a timer and of its event may differ: what was planned for now is over, whatever they say.
    elapsed = max(passed, place.planned)
    following = looks.after(elapsed)
    state: dict[str, Any] = {"put_at": rfc3339(place.put_at), "looked": elapsed}
    if following is not None:
        state["planned"] = following[0]
    return Wait(
        WaitKind.INTERACTION,
        due_at=due_at(looks.respond_within, place.put_at),
        check_seconds=None if following is None else max(following[0] - passed, 0),
        is_reminder=following is not None and following[1],
        interaction_id=resumed.interaction_id,
        approvers=_asked_now(looks.escalation, place.looked, elapsed),
        state=state,
    )


def due_at(respond_within: float, put_at: datetime) -> datetime:
    """Return until when a question can be answered."""
    return put_at + timedelta(seconds=respond_within)


def _asked_now(escalation: Escalation | None, before: float, now: float) -> tuple[str, ...]:
    if escalation is None or not before < escalation.after <= now:
        return ()
    return escalation.approvers
