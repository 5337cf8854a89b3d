"""Golden decisions: what follows from each input of a story, byte for byte, readable.

`GOLDEN=rewrite` writes them anew; the difference shows what a change of the core does to histories, and
with that to every execution that was begun before it.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from contracts.failures import FailureKind
from contracts.history import Event, Usage, encode_data
from contracts.messages import encode
from contracts.model import Delivery, RetryPolicy
from contracts.statuses import ExecutionStatus, ItemError, WaitKind
from scheduler.core.decision import Decision, Input
from tests.core.graphs import CONTINUE, LOOP, LOOP_WIRES, ONE_TRY, RETRY, begun, carried, run
from tests.support.engine import (
    Engine,
    compiled,
    document,
    failure,
    node,
    raw,
    timer_of,
    wire,
)

FOLDER: Final = Path(__file__).parents[1] / "golden" / "decisions"


def linear() -> Engine:
    """Three nodes one after the other, from a trigger to the output."""
    engine = run("start:TRIGGER.MANUAL a b", "start -> a", "a -> b", input={"order": 7})
    engine.report("a", ports={"main": raw({"a": 1})}, usage=Usage(model_calls=1), logs=raw(["hi"]))
    engine.succeed("b", main={"b": 2})
    return engine


def branch_and_join() -> Engine:
    """Both branches run and meet; results come in the other order, one of them twice."""
    wires = ("fork -> a", "fork -> b", "a -> join", "b -> join")
    engine = run("fork a b join", *wires)
    engine.succeed("fork", main={"x": 1})
    engine.succeed("b", main={"b": 1})
    engine.succeed("b", 1, main={"b": "again"})
    engine.succeed("a", main={"a": 1})
    engine.succeed("join", main="done")
    return engine


def dead_path() -> Engine:
    """A branch that is not taken is skipped with all behind it, and the join does not wait for it."""
    wires = ("if.a -> yes", "if.b -> no", "no -> no2", "yes -> join", "no2 -> join")
    engine = run("if yes no no2 join", *wires)
    engine.succeed("if", a=1)
    engine.succeed("yes", main="y")
    engine.succeed("join", main="done")
    return engine


def parallel_loop() -> Engine:
    """Three items, two at once, one of them fails and leaves null in its place."""
    engine = run(LOOP, *LOOP_WIRES, fields={"work": ONE_TRY})
    engine.iterate("each", ["x", "y", "z"], max_parallel=2, on_item_error=ItemError.NULL)
    engine.succeed("work@1", main="Y")
    engine.fail("work@0")
    engine.succeed("work@2", main="Z")
    engine.succeed("after", main="end")
    return engine


def nested_loops() -> Engine:
    """A loop in a loop; a failure in the inner one under STOP ends all."""
    engine = run(
        "outer:FLOW.LOOP inner:FLOW.LOOP work",
        "outer.iteration -> inner",
        "inner.iteration -> work",
        "work -> inner.loop_body",
        "inner.complete -> outer.loop_body",
        fields={"work": ONE_TRY},
    )
    engine.iterate("outer", ["o0", "o1"], max_parallel=2)
    engine.iterate("inner@0", ["i"])
    engine.iterate("inner@1", ["j", "k"], max_parallel=2)
    engine.succeed("work@0-0", main="done")
    engine.fail("work@1-0", kind=FailureKind.INVALID_INPUT, code="wrong")
    return engine


def mapped_way_back() -> Engine:
    """What comes back from an iteration goes through a mapping; a mapping that fails costs its item."""
    mapping = {"type": "TRANSFORM", "expression": "input.total * 2"}
    nodes = [node("each", "FLOW.LOOP"), node("work")]
    wires = [wire("each.iteration -> work"), wire("work -> each.loop_body", mapping=mapping)]
    engine = Engine(compiled(document(nodes, wires))).start()
    engine.iterate("each", [1, 2], on_item_error=ItemError.DROP)
    engine.succeed("work@0", main={"total": 21})
    engine.succeed("work@1", main={})
    return engine


def loop_on_a_condition() -> Engine:
    """A loop that is asked before each iteration whether it goes on."""
    engine = run(LOOP, *LOOP_WIRES)
    engine.iterate("each")
    engine.succeed("work@0", main="r0")
    engine.iterate("each")
    engine.succeed("work@1", main="r1")
    engine.stop_iterating("each")
    return engine


def signal_kept_before() -> Engine:
    """A signal comes before the wait for it, another one during a later wait."""
    engine = run("a:CUSTOM.YIELDS b:CUSTOM.GOES_ON", "a -> b")
    engine.signal("go", {"n": 1})
    engine.wait("a", WaitKind.SIGNAL, signal="go", seconds=60)
    engine.wait("b", WaitKind.SIGNAL, signal="go", seconds=60, check_seconds=10, state=raw("s"))
    engine.fire(timer_of("b", "CHECK"))
    engine.wait("b", WaitKind.SIGNAL, signal="go", seconds=50)
    engine.signal("go", {"n": 2})
    engine.succeed("b", main="done")
    return engine


def question_answered() -> Engine:
    """A question is asked, looked at in between, answered meanwhile, and not answered twice."""
    engine = run("w:CUSTOM.GOES_ON")
    asked = engine.ask("w", seconds=3600, check_seconds=0)
    engine.fire(timer_of("w", "CHECK"))
    engine.end_wait(interaction_id=asked, data={"ok": True}, port="approved")
    engine.end_wait(interaction_id=asked, data={"ok": False})
    engine.wait("w", WaitKind.INTERACTION, interaction_id=asked, seconds=3600)
    engine.succeed("w", main="approved")
    return engine


def quorum_with_a_reminder() -> Engine:
    """People are reminded, further ones are asked, an edit voids the approval before it, and two decide."""
    engine = run("w:CUSTOM.GOES_ON")
    question = {
        "kind": "review", "approvals_required": 2, "approvers": ("ada", "bob"), "value": raw({"n": 1})
    }  # fmt: skip
    asked = engine.ask("w", question, seconds=3600, check_seconds=60, is_reminder=True)
    engine.answer(asked, "ada")
    engine.fire(timer_of("w", "REMINDER"))
    engine.wait(
        "w", WaitKind.INTERACTION, interaction_id=asked, seconds=3540, approvers=("BOB", "eve")
    )
    engine.answer(asked, "bob", value=raw({"n": 2}))
    engine.answer(asked, "bob")
    engine.answer(asked, "eve", reason="fine")
    engine.succeed("w", main="approved")
    return engine


def child_failed_and_retried() -> Engine:
    """A child fails, the node is tried again, and another child succeeds."""
    policy = RetryPolicy(max_tries=2, wait_between_tries=10, retry_on=("child_failed",))
    engine = run("sub:CUSTOM.YIELDS", fields={"sub": {"retry_policy": policy}})
    engine.start_child("sub")
    engine.end_child("sub", ExecutionStatus.ERROR, failure=failure(code="inner"))
    engine.fire(timer_of("sub", "RETRY"))
    engine.start_child("sub")
    engine.end_child("sub", output=raw({"result": 1}))
    return engine


def pause_and_resume() -> Engine:
    """While paused results count and a timer is recorded; all else happens with the end of the pause."""
    engine = run("a b w:CUSTOM.YIELDS", "a -> b")
    engine.wait("w", WaitKind.TIMER, seconds=5)
    engine.pause()
    engine.pause()
    engine.succeed("a", main=1)
    engine.fire(timer_of("w", "WAIT"))
    engine.resume()
    engine.succeed("b", main=2)
    return engine


def merge_first() -> Engine:
    """A MERGE that goes on at the first delivery and ignores the later one."""
    wires = ("fork -> a", "fork -> b", "a -> join", "b -> join")
    fields = {"join": {"parameters": {"wait_for": "first"}}}
    engine = run("fork a b join:FLOW.MERGE", *wires, fields=fields)
    engine.succeed("fork")
    engine.succeed("b", main="b")
    engine.succeed("a", main="a")
    engine.succeed("join", main="done")
    return engine


def merge_waited_in_vain() -> Engine:
    """A MERGE that proceeds with what has arrived, and one that fails and is rescued."""
    fields: dict[str, dict[str, Any]] = {
        "first": {"parameters": {"max_wait": 30, "on_timeout": "PROCEED"}},
        "second": {"parameters": {"max_wait": 60}},
    }
    engine = run(
        "fast slow first:FLOW.MERGE second:FLOW.MERGE rescue",
        "fast -> first",
        "slow -> first",
        "first -> second",
        "slow -> second",
        "second.error -> rescue",
        fields=fields,
    )
    engine.succeed("fast", main={"fast": 1})
    engine.fire("join:first:_")
    engine.succeed("first", main={"first": 1})
    engine.fire("join:second:_")
    engine.succeed("slow", main={"slow": 1})
    engine.succeed("rescue", main="rescued")
    return engine


def at_most_once_lost() -> Engine:
    """A worker is lost after it called the handler: the next delivery must not call it again."""
    engine = run("a b", "a.error -> b", fields={"a": {"delivery": Delivery.AT_MOST_ONCE}})
    engine.call_handler("a", "first")
    engine.call_handler("a", "first")
    engine.call_handler("a", "second")
    engine.succeed("b", main="rescued")
    return engine


def retry_with_pause() -> Engine:
    """A failure is tried again after a pause, from its checkpoint; the last try is final."""
    engine = run("a", fields={"a": {"retry_policy": RETRY}})
    engine.checkpoint("a", "model:1", {"text": "hi"}, usage=Usage(model_calls=1))
    for attempt in (1, 2):
        engine.fail("a", retryable=True)
        engine.fire(timer_of("a", "RETRY", attempt))
    engine.fail("a", retryable=True)
    return engine


def cancel_in_the_middle() -> Engine:
    """Cancel closes a question, leaves a child alone, and nothing of what comes after counts."""
    engine = run(
        "a each:FLOW.LOOP work ask:CUSTOM.GOES_ON sub:CUSTOM.YIELDS",
        "each.iteration -> work",
        "work -> each.loop_body",
    )
    engine.ask("ask", seconds=60)
    engine.start_child("sub")
    engine.iterate("each", [1, 2])
    engine.cancel()
    engine.succeed("a")
    engine.cancel()
    return engine


def continued_failures() -> Engine:
    """Failures that go on: over the port error, and over the regular output of a disabled node's successor."""
    engine = run(
        "a off:CUSTOM.ANY b",
        "a.error -> off",
        "off -> b",
        fields={"a": CONTINUE, "off": {"disabled": True}},
        input={"order": 7},
    )
    engine.fail("a", code="broken")
    engine.succeed("b", main="done")
    return engine


