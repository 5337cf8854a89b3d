"""Operations on many executions in one request: starting a batch, and ending or retrying all that fit a filter."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

import db.executions
import db.idempotency
from contracts.history import By
from contracts.ids import derived_uuid7, is_uuid
from contracts.messages import CancelExecution
from contracts.statuses import Mode
from db.executions import ExecutionFilters, ExecutionRow, NewExecution
from db.idempotency import Claim
from gateway import commands
from gateway.answers import Answer, ok
from gateway.calls import Call
from gateway.executing import (
    REPLAYED,
    ExecuteBody,
    check_input,
    chosen_version,
    hash_of,
    idempotency_key,
    new_execution,
)
from gateway.execution_reading import is_over
from gateway.executions import StatusWord, statuses_of
from gateway.pages import Cursor, cursor_of, read_cursor
from gateway.parameters import At, Number, Reason, Text, Uuid, wrong
from gateway.problems import Refused, invalid_request, unavailable
from gateway.queries import NoQuery
from gateway.services import Gateway
from gateway.successors import From, can_be_retried, retried
from gateway.workflow_reading import read_workflow
from gateway.workflows import new_id

T = TypeVar("T")

MOST: Final = 1_000
"""Executions of one request."""

CANCEL_SECONDS: Final = 30.0
"""How long the scheduler may take to end all of them."""

AT_ONCE: Final = 8
"""Retries that are prepared at the same time: each reads a whole history."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class BatchItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One execution of a batch."""

    input: Any | UnsetType = UNSET
    metadata: dict[Annotated[str, msgspec.Meta(max_length=255)], Any] = {}


class BatchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to start, all of the same version and at the same trigger."""

    items: Annotated[tuple[BatchItem, ...], msgspec.Meta(min_length=1, max_length=MOST)]
    version: Number | Literal["draft"] | None = None
    trigger_node_id: Text | None = None


class Started(msgspec.Struct, frozen=True):
    """An execution that was started."""

    execution_id: str


class BatchStarted(msgspec.Struct, frozen=True):
    """What was started, in the order of the items."""

    items: tuple[Started, ...]


class BulkFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which executions are meant: the filters of the list, at least one; each takes one value or several."""

    workflow_id: Uuid | tuple[Uuid, ...] = ()
    version: Number | tuple[Number, ...] = ()
    status: StatusWord | tuple[StatusWord, ...] = ()
    mode: Mode | tuple[Mode, ...] = ()
    paused: bool | None = None
    parent_execution_id: Uuid | tuple[Uuid, ...] = ()
    created_after: At | None = None
    created_before: At | None = None


class BulkBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which executions, from where on, and whether anything is to be done at all."""

    filter: BulkFilter
    dry_run: bool = False
    cursor: Cursor | None = None


class BulkCancelBody(BulkBody, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which executions to end, and why."""

    reason: Reason | None = None


