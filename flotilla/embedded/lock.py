"""One owner per data folder.

The lock is advisory and belongs to the process: however it ends, the operating system gives the lock back. The file
stays, and names the owner for whoever is refused.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self


class AlreadyRunningError(Exception):
    """Another process owns the folder."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        self.folder = folder
        self.pid = pid
        owner = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{folder} is in use by {owner}: stop it, or choose another folder")


class FolderLock:
    """The right to use a folder, held from `acquire` (or `with`) to `release`, or to the end of the process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the folder, creating it if it is missing; raises AlreadyRunningError at once if it is taken."""
        assert self._descriptor is None, "the lock is held already"
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _read_pid(descriptor)
            os.close(descriptor)
            raise AlreadyRunningError(self.folder, owner) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the folder back; a second time does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0)
    return int(text) if text.strip().isdigit() else None  # empty: its owner is just about to write
