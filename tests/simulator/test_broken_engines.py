"""The simulator finds what is broken on purpose: a simulator that cannot fail proves nothing."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from bus.message import Message
from db.advances import Advance, AdvanceSession
from db.errors import CommitInDoubt
from scheduler.executions import Executions
from scheduler.inbox import Inbox
from scheduler.sweeper import Sweeper
from scheduler.tokens import Tokens
from tests.simulator.report import Report, examine

MOST_SEEDS = 400

Break = Callable[[pytest.MonkeyPatch], None]


def _acknowledges_on_arrival(patch: pytest.MonkeyPatch) -> None:
    receive = Inbox.receive

    async def broken(self: Inbox, message: Message) -> None:
        await message.ack()
        await receive(self, message)

    patch.setattr(Inbox, "receive", broken)


def _ignores_who_won(patch: pytest.MonkeyPatch) -> None:
    commit = AdvanceSession.commit

    async def broken(self: AdvanceSession, batch: Sequence[Advance]) -> frozenset[str]:
        await commit(self, batch)
        return frozenset(advance.execution_id for advance in batch)

    patch.setattr(AdvanceSession, "commit", broken)


def _takes_doubt_for_success(patch: pytest.MonkeyPatch) -> None:
    commit = AdvanceSession.commit

    async def broken(self: AdvanceSession, batch: Sequence[Advance]) -> frozenset[str]:
        try:
            return await commit(self, batch)
        except CommitInDoubt:
            return frozenset(advance.execution_id for advance in batch)

    patch.setattr(AdvanceSession, "commit", broken)


def _trusts_its_memory(patch: pytest.MonkeyPatch) -> None:
    load = Executions.load

    async def broken(self: Executions, execution_ids: Iterable[str]) -> frozenset[str]:
        wanted = frozenset(execution_ids)
        await load(self, sorted(wanted))
        return wanted

    patch.setattr(Executions, "load", broken)


def _never_forgets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Executions, "drop", lambda self, execution_ids: None)


def _believes_everybody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tokens, "fits", lambda self, *_: True)


def _never_sweeps(patch: pytest.MonkeyPatch) -> None:
    async def broken(self: Sweeper) -> None:
        await asyncio.Event().wait()

    patch.setattr(Sweeper, "run", broken)


def _leaves_timers_behind(patch: pytest.MonkeyPatch) -> None:
    commit = AdvanceSession.commit

    async def broken(self: AdvanceSession, batch: Sequence[Advance]) -> frozenset[str]:
        return await commit(self, [_without_cleared(advance) for advance in batch])

    patch.setattr(AdvanceSession, "commit", broken)


def _without_cleared(advance: Advance) -> Advance:
    fields: dict[str, Any] = {name: getattr(advance, name) for name in advance.__struct_fields__}
    return Advance(**fields | {"cleared": ()})


@pytest.mark.parametrize(
    "break_it",
    [
        pytest.param(_acknowledges_on_arrival, id="acknowledges before the commit"),
        pytest.param(_ignores_who_won, id="takes a lost commit for a won one"),
        pytest.param(_takes_doubt_for_success, id="takes a commit in doubt for a won one"),
        pytest.param(_trusts_its_memory, id="refuses on a state that is behind"),
        pytest.param(_never_forgets, id="keeps what it decided in memory though it lost"),
        pytest.param(_believes_everybody, id="takes results without the right token"),
        pytest.param(_never_sweeps, id="does not look for what was lost"),
        pytest.param(_leaves_timers_behind, id="leaves timers that fired"),
    ],
)
def test_a_broken_engine_is_found(break_it: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    break_it(monkeypatch)
    report = Report()

    for seed in range(MOST_SEEDS):
        examine(seed, report)
        if report.failures:
            break

    assert report.failures, f"{MOST_SEEDS} seeds found nothing wrong"
