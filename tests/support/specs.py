"""A small catalogue for tests of documents: one node type of every kind that reading and checking tells apart."""

from typing import Any, Final

from contracts.model import ConnectionKind
from contracts.specs import Catalogue, CredentialSlot, NodeSpec, Parameter, Port

_TEXT: Final[dict[str, Any]] = {"type": "string"}
_ANY: Final[dict[str, Any]] = {}
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


def expression(name: str, **fields: Any) -> Parameter:
    """Return a parameter that holds the source of an expression."""
    return Parameter(name=name, kind="expr", **fields)


def choice(name: str, *values: str, **fields: Any) -> Parameter:
    """Return a parameter that takes one of some words."""
    return Parameter(name=name, schema={"type": "string", "enum": list(values)}, **fields)


def number(name: str, least: float, most: float, **fields: Any) -> Parameter:
    """Return a parameter that takes a whole number."""
    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Parameter(name=name, schema=schema, **fields)


def ports(*names: str) -> tuple[Port, ...]:
    """Return ports of these names."""
    return tuple(Port(name) for name in names)


MANUAL: Final = NodeSpec(
    type="TRIGGER.MANUAL",
    title="Manual start",
    inputs=(),
    parameters=(
        Parameter(name="title", schema=_TEXT, aliases=("trigger_name",)),
        Parameter(name="description", schema=_TEXT),
        Parameter(name="input_schema", kind="literal", schema={"format": "json-schema"}),
    ),
)

EVENT: Final = NodeSpec(
    type="TRIGGER.EVENT",
    title="Event",
    inputs=(),
    parameters=(
        Parameter(name="subject", required=True, schema={"type": "string", "minLength": 1}),
        expression("filter", scope=("message",)),
    ),
)

CRON: Final = NodeSpec(
    type="TRIGGER.CRON",
    title="Schedule",
    inputs=(),
    parameters=(
        Parameter(
            name="cron", schema={"type": "string", "format": "cron"}, aliases=("cron_expression",)
        ),
        Parameter(name="interval", schema={"type": "number", "minimum": 1}),
        Parameter(name="timezone", schema={"type": "string", "format": "timezone"}),
        choice("catch_up", "LAST", "ALL", "NONE", default="LAST"),
        choice("overlap", "ALLOW", "SKIP", default="ALLOW"),
        Parameter(name="data", schema={}),
    ),
)

HOOK: Final = NodeSpec(
    type="TRIGGER.WEBHOOK",
    title="Webhook",
    inputs=(),
    parameters=(
        Parameter(name="path", schema=_TEXT, aliases=("webhook_path",)),
        Parameter(
            name="methods",
            schema={"type": "array", "items": {"type": "string", "enum": list(_METHODS)}},
            default=["POST"],
            aliases=("method", "http_method", "allowed_methods"),
        ),
        choice(
            "authentication", "NONE", "HEADER_TOKEN", "SIGNATURE",
            default="HEADER_TOKEN",
            aliases=("authentication_required",),
            value_aliases={"false": "NONE", "true": "HEADER_TOKEN"},
        ),
        Parameter(name="header", kind="literal", schema=_TEXT, default="X-Webhook-Token"),
        choice("response_mode", "IMMEDIATELY", "WAIT", default="IMMEDIATELY"),
        Parameter(
            name="response_timeout",
            kind="literal",
            schema={"type": "number", "minimum": 0, "maximum": 60},
            default=30.0,
        ),
        expression("filter", scope=("message",)),
    ),
    ignored_parameters=("response_format",),
    credentials=(CredentialSlot("webhook"),),
)  # fmt: skip

IF: Final = NodeSpec(
    type="FLOW.IF",
    title="If",
    parameters=(expression("condition", required=True, aliases=("condition_expression",)),),
    ignored_parameters=("strict_mode",),
    outputs=ports("true", "false"),
    pass_through="true",
)

_CASES: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "object", "additionalProperties": {"type": "string"}},
        {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "equals": {"format": "template"},
                    "when": {"type": "string", "format": "expr"},
                    "port": {"type": "string"},
                },
                "required": ["port"],
            },
        },
    ]
}

