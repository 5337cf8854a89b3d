"""Parameters of a node type: declared as fields of a frozen Struct, described in its spec, read before each attempt.

Reading is lenient where text stands for a value (`"5"` for 5, `"true"` for true, JSON text for a map or
list, any case of an enum value, a number for its text) and strict everywhere else.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Generic, TypeVar, get_type_hints

import msgspec
from msgspec import inspect

from contracts.specs import Parameter, ParameterKind

P = TypeVar("P", bound=msgspec.Struct)

_DECLARED: Final = "parameter"


class _Declared(msgspec.Struct, frozen=True):
    """What a field's annotation says besides its type."""

    kind: ParameterKind = "template"
    aliases: tuple[str, ...] = ()
    value_aliases: dict[str, Any] = {}
    scope: tuple[str, ...] = ()
    description: str = ""
    schema: dict[str, Any] | None = None
    is_json: bool = False


class NoParameters(msgspec.Struct, frozen=True):
    """The parameters of a node type that takes none."""


class InvalidParameter(ValueError):
    """A rendered value does not fit its parameter; `parameter` is empty where none can be named."""

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(parameter, reason)
        self.parameter = parameter
        self.reason = reason

    def __str__(self) -> str:
        return f"parameter {self.parameter}: {self.reason}" if self.parameter else self.reason


def parameter(
    kind: ParameterKind = "template",
    *,
    aliases: tuple[str, ...] = (),
    value_aliases: Mapping[str, Any] | None = None,
    scope: tuple[str, ...] = (),
    description: str = "",
    schema: dict[str, Any] | None = None,
    is_json: bool = False,
) -> msgspec.Meta:
    """Return what to add to a field by `Annotated`, as its outermost annotation.

    `kind` says how the value is read: `template` is rendered, `expr` is left to the handler's
    `context.evaluate`, `literal` is taken as it stands. `aliases` are names of older documents,
    `value_aliases` map other spellings of a value, in lower case, to the one stored. `scope` lists names that only its expressions
    see. `schema` replaces the JSON Schema that follows from the type; a text of `format` `expr` or
    `template` in it marks where expressions stand in a structure. `is_json`: text that spells a map
    or a list is read as that.
    """
    declared = _Declared(
        kind, aliases, dict(value_aliases or {}), scope, description, schema, is_json
    )
    return msgspec.Meta(extra={_DECLARED: declared})


Json = Annotated[Any, parameter(is_json=True)]
"""Any JSON, or the text of a map or list."""


def describe(parameters: type[msgspec.Struct]) -> tuple[Parameter, ...]:
    """Return the parameters that a Struct declares, in order."""
    declared = _declarations(parameters)
    return tuple(
        _described(field, declared[field.name]) for field in msgspec.structs.fields(parameters)
    )


class ParameterReader(Generic[P]):
    """Reads rendered values into one Struct type; built once per node type."""

    def __init__(self, parameters: type[P]) -> None:
        self._type = parameters
        declared = _declarations(parameters)
        info = inspect.type_info(parameters)
        assert isinstance(info, inspect.StructType)
        self._readers = {
            field.encode_name: _text_reader(field.type, declared[field.name])
            for field in info.fields
        }

    def read(self, values: Mapping[str, Any]) -> P:
        """Return the parameters, complete and checked. Raises InvalidParameter."""
        if unknown := [name for name in values if name not in self._readers]:
            known = ", ".join(self._readers) or "none"
            raise InvalidParameter(unknown[0], f"is not known; the parameters are {known}")
        prepared = {name: self._prepared(name, value) for name, value in values.items()}
        try:
            return msgspec.convert(prepared, self._type, strict=False)
        except msgspec.ValidationError as error:
            raise _invalid(str(error)) from error

    def _prepared(self, name: str, value: Any) -> Any:
        reader = self._readers[name]
        if reader is None:
            return value
        try:
            return reader(value)
        except ValueError as error:
            raise InvalidParameter(name, str(error)) from error


_TextReader = Callable[[Any], Any]


def _declarations(parameters: type[msgspec.Struct]) -> dict[str, _Declared]:
    hints = get_type_hints(parameters, include_extras=True)
    return {name: _declaration(hint) for name, hint in hints.items()}


def _declaration(hint: Any) -> _Declared:
    """Return the outermost declaration of an annotation: the last one written."""
    for meta in reversed(getattr(hint, "__metadata__", ())):
        if isinstance(meta, msgspec.Meta) and meta.extra and _DECLARED in meta.extra:
            declared = meta.extra[_DECLARED]
            assert isinstance(declared, _Declared)
            return declared
    return _Declared()


def _described(field: msgspec.structs.FieldInfo, declared: _Declared) -> Parameter:
    return Parameter(
        name=field.encode_name,
        kind=declared.kind,
        required=field.required,
        default=_default(field),
        schema=msgspec.json.schema(field.type) if declared.schema is None else declared.schema,
        aliases=declared.aliases,
        value_aliases=declared.value_aliases,
        scope=declared.scope,
        description=declared.description,
    )


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default_factory())
    if field.default is msgspec.NODEFAULT or field.default is msgspec.UNSET:
        return None
    return msgspec.to_builtins(field.default)


def _text_reader(kind: inspect.Type, declared: _Declared) -> _TextReader | None:
    """Return what turns text into a value of this type, or a value into its text, if anything must."""
    if declared.is_json:
        return _read_any_json
    match _bare(kind):
        case inspect.StrType():
            return _read_text
        case inspect.LiteralType(values=values):
            return _enum_reader(tuple(value for value in values if isinstance(value, str)))
        case (
            inspect.DictType() | inspect.ListType() | inspect.VarTupleType() | inspect.StructType()
        ):
            return _read_container
        case _:
            return None


def _bare(kind: inspect.Type) -> inspect.Type:
    """Return the type without annotations, and without null where one other type is left."""
    if isinstance(kind, inspect.Metadata):
        return _bare(kind.type)
    if isinstance(kind, inspect.UnionType):
        others = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
        return _bare(others[0]) if len(others) == 1 else kind
    return kind


def _read_text(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()
    return value


def _enum_reader(names: tuple[str, ...]) -> _TextReader:
    spelled = {name.casefold(): name for name in names}

    def read(value: Any) -> Any:
        return spelled.get(value.strip().casefold(), value) if isinstance(value, str) else value

    return read


def _read_container(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise ValueError(f"the text is no JSON: {error}") from error


def _read_any_json(value: Any) -> Any:
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return value


_PLACE: Final = re.compile(r"^(?P<reason>.*) - at `\$\.(?P<place>(?P<name>\w+)[^`]*)`$", re.DOTALL)
_FIELD: Final = re.compile(r"^Object missing required field `(?P<name>\w+)`$")


def _invalid(message: str) -> InvalidParameter:
    """Return the refusal that msgspec's message tells of, naming the parameter."""
    if placed := _PLACE.match(message):
        name, place = placed["name"], placed["place"]
        reason = placed["reason"] if place == name else f"{placed['reason']} at {place}"
        return InvalidParameter(name, reason)
    if missing := _FIELD.match(message):
        return InvalidParameter(missing["name"], "is required")
    return InvalidParameter("", message)
