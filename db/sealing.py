"""Sealing: secrets are stored encrypted, each row under a data key of its own.

    ciphertext = version | nonce | data key, sealed by one of SECRET_KEYS | nonce | data, sealed by the data key

Both are AES-256-GCM. What a row is bound to (user, id, type) is authenticated with it, so that a ciphertext which is moved to another
row, user or type opens nowhere. The first of SECRET_KEYS seals, all of them open: which one, the row's `key_id` says.
"""

import os
from collections.abc import Iterable
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from db.errors import StoreError

KEY_BYTES: Final = 32

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_WRAPPED_BYTES: Final = KEY_BYTES + 16  # and the tag
_HEAD_BYTES: Final = len(_VERSION) + _NONCE_BYTES + _WRAPPED_BYTES + _NONCE_BYTES


class UnknownKey(StoreError):
    """A row is sealed by a key that this process was not given."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        super().__init__(
            f"it is sealed by the key `{key_id}`, which is not among SECRET_KEYS: add it there"
        )


class NoKeys(StoreError):
    """Nothing can be sealed: SECRET_KEYS is not set."""

    def __init__(self) -> None:
        super().__init__("SECRET_KEYS is not set, so nothing secret can be stored")


class BrokenSeal(StoreError):
    """A ciphertext does not open: it was changed, moved to another row, or sealed by another key of the same id."""

    def __init__(self) -> None:
        super().__init__("the ciphertext does not open: it was changed, or its key is another one")


class Binding(msgspec.Struct, frozen=True, array_like=True):
    """The row that a secret belongs to."""

    user_id: str
    id: str
    type: str


class Sealed(msgspec.Struct, frozen=True):
    """A secret as it is stored."""

    key_id: str
    ciphertext: bytes


class Keyring:
    """The keys of SECRET_KEYS, in their order; its repr names no key."""

    def __init__(self, keys: Iterable[tuple[str, bytes]] = ()) -> None:
        self._keys = {key_id: AESGCM(_checked(key)) for key_id, key in keys}
        self._first = next(iter(self._keys), None)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keys)})"

    @property
    def sealing_key(self) -> str | None:
        """The id of the key that seals, None without any."""
        return self._first

    def seal(self, data: bytes, binding: Binding) -> Sealed:
        """Seal a secret for a row by the first key. Raises NoKeys."""
        if self._first is None:
            raise NoKeys
        data_key, about = AESGCM.generate_key(KEY_BYTES * 8), msgspec.json.encode(binding)
        key_nonce, nonce = os.urandom(_NONCE_BYTES), os.urandom(_NONCE_BYTES)
        wrapped = self._keys[self._first].encrypt(key_nonce, data_key, about)
        sealed = AESGCM(data_key).encrypt(nonce, data, about)
        return Sealed(self._first, b"".join((_VERSION, key_nonce, wrapped, nonce, sealed)))

    def open(self, sealed: Sealed, binding: Binding) -> bytes:
        """Return the secret of a row. Raises UnknownKey and BrokenSeal."""
        key = self._keys.get(sealed.key_id)
        if key is None:
            raise UnknownKey(sealed.key_id)
        text, about = sealed.ciphertext, msgspec.json.encode(binding)
        if len(text) < _HEAD_BYTES or text[:1] != _VERSION:
            raise BrokenSeal
        key_nonce, rest = _split(text[1:], _NONCE_BYTES)
        wrapped, rest = _split(rest, _WRAPPED_BYTES)
        nonce, data = _split(rest, _NONCE_BYTES)
        try:
            return AESGCM(key.decrypt(key_nonce, wrapped, about)).decrypt(nonce, data, about)
        except InvalidTag:
            raise BrokenSeal from None


def _checked(key: bytes) -> bytes:
    assert len(key) == KEY_BYTES
    return key


def _split(text: bytes, count: int) -> tuple[bytes, bytes]:
    return text[:count], text[count:]