SWITCH: Final = NodeSpec(
    type="FLOW.SWITCH",
    title="Switch",
    parameters=(
        expression("value", aliases=("switch_expression",)),
        expression("cases", required=True, schema=_CASES, aliases=("switch_cases",)),
        Parameter(name="default", schema=_TEXT, default="default", aliases=("default_case",)),
    ),
    outputs=(),
    pass_through="{default}",
    port_parameters=("cases", "default"),
)

MERGE: Final = NodeSpec(
    type="FLOW.MERGE",
    title="Merge",
    parameters=(
        choice(
            "strategy", "concat", "union", "intersection", "join", "combine", "custom",
            default="concat",
            aliases=("merge_strategy",),
            value_aliases={"concatenate": "concat"},
        ),
        expression("key", scope=("item",), aliases=("join_key", "merge_key")),
        expression("rule", scope=("inputs", "ports")),
        choice(
            "wait_for", "all", "first",
            kind="literal",
            default="all",
            aliases=("wait_for_all",),
            value_aliases={"true": "all", "false": "first"},
        ),
        Parameter(
            name="max_wait", kind="literal", schema={"type": "number"}, aliases=("timeout_seconds",)
        ),
    ),
    inputs=ports("main", *(f"input{n}" for n in range(1, 17)), "additional"),
)  # fmt: skip

_LOOP: Final = (
    choice(
        "loop_type", "foreach", "for", "while", "until",
        default="foreach",
        value_aliases={"for_each": "foreach", "for_range": "for", "times": "for"},
    ),
    expression("items"),
    number("batch_size", 1, 1000, default=1),
    number("count", 0, 100_000),
    expression("condition", scope=("loop",), aliases=("loop_condition", "while_condition")),
    number(
        "max_parallel", 1, 1000,
        default=1,
        aliases=("parallel_execution",),
        value_aliases={"true": 10, "false": 1},
    ),
    choice(
        "on_item_error", "STOP", "NULL", "DROP",
        default="STOP",
        aliases=("break_on_error",),
        value_aliases={"false": "NULL", "true": "STOP"},
    ),
)  # fmt: skip

LOOP: Final = NodeSpec(
    type="FLOW.LOOP",
    title="Loop",
    parameters=_LOOP,
    inputs=ports("main", "loop_body"),
    outputs=ports("iteration", "complete"),
    pass_through="complete",
)

FOR_EACH: Final = NodeSpec(
    type="FLOW.FOR_EACH",
    title="For each",
    parameters=_LOOP[1:],
    inputs=LOOP.inputs,
    outputs=LOOP.outputs,
    pass_through="complete",
    preset_of="FLOW.LOOP",
    fixed={"loop_type": "foreach"},
)

SORT: Final = NodeSpec(
    type="FLOW.SORT",
    title="Sort",
    parameters=(
        expression("items"),
        expression("by", required=True, scope=("item",)),
        choice("order", "asc", "desc", default="asc"),
    ),
)

FILTER: Final = NodeSpec(
    type="FLOW.FILTER",
    title="Filter",
    parameters=(
        expression("items"),
        expression(
            "condition", required=True, scope=("item", "index"), aliases=("filter_expression",)
        ),
    ),
    outputs=ports("main", "excluded"),
)

WAIT: Final = NodeSpec(
    type="FLOW.WAIT",
    title="Wait",
    parameters=(
        choice("wait_type", "duration", "until", "signal", "condition", required=True),
        Parameter(name="duration", schema={"type": "number", "minimum": 0}),
        Parameter(
            name="max_wait",
            schema={"type": ["number", "null"], "minimum": 0},
            default=3600,
            aliases=("max_wait_seconds", "timeout_seconds"),
        ),
    ),
    outputs=ports("main", "timeout"),
)

NOOP: Final = NodeSpec(
    type="FLOW.NOOP", title="Nothing", parameters=(Parameter(name="data", schema=_ANY),)
)

PAIR: Final = NodeSpec(
    type="CUSTOM.PAIR",
    version="2.1.0",
    title="Pair two values",
    inputs=(Port("main"), Port("other", required=True)),
)

