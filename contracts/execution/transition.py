"""One event's consequences inside the state: what it resolves, makes ready, skips, begins and ends.

Nothing recurses: what ended waits in a list until its connections are resolved, and an iteration whose
last node run ended until its result is known. So a chain of ten thousand skipped nodes, or a loop of
ten thousand empty iterations, is one plain pass.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from msgspec import UNSET

from contracts.execution import values
from contracts.execution.plan import Plan, PlannedConnection, PlannedNode, Way
from contracts.execution.state import (
    ExecutionState,
    Item,
    IterationFailure,
    LoopRun,
    NodeRun,
    OpenQuestion,
)
from contracts.failures import Failure
from contracts.history import NULL, CarriedRun, LoopStarted, MaybeRaw, SignalReceived, Wait
from contracts.ids import Iteration, RunKey
from contracts.messages import Head, Resumed
from contracts.statuses import (
    TERMINAL_NODE_RUN,
    ItemError,
    Mode,
    NodeRunStatus,
    SkipReason,
)

PENDING = NodeRunStatus.PENDING
RUNNING = NodeRunStatus.RUNNING
WAITING = NodeRunStatus.WAITING


class Touched:
    """What one event brought about, for whoever decides what follows.

    `dispatched` node runs need a task, `gone_on` ones have one: their worker went on with them by itself. `standing` ones are ready and need none, for a pin or their
    input stands for their output; `dead` were skipped. `joining` wait for more inputs, but not for
    ever, and `overdue` ones waited too long. `yielding` waited, and give what arrived. `results_due` are iterations whose result a mapping
    makes; `loops_over` have no iteration left, `loops_failed` failed with one. `closed` are waits that
    nobody needs any more.
    """

    __slots__ = (
        "closed",
        "dead",
        "dispatched",
        "gone_on",
        "joining",
        "loops_failed",
        "loops_over",
        "overdue",
        "results_due",
        "standing",
        "yielding",
    )

    def __init__(self) -> None:
        self.dispatched: list[RunKey] = []
        self.gone_on: list[RunKey] = []
        self.standing: list[RunKey] = []
        self.dead: list[RunKey] = []
        self.joining: list[RunKey] = []
        self.overdue: list[RunKey] = []
        self.yielding: list[RunKey] = []
        self.results_due: list[RunKey] = []
        self.loops_over: list[RunKey] = []
        self.loops_failed: list[tuple[RunKey, Failure]] = []
        self.closed: list[Wait] = []


class Transition:
    """Changes the state for one event, at its instant; `settle` carries all consequences through."""

    __slots__ = ("_beginning", "_ended", "_going_on", "_over", "at", "plan", "state", "touched")

    def __init__(self, plan: Plan, state: ExecutionState, at: datetime) -> None:
        self.plan = plan
        self.state = state
        self.at = at
        self.touched = Touched()
        self._ended: list[RunKey] = []
        self._beginning: list[tuple[RunKey, LoopStarted]] = []
        self._over: list[RunKey] = []
        self._going_on: tuple[RunKey, Head] | None = None

    # --- node runs ---------------------------------------------------------------------------

    def end(self, key: RunKey, run: NodeRun, status: NodeRunStatus) -> None:
        """Let a node run reach a terminal status."""
        assert run.status not in TERMINAL_NODE_RUN, "a terminal status never changes"
        state = self.state
        if run.has_task:
            run.has_task = False
            state.outstanding -= 1
        if run.wait is not None:
            self._let_go(key, run.wait)
        if state.held:
            state.held.pop(key, None)
        run.status = status
        run.retry_at = None
        run.finished_at = self.at
        state.open_runs -= 1
        if key[1]:
            self._count_end(key)

    def give(self, key: RunKey) -> None:
        """Have the connections out of an ended node run resolved."""
        self._ended.append(key)

    def become_ready(self, node: PlannedNode, run: NodeRun, key: RunKey) -> None:
        """Dispatch a node run, or let something else stand for it."""
        run.ready_at = self.at
        carried = self.state.carried.get(key) if self.state.carried else None
        if carried is not None:
            run.checkpoints = dict(carried.checkpoints)
            run.input = carried.input
            if carried.ports is not None:
                self._stand_as_before(key, run, carried)
                return
            if carried.loop is not None and not stands_in(self.state, node):
                run.status = RUNNING
                self._beginning.append((key, carried.loop))
                return
        if stands_in(self.state, node):
            self.touched.standing.append(key)
        else:
            self.dispatch(key, run)

    def _stand_as_before(self, key: RunKey, run: NodeRun, carried: CarriedRun) -> None:
        """Let a node run stand as it ended in another execution: well, or with a failure that did not end that."""
        run.ports = carried.ports
        run.carried = True
        if carried.failure is not None:
            run.failure, run.policy = carried.failure, carried.policy
            self.state.continued_errors += 1
        self.end(
            key, run, NodeRunStatus.SUCCESS if carried.failure is None else NodeRunStatus.ERROR
        )
        self._ended.append(key)

    def go_on(self, key: RunKey, head: Head) -> None:
        """Take it that a worker works on a node run from the moment it is ready, paused or not."""
        self._going_on = key, head

    def dispatch(self, key: RunKey, run: NodeRun) -> None:
        """Make an attempt outstanding, or hold it back while the execution is paused."""
        head = None
        if self._going_on is not None and self._going_on[0] == key:
            head = self._going_on[1]
        elif self.state.paused:
            self.state.held[key] = None
            return
        run.status = RUNNING
        run.attempt += 1
        run.dispatched_at = self.at
        run.started_as = None
        run.has_task = True
        run.head = head
        self.state.outstanding += 1
        (self.touched.dispatched if head is None else self.touched.gone_on).append(key)

    def reported(self, run: NodeRun) -> None:
        """Take the current attempt as over."""
        if run.has_task:
            run.has_task = False
            self.state.outstanding -= 1

    def release(self) -> None:
        """Dispatch what a pause held back."""
        held, self.state.held = self.state.held, {}
        for key in held:
            run = self.state.runs[key]
            if run.status is WAITING:
                self._go_on(key, run)
            elif run.ready_at is None:
                self.join_due(key, run)
            else:
                self.dispatch(key, run)

    # --- waits -------------------------------------------------------------------------------

    def wait(self, key: RunKey, run: NodeRun, wait: Wait) -> None:
        """Suspend a node run; a signal or an answer that came before ends the wait at once."""
        self.reported(run)
        if run.wait is not None and run.wait.interaction_id != wait.interaction_id:
            self._let_go(key, run.wait)
        run.status = WAITING
        run.wait = wait
        run.waiting_since = self.at
        run.resumed = None
        self.state.waits[key] = None
        if wait.interaction_id is not None:
            self._ask(wait.interaction_id, key, wait)
        for place, (signal, at) in enumerate(self.state.signals):
            is_named = signal.name is not None and signal.name == wait.signal
            is_answer = signal.interaction_id is not None
            if is_named or (is_answer and signal.interaction_id == wait.interaction_id):
                del self.state.signals[place]
                self.close_question(signal)
                came = Resumed(
                    by="SIGNAL" if is_named else "INTERACTION",
                    at=at,
                    waited_since=self.at,
                    state=wait.state,
                    signal=signal.name,
                    interaction_id=signal.interaction_id,
                    data=signal.data,
                    port=signal.port,
                    answered_by=signal.by,
                )
                self.end_wait(key, run, came)
                return

    def _ask(self, question_id: str, key: RunKey, wait: Wait) -> None:
        """Take a question as open; one that is open already stays as it is, with what is new of its rules."""
        question = self.state.questions.setdefault(question_id, OpenQuestion(key))
        if wait.question is not None:
            question.rules = wait.question.after(question.rules)

    def end_wait(self, key: RunKey, run: NodeRun, resumed: Resumed) -> None:
        """Let a node run that waited go on, now or when the execution is resumed."""
        del self.state.waits[key]
        run.resumed = resumed
        if self.state.paused:
            self.state.held[key] = None
        else:
            self._go_on(key, run)

    def _let_go(self, key: RunKey, wait: Wait) -> None:
        """Have what a wait was for closed, unless it came to its end."""
        was_open = self.close_question(wait)
        if was_open or key in self.state.waits:
            self.touched.closed.append(wait)
        self.state.waits.pop(key, None)

    def close_question(self, about: Wait | SignalReceived) -> bool:
        """Take a question as closed, if one is open here; it was answered, or nobody needs it any more."""
        asked = about.interaction_id
        return asked is not None and self.state.questions.pop(asked, None) is not None

    def _go_on(self, key: RunKey, run: NodeRun) -> None:
        if self.plan.nodes[key[0]].after_wait == "dispatch":
            self.dispatch(key, run)
        else:
            self.touched.yielding.append(key)

    # --- connections -------------------------------------------------------------------------

    def settle(self) -> None:
        """Resolve what follows from all that ended, until nothing follows any more."""
        while True:
            if self._ended:
                self._resolve(self._ended.pop())
            elif self._beginning:
                self.begin_loop(*self._beginning.pop())
            elif self._over:
                self._finish_item(self._over.pop())
            else:
                return

    def _resolve(self, key: RunKey) -> None:
        """Resolve the connections out of a node run that ended."""
        node_id, path = key
        ports = self.state.runs[key].ports
        for wire in self.plan.nodes[node_id].outgoing:
            is_live = ports is not None and wire.from_port in ports
            match wire.way:
                case Way.ALONG:
                    self._arrive(wire, (wire.target, path), is_live)
                case Way.IN:
                    inside = self.plan.nodes[wire.target].loops[-wire.levels :]
                    for inner in self._paths_below(path, inside):
                        self._arrive(wire, (wire.target, inner), is_live)
                case Way.BACK:
                    self._come_back(wire, path, is_live)
                case Way.ITEM:
                    pass  # resolved when the iteration began

    def _paths_below(self, path: Iteration, loops: Sequence[str]) -> Iterator[Iteration]:
        """Yield the iterations under way of these loops, each inside the one before, below a path."""
        if not loops:
            yield path
            return
        loop = self.state.loops.get((loops[0], path))
        for index in tuple(loop.active) if loop is not None else ():
            yield from self._paths_below((*path, index), loops[1:])

    def _arrive(self, wire: PlannedConnection, key: RunKey, is_live: bool) -> None:
        """Count a resolved connection; the last one, or an early join, makes its target ready or dead."""
        run = self.state.runs.get(key)
        if run is None:
            return  # a node is executed alone
        run.unresolved -= 1
        if is_live:
            run.live += 1
        if run.ready_at is None and run.status is PENDING:
            self._join(self.plan.nodes[key[0]], run, key, wire if is_live else None)

    def _join(
        self, node: PlannedNode, run: NodeRun, key: RunKey, came: PlannedConnection | None
    ) -> None:
        """See whether a node run is ready or dead now that one of its connections is resolved."""
        if node.join is not None and came is not None:
            if node.join.first:
                run.taken = (came,)
                self.become_ready(node, run, key)
                return
            if run.live == 1 and run.unresolved:
                self.touched.joining.append(key)
        if run.unresolved:
            return
        if run.live:
            self.become_ready(node, run, key)
        else:
            run.skip_reason = SkipReason.DEAD
            self.end(key, run, NodeRunStatus.SKIPPED)
            self.touched.dead.append(key)
            self._ended.append(key)

    def join_due(self, key: RunKey, run: NodeRun) -> None:
        """Let a join that waited long enough go on with what has arrived, or fail."""
        node = self.plan.nodes[key[0]]
        assert node.join is not None
        if self.state.paused:
            self.state.held[key] = None
            return
        if not node.join.proceeds:
            run.ready_at = self.at
            self.touched.overdue.append(key)
            return
        run.taken = tuple(
            wire for wire in node.incoming if values.is_delivered(self.state, wire, key[1])
        )
        self.become_ready(node, run, key)

    # --- loops -------------------------------------------------------------------------------

    def begin_loop(self, key: RunKey, begun: LoopStarted) -> None:
        """Let a loop iterate; without items, for as long as its handler says."""
        self.reported(self.state.runs[key])
        items = None if begun.items is UNSET else values.items_of(begun.items)
        loop = LoopRun(begun.rules, items, begun.total)
        self.state.loops[key] = loop
        if items is None:
            self.begin_item(key)
        else:
            self._fill(key, loop)

    def begin_item(self, key: RunKey) -> None:
        """Begin the next iteration of a loop: its node runs exist from now on."""
        loop = self.state.loops[key]
        planned = self.plan.nodes[key[0]].loop
        assert planned is not None
        index, loop.begun = loop.begun, loop.begun + 1
        path = (*key[1], index)
        loop.active[index] = Item(len(planned.body), len(planned.back))
        self.state.open_runs += len(planned.body)
        if not planned.body:
            self._over.append((key[0], path))
        nodes = [self.plan.nodes[node_id] for node_id in planned.body]
        for node in nodes:
            self.state.runs[node.id, path] = self._body_run(node, path)
        for node in nodes:
            self._enter(node, path)

    def _body_run(self, node: PlannedNode, path: Iteration) -> NodeRun:
        """Return a new node run of an iteration; what leads in from outside may be resolved already."""
        run = NodeRun(len(node.incoming))
        for wire in node.incoming:
            if wire.way is Way.IN:
                source = self.state.runs.get(values.source_of(wire, path))
                is_resolved = source is None or source.finished_at is not None
            else:
                is_resolved = wire.way is Way.ITEM
            if is_resolved:
                run.unresolved -= 1
                run.live += values.is_delivered(self.state, wire, path)
        return run

    def _enter(self, node: PlannedNode, path: Iteration) -> None:
        """Make a new node run ready if its iteration is all, or enough, that it waits for."""
        key = (node.id, path)
        run = self.state.runs[key]
        if not run.live:
            return  # a node of a body always has a connection from inside
        if node.join is not None and node.join.first:
            run.taken = next(
                (wire,) for wire in node.incoming if values.is_delivered(self.state, wire, path)
            )
            self.become_ready(node, run, key)
        elif not run.unresolved:
            self.become_ready(node, run, key)
        elif node.join is not None:
            self.touched.joining.append(key)

    def _come_back(self, wire: PlannedConnection, path: Iteration, is_live: bool) -> None:
        loop = self.state.loops.get((wire.target, path[:-1]))
        item = loop.active.get(path[-1]) if loop is not None and path else None
        if item is None:
            return  # a node of the body is executed alone
        item.unresolved -= 1
        if is_live:
            item.arrived.append(wire)

    def _count_end(self, key: RunKey) -> None:
        """Count an ended node run of an iteration; with the last one the iteration is over."""
        node_id, path = key
        loops = self.plan.nodes[node_id].loops
        loop = self.state.loops[loops[-1], path[:-1]]
        item = loop.active.get(path[-1])
        if item is None:
            return  # it failed, and this is one of those canceled with it
        item.open_runs -= 1
        if not item.open_runs:
            self._over.append((loops[-1], path))

    def _finish_item(self, over: RunKey) -> None:
        """End an iteration whose node runs are all terminal."""
        loop_id, path = over
        item = self.state.loops[loop_id, path[:-1]].active.get(path[-1])
        if item is None:
            return  # failed meanwhile
        if any(wire.mapping is not None for wire in item.arrived):
            self.touched.results_due.append(over)
        else:
            self.item_succeeded(over, self._plain_result(over, item))

    def _plain_result(self, over: RunKey, item: Item) -> MaybeRaw:
        """Return what an iteration gave, where no mapping has a word in it."""
        loop_id, path = over
        planned = self.plan.nodes[loop_id].loop
        assert planned is not None
        if not planned.back:
            leaves = values.leaves(self.plan, self.state, planned.body, path)
            return values.only_value(leaves) if leaves else NULL
        if not item.arrived:
            return NULL
        came = sorted(item.arrived, key=planned.back.index)
        given = [values.value_over(self.state, wire, path) for wire in came]
        return values.listed(given) if len(planned.back) > 1 else given[0]

    def item_succeeded(self, over: RunKey, value: MaybeRaw) -> None:
        """Keep the result of an iteration, and go on with the next one."""
        loop_id, path = over
        loop = self.state.loops[loop_id, path[:-1]]
        assert value is not UNSET
        loop.active.pop(path[-1])
        keep_result(loop, path[-1], value)
        loop.previous = value
        self._continue_loop((loop_id, path[:-1]), loop)

    def item_failed(self, over: RunKey, failure: Failure) -> None:
        """End an iteration with a failure: what is left of it is canceled, and its loop decides."""
        loop_id, path = over
        key = (loop_id, path[:-1])
        loop = self.state.loops[key]
        loop.active.pop(path[-1])
        self._cancel_item(over)
        loop.failures.append(IterationFailure(path[-1], failure))
        loop.previous = NULL
        if loop.rules.on_item_error is ItemError.STOP:
            self.touched.loops_failed.append((key, failure))
            return
        self.state.continued_errors += 1
        if loop.rules.on_item_error is ItemError.NULL:
            keep_result(loop, path[-1], NULL)
        self._continue_loop(key, loop)

    def _continue_loop(self, key: RunKey, loop: LoopRun) -> None:
        run = self.state.runs[key]
        if run.status is not RUNNING:
            return
        if loop.items is None:
            self.dispatch(key, run)
        else:
            self._fill(key, loop)

    def _fill(self, key: RunKey, loop: LoopRun) -> None:
        """Begin as many iterations as may go at once; without any left, the loop is over."""
        assert loop.total is not None
        while loop.begun < loop.total and len(loop.active) < loop.rules.max_parallel:
            self.begin_item(key)
        if not loop.active:
            self.touched.loops_over.append(key)

    def cancel_loop(self, key: RunKey) -> None:
        """Cancel all iterations of a loop that are under way."""
        loop = self.state.loops.get(key)
        if loop is None:
            return
        active, loop.active = loop.active, {}
        for index in active:
            self._cancel_item((key[0], (*key[1], index)))

    def _cancel_item(self, over: RunKey) -> None:
        loop_id, path = over
        planned = self.plan.nodes[loop_id].loop
        assert planned is not None
        for node_id in planned.body:
            key = (node_id, path)
            run = self.state.runs[key]
            if run.status not in TERMINAL_NODE_RUN:
                self.cancel_loop(key)
                self.end(key, run, NodeRunStatus.CANCELED)


def stands_in(state: ExecutionState, node: PlannedNode) -> bool:
    """Whether a ready node run needs no task: it is disabled, or a pin stands for its output.

    Who executes a node alone wants to see it run.
    """
    created = state.created
    if created.single_node_id == node.id:
        return False
    return node.disabled or (node.pinned is not None and created.mode is Mode.MANUAL)


def keep_result(loop: LoopRun, index: int, value: MaybeRaw) -> None:
    """Keep the result of an iteration: all of them, or where they are not collected the last."""
    assert value is not UNSET
    if not loop.rules.collect:
        if loop.results and index < next(iter(loop.results)):
            return
        loop.results.clear()
    loop.results[index] = value