class BulkRetryBody(BulkBody, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which executions to try again, and from where."""

    from_: From = msgspec.field(name="from", default="FAILED")


class BulkResult(msgspec.Struct, frozen=True, kw_only=True):
    """How many fitted the filter, for how many it was done, and where the next request goes on; null: nowhere."""

    matched: int
    done: int
    skipped: int
    next_cursor: str | None


async def execute_batch(gateway: Gateway, call: Call[NoQuery, BatchBody]) -> Answer:
    """Commit new executions, all or none."""
    if not gateway.bus.is_connected:
        raise unavailable("NATS")
    workflow = await read_workflow(gateway.store, call.user_id, call.path["workflow_id"])
    version = await chosen_version(gateway, workflow, call.body.version)
    batch: list[NewExecution] = []
    ids = _ids_from(new_id(), len(call.body.items))
    for place, (item, execution_id) in enumerate(zip(call.body.items, ids, strict=True)):
        body = ExecuteBody(
            input=item.input, metadata=item.metadata, trigger_node_id=call.body.trigger_node_id
        )
        try:
            new = new_execution(gateway, call, workflow, version, body)
            await check_input(gateway, version, new.created.trigger, body)
        except Refused as refused:
            raise _within(refused, f"/items/{place}") from None
        batch.append(msgspec.structs.replace(new, id=execution_id))
    claim = _claim(call, workflow.id, ids[0])
    if not await gateway.starter.create_all(batch, claim):
        assert claim is not None
        return await _replayed(gateway, claim, len(batch))
    return _started(ids)


async def cancel_many(gateway: Gateway, call: Call[NoQuery, BulkCancelBody]) -> Answer:
    """End the executions that fit a filter and are not over."""
    rows, place = await _matched(gateway, call)
    wanted = [row for row in rows if not is_over(row)]
    if call.body.dry_run or not wanted:
        return done_of(len(rows), 0, len(rows) - len(wanted), place)
    by = By(source="API", user_id=call.user_id)
    wishes = [
        CancelExecution(execution_id=row.id, by=by, reason=call.body.reason) for row in wanted
    ]
    answers = await commands.asked_all(gateway, call.user_id, wishes, seconds=CANCEL_SECONDS)
    if len(answers) < len(wishes):
        raise unavailable("The scheduler")
    done = sum(1 for each in answers.values() if each.code is None)
    return done_of(len(rows), done, len(rows) - done, place)


async def retry_many(gateway: Gateway, call: Call[NoQuery, BulkRetryBody]) -> Answer:
    """Start a retry of each execution that fits a filter and can be retried."""
    if not gateway.bus.is_connected:
        raise unavailable("NATS")
    rows, place = await _matched(gateway, call)
    wanted = [row for row in rows if can_be_retried(row, call.body.from_)]
    if call.body.dry_run:
        return done_of(len(rows), 0, len(rows) - len(wanted), place)
    room = asyncio.Semaphore(AT_ONCE)

    async def retry(row: ExecutionRow) -> bool:
        async with room:
            try:
                new, _ = await retried(
                    gateway, row, from_=call.body.from_, traceparent=call.trace.traceparent
                )
            except Refused as refused:
                if refused.status >= 500:
                    raise
                return False
            return await gateway.starter.create(new)

    ends = await asyncio.gather(*map(retry, wanted), return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    done = sum(1 for end in ends if end)
    return done_of(len(rows), done, len(rows) - done, place)


async def _matched(
    gateway: Gateway, call: Call[NoQuery, Any]
) -> tuple[tuple[ExecutionRow, ...], str | None]:
    """Return the executions that fit, newest first, and the id to go on from."""
    body: BulkBody = call.body
    if body.filter == BulkFilter():
        raise invalid_request(wrong("/filter", "Name at least one field to filter by."))
    after = read_cursor(body.cursor, is_uuid)
    filters = _filters(body.filter)
    return await db.executions.page(gateway.store, call.user_id, filters, MOST, after)


def _filters(given: BulkFilter) -> ExecutionFilters:
    return ExecutionFilters(
        workflow_id=several(given.workflow_id),
        version=several(given.version),
        status=statuses_of(several(given.status), "/filter/status"),
        mode=several(given.mode),
        paused=given.paused,
        parent_execution_id=several(given.parent_execution_id),
        created_after=given.created_after,
        created_before=given.created_before,
    )


def several(given: T | tuple[T, ...]) -> tuple[T, ...]:
    """Return the values of a field that takes one or several."""
    return given if isinstance(given, tuple) else (given,)


def done_of(matched: int, done: int, skipped: int, place: str | None) -> Answer:
    """Answer with what became of those that fitted a filter; `place` is where the next request goes on."""
    return ok(
        BulkResult(
            matched=matched,
            done=done,
            skipped=skipped,
            next_cursor=None if place is None else cursor_of(place),
        )
    )


def _claim(call: Call[NoQuery, BatchBody], workflow_id: str, first_id: str) -> Claim | None:
    key = idempotency_key(call, "Idempotency-Key")
    if key is None:
        return None
    return Claim(
        user_id=call.user_id,
        route=f"POST /v1/workflows/{workflow_id}/execute/batch",
        key=key,
        request_hash=hash_of(call.body),
        resource_id=first_id,
    )


async def _replayed(gateway: Gateway, claim: Claim, count: int) -> Answer:
    """Answer a repeated request with the executions that the first one started."""
    first = await db.idempotency.find(gateway.store, claim.user_id, claim.route, claim.key)
    if first is None or first.resource_id is None:
        raise Refused("idempotency_in_progress", "Repeat the request in a moment.", retry_after=1)
    if first.request_hash != claim.request_hash:
        raise Refused(
            "idempotency_key_reused", "This key came with another body before. Use a new key."
        )
    return _started(_ids_from(first.resource_id, count), (REPLAYED,))


def _ids_from(first: str, count: int) -> list[str]:
    """Return the ids of a batch: the first tells the others, so that a key needs to keep one."""
    at = _EPOCH + timedelta(milliseconds=int(first.replace("-", "")[:12], 16))
    return [first, *(derived_uuid7(at, f"{first}:{place}") for place in range(1, count))]


def _started(ids: Sequence[str], headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    return ok(BatchStarted(tuple(map(Started, ids))), status=202, headers=headers)


def _within(refused: Refused, at: str) -> Refused:
    """Return a refusal whose pointers begin at an item."""
    errors = tuple(
        msgspec.structs.replace(each, pointer=f"{at}{each.pointer}") for each in refused.errors
    )
    return Refused(refused.code, f"{at}: {refused.detail}", errors=errors)
