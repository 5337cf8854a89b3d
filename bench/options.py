"""What to measure, and how much of it."""

from collections.abc import Mapping
from typing import Final

import msgspec

LOADS: Final[Mapping[str, str]] = {
    "W0": "at rest",
    "W1": "one execution of 10 nodes after each other, nothing else running",
    "W2": "many executions of 10 nodes after each other",
    "W3": "1 node, 100 parallel ones, a join",
    "W4": "40 nodes after each other",
    "W5": "start one node by REST and wait for its result",
    "W6": "a parallel loop of 10,000 iterations and its join",
    "W7": "trigger events by NATS to executions of 1 node",
}
"""Every load by its name, in the order in which they run."""


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """How much of each load makes one round."""

    rest_seconds: float = 20
    alone: int = 200
    many: int = 3_000
    in_flight: int = 500
    fan_out: int = 30
    branches: int = 100
    long: int = 60
    long_nodes: int = 40
    requests: int = 300
    clients: int = 64
    client_requests: int = 4_000
    iterations: int = 10_000
    events: int = 6_000
    commits: int = 300
    batches: int = 40
    messages: int = 20_000
    #: Executions whose history tells how long tasks queued and ran.
    sample: int = 100


FULL: Final = Sizes()
SHORT: Final = Sizes(
    rest_seconds=0.5,
    alone=3,
    many=40,
    in_flight=20,
    fan_out=2,
    branches=10,
    long=2,
    requests=3,
    clients=4,
    client_requests=20,
    iterations=50,
    events=20,
    commits=5,
    batches=2,
    messages=200,
    sample=5,
)
"""Enough to see that everything runs."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    only: tuple[str, ...] = tuple(LOADS)
    rounds: int = 3
    #: Of other sizes than the full ones nothing is said about goals.
    sizes: Sizes = FULL
    schedulers: int = 1
    workers: int = 1
    concurrency: int = 256
    #: Executions that wait for a signal while the processes are looked at; 0: none.
    waiting: int = 0
