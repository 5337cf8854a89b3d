"""Operations for those who run the engine: workers, and messages that nobody could finish."""

import base64
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

import db.dead_letters
import db.workers
from contracts.ids import is_uuid
from contracts.times import rfc3339
from db.dead_letters import DeadLetterFilters, DeadLetterRow
from db.workers import WorkerFilters, WorkerRow
from gateway.answers import NO_CONTENT, Answer, ok
from gateway.bodies import Nothing
from gateway.calls import Call
from gateway.instants import Instant, shown
from gateway.pages import DEFAULT_LIMIT, Cursor, Limit, page_of, read_cursor
from gateway.parameters import At, Text, Uuid
from gateway.problems import not_found
from gateway.queries import NoQuery
from gateway.services import Gateway

WorkerStatus = Literal["ALIVE", "DRAINING", "LOST"]
Source = Literal["TASK", "RESULT", "COMMAND", "TRIGGER"]
DeadReason = Literal["UNREADABLE", "DELIVERIES_EXHAUSTED", "NO_NAMESPACE"]
Base64 = Annotated[str, msgspec.Meta(extra_json_schema={"contentEncoding": "base64"})]


class WorkersQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a list of workers is narrowed to."""

    node_type: tuple[Text, ...] = ()
    status: tuple[WorkerStatus, ...] = ()
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A process that carries out tasks of some node types."""

    id: str
    node_types: tuple[str, ...]
    slots: int
    busy: int
    version: str
    host: str
    status: str
    started_at: Instant
    last_seen_at: Instant


class DeadLettersQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a list of dead letters is narrowed to."""

    source: tuple[Source, ...] = ()
    reason: tuple[DeadReason, ...] = ()
    execution_id: tuple[Uuid, ...] = ()
    created_before: At | None = None
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class DeadLetterSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is no longer tried, as lists show it: without its body."""

    id: str
    source: str
    reason: str
    subject: str
    error: str
    created_at: Instant
    execution_id: str | UnsetType = UNSET
    node_id: str | UnsetType = UNSET
    redriven_at: Instant | UnsetType = UNSET
    redriven_as: str | UnsetType = UNSET


class DeadLetter(DeadLetterSummary, frozen=True, kw_only=True):
    """A message that is no longer tried, as it came."""

    headers: dict[str, str]
    body: Base64


async def list_workers(gateway: Gateway, call: Call[WorkersQuery, Nothing]) -> Answer:
    """Answer with the workers that were seen lately."""
    query = call.query
    filters = WorkerFilters(node_type=query.node_type, status=query.status)
    after = read_cursor(query.cursor, _is_worker_id)
    rows, place = await db.workers.page(gateway.store, filters, query.limit, after)
    return ok(page_of(map(_worker, rows), place))


async def list_dead_letters(gateway: Gateway, call: Call[DeadLettersQuery, Nothing]) -> Answer:
    """Answer with the user's dead letters, newest first; admins see those that belong to nobody too."""
    query = call.query
    filters = DeadLetterFilters(
        source=query.source,
        reason=query.reason,
        execution_id=query.execution_id,
        created_before=query.created_before,
    )
    after = read_cursor(query.cursor, is_uuid)
    rows, place = await db.dead_letters.page(
        gateway.store,
        call.user_id,
        filters,
        query.limit,
        after,
        with_nobodys="admin" in call.scopes,
    )
    return ok(page_of(map(summary_of, rows), place))


async def get_dead_letter(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with one dead letter; those that belong to nobody are seen by admins."""
    row = await read_letter(gateway, call)
    return ok(
        DeadLetter(
            **msgspec.structs.asdict(summary_of(row)),
            headers=row.headers,
            body=base64.b64encode(row.body).decode(),
        )
    )


async def delete_dead_letter(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Forget a dead letter."""
    row = await read_letter(gateway, call)
    await db.dead_letters.delete(gateway.store, row.id)
    return NO_CONTENT


async def read_letter(gateway: Gateway, call: Call[Any, Any]) -> DeadLetterRow:
    """Return the dead letter of the path. Raises Refused, also for one of nobody's that no admin asks for."""
    letter_id = call.path["dead_letter_id"]
    if not is_uuid(letter_id):
        raise not_found()
    row = await db.dead_letters.get(gateway.store, call.user_id, letter_id)
    if row is None and "admin" in call.scopes:
        row = await db.dead_letters.get(gateway.store, None, letter_id)
    if row is None:
        raise not_found()
    return row


def _worker(row: WorkerRow) -> Worker:
    return Worker(
        id=row.id,
        node_types=row.node_types,
        slots=row.slots,
        busy=row.busy,
        version=row.version,
        host=row.host,
        status=row.status,
        started_at=rfc3339(row.started_at),
        last_seen_at=rfc3339(row.last_seen_at),
    )


def summary_of(row: DeadLetterRow) -> DeadLetterSummary:
    """Return a dead letter as lists show it."""
    return DeadLetterSummary(
        id=row.id,
        source=row.source,
        reason=row.reason,
        subject=row.subject,
        error=row.error,
        created_at=rfc3339(row.created_at),
        execution_id=UNSET if row.execution_id is None else row.execution_id,
        node_id=UNSET if row.node_id is None else row.node_id,
        redriven_at=shown(row.redriven_at),
        redriven_as=UNSET if row.redriven_as is None else row.redriven_as,
    )


def _is_worker_id(text: str) -> bool:
    return 0 < len(text) <= 200 and text.isprintable()
