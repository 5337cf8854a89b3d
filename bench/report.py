"""What a benchmark found, as one value that is written as JSON."""

import msgspec

from bench.figures import Figures, Rounds
from bench.limits import Limits


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Under which circumstances it was measured."""

    at: str
    cores: int
    python: str
    postgres: str
    nats: str
    fsync: str
    synchronous_commit: str
    nats_sync_interval_s: float | None
    schedulers: int
    workers: int
    concurrency: int
    in_flight: int
    rounds: int
    environment: dict[str, str]
    load_average: tuple[float, float, float]


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A load beside the bare loop: how much of its speed the engine keeps, by rounds and in the middle."""

    bare: Rounds
    kept: tuple[float, ...]
    kept_median: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured, by the names of loads."""

    settings: Settings
    limits: Limits
    loads: dict[str, Rounds] = {}
    compared: dict[str, Compared] = {}
    rest: Figures | None = None
    waiting: Figures | None = None
