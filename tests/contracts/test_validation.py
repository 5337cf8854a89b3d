"""Validation: each code of the contract that can occur, at its place, and nothing beside it."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.document import read_document
from contracts.expressions.budget import Limits
from contracts.limits import DocumentLimits
from contracts.problems import SEVERITY
from contracts.validation import examine, validate
from tests.support.calls import growth
from tests.support.documents import START, chain, document, node, noop, valid_documents, wire
from tests.support.specs import CATALOGUE

KNOWN = {"shop": "http", "0197": "http", "hook-secret": "webhook"}


def cron_fault(text: str) -> str | None:
    """Ask for five fields: enough of a schedule for these tests."""
    return None if len(text.split()) == 5 else "it has not five fields"


def without_notices(problems: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out what says that a setting has no effect: it is true of valid documents too."""
    return [each for each in problems if each[1] != "ignored_field"]


def found(raw: Any) -> list[tuple[str, str]]:
    reading = examine(raw, CATALOGUE, credentials=KNOWN, cron_fault=cron_fault)
    return [(problem.pointer, problem.code) for problem in reading.problems]


def message_of(raw: Any) -> str:
    return examine(raw, CATALOGUE, credentials=KNOWN, cron_fault=cron_fault).problems[0].message


def with_noop(**parameters: Any) -> dict[str, Any]:
    return chain(node("n", "FLOW.NOOP", **parameters))


def with_if(condition: Any) -> dict[str, Any]:
    return chain(node("n", "FLOW.IF", condition=condition))


def with_rule(operation: str, rule: Any) -> dict[str, Any]:
    return chain(node("n", "ACTION.DATA_TRANSFORMATION", operation=operation, rule=rule))


def with_mapping(**mapping: Any) -> dict[str, Any]:
    return document([START, noop("n")], [wire("start", "n", mapping=mapping)])


def with_request(**parameters: Any) -> dict[str, Any]:
    return chain(node("n", "ACTION.HTTP_REQUEST", **({"url": "https://a.example"} | parameters)))


