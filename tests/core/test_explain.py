"""Why an execution is where it is: one test per cause, and the promise that there is always one."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from contracts.execution import explain
from contracts.execution.explain import (
    Cause,
    Explanation,
    Facts,
    LineFact,
    Said,
    TaskFact,
    WorkerFact,
)
from contracts.failures import Failure, FailureKind
from contracts.history import By, Slot
from contracts.statuses import ExecutionStatus, ItemError, WaitKind
from tests.core.graphs import CONTINUE, ONE_TRY, RETRY, graph, line, over, run
from tests.support.engine import SOMEBODY, START, Engine, key_of

FLEET = "CUSTOM.ANY"
WORKER = WorkerFact(id="w1", slots=8, busy=3, last_seen_at=START)
QUEUED = TaskFact(is_queued=True)
DELIVERED = TaskFact(is_delivered=True)
GONE = TaskFact()

SURROUNDINGS: tuple[dict[str, Any], ...] = (
    {},
    {"workers": {}},
    {"queues": None},
    {"schedulers": 0},
)


def explained(engine: Engine, **facts: Any) -> Explanation:
    """Explain an execution, with one live worker unless facts say otherwise."""
    given = {"now": engine.at, "workers": {FLEET: (WORKER,)}, "queues": {FLEET: 7}, **facts}
    return explain.explain(engine.plan, engine.state, Facts(**given))


def tasks(engine: Engine, fact: TaskFact) -> dict[Any, TaskFact]:
    """Return the same fact about each task under way."""
    return dict.fromkeys(explain.looked_for(engine.state, 100), fact)


def only(explanation: Explanation) -> Cause:
    """Return the one cause."""
    (cause,) = explanation.causes
    return cause


class TestUnderWay:
    def test_a_task_in_a_queue(self) -> None:
        engine = line("a")

        cause = only(explained(engine, tasks=tasks(engine, QUEUED)))

        assert (cause.code, cause.node_id, cause.iteration) == ("queued", "a", ())
        assert cause.since == engine.state.runs["a", ()].dispatched_at
        assert cause.details == {
            "node_type": FLEET,
            "attempt": 1,
            "workers": 1,
            "slots": 8,
            "busy": 3,
            "queued": 7,
        }

    def test_nobody_serves_the_type(self) -> None:
        engine = line("a")

        cause = only(explained(engine, workers={}, tasks=tasks(engine, QUEUED)))

        assert cause.code == "no_live_worker"
        assert cause.details == {"node_type": FLEET, "attempt": 1, "queued": 7}

    def test_a_task_that_nobody_lives_to_finish(self) -> None:
        engine = line("a")

        explanation = explained(engine, workers={}, tasks=tasks(engine, DELIVERED))

        assert only(explanation).code == "no_live_worker"

    def test_an_attempt_of_the_only_worker(self) -> None:
        engine = line("a")

        cause = only(explained(engine, tasks=tasks(engine, DELIVERED)))

        assert cause.code == "attempt_running"
        assert cause.details == {"attempt": 1, "worker_id": "w1", "last_heartbeat_at": START}

    def test_an_attempt_of_a_worker_that_was_heard(self) -> None:
        engine = line("a")
        workers = (WORKER, WorkerFact(id="w2", slots=1, busy=1, last_seen_at=START))
        heard = TaskFact(is_delivered=True, worker_id="w2", started_at=START)

        cause = only(explained(engine, workers={FLEET: workers}, tasks=tasks(engine, heard)))

        assert cause.details["worker_id"] == "w2"
        assert cause.since == START

    def test_an_attempt_of_some_worker(self) -> None:
        engine = line("a")
        workers = (WORKER, WorkerFact(id="w2", slots=1, busy=1, last_seen_at=START))

        cause = only(explained(engine, workers={FLEET: workers}, tasks=tasks(engine, DELIVERED)))

        assert cause.details == {"attempt": 1}
        assert "a worker" in cause.message

    def test_an_at_most_once_attempt_says_who_began_it(self) -> None:
        engine = line("a")
        engine.call_handler("a")
        workers = (WORKER, WorkerFact(id="worker", slots=1, busy=1, last_seen_at=START))

        cause = only(explained(engine, workers={FLEET: workers}, tasks=tasks(engine, DELIVERED)))

        assert cause.details["worker_id"] == "worker"

    def test_a_task_in_a_queue_says_what_is_ahead_of_it(self) -> None:
        engine = line("a")
        queued = TaskFact(is_queued=True, ahead=3)

        cause = only(explained(engine, tasks=tasks(engine, queued)))

        assert (cause.code, cause.details["queued"], cause.details["ahead"]) == ("queued", 7, 3)

    def test_a_task_that_waits_for_its_turn(self) -> None:
        engine = line("a")
        standing = LineFact(node_type=FLEET, ahead=12, queued=64, window=64)
        facts = {"tasks": tasks(engine, GONE), "in_line": {key_of("a"): standing}}

        cause = only(explained(engine, **facts))
        unserved = explained(engine, **facts, workers={}).causes

        assert (cause.code, cause.node_id) == ("not_admitted", "a")
        assert cause.details == {
            "attempt": 1, "node_type": FLEET, "ahead": 12, "queued": 64, "window": 64
        }  # fmt: skip
        assert [each.code for each in unserved] == ["not_admitted", "no_live_worker"]

    def test_a_task_that_is_nowhere(self) -> None:
        engine = line("a")

        cause = only(explained(engine, tasks=tasks(engine, GONE)))

        assert (cause.code, cause.node_id) == ("scheduler_behind", "a")

    def test_without_nats_nobody_knows_where_a_task_is(self) -> None:
        engine = line("a")

        cause = only(explained(engine, queues=None))

        assert cause.code == "queued"
        assert "NATS does not answer" in cause.message
        assert "queued" not in cause.details

    def test_a_task_that_was_not_looked_for_is_queued(self) -> None:
        assert only(explained(line("a"))).code == "queued"

    def test_a_pause(self) -> None:
        engine = line("a", "b")
        engine.pause()
        engine.succeed("a")
        said = Said(at=START, by=SOMEBODY, reason="lunch")

        cause = only(explained(engine, paused=said))

        assert cause.code == "paused"
        assert cause.since == START
        assert "lunch" in cause.message
        assert cause.details == {"held": [{"node_id": "b", "iteration": ()}]}

    def test_a_retry_pause(self) -> None:
        engine = line("a", retry_policy=RETRY)
        engine.fail("a", retryable=True, code="busy")

        cause = only(explained(engine))

        assert cause.code == "retry_pause"
        assert cause.until == engine.state.runs["a", ()].retry_at
        assert cause.details["tries"] == 1
        assert cause.details["code"] == "busy"

    @pytest.mark.parametrize(
        ("kind", "order", "code", "details"),
        [
            pytest.param(WaitKind.TIMER, {"seconds": 60}, "waiting_timer", {}, id="timer"),
            pytest.param(
                WaitKind.SIGNAL,
                {"signal": "paid"},
                "waiting_signal",
                {"signal": "paid"},
                id="signal",
            ),
        ],
    )
    def test_a_wait(
        self, kind: WaitKind, order: dict[str, Any], code: str, details: dict[str, Any]
    ) -> None:
        engine = run("a:CUSTOM.YIELDS")
        engine.wait("a", kind, **order)

        cause = only(explained(engine))

        assert (cause.code, cause.details) == (code, details)
        assert cause.since == engine.at
        if kind is WaitKind.TIMER:
            assert cause.until == engine.at + timedelta(seconds=60)

    def test_a_question(self) -> None:
        engine = run("a:CUSTOM.YIELDS")
        question = engine.ask("a")

        cause = only(explained(engine))

        assert cause.code == "waiting_interaction"
        assert cause.details == {
            "interaction_id": question,
            "answers": 0,
            "reminders": 0,
            "approvers": [],
            "approvals_required": 1,
        }

    def test_a_child(self) -> None:
        engine = run("a:CUSTOM.YIELDS")
        engine.start_child("a")
        (child_id,) = engine.children

        cause = only(explained(engine))

        assert (cause.code, cause.details) == ("waiting_child", {"execution_id": child_id})

    def test_a_timer_that_is_overdue(self) -> None:
        engine = run("a:CUSTOM.YIELDS")
        engine.wait("a", WaitKind.TIMER, seconds=60)

        late = explained(engine, now=engine.at + timedelta(seconds=70))

        assert [each.code for each in late.causes] == ["waiting_timer", "scheduler_behind"]

    def test_a_join(self) -> None:
        engine = run("a b c", "a -> c", "b -> c")
        engine.succeed("a")

        explanation = explained(engine)

        assert [each.code for each in explanation.causes] == ["queued", "waiting_join"]
        join = explanation.causes[1]
        assert join.node_id == "c"
        assert join.details == {
            "connections": [{"from": "b", "from_port": "main", "to": "c", "to_port": "main"}]
        }

    def test_iterations_are_told_apart(self) -> None:
        engine = over(["a", "b"], max_parallel=2)

        explanation = explained(engine)

        assert [each.iteration for each in explanation.causes] == [(0,), (1,)]
        assert "work[1]" in explanation.causes[1].message

    def test_no_scheduler(self) -> None:
        explanation = explained(line("a"), schedulers=0)

        assert [each.code for each in explanation.causes] == ["scheduler_behind", "queued"]

    def test_a_scheduler_that_does_not_answer(self) -> None:
        engine = run("a:CUSTOM.YIELDS")
        engine.wait("a", WaitKind.SIGNAL, signal="go")

        silent = explained(engine, is_led=False)
        unknown = explained(engine, is_led=None)

        assert [each.code for each in silent.causes] == ["scheduler_behind", "waiting_signal"]
        assert [each.code for each in unknown.causes] == ["waiting_signal"]

    def test_what_its_scheduler_has_to_do_is_told(self) -> None:
        engine = line("a")

        cause = only(explained(engine, tasks=tasks(engine, GONE), leader="one", backlog=9))

        assert cause.details == {"scheduler_id": "one", "backlog": 9}

    def test_causes_have_a_limit_and_the_summary_tells_how_many_there_are(self) -> None:
        engine = over(list(range(300)), max_parallel=300)

        explanation = explained(engine)

        assert len(explanation.causes) == explain.MOST_CAUSES
        assert "299 more causes" in explanation.summary

    def test_tasks_are_looked_for_from_the_oldest_on(self) -> None:
        engine = run("a b c", "a -> c")
        engine.succeed("a")

        assert explain.looked_for(engine.state, 1) == [key_of("b")]
        assert explain.node_types(engine.plan, explain.looked_for(engine.state, 9)) == {FLEET}


class TestBeforeTheStart:
    def test_nobody_has_taken_it_up(self) -> None:
        engine = Engine(graph("a"))

        explanation = explained(engine)

        assert only(explanation).code == "not_admitted"
        assert only(explanation).since == START
        assert explanation.summary == f"NEW: {only(explanation).message}"

    def test_others_have_the_slots(self) -> None:
        engine = Engine(graph("a"), slot=Slot(limit=1, key="shop"))

        cause = only(explained(engine, holders=("other",)))

        assert cause.code == "concurrency_limit"
        assert cause.details == {"limit": 1, "key": "shop", "executions": ["other"]}

    def test_a_slot_is_free(self) -> None:
        engine = Engine(graph("a"), slot=Slot(limit=2))

        assert only(explained(engine, holders=("other",))).code == "not_admitted"


class TestAtTheEnd:
    def test_a_success(self) -> None:
        engine = run("a b", "a.error -> b", fields={"a": CONTINUE})
        engine.fail("a")
        engine.succeed("b")

        explanation = explained(engine)

        assert explanation.status is ExecutionStatus.SUCCESS
        assert only(explanation).code == "succeeded"
        assert "continued failures: 1" in explanation.summary

    def test_a_cancel(self) -> None:
        engine = line("a")
        engine.cancel()
        said = Said(at=engine.at, by=By("API", "ada"), reason="enough")

        cause = only(explained(engine, canceled=said))

        assert cause.code == "canceled"
        assert "ada" in cause.message
        assert "enough" in cause.message
        assert cause.details == {"by": {"source": "API", "user_id": "ada"}}

    def test_a_failure_of_a_node(self) -> None:
        engine = line("a", **ONE_TRY)
        engine.fail("a", code="broken", message="It broke.")

        cause = only(explained(engine))

        assert (cause.code, cause.node_id) == ("failed", "a")
        assert cause.message == "node a failed with broken: It broke."
        assert cause.details["tries"] == 1
        assert cause.since == engine.state.finished_at

    def test_a_failure_inside_of_loops(self) -> None:
        engine = over(["a", "b"], on_item_error=ItemError.STOP)
        engine.succeed("work@0")
        engine.fail("work@1")

        explanation = explained(engine)

        assert [(each.node_id, each.iteration) for each in explanation.causes] == [
            ("each", ()),
            ("work", (1,)),
        ]
        assert {each.code for each in explanation.causes} == {"failed"}

    def test_a_failure_of_a_child_leads_to_it(self) -> None:
        engine = run("a:CUSTOM.YIELDS", fields={"a": ONE_TRY})
        engine.start_child("a")
        (child_id,) = engine.children
        engine.end_child("a", ExecutionStatus.ERROR, failure=failure_at("inner"))

        explanation = explained(engine)

        assert len(explanation.causes) == 2
        assert explanation.causes[1].details["execution_id"] == child_id
        assert "at node inner" in explanation.causes[1].message

    def test_a_failure_without_a_node(self) -> None:
        engine = line("a")
        engine.cancel()
        engine.state.status = ExecutionStatus.ERROR

        assert only(explained(engine)).code == "failed"


def failure_at(node_id: str) -> Any:
    """Return the failure of a child."""
    return Failure(FailureKind.ERROR, "deep", "Down there.", node_id=node_id)


def test_there_is_always_a_cause() -> None:
    """Whatever is done to an execution, and whatever is known around it, something is said."""
    engine = run("a b:CUSTOM.YIELDS c", "a -> b", "b -> c", fields={"a": {"retry_policy": RETRY}})
    steps: list[Any] = [
        lambda: engine.fail("a", retryable=True),
        lambda: engine.fire(next(iter(engine.timers))),
        lambda: engine.pause(),
        lambda: engine.succeed("a"),
        lambda: engine.resume(),
        lambda: engine.wait("b", WaitKind.SIGNAL, signal="go"),
        lambda: engine.signal("go"),
        lambda: engine.cancel(),
    ]
    told: list[tuple[datetime, str]] = []
    for step in steps:
        step()
        for facts in SURROUNDINGS:
            explanation = explained(engine, **facts)
            assert explanation.causes
            assert explanation.summary.startswith(explanation.status)
            told.append((engine.at, explanation.causes[0].code))

    assert [code for _, code in told[::4]] == [
        "retry_pause",
        "queued",
        "paused",
        "paused",
        "no_live_worker",
        "waiting_signal",
        "queued",
        "canceled",
    ]
