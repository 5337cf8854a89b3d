"""Masking: what an attempt must not tell is replaced by value, wherever it stands and however it is spelled."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

import msgspec

from contracts.failures import Failure

MASKED: Final = "***"
SHORTEST: Final = 4
"""Shorter secrets are not masked: they would be found in everything."""

SHORTEST_INSIDE: Final = 9
"""Of secrets within text that is base64 as a whole: what is left of shorter ones is found in everything."""

SHORTEST_KEY: Final = 32
"""Of texts inside a secret that is JSON: shorter ones are names."""

_TOLD: Final = frozenset({"title", "message"})
"""Texts for people in what an attempt answers; all others are the engine's own words."""


class Masker:
    """Knows the secrets that an attempt was given, and takes them out of what it says."""

    def __init__(self) -> None:
        self._spellings: dict[str, bytes] = {}  # as text and inside of JSON, the longest first

    def add(self, secrets: Iterable[str]) -> None:
        """Mask these from now on."""
        new = {
            spelling: msgspec.json.encode(spelling)[1:-1]
            for secret in secrets
            for part in _parts(secret)
            if len(part) >= SHORTEST
            for spelling in _spellings(part)
        }
        known = (self._spellings | new).items()
        self._spellings = dict(sorted(known, key=lambda each: (-len(each[0]), each[0])))

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        # One search for each is many times as fast as one regular expression for all.
        for spelling in self._spellings:
            text = text.replace(spelling, MASKED)
        return text

    def value(self, value: Any) -> Any:
        """Return a JSON value without secrets, in its keys too; a number that is one becomes text."""
        if not self._spellings:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int | float):
            return MASKED if str(value) in self._spellings else value
        if isinstance(value, Mapping):
            return {self.value(key): self.value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each) for each in value]
        return value

    def json(self, data: bytes) -> bytes:
        """Return the JSON of a value without secrets; costs a search where there are none."""
        if not any(spelling in data for spelling in self._spellings.values()):
            return data
        return msgspec.json.encode(self.value(msgspec.json.decode(data)))

    def failure(self, failure: Failure) -> Failure:
        """Return a failure without secrets."""
        return msgspec.structs.replace(
            failure, message=self.text(failure.message), details=self.value(failure.details)
        )

    def answer(self, answer: Any) -> Any:
        """Return what an attempt reports without secrets: values, failures and texts for people."""
        if isinstance(answer, msgspec.Raw):
            return msgspec.Raw(self.json(bytes(answer)))
        if isinstance(answer, Failure):
            return self.failure(answer)
        if isinstance(answer, dict):
            return {name: self.answer(each) for name, each in answer.items()}
        if isinstance(answer, msgspec.Struct):
            changed = {name: self._field(name, answer) for name in answer.__struct_fields__}
            return msgspec.structs.replace(answer, **changed)
        return answer

    def _field(self, name: str, struct: msgspec.Struct) -> Any:
        value = getattr(struct, name)
        if isinstance(value, str):
            return self.text(value) if name in _TOLD else value
        return self.answer(value)


def _parts(secret: str) -> Iterator[str]:
    """Yield a secret; of an address with a password that too, and the keys in one that is an object of JSON."""
    yield secret
    if secret.lstrip().startswith("{"):
        yield from _keys_in(secret)
    if "://" in secret:
        try:
            password = urlsplit(secret).password
        except ValueError:
            return
        if password:
            yield password
            yield unquote(password)


def _keys_in(secret: str) -> Iterator[str]:
    try:
        found = msgspec.json.decode(secret, type=dict[str, Any])
    except msgspec.DecodeError:
        return
    for each in found.values():
        if isinstance(each, str) and len(each) >= SHORTEST_KEY:
            yield each


def _spellings(secret: str) -> Iterator[str]:
    """Yield how a secret may be spelled: as it is, escaped, and in base64 by itself or inside of more."""
    yield secret
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield msgspec.json.encode(secret)[1:-1].decode()
    data = secret.encode("utf-8", "surrogatepass")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(data).decode()
        if len(data) >= SHORTEST_INSIDE:
            yield from _inside(data, encode)


def _inside(data: bytes, encode: Any) -> Iterator[str]:
    """Yield the digits that only `data` decides, wherever in the encoded text it begins."""
    for before in range(3):
        encoded = encode(b"\0" * before + data).decode().rstrip("=")
        first = -(-before * 8 // 6)
        last = (before + len(data)) * 8 // 6
        yield encoded[first:last]
