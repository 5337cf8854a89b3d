"""Query strings: every parameter belongs to the operation's contract, or the request is refused."""

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec

from contracts.problems import pointer
from contracts.spelling import nearest
from gateway.contract_errors import entry_of
from gateway.problems import ErrorEntry, Refused, invalid_request

Q = TypeVar("Q")

MAX_PARAMETERS: Final = 1_000


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of an operation that takes none."""


class AnyQuery(msgspec.Struct, frozen=True):
    """The query of an operation that takes whatever comes: it reads the request itself."""


def read_query(query: bytes, contract: type[Q]) -> Q:
    """Return the parameters of a query string as their contract. Raises Refused."""
    if contract is AnyQuery:
        return contract()
    values: dict[str, Any] = {}
    repeatable = _repeatable(contract) if query else {}  # type: ignore[arg-type]  # types are
    for name, value in _pairs(query):
        if name not in repeatable:
            raise invalid_request(_unknown(name, repeatable))
        if repeatable[name]:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise invalid_request(_repeated(name))
        else:
            values[name] = value
    try:
        return msgspec.convert(values, contract, strict=False)
    except msgspec.ValidationError as error:
        raise invalid_request(entry_of(error)) from None


def _pairs(query: bytes) -> list[tuple[str, str]]:
    if not query:
        return []
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError:
        raise Refused("malformed_request", "The query string cannot be read.") from None
    if any("\0" in value for _, value in pairs):
        raise Refused("malformed_request", "The query string holds a NUL character.")
    return pairs


@lru_cache(maxsize=128)
def _repeatable(contract: Hashable) -> dict[str, bool]:
    """Return for each parameter whether it may stand several times."""
    fields = msgspec.inspect.type_info(contract)
    assert isinstance(fields, msgspec.inspect.StructType)
    return {
        field.encode_name: isinstance(field.type, msgspec.inspect.VarTupleType)
        for field in fields.fields
    }


def _unknown(name: str, known: dict[str, bool]) -> ErrorEntry:
    best = nearest(name, known)
    hint = f" Did you mean `{best[0]}`?" if best else ""
    message = f"There is no query parameter `{name:.80}` here.{hint}"
    return ErrorEntry(pointer(name[:80]), "unknown_field", message)


def _repeated(name: str) -> ErrorEntry:
    return ErrorEntry(pointer(name), "invalid_value", f"`{name}` may stand once.")
