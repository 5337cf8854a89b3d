"""FLOW.IF and FLOW.SWITCH: which way the input goes on."""

from typing import Annotated, Any

import msgspec

from contracts.expressions.budget import Budget
from contracts.expressions.operators import equal
from nodes.bounds import PORT_PATTERN, TIMEOUT_SECONDS, PortName
from nodes.context import Context, Failure, FailureKind, Outputs
from nodes.parameters import parameter
from nodes.registry import node


class If(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of FLOW.IF."""

    condition: Annotated[
        str, parameter("expr", aliases=("condition_expression",), description="True or false")
    ]


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way out of a SWITCH: by the value that it equals, or by a condition."""

    port: PortName
    equals: Any | msgspec.UnsetType = msgspec.UNSET
    when: str | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if (self.equals is msgspec.UNSET) == (self.when is msgspec.UNSET):
            raise ValueError("a case has either `equals` or `when`")


_CASES_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {
            "description": "text of the value → port",
            "type": "object",
            "additionalProperties": {"type": "string", "pattern": PORT_PATTERN},
        },
        {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "equals": {"format": "template"},
                    "when": {"type": "string", "format": "expr"},
                    "port": {"type": "string", "pattern": PORT_PATTERN},
                },
                "required": ["port"],
                "additionalProperties": False,
            },
        },
    ]
}


class Switch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of FLOW.SWITCH."""

    cases: Annotated[
        dict[str, PortName] | tuple[Case, ...],
        parameter(
            "expr",
            aliases=("switch_cases",),
            schema=_CASES_SCHEMA,
            is_json=True,
            description="The first case that fits gives the port",
        ),
    ]
    value: Annotated[
        str | None,
        parameter("expr", aliases=("switch_expression",), description="What cases compare with"),
    ] = None
    default: Annotated[
        PortName,
        parameter("literal", aliases=("default_case",), description="The port if no case fits"),
    ] = "default"


@node(
    "FLOW.IF",
    title="If",
    outputs={"true": None, "false": None},
    through="true",
    ignored_parameters=("strict_mode",),
    timeout=TIMEOUT_SECONDS,
    is_brief=True,
)
def if_(context: Context, parameters: If) -> Outputs:
    """Send the input on by a condition: on `true` or on `false`."""
    port = "true" if context.condition(parameters.condition) else "false"
    return Outputs(**{port: context.input})


@node(
    "FLOW.SWITCH",
    title="Switch",
    outputs={},
    through="{default}",
    port_parameters=("cases", "default"),
    timeout=TIMEOUT_SECONDS,
    is_brief=True,
)
def switch(context: Context, parameters: Switch) -> Outputs | Failure:
    """Send the input on by the first case that fits, else on the default port."""
    needs_value = isinstance(parameters.cases, dict) or any(
        case.when is msgspec.UNSET for case in parameters.cases
    )
    if needs_value and parameters.value is None:
        message = "value is required where cases compare with it"
        details = {"parameter": "value"}
        return Failure(FailureKind.INVALID_INPUT, "invalid_parameter", message, details)
    return Outputs(**{_chosen_port(context, parameters): context.input})


def _chosen_port(context: Context, parameters: Switch) -> str:
    if isinstance(parameters.cases, dict):
        assert parameters.value is not None
        text = context.evaluate_text(parameters.value)
        return parameters.cases.get(text, parameters.default)
    value = None if parameters.value is None else context.evaluate(parameters.value)
    fitting = (case.port for case in parameters.cases if _fits(context, case, value))
    return next(fitting, parameters.default)


def _fits(context: Context, case: Case, value: Any) -> bool:
    if case.when is not msgspec.UNSET:
        return context.condition(case.when)
    wanted = context.render(case.equals)
    return equal(Budget(), value, wanted)


HANDLERS = (if_, switch)
