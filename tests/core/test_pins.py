"""Pins: what a node would yield, instead of running it, in executions that somebody starts by hand."""

from typing import Any

import pytest

from contracts.execution.plan import Plan
from contracts.history import TriggerNode
from contracts.statuses import Mode
from tests.support.engine import Engine, compiled, document, node, raw, wire


def pinned(**pins: Any) -> Plan:
    """Return the plan of two triggers, a node that both lead to, and what hangs on its ports."""
    nodes = [
        node("start", "TRIGGER.MANUAL"),
        node("event", "TRIGGER.EVENT"),
        node("work"),
        node("left"),
        node("right"),
    ]
    wires = ("start -> work", "event -> work", "work.a -> left", "work.b -> right")
    return compiled(document(nodes, [wire(each) for each in wires], pin_data=pins))


class TestOfTheStartTrigger:
    @pytest.mark.parametrize("pin", [{"a": 1}, [1, 2], "text", None, {"ports": {"main": 3}}])
    def test_it_is_what_the_trigger_yields(self, pin: Any) -> None:
        engine = Engine(pinned(start=pin), mode=Mode.MANUAL, input={}).start()

        expected = pin["ports"]["main"] if isinstance(pin, dict) and "ports" in pin else pin
        assert engine.input("work") == expected
        assert engine.state.runs["start", ()].pinned

    def test_it_stands_also_for_an_input_that_was_posted(self) -> None:
        engine = Engine(pinned(start="pin"), mode=Mode.MANUAL, input={"posted": 1}).start()

        assert engine.input("work") == "pin"
        assert engine.state.created.input == raw({"posted": 1})

    def test_that_of_another_trigger_changes_nothing(self) -> None:
        engine = Engine(pinned(event="pin"), mode=Mode.MANUAL, input=1).start()

        assert engine.input("work") == 1
        assert engine.statuses["event"] == "SKIPPED"
        assert not engine.state.runs["event", ()].pinned

    def test_a_trigger_that_is_named_yields_its_own(self) -> None:
        named = TriggerNode("event", "TRIGGER.EVENT")
        engine = Engine(pinned(start=1, event=2), mode=Mode.MANUAL, input=3, trigger=named).start()

        assert engine.input("work") == 2
        assert engine.statuses["start"] == "SKIPPED"

    @pytest.mark.parametrize("mode", sorted(set(Mode) - {Mode.MANUAL}))
    def test_other_modes_ignore_it(self, mode: Mode) -> None:
        engine = Engine(pinned(start="pin", work="pin"), mode=mode, input=1).start()

        assert engine.input("work") == 1
        assert not engine.state.runs["start", ()].pinned


class TestOfANode:
    def test_it_yields_on_the_ports_that_are_named_and_no_other(self) -> None:
        engine = Engine(pinned(work={"ports": {"b": {"x": 1}}}), mode=Mode.MANUAL).start()

        assert engine.statuses["left"] == "SKIPPED"
        assert engine.input("right") == {"x": 1}
        assert engine.state.runs["work", ()].attempt == 0

    def test_executed_alone_it_runs(self) -> None:
        plan = pinned(start="pin", work="pin")
        engine = Engine(plan, mode=Mode.MANUAL, single_node_id="work", input={"x": 1}).start()

        assert engine.statuses == {"work": "RUNNING"}
        assert engine.input("work") == {"x": 1}
        assert not engine.state.runs["work", ()].pinned
