"""Specs: what a node type takes, answers and needs, as data that travels.

Workers announce the specs of the handlers they hold; the gateway validates documents against them.
A node type whose ports depend on its parameters names those parameters in `port_parameters`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from contracts.model import ConnectionKind, Delivery

ERROR_PORT: Final = "error"
"""An output port of every node type."""

TIMEOUT_PORT: Final = "timeout"
"""Where a wait goes on that ended in vain; unwired, it is a failure."""

ParameterKind = Literal["template", "expr", "literal"]


class Port(msgspec.Struct, frozen=True, omit_defaults=True):
    """A named input or output; `schema` is the JSON Schema of what travels there."""

    name: str
    description: str = ""
    schema: dict[str, Any] = {}
    required: bool = False


class Parameter(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One parameter. `kind` says how its text is read; `schema` is its JSON Schema once rendered.

    `value_aliases` maps other spellings of a value, lower case, to the value that is stored: `times`
    to `for`; true and false are written `"true"` and `"false"`.
    """

    name: str
    kind: ParameterKind = "template"
    required: bool = False
    default: Any = None
    schema: dict[str, Any] = {}
    aliases: tuple[str, ...] = ()
    value_aliases: dict[str, Any] = {}
    scope: tuple[str, ...] = ()  # names that its expressions see besides the common ones
    description: str = ""


class CredentialSlot(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place for a credential."""

    name: str
    required: bool = False


class NodeSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node type's description.

    `type` is `TYPE.SUBTYPE`; `version` is semantic, its major number is what documents pin;
    `timeout` is in seconds. `preset_of` names the type that a preset stands for, whose fleet runs it.
    """

    type: str
    version: str = "1.0.0"
    title: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    ignored_parameters: tuple[str, ...] = ()
    inputs: tuple[Port, ...] = (Port("main"),)
    outputs: tuple[Port, ...] = (Port("main"),)
    pass_through: str | None = "main"
    port_parameters: tuple[str, ...] = ()
    lends: tuple[ConnectionKind, ...] = ()
    borrows: tuple[ConnectionKind, ...] = ()
    credentials: tuple[CredentialSlot, ...] = ()
    timeout: float = 300
    delivery: Delivery = Delivery.AT_LEAST_ONCE
    after_wait: Literal["yield", "dispatch"] = "yield"
    needs: tuple[str, ...] = ()
    preset_of: str | None = None
    fixed: dict[str, Any] = {}

    @property
    def major(self) -> int:
        """The version that documents pin."""
        return int(self.version.split(".", 1)[0])

    @property
    def family(self) -> str:
        """The first part of the name, such as `FLOW`."""
        return self.type.split(".", 1)[0]

    @property
    def fleet(self) -> str | None:
        """The node type whose workers carry tasks of it out; None for a trigger, which never has any."""
        return None if self.family == "TRIGGER" else self.preset_of or self.type

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of that name, or None."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)

    def output_ports(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the output ports of a node with these parameters, in order, `error` last."""
        ports = dict.fromkeys(port.name for port in self.outputs)
        for name in self.port_parameters:
            declared = self.parameter(name)
            value = parameters.get(name, declared.default if declared else None)
            ports.update(dict.fromkeys(_ports_in(value)))
        ports.pop(ERROR_PORT, None)
        return (*ports, ERROR_PORT)

    def input_ports(self) -> tuple[str, ...]:
        """Return the names of the input ports, in order."""
        return tuple(port.name for port in self.inputs)

    def pass_through_port(self, parameters: Mapping[str, Any]) -> str | None:
        """Return where the input of a disabled or continued node goes on, or None.

        A name in braces, `{default}`, stands for the value of that parameter.
        """
        port = self.pass_through
        if port is None or not port.startswith("{"):
            return port
        declared = self.parameter(port[1:-1])
        return str(parameters.get(port[1:-1], declared.default if declared else "main"))


def _ports_in(value: Any) -> Iterator[str]:
    """Yield the ports that a parameter declares: a name, the values of a map, or `port` of each item."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (port for port in value.values() if isinstance(port, str))
    elif isinstance(value, list | tuple):
        for item in value:
            if isinstance(item, Mapping) and isinstance(item.get("port"), str):
                yield item["port"]


def fleets(specs: Iterable[NodeSpec]) -> tuple[str, ...]:
    """Return the node types that have a queue."""
    return tuple(dict.fromkeys(spec.fleet for spec in specs if spec.fleet is not None))


class Catalogue:
    """The node types that can run: the newest spec of each, older majors kept for old documents."""

    def __init__(self, specs: tuple[NodeSpec, ...]) -> None:
        self._by_version = {(spec.type, spec.major): spec for spec in specs}
        self._newest: dict[str, NodeSpec] = {}
        for spec in sorted(specs, key=lambda spec: spec.major):
            self._newest[spec.type] = spec

    @property
    def names(self) -> frozenset[str]:
        """The names of all node types."""
        return frozenset(self._newest)

    @property
    def newest(self) -> tuple[NodeSpec, ...]:
        """The newest spec of each node type, by name."""
        return tuple(self._newest[name] for name in sorted(self._newest))

    def get(self, node_type: str, major: int | None = None) -> NodeSpec | None:
        """Return the spec of a node type, the newest if no major version is named, or None."""
        if major is None:
            return self._newest.get(node_type)
        return self._by_version.get((node_type, major))