def loop(*extra: dict[str, Any], nodes: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """Return start → each(body) → after, with more nodes and connections."""
    return document(
        [START, node("each", "FLOW.LOOP"), noop("body"), noop("after"), *nodes],
        [
            wire("start", "each"),
            wire("each", "body", from_port="iteration"),
            wire("body", "each", to_port="loop_body"),
            wire("each", "after", from_port="complete"),
            *extra,
        ],
    )


def with_parameters(raw: dict[str, Any], node_id: str, **parameters: Any) -> dict[str, Any]:
    """Return the document with other parameters of one node."""
    nodes = [
        each | {"parameters": parameters} if each["id"] == node_id else each
        for each in raw["nodes"]
    ]
    return raw | {"nodes": nodes}


AGENT = node("agent", "AI_AGENT.OPENAI", system_prompt="Help.")
TOOL = node("tool", "TOOL.HTTP", url="https://a.example/{{ args.id }}")


def with_agent(
    *extra: dict[str, Any], nodes: tuple[dict[str, Any], ...] = (TOOL,)
) -> dict[str, Any]:
    return document([START, AGENT, *nodes], [wire("start", "agent"), *extra])


VALID: dict[str, Any] = {
    "a chain": chain(noop("a"), noop("b")),
    "an upstream reference": chain(noop("a"), node("b", "FLOW.NOOP", data="{{ nodes.a.output.x }}")),
    "all names in scope": with_noop(data="{{ [input, trigger, static, workflow.id, execution.id, now] }}"),
    "a condition": with_if("input.total > static.limit && 'vip' in input.tags"),
    "a condition in braces": with_if("{{ input.a == 1 }}"),
    "a condition that is a constant": with_if(True),
    "a name of the parameter's own": with_request(success="response.status_code == 200"),
    "a filter of a trigger": document([node("t", "TRIGGER.EVENT", subject="a.*", filter="message.data.total > 0")]),
    "a number as text": with_request(max_redirects="5"),
    "a template for a number": with_request(max_redirects="{{ input.n }}"),
    "a template inside a map": with_request(headers={"X": "{{ input.x }}"}),
    "a rule of map": with_rule("map", {"sku": "{{ item.sku }}", "kind": "fixed text"}),
    "a rule of filter": with_rule("filter", "item.a > index"),
    "a rule of sort in paths": with_rule("sort", "price desc, a.b"),
    "a rule of sort that is an expression": with_rule("sort", "item.price * 2"),
    "a literal with braces": chain(node("n", "ACTION.DATABASE_OPERATION", query="select '{{ x }}'")),
    "ports of a switch": document(
        [START, node("s", "FLOW.SWITCH", value="input.a", cases=[{"equals": "{{ static.x }}", "port": "big"}, {"when": "input.b > 1", "port": "small"}]), noop("a"), noop("b"), noop("c"), noop("d")],
        [wire("start", "s"), wire("s", "a", from_port="big"), wire("s", "b", from_port="small"), wire("s", "c", from_port="default"), wire("s", "d", from_port="error")],
    ),
    "cases as JSON text": document(
        [START, node("s", "FLOW.SWITCH", value="input.a", cases='{"x": "left"}', default="right"), noop("a")],
        [wire("start", "s"), wire("s", "a", from_port="right"), wire("s", "a", from_port="left")],
    ),
    "ports that are rendered": document(
        [START, node("s", "FLOW.SWITCH", cases={"x": "{{ input.port }}"}), noop("a")],
        [wire("start", "s"), wire("s", "a", from_port="anything")],
    ),
    "a loop": with_parameters(loop(), "body", data="{{ loop.item }}"),
    "a while loop": with_parameters(loop(), "each", loop_type="while", condition="loop.index < 3"),
    "a preset": chain(node("n", "FLOW.FOR_EACH", items="input.list")),
    "a mapping of the loop's result": loop() | {"connections": [
        wire("start", "each"),
        wire("each", "body", from_port="iteration", mapping={"type": "TRANSFORM", "expression": "loop.item"}),
        wire("body", "each", to_port="loop_body", mapping={"type": "TRANSFORM", "expression": "{'i': loop.index, 'own': nodes.body.output}"}),
        wire("each", "after", from_port="complete"),
    ]},
    "merging": document(
        [START, noop("a"), noop("b"), node("m", "FLOW.MERGE", strategy="join", key="item.id")],
        [wire("start", "a"), wire("start", "b"), wire("a", "m", to_port="input1"), wire("b", "m", to_port="input16")],
    ),
    "a field mapping": with_mapping(type="FIELD_MAPPING", fields=[{"from": "a[*].b", "to": "c.d"}, {"from": "{{ input.x }}", "to": "e", "default": 1}], static_values={"f.g": "{{ now }}"}),
    "a template mapping": with_mapping(type="TEMPLATE", template={"a": ["{{ input.b }}"]}),
    "a tool lent to an agent": with_agent(wire("tool", "agent", kind="AI_TOOL")),
    "a tool that names what its agent sees": with_parameters(with_agent(wire("tool", "agent", kind="AI_TOOL")), "tool", url="https://a.example/{{ nodes.start.output.id }}"),
    "an error port": document([START, noop("a"), noop("b")], [wire("start", "a"), wire("a", "b", from_port="error")]),
    "a required port that is wired": document([START, node("p", "CUSTOM.PAIR")], [wire("start", "p"), wire("start", "p", to_port="other")]),
    "an older version": chain(node("p", "CUSTOM.PAIR") | {"type_version": 1}),
    "a webhook with its secret": document([node("h", "TRIGGER.WEBHOOK") | {"credentials": {"webhook": "hook-secret"}}]),
    "a webhook without authentication": document([node("h", "TRIGGER.WEBHOOK", authentication="none")]),
    "a webhook with a filter": document([node("h", "TRIGGER.WEBHOOK", authentication="none", path="a", filter="message.body.total > static.least")], static_data={"least": 1}),
    "webhooks without paths": document([node("h", "TRIGGER.WEBHOOK", authentication="none"), node("i", "TRIGGER.WEBHOOK", authentication="none")]),
    "a schedule": document([node("c", "TRIGGER.CRON", cron="0 3 * * *", timezone="Europe/Berlin")]),
    "concurrency by key": document([START], settings={"concurrency": {"limit": 1, "key": "{{ input.customer }}"}}),
    "a pin by port": document([START, node("i", "FLOW.IF", condition="true")], [wire("start", "i")], pin_data={"i": {"ports": {"false": 1}}}),
    "a pin that holds ports among others": document([START], pin_data={"start": {"ports": {"x": 1}, "host": "y"}}),
    "agents that lend their models to each other": with_agent(wire("agent", "b", kind="AI_LANGUAGE_MODEL"), wire("b", "agent", kind="AI_LANGUAGE_MODEL"), wire("agent", "b"), nodes=(AGENT | {"id": "b"},)),
}  # fmt: skip


@pytest.mark.parametrize("raw", VALID.values(), ids=VALID)
def test_a_valid_document_has_no_problem(raw: Any) -> None:
    assert without_notices(found(raw)) == []


P = "/nodes/1/parameters"
PUBLISH: dict[str, tuple[Any, str, str]] = {
    "a version that is not there": (chain(node("p", "CUSTOM.PAIR") | {"type_version": 3}, noop("x")) | {"connections": [wire("start", "p"), wire("start", "p", to_port="other"), wire("p", "x")]}, "/nodes/1/type_version", "type_version_unknown"),
    "a required parameter": (chain(node("n", "FLOW.IF")), f"{P}/condition", "missing_parameter"),
    "a parameter that another needs": (with_parameters(loop(), "each", loop_type="until"), f"{P}/condition", "missing_parameter"),
    "one of two parameters": (document([node("c", "TRIGGER.CRON")]), "/nodes/0/parameters/cron", "missing_parameter"),
    "both of two parameters": (document([node("c", "TRIGGER.CRON", cron="0 3 * * *", interval=5)]), "/nodes/0/parameters/interval", "invalid_parameter"),
    "a parameter of the wrong type": (with_request(query="x"), f"{P}/query", "invalid_parameter"),
    "a number past its range": (with_request(max_redirects=21), f"{P}/max_redirects", "invalid_parameter"),
    "a number past its range as text": (with_request(max_redirects="21"), f"{P}/max_redirects", "invalid_parameter"),
    "a word that is not among those": (with_request(method="FETCH"), f"{P}/method", "invalid_parameter"),
    "an empty url": (with_request(url=""), f"{P}/url", "invalid_parameter"),
    "an item of a list": (document([node("h", "TRIGGER.WEBHOOK", authentication="none", method=["GET", "X"])]), "/nodes/0/parameters/method/1", "invalid_parameter"),
    "a part of a structure": (chain(node("s", "FLOW.SWITCH", cases=[{"equals": 1}])), f"{P}/cases/0/port", "invalid_parameter"),
    "an alias beside its parameter": (with_request(query={}, query_params={}), f"{P}/query_params", "invalid_parameter"),
    "a parameter that a preset fixes": (chain(node("n", "FLOW.FOR_EACH", loop_type="while")), f"{P}/loop_type", "invalid_parameter"),
    "an unknown time zone": (document([node("c", "TRIGGER.CRON", cron="0 3 * * *", timezone="Mars")]), "/nodes/0/parameters/timezone", "invalid_parameter"),
    "an unknown parameter": (with_noop(dta=1), f"{P}/dta", "unknown_parameter"),
    "an unknown output port": (document([START, noop("n")], [wire("start", "n", from_port="other")]), "/connections/0/from_port", "unknown_port"),
    "an unknown output port by index": (document([START, noop("n")], [wire("start", "n", index=3)]), "/connections/0/index", "unknown_port"),
    "an unknown output port in a map": (document([START, noop("n")], {"start": {"main": [[], ["n"]]}}), "/connections/0/from_port", "unknown_port"),
    "a port that no case declares": (document([START, node("s", "FLOW.SWITCH", cases={"a": "b"}), noop("n")], [wire("start", "s"), wire("s", "n", from_port="c")]), "/connections/1/from_port", "unknown_port"),
    "a port beside cases with templates": (document([START, node("s", "FLOW.SWITCH", cases=[{"equals": "{{ input.x }}", "port": "b"}]), noop("n")], [wire("start", "s"), wire("s", "n", from_port="c")]), "/connections/1/from_port", "unknown_port"),
    "an unknown input port": (document([START, noop("n")], [wire("start", "n", target_port="other")]), "/connections/0/target_port", "unknown_port"),
    "a pin on an unknown port": (document([START], pin_data={"start": {"ports": {"x": 1}}}), "/pin_data/start/ports/x", "unknown_port"),
    "ports of an attachment": (with_agent(wire("tool", "agent", kind="AI_TOOL", to_port="tools")), "/connections/1/to_port", "unknown_port"),
    "an attachment of what does not lend": (with_agent(wire("start", "agent", kind="AI_TOOL"), nodes=()), "/connections/1", "attachment_invalid"),
    "an attachment of another kind": (with_agent(wire("tool", "agent", kind="AI_MEMORY")), "/connections/1", "attachment_invalid"),
    "an attachment to what does not borrow": (document([START, noop("n"), TOOL], [wire("start", "n"), wire("tool", "n", kind="AI_TOOL")]), "/connections/1", "attachment_invalid"),
    "an attachment with a mapping": (with_agent(wire("tool", "agent", kind="AI_TOOL", mapping={"type": "DIRECT"})), "/connections/1/mapping", "attachment_invalid"),
    "too many models": (with_agent(wire("s", "agent", kind="AI_MEMORY"), wire("agent", "s", kind="AI_LANGUAGE_MODEL"), wire("b", "s", kind="AI_LANGUAGE_MODEL"), wire("start", "b"), nodes=(node("s", "MEMORY.CONVERSATION_SUMMARY"), AGENT | {"id": "b"})), "/connections/3", "attachment_invalid"),
    "agents that lend to each other": (with_agent(wire("agent", "b", kind="AI_TOOL"), wire("b", "agent", kind="AI_TOOL"), nodes=(AGENT | {"id": "b"},)), "/connections/1", "attachment_invalid"),
    "broken syntax": (with_noop(data="{{ input. }}"), f"{P}/data", "invalid_expression"),
    "a template without end": (with_noop(data={"a/b": "{{ input"}), f"{P}/data/a~1b", "invalid_expression"),
    "an unknown name": (with_noop(data=["x", "{{ amount }}"]), f"{P}/data/1", "invalid_expression"),
    "an unknown function": (with_if("shout(input.a) == 'A'"), f"{P}/condition", "invalid_expression"),
    "braces inside an expression": (with_if("{{ input.a }} > 1"), f"{P}/condition", "invalid_expression"),
    "loop outside a loop": (with_noop(data="{{ loop.item }}"), f"{P}/data", "invalid_expression"),
    "a name of another parameter": (with_request(body="{{ response.a }}"), f"{P}/body", "invalid_expression"),
    "input in a trigger's filter": (document([node("t", "TRIGGER.EVENT", subject="a", filter="input.a")]), "/nodes/0/parameters/filter", "invalid_expression"),
    "an expression in a case": (chain(node("s", "FLOW.SWITCH", cases=[{"when": "amount > 1", "port": "a"}])), f"{P}/cases/0/when", "invalid_expression"),
    "an expression in an aggregate": (with_rule("aggregate", {"fields": {"n": "size(itemz)"}}), f"{P}/rule/fields/n", "invalid_expression"),
    "an expression of a mapping": (with_mapping(type="TRANSFORM", expression="amount"), "/connections/0/mapping/expression", "invalid_expression"),
    "an expression of an older mapping": (document([START, noop("n")], [wire("start", "n", data_mapping={"type": "transform", "transform_script": "amount"})]), "/connections/0/data_mapping/transform_script", "invalid_expression"),
    "a key of concurrency": (document([START], settings={"concurrency": {"limit": 1, "key": "trigger.a"}}), "/settings/concurrency/key", "invalid_expression"),
    "an unknown node": (with_noop(data="{{ nodes.gone.output }}"), f"{P}/data", "unknown_reference"),
    "a node by its name": (chain(noop("a", name="first"), node("b", "FLOW.NOOP", data="{{ nodes.first.output }}")), "/nodes/2/parameters/data", "unknown_reference"),
    "a node that comes later": (chain(node("a", "FLOW.NOOP", data="{{ nodes.b.output }}"), noop("b")), f"{P}/data", "not_upstream"),
    "the node itself": (with_noop(data="{{ nodes.n.output }}"), f"{P}/data", "not_upstream"),
    "a body node from outside": (with_parameters(loop(), "after", data="{{ nodes.body.output }}"), "/nodes/3/parameters/data", "not_upstream"),
    "a lender": (with_parameters(with_agent(wire("tool", "agent", kind="AI_TOOL")), "agent", system_prompt="{{ nodes.tool.output }}"), f"{P}/system_prompt", "not_upstream"),
    "a node that a tool's agent does not see": (with_parameters(with_agent(wire("tool", "agent", kind="AI_TOOL"), wire("agent", "z"), nodes=(TOOL, noop("z"))), "tool", url="{{ nodes.z.output }}"), "/nodes/2/parameters/url", "not_upstream"),
    "a reference of a mapping": (document([START, noop("a"), noop("b")], [wire("start", "a", mapping={"type": "TEMPLATE", "template": "{{ nodes.b.output }}"}), wire("a", "b")]), "/connections/0/mapping/template", "not_upstream"),
    "an unknown type of mapping": (with_mapping(type="MAGIC"), "/connections/0/mapping/type", "invalid_mapping"),
    "a mapping without its expression": (with_mapping(type="TRANSFORM"), "/connections/0/mapping/expression", "invalid_mapping"),
    "a mapping with what it does not take": (with_mapping(type="DIRECT", template="x"), "/connections/0/mapping/template", "invalid_mapping"),
    "no fields": (with_mapping(type="FIELD_MAPPING", fields=[]), "/connections/0/mapping/fields", "invalid_mapping"),
    "a field without target": (with_mapping(type="FIELD_MAPPING", fields=[{"from": "a"}]), "/connections/0/mapping/fields/0/to", "invalid_mapping"),
    "a broken path": (with_mapping(type="FIELD_MAPPING", fields=[{"from": "a[", "to": "b"}]), "/connections/0/mapping/fields/0/from", "invalid_mapping"),
    "a path to every element": (with_mapping(type="FIELD_MAPPING", fields=[{"from": "a", "to": "b[*]"}]), "/connections/0/mapping/fields/0/to", "invalid_mapping"),
    "a static value at no path": (with_mapping(type="DIRECT", static_values={"a..b": 1}), "/connections/0/mapping/static_values/a..b", "invalid_mapping"),
    "static values that are a list": (with_mapping(type="DIRECT", static_values=[1]), "/connections/0/mapping/static_values", "invalid_mapping"),
    "no schedule": (document([node("c", "TRIGGER.CRON", cron_expression="daily")]), "/nodes/0/parameters/cron_expression", "invalid_cron"),
    "a webhook without its secret": (document([node("h", "TRIGGER.WEBHOOK")]), "/nodes/0/credentials/webhook", "credential_missing"),
    "a signature without its secret": (document([node("h", "TRIGGER.WEBHOOK", authentication="signature")]), "/nodes/0/credentials/webhook", "credential_missing"),
    "a path that is the engine's": (document([node("h", "TRIGGER.WEBHOOK", authentication="none", path="interactions-1")]), "/nodes/0/parameters/path", "invalid_parameter"),
    "a path twice": (document([node("h", "TRIGGER.WEBHOOK", authentication="none", path="a"), node("i", "TRIGGER.WEBHOOK", authentication="none", webhook_path="/a")]), "/nodes/1/parameters/webhook_path", "invalid_parameter"),
    "a name that a webhook's filter does not see": (document([node("h", "TRIGGER.WEBHOOK", authentication="none", filter="input.a")]), "/nodes/0/parameters/filter", "invalid_expression"),
    "a credential that is not there": (with_request() | {"nodes": [START, node("n", "ACTION.HTTP_REQUEST", url="x") | {"credentials": {"http": "gone"}}]}, "/nodes/1/credentials/http", "unknown_credential"),
    "a credential of another type": (document([node("h", "TRIGGER.WEBHOOK") | {"credentials": {"webhook": "shop"}}]), "/nodes/0/credentials/webhook", "unknown_credential"),
    "a slot that is not there": (chain(noop("n", credentials={"http": "shop"})), "/nodes/1/credentials/http", "unknown_credential"),
    "a cycle": (document([START, noop("a"), noop("b")], [wire("start", "a"), wire("a", "b"), wire("b", "a")]), "/nodes/1", "cycle"),
    "a body that is mixed": (loop(wire("body", "after")), "/nodes/3", "loop_body_mixed"),
    "a return from outside the body": (loop(wire("x", "each", to_port="loop_body"), wire("start", "x"), nodes=(noop("x"),)), "/connections/4", "loop_body_mixed"),
    "a return from an inner body": (
        document(
            [START, node("outer", "FLOW.LOOP"), node("inner", "FLOW.LOOP"), noop("b")],
            [wire("start", "outer"), wire("outer", "inner", from_port="iteration"), wire("inner", "b", from_port="iteration"), wire("b", "outer", to_port="loop_body")],
        ), "/connections/3", "loop_body_mixed",
    ),
    "a return straight from an inner iteration": (
        document(
            [START, node("outer", "FLOW.LOOP"), node("inner", "FLOW.LOOP")],
            [wire("start", "outer"), wire("outer", "inner", from_port="iteration"), wire("inner", "outer", from_port="iteration", to_port="loop_body")],
        ), "/connections/2", "loop_body_mixed",
    ),
    "a trigger with input": (document([START, noop("n"), START | {"id": "t"}], [wire("start", "n"), wire("n", "t")]), "/connections/1/to", "trigger_with_input"),
    "a required port": (chain(node("p", "CUSTOM.PAIR")), "/nodes/1", "missing_input"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "pointer", "code"), PUBLISH.values(), ids=PUBLISH)
def test_what_cannot_be_published_is_reported_at_its_place(
    raw: Any, pointer: str, code: str
) -> None:
    assert without_notices(found(raw)) == [(pointer, code)]
    assert SEVERITY[code] == "publish"


WARNINGS: dict[str, tuple[Any, list[tuple[str, str]]]] = {
    "no trigger": (document([noop("a")]), [("/nodes", "no_trigger")]),
    "a disabled trigger": (
        document([START | {"disabled": True}, noop("a"), noop("b")], [wire("start", "a")]),
        [("/nodes", "no_trigger"), ("/nodes/1", "unreachable")],
    ),
    "a root beside a trigger": (document([START, noop("a")]), [("/nodes/1", "root_beside_trigger")]),
    "a tool that is lent to nobody": (with_agent(), [("/nodes/2", "root_beside_trigger")]),
    "an error port that is not wired": (
        chain(noop("a", on_error="CONTINUE_ERROR_OUTPUT")), [("/nodes/1/on_error", "error_port_unwired")],
    ),
    "error ports that no node wires": (
        chain(noop("a")) | {"settings": {"error_policy": "continueErrorOutput"}},
        [("/settings/error_policy", "error_port_unwired")],
    ),
    "settings without effect": (
        chain(noop("a")) | {"settings": {"priority": 3, "concurrency": {"limit": 1}, "budget": {"max_tokens": 9}}},
        [("/settings/budget", "ignored_field")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "expected"), WARNINGS.values(), ids=WARNINGS)
def test_what_is_worth_a_warning_refuses_nothing(raw: Any, expected: list[tuple[str, str]]) -> None:
    assert found(raw) == expected
    assert {SEVERITY[code] for _, code in expected} == {"warning"}


def test_nothing_could_start() -> None:
    raw = document([START | {"disabled": True}])

    assert found(raw) == [("/nodes", "no_trigger"), ("/nodes", "no_root")]


def test_loops_are_nested_up_to_the_limit() -> None:
    nodes: list[Any] = [START]
    wires = []
    for index in range(9):
        nodes.append(node(f"l{index}", "FLOW.LOOP"))
        before = f"l{index - 1}" if index else "start"
        wires.append(wire(before, f"l{index}", from_port="iteration" if index else "main"))

    assert found(document(nodes, wires)) == [("/nodes/9", "limit_exceeded")]
    assert found(document(nodes[:9], wires[:8])) == []


def test_a_cycle_names_its_nodes_in_order() -> None:
    raw = document(
        [START, noop("a"), noop("b"), noop("c")],
        [wire("start", "a"), wire("a", "b"), wire("b", "c"), wire("c", "a")],
    )

    assert "a → b → c → a" in message_of(raw)


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        pytest.param(with_request(max_redirects=21), "max_redirects must be at most 20, not 21", id="range"),
        pytest.param(with_noop(dta=1), "the nearest is data", id="unknown parameter"),
        pytest.param(with_if("amount > 1"), "try input.amount", id="hint"),
        pytest.param(PUBLISH["a node by its name"][0], "by its id, which is 'a'", id="name"),
        pytest.param(PUBLISH["a body node from outside"][0], "body of the loop 'each'", id="body"),
        pytest.param(PUBLISH["an unknown output port"][0], "it has main, error", id="port"),
    ],
)  # fmt: skip
def test_messages_say_what_is_wrong_and_what_to_do(raw: Any, part: str) -> None:
    assert part in message_of(raw)


