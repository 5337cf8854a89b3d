"""Declaring node types, custom ones as users write them."""

from typing import Any

import msgspec
import pytest

from contracts.failures import Failure, FailureKind
from contracts.model import Delivery
from nodes.context import Context, Outputs
from nodes.parameters import NoParameters
from nodes.registry import Handler, node
from tests.support.tasks import context


class Greet(msgspec.Struct, frozen=True):
    """Parameters of the example in the node catalogue."""

    name: str
    shout: bool = False


@node("CUSTOM.GREET", version="1.0.0", outputs={"main": {"text": str}}, timeout=5)
async def greet(context: Context, parameters: Greet) -> Outputs | Failure:
    """Greet a person by name."""
    if not parameters.name:
        return Failure(
            FailureKind.INVALID_INPUT, "empty_name", "name is empty; give the person to greet"
        )
    text = f"Hello, {parameters.name}"
    return Outputs(main={"text": text.upper() if parameters.shout else text})


async def test_a_handler_is_called_with_its_parameters() -> None:
    answer = await greet(context(), greet.reader.read({"name": "Ada", "shout": "true"}))

    assert isinstance(answer, Outputs)
    assert answer.ports == {"main": {"text": "HELLO, ADA"}}


def test_the_spec_follows_from_the_declaration() -> None:
    spec = greet.spec

    assert (spec.type, spec.major, spec.title) == ("CUSTOM.GREET", 1, "Greet")
    assert spec.description == "Greet a person by name."
    assert spec.timeout == 5
    assert spec.delivery is Delivery.AT_LEAST_ONCE
    assert [parameter.name for parameter in spec.parameters] == ["name", "shout"]
    assert spec.outputs[0].schema == {
        "type": "object",
        "properties": {"text": {"type": "string"}},
    }
    assert not greet.is_blocking


def test_a_plain_function_is_blocking() -> None:
    def slow(context: Context, parameters: NoParameters) -> Outputs:
        """Block."""
        return Outputs(main=1)

    assert node("CUSTOM.SLOW")(slow).is_blocking


async def anything(context: Context, parameters: NoParameters) -> Outputs:
    """Do nothing."""
    return Outputs(main=1)


@pytest.mark.parametrize(
    ("name", "declared", "message"),
    [
        ("greet", {}, "TYPE.SUBTYPE"),
        ("CUSTOM.greet", {}, "TYPE.SUBTYPE"),
        ("CUSTOM.GREET", {"version": "1"}, "1.0.0"),
        ("CUSTOM.GREET", {"outputs": {"Main": None}}, "Main"),
        ("CUSTOM.GREET", {"outputs": {"error": None}}, "error"),
        ("CUSTOM.GREET", {"timeout": 0}, "timeout"),
        ("CUSTOM.GREET", {"port_parameters": ("cases",)}, "cases"),
        ("CUSTOM.GREET", {"is_brief": True}, "plain function"),
    ],
)
def test_a_declaration_that_no_document_could_use_is_refused(
    name: str, declared: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        node(name, **declared)(anything)


def test_parameters_must_be_a_struct() -> None:
    async def wrong(context: Context, parameters: dict[str, Any]) -> Outputs:
        """Take a dict."""
        return Outputs(main=parameters)

    with pytest.raises(ValueError, match="Struct"):
        node("CUSTOM.WRONG")(wrong)


def test_a_handler_is_a_value() -> None:
    assert isinstance(node("CUSTOM.ANYTHING")(anything), Handler)
