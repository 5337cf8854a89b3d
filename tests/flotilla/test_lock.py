"""One owner per data folder."""

import os
from pathlib import Path

import pytest

from flotilla.embedded.lock import AlreadyRunningError, FolderLock
from tests.support.processes import program

HOLDER = """
    import pathlib, signal, sys
    from flotilla.embedded.lock import FolderLock

    with FolderLock(pathlib.Path(sys.argv[1])):
        print("held", flush=True)
        signal.pause()
"""


def test_the_folder_is_created(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "deep" / "data"):
        assert (tmp_path / "deep" / "data").is_dir()


def test_a_second_holder_learns_who_is_first_and_where(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(AlreadyRunningError) as refusal:
        FolderLock(tmp_path).acquire()

    assert (tmp_path, os.getpid()) == (refusal.value.folder, refusal.value.pid)
    assert f"{tmp_path} is in use by process {os.getpid()}" in str(refusal.value)


def test_a_released_folder_can_be_taken(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.acquire()
    lock.release()
    lock.release()

    with FolderLock(tmp_path):
        pass


def test_two_folders_do_not_know_each_other(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "a"), FolderLock(tmp_path / "b"):
        pass


def test_an_owner_that_did_not_write_its_pid_yet_is_another_process(tmp_path: Path) -> None:
    with FolderLock(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(AlreadyRunningError, match="another process"):
            FolderLock(tmp_path).acquire()


def test_a_killed_owner_gives_the_folder_back(tmp_path: Path) -> None:
    with program(HOLDER, tmp_path) as holder:
        assert holder.line() == "held"
        with pytest.raises(AlreadyRunningError, match=f"process {holder.process.pid}"):
            FolderLock(tmp_path).acquire()

        holder.kill()

        with FolderLock(tmp_path):
            pass