def test_what_is_not_handed_in_is_not_checked() -> None:
    raw = chain(
        node("n", "ACTION.HTTP_REQUEST", url="x") | {"credentials": {"http": "gone"}},
        noop("m", parameters={"data": "{{ matches(input.a, '(') }}"}),
    )
    raw["nodes"][0] = node("start", "TRIGGER.CRON", cron="never")

    assert examine(raw, CATALOGUE).problems == ()


def test_everything_is_reported_at_once_even_what_cannot_be_saved() -> None:
    raw = document(
        [
            START,
            node("a", "FLOW.IF", condition="amount > 1"),
            node("b", "ACTION.HTTP_REQUEST", method="x"),
            node("b", "FLOW.NOPE"),
        ],
        [wire("start", "gone")],
    )

    assert found(raw) == [
        ("/nodes/3/type", "unknown_node_type"),
        ("/nodes/3/id", "duplicate_node_id"),
        ("/nodes/3/id", "duplicate_node_name"),
        ("/connections/0/to", "unknown_node"),
        ("/nodes/1/parameters/condition", "invalid_expression"),
        ("/nodes/2/parameters/url", "missing_parameter"),
        ("/nodes/2/parameters/method", "invalid_parameter"),
    ]


NOT_YET = {
    "unknown_model": "model names come with the AI workers, which are no part of this release",
    "no_live_worker": "the gateway knows who is alive; a document does not tell",
}


