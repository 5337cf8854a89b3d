"""The account that runs PostgreSQL for root, and its way to the data."""

import os
from pathlib import Path

import pytest

from flotilla.embedded import accounts
from flotilla.embedded.accounts import Account, NoAccountError, UnreachableError

NOBODY = Account(name="nobody", uid=65534, gid=65534)
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")


def entries(access_list: bytes) -> dict[tuple[int, int], int]:
    """Permissions by tag and id."""
    pairs = accounts.ACL_ENTRY.iter_unpack(access_list[len(accounts.ACL_HEADER) :])
    return {(tag, identity): permissions for tag, permissions, identity in pairs}


def test_a_private_folder_lets_one_account_pass_and_nothing_else_changes() -> None:
    granted = accounts.with_search(accounts.list_of_mode(0o700), NOBODY.uid)

    assert entries(granted) == {
        (accounts.OWNER, accounts.NO_ID): 0o7,
        (accounts.USER, NOBODY.uid): 0o1,
        (accounts.OWNING_GROUP, accounts.NO_ID): 0o0,
        (accounts.MASK, accounts.NO_ID): 0o1,
        (accounts.OTHER, accounts.NO_ID): 0o0,
    }


def test_entries_are_in_the_order_that_the_kernel_wants() -> None:
    granted = accounts.with_search(accounts.list_of_mode(0o750), NOBODY.uid)

    assert sorted(entries(granted)) == list(entries(granted))


def test_granting_twice_is_granting_once() -> None:
    once = accounts.with_search(accounts.list_of_mode(0o750), NOBODY.uid)

    assert once == accounts.with_search(once, NOBODY.uid)


def test_what_a_mask_held_back_stays_held_back() -> None:
    masked = accounts.with_search(accounts.list_of_mode(0o770), 1000)
    entry = accounts.ACL_ENTRY.pack(accounts.MASK, 0o7, accounts.NO_ID)
    closed = accounts.ACL_ENTRY.pack(accounts.MASK, 0o0, accounts.NO_ID)

    granted = entries(accounts.with_search(masked.replace(entry, closed), NOBODY.uid))

    assert granted[accounts.OWNING_GROUP, accounts.NO_ID] == 0o0
    assert granted[accounts.USER, 1000] == 0o0
    assert granted[accounts.USER, NOBODY.uid] == 0o1


def test_an_ordinary_user_needs_no_other_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert accounts.unprivileged_account(tmp_path / "data") is None


def test_root_without_any_account_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(accounts, "CANDIDATES", ("no-such-account",))

    with pytest.raises(NoAccountError, match=r"no-such-account .* DATABASE_URL"):
        accounts.unprivileged_account(tmp_path / "data")


@only_root
def test_existing_data_keep_their_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4712)

    account = accounts.unprivileged_account(tmp_path)

    assert account == Account(name="4711", uid=4711, gid=4712)


@only_root
def test_every_private_folder_on_the_way_is_opened_a_little(tmp_path: Path) -> None:
    inner = tmp_path / "one" / "two"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o700)
    inner.chmod(0o700)

    accounts.let_through(NOBODY, inner)

    assert os.stat(inner.parent).st_mode & 0o007 == 0
    accounts.let_through(NOBODY, inner)


@only_root
def test_a_file_system_without_access_lists_is_told_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(95, "not supported")

    tmp_path.chmod(0o700)
    monkeypatch.setattr(os, "setxattr", refuse)

    with pytest.raises(UnreachableError, match=r"chmod o\+x"):
        accounts.let_through(NOBODY, tmp_path)
