"""HUMAN_IN_THE_LOOP: a question to people, and the port on which their answer goes on.

The engine keeps the question and suspends the node run; who may answer, when enough have, and what an answer
must be like is judged where answers come in. The node run is called again with the outcome, or when it is late.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from contracts.interactions import (
    ANSWERED,
    APPROVED,
    REJECTED,
    VOTES,
    Answer,
    Outcome,
    Responder,
    Unfit,
    port_of,
)
from contracts.messages import encode
from contracts.specs import ERROR_PORT, TIMEOUT_PORT
from contracts.times import rfc3339
from nodes import reminding
from nodes.answers import invalid_parameter
from nodes.bounds import PortName, checked_wait
from nodes.context import (
    Context,
    Failure,
    FailureKind,
    Outputs,
    Question,
    Resumption,
    Wait,
)
from nodes.parameters import Json, parameter
from nodes.registry import node
from nodes.reminding import MOST_REMINDERS, After, Escalation, Looks, Place

TIMEOUT_SECONDS: Final = 60
LEAST_RESPONSE_SECONDS: Final = 60

AnyJson = Any | UnsetType
Votes = Annotated[int, msgspec.Meta(ge=1)]


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something to choose: it yields on `port`, if it has one."""

    value: Any
    label: str = ""
    port: PortName | None = None

    def __post_init__(self) -> None:
        if self.port in (ERROR_PORT, TIMEOUT_PORT):
            raise ValueError(f"no choice goes on at the port {self.port}")


class DefaultAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An answer in place of people's, with the fields of theirs."""

    approved: bool | None = None
    choice: AnyJson = UNSET
    port: str | None = None
    data: dict[str, Any] = {}
    value: AnyJson = UNSET
    reason: str | None = None