def test_every_code_of_the_contract_has_a_test() -> None:
    tested = {code for _, _, code in PUBLISH.values()}
    tested |= {code for _, expected in WARNINGS.values() for _, code in expected}
    tested |= {"no_root", "ignored_field"}  # tests of their own

    expected = {code for code, severity in SEVERITY.items() if severity != "save"}

    assert tested == expected - NOT_YET.keys()


def test_every_code_that_refuses_saving_is_tested_with_the_documents() -> None:
    from tests.contracts.test_document import REFUSED

    tested = {code for _, _, code in REFUSED.values()}

    assert tested == {code for code, severity in SEVERITY.items() if severity == "save"}


# --- properties ---


def errors(raw: Any) -> set[str]:
    problems = examine(raw, CATALOGUE).problems
    return {problem.code for problem in problems if problem.severity != "warning"}


@settings(deadline=None)
@given(valid_documents())
def test_documents_that_are_built_to_be_valid_are(raw: dict[str, Any]) -> None:
    assert errors(raw) == set()


def _last_of(raw: dict[str, Any]) -> dict[str, Any]:
    last: dict[str, Any] = raw["nodes"][-1]
    return last


def _wire_in(raw: dict[str, Any], added: dict[str, Any]) -> None:
    if isinstance(raw["connections"], list):
        raw["connections"].append(added)
    else:
        target = {key: value for key, value in added.items() if key != "from"}
        raw["connections"].setdefault(added["from"], {"main": []})["main"].append(target)


