"""Reading documents: every accepted spelling, every refusal, and that normal documents stay as they are."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.document import Reading, export_form, read_document
from contracts.limits import DocumentLimits
from contracts.model import Document, encode_document
from contracts.problems import Problem
from tests.support.calls import growth
from tests.support.documents import START, chain, document, node, noop, valid_documents, wire
from tests.support.specs import CATALOGUE


def read(raw: Any, limits: DocumentLimits | None = None) -> Reading:
    return read_document(raw, CATALOGUE, limits or DocumentLimits())


def accepted(raw: Any) -> Document:
    """Return the document, which must be one, with warnings at most."""
    reading = read(raw)
    assert reading.document is not None, reading.problems
    return reading.document


def normal(raw: Any) -> dict[str, Any]:
    """Return the normalised form as JSON."""
    return dict(json.loads(encode_document(accepted(raw))))


def found(reading: Reading) -> list[tuple[str, str]]:
    return [(problem.pointer, problem.code) for problem in reading.problems]


def test_every_field_is_present_in_the_normalised_form() -> None:
    form = normal({"name": " Orders ", "nodes": [START, {"type": "flow.noop"}]})

    assert form == {
        "format": 1,
        "name": "Orders",
        "description": "",
        "nodes": [
            {
                "id": node_id,
                "name": node_id,
                "type": node_type,
                "type_version": 1,
                "parameters": {},
                "credentials": {},
                "disabled": False,
                "on_error": None,
                "retry_policy": {
                    "max_tries": 3,
                    "wait_between_tries": 5,
                    "multiplier": 2,
                    "max_wait": 300,
                    "jitter": True,
                    "retry_on": None,
                },
                "timeout": None,
                "delivery": None,
                "position": {"x": 0, "y": 0},
                "notes": "",
                "metadata": {},
            }
            for node_id, node_type in (("start", "TRIGGER.MANUAL"), ("noop_1", "FLOW.NOOP"))
        ],
        "connections": [],
        "settings": {
            "timezone": "UTC",
            "timeout": None,
            "on_error": "STOP_WORKFLOW_ON_ERROR",
            "priority": 0,
            "concurrency": None,
            "failure_workflow": None,
            "budget": {},
        },
        "static_data": {},
        "pin_data": {},
        "tags": [],
        "metadata": {},
    }


# --- nodes ---


def one(**fields: Any) -> dict[str, Any]:
    """Return a document with one node of these fields beside the trigger."""
    return document([START, {"id": "n", "type": "FLOW.NOOP", **fields}], [wire("start", "n")])


NODE_FORMS: dict[str, tuple[dict[str, Any], str, Any]] = {
    "type and subtype": ({"type": "flow", "subtype": "noop"}, "type", "FLOW.NOOP"),
    "camelCase": ({"onError": "stop"}, "on_error", "STOP_WORKFLOW_ON_ERROR"),
    "stop": ({"on_error": "stop"}, "on_error", "STOP_WORKFLOW_ON_ERROR"),
    "STOP_WORKFLOW": ({"on_error": "STOP_WORKFLOW"}, "on_error", "STOP_WORKFLOW_ON_ERROR"),
    "stopWorkflow": ({"on_error": "stopWorkflow"}, "on_error", "STOP_WORKFLOW_ON_ERROR"),
    "continue": ({"on_error": "continue"}, "on_error", "CONTINUE_REGULAR_OUTPUT"),
    "continueRegularOutput": (
        {"on_error": "continueRegularOutput"}, "on_error", "CONTINUE_REGULAR_OUTPUT",
    ),
    "CONTINUE_REGULAR_OUTPUT_ON_ERROR": (
        {"on_error": "CONTINUE_REGULAR_OUTPUT_ON_ERROR"}, "on_error", "CONTINUE_REGULAR_OUTPUT",
    ),
    "continueErrorOutput": (
        {"on_error": "continueErrorOutput"}, "on_error", "CONTINUE_ERROR_OUTPUT",
    ),
    "CONTINUE_ERROR_OUTPUT_ON_ERROR": (
        {"on_error": "CONTINUE_ERROR_OUTPUT_ON_ERROR"}, "on_error", "CONTINUE_ERROR_OUTPUT",
    ),
    "delivery in capitals": ({"delivery": "AT_MOST_ONCE"}, "delivery", "at_most_once"),
    "one try": ({"retry_policy": None}, "retry_policy", None),
    "notes as an object": ({"notes": {"a": "x", "b": 1}}, "notes", "x\n1"),
    "a name with blanks": ({"name": " N "}, "name", "N"),
    "half a position": ({"position": {"y": 1.5}}, "position", {"x": 0, "y": 1.5}),
    "timeout among the parameters": ({"parameters": {"timeout": 5}}, "timeout", 5),
    "timeout_seconds as text": ({"parameters": {"timeout_seconds": "7.5"}}, "timeout", 7.5),
    "a credential": ({"credentials": {"http": "shop"}}, "credentials", {"http": "shop"}),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "name", "value"), NODE_FORMS.values(), ids=NODE_FORMS)
def test_every_form_of_a_node_is_read(fields: dict[str, Any], name: str, value: Any) -> None:
    assert normal(one(**fields))["nodes"][1][name] == value


def test_retries_among_the_parameters_become_the_retry_policy() -> None:
    form = normal(one(parameters={"retry_attempts": 4, "retry_delay": "2"}))

    policy = form["nodes"][1]["retry_policy"]
    assert (policy["max_tries"], policy["wait_between_tries"]) == (5, 2)
    assert form["nodes"][1]["parameters"] == {}


@pytest.mark.parametrize("field", ["webhooks", "input_ports", "outputPorts"])
def test_fields_of_older_nodes_are_dropped_with_a_warning(field: str) -> None:
    reading = read(one(**{field: []}))

    assert reading.document is not None
    assert found(reading) == [(f"/nodes/1/{field}", "ignored_field")]


def test_ids_that_are_missing_are_the_first_free_of_their_subtype() -> None:
    raw = document(
        [
            {"type": "FLOW.NOOP"},
            {"type": "FLOW.NOOP", "id": "noop_2"},
            {"type": "FLOW.NOOP", "name": "noop_3"},
            {"type": "FLOW.NOOP"},
            {"type": "ACTION.HTTP_REQUEST"},
        ]
    )

    ids = [each["id"] for each in normal(raw)["nodes"]]

    assert ids == ["noop_1", "noop_2", "noop_3", "noop_4", "http_request_1"]


def test_the_newest_version_is_filled_in_and_a_pinned_one_stays() -> None:
    raw = document([node("a", "CUSTOM.PAIR"), node("b", "CUSTOM.PAIR") | {"type_version": 1}])

    assert [each["type_version"] for each in normal(raw)["nodes"]] == [2, 1]


# --- parameters ---

PARAMETER_FORMS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "an alias": ("ACTION.HTTP_REQUEST", {"query_params": {"a": 1}}, {"query": {"a": 1}}),
    "an enum in lower case": ("ACTION.HTTP_REQUEST", {"method": "post"}, {"method": "POST"}),
    "enums in a list": ("TRIGGER.WEBHOOK", {"allowed_methods": ["get", "Put"]}, {"methods": ["GET", "PUT"]}),
    "an enum that is a template": ("ACTION.HTTP_REQUEST", {"method": "{{ input.m }}"}, {"method": "{{ input.m }}"}),
    "another spelling of a value": ("FLOW.LOOP", {"loop_type": "Times"}, {"loop_type": "for"}),
    "a boolean that became a word": ("FLOW.LOOP", {"break_on_error": False}, {"on_item_error": "NULL"}),
    "a boolean that became a number": ("FLOW.LOOP", {"parallel_execution": True}, {"max_parallel": 10}),
    "one method": ("TRIGGER.WEBHOOK", {"http_method": "get"}, {"methods": ["GET"]}),
    "methods in one text": ("TRIGGER.WEBHOOK", {"method": "GET, post"}, {"methods": ["GET", "POST"]}),
    "a path with slashes around it": ("TRIGGER.WEBHOOK", {"webhook_path": "/orders/"}, {"path": "orders"}),
    "authentication that was off": ("TRIGGER.WEBHOOK", {"authentication_required": False}, {"authentication": "NONE"}),
    "a path that became an expression": ("FLOW.SORT", {"sort_field": "a.b"}, {"by": "item.a.b"}),
    "a key that became an expression": ("FLOW.MERGE", {"join_key": "id"}, {"key": "item.id"}),
    "a filter by fields": ("FLOW.FILTER", {"filter_condition": {"a": "x", "b": 1}}, {"condition": "item.a == 'x' && item.b == 1"}),
    "cases with routes": ("FLOW.SWITCH", {"switch_cases": [{"value": 1, "route": "a"}]}, {"cases": [{"equals": 1, "port": "a"}]}),
    "cases as JSON text": ("FLOW.SWITCH", {"cases": '{"x": "left"}'}, {"cases": {"x": "left"}}),
    "a due time of its own": ("FLOW.WAIT", {"timeout": 60}, {"max_wait": 60}),
    "timeout_seconds as an alias": ("FLOW.WAIT", {"timeout_seconds": 60}, {"max_wait": 60}),
    "a constant that the engine reads": ("FLOW.MERGE", {"timeout_seconds": "60"}, {"max_wait": 60}),
    "a boolean for one of two words": ("FLOW.MERGE", {"wait_for_all": False}, {"wait_for": "first"}),
    "the call timeout of an agent": ("AI_AGENT.OPENAI", {"timeout": 60}, {"call_timeout": 60}),
    "unknown ones stay": ("FLOW.NOOP", {"what": 1}, {"what": 1}),
    "an alias beside its parameter stays": ("ACTION.HTTP_REQUEST", {"query": {}, "query_params": {"a": 1}}, {"query": {}, "query_params": {"a": 1}}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("node_type", "sent", "stored"), PARAMETER_FORMS.values(), ids=PARAMETER_FORMS
)
def test_every_form_of_a_parameter_is_read(
    node_type: str, sent: dict[str, Any], stored: dict[str, Any]
) -> None:
    raw = document([{"id": "n", "type": node_type, "parameters": sent}])

    assert accepted(raw).nodes[0].parameters == stored


def test_a_schedule_that_was_not_enabled_becomes_a_disabled_node() -> None:
    read_node = accepted(document([node("n", "TRIGGER.CRON", enabled=False)])).nodes[0]

    assert read_node.disabled
    assert read_node.parameters == {}


def test_ignored_parameters_are_dropped_with_a_warning() -> None:
    reading = read(document([node("n", "FLOW.IF", condition="true", strict_mode=True)]))

    assert reading.document is not None
    assert reading.document.nodes[0].parameters == {"condition": "true"}
    assert found(reading) == [("/nodes/0/parameters/strict_mode", "ignored_field")]


@pytest.mark.parametrize(
    "name",
    ["api_key", "apiKey", "auth_token", "github_token", "bot_token", "access_token", "api_token",
     "connection_string", "signature_secret", "credentials", "password"],
)  # fmt: skip
def test_a_parameter_that_held_a_secret_is_refused_naming_the_slot(name: str) -> None:
    reading = read(document([node("n", "ACTION.HTTP_REQUEST", url="x", **{name: "s3cret"})]))

    assert found(reading) == [(f"/nodes/0/parameters/{name}", "unknown_field")]
    assert "credentials.http" in reading.problems[0].message
    assert "s3cret" not in reading.problems[0].message


# --- connections ---

PAIR = [START, noop("a", name="First"), noop("b", name="Second")]
TARGET = {"node": "b"}

CONNECTION_FORMS: dict[str, Any] = {
    "a flat list": [wire("a", "b")],
    "source and target": [{"source": "a", "target": "b"}],
    "source_node and target_node": [{"source_node": "a", "target_node": "b"}],
    "camelCase": [{"sourceNode": "a", "targetNode": "b"}],
    "from_node and to_node": [{"from_node": "a", "to_node": "b"}],
    "node": [{"from": "a", "node": "b"}],
    "source_port and target_port": [wire("a", "b", source_port="main", target_port="main")],
    "output_port and input_port": [wire("a", "b", output_port="main", input_port="main")],
    "output_key": [wire("a", "b", output_key="main")],
    "kind in lower case": [wire("a", "b", kind="main")],
    "type": [wire("a", "b", type="Main")],
    "connection_type": [wire("a", "b", connection_type="MAIN")],
    "an index": [wire("a", "b", index=0)],
    "a map": {"a": {"main": [TARGET]}},
    "a map of texts": {"a": {"main": ["b"]}},
    "a map by names": {"First": {"MAIN": [{"node": "Second"}]}},
    "a map inside connections": {"connections": {"a": {"main": [TARGET]}}},
    "connection_types": {"a": {"connection_types": {"main": {"connections": [TARGET]}}}},
    "connectionTypes": {"a": {"connectionTypes": {"main": {"connections": [TARGET]}}}},
    "a list by output index": {"a": {"main": [[TARGET]]}},
    "an empty output in such a list": {"a": {"main": [[TARGET], None]}},
    "the kind repeated in the target": {"a": {"main": [[{"node": "b", "type": "main", "index": 0}]]}},
}  # fmt: skip


@pytest.mark.parametrize("sent", CONNECTION_FORMS.values(), ids=CONNECTION_FORMS)
def test_every_form_of_connections_becomes_the_flat_list(sent: Any) -> None:
    form = normal(document(PAIR, sent))

    assert form["connections"] == [
        {"from": "a", "to": "b", "from_port": "main", "to_port": "main", "kind": "MAIN", "mapping": None}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "index", "port"),
    [
        pytest.param(node("s", "FLOW.IF"), 0, "true", id="IF 0"),
        pytest.param(node("s", "FLOW.IF"), 1, "false", id="IF 1"),
        pytest.param(node("s", "FLOW.IF"), 2, "2", id="past the ports: for validation to refuse"),
        pytest.param(node("s", "FLOW.LOOP"), 1, "complete", id="LOOP 1"),
        pytest.param(node("s", "FLOW.SWITCH", cases={"x": "b", "y": "a"}), 1, "a", id="SWITCH by its cases"),
        pytest.param(node("s", "FLOW.SWITCH", cases={"x": "b"}), 1, "default", id="SWITCH: the default last"),
    ],
)  # fmt: skip
def test_an_index_is_the_port_of_the_spec(source: dict[str, Any], index: int, port: str) -> None:
    nodes = [START, source, noop("b")]
    by_place: list[Any] = [[] for _ in range(index)]

    for connections in ([wire("s", "b", index=index)], {"s": {"main": [*by_place, [TARGET]]}}):
        assert accepted(document(nodes, connections)).connections[0].from_port == port


def test_connections_of_a_map_stand_in_the_order_written() -> None:
    sent = {"b": {"main": ["c"]}, "start": {"main": [["b", "a"], ["c"]]}}

    read_wires = accepted(document([*PAIR, noop("c")], sent)).connections

    ends = [(each.source, each.target, each.from_port) for each in read_wires]
    assert ends == [("b", "c", "main"), ("start", "b", "main"), ("start", "a", "main"), ("start", "c", "1")]  # fmt: skip


def test_a_node_called_connections_is_no_wrapping() -> None:
    raw = document([noop("connections"), noop("b")], {"connections": {"main": ["b"]}})

    assert accepted(raw).connections[0].source == "connections"


def test_an_id_wins_over_a_name() -> None:
    raw = document([noop("a", name="x"), noop("b"), noop("x", name="y")], {"x": {"main": ["b"]}})

    assert accepted(raw).connections[0].source == "x"


AGENT = node("agent", "AI_AGENT.OPENAI", system_prompt="x")


@pytest.mark.parametrize(
    ("lender", "kind"),
    [
        pytest.param(node("tool", "TOOL.HTTP", url="x"), "AI_TOOL", id="tool"),
        pytest.param(node("tool", "MEMORY.BUFFER"), "AI_MEMORY", id="memory"),
        pytest.param(node("tool", "MEMORY.BUFFER"), "AI_TOOL", id="memory as a tool"),
    ],
)
@pytest.mark.parametrize("is_turned", [False, True], ids=["as stored", "turned"])
def test_attachments_are_stored_from_lender_to_borrower(
    lender: dict[str, Any], kind: str, is_turned: bool
) -> None:
    ends = ("agent", "tool") if is_turned else ("tool", "agent")

    stored = accepted(document([AGENT, lender], [wire(*ends, kind=kind)])).connections[0]

    assert (stored.source, stored.target) == ("tool", "agent")


def test_where_both_ends_could_lend_the_first_is_the_lender() -> None:
    agents = [AGENT, AGENT | {"id": "other"}]

    stored = accepted(document(agents, [wire("other", "agent", kind="ai_languageModel")]))

    assert stored.connections[0].source == "other"
    assert stored.connections[0].kind == "AI_LANGUAGE_MODEL"


MAPPINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "direct": ({"mapping": {}}, {"type": "DIRECT"}),
    "fields": (
        {"mapping": {"type": "FIELD_MAPPING", "fields": [{"from": "a", "to": "b"}]}},
        {"type": "FIELD_MAPPING", "fields": [{"required": False, "from": "a", "to": "b"}]},
    ),
    "older fields": (
        {
            "data_mapping": {
                "type": "field_mapping",
                "field_mappings": [
                    {"source_field": "a", "target_field": "b", "default_value": 1, "transform": {"type": "NONE"}},
                    {"source_field": "c", "target_field": "d", "default_value": None, "transform": None},
                ],
                "transform_script": None,
            }
        },
        {
            "type": "FIELD_MAPPING",
            "fields": [
                {"required": False, "from": "a", "to": "b", "default": 1},
                {"required": False, "from": "c", "to": "d"},
            ],
        },
    ),
    "older fields in camelCase": (
        {"dataMapping": {"type": "FIELD_MAPPING", "fieldMappings": [{"sourceField": "a", "targetField": "b"}]}},
        {"type": "FIELD_MAPPING", "fields": [{"required": False, "from": "a", "to": "b"}]},
    ),
    "an older script": (
        {"data_mapping": {"type": "transform", "transform_script": "input.a", "field_mappings": []}},
        {"type": "TRANSFORM", "expression": "input.a"},
    ),
    "an older template": (
        {"data_mapping": {"type": "template", "transform_script": "{{ input.a }}"}},
        {"type": "TEMPLATE", "template": "{{ input.a }}"},
    ),
    "static values": (
        {"mapping": {"type": "direct", "static_values": {"a.b": 1}}},
        {"type": "DIRECT", "static_values": {"a.b": 1}},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "stored"), MAPPINGS.values(), ids=MAPPINGS)
def test_every_form_of_a_mapping_is_read(sent: dict[str, Any], stored: dict[str, Any]) -> None:
    assert accepted(document(PAIR, [wire("a", "b", **sent)])).connections[0].mapping == stored


# --- the document around ---

AROUND: dict[str, tuple[dict[str, Any], str, Any]] = {
    "error_policy": ({"settings": {"error_policy": "continue"}}, "/settings/on_error", "CONTINUE_REGULAR_OUTPUT"),
    "errorPolicy": ({"settings": {"errorPolicy": "stop"}}, "/settings/on_error", "STOP_WORKFLOW_ON_ERROR"),
    "a time zone by name": ({"settings": {"timezone": {"name": "Europe/Berlin"}}}, "/settings/timezone", "Europe/Berlin"),
    "a default time zone": ({"settings": {"timezone": {"default": "Asia/Tokyo"}}}, "/settings/timezone", "Asia/Tokyo"),
    "concurrency": ({"settings": {"concurrency": {"limit": 2, "onLimit": "drop"}}}, "/settings/concurrency", {"limit": 2, "key": None, "on_limit": "DROP"}),
    "a budget": ({"settings": {"budget": {"maxCostUsd": 1.5}}}, "/settings/budget", {"max_cost_usd": 1.5}),
    "staticData": ({"staticData": {"a": 1}}, "/static_data", {"a": 1}),
    "pinData": ({"pinData": {"start": {"a": 1}}}, "/pin_data", {"start": {"a": 1}}),
    "tags": ({"tags": ["a", "b"]}, "/tags", ["a", "b"]),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "pointer", "value"), AROUND.values(), ids=AROUND)
def test_every_form_around_the_nodes_is_read(
    fields: dict[str, Any], pointer: str, value: Any
) -> None:
    found_value: Any = normal(document([START], **fields))
    for step in pointer.split("/")[1:]:
        found_value = found_value[step]

    assert found_value == value


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        pytest.param({"version": "1.0"}, "/version", id="version"),
        pytest.param({"session_id": "x"}, "/session_id", id="session_id"),
        pytest.param({"sessionId": "x"}, "/sessionId", id="sessionId"),
        pytest.param({"settings": {"caller_policy": "any"}}, "/settings/caller_policy", id="caller"),
        pytest.param({"settings": {"save_execution_progress": True}}, "/settings/save_execution_progress", id="progress"),
        pytest.param({"settings": {"saveManualExecutions": True}}, "/settings/saveManualExecutions", id="manual"),
    ],
)  # fmt: skip
def test_what_older_engines_used_is_dropped_with_a_warning(
    fields: dict[str, Any], pointer: str
) -> None:
    reading = read(document([START], **fields))

    assert reading.document == accepted(document([START]))
    assert found(reading) == [(pointer, "ignored_field")]


# --- refusals: exactly one problem each ---

_AB = [START, noop("a"), noop("b")]

REFUSED: dict[str, tuple[Any, str, str]] = {
    "no object": ([], "", "invalid_type"),
    "no name": ({"nodes": [START]}, "/name", "missing_field"),
    "a blank name": (document([START], name="  "), "/name", "invalid_value"),
    "a long name": (document([START], name="x" * 256), "/name", "invalid_value"),
    "a name that is no text": (document([START], name=1), "/name", "invalid_type"),
    "a long description": (document([START], description="x" * 10_001), "/description", "invalid_value"),
    "no nodes field": ({"name": "x"}, "/nodes", "missing_field"),
    "nodes that are no list": ({"name": "x", "nodes": {}}, "/nodes", "invalid_type"),
    "no nodes": (document([]), "/nodes", "no_nodes"),
    "a newer format": (document([START], format=2), "/format", "format_unsupported"),
    "an impossible format": (document([START], format=0), "/format", "invalid_value"),
    "a format that is no number": (document([START], format=True), "/format", "invalid_type"),
    "an unknown field": (document([START], node=[]), "/node", "unknown_field"),
    "a version that is no text": (document([START], version=2), "/version", "unknown_field"),
    "user_id": (document([START], user_id="u"), "/user_id", "unknown_field"),
    "user_id in a node": (document([START | {"userId": "u"}]), "/nodes/0/userId", "unknown_field"),
    "user_id in the settings": (document([START], settings={"user_id": "u"}), "/settings/user_id", "unknown_field"),
    "user_id among the parameters": (document([node("n", "FLOW.NOOP", user_id="u")]), "/nodes/0/parameters/user_id", "unknown_field"),
    "user_id in a connection": (document(_AB, [wire("a", "b", user_id="u")]), "/connections/0/user_id", "unknown_field"),
    "a field given twice": (document([START], static_data={}, staticData={}), "/staticData", "invalid_value"),
    "too many tags": (document([START], tags=[str(n) for n in range(51)]), "/tags", "limit_exceeded"),
    "a tag twice": (document([START], tags=["a", "a"]), "/tags/1", "invalid_value"),
    "an empty tag": (document([START], tags=[""]), "/tags/0", "invalid_value"),
    "a tag that is no text": (document([START], tags=[1]), "/tags/0", "invalid_type"),
    "large metadata": (document([START], metadata={"a": "x" * 65536}), "/metadata", "limit_exceeded"),
    "a pin of no node": (document([START], pin_data={"x": 1}), "/pin_data/x", "unknown_node"),
    "a payload reference among the constants": (document([START], static_data={"a": [{"$payload": {"id": "x"}}]}), "/static_data/a/0", "invalid_value"),
    "a payload reference as a pin": (document([START], pin_data={"start": {"$payload": 1}}), "/pin_data/start", "invalid_value"),
    "a payload reference in a parameter": (document([node("n", "FLOW.NOOP", data={"$payload": 1})]), "/nodes/0/parameters/data", "invalid_value"),
    "settings that are no object": (document([START], settings=[]), "/settings", "invalid_type"),
    "an unknown time zone": (document([START], settings={"timezone": "Mars/Base"}), "/settings/timezone", "invalid_value"),
    "a time zone that is a folder": (document([START], settings={"timezone": "Europe"}), "/settings/timezone", "invalid_value"),
    "a time zone outside": (document([START], settings={"timezone": "../../etc/passwd"}), "/settings/timezone", "invalid_value"),
    "a time zone that is no text": (document([START], settings={"timezone": 1}), "/settings/timezone", "invalid_type"),
    "an unknown error policy": (document([START], settings={"on_error": "retry"}), "/settings/on_error", "invalid_value"),
    "an execution timeout of nothing": (document([START], settings={"timeout": 0}), "/settings/timeout", "invalid_value"),
    "an execution timeout past the limit": (document([START], settings={"timeout": 31_536_001}), "/settings/timeout", "limit_exceeded"),
    "a priority past its range": (document([START], settings={"priority": 11}), "/settings/priority", "invalid_value"),
    "concurrency without limit": (document([START], settings={"concurrency": {}}), "/settings/concurrency/limit", "missing_field"),
    "concurrency of nothing": (document([START], settings={"concurrency": {"limit": 0}}), "/settings/concurrency/limit", "invalid_value"),
    "an unknown budget": (document([START], settings={"budget": {"max_calls": 1}}), "/settings/budget/max_calls", "unknown_field"),
    "a budget below 0": (document([START], settings={"budget": {"max_tokens": -1}}), "/settings/budget/max_tokens", "invalid_value"),
    "a node that is no object": (document([START, 1]), "/nodes/1", "invalid_type"),
    "a node without type": (document([{"id": "a"}]), "/nodes/0/type", "missing_field"),
    "a type that is no text": (document([{"id": "a", "type": 1}]), "/nodes/0/type", "invalid_type"),
    "an unknown type": (document([node("a", "FLOW.FI")]), "/nodes/0/type", "unknown_node_type"),
    "a type without subtype": (document([node("a", "FLOW")]), "/nodes/0/type", "subtype_missing"),
    "an impossible id": (document([noop("1a")]), "/nodes/0/id", "invalid_node_id"),
    "a long id": (document([noop("a" * 101)]), "/nodes/0/id", "invalid_node_id"),
    "an id that is no text": (document([noop("a") | {"id": 1}]), "/nodes/0/id", "invalid_type"),
    "an id twice": (document([noop("a"), noop("a", name="b")]), "/nodes/1/id", "duplicate_node_id"),
    "a name twice": (document([noop("a", name="x"), noop("b", name="x")]), "/nodes/1/name", "duplicate_node_name"),
    "a name that is another's id": (document([noop("a"), noop("b", name="a")]), "/nodes/1/name", "duplicate_node_name"),
    "a type version of nothing": (document([START | {"type_version": 0}]), "/nodes/0/type_version", "invalid_value"),
    "parameters that are no object": (document([START | {"parameters": []}]), "/nodes/0/parameters", "invalid_type"),
    "a secret for a credential": (document([START | {"credentials": {"http": {"token": "x"}}}]), "/nodes/0/credentials/http", "invalid_type"),
    "disabled as text": (document([START | {"disabled": "yes"}]), "/nodes/0/disabled", "invalid_type"),
    "an unknown delivery": (document([START | {"delivery": "exactly_once"}]), "/nodes/0/delivery", "invalid_value"),
    "a node timeout past the limit": (document([START | {"timeout": 86_401}]), "/nodes/0/timeout", "limit_exceeded"),
    "a timeout given twice": (document([noop("a", timeout=1, parameters={"timeout": 2})]), "/nodes/0/parameters/timeout", "invalid_value"),
    "a moved timeout that is no number": (document([node("a", "FLOW.NOOP", timeout="soon")]), "/nodes/0/parameters/timeout", "invalid_type"),
    "too many tries": (document([START | {"retry_policy": {"max_tries": 11}}]), "/nodes/0/retry_policy/max_tries", "limit_exceeded"),
    "too many moved tries": (document([node("a", "FLOW.NOOP", retry_attempts=10)]), "/nodes/0/parameters/retry_attempts", "limit_exceeded"),
    "no try": (document([START | {"retry_policy": {"max_tries": 0}}]), "/nodes/0/retry_policy/max_tries", "invalid_value"),
    "half a try": (document([START | {"retryPolicy": {"maxTries": 1.5}}]), "/nodes/0/retryPolicy/maxTries", "invalid_type"),
    "an unknown retry field": (document([START | {"retry_policy": {"tries": 1}}]), "/nodes/0/retry_policy/tries", "unknown_field"),
    "retry_on that lists no texts": (document([START | {"retry_policy": {"retry_on": [1]}}]), "/nodes/0/retry_policy/retry_on", "invalid_value"),
    "a position that is a list": (document([START | {"position": [1, 2]}]), "/nodes/0/position", "invalid_type"),
    "long notes": (document([START | {"notes": "x" * 10_001}]), "/nodes/0/notes", "invalid_value"),
    "connections that are a text": (document(_AB, "a-b"), "/connections", "invalid_type"),
    "a connection that is no object": (document(_AB, [1]), "/connections/0", "invalid_type"),
    "a connection without source": (document(_AB, [{"to": "b"}]), "/connections/0/from", "missing_field"),
    "a connection from nowhere": (document(_AB, [wire("x", "b")]), "/connections/0/from", "unknown_node"),
    "a connection to nowhere": (document(_AB, [{"source": "a", "target": "x"}]), "/connections/0/target", "unknown_node"),
    "a name in a list": (document([START, noop("a"), noop("b", name="B")], [wire("a", "B")]), "/connections/0/to", "unknown_node"),
    "a source of a map that is unknown": (document(_AB, {"x": {"main": ["b"]}}), "/connections/0/from", "unknown_node"),
    "a target of a map that is unknown": (document(_AB, {"a": {"main": ["b", "x"]}}), "/connections/1/to", "unknown_node"),
    "kinds of a map that are a list": (document(_AB, {"a": ["b"]}), "/connections/a", "invalid_type"),
    "targets of a map that are a text": (document(_AB, {"a": {"main": "b"}}), "/connections/a/main", "invalid_type"),
    "a target that contradicts its place": (document(_AB, {"a": {"main": [{"node": "b", "type": "ai_tool"}]}}), "/connections/0/kind", "invalid_value"),
    "a connection to itself": (document(_AB, [wire("a", "a")]), "/connections/0/to", "self_connection"),
    "a connection twice": (document(_AB, [wire("a", "b"), wire("a", "b", mapping={"type": "DIRECT"})]), "/connections/1", "duplicate_connection"),
    "an unknown kind": (document(_AB, [wire("a", "b", kind="AI_MAGIC")]), "/connections/0/kind", "unknown_kind"),
    "a mapping that is a text": (document(_AB, [wire("a", "b", mapping="x")]), "/connections/0/mapping", "invalid_type"),
    "an unknown field of a mapping": (document(_AB, [wire("a", "b", mapping={"script": "x"})]), "/connections/0/mapping/script", "unknown_field"),
    "a field with a transform": (
        document(_AB, [wire("a", "b", data_mapping={"type": "FIELD_MAPPING", "field_mappings": [{"source_field": "x", "target_field": "y", "transform": "UPPER"}]})]),
        "/connections/0/data_mapping/field_mappings/0/transform", "invalid_value",
    ),
    **{
        f"the kind {kind}": (document(_AB, [wire("a", "b", kind=kind)]), "/connections/0/kind", "unsupported_kind")
        for kind in ("AI_AGENT", "AI_CHAIN", "AI_DOCUMENT", "AI_EMBEDDING", "AI_OUTPUT_PARSER", "AI_RETRIEVER", "AI_RERANKER", "AI_TEXT_SPLITTER", "ai_vectorStore")
    },
}  # fmt: skip


@pytest.mark.parametrize(("raw", "pointer", "code"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_saved_is_refused_at_its_place(raw: Any, pointer: str, code: str) -> None:
    reading = read(raw)

    assert reading.document is None
    assert found(reading) == [(pointer, code)]


def test_an_unsupported_kind_names_the_supported_ones_and_what_to_use() -> None:
    message = read(document(_AB, [wire("a", "b", kind="AI_OUTPUT_PARSER")])).problems[0].message

    assert "MAIN, AI_TOOL, AI_MEMORY, AI_LANGUAGE_MODEL" in message
    assert "response_schema" in message


def test_an_unknown_field_names_the_nearest() -> None:
    assert "the nearest is nodes" in read(document([START], node=[])).problems[0].message


def test_limits_name_themselves_and_the_value_found() -> None:
    limits = DocumentLimits(nodes=2, connections=1)
    too_many_nodes = read(document([noop("a"), noop("b"), noop("c")]), limits)
    too_many_wires = read(
        document([noop("a"), noop("b")], [wire("a", "b"), wire("b", "a")]), limits
    )

    assert found(too_many_nodes) == [("/nodes", "limit_exceeded")]
    assert "3 nodes; the limit is 2 (LIMIT_NODES)" in too_many_nodes.problems[0].message
    assert found(too_many_wires) == [("/connections", "limit_exceeded")]
    assert "LIMIT_CONNECTIONS" in too_many_wires.problems[0].message


def test_everything_is_reported_at_once() -> None:
    reading = read(
        {
            "name": "",
            "nodes": [{"type": "X"}, noop("a", timeout=-1)],
            "connections": [wire("a", "z")],
            "settings": {"priority": "high"},
        }
    )

    assert {code for _, code in found(reading)} == {
        "invalid_value", "unknown_node_type", "unknown_node", "invalid_type",
    }  # fmt: skip
    assert len(reading.problems) == 5


def test_problems_of_a_node_name_it() -> None:
    assert read(document([noop("a", timeout=-1)])).problems[0].node_id == "a"


def test_problems_of_the_normalised_form_are_located_in_what_was_sent() -> None:
    reading = read(
        document(
            [node("n", "ACTION.HTTP_REQUEST", query_params={}, timeout_seconds=5), noop("b")],
            [{"source": "n", "target": "b", "data_mapping": {"type": "transform", "transform_script": "x"}}],
            settings={"errorPolicy": "stop"},
        )
    )  # fmt: skip
    stored = {
        "/nodes/0/parameters/query/a": "/nodes/0/parameters/query_params/a",
        "/nodes/0/timeout": "/nodes/0/parameters/timeout_seconds",
        "/connections/0/mapping/expression": "/connections/0/data_mapping/transform_script",
        "/connections/0/from": "/connections/0/source",
        "/settings/on_error": "/settings/errorPolicy",
        "/nodes/1/id": "/nodes/1/id",
        "": "",
    }

    located = reading.located(Problem(pointer, "cycle", "") for pointer in stored)

    assert [problem.pointer for problem in located] == list(stored.values())


# --- properties ---


def test_a_normalised_document_is_its_own_normal_form() -> None:
    raw = chain(
        node("fetch", "ACTION.HTTP_REQUEST", url="x", data=1, method="put", timeout=3, unknown=1),
        {"id": "end", "type": "flow", "subtype": "if", "notes": {"a": "b"}, "onError": "continue"},
    )

    once = accepted(raw)

    assert accepted(json.loads(encode_document(once))) == once


@settings(deadline=None)
@given(valid_documents())
def test_normalising_is_idempotent_and_exports_come_back(raw: dict[str, Any]) -> None:
    sent = json.dumps(raw)

    once = accepted(raw)
    again = read(json.loads(encode_document(once)))
    exported = read(json.loads(msgspec.json.encode(export_form(once))))

    assert json.dumps(raw) == sent, "what was sent is left as it is"
    assert (again.document, again.problems) == (once, ())
    assert (exported.document, exported.problems) == (once, ())


_KEYS = st.sampled_from(
    ("name", "nodes", "connections", "settings", "id", "type", "subtype", "parameters", "from", "to",
     "kind", "mapping", "data_mapping", "fields", "index", "main", "user_id", "pin_data", "retry_policy",
     "timeout", "notes", "position", "metadata", "tags", "timezone", "concurrency", "budget", "a")
)  # fmt: skip
_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True)
    | st.sampled_from(("a", "FLOW.NOOP", "ACTION", "main", "{{", "AI_TOOL", "", "UTC", "continue"))
    | st.text(max_size=5)
)  # fmt: skip
_ANY_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS | st.text(max_size=3), inner, max_size=6),
    max_leaves=40,
)  # fmt: skip
_NODE_LIKE = st.dictionaries(_KEYS, _ANY_JSON, max_size=6).map(
    lambda fields: {"id": "a", "type": "FLOW.NOOP"} | fields
)


@settings(deadline=None, max_examples=300)
@given(
    _ANY_JSON
    | st.fixed_dictionaries(
        {"name": _LEAVES, "nodes": st.lists(_NODE_LIKE, max_size=4)},
        optional={"connections": _ANY_JSON, "settings": _ANY_JSON, "pin_data": _ANY_JSON},
    )
)
def test_any_json_is_read_without_an_exception(raw: Any) -> None:
    reading = read(raw)

    refused = any(problem.severity == "save" for problem in reading.problems)
    assert (reading.document is None) == refused


# --- exports ---


def test_an_export_leaves_out_what_equals_its_default() -> None:
    raw = {
        "format": 1,
        "name": "Orders",
        "nodes": [
            {"id": "hook", "type": "TRIGGER.MANUAL", "type_version": 1},
            {
                "id": "fetch",
                "type": "ACTION.HTTP_REQUEST",
                "type_version": 1,
                "name": "Fetch it",
                "parameters": {"url": "x"},
                "retry_policy": {"max_tries": 5},
            },
            {"id": "once", "type": "FLOW.NOOP", "type_version": 1, "retry_policy": None},
        ],
        "connections": [
            {"from": "hook", "to": "fetch"},
            {"from": "fetch", "to": "once", "from_port": "error"},
        ],
        "settings": {"timezone": "Europe/Berlin"},
    }

    assert export_form(accepted(raw)) == raw


def test_what_reading_costs_grows_with_the_document_and_no_faster() -> None:
    def reading(size: int) -> Callable[[], object]:
        nodes = [noop(f"n{index}") for index in range(size)]
        wires = [
            wire(f"n{index}", f"n{index + step}")
            for index in range(size - 6)
            for step in range(1, 6)
        ]
        return partial(accepted, document(nodes, wires))

    assert growth(reading, 500) < 2.3


def test_a_document_full_of_mistakes_is_answered_with_the_first_thousand() -> None:
    def full_of_mistakes(size: int) -> Callable[[], Reading]:
        wires = [wire(f"from{index}", f"to{index}") for index in range(5 * size)]
        raw = document([noop(f"n{index}", **{f"x{index}": 1}) for index in range(size)], wires)
        raw |= {f"field{index}": 1 for index in range(50 * size)}
        return partial(read, raw)

    assert len(full_of_mistakes(1000)().problems) == 1000
    assert growth(full_of_mistakes, 500) < 2.3


def test_warnings_do_not_hide_what_refuses_saving() -> None:
    nodes = [
        noop(f"n{index}", webhooks=[], input_ports=[], output_ports=[]) for index in range(999)
    ]

    reading = read(document(nodes, settings={"priority": 99}))

    assert reading.document is None
    assert found(reading)[-1] == ("/settings/priority", "invalid_value")
