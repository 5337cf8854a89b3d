"""Putting dead letters back to work: a task by a retry of its execution, a message by taking it in again.

Each is put back once. What says so is committed with the new execution; of a message after NATS has stored it,
so that in doubt it comes twice. Commands and results count once anyhow, and a trigger event goes out under an id.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

import db.dead_letters
from bus.publisher import Outgoing
from contracts.ids import is_uuid
from contracts.subjects import MESSAGE_ID_HEADER
from db.dead_letters import DeadLetterFilters, DeadLetterRow
from db.store import Session
from gateway.answers import Answer, Headers, created, ok
from gateway.bodies import Nothing
from gateway.bulk import AT_ONCE, MOST, done_of, several
from gateway.calls import Call
from gateway.executing import REPLAYED, location_of
from gateway.execution_reading import read_row
from gateway.operating import DeadReason, Source, read_letter, summary_of
from gateway.pages import Cursor, read_cursor
from gateway.parameters import At, Uuid, wrong
from gateway.problems import Refused, invalid_request, unavailable
from gateway.queries import NoQuery
from gateway.services import Gateway
from gateway.successors import FAILED, check_bus, retried

TASK: Final = "TASK"

FORGOTTEN_SECONDS: Final = 0.2
"""NATS remembers the id of an event for half of it: after that, one of the same id is stored again."""

_CONDITIONS: Final = "nats-expected-"
"""Headers of a publish that hold for the stream as it was then."""


class LetterFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which dead letters are meant: the filters of the list, at least one; each takes one value or several."""

    source: Source | tuple[Source, ...] = ()
    reason: DeadReason | tuple[DeadReason, ...] = ()
    execution_id: Uuid | tuple[Uuid, ...] = ()
    created_before: At | None = None


class BulkRedriveBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which dead letters, from where on, and whether anything is to be done at all."""

    filter: LetterFilter
    dry_run: bool = False
    cursor: Cursor | None = None


async def redrive_letter(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Put a dead letter back to work; one that was before is answered as it was then."""
    check_bus(gateway)
    letter = await read_letter(gateway, call)
    is_done = letter.redriven_at is None and await _redriven(gateway, call, letter)
    letter = await read_letter(gateway, call)
    headers: Headers = () if is_done else (REPLAYED,)
    if letter.redriven_as is None:
        return ok(summary_of(letter), status=202, headers=headers)
    location = location_of(letter.redriven_as)
    return created(summary_of(letter), location, status=202, headers=headers)


async def redrive_many(gateway: Gateway, call: Call[NoQuery, BulkRedriveBody]) -> Answer:
    """Put the dead letters that fit a filter back to work."""
    check_bus(gateway)
    letters, place = await _matched(gateway, call)
    waiting = [each for each in letters if each.redriven_at is None]
    if call.body.dry_run:
        return done_of(len(letters), 0, len(letters) - len(waiting), place)
    done = await _retried_all(gateway, call, [each for each in waiting if each.source == TASK])
    done += await _taken_in(gateway, [each for each in waiting if each.source != TASK])
    return done_of(len(letters), done, len(letters) - done, place)


async def _redriven(gateway: Gateway, call: Call[Any, Any], letter: DeadLetterRow) -> bool:
    if letter.source == TASK:
        return await _retried(gateway, call, letter)
    return await _taken_in(gateway, (letter,)) == 1


async def _retried(gateway: Gateway, call: Call[Any, Any], letter: DeadLetterRow) -> bool:
    """Start a retry of a task's execution; False if somebody was faster. Raises Refused as a retry does."""
    if letter.execution_id is None:
        detail = "The task does not say whose it was, so there is no execution to try again."
        raise Refused("not_found", detail)
    row = await read_row(gateway.store, call.user_id, letter.execution_id)
    new, _ = await retried(gateway, row, from_=FAILED, traceparent=call.trace.traceparent)

    async def is_first(session: Session) -> bool:
        return await db.dead_letters.redrive_tasks(session, letter, new.id)

    return await gateway.starter.create_if(is_first, (new,))


async def _retried_all(
    gateway: Gateway, call: Call[Any, Any], letters: Sequence[DeadLetterRow]
) -> int:
    """Retry the executions of tasks, each once, and return how many tasks that puts back to work."""
    room = asyncio.Semaphore(AT_ONCE)

    async def retry(letter: DeadLetterRow) -> str | None:
        async with room:
            try:
                is_done = await _retried(gateway, call, letter)
            except Refused as refused:
                if refused.status >= 500:
                    raise
                return None
            return letter.execution_id if is_done else None

    of_executions = {each.execution_id: each for each in letters}
    ends = await asyncio.gather(*map(retry, of_executions.values()), return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    return sum(each.execution_id is not None and each.execution_id in ends for each in letters)


async def _taken_in(gateway: Gateway, letters: Sequence[DeadLetterRow]) -> int:
    """Publish messages that nobody put back to work yet, and return how many.

    Raises Refused if NATS did not take all of them; those that it took are put back.
    """
    if any(each.source == "TRIGGER" for each in letters):
        await asyncio.sleep(FORGOTTEN_SECONDS)
    async with gateway.store.transaction() as session:
        held = await db.dead_letters.hold(session, [each.id for each in letters])
        chosen = [each for each in letters if each.id in held]
        acks = await gateway.starter.publisher.publish_all(map(_message_of, chosen))
        stored = [each.id for each, ack in zip(chosen, acks, strict=True) if ack.is_good]
        await db.dead_letters.mark_redriven(session, stored)
    if len(stored) < len(chosen):
        raise unavailable("NATS")
    return len(stored)


def _message_of(letter: DeadLetterRow) -> Outgoing:
    """Return a message as it came; an event without an id gets that of its letter, so that it starts nothing twice."""
    headers = {
        name: value
        for name, value in letter.headers.items()
        if not name.lower().startswith(_CONDITIONS)
    }
    if letter.source == "TRIGGER":
        headers.setdefault(MESSAGE_ID_HEADER, letter.id)
    return Outgoing(letter.subject, letter.body, headers or None)


async def _matched(
    gateway: Gateway, call: Call[NoQuery, BulkRedriveBody]
) -> tuple[tuple[DeadLetterRow, ...], str | None]:
    """Return the dead letters that fit, newest first, and the id to go on from."""
    given = call.body.filter
    if given == LetterFilter():
        raise invalid_request(wrong("/filter", "Name at least one field to filter by."))
    filters = DeadLetterFilters(
        source=several(given.source),
        reason=several(given.reason),
        execution_id=several(given.execution_id),
        created_before=given.created_before,
    )
    return await db.dead_letters.page(
        gateway.store,
        call.user_id,
        filters,
        MOST,
        read_cursor(call.body.cursor, is_uuid),
        with_nobodys="admin" in call.scopes,
    )
