"""Interactions: what people may answer, when enough of them have, and what the node run gets then."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET

from contracts.raw import MaybeRaw

VOTES: Final = frozenset({"approval", "review", "confirmation"})
"""The kinds that are approved or rejected; the others are answered."""

APPROVED: Final = "approved"
REJECTED: Final = "rejected"
ANSWERED: Final = "answered"

EMPTY: Final = msgspec.Raw(b"{}")


class Responder(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Who answered: a user by `id`, or whoever the name was sent a link. `channel` is where from, such as API."""

    id: str | None = None
    name: str = ""
    channel: str

    @property
    def key(self) -> str:
        """What tells one person from another."""
        return self.id or self.name.lower()


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What one person said. `data` is the form, `value` what was shown, as edited."""

    port: str
    approved: bool | None = None
    choice: MaybeRaw = UNSET
    data: msgspec.Raw = EMPTY
    value: MaybeRaw = UNSET
    reason: str | None = None
    responder: Responder
    responded_at: datetime


class Quorum(msgspec.Struct, frozen=True, kw_only=True):
    """How many must agree. `voters` is how many may vote; 0: any number."""

    approvals: int = 1
    rejections: int = 1
    voters: int = 0


class Rules(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """By what a question is answered, as history keeps it; `value` is what is shown.

    A question `is_for_all` who may execute in its namespace, whoever is asked besides.
    """

    kind: str
    approvals: int = 1
    rejections: int = 1
    approvers: tuple[str, ...] = ()
    is_for_all: bool = False
    value: MaybeRaw = UNSET

    @property
    def quorum(self) -> Quorum:
        """How many must agree."""
        voters = 0 if self.is_for_all else len({each.lower() for each in self.approvers})
        return Quorum(approvals=self.approvals, rejections=self.rejections, voters=voters)

    def extended(self, further: Sequence[str], owner: str) -> "Rules":
        """Return the rules with further people asked; `owner` is asked where it was whoever may execute."""
        asked = self.approvers or (owner,)
        known = {each.lower() for each in asked}
        new = tuple(each for each in dict.fromkeys(further) if each.lower() not in known)
        return msgspec.structs.replace(self, approvers=(*asked, *new))

    def after(self, before: "Rules | None") -> "Rules":
        """Return these rules, which followed others: what is shown stays, and is told once."""
        if before is None or self.value is not UNSET:
            return self
        return msgspec.structs.replace(self, value=before.value)


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How a question was answered: what the node run yields on `port`.

    `value` is what was shown, as edited; `responder` is whoever's answer decided, `answers` are all.
    """

    interaction_id: str
    approved: bool | None = None
    choice: MaybeRaw = UNSET
    data: msgspec.Raw = EMPTY
    value: MaybeRaw = UNSET
    port: str
    reason: str | None = None
    responder: Responder
    responded_at: datetime
    answers: tuple[Answer, ...] = ()


class Unfit(ValueError):
    """An answer that the question does not take; `field` is what is wrong in it."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.message = message
        super().__init__(f"{field}: {message}")


def port_of(
    kind: str,
    choices: Sequence[Any],
    *,
    approved: bool | None = None,
    choice: MaybeRaw = UNSET,
    port: str | None = None,
) -> str:
    """Return the port that an answer is given on. Raises Unfit for one that this kind of question does not take."""
    if kind.lower() in VOTES:
        return _vote(approved, choice, port)
    if approved is not None:
        raise Unfit("approved", f"A question of kind {kind} is answered, not approved.")
    if choices:
        return _choice(choices, choice, port)
    if choice is not UNSET:
        raise Unfit("choice", "There is nothing to choose from.")
    if port not in (None, ANSWERED):
        raise Unfit("port", f"This is answered on `{ANSWERED}`.")
    return ANSWERED


def _vote(approved: bool | None, choice: MaybeRaw, port: str | None) -> str:
    if choice is not UNSET:
        raise Unfit("choice", "There is nothing to choose from: say `approved`.")
    if port not in (None, APPROVED, REJECTED):
        raise Unfit("port", f"This is answered on `{APPROVED}` or `{REJECTED}`.")
    if approved is None and port is None:
        raise Unfit("approved", "Say `approved`: true or false.")
    wanted = port if approved is None else APPROVED if approved else REJECTED
    assert wanted is not None
    if port not in (None, wanted):
        raise Unfit("port", "`approved` and `port` say different things; send one.")
    return wanted


def _choice(choices: Sequence[Any], choice: MaybeRaw, port: str | None) -> str:
    ports = {_port_of_choice(each) for each in choices}
    if choice is UNSET:
        if port is None:
            raise Unfit("choice", f"Choose one: {_listed(choices)}.")
        if port not in ports:
            raise Unfit("port", f"This is answered on {' or '.join(sorted(ports))}.")
        return port
    wanted = msgspec.json.decode(choice)
    chosen = next((each for each in choices if _same(_value_of(each), wanted)), None)
    if chosen is None:
        raise Unfit("choice", f"Choose one: {_listed(choices)}.")
    if port not in (None, _port_of_choice(chosen)):
        raise Unfit("port", "`choice` and `port` say different things; send one.")
    return _port_of_choice(chosen)


def _value_of(choice: Any) -> Any:
    return choice.get("value") if isinstance(choice, dict) else choice


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: 1 is not true."""
    return type(one) is type(other) and one == other


def _port_of_choice(choice: Any) -> str:
    port = choice.get("port") if isinstance(choice, dict) else None
    return port if isinstance(port, str) else ANSWERED


def _listed(choices: Sequence[Any]) -> str:
    return ", ".join(msgspec.json.encode(_value_of(each)).decode() for each in choices)


def standing(answers: Iterable[Answer]) -> tuple[Answer, ...]:
    """Return the answers that count: an edit voids the approvals before it, whose people are asked again."""
    counting: list[Answer] = []
    for answer in answers:
        if answer.approved and answer.value is not UNSET:
            counting = [each for each in counting if not each.approved]
        counting.append(answer)
    return tuple(counting)


def given_by(answers: Iterable[Answer], responder: Responder) -> Answer | None:
    """Return the answer of a person that counts, or None: each counts once."""
    return next((each for each in standing(answers) if each.responder.key == responder.key), None)


def decided(
    interaction_id: str, answers: Sequence[Answer], quorum: Quorum, shown: MaybeRaw
) -> Outcome | None:
    """Return how a question is answered, or None while more have to say something.

    `shown` is the value that the question came with.
    """
    if not answers:
        return None
    last = answers[-1]
    port = last.port
    if last.approved is not None:
        verdict = _verdict(standing(answers), quorum)
        if verdict is None:
            return None
        port = APPROVED if verdict else REJECTED
    edits = [each.value for each in answers if each.value is not UNSET]
    return Outcome(
        interaction_id=interaction_id,
        approved=None if last.approved is None else port == APPROVED,
        choice=last.choice,
        data=last.data,
        value=edits[-1] if edits else shown,
        port=port,
        reason=last.reason,
        responder=last.responder,
        responded_at=last.responded_at,
        answers=tuple(answers),
    )


def _verdict(answers: Sequence[Answer], quorum: Quorum) -> bool | None:
    """Return whether it is approved, or None while that is open; rejected also if approval is out of reach."""
    approvals = sum(1 for each in answers if each.approved)
    rejections = len(answers) - approvals
    if approvals >= quorum.approvals:
        return True
    if rejections >= quorum.rejections:
        return False
    if quorum.voters and approvals + quorum.voters - len(answers) < quorum.approvals:
        return False
    return None
