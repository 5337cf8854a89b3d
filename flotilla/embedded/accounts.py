"""The account that PostgreSQL runs under when we are root, since it refuses to run as root.

It is `postgres` if the machine has it, else `nobody`. That account has to be able to reach the programs and the data, which
a folder such as /root (0700) prevents. Then every folder on the way gets an access control list entry that lets this one
account pass through: it can neither list nor read anything there. Where the file system knows no such lists, the start
fails with a sentence that says what to do.
"""

import os
import pwd
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import structlog

log = structlog.get_logger()

CANDIDATES = ("postgres", "nobody")

# The binary form of a POSIX access control list, as Linux keeps it in an extended attribute (linux/posix_acl_xattr.h).
ACL_ATTRIBUTE = "system.posix_acl_access"
ACL_HEADER = struct.pack("<I", 2)
ACL_ENTRY = struct.Struct("<HHI")
OWNER, USER, OWNING_GROUP, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NO_ID = 0xFFFFFFFF
SEARCH = 0x1


class Account(msgspec.Struct, frozen=True):
    """An operating system account without privileges."""

    name: str  # for messages: the number serves, too
    uid: int
    gid: int

    def own(self, path: Path) -> None:
        """Make the account the owner of a file or folder."""
        os.chown(path, self.uid, self.gid)


class UnreachableError(Exception):
    """The account cannot get to a folder, and could not be let through."""

    def __init__(self, folder: Path, account: str) -> None:
        self.folder = folder
        self.account = account
        super().__init__(
            f"PostgreSQL does not run as root, and the account {account} cannot pass through {folder}: "
            f"run flotilla as an ordinary user, move the project or DATA_DIR, allow it with `chmod o+x {folder}`, "
            "or set DATABASE_URL"
        )


class NoAccountError(Exception):
    """We are root, and the machine has no account to run PostgreSQL under."""

    def __init__(self) -> None:
        super().__init__(
            f"PostgreSQL does not run as root, and there is no account {' or '.join(CANDIDATES)} to run it under: "
            "run flotilla as an ordinary user, or set DATABASE_URL"
        )


def unprivileged_account(data: Path) -> Account | None:
    """The account to run PostgreSQL under, None if we are no root; `data` that exists keeps its owner.

    Raises NoAccountError.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(name=str(owner.st_uid), uid=owner.st_uid, gid=owner.st_gid)
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise NoAccountError


def let_through(account: Account, folder: Path) -> None:
    """Make sure that the account can reach `folder`, changing as little as possible; raises UnreachableError."""
    if _can_enter(account, folder):
        return
    for step in (*reversed(folder.resolve().parents), folder.resolve()):
        if not _can_enter(account, step):
            _grant_search(account, step)
            if not _can_enter(account, step):
                raise UnreachableError(step, account.name)
            log.warning("search_permission_granted", folder=str(step), account=account.name)


def _can_enter(account: Account, folder: Path) -> bool:
    """Asked of the kernel, as the account itself: modes alone do not tell (lists, security modules)."""
    attempt = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)],
        cwd="/",
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return attempt.returncode == 0


def _grant_search(account: Account, folder: Path) -> None:
    if not sys.platform.startswith("linux"):
        raise UnreachableError(folder, account.name)
    try:
        os.setxattr(folder, ACL_ATTRIBUTE, with_search(_list_of(folder), account.uid))
    except OSError as error:
        raise UnreachableError(folder, account.name) from error


def _list_of(folder: Path) -> bytes:
    try:
        return os.getxattr(folder, ACL_ATTRIBUTE)
    except OSError:  # none yet: the list that says what the mode says
        return list_of_mode(folder.stat().st_mode)


def list_of_mode(mode: int) -> bytes:
    """The access control list that is equal to a file mode."""
    return ACL_HEADER + b"".join(
        ACL_ENTRY.pack(tag, mode >> shift & 0o7, NO_ID)
        for tag, shift in ((OWNER, 6), (OWNING_GROUP, 3), (OTHER, 0))
    )


def with_search(access_list: bytes, uid: int) -> bytes:
    """The list with the right to pass through for one more user, everybody else's rights unchanged."""
    entries = {
        (tag, identity): permissions
        for tag, permissions, identity in ACL_ENTRY.iter_unpack(access_list[len(ACL_HEADER) :])
    }
    mask = entries.pop((MASK, NO_ID), 0o7)
    # The mask bounds all of these. It is about to grow, so what it held back is taken away from the entries themselves.
    for tag, identity in entries:
        if tag in (USER, OWNING_GROUP, GROUP):
            entries[tag, identity] &= mask
    entries[USER, uid] = entries.get((USER, uid), 0) | SEARCH
    bounded = [rights for (tag, _), rights in entries.items() if tag in (USER, OWNING_GROUP, GROUP)]
    entries[MASK, NO_ID] = _union(bounded)
    return ACL_HEADER + b"".join(
        ACL_ENTRY.pack(tag, entries[tag, identity], identity) for tag, identity in sorted(entries)
    )


def _union(permissions: list[int]) -> int:
    union = 0
    for each in permissions:
        union |= each
    return union
