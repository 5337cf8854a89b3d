"""The loop by itself: entries are handed to it one batch at a time, on a real store and a real bus."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import pytest

from bus import provision
from bus.message import ACK
from bus.tasks import queue_lengths
from bus.wire import Sendable
from contracts.history import By
from contracts.messages import Result
from contracts.payloads import PayloadLimits
from db.advances import Advance, AdvanceSession
from db.clock import DatabaseClock
from db.errors import CommitInDoubt
from nodes.regex import Re2
from scheduler.admission import Admission
from scheduler.assembling import Assembling
from scheduler.core.decision import Admitted, CancelAsked, Reported
from scheduler.dispatch import Dispatch
from scheduler.entries import Entry
from scheduler.executions import CACHE_BYTES, EXECUTION_BYTES, Executions, Plans
from scheduler.intake import Intake
from scheduler.lookups import Lookups
from scheduler.loop import Loop
from scheduler.slots import Slots
from scheduler.targets import Targets
from scheduler.tokens import Tokens
from scheduler.values import LargeValues
from tests.support.engine import document, node, raw, wire
from tests.support.installation import Installation

pytestmark = pytest.mark.component

ANY = "CUSTOM.ANY"
LINE = document([node("a"), node("b"), node("c")], [wire("a -> b"), wire("b -> c")])


class Handed:
    """A message that tells whether it was acknowledged."""

    num_delivered = 1

    def __init__(self) -> None:
        self.is_acknowledged = False

    async def ack(self) -> None:
        """Remember it."""
        self.is_acknowledged = True

    def sendable(self, answer: bytes) -> Sendable:
        """Remember it, for the answer is sent right afterwards."""
        self.is_acknowledged = answer == ACK
        return "acknowledged", answer, None, ""


class LosesTheFirstAnswer(AdvanceSession):
    """Commits, and does not hear that it did."""

    _has_lost = False

    async def commit(self, batch: Sequence[Advance]) -> frozenset[str]:
        """Commit, the first time without an answer."""
        won = await super().commit(batch)
        if not self._has_lost:
            self._has_lost = True
            raise CommitInDoubt("the answer was lost")
        return won


class MakeLoop(Protocol):
    """Makes loops that share nothing but store and bus."""

    def __call__(
        self, *, limit: int = CACHE_BYTES, session: type[AdvanceSession] = AdvanceSession
    ) -> AbstractAsyncContextManager[Loop]:
        """Return a loop that holds executions of about `limit` bytes."""


@pytest.fixture
async def make_loop(installation: Installation) -> MakeLoop:
    """Makes loops as the service does; what can never be handled fails the test."""
    await provision.ensure(installation.bus, [ANY])

    def bury(entry: Entry, error: Exception) -> None:
        raise AssertionError(entry) from error

    @asynccontextmanager
    async def make(
        *, limit: int = CACHE_BYTES, session: type[AdvanceSession] = AdvanceSession
    ) -> AsyncIterator[Loop]:
        store = installation.store
        opened = await session.open(store)
        clock = await DatabaseClock.measured(store)
        intake, plans = Intake(), Plans(store)
        values = LargeValues(store, PayloadLimits(), lambda: installation.bus.max_payload)
        loop = Loop(
            intake=intake,
            executions=Executions(store, plans, limit=limit),
            session=opened,
            publisher=installation.publisher,
            tell=installation.bus.publish_all,
            now=clock.now,
            values=values,
            assembling=Assembling(Re2(), values),
            lookups=Lookups(Targets(store, plans, Re2()), values, clock.now),
            dispatch=Dispatch(
                intake=intake,
                tokens=Tokens(bytes(32)),
                values=values,
                max_payload=lambda: installation.bus.max_payload,
                in_segments=True,
            ),
            slots=Slots(store, intake),
            admission=Admission(slots=lambda _: 0, now=time.monotonic),
            bury=bury,
            purge=lambda _namespace, _execution_id: None,
            stream_missing=lambda: None,
            timer_set=lambda _due_at: None,
        )
        try:
            yield loop
        finally:
            await loop.settled()
            await opened.close()

    return make


def entry(execution_id: str, given: Any, **fields: Any) -> Entry:
    """Return an entry that came as a message."""
    return Entry(execution_id=execution_id, given=given, message=Handed(), **fields)


def result(execution_id: str, node_id: str) -> Entry:
    """Return the report of a first attempt's success."""
    reported = Result(
        execution_id=execution_id,
        node_id=node_id,
        attempt=1,
        token="",
        worker_id="w",
        started_at="2026-01-01T00:00:00Z",
        finished_at="2026-01-01T00:00:01Z",
        ports={"main": raw(node_id)},
    )
    return entry(execution_id, Reported(reported))


