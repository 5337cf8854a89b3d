"""Answers to interactions, from wherever they come: judged, noted, and once enough have answered, told to the execution.

Noting an answer is a transaction of its own, so that two people who answer at once are both heard, and the
one who decides is known. The end of the wait is the scheduler's: it is asked with the interaction's id as
the signal's, so that repeating what was not confirmed has the effect of once.
"""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

import db.interactions
from contracts.history import By, MaybeRaw
from contracts.interactions import (
    APPROVED,
    EMPTY,
    VOTES,
    Answer,
    Outcome,
    Quorum,
    Responder,
    Unfit,
    decided,
    given_by,
    port_of,
)
from contracts.messages import EndWait, encode
from contracts.payloads import PayloadLimits
from db.interactions import InteractionRow
from gateway import commands
from gateway.executing import raw_of
from gateway.input_schemas import BadSchema
from gateway.parameters import wrong
from gateway.problems import Refused, invalid_request, not_found, unavailable
from gateway.services import Gateway

_OVER: Final = {
    "TIMED_OUT": "Nobody answered in time; the execution went on without an answer.",
    "CANCELED": "The execution does not need an answer any more.",
}


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody answers, as it came in."""

    approved: bool | None = None
    choice: Any | UnsetType = UNSET
    port: str | None = None
    data: Any | UnsetType = UNSET
    value: Any | UnsetType = UNSET
    reason: str | None = None


async def answer(
    gateway: Gateway, row: InteractionRow, given: Given, responder: Responder, *, by: By
) -> InteractionRow:
    """Take an answer, and return the interaction as it is then. Who may answer was checked before.

    Raises Refused: for an answer that does not fit, a question that is closed, a person who has answered before,
    and if the scheduler does not confirm in time; then repeating is safe.
    """
    if not row.is_pending:
        raise _closed(row)
    said = await _read(gateway, row, given, responder)
    outcome = await _noted(gateway, row, said)
    if outcome is None:
        return await _again(gateway, row)
    await _tell(gateway, row, outcome, by)
    now = await _again(gateway, row)
    if outcome.responder.key != responder.key:  # somebody was faster, and had not been confirmed
        raise _closed(now)
    return now


async def _read(
    gateway: Gateway, row: InteractionRow, given: Given, responder: Responder
) -> Answer:
    """Return what was answered. Raises Refused if the question does not take it."""
    choices = [] if row.choices is None else msgspec.json.decode(row.choices)
    limits = gateway.settings.limits.payloads
    choice = _raw("choice", given.choice, limits)
    try:
        port = port_of(
            row.kind,
            choices if isinstance(choices, list) else [],
            approved=given.approved,
            choice=choice,
            port=given.port,
        )
    except Unfit as unfit:
        raise invalid_request(wrong(f"/{unfit.field}", unfit.message)) from None
    if given.value is not UNSET and not row.editable:
        raise invalid_request(wrong("/value", "What is shown here cannot be edited."))
    is_vote = row.kind.lower() in VOTES
    if not is_vote or port == APPROVED or given.data is not UNSET:
        await _check_fields(gateway, row, given)
    data = _raw("data", given.data, limits)
    return Answer(
        port=port,
        approved=port == APPROVED if is_vote else None,
        choice=choice,
        data=EMPTY if data is UNSET else data,
        value=_raw("value", given.value, limits),
        reason=given.reason,
        responder=responder,
        responded_at=datetime.now(UTC),
    )


async def _check_fields(gateway: Gateway, row: InteractionRow, given: Given) -> None:
    """Raise Refused for a form that does not fit. Where the form has a field `value`, the edited value is it."""
    schema = msgspec.json.decode(row.fields)
    if not schema:
        return
    data = {} if given.data is UNSET else given.data
    properties = schema.get("properties") if isinstance(schema, dict) else None
    has_value = isinstance(properties, dict) and "value" in properties
    if has_value and given.value is not UNSET and isinstance(data, dict):
        data = {**data, "value": given.value}
    try:
        errors = await gateway.input_schemas.misfits((row.id, "fields"), schema, data, "/data")
    except BadSchema as error:
        message = f"The question's fields are no schema to answer by: {error}"
        raise invalid_request(wrong("/data", message)) from None
    if errors:
        raise invalid_request(*errors)


async def _noted(gateway: Gateway, row: InteractionRow, said: Answer) -> Outcome | None:
    """Note an answer, and return the outcome if the question is decided; then nothing more is noted."""
    async with gateway.store.transaction() as session:
        locked = await db.interactions.lock(session, row.user_id, row.id)
        if locked is None:
            raise not_found()
        if not locked.is_pending:
            raise _closed(locked)
        answers = locked.answers_read
        outcome = _outcome(locked, answers)
        if outcome is None:
            if (before := given_by(answers, said.responder)) is not None:
                detail = "You have answered this before; others have to answer now."
                raise Refused("already_answered", detail, first_answer=Raw(encode(before)))
            answers = (*answers, said)
            outcome = _outcome(locked, answers)
            await db.interactions.note_answers(session, row.id, answers)
        return outcome


def _outcome(row: InteractionRow, answers: tuple[Answer, ...]) -> Outcome | None:
    quorum = Quorum(
        approvals=row.approvals_required,
        rejections=row.rejections_required,
        voters=len(row.approvers),
    )
    value = UNSET if row.value is None else Raw(row.value)
    return decided(row.id, answers, quorum, value)


async def _tell(gateway: Gateway, row: InteractionRow, outcome: Outcome, by: By) -> None:
    """Have the scheduler end the wait. Raises Refused unless that is committed, or was before."""
    try:
        await commands.carry_out(gateway, row.user_id, _end_of(row, outcome, by))
    except Refused as refused:
        if refused.code not in ("not_waiting", "already_finished"):
            raise
        now = await _again(gateway, row)
        if now.is_pending:  # it is looked at just now, and waits again in a moment
            raise unavailable("The scheduler") from None
        if now.status != "ANSWERED":
            raise _closed(now) from None


def _end_of(row: InteractionRow, outcome: Outcome, by: By) -> EndWait:
    return EndWait(
        execution_id=row.execution_id,
        signal_id=row.id,
        interaction_id=row.id,
        data=Raw(encode(outcome)),
        port=outcome.port,
        by=by,
    )


async def _again(gateway: Gateway, row: InteractionRow) -> InteractionRow:
    now = await db.interactions.get(gateway.store, row.user_id, row.id)
    if now is None:
        raise not_found()
    return now


def _closed(row: InteractionRow) -> Refused:
    """Return the refusal of an answer that comes too late."""
    if row.status in _OVER:
        return Refused("not_waiting", _OVER[row.status])
    answers = msgspec.json.decode(row.answers, type=list[Raw])
    return Refused(
        "already_answered",
        "This was answered before.",
        first_answer=answers[0] if answers else UNSET,
    )


def _raw(name: str, value: Any, limits: PayloadLimits) -> MaybeRaw:
    return UNSET if value is UNSET else raw_of(name, value, limits)
