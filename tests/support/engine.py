"""A small stand-in for the shell around the core: feeds inputs, keeps history, checks every invariant."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from contracts import history
from contracts.execution import fold
from contracts.execution.plan import Plan, VersionFacts, compile_plan
from contracts.failures import Failure, FailureKind
from contracts.history import (
    By,
    CarriedRun,
    Event,
    EventData,
    ExecutionCreated,
    LoopRules,
    OutputsCarried,
)
from contracts.ids import RunKey, iteration_text, read_iteration
from contracts.interactions import Answer, Responder
from contracts.messages import ChildOrder, InteractionOrder, LoopOrder, Result, WaitOrder, encode
from contracts.model import Connection, ConnectionKind, Document, Node, Settings
from contracts.specs import Catalogue, NodeSpec, Parameter, Port
from contracts.statuses import (
    EXECUTION_MOVES,
    NODE_RUN_MOVES,
    ExecutionStatus,
    Mode,
    NodeRunStatus,
    WaitKind,
)
from scheduler.core.advance import advance
from scheduler.core.decision import (
    Admitted,
    AnswerGiven,
    CallFinished,
    CancelAsked,
    ChildEnded,
    Decision,
    EndWaitAsked,
    HandlerStarts,
    Input,
    NewChild,
    NewInteraction,
    PauseAsked,
    Reported,
    SignalSent,
    Target,
    Timer,
    TimerDue,
    UnpauseAsked,
)
from tests.support import assembling, exercised, invariants

START = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
USER = "019a0000-0000-7000-8000-000000000001"
EXECUTION = "019a0000-0000-7000-8000-00000000000e"
SOMEBODY = By("API", USER)
CHILD = Target(workflow_id="child", version_id="child-1")


def _ports(*names: str) -> tuple[Port, ...]:
    return tuple(map(Port, names))


ANY = NodeSpec(type="CUSTOM.ANY", title="Any", outputs=_ports("main", "a", "b"))
MANUAL = NodeSpec(type="TRIGGER.MANUAL", title="Manual", inputs=())
EVENT = NodeSpec(type="TRIGGER.EVENT", title="Event", inputs=())
LOOP = NodeSpec(
    type="FLOW.LOOP",
    title="Loop",
    inputs=_ports("main", "loop_body"),
    outputs=_ports("iteration", "complete"),
    pass_through="complete",
)
MERGE = NodeSpec(
    type="FLOW.MERGE",
    title="Merge",
    inputs=_ports("main", "input1", "input2"),
    parameters=tuple(Parameter(name=name) for name in ("wait_for", "max_wait", "on_timeout")),
)
YIELDS = NodeSpec(
    type="CUSTOM.YIELDS",
    title="Waits, and yields what came",
    outputs=_ports("main", "a", "timeout"),
)
GOES_ON = NodeSpec(
    type="CUSTOM.GOES_ON",
    title="Waits, and is dispatched again with what came",
    outputs=_ports("main", "timeout"),
    after_wait="dispatch",
)
CATALOGUE = Catalogue((ANY, MANUAL, EVENT, LOOP, MERGE, YIELDS, GOES_ON))


def node(node_id: str, node_type: str = "CUSTOM.ANY", **fields: Any) -> Node:
    """Return a node with only what a test is about."""
    return Node(id=node_id, name=node_id, type=node_type, **fields)


def wire(text: str, **fields: Any) -> Connection:
    """Return a MAIN connection from text such as `a.true -> b`."""
    left, right = (end.strip() for end in text.split("->"))
    source, _, from_port = left.partition(".")
    target, _, to_port = right.partition(".")
    return Connection(
        source=source,
        target=target,
        from_port=from_port or "main",
        to_port=to_port or "main",
        kind=ConnectionKind.MAIN,
        **fields,
    )


def document(
    nodes: list[Node],
    connections: list[Connection],
    settings: Settings | None = None,
    **fields: Any,
) -> Document:
    """Return a document of these nodes and connections."""
    return Document(
        name="test",
        nodes=tuple(nodes),
        connections=tuple(connections),
        settings=settings or Settings(),
        **fields,
    )


def compiled(wanted: Document) -> Plan:
    """Return the plan of a document."""
    facts = VersionFacts(version_id="version", workflow_id="workflow", version=1)
    return compile_plan(wanted, facts, CATALOGUE)


def raw(value: Any) -> msgspec.Raw:
    """Return a value as the bytes that travel."""
    return msgspec.Raw(encode(value))


def key_of(text: str) -> RunKey:
    """Return the node run that text names: `work`, or `work@4-17` in an iteration."""
    node_id, _, path = text.partition("@")
    return node_id, read_iteration(path or "_")


def name_of(key: RunKey) -> str:
    """Return the name of a node run, the other way round."""
    return f"{key[0]}@{iteration_text(key[1])}" if key[1] else key[0]


class Engine:
    """Runs one execution by hand. Every input is followed by a check of all that must hold.

    Node runs are named `work`, inside of loops `work@4-17`. `checked` is false where the graph is so large
    that counting everything anew takes too long; `by_chance` where a test does not know what it does.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        input: Any = None,
        mode: Mode = Mode.TRIGGER,
        carried: Iterable[CarriedRun] = (),
        failure_target: Target | None = None,
        checked: bool = True,
        by_chance: bool = False,
        **created: Any,
    ) -> None:
        data = ExecutionCreated(
            workflow_id="workflow",
            version_id="version",
            user_id=USER,
            mode=mode,
            input=raw(input),
            **created,
        )
        self.plan = plan
        self.at = START
        self.history = [Event(1, START, data)]
        self.decisions: list[tuple[Input, Decision]] = []
        self.state = fold.create(plan, EXECUTION, self.history[0])
        self.timers: dict[str, Timer] = {}
        self.tasks: list[tuple[RunKey, int]] = []
        self.children: dict[str, NewChild] = {}
        self.orphans: list[str] = []
        self.open: dict[str, NewInteraction] = {}
        self.closed: dict[str, str] = {}
        self._ready_at: dict[RunKey, datetime] = {}
        self._stored = fold.create(plan, EXECUTION, self.history[0])
        self._failure_target = failure_target
        self._checked = checked
        self._by_chance = by_chance
        for each in carried:
            event = Event(self.state.seq + 1, START, OutputsCarried((each,)))
            fold.apply(plan, self.state, event)
            self._store(event)

    def feed(self, given: Input, *, after: float = 0.001) -> Decision:
        """Advance by one input, `after` seconds later, and check what must hold."""
        self.at += timedelta(seconds=after)
        exercised.note_input(self.state, given, by_chance=self._by_chance)
        before = {key: run.status for key, run in self.state.runs.items()} if self._checked else {}
        status, seq = self.state.status, self.state.seq
        decision = advance(
            self.plan,
            self.state,
            given,
            at=self.at,
            input_of=assembling.input_of,
            result_of=assembling.result_of,
            failure_target=self._failure_target,
        )
        self.decisions.append((given, decision))
        is_told = decision.refused is not None or decision.returned is not None
        assert decision.events or is_told, "an input changes something, is answered or refused"
        assert self.state.seq == seq + len(decision.events)
        self._carry_out(decision)
        for event in decision.events:
            self._store(event)
        if self._checked:
            self._check(decision, before, status)
        return decision

    # --- inputs ------------------------------------------------------------------------------

    def start(self, *, has_slot: bool = False) -> "Engine":
        """Admit the execution."""
        self.feed(Admitted(has_slot))
        return self

    def report(
        self,
        name: str,
        attempt: int | None = None,
        *,
        child: Target | Failure | None = None,
        **outcome: Any,
    ) -> Decision:
        """Report the end of a node run's current attempt, or of the one named."""
        return self.feed(Reported(self.result(name, attempt, **outcome), child))

    def succeed(self, name: str, attempt: int | None = None, **ports: Any) -> Decision:
        """Report success on these ports (`main` with null by default)."""
        yielded = {port: raw(value) for port, value in (ports or {"main": None}).items()}
        return self.report(name, attempt, ports=yielded)

    def fail(
        self, name: str, attempt: int | None = None, *, retryable: bool = False, **fields: Any
    ) -> Decision:
        """Report a failure."""
        return self.report(name, attempt, failure=failure(retryable=retryable, **fields))

    def iterate(self, name: str, items: list[Any] | None = None, **rules: Any) -> Decision:
        """Report that a loop begins: over items, or without on a condition, which holds for once."""
        order = LoopOrder(
            items=msgspec.UNSET if items is None else raw(items), rules=LoopRules(**rules)
        )
        return self.report(name, loop=order)

    def stop_iterating(self, name: str) -> Decision:
        """Report that the condition of a loop does not hold any more."""
        return self.report(name, loop=LoopOrder(goes_on=False))

    def wait(self, name: str, kind: WaitKind, **order: Any) -> Decision:
        """Report that a node run wants to wait."""
        return self.report(name, wait=WaitOrder(kind=kind, **order))

    def ask(self, name: str, question: dict[str, Any] | None = None, **order: Any) -> str:
        """Report that a node run waits for the answer to a new question, and return its id."""
        asked = {"kind": "approval", "title": "Send it?", **(question or {})}
        decision = self.wait(
            name, WaitKind.INTERACTION, interaction=InteractionOrder(**asked), **order
        )
        return decision.opened[0].id

    def start_child(
        self, name: str, target: Target | Failure | None = CHILD, **order: Any
    ) -> Decision:
        """Report that a node run wants to start a child; `target` is what is found for its workflow."""
        order = {"workflow": "child", "input": raw({"for": "the child"})} | order
        wait = WaitOrder(kind=WaitKind.CHILD, child=ChildOrder(**order))
        return self.report(name, child=target, wait=wait)

    def fire(self, key: str) -> Decision:
        """Let a timer come due."""
        timer = self.timers[key]
        wait = (timer.due_at - self.at).total_seconds()
        due = TimerDue(timer.key, timer.kind, timer.node_id, timer.iteration)
        return self.feed(due, after=max(wait, 0.001))

    def signal(self, name: str, data: Any = None, *, signal_id: str | None = None) -> Decision:
        """Send a signal."""
        signal_id = signal_id or f"signal-{len(self.state.heard)}"
        given = SignalSent(signal_id=signal_id, name=name, data=raw(data), by=SOMEBODY)
        return self.feed(given)

    def end_wait(
        self, name: str | None = None, data: Any = None, *, signal_id: str = "", **about: Any
    ) -> Decision:
        """Let somebody end a wait, or answer a question."""
        node_id, iteration = key_of(name) if name is not None else (None, None)
        given = EndWaitAsked(
            signal_id=signal_id or f"signal-{len(self.state.heard)}",
            node_id=node_id,
            iteration=iteration,
            data=raw(data),
            by=SOMEBODY,
            **about,
        )
        return self.feed(given)

    def answer(self, interaction_id: str, who: str = "ada", **answer: Any) -> Decision:
        """Let somebody answer a question; an approval, unless the fields say otherwise."""
        approved = answer.setdefault("approved", True)
        answer.setdefault("port", {True: "approved", False: "rejected"}.get(approved, "answered"))
        responder = Responder(id=who, channel="API")
        said = Answer(responder=responder, responded_at=self.at, **answer)
        given = AnswerGiven(
            signal_id=f"answer-{len(self.state.heard)}",
            interaction_id=interaction_id,
            answer=said,
            by=SOMEBODY,
        )
        return self.feed(given)

    def end_child(
        self,
        name: str,
        status: ExecutionStatus = ExecutionStatus.SUCCESS,
        *,
        child_id: str | None = None,
        **about: Any,
    ) -> Decision:
        """Tell that the child is over that a node run waits for."""
        node_id, iteration = key_of(name)
        if child_id is None:
            wait = self.state.runs[node_id, iteration].wait
            assert wait is not None
            assert wait.child_execution_id is not None
            child_id = wait.child_execution_id
        given = ChildEnded(
            node_id=node_id,
            iteration=iteration,
            child_execution_id=child_id,
            status=status,
            **about,
        )
        return self.feed(given)

    def call_handler(self, name: str, delivery: str = "first") -> Decision:
        """Ask whether the handler of an at-most-once attempt may be called."""
        key = key_of(name)
        return self.feed(HandlerStarts(*key, self.state.runs[key].attempt, "worker", delivery))

    def checkpoint(self, name: str, key: str, value: Any = None, **fields: Any) -> Decision:
        """Save a finished call."""
        run = key_of(name)
        attempt, head = self.state.runs[run].attempt, self.state.runs[run].head
        return self.feed(CallFinished(*run, attempt, key, raw(value), head=head, **fields))

    def cancel(self) -> Decision:
        """Cancel by a user."""
        return self.feed(CancelAsked(SOMEBODY, "enough"))

    def pause(self) -> Decision:
        """Pause by a user."""
        return self.feed(PauseAsked(SOMEBODY))

    def resume(self) -> Decision:
        """End the pause."""
        return self.feed(UnpauseAsked(SOMEBODY))

    def result(self, name: str, attempt: int | None = None, **outcome: Any) -> Result:
        """Return a result of a node run's current attempt, or of the one named."""
        node_id, iteration = key_of(name)
        run = self.state.runs.get((node_id, iteration))
        if attempt is None:
            assert run is not None
            attempt = run.attempt
        if run is not None and run.attempt == attempt:
            outcome.setdefault("head", run.head)
        return Result(
            execution_id=EXECUTION,
            node_id=node_id,
            iteration=iteration,
            attempt=attempt,
            token="token",
            worker_id="worker",
            started_at="2026-03-28T12:00:00Z",
            finished_at="2026-03-28T12:00:01Z",
            **outcome,
        )

    # --- what is to be seen ------------------------------------------------------------------

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each node run, by name."""
        return {name_of(key): str(run.status) for key, run in self.state.runs.items()}

    @property
    def kinds(self) -> list[str]:
        """The kinds of history, in order."""
        return [event.kind for event in self.history]

    @property
    def status(self) -> ExecutionStatus:
        """The execution's status."""
        return self.state.status

    @property
    def output(self) -> Any:
        """The execution's output."""
        assert self.state.output is not None
        return msgspec.json.decode(self.state.output)

    def value(self, name: str, port: str = "main") -> Any:
        """Return what a node run yielded on a port."""
        ports = self.state.runs[key_of(name)].ports
        assert ports is not None
        return msgspec.json.decode(ports[port])

    def input(self, name: str) -> Any:
        """Return the input of a node run."""
        return assembling.input_of(self.plan, self.state, key_of(name))

    @property
    def under_way(self) -> set[RunKey]:
        """The node runs with an attempt dispatched."""
        return {key for key, run in self.state.runs.items() if run.has_task}

    @property
    def dispatched(self) -> list[str]:
        """The names of the node runs that were dispatched, in order, each as often as it was."""
        return [name_of(key) for key, _ in self.tasks]

    def events(self, kind: str) -> list[EventData]:
        """Return the data of all events of a kind."""
        return [event.data for event in self.history if event.kind == kind]

    # --- the shell ---------------------------------------------------------------------------

    def _carry_out(self, decision: Decision) -> None:
        for key in decision.cleared:
            self.timers.pop(key, None)
        for timer in decision.timers:
            assert timer.key not in self.timers, "no two timers share a key"
            self.timers[timer.key] = timer
        if self.state.is_terminal:
            self.timers.clear()
        self.tasks.extend((key, self.state.runs[key].attempt) for key in decision.dispatched)
        for child in decision.children:
            assert child.id not in self.children, "no child is started twice"
            self.children[child.id] = child
        self.orphans.extend(decision.orphans)
        for question in decision.opened:
            assert question.id not in self.open
            assert question.id not in self.closed
            self.open[question.id] = question
        for change in decision.changed:
            assert change.id in self.open
        for end in decision.closed:
            del self.open[end.id]
            self.closed[end.id] = end.status

    def _store(self, event: Event) -> None:
        """Keep an event, and fold what will be read of it again into a state of its own."""
        self.history.append(event)
        stored = msgspec.structs.replace(
            event, data=history.decode_data(event.kind, history.encode_data(event.data))
        )
        exercised.note_event(self._stored, stored, by_chance=self._by_chance)
        fold.apply(self.plan, self._stored, stored)

    def _check(
        self, decision: Decision, before: dict[RunKey, NodeRunStatus], status: ExecutionStatus
    ) -> None:
        assert self._stored == self.state, "the fold of history is the state"
        assert self.state.seq == self.history[-1].seq == len(self.history)
        assert self.under_way >= set(decision.dispatched)
        assert set(self.open) == set(self.state.questions)
        after = self.state.status
        assert after is status or after in EXECUTION_MOVES[status], (status, after)
        for key, was in before.items():
            self._check_move(key, was)
        invariants.check(self.plan, self.state, self.timers)

    def _check_move(self, key: RunKey, was: NodeRunStatus) -> None:
        run = self.state.runs[key]
        # One input may take a node run through RUNNING to its end in one commit.
        through = NODE_RUN_MOVES[was] | {
            end for middle in NODE_RUN_MOVES[was] for end in NODE_RUN_MOVES[middle]
        }
        assert run.status is was or run.status in through, (key, was, run.status)
        if run.ready_at is not None:
            ready_at = self._ready_at.setdefault(key, run.ready_at)
            assert run.ready_at == ready_at, "a node run becomes ready at most once"


def failure(**fields: Any) -> Failure:
    """Return a failure of which only some fields matter."""
    return Failure(
        fields.pop("kind", FailureKind.ERROR),
        fields.pop("code", "broken"),
        fields.pop("message", "it broke"),
        **fields,
    )


def timer_of(name: str, kind: str, attempt: int = 1) -> str:
    """Return the key of a timer of a node run."""
    node_id, iteration = key_of(name)
    return f"{kind.lower()}:{node_id}:{iteration_text(iteration)}:{attempt}"
