"""TRIGGER nodes. What starts an execution is received elsewhere; as nodes they hand its data on unchanged."""

from typing import Annotated

import msgspec

from nodes.context import Context, Outputs
from nodes.parameters import Json, parameter
from nodes.registry import node

TIMEOUT_SECONDS = 30

_TOKEN = r"(\*|[A-Za-z0-9_-]+)"
_SUBJECT = rf"^(?!flotilla\.trigger\.)({_TOKEN}(\.{_TOKEN})*(\.>)?|>)$"
"""Tokens that a subject may have, `*` for any one of them, `>` for the rest; without the prefix, which is not written."""


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


HANDLERS = (manual, event)