def _feed(raw: dict[str, Any], added: dict[str, Any], target: dict[str, Any]) -> None:
    """Add a node and a connection to it."""
    raw["nodes"].append(target)
    _wire_in(raw, added)


MUTATIONS: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "an unknown field": ("unknown_field", lambda raw: raw.update(what=1)),
    "no name": ("missing_field", lambda raw: raw.pop("name")),
    "no nodes": ("no_nodes", lambda raw: raw.update(nodes=[], connections=[])),
    "a newer format": ("format_unsupported", lambda raw: raw.update(format=9)),
    "an unknown type": ("unknown_node_type", lambda raw: _last_of(raw).update(type="FLOW.NOTHING")),
    "no subtype": ("subtype_missing", lambda raw: _last_of(raw).update(type="FLOW")),
    "an impossible id": ("invalid_node_id", lambda raw: raw["nodes"].append(noop("no id"))),
    "an id twice": ("duplicate_node_id", lambda raw: raw["nodes"].append(noop("n0", name="other"))),
    "a name twice": ("duplicate_node_name", lambda raw: raw["nodes"].append(noop("z", name="start"))),
    "an unknown end": ("unknown_node", lambda raw: _wire_in(raw, wire("start", "nowhere"))),
    "a ring": ("self_connection", lambda raw: _wire_in(raw, wire("n0", "n0"))),
    "an unknown port": ("unknown_port", lambda raw: _feed(raw, wire("n0", "n0b", from_port="x"), noop("n0b"))),
    "an unknown parameter": ("unknown_parameter", lambda raw: _last_of(raw).update(parameters={"x": 1})),
    "a broken expression": ("invalid_expression", lambda raw: _last_of(raw).update(parameters={"data": "{{ a. }}"})),
    "an unknown reference": ("unknown_reference", lambda raw: _last_of(raw).update(parameters={"data": "{{ nodes.zz.output }}"})),
    "a trigger that is fed": ("trigger_with_input", lambda raw: _feed(raw, wire("n0", "t2"), START | {"id": "t2"})),
    "a broken mapping": ("invalid_mapping", lambda raw: _feed(raw, wire("n0", "n0c", mapping={"type": "TRANSFORM"}), noop("n0c"))),
    "an unknown version": ("type_version_unknown", lambda raw: _last_of(raw).update(type_version=7)),
    "a large timeout": ("limit_exceeded", lambda raw: _last_of(raw).update(timeout=10**9)),
    "a wrong type": ("invalid_type", lambda raw: _last_of(raw).update(parameters=[])),
}  # fmt: skip