async def successes(installation: Installation, execution_id: str) -> list[str | None]:
    """Return the nodes that succeeded, in order."""
    history = await installation.history(execution_id)
    return [row.node_id for row in history if row.kind == "node_succeeded"]


async def test_a_result_is_not_refused_because_another_scheduler_went_on_meanwhile(
    installation: Installation, make_loop: MakeLoop
) -> None:
    (execution_id,) = await installation.start(await installation.add(LINE), say=False)
    async with make_loop() as first, make_loop() as second:
        await first.handle([entry(execution_id, Admitted())])
        await second.handle([result(execution_id, "a")])

        await first.handle([result(execution_id, "b")])

    assert await successes(installation, execution_id) == ["a", "b"]


async def test_a_true_refusal_is_acknowledged_and_counted_once(
    installation: Installation, make_loop: MakeLoop
) -> None:
    (execution_id,) = await installation.start(await installation.add(LINE), say=False)
    async with make_loop() as loop:
        await loop.handle([entry(execution_id, Admitted())])
        await loop.handle([result(execution_id, "a")])

        again = result(execution_id, "a")
        await loop.handle([again])

        await loop.settled()
        assert isinstance(again.message, Handed)
        assert again.message.is_acknowledged
        assert loop.counters.refused == {"stale_result": 1}


async def test_a_full_cache_loses_none_of_the_executions_that_are_asked_for(
    installation: Installation, make_loop: MakeLoop
) -> None:
    started = await installation.start(await installation.add(LINE), 3, say=False)
    async with make_loop(limit=2 * EXECUTION_BYTES) as loop:
        for each in started:
            await loop.handle([entry(each, Admitted())])
        left, oldest, _ = started

        await loop.handle([result(oldest, "a"), result(left, "a")])

    assert await successes(installation, oldest) == ["a"]
    assert await successes(installation, left) == ["a"]


async def test_an_answer_that_cannot_be_sent_holds_up_nobody(
    installation: Installation, make_loop: MakeLoop
) -> None:
    canceled, other = await installation.start(await installation.add(LINE), 2, say=False)
    asked = CancelAsked(By("API"))
    async with make_loop() as loop:
        batch = [
            entry(canceled, asked, reply_to="no subject"),
            entry("019a0000-0000-7000-8000-000000000001", asked, reply_to="no subject"),
            entry(other, Admitted()),
        ]

        await loop.handle(batch)

        await loop.settled()
        assert loop.counters.poisonous == 0
        assert all(isinstance(each.message, Handed) for each in batch)
        assert [each.message.is_acknowledged for each in batch] == [True] * 3  # type: ignore[union-attr]
        assert loop.counters.tasks == 1


async def test_after_a_commit_in_doubt_that_happened_its_tasks_are_published(
    installation: Installation, make_loop: MakeLoop
) -> None:
    (execution_id,) = await installation.start(await installation.add(LINE), say=False)
    async with make_loop(session=LosesTheFirstAnswer) as loop:
        await loop.handle([entry(execution_id, Admitted())])

        await loop.settled()
        assert (await queue_lengths(installation.bus))[ANY].pending == 1
    assert (await installation.row(execution_id)).status == "RUNNING"


async def test_what_a_stale_owner_commits_late_loses_and_changes_nothing(
    installation: Installation, make_loop: MakeLoop
) -> None:
    """It slept past its lease with a result in hand, and its successor had the same result delivered meanwhile."""
    (execution_id,) = await installation.start(await installation.add(LINE), say=False)
    async with make_loop() as stale, make_loop() as owner:
        await stale.handle([entry(execution_id, Admitted())])
        await owner.handle([result(execution_id, "a")])
        before = await installation.history(execution_id)

        await stale.handle([result(execution_id, "a")])

        await stale.settled()
        assert stale.counters.conflicts == 1
        assert stale.counters.refused == {"stale_result": 1}
        assert await installation.history(execution_id) == before


async def test_an_execution_is_read_once_while_it_is_advanced_though_the_cache_is_too_small_for_it(
    installation: Installation, make_loop: MakeLoop
) -> None:
    first, second = await installation.start(await installation.add(LINE), 2, say=False)
    async with make_loop(limit=1) as loop:
        await loop.handle([entry(first, Admitted())])
        await loop.handle([result(first, "a")])
        await loop.handle([result(first, "b")])
        assert loop.counters.replays == 1

        await loop.handle([entry(second, Admitted())])
        await loop.handle([result(first, "c")])

        assert loop.counters.replays == 3
    assert await successes(installation, first) == ["a", "b", "c"]