def carried_over() -> Engine:
    """A retry takes over what stands: a node, and the finished iteration of a loop."""
    given = [carried("out", main={"o": 1}), begun("each", ["x", "y"]), carried("join@0", main="X")]
    wires = ("out -> join", "each.iteration -> join", "join -> each.loop_body")
    engine = run("out each:FLOW.LOOP join", *wires, carried=given)
    engine.succeed("join@1", main="Y")
    return engine


STORIES: Final[list[Callable[[], Engine]]] = [
    linear,
    branch_and_join,
    dead_path,
    parallel_loop,
    nested_loops,
    mapped_way_back,
    loop_on_a_condition,
    signal_kept_before,
    question_answered,
    quorum_with_a_reminder,
    child_failed_and_retried,
    pause_and_resume,
    merge_first,
    merge_waited_in_vain,
    at_most_once_lost,
    retry_with_pause,
    cancel_in_the_middle,
    continued_failures,
    carried_over,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_golden_decisions(story: Callable[[], Engine]) -> None:
    golden = FOLDER / f"{story.__name__}.json"
    text = told(story)
    if os.environ.get("GOLDEN") == "rewrite":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)

    assert golden.read_text() == text
    assert msgspec.json.decode(text)["story"] == story.__doc__


def test_every_golden_file_has_a_story() -> None:
    names = {path.stem for path in FOLDER.iterdir()}

    assert names == {story.__name__ for story in STORIES}


