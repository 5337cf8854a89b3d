"""Real servers for tests: started once per session (with pytest-xdist: per worker), databases cloned per test.

Everything here may be called from code without an event loop, as fixtures are; a test that wants a server of its own,
to stop or to kill it, uses `flotilla.embedded` directly.
"""

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from flotilla.embedded import leftovers
from flotilla.embedded.server import Server

T = TypeVar("T")
Fill = Callable[[str], Awaitable[None]]

PREFIX = "flotilla-test-"
MEMORY = Path("/dev/shm")
PLENTY_BYTES = 4 * 1024**3

_numbers = itertools.count(1)


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, leaving the event loops of pytest-asyncio alone."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(work)


@contextlib.contextmanager
def server_folder() -> Iterator[Path]:
    """A short-lived folder that the account of a PostgreSQL started by root can pass through.

    In memory where there is plenty: a database is cloned there in 10 ms, on a disk in 300 ms.
    """
    place = _fast_place()
    _sweep(place)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place))
    try:
        folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder)


def _fast_place() -> Path:
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > PLENTY_BYTES:
        return MEMORY
    return Path(tempfile.gettempdir())


def _sweep(place: Path) -> None:
    """Remove what test sessions left that were killed: in memory it would stay until the machine restarts."""
    for folder in place.glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not leftovers.exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(server: Server) -> Iterator[str]:
    """The URL of a server that is stopped in the end."""
    url = wait_for(server.start())
    try:
        yield url
    finally:
        wait_for(server.stop())


@contextlib.contextmanager
def template_database(postgres_url: str, fill: Fill) -> Iterator[str]:
    """The URL of a database that `fill` has been given to fill, to clone from; nobody may stay connected to it."""
    with _database(postgres_url, name="flotilla_template") as url:
        wait_for(_await(fill(url)))
        yield url


@contextlib.contextmanager
def database(postgres_url: str, *, template: str | None = None) -> Iterator[str]:
    """The URL of a new database, a copy of the one at the URL `template`; dropped in the end, sessions included."""
    with _database(postgres_url, name=f"test_{next(_numbers)}", template=template) as url:
        yield url


@contextlib.contextmanager
def _database(postgres_url: str, *, name: str, template: str | None = None) -> Iterator[str]:
    source = name_of_database(template) if template else "template1"
    wait_for(
        _execute(postgres_url, f'create database "{name}" template "{source}" strategy file_copy')
    )
    try:
        yield urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    finally:
        wait_for(_execute(postgres_url, f'drop database "{name}" with (force)'))


def name_of_database(url: str) -> str:
    """The database that a URL points at."""
    return urlsplit(url).path.removeprefix("/")


async def _execute(url: str, statement: str) -> None:
    session = await asyncpg.connect(url)
    try:
        await session.execute(statement)
    finally:
        await session.close()


async def _await(work: Awaitable[None]) -> None:
    await work
