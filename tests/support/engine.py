"""A small stand-in for the shell around the core: feeds inputs, keeps history, checks every invariant."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from contracts.execution import fold, values
from contracts.execution.plan import Plan, VersionFacts, compile_plan
from contracts.execution.state import ExecutionState
from contracts.failures import Failure, FailureKind
from contracts.history import By, Event, ExecutionCreated
from contracts.ids import RunKey
from contracts.messages import Result, encode
from contracts.model import Connection, ConnectionKind, Document, Node, Settings
from contracts.specs import Catalogue, NodeSpec, Port
from contracts.statuses import (
    EXECUTION_MOVES,
    NODE_RUN_MOVES,
    ExecutionStatus,
    Mode,
    NodeRunStatus,
)
from scheduler.core.advance import advance
from scheduler.core.decision import (
    Admitted,
    AssemblyFailed,
    CancelAsked,
    Decision,
    Input,
    Reported,
    Timer,
    TimerDue,
)

START = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
USER = "019a0000-0000-7000-8000-000000000001"
EXECUTION = "019a0000-0000-7000-8000-00000000000e"

ANY = NodeSpec(
    type="CUSTOM.ANY",
    title="Any",
    outputs=(Port("main"), Port("a"), Port("b")),
)
MANUAL = NodeSpec(type="TRIGGER.MANUAL", title="Manual", inputs=())
EVENT = NodeSpec(type="TRIGGER.EVENT", title="Event", inputs=())
CATALOGUE = Catalogue((ANY, MANUAL, EVENT))


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


def plain_input(plan: Plan, state: ExecutionState, key: RunKey) -> Any:
    """Assemble an input from the first value that arrived: enough where no mapping matters."""
    for _, value in values.delivered(state, plan.nodes[key[0]], key[1]):
        return msgspec.json.decode(value)
    return msgspec.json.decode(state.created.input)


def plain_result(plan: Plan, state: ExecutionState, over: RunKey) -> Any:
    """Return what came back from an iteration, each mapping read as a constant; `FAIL` is a failure."""
    loop_id, path = over
    item = state.loops[loop_id, path[:-1]].active[path[-1]]
    mapping = item.arrived[0].mapping
    assert mapping is not None
    if mapping["expression"] == "FAIL":
        raise AssemblyFailed(Failure(FailureKind.INVALID_EXPRESSION, "missing", "not there"))
    return mapping["expression"]


class Engine:
    """Runs one execution by hand. Every input is followed by a check of all invariants."""

    def __init__(
        self, plan: Plan, *, input: Any = None, mode: Mode = Mode.TRIGGER, trigger: Any = None
    ) -> None:
        created = ExecutionCreated(
            workflow_id="workflow",
            version_id="version",
            user_id=USER,
            mode=mode,
            input=raw(input),
            trigger=trigger,
        )
        self.plan = plan
        self.history = [Event(1, START, created)]
        self.state = fold.create(plan, EXECUTION, self.history[0])
        self.at = START
        self.timers: dict[str, Timer] = {}
        self.tasks: list[tuple[RunKey, int]] = []

    def feed(self, given: Input, *, after: float = 0.001) -> Decision:
        """Advance by one input, `after` seconds later, and check what must hold."""
        self.at += timedelta(seconds=after)
        before = {key: run.status for key, run in self.state.runs.items()}
        status = self.state.status
        decision = advance(
            self.plan,
            self.state,
            given,
            at=self.at,
            input_of=plain_input,
            result_of=plain_result,
        )
        self.history.extend(decision.events)
        for timer in decision.timers:
            self.timers[timer.key] = timer
        for key in decision.cleared:
            self.timers.pop(key, None)
        if self.state.is_terminal:
            self.timers.clear()
        self.tasks.extend((key, self.state.runs[key].attempt) for key in decision.dispatched)
        self._check_moves(before, status)
        self._check_invariants(decision)
        return decision

    def start(self) -> "Engine":
        """Admit the execution."""
        self.feed(Admitted())
        return self

    def succeed(self, node_id: str, attempt: int | None = None, **ports: Any) -> Decision:
        """Report success on these ports (`main` with null by default)."""
        yielded = {port: raw(value) for port, value in (ports or {"main": None}).items()}
        return self.feed(Reported(self.result(node_id, attempt, ports=yielded)))

    def fail(
        self, node_id: str, attempt: int | None = None, *, retryable: bool = False, **fields: Any
    ) -> Decision:
        """Report a failure."""
        failure = Failure(
            fields.pop("kind", FailureKind.ERROR),
            fields.pop("code", "broken"),
            "it broke",
            retryable=retryable,
            **fields,
        )
        return self.feed(Reported(self.result(node_id, attempt, failure=failure)))

    def cancel(self) -> Decision:
        """Cancel by a user."""
        return self.feed(CancelAsked(By("API", USER), "enough"))

    def fire(self, key: str) -> Decision:
        """Let a timer come due."""
        timer = self.timers[key]
        wait = (timer.due_at - self.at).total_seconds()
        due = TimerDue(timer.key, timer.kind, timer.node_id, timer.iteration)
        return self.feed(due, after=max(wait, 0.001))

    def result(self, node_id: str, attempt: int | None = None, **outcome: Any) -> Result:
        """Return a result of a node's current attempt, or of the one named."""
        if attempt is None:
            attempt = self.state.runs[node_id, ()].attempt
        return Result(
            execution_id=EXECUTION,
            node_id=node_id,
            attempt=attempt,
            token="token",
            worker_id="worker",
            started_at="2026-03-28T12:00:00Z",
            finished_at="2026-03-28T12:00:01Z",
            **outcome,
        )

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each node run, by node id."""
        return {key[0]: str(run.status) for key, run in self.state.runs.items()}

    @property
    def kinds(self) -> list[str]:
        """The kinds of history, in order."""
        return [event.kind for event in self.history]

    @property
    def output(self) -> Any:
        """The execution's output."""
        assert self.state.output is not None
        return msgspec.json.decode(self.state.output)

    @property
    def under_way(self) -> set[RunKey]:
        """The node runs with an attempt dispatched."""
        return {key for key, run in self.state.runs.items() if run.has_task}

    def _check_moves(self, before: dict[RunKey, NodeRunStatus], status: ExecutionStatus) -> None:
        after = self.state.status
        assert after is status or after in EXECUTION_MOVES[status], (status, after)
        for key, was in before.items():
            now = self.state.runs[key].status
            # One input may take a node run through RUNNING to its end in one commit.
            through = NODE_RUN_MOVES[was] | {
                end for middle in NODE_RUN_MOVES[was] for end in NODE_RUN_MOVES[middle]
            }
            assert now is was or now in through, (key, was, now)

    def _check_invariants(self, decision: Decision) -> None:
        assert [event.seq for event in self.history] == list(range(1, len(self.history) + 1))
        assert self.state.seq == self.history[-1].seq
        assert fold.replay(self.plan, EXECUTION, self.history) == self.state
        assert self.state.outstanding == len(self.under_way)
        unfinished = [run for run in self.state.runs.values() if not run.status.is_terminal]
        assert self.state.open_runs == len(unfinished)
        assert self.under_way >= set(decision.dispatched)
        if self.state.is_terminal:
            assert not unfinished
        elif self.state.started_at is not None:
            reasons = (self.under_way, self.timers, self.state.waits, self.state.held)
            assert any(reasons), "nothing is stuck without a reason"