# --- as text -------------------------------------------------------------------------------------


def told(story: Callable[[], Engine]) -> str:
    """Return a story as JSON, one line for each event."""
    engine = story()
    before = [event for event in engine.history if event.seq <= _first_seq(engine)]
    steps = [_step("created", before, Decision())]
    steps += [
        _step(_name(given), decision.events, decision) for given, decision in engine.decisions
    ]
    body = ",\n\n".join(steps)
    return f'{{"story": {encode(story.__doc__).decode()}, "steps": [\n\n{body}\n\n]}}\n'


def _first_seq(engine: Engine) -> int:
    """Return the seq before the first decision."""
    decided = (event.seq for _, decision in engine.decisions for event in decision.events)
    return next(decided) - 1


def _name(given: Input) -> str:
    fields = msgspec.json.decode(encode(given))
    about = fields.get("result", fields)
    named = [about.get(each) for each in ("node_id", "iteration", "attempt", "key", "name")]
    shown = " ".join(str(each) for each in named if each not in (None, (), [], ""))
    return f"{type(given).__name__} {shown}".strip()


def _step(name: str, events: Any, decision: Decision) -> str:
    lines = [f'{{"input": {encode(name).decode()}']
    told_events = ",\n  ".join(encode(_shown(event)).decode() for event in events)
    if told_events:
        lines.append(f'"events": [\n  {told_events}]')
    lines += [f'"{field}": {encode(value).decode()}' for field, value in _follows(decision)]
    return ",\n ".join(lines) + "}"


def _shown(event: Event) -> dict[str, Any]:
    where = {"node_id": event.node_id, "iteration": event.iteration, "attempt": event.attempt}
    named = {name: value for name, value in where.items() if value is not None}
    data = msgspec.Raw(encode_data(event.data))
    return {"seq": event.seq, "at": event.at, "kind": event.kind} | named | {"data": data}


def _follows(decision: Decision) -> Iterator[tuple[str, Any]]:
    for field in decision.__struct_fields__:
        value = getattr(decision, field)
        if field != "events" and value:
            yield field, value