@pytest.mark.parametrize(("code", "mutate"), MUTATIONS.values(), ids=MUTATIONS)
@settings(deadline=None, max_examples=10)
@given(raw=valid_documents())
def test_one_mutation_gives_the_expected_code(
    code: str, mutate: Callable[[dict[str, Any]], object], raw: dict[str, Any]
) -> None:
    mutate(raw)

    assert errors(raw) == {code}


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "from": st.sampled_from(("start", "each", "body", "agent", "tool", "p")),
                "to": st.sampled_from(("start", "each", "body", "agent", "tool", "p")),
            },
            optional={
                "from_port": st.sampled_from(("main", "iteration", "complete", "error")),
                "to_port": st.sampled_from(("main", "loop_body", "other")),
                "kind": st.sampled_from(("MAIN", "AI_TOOL", "AI_MEMORY", "AI_LANGUAGE_MODEL")),
                "mapping": st.dictionaries(
                    st.sampled_from(("type", "fields", "template", "expression", "static_values")),
                    st.sampled_from(("TRANSFORM", "FIELD_MAPPING", "{{", [], [{}], {"a": "{{ x"}, 1)),
                ),
            },
        ),
        max_size=12,
    )
)  # fmt: skip
def test_any_wiring_is_judged_without_an_exception(wires: list[Any]) -> None:
    nodes = [START, node("each", "FLOW.LOOP"), noop("body"), AGENT, TOOL, node("p", "CUSTOM.PAIR")]

    reading = examine(document(nodes, wires), CATALOGUE)

    assert all(problem.code in SEVERITY for problem in reading.problems)
    assert all(re.fullmatch(r"(/[^/]+)*", problem.pointer) for problem in reading.problems)


