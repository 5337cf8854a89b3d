"""Answers to interactions, from wherever they come: judged here, then one command to the scheduler.

The scheduler records each answer in the execution's history and counts them, so that two people who answer at
once are both heard, and the one who decides is known. Who may answer was judged before.
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
    Responder,
    Rules,
    Unfit,
    given_by,
    port_of,
)
from contracts.messages import Respond, encode
from contracts.payloads import PayloadLimits
from db.interactions import InteractionRow
from gateway import commands
from gateway.executing import raw_of
from gateway.input_schemas import BadSchema
from gateway.parameters import wrong
from gateway.problems import Refused, invalid_request, not_found, unavailable
from gateway.services import Gateway
from gateway.workflows import new_id

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
    await _tell(gateway, row, said, by)
    return await _again(gateway, row)


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


async def _tell(gateway: Gateway, row: InteractionRow, said: Answer, by: By) -> None:
    """Have the scheduler record an answer. Raises Refused unless that is committed."""
    wish = Respond(
        execution_id=row.execution_id,
        signal_id=new_id(),
        interaction_id=row.id,
        answer=said,
        rules=_rules(row),
        by=by,
    )
    try:
        await commands.carry_out(gateway, row.user_id, wish)
    except Refused as refused:
        now = await _again(gateway, row)
        if refused.code == "already_answered":
            raise _answered_by(now, said.responder) from None
        if refused.code not in ("not_waiting", "already_finished"):
            raise
        if now.is_pending:  # what is stored runs ahead of what is known: it is told in a moment
            raise unavailable("The scheduler") from None
        raise _closed(now) from None


def _rules(row: InteractionRow) -> Rules:
    """Return by what a question is answered, as its row has it."""
    return Rules(
        kind=row.kind,
        approvals=row.approvals_required,
        rejections=row.rejections_required,
        approvers=row.approvers,
        is_for_all=not row.approvers,
        value=UNSET if row.value is None else Raw(row.value),
    )


async def _again(gateway: Gateway, row: InteractionRow) -> InteractionRow:
    now = await db.interactions.get(gateway.store, row.user_id, row.id)
    if now is None:
        raise not_found()
    return now


def _answered_by(row: InteractionRow, responder: Responder) -> Refused:
    """Return the refusal of a person's second answer."""
    if not row.is_pending:
        return _closed(row)
    before = given_by(row.answers_read, responder)
    detail = "You have answered this before; others have to answer now."
    return Refused(
        "already_answered", detail, first_answer=UNSET if before is None else Raw(encode(before))
    )


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