PAIR_1: Final = NodeSpec(type="CUSTOM.PAIR", version="1.4.2", title="Pair two values, once")

HTTP_REQUEST: Final = NodeSpec(
    type="ACTION.HTTP_REQUEST",
    title="HTTP request",
    parameters=(
        Parameter(
            name="url", required=True, schema={"type": "string", "format": "uri", "minLength": 1}
        ),
        choice("method", *_METHODS, default="GET"),
        Parameter(name="query", schema={"type": "object"}, aliases=("query_params",)),
        Parameter(name="headers", schema={"type": "object"}),
        Parameter(name="body", schema=_ANY, aliases=("data",)),
        expression("success", default="response.status_code < 400", scope=("response",)),
        Parameter(name="ignore_http_errors", schema={"type": "boolean"}, default=False),
        number("max_redirects", 0, 20, default=5),
    ),
    ignored_parameters=("authentication",),
    credentials=(CredentialSlot("http"),),
    timeout=30,
)

DATA_TRANSFORMATION: Final = NodeSpec(
    type="ACTION.DATA_TRANSFORMATION",
    title="Data transformation",
    parameters=(
        choice(
            "operation", "map", "filter", "reduce", "sort", "group", "aggregate", "join", "flatten",
            "distinct", "custom", "convert",
            required=True,
            aliases=("transformation_type",),
        ),
        expression(
            "rule",
            scope=("item", "index", "acc", "items", "key", "data"),
            aliases=("transformation_rule", "transformation_config"),
        ),
        Parameter(name="data", schema=_ANY),
        Parameter(name="right", schema=_ANY),
    ),
    timeout=30,
)  # fmt: skip

QUERY: Final = NodeSpec(
    type="ACTION.DATABASE_OPERATION",
    title="Database",
    parameters=(Parameter(name="query", kind="literal", required=True, schema=_TEXT),),
    credentials=(CredentialSlot("postgresql", required=True),),
)

_TOOL: Final = ConnectionKind.AI_TOOL
_MEMORY: Final = ConnectionKind.AI_MEMORY
_MODEL: Final = ConnectionKind.AI_LANGUAGE_MODEL

AGENT: Final = NodeSpec(
    type="AI_AGENT.OPENAI",
    title="Agent",
    parameters=(
        Parameter(name="model", schema=_TEXT, aliases=("model_version", "model_name")),
        Parameter(name="system_prompt", required=True, schema=_TEXT),
        Parameter(name="prompt", schema=_TEXT),
        Parameter(name="call_timeout", schema={"type": "number"}, default=120),
    ),
    lends=(_TOOL, _MODEL),
    borrows=(_TOOL, _MEMORY, _MODEL),
    credentials=(CredentialSlot("openai"),),
    timeout=600,
)

TOOL: Final = NodeSpec(
    type="TOOL.HTTP",
    title="HTTP tool",
    parameters=(
        Parameter(name="url", required=True, schema=_TEXT, scope=("args",)),
        Parameter(name="description", schema=_TEXT),
    ),
    lends=(_TOOL,),
    credentials=(CredentialSlot("http"),),
)

MEMORY: Final = NodeSpec(
    type="MEMORY.BUFFER",
    title="Buffer",
    parameters=(
        choice("operation", "append", "get", "last", "clear"),
        Parameter(name="collection", schema=_TEXT, default="default"),
    ),
    lends=(_MEMORY, _TOOL),
)

SUMMARY: Final = NodeSpec(
    type="MEMORY.CONVERSATION_SUMMARY",
    title="Summary",
    lends=(_MEMORY, _TOOL),
    borrows=(_MODEL,),
)

SPECS: Final = (
    MANUAL, EVENT, CRON, HOOK, IF, SWITCH, MERGE, LOOP, FOR_EACH, SORT, FILTER, WAIT, NOOP, PAIR_1,
    PAIR, HTTP_REQUEST, DATA_TRANSFORMATION, QUERY, AGENT, TOOL, MEMORY, SUMMARY,
)  # fmt: skip

CATALOGUE: Final = Catalogue(SPECS)