def test_what_validation_costs_grows_with_the_document_and_no_faster() -> None:
    def validating(size: int) -> Callable[[], object]:
        nodes = [START] + [
            node(f"n{index}", "FLOW.NOOP", data="{{ nodes.start.output.a + input.x }}")
            for index in range(size)
        ]
        wires = [wire("start", "n0")] + [
            wire(f"n{index}", f"n{index + step}")
            for index in range(size - 5)
            for step in range(1, 6)
        ]
        reading = read_document(document(nodes, wires), CATALOGUE)
        assert reading.document is not None
        return partial(validate, reading.document, CATALOGUE)

    assert validating(999)() == ()
    assert growth(validating, 499) < 2.3


def test_what_a_schema_is_refused_for_is_told_by_whoever_knows_schemas() -> None:
    raw = document([node("start", "TRIGGER.MANUAL", input_schema={"type": "text"})])
    asked: list[Any] = []

    def schema_fault(schema: Any) -> str | None:
        asked.append(schema)
        return "has a type that does not exist"

    (problem,) = examine(raw, CATALOGUE, schema_fault=schema_fault).problems

    assert asked == [{"type": "text"}]
    assert (problem.pointer, problem.code) == (
        "/nodes/0/parameters/input_schema",
        "invalid_parameter",
    )
    assert problem.message == "input_schema has a type that does not exist"


