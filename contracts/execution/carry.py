"""What a new execution takes over from an old one: a retry, a fork, or a node that is executed alone.

A node *runs again* if it must, or if it lies behind one that does. A loop behind nothing that runs again
may be *open* all the same, for something in its body runs again: then it begins with the items it began
with, and its iterations are looked at one by one.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import UNSET

from contracts.execution import values
from contracts.execution.plan import Plan, PlannedNode, Way
from contracts.execution.state import ExecutionState, NodeRun
from contracts.history import CarriedRun, LoopStarted, MaybeRaw, OutputsCarried
from contracts.ids import Iteration, RunKey
from contracts.model import ConnectionKind, Document
from contracts.statuses import NodeRunStatus

EVENT_BYTES: Final = 256 * 1024
"""What one event takes over, unless a single node run is larger."""

_DONE: Final = frozenset({NodeRunStatus.SUCCESS, NodeRunStatus.SKIPPED})
_ENDED: Final = frozenset({NodeRunStatus.SUCCESS, NodeRunStatus.ERROR})


def carried_for_retry(
    old_plan: Plan, state: ExecutionState, new_plan: Plan
) -> tuple[CarriedRun, ...]:
    """Return what a retry takes over: outputs of what succeeded and lies behind nothing that did not.

    Of loops that did not end it is their beginning and what succeeded in their iterations. What failed
    goes on from its checkpoints, unless its input may be another one now.
    """
    if state.created.single_node_id is not None:
        return _alone_again(state, new_plan, with_checkpoints=True)
    changed = _changed(old_plan, new_plan)
    if state.started_at is None:
        return _passed_on(state, _Reach(new_plan).runs_again(changed))
    return tuple(_Carrier(state, new_plan, changed, is_retry=True).runs())


def carried_for_rerun(state: ExecutionState, new_plan: Plan) -> tuple[CarriedRun, ...]:
    """Return what a rerun from the start takes over: nothing, but for what a node alone was given."""
    if state.created.single_node_id is None:
        return ()
    return _alone_again(state, new_plan, with_checkpoints=False)


def carried_for_fork(
    old_plan: Plan,
    state: ExecutionState,
    new_plan: Plan,
    node_id: str,
    value: MaybeRaw = UNSET,
) -> tuple[CarriedRun, ...]:
    """Return what a fork takes over: every output that does not lie behind its node, and the node's new input.

    The new input of a trigger is that of the execution, so that nothing stays as it was.
    """
    if new_plan.nodes[node_id].is_trigger:
        if value is not UNSET:
            return ()
        forked: tuple[CarriedRun, ...] = ()
    else:
        forked = () if value is UNSET else (CarriedRun(node_id=node_id, input=value),)
    again = _changed(old_plan, new_plan) | {node_id}
    return (*_Carrier(state, new_plan, again, is_retry=False).runs(), *forked)


def carried_for_node(
    state: ExecutionState, new_plan: Plan, node_id: str, value: msgspec.Raw
) -> tuple[CarriedRun, ...]:
    """Return what a node alone takes over: the outputs that its expressions name, and its input."""
    named = (state.runs.get((name, ())) for name in new_plan.nodes[node_id].references)
    seen = tuple(
        _as_it_ended(name, (), run)
        for name, run in zip(new_plan.nodes[node_id].references, named, strict=True)
        if run is not None and run.ports is not None
    )
    return (*seen, CarriedRun(node_id=node_id, input=value))


def was_reached(state: ExecutionState, node: PlannedNode) -> bool:
    """Whether an execution came to a node outside of loops, so that a fork can begin there."""
    run = state.runs.get((node.id, ()))
    if run is None:
        return False
    return run.ready_at is not None or (node.is_trigger and run.status is NodeRunStatus.SUCCESS)


def in_events(runs: Iterable[CarriedRun]) -> tuple[OutputsCarried, ...]:
    """Return the events that take node runs over, none of them large because it holds many."""
    encode = msgspec.json.Encoder().encode
    events: list[OutputsCarried] = []
    batch: list[CarriedRun] = []
    size = 0
    for run in runs:
        bytes_ = len(encode(run))
        if batch and size + bytes_ > EVENT_BYTES:
            events.append(OutputsCarried(tuple(batch)))
            batch, size = [], 0
        batch.append(run)
        size += bytes_
    if batch:
        events.append(OutputsCarried(tuple(batch)))
    return tuple(events)


def _alone_again(
    state: ExecutionState, new_plan: Plan, *, with_checkpoints: bool
) -> tuple[CarriedRun, ...]:
    """Return what the execution of a node alone was given, and its checkpoints on demand."""
    alone = state.created.single_node_id
    assert alone is not None
    given = tuple(
        each
        for each in state.carried.values()
        if each.node_id != alone and each.node_id in new_plan.nodes
    )
    run = state.runs[alone, ()]
    before = state.carried.get((alone, ()))
    own = CarriedRun(
        node_id=alone,
        checkpoints=run.checkpoints if with_checkpoints else {},
        input=before.input if before is not None else UNSET,
    )
    return (*given, own)


def _passed_on(state: ExecutionState, reach: "_Reach") -> tuple[CarriedRun, ...]:
    """Return what an execution that never started was given itself."""
    return tuple(
        each
        for each in state.carried.values()
        if each.node_id in reach.plan.nodes
        and each.node_id not in reach.again
        and not (each.node_id in reach.open and each.ports is not None)
    )


class _Reach:
    """Which nodes of a plan run `again`, and which loops are `open` without running again themselves."""

    def __init__(
        self, plan: Plan, again: Iterable[str] = (), open_loops: Iterable[str] = ()
    ) -> None:
        self.plan = plan
        self.again = set(again)
        self.open = set(open_loops)

    def runs_again(self, node_ids: Iterable[str], open_loops: Iterable[str] = ()) -> "_Reach":
        """Return the reach with these nodes running again, these loops open, and all that lies behind."""
        reach = _Reach(self.plan, self.again, self.open)
        running = [each for each in node_ids if each not in self.again]
        opening = [each for each in open_loops if each not in self.open]
        while running or opening:
            if running:
                reach._run(running.pop(), running, opening)
            else:
                reach._open(opening.pop(), running, opening)
        return reach

    def _run(self, node_id: str, running: list[str], opening: list[str]) -> None:
        if node_id in self.again:
            return
        self.again.add(node_id)
        node = self.plan.nodes[node_id]
        running.extend(wire.target for wire in node.outgoing if wire.way is not Way.BACK)
        opening.extend(node.loops[-1:])

    def _open(self, loop_id: str, running: list[str], opening: list[str]) -> None:
        if loop_id in self.open:
            return
        self.open.add(loop_id)
        node = self.plan.nodes[loop_id]
        running.extend(
            wire.target for wire in node.outgoing if wire.way not in (Way.ITEM, Way.BACK)
        )
        opening.extend(node.loops[-1:])


class _Carrier:
    """Goes through the node runs of an execution, one scope (an iteration, or what is outside) after the other."""

    def __init__(
        self, state: ExecutionState, plan: Plan, again: Iterable[str], *, is_retry: bool
    ) -> None:
        self._state = state
        self._plan = plan
        self._changed = frozenset(again)
        self._reach = _Reach(plan).runs_again(self._changed)
        self._is_retry = is_retry

    def runs(self) -> Iterator[CarriedRun]:
        """Yield what is taken over."""
        outside = tuple(node.id for node in self._plan.nodes.values() if not node.loops)
        scopes: list[tuple[tuple[str, ...], Iteration]] = [(outside, ())]
        while scopes:
            node_ids, path = scopes.pop()
            reach = self._reach_in(node_ids, path)
            for node_id in node_ids:
                run = self._state.runs.get((node_id, path))
                if run is None or self._plan.nodes[node_id].is_trigger:
                    continue
                if self._is_open(reach, node_id, path, run):
                    yield self._beginning((node_id, path), run)
                    scopes.extend(self._iterations((node_id, path)))
                elif (carried := self._carried(reach, node_id, path, run)) is not None:
                    yield carried

    def _reach_in(self, node_ids: tuple[str, ...], path: Iteration) -> _Reach:
        """Return what runs again in a scope: for a retry also what did not succeed there."""
        if not self._is_retry:
            return self._reach
        unsuccessful = [
            node_id
            for node_id in node_ids
            if (run := self._state.runs.get((node_id, path))) is None or run.status not in _DONE
        ]
        if not unsuccessful:
            return self._reach
        begun = {each for each in unsuccessful if (each, path) in self._state.loops}
        failed = (each for each in unsuccessful if each not in begun)
        return self._reach.runs_again(failed, begun)

    def _is_open(self, reach: _Reach, node_id: str, path: Iteration, run: NodeRun) -> bool:
        if node_id in reach.again or (node_id, path) not in self._state.loops:
            return False
        return node_id in reach.open or run.ports is None

    def _carried(
        self, reach: _Reach, node_id: str, path: Iteration, run: NodeRun
    ) -> CarriedRun | None:
        if node_id in reach.again or node_id in reach.open:
            return self._goes_on(reach, node_id, path, run)
        ended = run.status is NodeRunStatus.SUCCESS or (not self._is_retry and run.status in _ENDED)
        if not ended or run.ports is None:
            return None
        return _as_it_ended(node_id, path, run)

    def _goes_on(
        self, reach: _Reach, node_id: str, path: Iteration, run: NodeRun
    ) -> CarriedRun | None:
        """Return what a node that runs again need not do again: it must get the input that it got before."""
        node = self._plan.nodes[node_id]
        if (
            not self._is_retry
            or node_id in self._changed
            or (not run.checkpoints and run.input is UNSET)
        ):
            return None
        before = {wire.source for wire in node.incoming if wire.way is not Way.ITEM}
        if before & reach.again or before & reach.open:
            return None
        return CarriedRun(
            node_id=node_id, iteration=path, checkpoints=run.checkpoints, input=run.input
        )

    def _beginning(self, key: RunKey, run: NodeRun) -> CarriedRun:
        loop = self._state.loops[key]
        started = LoopStarted(
            items=UNSET if loop.items is None else values.listed(loop.items),
            total=loop.total,
            rules=loop.rules,
            timing=run.timing,
            worker_id=run.worker_id,
        )
        return CarriedRun(node_id=key[0], iteration=key[1], loop=started)

    def _iterations(self, key: RunKey) -> Iterator[tuple[tuple[str, ...], Iteration]]:
        """Yield the scopes of a loop's iterations; behind one that runs again none that may look back at it."""
        planned = self._plan.nodes[key[0]].loop
        assert planned is not None
        looks_back = self._looks_back(key)
        for index in range(self._state.loops[key].begun):
            path = (*key[1], index)
            yield planned.body, path
            if looks_back and not self._is_whole(planned.body, path):
                return

    def _looks_back(self, key: RunKey) -> bool:
        """Whether an iteration may depend on the one before."""
        loop = self._state.loops[key]
        if loop.items is None:
            return True
        return loop.rules.max_parallel == 1 and any(
            node.names_loop and key[0] in node.loops for node in self._plan.nodes.values()
        )

    def _is_whole(self, body: tuple[str, ...], path: Iteration) -> bool:
        reach = self._reach_in(body, path)
        return reach.again.isdisjoint(body) and reach.open.isdisjoint(body)