class App(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of HUMAN_IN_THE_LOOP.APP."""

    kind: Annotated[
        Literal["approval", "review", "confirmation", "input", "choice"],
        parameter(
            aliases=("notification_type", "approval_type", "interaction_type"),
            description="The first three are approved or rejected, the others answered",
        ),
    ] = "approval"
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] = "Action required"
    message: Annotated[
        str,
        parameter(
            aliases=("message_template", "email_template", "clarification_question_template")
        ),
    ]
    fields: Annotated[
        Json | None,
        parameter(
            aliases=("required_fields",),
            schema={"format": "json-schema"},
            is_json=True,
            description="JSON Schema of the answer's data",
        ),
    ] = None
    choices: Annotated[
        tuple[Choice, ...],
        parameter(is_json=True, description="Of choice: `{value, label, port}`"),
    ] = ()
    data: Annotated[
        AnyJson, parameter(is_json=True, description="What is shown; default: the input")
    ] = UNSET
    editable: Annotated[bool, parameter(description="Whether the answer may replace it")] = False
    data_schema: Annotated[
        Json | None,
        parameter(
            schema={"format": "json-schema"},
            is_json=True,
            description="JSON Schema of what is shown, once edited",
        ),
    ] = None
    approvers: Annotated[
        tuple[str, ...],
        parameter(description="Ids or e-mail addresses of users; none: whoever may execute here"),
    ] = ()
    approvals_required: Votes = 1
    rejections_required: Votes = 1
    respond_within: Annotated[
        float,
        msgspec.Meta(ge=LEAST_RESPONSE_SECONDS),
        parameter(
            aliases=("timeout_seconds", "timeout", "response_timeout"), description="Seconds"
        ),
    ] = 86_400
    timeout_action: Annotated[
        Literal["port", "default"],
        parameter(description="Of no answer in time: the port `timeout`, or `default_answer`"),
    ] = "port"
    default_answer: Annotated[
        DefaultAnswer | None,
        parameter(is_json=True, description="`{approved, choice, port, data, value, reason}`"),
    ] = None
    reminders: Annotated[
        Annotated[tuple[After, ...], msgspec.Meta(max_length=MOST_REMINDERS)],
        parameter(is_json=True, description="Seconds after sending: people are reminded then"),
    ] = ()
    escalation: Annotated[
        Escalation | None,
        parameter(is_json=True, description="`{after, approvers}`: who is asked too after seconds"),
    ] = None
    free_text: Annotated[
        bool,
        parameter(description="Whether replies in chats and mails are read; the app has none"),
    ] = True
    priority: Literal["low", "normal", "high", "urgent"] = "normal"


_OUTCOME: Final = {
    "interaction_id": str, "approved": bool, "choice": Any, "data": dict[str, Any], "value": Any,
    "port": str, "reason": str, "responder": dict[str, Any], "responded_at": str, "answers": list[Any],
}  # fmt: skip


@node(
    "HUMAN_IN_THE_LOOP.APP",
    title="Ask in the app",
    outputs={
        APPROVED: _OUTCOME,
        REJECTED: _OUTCOME,
        ANSWERED: _OUTCOME,
        TIMEOUT_PORT: {"interaction_id": str, "asked_at": str, "due_at": str, "answers": list[Any]},
    },
    through=ANSWERED,
    port_parameters=("choices",),
    timeout=TIMEOUT_SECONDS,
    after_wait="dispatch",
    is_brief=True,
)
def app(context: Context, parameters: App) -> Outputs | Wait | Failure:
    """Ask people in their inbox, and go on with what they say."""
    resumed = context.resumed
    if resumed is None:
        return _asked(context, parameters)
    match resumed.by:
        case "CHECK" | "REMINDER":
            return reminding.further_wait(_looks(parameters), resumed)
        case "DUE" if parameters.timeout_action == "default":
            return _by_default(context, parameters, resumed)
        case "DUE":
            return _too_late(context, parameters, resumed)
        case _:
            return Outputs(**{resumed.port or ANSWERED: resumed.data})


def _asked(context: Context, parameters: App) -> Wait:
    if parameters.kind == "choice" and not parameters.choices:
        raise invalid_parameter("choices", "is required by kind choice")
    if parameters.timeout_action == "default":
        _default_port(parameters)  # better refused now than when it is late
    _check_people(parameters)
    question = Question(
        kind=parameters.kind,
        title=parameters.title,
        message=parameters.message,
        fields=_fields(parameters),
        choices=_choices(parameters) or None,
        value=_shown(context, parameters),
        editable=parameters.editable,
        approvers=parameters.approvers,
        approvals_required=parameters.approvals_required,
        rejections_required=parameters.rejections_required,
        priority=parameters.priority,
    )
    checked_wait(context, parameters.respond_within)
    looks = _looks(parameters)
    for name in looks.late():
        raise invalid_parameter(
            name, f"is not before the due time, {parameters.respond_within:g} s after sending"
        )
    return reminding.first_wait(looks, question)


def _looks(parameters: App) -> Looks:
    return Looks(
        reminders=parameters.reminders,
        escalation=parameters.escalation,
        respond_within=parameters.respond_within,
    )


def _check_people(parameters: App) -> None:
    """Refuse to ask for more approvals than there are people to give them."""
    further = () if parameters.escalation is None else parameters.escalation.approvers
    people = len({each.lower() for each in (*parameters.approvers, *further)})
    if parameters.approvers and people < parameters.approvals_required:
        raise invalid_parameter(
            "approvals_required",
            f"is {parameters.approvals_required}, but {people} people are asked",
        )


def _choices(parameters: App) -> list[dict[str, Any]]:
    if parameters.kind != "choice":
        return []
    return [msgspec.to_builtins(each) for each in parameters.choices]


def _fields(parameters: App) -> dict[str, Any]:
    """Return the schema of an answer's data; an edited value is its field `value`."""
    fields = {} if parameters.fields is None else parameters.fields
    if not isinstance(fields, dict):
        raise invalid_parameter("fields", "must be a JSON Schema of an object")
    if not parameters.editable or parameters.data_schema is None:
        return fields
    properties = fields.get("properties", {}) | {"value": parameters.data_schema}
    return {"type": "object", **fields, "properties": properties}


def _shown(context: Context, parameters: App) -> Any:
    return context.input if parameters.data is UNSET else parameters.data


def _by_default(context: Context, parameters: App, resumed: Resumption) -> Outputs:
    """Answer in place of the people who did not."""
    port, given = _default_port(parameters), parameters.default_answer
    assert given is not None
    assert resumed.interaction_id is not None
    shown = _shown(context, parameters)
    answer = Answer(
        port=port,
        approved=port == APPROVED if parameters.kind in VOTES else None,
        choice=UNSET if given.choice is UNSET else _raw(given.choice),
        data=_raw(given.data),
        value=_raw(shown if given.value is UNSET else given.value),
        reason=given.reason,
        responder=Responder(channel="SYSTEM"),
        responded_at=resumed.at,
    )
    fields = msgspec.structs.asdict(answer)
    outcome = Outcome(interaction_id=resumed.interaction_id, **fields)
    told = msgspec.json.decode(encode(outcome))
    if resumed.answers:
        told["answers"] = list(resumed.answers)
    return Outputs(**{port: told})


def _default_port(parameters: App) -> str:
    given = parameters.default_answer
    if given is None:
        raise invalid_parameter("default_answer", "is required by timeout_action default")
    choice = UNSET if given.choice is UNSET else _raw(given.choice)
    try:
        return port_of(
            parameters.kind,
            _choices(parameters),
            approved=given.approved,
            choice=choice,
            port=given.port,
        )
    except Unfit as unfit:
        raise invalid_parameter("default_answer", f"does not fit: {unfit}") from unfit


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(encode(value))


def _too_late(context: Context, parameters: App, resumed: Resumption) -> Outputs | Failure:
    if TIMEOUT_PORT not in context.wired:
        message = (
            f"nobody answered node {context.node.id} within {parameters.respond_within:g} s; "
            "wire its port timeout, or raise respond_within"
        )
        return Failure(FailureKind.TIMEOUT, "interaction_timeout", message)
    put_at = Place.of(resumed).put_at
    late = {
        "interaction_id": resumed.interaction_id,
        "asked_at": rfc3339(put_at),
        "due_at": rfc3339(reminding.due_at(parameters.respond_within, put_at)),
        "answers": list(resumed.answers),
    }
    return Outputs(**{TIMEOUT_PORT: late})


HANDLERS = (app,)
