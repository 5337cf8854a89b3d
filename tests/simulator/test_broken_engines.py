"""The simulator finds what is broken on purpose: a simulator that cannot fail proves nothing."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import pytest

from bus.message import Message
from contracts.execution import fold
from contracts.execution.plan import PlannedNode
from contracts.execution.state import ExecutionState, LoopRun, NodeRun
from contracts.execution.transition import Transition
from contracts.history import Event, NodeStarted, SignalReceived
from contracts.ids import RunKey, derived_uuid7
from contracts.messages import Head
from db import slots
from db.advances import Advance, AdvanceSession
from db.errors import CommitInDoubt
from db.store import Store
from scheduler.admission import Admission
from scheduler.core import advance, step, tasks, waiting
from scheduler.core.decision import Decision, HandlerStarts, refuse
from scheduler.core.step import Step
from scheduler.executions import Executions
from scheduler.inbox import Inbox
from scheduler.slots import Slots
from scheduler.sweeper import Sweeper
from scheduler.timers import Timers
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


def _keeps_timers_to_itself(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Timers, "expect", lambda self, due_at: None)


def _without(name: str) -> Break:
    """Return a break of commits: what stands under a name in an advance is not written."""

    def break_it(patch: pytest.MonkeyPatch) -> None:
        commit = AdvanceSession.commit

        async def broken(self: AdvanceSession, batch: Sequence[Advance]) -> frozenset[str]:
            return await commit(self, [_changed(advance, **{name: ()}) for advance in batch])

        patch.setattr(AdvanceSession, "commit", broken)

    return break_it


def _changed(advance: Advance, **fields: Any) -> Advance:
    kept: dict[str, Any] = {name: getattr(advance, name) for name in advance.__struct_fields__}
    return Advance(**kept | fields)


def _ignores_ends_of_children(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(waiting, "child_ended", lambda step, ended: refuse("stale_child"))


def _starts_no_failure_workflow(patch: pytest.MonkeyPatch) -> None:
    start = Step.start

    def broken(self: Step, *arguments: Any, **options: Any) -> None:
        if not options.get("is_of_failure"):
            start(self, *arguments, **options)

    patch.setattr(Step, "start", broken)


def _starts_children_twice(patch: pytest.MonkeyPatch) -> None:
    start = Step.start

    def broken(self: Step, child_id: str, *arguments: Any, **options: Any) -> None:
        start(self, child_id, *arguments, **options)
        start(self, derived_uuid7(self.at, f"again {child_id}"), *arguments, **options)

    patch.setattr(Step, "start", broken)


def _applies_signals_twice(patch: pytest.MonkeyPatch) -> None:
    received = fold._signal_received

    def broken(step: Transition, event: Event, data: SignalReceived) -> None:
        received(step, event, data)
        step.state.heard.clear()

    patch.setattr(fold, "_signal_received", broken)


def _gives_slots_twice(patch: pytest.MonkeyPatch) -> None:
    fill = slots.fill

    async def broken(store: Store, workflow_id: str, key: str, limit: int) -> frozenset[str]:
        return await fill(store, workflow_id, key, limit + 1)

    patch.setattr(slots, "fill", broken)


def _never_gives_slots_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Slots, "freed", lambda self, workflow_id, slot: None)


def _dispatches_while_paused(patch: pytest.MonkeyPatch) -> None:
    dispatch = Transition.dispatch

    def broken(self: Transition, key: RunKey, run: NodeRun) -> None:
        paused, self.state.paused = self.state.paused, False
        dispatch(self, key, run)
        self.state.paused = paused

    patch.setattr(Transition, "dispatch", broken)


def _forgets_what_a_pause_held(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Transition, "release", lambda self: self.state.held.clear())


def _lets_handlers_be_called_twice(patch: pytest.MonkeyPatch) -> None:
    def broken(step: Step, given: HandlerStarts) -> Decision:
        key = (given.node_id, given.iteration)
        if advance._current(step, key, given.attempt) is None:
            return refuse("stale_result")
        step.record(NodeStarted(given.worker_id, given.delivery), key, given.attempt)
        return step.decision()

    patch.setattr(advance, "_handler_starts", broken)


def _says_that_calls_are_saved(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(advance, "_call_finished", lambda step, given: refuse("repeated"))


def _mixes_results_up(patch: pytest.MonkeyPatch) -> None:
    value = step.loop_value

    def broken(loop: LoopRun) -> msgspec.Raw:
        turned = dict(reversed(loop.results.items()))
        return value(msgspec.structs.replace(loop, results=dict(enumerate(turned.values()))))

    patch.setattr(step, "loop_value", broken)


def _runs_again_what_was_carried(patch: pytest.MonkeyPatch) -> None:
    ready = Transition.become_ready

    def broken(self: Transition, node: PlannedNode, run: NodeRun, key: RunKey) -> None:
        self.state.carried.pop(key, None)
        ready(self, node, run, key)

    patch.setattr(Transition, "become_ready", broken)


def _lets_nobody_move_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Admission, "next", lambda self: iter(()))


def _keeps_places_of_the_dead(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Admission, "settle", lambda self, execution_id, is_under_way: None)


def _forgets_whose_task_stands_for_a_node(patch: pytest.MonkeyPatch) -> None:
    def broken(state: ExecutionState, key: RunKey) -> Head:
        return Head(key[0], state.runs[key].attempt)

    patch.setattr(tasks, "head_of", broken)


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
        pytest.param(_without("cleared"), id="leaves timers that fired"),
        pytest.param(_without("timers"), id="sets no timers"),
        pytest.param(_keeps_timers_to_itself, id="does not say that timers were set"),
        pytest.param(_without("children"), id="starts no children"),
        pytest.param(_without("released"), id="does not note that a parent was told"),
        pytest.param(_without("given_up"), id="does not note that a parent gave up"),
        pytest.param(_without("opened"), id="opens no questions"),
        pytest.param(_without("changed"), id="closes no questions"),
        pytest.param(_ignores_ends_of_children, id="is told of a child's end and does nothing"),
        pytest.param(_starts_no_failure_workflow, id="starts no failure workflow"),
        pytest.param(_starts_children_twice, id="starts two children for one try"),
        pytest.param(_applies_signals_twice, id="applies a signal twice"),
        pytest.param(_gives_slots_twice, id="gives a slot twice"),
        pytest.param(_never_gives_slots_on, id="does not give slots on"),
        pytest.param(_dispatches_while_paused, id="dispatches while it is paused"),
        pytest.param(_forgets_what_a_pause_held, id="forgets what a pause held back"),
        pytest.param(_lets_handlers_be_called_twice, id="lets a handler be called twice"),
        pytest.param(_says_that_calls_are_saved, id="says that calls are saved that are not"),
        pytest.param(_mixes_results_up, id="mixes results of iterations up"),
        pytest.param(_runs_again_what_was_carried, id="runs what was carried"),
        pytest.param(_lets_nobody_move_up, id="lets nobody in line move up"),
        pytest.param(_keeps_places_of_the_dead, id="keeps places of attempts that are over"),
        pytest.param(
            _forgets_whose_task_stands_for_a_node, id="publishes what a worker has gone on to"
        ),
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
