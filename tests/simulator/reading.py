"""A history read without the fold, so that a mistake there does not hide itself: what may follow what."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from contracts.execution.plan import Plan, PlannedConnection, PlannedNode, Way
from contracts.history import (
    CarriedRun,
    ChildFinished,
    Event,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    IterationFinished,
    LoopContinued,
    LoopStarted,
    NodeFailed,
    NodeHandedBack,
    NodesSkipped,
    NodeStarted,
    NodeSucceeded,
    NodeWaiting,
    OutputsCarried,
    SignalReceived,
    TimerFired,
    Wait,
)
from contracts.ids import Iteration, RunKey
from contracts.model import OnError
from contracts.statuses import ItemError, TimerKind

Ports = Mapping[str, msgspec.Raw]
NOTHING: Final = object()
"""What stands for an iteration that was left out."""


class Reading:
    """A history read once from its beginning. Every method that takes something in returns what is wrong with it, or None."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._is_started = False
        self._is_paused = False
        self._carried: dict[RunKey, CarriedRun] = {}
        self._ended: dict[RunKey, Ports] = {}
        self._failed: set[RunKey] = set()
        self._attempts: dict[RunKey, int] = {}
        self._pausing: set[RunKey] = set()
        self._retried: set[RunKey] = set()
        self._waiting: dict[RunKey, Wait] = {}
        self._suspended: set[RunKey] = set()
        self._kept: list[SignalReceived] = []
        self._heard: set[str] = set()
        self._children: set[str] = set()
        self._starts: set[tuple[RunKey, int]] = set()
        self._saved: set[tuple[RunKey, str]] = set()
        self._overdue: set[RunKey] = set()
        self._loops: dict[RunKey, LoopStarted] = {}
        self._begun: dict[RunKey, int] = {}
        self._items_failed: set[RunKey] = set()
        self._given: dict[RunKey, msgspec.Raw] = {}

    def read(self, event: Event) -> str | None:
        """Take the next event."""
        key = (event.node_id or "", event.iteration or ())
        match event.data:
            case ExecutionStarted():
                if self._is_started:
                    return "started twice"
                self._is_started = True
            case OutputsCarried():
                self._carried |= {
                    (each.node_id, each.iteration): each for each in event.data.node_runs
                }
                return "carried after the start" if self._is_started else None
            case NodeSucceeded():
                return (
                    self._attempt_ended(key, event)
                    or self._loop_ended(key, event.data.ports)
                    or self._node_run_ended(key, event.data.ports)
                )
            case NodeFailed():
                return self._failed_by(key, event, event.data)
            case NodeWaiting():
                return self._attempt_ended(key, event) or self._begins_to_wait(key, event.data.wait)
            case LoopStarted():
                return self._attempt_ended(key, event) or self._begins_loop(key, event.data)
            case LoopContinued():
                self._begun[key] = self._begun.get(key, 1) + 1  # a carried one begins by itself
                return self._attempt_ended(key, event)
            case IterationFinished():
                return self._iteration_ended(key, event.data)
            case NodesSkipped():
                skipped = [
                    ((ref.node_id, ref.iteration), ref.ports) for ref in event.data.node_runs
                ]
                return next(filter(None, (self._node_run_ended(*each) for each in skipped)), None)
            case TimerFired() if event.node_id is not None:
                return self._timer_fired(key, event.data.timer)
            case SignalReceived():
                return self._signal(None if event.node_id is None else key, event.data)
            case ChildFinished():
                return self._child_ended(key, event.data)
            case NodeHandedBack():
                problem = self._attempt_ended(key, event)
                self._retried.add(key)  # another attempt follows, as after a failure
                return problem
            case NodeStarted():
                return self._handler_called(key, event.attempt or 0)
            case ExecutionPaused() | ExecutionResumed():
                was, self._is_paused = self._is_paused, isinstance(event.data, ExecutionPaused)
                return "paused, or resumed, twice" if was is self._is_paused else None
            case _ if event.kind == "checkpoint_saved":
                return self._saved_call(key, event)
        return None

    # --- attempts --------------------------------------------------------------------------------

    def _attempt_ended(self, key: RunKey, event: Event) -> str | None:
        """An attempt ends once, after all attempts before it, when everything that it waits for has ended.

        What ended in a wait, or began a loop, may go on without another attempt.
        """
        number = event.attempt
        if number is None:
            return None  # a trigger, or a pin: no attempt was made
        if key in self._ended:
            return f"{key} ended, and then attempt {number} did"
        last = self._attempts.get(key, 0)
        may_be = {last + 1}
        if key in self._waiting:
            return f"{key} went on, and nothing ended its wait"
        if last and key not in self._retried and self._goes_on(key):
            may_be.add(last)
        if not last and (key in self._overdue or self._is_open(key)):
            may_be.add(0)
        if number not in may_be or key in self._pausing:
            return f"attempt {number} of {key} ended out of order"
        self._attempts[key] = number
        self._retried.discard(key)
        return self._was_ready(key)

    def _goes_on(self, key: RunKey) -> bool:
        """Whether a node run may end with the attempt that ended before: it waited, or iterates."""
        return key in self._loops or key in self._begun or key in self._suspended

    def _is_open(self, key: RunKey) -> bool:
        carried = self._carried.get(key)
        return carried is not None and carried.loop is not None

    def _failed_by(self, key: RunKey, event: Event, data: NodeFailed) -> str | None:
        problem = self._attempt_ended(key, event)
        if data.retry_at is not None:
            self._pausing.add(key)
            return problem
        self._cancel_below(key)
        problem = problem or self._node_run_ended(key, data.ports)
        self._failed.add(key)
        if data.policy is OnError.STOP and key[1]:
            self._items_failed.add((self._plan.nodes[key[0]].loops[-1], key[1]))
            self._cancel_iteration(self._plan.nodes[key[0]].loops, key[1])
        return problem

    def _cancel_below(self, key: RunKey) -> None:
        """A loop that fails takes its iterations along."""
        node = self._plan.nodes[key[0]]
        if node.loop is not None:
            self._cancel_iteration((*node.loops, key[0]), key[1])

    def _cancel_iteration(self, loops: tuple[str, ...], path: Iteration) -> None:
        for key in list(self._waiting):
            inside = self._plan.nodes[key[0]].loops[: len(loops)] == loops
            if inside and key[1][: len(path)] == path:
                del self._waiting[key]

    def _was_ready(self, key: RunKey) -> str | None:
        node = self._plan.nodes[key[0]]
        wires = node.incoming
        waiting = [each.source for each in wires if not self._is_over(each, key[1])]
        is_early = node.join is not None and (node.join.first or key in self._overdue)
        if waiting and not is_early:
            return f"{key} ran before {waiting} ended"
        if wires and not any(self._is_delivered(each, key[1]) for each in wires):
            return f"{key} ran, and nothing was delivered to it"
        return None

    def _source(self, wire: PlannedConnection, path: Iteration) -> RunKey:
        return wire.source, path[: len(path) - wire.levels]

    def _is_over(self, wire: PlannedConnection, path: Iteration) -> bool:
        source = self._source(wire, path)
        return wire.way is Way.ITEM or source in self._ended or source in self._carried

    def _is_delivered(self, wire: PlannedConnection, path: Iteration) -> bool:
        return wire.way is Way.ITEM or wire.from_port in self._ports(self._source(wire, path))

    def _ports(self, key: RunKey) -> Ports:
        if key in self._ended:
            return self._ended[key]
        carried = self._carried.get(key)
        return (carried.ports if carried is not None else None) or {}

    def _node_run_ended(self, key: RunKey, ports: Ports | None) -> str | None:
        if key in self._ended:
            return f"{key} ended twice"
        carried = self._carried.get(key)
        if carried is not None and carried.ports is not None:
            return f"{key} was carried, and ran"
        self._ended[key] = ports or {}
        return None

    def _handler_called(self, key: RunKey, attempt: int) -> str | None:
        if (key, attempt) in self._starts:
            return f"the handler of attempt {attempt} of {key} was called twice"
        self._starts.add((key, attempt))
        return None

    def _saved_call(self, key: RunKey, event: Event) -> str | None:
        call: str = event.data.key  # type: ignore[union-attr]
        if (key, call) in self._saved:
            return f"{call!r} of {key} was saved twice"
        self._saved.add((key, call))
        return None

    # --- waits -----------------------------------------------------------------------------------

    def _begins_to_wait(self, key: RunKey, wait: Wait) -> str | None:
        """Take a wait; one that a kept signal or answer fits is over at once."""
        self._suspended.add(key)
        for place, signal in enumerate(self._kept):
            if _fits(signal, wait):
                del self._kept[place]
                return None
        self._waiting[key] = wait
        return None

    def _timer_fired(self, key: RunKey, kind: TimerKind) -> str | None:
        if kind is TimerKind.RETRY:
            if key not in self._pausing:
                return f"the pause of {key} ended, and there was none"
            self._pausing.discard(key)
            self._retried.add(key)
            return None
        if self._waiting.pop(key, None) is None:
            if self._plan.nodes[key[0]].join is None:
                return f"a wait of {key} ended, and there was none"
            self._overdue.add(key)
        return None

    def _signal(self, key: RunKey | None, signal: SignalReceived) -> str | None:
        if signal.signal_id in self._heard:
            return f"signal {signal.signal_id!r} was applied twice"
        self._heard.add(signal.signal_id)
        if key is not None:
            wait = self._waiting.pop(key, None)
            return f"{key} got a signal, and did not wait" if wait is None else None
        waiting = [each for each, wait in self._waiting.items() if _fits(signal, wait)]
        if waiting:
            return f"signal {signal.name!r} was kept though {waiting} wait for it"
        self._kept.append(signal)
        return None

    def _child_ended(self, key: RunKey, data: ChildFinished) -> str | None:
        if data.child_execution_id in self._children:
            return f"the end of {data.child_execution_id} was told twice"
        self._children.add(data.child_execution_id)
        wait = self._waiting.pop(key, None)
        if wait is None or wait.child_execution_id != data.child_execution_id:
            return f"{key} did not wait for {data.child_execution_id}"
        return None

    # --- loops -----------------------------------------------------------------------------------

    def _begins_loop(self, key: RunKey, data: LoopStarted) -> str | None:
        if key in self._loops:
            return f"loop {key} began twice"
        self._loops[key] = data
        self._begun[key] = 1
        return None

    def _iteration_ended(self, over: RunKey, data: IterationFinished) -> str | None:
        if over in self._given or over in self._items_failed:
            return f"iteration {over} ended twice"
        if data.failure is not None:
            self._items_failed.add(over)
        else:
            assert isinstance(data.value, msgspec.Raw)
            self._given[over] = data.value
        return None

    def _loop_ended(self, key: RunKey, ports: Ports) -> str | None:
        """A loop gives the results of all its iterations, in their order."""
        node = self._plan.nodes.get(key[0])
        began = self._loops.get(key) or (self._carried[key].loop if self._is_open(key) else None)
        if node is None or node.loop is None or began is None or "complete" not in ports:
            return None
        count = began.total if began.total is not None else max(self._begun.get(key, 1), 1)
        results = [self._result(node, (*key[1], index), began) for index in range(count)]
        failed = [(node.id, (*key[1], index)) in self._items_failed for index in range(count)]
        kept = [each for each in results if each is not NOTHING]
        expected: dict[str, Any] = {"count": count, "failed": sum(failed)}
        if began.rules.collect:
            expected |= {"results": kept, "last": kept[-1] if kept else None}
        found = msgspec.json.decode(ports["complete"])
        wrong = {name: found.get(name) for name in expected if found.get(name) != expected[name]}
        if any(failed) and began.rules.on_item_error is ItemError.STOP:
            return f"loop {key} went on though an iteration failed"
        return f"loop {key} gave {wrong} in place of {expected}" if wrong else None

    def _result(self, node: PlannedNode, path: Iteration, began: LoopStarted) -> Any:
        if (node.id, path) in self._items_failed:
            return NOTHING if began.rules.on_item_error is ItemError.DROP else None
        if (node.id, path) in self._given:
            return msgspec.json.decode(self._given[node.id, path])
        assert node.loop is not None
        if not node.loop.back:
            values = dict(self._leaves(node.loop.body, path))
            if len(values) == 1:
                return next(iter(values.values()))
            return values or None
        came = [
            msgspec.json.decode(self._ports((wire.source, path))[wire.from_port])
            for wire in node.loop.back
            if wire.from_port in self._ports((wire.source, path))
        ]
        if len(node.loop.back) == 1 or not came:
            return came[0] if came else None
        return came

    def _leaves(self, body: tuple[str, ...], path: Iteration) -> Iterator[tuple[str, Any]]:
        for node_id in body:
            ports = self._ports((node_id, path))
            node = self._plan.nodes[node_id]
            port = node.main_output(ports)
            is_leaf = port is not None and node.wired_ports.isdisjoint(ports)
            if is_leaf and port is not None and (node_id, path) not in self._failed:
                yield node_id, msgspec.json.decode(ports[port])


def _fits(signal: SignalReceived, wait: Wait) -> bool:
    if signal.interaction_id is not None:
        return signal.interaction_id == wait.interaction_id
    return signal.name is not None and signal.name == wait.signal
