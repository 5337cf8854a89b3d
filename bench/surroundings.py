"""Where the benchmark runs: servers that are up, and how a process of the engine is started."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec


class BenchError(Exception):
    """The benchmark cannot go on; the message is for people."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What whoever starts the benchmark has prepared; URLs with their passwords.

    `servers` are the main processes of the servers by their names. `command` begins the command line of a process of
    the engine, and `environment` is what it sees. `at_birth` runs in a new process before its program.
    """

    database_url: str
    nats_url: str
    nats_monitoring_url: str
    servers: Mapping[str, int]
    command: tuple[str, ...]
    environment: Mapping[str, str]
    at_birth: Callable[[], None] | None
    gateway_port: int
    token: str
    user_id: str
    log_folder: Path
