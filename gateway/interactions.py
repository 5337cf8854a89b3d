"""Operations on interactions: what people are asked, and their answers."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

import db.interactions
import db.users
from contracts.history import By
from contracts.ids import is_uuid
from contracts.interactions import Responder
from contracts.payloads import PayloadError
from contracts.times import rfc3339
from db.interactions import InteractionFilters, InteractionRow
from gateway import answering
from gateway.answering import Given
from gateway.answers import Answer, ok
from gateway.bodies import Nothing
from gateway.calls import Call
from gateway.instants import Instant, shown
from gateway.pages import DEFAULT_LIMIT, Cursor, Limit, page_of, read_cursor
from gateway.parameters import At, Reason, Text, Uuid
from gateway.payloads import whole
from gateway.problems import Refused, not_found
from gateway.queries import NoQuery
from gateway.services import Gateway

InteractionStatus = Literal["PENDING", "ANSWERED", "TIMED_OUT", "CANCELED"]
Schema = Annotated[Raw, msgspec.Meta(description="JSON Schema of `data` in an answer")]


class InteractionsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a list of interactions is narrowed to."""

    status: tuple[InteractionStatus, ...] = ()
    execution_id: tuple[Uuid, ...] = ()
    workflow_id: tuple[Uuid, ...] = ()
    due_before: At | None = None
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class InteractionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A question to people as lists show it: without its values."""

    id: str
    execution_id: str
    workflow_id: str
    node_id: str
    iteration: tuple[int, ...]
    kind: str
    title: str
    message: str
    editable: bool
    approvers: tuple[str, ...]
    approvals_required: int
    rejections_required: int
    channel: str
    priority: str
    status: str
    reminders: int
    created_at: Instant
    due_at: Instant | None
    reminded_at: Instant | UnsetType = UNSET
    escalated_at: Instant | UnsetType = UNSET
    closed_at: Instant | UnsetType = UNSET


class Interaction(InteractionSummary, frozen=True, kw_only=True):
    """A question to people. `value` is what is shown, `choices` are what there is to choose from."""

    fields: Schema
    answers: Raw
    choices: Raw | UnsetType = UNSET
    value: Raw | UnsetType = UNSET


class RespondBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An answer: `approved`, `choice` or `port`, as the question wants it, with the form's `data` and the edited `value`."""

    approved: bool | None = None
    choice: Any | UnsetType = UNSET
    port: Text | None = None
    data: Any | UnsetType = UNSET
    value: Any | UnsetType = UNSET
    reason: Reason | None = None


async def list_interactions(gateway: Gateway, call: Call[InteractionsQuery, Nothing]) -> Answer:
    """Answer with the user's interactions and those of others in which he is named, newest first."""
    query = call.query
    filters = InteractionFilters(
        status=query.status,
        execution_id=query.execution_id,
        workflow_id=query.workflow_id,
        due_before=query.due_before,
    )
    after = read_cursor(query.cursor, is_uuid)
    named = await db.interactions.names(gateway.store, call.user_id)
    rows, place = await db.interactions.page(
        gateway.store, call.user_id, filters, query.limit, after, named
    )
    return ok(page_of(map(_summary, rows), place))


async def get_interaction(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with one interaction."""
    row = await _read(gateway, call)
    return ok(await _shown_to(gateway, call.user_id, row))


async def respond(gateway: Gateway, call: Call[NoQuery, RespondBody]) -> Answer:
    """Take an answer, and answer with the interaction as it is then: pending until enough have answered."""
    row = await _read(gateway, call)
    answered = await respond_as_user(gateway, call, row, given_in(call.body))
    return ok(await _shown_to(gateway, call.user_id, answered))


async def respond_as_user(
    gateway: Gateway, call: Call[Any, Any], row: InteractionRow, given: Given
) -> InteractionRow:
    """Take the answer of the user that asks, and return the interaction as it is then. Raises Refused."""
    named = await db.interactions.names(gateway.store, call.user_id)
    is_asked = not set(named).isdisjoint(each.lower() for each in row.approvers)
    if not (is_asked or (row.user_id == call.user_id and not row.approvers)):
        raise Refused("forbidden", "Others are asked: you are not among the approvers.")
    user = await db.users.get(gateway.store, call.user_id)
    responder = Responder(
        id=call.user_id, name=(user.name or user.email) if user else "", channel="API"
    )
    by = By(source="API", user_id=call.user_id)
    return await answering.answer(gateway, row, given, responder, by=by)


def given_in(body: RespondBody) -> Given:
    """Return the answer that a body holds."""
    return Given(
        approved=body.approved,
        choice=body.choice,
        port=body.port,
        data=body.data,
        value=body.value,
        reason=body.reason,
    )


async def _shown_to(gateway: Gateway, user_id: str, row: InteractionRow) -> Interaction:
    """Return an interaction as a user sees it.

    Whoever is asked from another namespace gets large values as they are, for references lead nowhere from there.
    """
    if row.user_id == user_id:
        return view_of(row)
    try:
        value = None if row.value is None else await whole(gateway, row.user_id, row.value)
        answers = await whole(gateway, row.user_id, row.answers)
    except PayloadError as error:
        raise Refused("not_found", f"What is shown cannot be had any more: {error}.") from None
    return view_of(msgspec.structs.replace(row, value=value, answers=answers))


def view_of(row: InteractionRow) -> Interaction:
    """Return an interaction as the API shows it."""
    return Interaction(
        **msgspec.structs.asdict(_summary(row)),
        fields=Raw(row.fields),
        answers=Raw(row.answers),
        choices=UNSET if row.choices is None else Raw(row.choices),
        value=UNSET if row.value is None else Raw(row.value),
    )


def _summary(row: InteractionRow) -> InteractionSummary:
    return InteractionSummary(
        id=row.id,
        execution_id=row.execution_id,
        workflow_id=row.workflow_id,
        node_id=row.node_id,
        iteration=row.iteration,
        kind=row.kind,
        title=row.title,
        message=row.message,
        editable=row.editable,
        approvers=row.approvers,
        approvals_required=row.approvals_required,
        rejections_required=row.rejections_required,
        channel=row.channel,
        priority=row.priority,
        status=row.status,
        reminders=row.reminders,
        reminded_at=shown(row.reminded_at),
        escalated_at=shown(row.escalated_at),
        created_at=rfc3339(row.created_at),
        due_at=None if row.due_at is None else rfc3339(row.due_at),
        closed_at=shown(row.closed_at),
    )


async def _read(gateway: Gateway, call: Call[Any, Any]) -> InteractionRow:
    interaction_id = call.path["interaction_id"]
    row = await find(gateway, call.user_id, interaction_id)
    if row is None:
        raise not_found()
    return row


async def find(gateway: Gateway, user_id: str, interaction_id: str) -> InteractionRow | None:
    """Return an interaction of a user, or in which he is named; None for unknown, foreign and malformed ids alike."""
    if not is_uuid(interaction_id):
        return None
    named = await db.interactions.names(gateway.store, user_id)
    return await db.interactions.get(gateway.store, user_id, interaction_id, named)
