"""Executions by chance: graphs, what each attempt does, and an order in which all of it arrives.

All follows from seeds. What an attempt does follows from its node run and its number alone, so that two
orders of the same seed have the same to do. A `calm` seed has nothing in it that an order could decide.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from contracts.execution import fold
from contracts.execution.plan import Plan
from contracts.failures import Failure, FailureKind
from contracts.history import CarriedRun, LoopRules
from contracts.ids import RunKey
from contracts.messages import ChildOrder, Head, InteractionOrder, LoopOrder, Result, WaitOrder
from contracts.model import Connection, Delivery, Node, OnError, RetryPolicy, Settings
from contracts.statuses import ExecutionStatus, ItemError, Mode, WaitKind
from scheduler.core.decision import (
    EARLY,
    Admitted,
    AttemptLost,
    CallFinished,
    CancelAsked,
    ChildEnded,
    EndWaitAsked,
    HandlerStarts,
    Input,
    PauseAsked,
    Reported,
    SignalSent,
    TimerDue,
    UnpauseAsked,
)
from tests.support.engine import (
    CHILD,
    EXECUTION,
    SOMEBODY,
    Engine,
    compiled,
    document,
    failure,
    name_of,
    node,
    raw,
    wire,
)

SIGNALS: Final = ("red", "green")
RETRIES: Final = (
    None,
    RetryPolicy(max_tries=2, wait_between_tries=1),
    RetryPolicy(retry_on=("ANY",)),
)
GOES_ON: Final = (OnError.CONTINUE_ERROR, OnError.CONTINUE_REGULAR)
OTHER_PORTS: Final = {
    "CUSTOM.ANY": ["a", "b", "error"],
    "CUSTOM.YIELDS": ["timeout", "error"],
    "CUSTOM.GOES_ON": ["timeout", "error"],
}
MOST_STEPS: Final = 4_000


class Case(NamedTuple):
    """A graph and a seed of what its attempts do. `calm`: no order of inputs decides anything."""

    plan: Plan
    seed: int
    calm: bool


# --- graphs --------------------------------------------------------------------------------------


def case(seed: int, size: int, *, calm: bool) -> Case:
    """Return a case of about so many nodes."""
    return Case(_Graph(random.Random(f"graph {seed}"), size, calm).plan(), seed, calm)


class _Graph:
    """Grows a graph scope by scope: connections lead from earlier to later nodes, and into bodies."""

    def __init__(self, chance: random.Random, size: int, calm: bool) -> None:
        self._chance = chance
        self._left = size
        self._calm = calm
        self._nodes: list[Node] = []
        self._wires: dict[tuple[str, str, str, str], Connection] = {}

    def plan(self) -> Plan:
        self._scope(None, [], 0)
        chance = self._chance
        settings = Settings(
            on_error=GOES_ON[0],
            timeout=None if self._calm or chance.random() < 0.8 else chance.uniform(1, 90),
        )
        wires = list(self._wires.values())
        pins = {each.id: {"pinned": each.id} for each in self._nodes if chance.random() < 0.05}
        return compiled(document(self._nodes, wires, settings, pin_data=pins))

    def _scope(self, loop: str | None, outside: Sequence[Node], depth: int) -> None:
        """Add the nodes outside of loops, or a body with what leads back from it."""
        chance = self._chance
        inside: list[Node] = []
        for _ in range(chance.randint(1, 6 - depth) if depth else 12):
            if inside and self._left <= 0:
                break
            self._left -= 1
            made = self._node(depth)
            self._nodes.append(made)
            self._lead_to(made, loop, inside, outside)
            if made.type == "FLOW.LOOP" and self._left > 0 and chance.random() < 0.9:
                self._scope(made.id, [*outside, *inside], depth + 1)
            inside.append(made)
        if loop is not None:
            for each in inside:
                if chance.random() < 0.5:
                    self._wire(each, loop, "loop_body", self._mapping())

    def _node(self, depth: int) -> Node:
        chance = self._chance
        kinds = ["CUSTOM.ANY"] * 6 + ["FLOW.MERGE", "CUSTOM.YIELDS", "CUSTOM.GOES_ON"]
        if depth < 3:
            kinds += ["FLOW.LOOP"] * 2
        kind = chance.choice(kinds)
        parameters: dict[str, Any] = {}
        if kind == "FLOW.MERGE" and not self._calm:
            if chance.random() < 0.4:
                parameters["wait_for"] = "first"
            if chance.random() < 0.5:
                parameters |= {"max_wait": 5, "on_timeout": chance.choice(["FAIL", "PROCEED"])}
        stops = not self._calm and chance.random() < (0.3 if depth else 0.1)
        return node(
            f"n{len(self._nodes)}",
            kind,
            parameters=parameters,
            on_error=OnError.STOP if stops else chance.choice(GOES_ON),
            retry_policy=chance.choice(RETRIES),
            disabled=chance.random() < 0.08,
            delivery=chance.choice([None, None, Delivery.AT_MOST_ONCE]),
        )

    def _lead_to(
        self, made: Node, loop: str | None, inside: Sequence[Node], outside: Sequence[Node]
    ) -> None:
        chance = self._chance
        before = [each for each in inside if chance.random() < 1.5 / len(inside)]
        for each in before:
            self._wire(each, made.id, "main")
        if loop is not None:
            if not before or chance.random() < 0.2:
                self._add(wire(f"{loop}.iteration -> {made.id}"))
            for each in outside:
                if chance.random() < 0.15:
                    self._wire(each, made.id, chance.choice(["main", "input1"]))

    def _wire(
        self, source: Node, target: str, to_port: str, mapping: dict[str, Any] | None = None
    ) -> None:
        main = "complete" if source.type == "FLOW.LOOP" else "main"
        port = self._chance.choice([main] * 5 + OTHER_PORTS.get(source.type, ["error"]))
        self._add(wire(f"{source.id}.{port} -> {target}.{to_port}", mapping=mapping))

    def _add(self, made: Connection) -> None:
        self._wires[made.source, made.from_port, made.target, made.to_port] = made

    def _mapping(self) -> dict[str, Any] | None:
        drawn = self._chance.random()
        if drawn < 0.7:
            return None
        expression = "input" if drawn < 0.9 else "input.not.there"
        return {"type": "TRANSFORM", "expression": expression}


# --- what attempts do ----------------------------------------------------------------------------


def report_of(engine: Engine, case: Case, key: RunKey, attempt: int) -> Input:
    """Return what an attempt comes to."""
    chance = random.Random(f"{case.seed} {key} {attempt}")
    name = name_of(key)
    if chance.random() < 0.04:
        lost = Failure(FailureKind.WORKER_LOST, "deliveries_exhausted", "gone")
        return AttemptLost(*key, attempt, lost)
    if chance.random() < 0.15:
        broken = failure(retryable=chance.random() < 0.7)
        return Reported(engine.result(name, attempt, failure=broken))
    outcome: dict[str, Any] = {}
    child = None
    match case.plan.nodes[key[0]].type:
        case "FLOW.LOOP":
            outcome["loop"] = _loop(chance, case, key, attempt)
        case "CUSTOM.YIELDS" | "CUSTOM.GOES_ON" as kind if attempt < 3 or kind == "CUSTOM.YIELDS":
            outcome["wait"] = _wait(chance, case, kind)
            child = CHILD if chance.random() < 0.9 else failure(code="not_published")
    if not outcome:
        ports = case.plan.nodes[key[0]].output_ports[:-1]
        yielded = [port for port in ports if chance.random() < (0.9 if port == "main" else 0.4)]
        outcome["ports"] = {port: raw({port: name}) for port in yielded}
    return Reported(engine.result(name, attempt, **outcome), child)


def _loop(chance: random.Random, case: Case, key: RunKey, attempt: int) -> LoopOrder:
    """Return the items of a loop, or that one on a condition goes on: which it is follows from the node run."""
    of_loop = random.Random(f"{case.seed} {key}")
    at_once = of_loop.choice([1, 1, 2, 5])
    errors = [ItemError.NULL, ItemError.DROP]
    if not case.calm or at_once == 1:
        errors.append(ItemError.STOP)
    rules = LoopRules(
        batch_size=of_loop.choice([1, 1, 2]),
        max_parallel=at_once,
        on_item_error=of_loop.choice(errors),
        collect=of_loop.random() < 0.8,
    )
    if of_loop.random() < 0.3:
        rules = msgspec.structs.replace(rules, max_parallel=1)
        return LoopOrder(goes_on=attempt < 4 and chance.random() < 0.7, rules=rules)
    return LoopOrder(items=raw(list(range(of_loop.choice([0, 1, 2, 3, 4])))), rules=rules)


def _wait(chance: random.Random, case: Case, kind: str) -> WaitOrder:
    """Return a wait; only where an order may decide can two things end it."""
    seconds = None if case.calm else chance.choice([None, 3.0])
    check = None if case.calm or kind == "CUSTOM.YIELDS" else chance.choice([None, 1.0])
    question = InteractionOrder(kind="approval", title="?")
    match chance.choice(["timer", "question", "child", "apart"] + ["signal"] * (not case.calm)):
        case "timer":
            return WaitOrder(kind=WaitKind.TIMER, seconds=chance.choice([0.0, 2.0]))
        case "question":
            return WaitOrder(
                kind=WaitKind.INTERACTION,
                interaction=question,
                seconds=seconds,
                check_seconds=check,
            )
        case "signal":
            return WaitOrder(
                kind=WaitKind.SIGNAL,
                signal=chance.choice(SIGNALS),
                seconds=seconds,
                check_seconds=check,
            )
        case other:
            child = ChildOrder(workflow="child", is_detached=other == "apart")
            return WaitOrder(kind=WaitKind.CHILD, child=child)


def end_of_wait(engine: Engine, case: Case, key: RunKey) -> Input | None:
    """Return what people or children do about a wait; None where only a timer ends it."""
    run = engine.state.runs[key]
    wait = run.wait
    assert wait is not None
    chance = random.Random(f"{case.seed} {key} {run.attempt} wait")
    if wait.kind is WaitKind.CHILD:
        assert wait.child_execution_id is not None
        status = chance.choice([ExecutionStatus.SUCCESS] * 3 + [ExecutionStatus.ERROR])
        if chance.random() < 0.1:
            status = ExecutionStatus.CANCELED
        return ChildEnded(
            node_id=key[0],
            iteration=key[1],
            child_execution_id=wait.child_execution_id,
            status=status,
            output=raw("of a child"),
            failure=failure() if status is ExecutionStatus.ERROR else None,
        )
    if wait.kind is WaitKind.INTERACTION:
        return EndWaitAsked(
            signal_id=f"answer {wait.interaction_id}",
            interaction_id=wait.interaction_id,
            data=raw("answered"),
            by=SOMEBODY,
        )
    if wait.kind is WaitKind.SIGNAL:
        return SignalSent(
            signal_id=f"signal {key} {run.attempt}", name=wait.signal or "", by=SOMEBODY
        )
    return None


def going_on(result: Result, node_id: str) -> Result:
    """Return a result whose worker works on another node since."""
    return msgspec.structs.replace(result, goes_on=node_id)


def _same(given: Input) -> Input:
    return given


# --- an order ------------------------------------------------------------------------------------


class Order:
    """Drives an execution to its end: what may arrive next arrives in an order of chance, some of it twice."""

    def __init__(
        self,
        case: Case,
        seed: int,
        *,
        ends_early: bool = False,
        forgets: bool = False,
        in_segments: bool = True,
        carried: Iterable[CarriedRun] = (),
        alone: str | None = None,
    ) -> None:
        self.case = case
        self.engine = Engine(
            case.plan,
            input={"seed": case.seed},
            mode=Mode.MANUAL if case.seed % 2 else Mode.TRIGGER,
            carried=carried,
            by_chance=True,
            single_node_id=alone,
        )
        self._chance = random.Random(f"order {seed}")
        self._given: list[Input] = []
        self._ends_early = ends_early
        self._forgetting = random.Random(seed) if forgets else None
        self._going_on = random.Random(f"segments {seed}") if in_segments else None

    def run(self) -> Engine:
        """Go on until the execution is over, and then a little further."""
        if self._chance.random() < 0.1:
            self._feed(PauseAsked(SOMEBODY))
        self._feed(Admitted())
        steps = 0
        while not self.engine.state.is_terminal:
            steps += 1
            assert steps < MOST_STEPS, "every execution ends"
            self._step()
        for given in self._given[-20:]:
            assert self.engine.feed(given).refused == "already_finished"
        return self.engine

    def _step(self) -> None:
        chance = self._chance
        if self._forgetting is not None and self._forgetting.random() < 0.3:
            engine = self.engine
            engine.state = fold.replay(engine.plan, EXECUTION, engine.history)
        drawn = chance.random()
        if drawn < 0.15 and self._given:
            self.engine.feed(chance.choice(self._given))
        elif drawn < 0.25:
            self._feed(chance.choice(self._operations())())
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Feed one of the things that may come next; where nothing may, end the pause."""
        next_ones = self._next()
        if next_ones:
            self._feed(self._chance.choice(next_ones)())
        else:
            assert self.engine.state.paused, "something may always come next"
            self._feed(UnpauseAsked(SOMEBODY))

    def _next(self) -> list[Callable[[], Input]]:
        engine = self.engine
        timers = (key for key in sorted(engine.timers) if key != "execution_timeout")
        ends = (end_of_wait(engine, self.case, key) for key in engine.state.waits)
        return [
            *(partial(self._of_attempt, key) for key in sorted(engine.under_way)),
            *(partial(self._of_timer, key) for key in timers),
            *(partial(_same, given) for given in ends if given is not None),
        ]

    def _of_attempt(self, key: RunKey) -> Input:
        engine, chance = self.engine, self._chance
        run = engine.state.runs[key]
        if chance.random() < 0.1:
            name = f"call {chance.randint(1, 2)}"
            return CallFinished(*key, run.attempt, name, raw(name), head=run.head)
        if engine.plan.nodes[key[0]].delivery is Delivery.AT_MOST_ONCE:
            if run.started_as is None:
                return HandlerStarts(*key, run.attempt, "worker", "first")
            if not self.case.calm and chance.random() < 0.1:
                return HandlerStarts(*key, run.attempt, "worker", "second")
        given = report_of(engine, self.case, key, run.attempt)
        return self._followed(key, given) if isinstance(given, Reported) else given

    def _followed(self, key: RunKey, given: Reported) -> Reported:
        """Let the worker go on by itself, perhaps; what it says next may overtake what it said before."""
        chance, result = self._going_on, given.result
        if chance is None or not result.ports or len(result.ports) > 1 or chance.random() < 0.2:
            return given
        [port] = result.ports
        next_ones = [
            node.id
            for node in self.case.plan.nodes.values()
            if node.follows is not None
            and (node.follows.source, node.follows.from_port) == (key[0], port)
        ]
        if not next_ones:
            return given
        head = result.head or Head(key[0], result.attempt)
        followed = msgspec.structs.replace(given, result=going_on(result, next_ones[0]))
        if chance.random() < 0.3:
            overtaking = self.engine.result(
                name_of((next_ones[0], key[1])), 1, ports={"main": raw("early")}, head=head
            )
            assert self.engine.feed(Reported(overtaking)).refused == EARLY
        return followed

    def _of_timer(self, key: str) -> Input:
        timer = self.engine.timers[key]
        self.engine.at = max(self.engine.at, timer.due_at)
        return TimerDue(timer.key, timer.kind, timer.node_id, timer.iteration)

    def _operations(self) -> list[Callable[[], Input]]:
        """Return what people may do at any moment."""
        found: list[Callable[[], Input]] = [
            lambda: PauseAsked(SOMEBODY),
            lambda: UnpauseAsked(SOMEBODY),
            lambda: UnpauseAsked(SOMEBODY),
            lambda: Admitted(),
        ]
        if self.case.calm:
            return found
        chance, number = self._chance, len(self._given)
        found += [
            lambda: SignalSent(signal_id=f"s{number}", name=chance.choice(SIGNALS), by=SOMEBODY),
            lambda: EndWaitAsked(signal_id=f"e{number}", by=SOMEBODY),
        ]
        if "execution_timeout" in self.engine.timers and chance.random() < 0.2:
            found.append(lambda: self._of_timer("execution_timeout"))
        if self._ends_early:
            found.append(lambda: CancelAsked(SOMEBODY))
        return found

    def _feed(self, given: Input) -> None:
        self._given.append(given)
        self.engine.feed(given)
