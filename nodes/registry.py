"""Declaring a node type: a handler, its parameters as a frozen Struct, and the spec that follows from both.

    class Greet(msgspec.Struct, frozen=True):
        name: str

    @node("CUSTOM.GREET", version="1.0.0", outputs={"main": {"text": str}}, timeout=5)
    async def greet(context: Context, parameters: Greet) -> Outputs | Failure:
        '''Greet a person by name.'''

There is no registry that fills on import: a module exposes its handlers, and a list names them.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar, get_type_hints

import msgspec

from contracts.model import Delivery
from contracts.specs import ERROR_PORT, CredentialSlot, NodeSpec, Port
from nodes.context import Answer, Context
from nodes.parameters import NoParameters, ParameterReader, describe

TYPE_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{1,63}\.[A-Z][A-Z0-9_]{1,63}")
PORT_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")

Handle = Callable[[Context, Any], Any]
Fields = type | Mapping[str, Any] | None
"""What travels on a port: a type, a map of field to type, or anything."""

F = TypeVar("F", bound=Handle)


class Handler(msgspec.Struct, frozen=True):
    """A node type that can run: its spec, the reader of its parameters, and the function.

    A function that is not `async` blocks: it is called in a thread, where a cancel cannot reach it;
    or it is brief, and called right away. `presets` are the types that stand for it.
    """

    spec: NodeSpec
    reader: ParameterReader[Any]
    handle: Handle
    is_blocking: bool = False
    is_brief: bool = False
    presets: tuple[NodeSpec, ...] = ()

    @property
    def specs(self) -> tuple[NodeSpec, ...]:
        """The specs of all types that it handles, its own first."""
        return (self.spec, *self.presets)

    async def __call__(self, context: Context, parameters: Any) -> Answer:
        """Do the work, but for a blocking handler; tests call it with a context of their own."""
        assert not self.is_blocking
        called = self.handle(context, parameters)
        answer: Answer = called if self.is_brief else await called
        return answer


def node(
    type_name: str,
    *,
    version: str = "1.0.0",
    title: str | None = None,
    inputs: tuple[Port, ...] = (Port("main"),),
    outputs: Mapping[str, Fields] | None = None,
    through: str | None = "main",
    port_parameters: tuple[str, ...] = (),
    ignored_parameters: tuple[str, ...] = (),
    credentials: tuple[CredentialSlot, ...] = (),
    timeout: float = 300,
    delivery: Delivery = Delivery.AT_LEAST_ONCE,
    after_wait: Literal["yield", "dispatch"] = "yield",
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    is_brief: bool = False,
) -> Callable[[Handle], Handler]:
    """Declare the node type that a function handles.

    Its parameters are the Struct that annotates the function's second argument, its description is
    the docstring. `timeout` is in seconds; `through` is the
    pass-through port; `port_parameters` name the parameters that declare more
    output ports; `after_wait` says whether a wait ends by yielding what came, or by a call with it;
    `presets` are types that stand for this one, with some parameters fixed. A function `is_brief` if it is
    not `async` and only computes, for a moment: then it needs neither thread nor timer. Raises ValueError
    for a name, version or port that no document could use.
    """

    def declare(handle: Handle) -> Handler:
        parameters = _parameters_of(handle)
        spec = NodeSpec(
            type=type_name,
            version=version,
            title=title or _title(type_name),
            description=inspect.getdoc(handle) or "",
            parameters=describe(parameters),
            ignored_parameters=ignored_parameters,
            inputs=inputs,
            outputs=_ports({"main": None} if outputs is None else outputs),
            pass_through=through,
            port_parameters=port_parameters,
            credentials=credentials,
            timeout=float(timeout),  # as it comes back from JSON
            delivery=delivery,
            after_wait=after_wait,
        )
        preset_specs = tuple(_preset(spec, name, fixed) for name, fixed in (presets or {}).items())
        for each in (spec, *preset_specs):
            check_spec(each)
        is_async = inspect.iscoroutinefunction(handle)
        if is_brief and is_async:
            raise ValueError(f"{type_name}: a brief handler is a plain function")
        is_blocking = not is_async and not is_brief
        reader = ParameterReader(parameters)
        return Handler(spec, reader, handle, is_blocking, is_brief, preset_specs)

    return declare


def check_spec(spec: NodeSpec) -> None:
    """Refuse a spec that documents could not use. Raises ValueError."""
    if not TYPE_NAME.fullmatch(spec.type):
        raise ValueError(f"{spec.type!r} is no node type: TYPE.SUBTYPE in capitals")
    if not re.fullmatch(r"\d+\.\d+\.\d+", spec.version):
        raise ValueError(f"{spec.type}: version {spec.version!r} is not like 1.0.0")
    for port in (*spec.inputs, *spec.outputs):
        if not PORT_NAME.fullmatch(port.name) or port.name == ERROR_PORT:
            raise ValueError(f"{spec.type}: {port.name!r} cannot be a port")
    if spec.timeout <= 0:
        raise ValueError(f"{spec.type}: timeout is in seconds and more than 0")
    known = {parameter.name for parameter in spec.parameters}
    if missing := set(spec.port_parameters) - known:
        raise ValueError(f"{spec.type}: no parameter {missing.pop()!r} that could declare ports")


def _preset(spec: NodeSpec, type_name: str, fixed: Mapping[str, Any]) -> NodeSpec:
    """Return the spec of a type that stands for another."""
    return msgspec.structs.replace(
        spec,
        type=type_name,
        title=_title(type_name),
        parameters=tuple(each for each in spec.parameters if each.name not in fixed),
        preset_of=spec.type,
        fixed=dict(fixed),
    )


def _parameters_of(handle: Handle) -> type[msgspec.Struct]:
    names = list(inspect.signature(handle).parameters)
    if len(names) != 2:
        raise ValueError(f"{handle.__name__} must take a context and its parameters")
    annotation = get_type_hints(handle).get(names[1], NoParameters)
    if not (isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)):
        raise ValueError(f"{handle.__name__}: annotate {names[1]} with a msgspec.Struct")
    return annotation


def _ports(outputs: Mapping[str, Fields]) -> tuple[Port, ...]:
    return tuple(Port(name, schema=_schema(fields)) for name, fields in outputs.items())


def _schema(fields: Fields) -> dict[str, Any]:
    if fields is None:
        return {}
    if not isinstance(fields, Mapping):
        return msgspec.json.schema(fields)
    schemas, shared = msgspec.json.schema_components(fields.values())
    members = dict(zip(fields, schemas, strict=True))
    schema: dict[str, Any] = {"type": "object", "properties": members}
    return schema | {"$defs": shared} if shared else schema


def _title(type_name: str) -> str:
    return type_name.rpartition(".")[2].replace("_", " ").capitalize()
