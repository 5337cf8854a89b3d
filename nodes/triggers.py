"""TRIGGER nodes. What starts an execution is received elsewhere; as nodes they hand its data on unchanged."""

from typing import Annotated, Any, Literal

import msgspec

from contracts.specs import CredentialSlot
from contracts.webhooks import PATH, Authentication, ResponseMode
from nodes.context import Context, Outputs
from nodes.parameters import Json, parameter
from nodes.registry import node

TIMEOUT_SECONDS = 30
LONGEST_INTERVAL_SECONDS = 365 * 24 * 3600

_TOKEN = r"(\*|[A-Za-z0-9_-]+)"
_SUBJECT = rf"^(?!flotilla\.trigger\.)({_TOKEN}(\.{_TOKEN})*(\.>)?|>)$"
"""Tokens that a subject may have, `*` for any one of them, `>` for the rest; without the prefix, which is not written."""

_HEADER = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$(?!\n)"

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


class Manual(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of TRIGGER.MANUAL."""

    title: Annotated[str, parameter("literal", aliases=("trigger_name",))] = ""
    description: Annotated[str, parameter("literal")] = ""
    input_schema: Annotated[
        Json | None,
        parameter(
            "literal",
            description="JSON Schema of the posted input; one that does not fit is refused",
            schema={"format": "json-schema"},
            is_json=True,
        ),
    ] = None


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of TRIGGER.EVENT."""

    subject: Annotated[
        str,
        msgspec.Meta(pattern=_SUBJECT),
        parameter(
            "literal",
            description="Pattern below `flotilla.trigger.`, such as `orders.*` or `orders.>`",
        ),
    ]
    filter: Annotated[
        str | None,
        parameter(
            "expr", scope=("message",), description="Events for which it is false start nothing"
        ),
    ] = None


class Cron(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of TRIGGER.CRON, one of `cron` and `interval`."""

    cron: Annotated[
        str | None,
        parameter(
            "literal",
            aliases=("cron_expression",),
            description="Minute, hour, day of month, month and weekday, before them seconds if need be; or @hourly and its like",
            schema={"type": "string", "format": "cron"},
        ),
    ] = None
    interval: Annotated[
        Annotated[float, msgspec.Meta(ge=1, le=LONGEST_INTERVAL_SECONDS)] | None,
        parameter(
            "literal",
            description="Seconds from one start to the next",
            schema={"type": "number", "minimum": 1, "maximum": LONGEST_INTERVAL_SECONDS},
        ),
    ] = None
    timezone: Annotated[
        str | None,
        parameter(
            "literal",
            description="IANA name, the workflow's if left out",
            schema={"type": "string", "format": "timezone"},
        ),
    ] = None
    catch_up: Annotated[
        Literal["LAST", "ALL", "NONE"],
        parameter(
            "literal", description="Which of the occurrences start that passed while nothing ran"
        ),
    ] = "LAST"
    max_catch_up: Annotated[
        int,
        msgspec.Meta(ge=1, le=10),
        parameter(
            "literal", aliases=("max_missed_runs",), description="How many of them ALL starts"
        ),
    ] = 3
    overlap: Annotated[
        Literal["ALLOW", "SKIP"],
        parameter(
            "literal",
            description="SKIP: nothing starts while the execution of an earlier occurrence is under way",
        ),
    ] = "ALLOW"
    data: Annotated[
        Json,
        parameter(
            is_json=True, description="Goes along; expressions see `static`, `workflow` and `now`"
        ),
    ] = msgspec.field(default_factory=dict)


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of TRIGGER.WEBHOOK."""

    path: Annotated[
        Annotated[str, msgspec.Meta(pattern=PATH)] | None,
        parameter(
            "literal",
            aliases=("webhook_path",),
            description="Where deliveries are received: /v1/webhooks/<path>; a random one is made if absent",
        ),
    ] = None
    methods: Annotated[
        tuple[Method, ...],
        msgspec.Meta(min_length=1),
        parameter("literal", aliases=("method", "http_method", "allowed_methods")),
    ] = ("POST",)
    authentication: Annotated[
        Authentication,
        parameter(
            "literal",
            aliases=("authentication_required",),
            value_aliases={"false": "NONE", "true": "HEADER_TOKEN"},
            description="How the sender proves that it knows the secret of the slot `webhook`",
        ),
    ] = "HEADER_TOKEN"
    header: Annotated[
        str,
        msgspec.Meta(pattern=_HEADER),
        parameter("literal", description="The header that carries the token"),
    ] = "X-Webhook-Token"
    response_mode: Annotated[
        ResponseMode,
        parameter("literal", description="WAIT answers with what comes of the execution"),
    ] = "IMMEDIATELY"
    response_timeout: Annotated[
        float,
        msgspec.Meta(ge=0, le=60),
        parameter("literal", description="How long WAIT waits, in seconds"),
    ] = 30
    filter: Annotated[
        str | None,
        parameter(
            "expr", scope=("message",), description="Deliveries for which it is false start nothing"
        ),
    ] = None


@node("TRIGGER.MANUAL", title="Manual trigger", inputs=(), timeout=TIMEOUT_SECONDS, is_brief=True)
def manual(context: Context, parameters: Manual) -> Outputs:
    """Start by hand, by the API or from another workflow; the output is the posted input."""
    return Outputs(main=context.input)


@node(
    "TRIGGER.EVENT",
    title="Event trigger",
    inputs=(),
    outputs={
        "main": {
            "subject": str,
            "data": Json,
            "headers": dict[str, str],
            "message_id": str,
            "received_at": str,
        }
    },
    timeout=TIMEOUT_SECONDS,
    is_brief=True,
)
def event(context: Context, parameters: Event) -> Outputs:
    """Start with every NATS message on a subject; the output is the message."""
    return Outputs(main=context.input)


@node(
    "TRIGGER.CRON",
    title="Schedule",
    inputs=(),
    outputs={"main": {"scheduled_at": str, "timezone": str, "data": Json}},
    timeout=TIMEOUT_SECONDS,
    is_brief=True,
)
def cron(context: Context, parameters: Cron) -> Outputs:
    """Start by the calendar or at an interval; the output says for which instant."""
    return Outputs(main=context.input)


@node(
    "TRIGGER.WEBHOOK",
    title="Webhook trigger",
    inputs=(),
    outputs={
        "main": {
            "method": str,
            "path": str,
            "headers": dict[str, str],
            "query": dict[str, Any],
            "body": Json,
            "raw_body": str,
            "client_ip": str | None,
            "received_at": str,
        }
    },
    ignored_parameters=("response_format",),
    credentials=(CredentialSlot("webhook"),),
    timeout=TIMEOUT_SECONDS,
    is_brief=True,
)
def webhook(context: Context, parameters: Webhook) -> Outputs:
    """Start with every request to an address of its own; the output is the request."""
    return Outputs(main=context.input)


HANDLERS = (manual, event, cron, webhook)
