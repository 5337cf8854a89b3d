"""Sealing: what is sealed opens again in its own row, by a key that is known, and nowhere else."""

import msgspec
import pytest

from db.sealing import Binding, BrokenSeal, Keyring, NoKeys, Sealed, UnknownKey

OLD = ("old", b"o" * 32)
NEW = ("new", b"n" * 32)
ROW = Binding("user", "row", "http")
SECRET = b'{"token":"canary"}'


def test_what_is_sealed_opens_again() -> None:
    keyring = Keyring([OLD])

    sealed = keyring.seal(SECRET, ROW)

    assert sealed.key_id == "old"
    assert b"canary" not in sealed.ciphertext
    assert keyring.open(sealed, ROW) == SECRET


def test_the_same_secret_never_looks_the_same() -> None:
    keyring = Keyring([OLD])

    first, second = keyring.seal(SECRET, ROW).ciphertext, keyring.seal(SECRET, ROW).ciphertext

    # Version, nonce, data key, nonce, data: all but the first byte are drawn anew.
    assert len(first) == len(second) == 1 + 12 + 48 + 12 + len(SECRET) + 16
    parts = [slice(1, 13), slice(13, 61), slice(61, 73), slice(73, None)]
    assert all(first[part] != second[part] for part in parts)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Binding("stranger", "row", "http"), id="another user"),
        pytest.param(Binding("user", "other", "http"), id="another credential"),
        pytest.param(Binding("user", "row", "webhook"), id="another type"),
        pytest.param(Binding("userrow", "", "http"), id="the same text, parted elsewhere"),
    ],
)
def test_a_ciphertext_opens_in_no_other_row(other: Binding) -> None:
    keyring = Keyring([OLD])
    sealed = keyring.seal(SECRET, ROW)

    with pytest.raises(BrokenSeal):
        keyring.open(sealed, other)


@pytest.mark.parametrize("place", [0, 1, 13, 61, 73, -1], ids=lambda place: f"byte {place}")
def test_a_ciphertext_that_was_changed_does_not_open(place: int) -> None:
    keyring = Keyring([OLD])
    sealed = keyring.seal(SECRET, ROW)
    changed = bytearray(sealed.ciphertext)
    changed[place] ^= 1

    with pytest.raises(BrokenSeal):
        keyring.open(Sealed("old", bytes(changed)), ROW)


@pytest.mark.parametrize("length", [0, 1, 72])
def test_a_ciphertext_that_was_cut_does_not_open(length: int) -> None:
    keyring = Keyring([OLD])
    sealed = keyring.seal(SECRET, ROW)

    with pytest.raises(BrokenSeal):
        keyring.open(msgspec.structs.replace(sealed, ciphertext=sealed.ciphertext[:length]), ROW)


def test_the_first_key_seals_and_all_keys_open() -> None:
    before = Keyring([OLD]).seal(SECRET, ROW)
    keyring = Keyring([NEW, OLD])

    assert keyring.open(before, ROW) == SECRET
    assert keyring.seal(SECRET, ROW).key_id == keyring.sealing_key == "new"


def test_a_key_that_is_missing_is_named() -> None:
    sealed = Keyring([OLD]).seal(SECRET, ROW)

    with pytest.raises(UnknownKey, match=r"`old`.*SECRET_KEYS"):
        Keyring([NEW]).open(sealed, ROW)


def test_another_key_of_the_same_id_opens_nothing() -> None:
    sealed = Keyring([OLD]).seal(SECRET, ROW)

    with pytest.raises(BrokenSeal):
        Keyring([("old", NEW[1])]).open(sealed, ROW)


def test_without_keys_nothing_is_sealed() -> None:
    with pytest.raises(NoKeys, match="SECRET_KEYS"):
        Keyring().seal(SECRET, ROW)


def test_a_keyring_shows_no_key() -> None:
    assert repr(Keyring([NEW, OLD])) == "Keyring(new, old)"
