"""Large values: past a limit a value is stored once, under the hash of its JSON, and a reference travels.

    {"$payload": {"id": "sha256:9f86d0…", "size": 1234}}

A reference stands in place of a value, or anywhere inside one: whoever puts values together pastes them as they are. It is
spelled in this one way, without blanks, so that a search for a few bytes tells whether there is any. Objects of users with the
lone key `$payload` are refused at the doors.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec

from contracts.failures import Failure, FailureKind
from contracts.ids import Iteration, RunKey

T = TypeVar("T")

KEY: Final = "$payload"
INLINE_BYTES: Final = 256 * 1024
MESSAGE_BYTES: Final = 512 * 1024
VALUE_BYTES: Final = 16 * 1024 * 1024
PART_BYTES: Final = 480 * 1024
"""What one message carries of a large value, whatever NATS would take: with its envelope below MESSAGE_BYTES."""

ATTEMPT_VALUES: Final = 4
"""The large values that reach one attempt may take so many times VALUE_BYTES."""

MOST_NESTED: Final = 8
"""Values that are references inside values that are references, and so on."""

_NO_VALUES: Final = frozenset({"execution", "node", "onward", "error", "logs", "fields", "choices"})
"""Fields of messages that are no values of nodes, or that somebody reads before they reach one."""

_MARK: Final = b'{"%s":' % KEY.encode()
_LEAST_MOVED: Final = 256
_LONGEST_REFERENCE: Final = 256
_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class PayloadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """In bytes of JSON: above `inline` a value is stored apart, above `message` in sum the largest are.

    `value` is what the outputs of one attempt, or an input, may take.
    """

    inline: int = INLINE_BYTES
    message: int = MESSAGE_BYTES
    value: int = VALUE_BYTES

    def within(self, room: int) -> "PayloadLimits":
        """Return the limits where a message has room for no more than so many bytes of values."""
        room = max(0, room)
        return PayloadLimits(
            inline=min(self.inline, room), message=min(self.message, room), value=self.value
        )

    @property
    def attempt(self) -> int:
        """What the large values that reach one attempt may take together."""
        return ATTEMPT_VALUES * self.value


class Reference(msgspec.Struct, frozen=True):
    """Stands for a value: `id` is the hash of its JSON, `size` the number of its bytes."""

    id: str
    size: Annotated[int, msgspec.Meta(ge=1)]

    @property
    def digest(self) -> bytes:
        """The hash by itself."""
        return digest_of(self.id)


class _Holder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reference: Reference = msgspec.field(name=KEY)


class Claim(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Which attempt asks for a large value, or stores one; the token of its task proves it."""

    execution_id: str
    node_id: str
    iteration: Iteration = ()
    attempt: int
    token: str

    @property
    def key(self) -> RunKey:
        """The node run of the attempt."""
        return self.node_id, self.iteration


class PayloadCall(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Travels in a header, for the body is of the value. `offset` is where in the value it begins.

    Of a value that is read, `count` says how many bytes are wanted.
    """

    claim: Claim
    reference: Reference
    offset: int = 0
    count: int = 0


class PayloadTaken(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was sent is stored; or it was taken, and the rest belongs on the subject `more_to`, part by part."""

    more_to: str | None = None


class PayloadError(Exception):
    """What a value refers to cannot be had."""

    def failure(self, node_id: str) -> Failure:
        """Return the failure of the node that the value has reached."""
        message = f"node {node_id}: {self}"
        return Failure(FailureKind.INVALID_INPUT, "payload_missing", message, {"node_id": node_id})


class BadReference(PayloadError):
    """There is no such value, or it is not what the reference says."""


class ValuesTooLarge(PayloadError):
    """Together, the values that are referred to are larger than their limit, in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"the large values that reached it have {size} bytes or more, the limit is {limit} "
            f"({ATTEMPT_VALUES} times LIMIT_VALUE_BYTES); pass on less, or name only what is needed"
        )

    def failure(self, node_id: str) -> Failure:
        """Return the failure of the node that the values have reached."""
        details = {"node_id": node_id, "size": self.size, "limit": self.limit}
        message = f"node {node_id}: {self}"
        return Failure(FailureKind.PAYLOAD_TOO_LARGE, "input_too_large", message, details)


def reference_to(data: bytes) -> Reference:
    """Return the reference to a value, by the bytes of its JSON."""
    return Reference(f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))


def raw_of(reference: Reference) -> msgspec.Raw:
    """Return a reference as it stands in place of the value."""
    return msgspec.Raw(_encode(_Holder(reference)))


def is_id(text: str) -> bool:
    """Whether `text` has the form of a value's id."""
    return _ID.fullmatch(text) is not None


def digest_of(payload_id: str) -> bytes:
    """Return the hash that stands in a value's id."""
    return bytes.fromhex(payload_id.partition(":")[2])


def may_refer(data: bytes) -> bool:
    """Whether there may be a reference in some JSON; False is certain. Costs next to nothing."""
    return b"$" in data and _MARK in data


def holds_reserved_key(value: Any) -> bool:
    """Whether an object somewhere in a value of a user has the lone key of a reference."""
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, Mapping):
            if len(each) == 1 and KEY in each:
                return True
            stack.extend(each.values())
        elif isinstance(each, list | tuple):
            stack.extend(each)
    return False