@pytest.mark.parametrize("parameters", [{}, {"input_schema": None}], ids=["absent", "null"])
def test_no_schema_is_no_fault(parameters: dict[str, Any]) -> None:
    raw = document([node("start", "TRIGGER.MANUAL", **parameters)])

    assert examine(raw, CATALOGUE, schema_fault=lambda _: "is asked for").problems == ()


def test_no_credential_exists_where_none_is_known() -> None:
    raw = chain(node("n", "ACTION.HTTP_REQUEST", url="x") | {"credentials": {"http": "shop"}})

    (problem,) = examine(raw, CATALOGUE, credentials={}).problems

    assert (problem.pointer, problem.code) == ("/nodes/1/credentials/http", "unknown_credential")


def test_a_loop_that_runs_too_much_at_once_names_the_limit() -> None:
    raw = with_parameters(loop(), "each", max_parallel=5)

    (problem,) = examine(raw, CATALOGUE, limits=DocumentLimits(max_parallel=4)).problems

    assert (problem.pointer, problem.code) == (
        "/nodes/1/parameters/max_parallel",
        "limit_exceeded",
    )
    assert "LIMIT_MAX_PARALLEL" in problem.message
    assert examine(raw, CATALOGUE, limits=DocumentLimits(max_parallel=5)).problems == ()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(with_noop(data="{{input.name}}"), id="a template"),
        pytest.param(with_if("input.name"), id="an expression"),
        pytest.param(with_mapping(type="TRANSFORM", expression="input.name"), id="a mapping"),
    ],
)
def test_the_length_of_expressions_is_a_limit(raw: dict[str, Any]) -> None:
    (problem,) = examine(raw, CATALOGUE, expression_limits=Limits(source_chars=9)).problems

    assert problem.code == "invalid_expression"
    assert examine(raw, CATALOGUE, expression_limits=Limits(source_chars=10)).problems == ()
