"""What every node type must keep, whoever wrote it."""

from typing import Any

import msgspec
import pytest

from contracts.node_types import FAMILIES
from contracts.specs import ERROR_PORT, NodeSpec
from nodes.catalogue import builtin_handlers, builtin_specs
from nodes.context import Failure, Loop, Outputs, Wait
from nodes.http_client import HttpClient
from nodes.parameters import InvalidParameter
from nodes.registry import Handler, check_spec
from tests.support.http_server import Reply, serving
from tests.support.tasks import context, task_node
from workers.attempt import checked, set_up

HANDLERS = {handler.spec.type: handler for handler in builtin_handlers()}

EXAMPLES: dict[str, dict[str, Any]] = {
    "TRIGGER.MANUAL": {},
    "TRIGGER.EVENT": {"subject": "orders.>"},
    "TRIGGER.CRON": {"interval": 60},
    "TRIGGER.WEBHOOK": {},
    "FLOW.IF": {"condition": "input == input"},
    "FLOW.SWITCH": {"value": "1", "cases": {"1": "one"}},
    "FLOW.MERGE": {},
    "FLOW.FILTER": {"condition": "item > 1"},
    "FLOW.SORT": {"by": "item"},
    "FLOW.SPLIT": {"size": 1},
    "FLOW.LOOP": {},
    "FLOW.WAIT": {"wait_type": "duration", "duration": 5},
    "FLOW.STOP_AND_ERROR": {"message": "no"},
    "FLOW.SUB_WORKFLOW": {"workflow_id": "Other"},
    "HUMAN_IN_THE_LOOP.APP": {"message": "May it?"},
    "FLOW.NOOP": {},
    "ACTION.HTTP_REQUEST": {"url": "https://example.org/"},
    "ACTION.DATA_TRANSFORMATION": {"operation": "distinct"},
}
"""The least that a node of each type needs."""

every_type = pytest.mark.parametrize("handler", HANDLERS.values(), ids=HANDLERS.keys())


def test_every_type_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(HANDLERS)


def test_every_type_is_there_once() -> None:
    names = [spec.type for spec in builtin_specs()]

    assert len(set(names)) == len(names)


def test_a_preset_is_another_type_with_parameters_fixed() -> None:
    for preset in builtin_specs():
        if preset.preset_of is not None:
            spec = HANDLERS[preset.preset_of].spec
            assert preset.outputs == spec.outputs
            assert {*(each.name for each in preset.parameters), *preset.fixed} == {
                each.name for each in spec.parameters
            }


@every_type
def test_the_spec_is_well_formed(handler: Handler) -> None:
    spec = handler.spec

    check_spec(spec)
    assert spec.family in FAMILIES
    assert spec.title
    assert spec.description
    through = spec.pass_through_port(EXAMPLES[spec.type])
    assert through in spec.output_ports(EXAMPLES[spec.type]) or not (through or spec.outputs)


@every_type
def test_the_spec_travels_unchanged(handler: Handler) -> None:
    encoded = msgspec.json.encode(handler.spec)

    travelled = msgspec.json.decode(encoded, type=NodeSpec)

    assert msgspec.json.encode(travelled) == encoded


@every_type
def test_names_and_aliases_of_parameters_are_unambiguous(handler: Handler) -> None:
    spec = handler.spec
    names = [parameter.name for parameter in spec.parameters]
    aliases = [alias for parameter in spec.parameters for alias in parameter.aliases]

    assert len({*names, *aliases, *spec.ignored_parameters}) == (
        len(names) + len(aliases) + len(spec.ignored_parameters)
    )


@every_type
def test_references_in_schemas_lead_somewhere(handler: Handler) -> None:
    schemas = [parameter.schema for parameter in handler.spec.parameters]
    schemas += [port.schema for port in handler.spec.outputs]

    for schema in schemas:
        for reference in _references(schema):
            assert reference.removeprefix("#/$defs/") in schema["$defs"]


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [found for each in schema for found in _references(each)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
    return own + [found for each in schema.values() for found in _references(each)]


@every_type
def test_defaults_stand_in_for_what_is_not_given(handler: Handler) -> None:
    spec = handler.spec
    example = EXAMPLES[spec.type]
    read = handler.reader.read(example)
    defaults = {
        parameter.name: parameter.default
        for parameter in spec.parameters
        if parameter.name not in example and parameter.default is not None
    }

    again = handler.reader.read({**defaults, **example})

    assert again == read


@every_type
def test_a_required_parameter_that_is_missing_is_named(handler: Handler) -> None:
    for parameter in handler.spec.parameters:
        if parameter.required:
            values = {
                name: value
                for name, value in EXAMPLES[handler.spec.type].items()
                if name != parameter.name
            }

            with pytest.raises(InvalidParameter) as caught:
                handler.reader.read(values)

            assert caught.value.parameter == parameter.name


@every_type
def test_an_unknown_parameter_is_refused(handler: Handler) -> None:
    with pytest.raises(InvalidParameter) as caught:
        handler.reader.read({**EXAMPLES[handler.spec.type], "surely_unknown": 1})

    assert caught.value.parameter == "surely_unknown"


@every_type
async def test_it_answers_on_declared_ports_alone(handler: Handler, http: HttpClient) -> None:
    spec, example = handler.spec, EXAMPLES[handler.spec.type]
    async with serving(Reply(body=b"ok")) as server:
        if spec.type == "ACTION.HTTP_REQUEST":
            example = {"url": server.url()}
        at = task_node(type=spec.type, parameters=example)
        answer = await handler(context([1, 2], node=at, http=http), handler.reader.read(example))

    ended = checked(set_up(at, handler), answer, 10_000)
    if isinstance(answer, Outputs):
        assert ended.ports is not None
        assert set(ended.ports) <= set(spec.output_ports(example)) - {ERROR_PORT}
    assert isinstance(answer, _ANSWERS.get(spec.type, Outputs))
    assert isinstance(answer, Failure) or ended.failure is None


_ANSWERS = {
    "FLOW.LOOP": Loop,
    "FLOW.WAIT": Wait,
    "FLOW.STOP_AND_ERROR": Failure,
    "FLOW.SUB_WORKFLOW": Wait,
    "HUMAN_IN_THE_LOOP.APP": Wait,
}