def read_reference(data: bytes) -> Reference | None:
    """Return the reference that a value is, or None for one that is none, though it may hold some."""
    if len(data) > _LONGEST_REFERENCE or not data.startswith(_MARK):
        return None
    try:
        return _known(msgspec.json.decode(data, type=_Holder).reference)
    except msgspec.DecodeError:
        return None


def references_in(data: bytes) -> tuple[Reference, ...]:
    """Return the references in the JSON of a value, each as often as it stands there."""
    if not may_refer(data):
        return ()
    whole = read_reference(data)
    return (whole,) if whole is not None else tuple(_found(_decode(data)))


def size_of(data: bytes) -> int:
    """Return how many bytes a value has with what it refers to in place; references inside of those are not looked into."""
    found = references_in(data)
    return len(data) + sum(reference.size - len(raw_of(reference)) for reference in found)


def resolved(data: bytes, values: Mapping[str, bytes]) -> bytes:
    """Return the JSON of a value with all that it refers to in place; `missing` was empty for these values."""
    if not may_refer(data):
        return data
    whole = read_reference(data)
    if whole is not None:
        return resolved(values[whole.id], values)
    return _encode(_filled(_decode(data), values))


def missing(
    data: Iterable[bytes], values: Mapping[str, bytes], *, limit: int
) -> dict[str, Reference]:
    """Return what values refer to and `values` does not have yet, by id.

    Raises ValuesTooLarge if all of it, each as often as it stands there, is larger than `limit` bytes, and BadReference for
    references inside each other without end.
    """
    absent: dict[str, Reference] = {}
    inside: dict[str, tuple[Reference, ...]] = {}
    stack = [(reference, 1) for each in data for reference in references_in(each)]
    size = 0
    while stack:
        reference, depth = stack.pop()
        size += reference.size
        if size > limit:
            raise ValuesTooLarge(size, limit)
        if depth > MOST_NESTED:
            raise BadReference(f"more than {MOST_NESTED} large values stand inside each other")
        if reference.id not in values:
            absent[reference.id] = reference
            continue
        if reference.id not in inside:
            inside[reference.id] = references_in(values[reference.id])
        stack.extend((each, depth + 1) for each in inside[reference.id])
    return absent


def moved(message: T, limits: PayloadLimits) -> tuple[T, dict[str, bytes]]:
    """Return a message with references in place of its large values, and those values by id.

    Each value above `limits.inline` is moved out, and of the others the largest until the rest fits `limits.message`.
    """
    sizes = [len(raw) for raw in raws_of(message)]
    least = _least_moved(sizes, limits)
    if max(sizes, default=0) < least:
        return message, {}
    values: dict[str, bytes] = {}

    def move(raw: msgspec.Raw) -> msgspec.Raw:
        if len(raw) < least:
            return raw
        data = bytes(raw)
        reference = reference_to(data)
        values[reference.id] = data
        return raw_of(reference)

    return with_raws(message, move), values


def raws_of(message: Any) -> Iterator[msgspec.Raw]:
    """Yield every value in a message, wherever it stands."""
    if isinstance(message, msgspec.Raw):
        yield message
    elif isinstance(message, msgspec.Struct):
        for name in message.__struct_fields__:
            if name not in _NO_VALUES:
                yield from raws_of(getattr(message, name))
    elif isinstance(message, dict):
        for each in message.values():
            yield from raws_of(each)
    elif isinstance(message, list | tuple):
        for each in message:
            yield from raws_of(each)


def with_raws(message: T, change: Callable[[msgspec.Raw], msgspec.Raw]) -> T:
    """Return a message with every value in it changed."""
    changed: Any = message
    if isinstance(message, msgspec.Raw):
        changed = change(message)
    elif isinstance(message, msgspec.Struct):
        fields = {
            name: with_raws(getattr(message, name), change)
            for name in message.__struct_fields__
            if name not in _NO_VALUES
        }
        changed = msgspec.structs.replace(message, **fields)
    elif isinstance(message, dict):
        changed = {name: with_raws(each, change) for name, each in message.items()}
    elif isinstance(message, list | tuple):
        changed = type(message)(with_raws(each, change) for each in message)
    return changed  # type: ignore[no-any-return]


def _least_moved(sizes: Iterable[int], limits: PayloadLimits) -> int:
    """Return the size from which on values are moved out."""
    descending = sorted(sizes, reverse=True)
    left = sum(descending)
    least = limits.inline + 1
    for size in descending:
        if size <= limits.inline and (left <= limits.message or size < _LEAST_MOVED):
            break
        least = min(least, size)
        left -= size
    return least


def _known(reference: Reference) -> Reference | None:
    return reference if is_id(reference.id) else None


def _referred(value: Any) -> Reference | None:
    """Return the reference that a decoded value is."""
    if not isinstance(value, dict) or len(value) != 1 or KEY not in value:
        return None
    try:
        return _known(msgspec.convert(value, _Holder).reference)
    except msgspec.ValidationError:
        return None


def _found(value: Any) -> Iterator[Reference]:
    stack = [value]
    while stack:
        each = stack.pop()
        reference = _referred(each)
        if reference is not None:
            yield reference
        elif isinstance(each, dict):
            stack.extend(each.values())
        elif isinstance(each, list):
            stack.extend(each)


def _filled(value: Any, values: Mapping[str, bytes]) -> Any:
    reference = _referred(value)
    if reference is not None:
        return msgspec.Raw(resolved(values[reference.id], values))
    if isinstance(value, dict):
        return {name: _filled(each, values) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    return value