def _as_it_ended(node_id: str, path: Iteration, run: NodeRun) -> CarriedRun:
    """Return a node run that stands as it ended, with the failure after which the execution went on."""
    is_failed = run.status is NodeRunStatus.ERROR
    return CarriedRun(
        node_id=node_id,
        iteration=path,
        ports=run.ports,
        failure=run.failure if is_failed else None,
        policy=run.policy if is_failed else None,
    )


def _changed(old_plan: Plan, new_plan: Plan) -> set[str]:
    """Return the nodes of a version that do not do there what they did in another one, or do not get it."""
    if old_plan.version_id == new_plan.version_id:
        return set()
    return {
        node.id
        for node in new_plan.nodes.values()
        if node.id not in old_plan.nodes
        or _nature(old_plan, old_plan.nodes[node.id]) != _nature(new_plan, node)
    }


def _nature(plan: Plan, node: PlannedNode) -> tuple[Any, ...]:
    """Return what decides what a node yields, with what is lent to it."""
    wires = tuple(
        (each.source, each.from_port, each.to_port, each.mapping) for each in node.incoming
    )
    lent = _lent(plan.document, node.id)
    task = node.task_node
    own = (node.type, task.type_version, task.parameters, task.credentials, task.static)
    return (own, node.disabled, node.loops, wires, lent)


def _lent(document: Document, node_id: str) -> dict[str, Any]:
    """Return the nodes that are lent to a node, directly or to its lenders, with what decides what they do."""
    attachments = [each for each in document.connections if each.kind is not ConnectionKind.MAIN]
    found: dict[str, Any] = {}
    borrowers = [node_id]
    while borrowers:
        borrower = borrowers.pop()
        for each in attachments:
            lender = document.node(each.source)
            if each.target == borrower and lender is not None and lender.id not in found:
                found[lender.id] = (
                    each.kind,
                    lender.type,
                    lender.type_version,
                    lender.parameters,
                    lender.credentials,
                    lender.disabled,
                )
                borrowers.append(lender.id)
    return found
