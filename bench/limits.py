"""What the machine can do without the engine: PostgreSQL commits, JetStream publishes, and pulls."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import asyncpg
import msgspec

from bench import jetstream
from bench.figures import Spread, spread
from bench.options import Sizes
from bench.queries import SQL
from bench.surroundings import Surroundings

STREAM: Final = "BENCH_LIMITS"
SUBJECT: Final = "bench.limits"
BATCH_ROWS: Final = 500
PUBLISH_AT_ONCE: Final = 2_000
PULL: Final = 1_024
DATA: Final = '{"ports":{"main":{"x":1}},"timing":{"started_at":"2026-01-01T00:00:00.000000Z"}}'
MESSAGE: Final = DATA.encode() * 4
"""About as long as a task."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a machine."""

    commit_ms: Spread
    batch_commit_ms: Spread
    batch_rows: int
    rows_per_s: float
    publishes_per_s: float
    pulls_per_s: float


async def measure(surroundings: Surroundings, sizes: Sizes) -> Limits:
    """Measure the servers with nothing else to do."""
    single, batched = await _postgres(surroundings.database_url, sizes)
    publishes, pulls = await _jetstream(surroundings.nats_url, sizes.messages)
    batch = spread(batched)
    return Limits(
        commit_ms=spread(single),
        batch_commit_ms=batch,
        batch_rows=BATCH_ROWS,
        rows_per_s=round(BATCH_ROWS / batch.p50 * 1000),
        publishes_per_s=round(publishes),
        pulls_per_s=round(pulls),
    )


async def _postgres(url: str, sizes: Sizes) -> tuple[Sequence[float], Sequence[float]]:
    """Return the seconds of commits of one row, and of many rows."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(SQL["create_tables"])
        insert = SQL["insert_rows"]
        single = await _each(sizes.commits, lambda: connection.execute(insert, [DATA]))
        many = [DATA] * BATCH_ROWS
        batched = await _each(sizes.batches, lambda: connection.execute(insert, many))
        await connection.execute(SQL["drop_tables"])
    finally:
        await connection.close()
    return single, batched


async def _each(count: int, work: Callable[[], Awaitable[object]]) -> Sequence[float]:
    """Return the seconds that each repetition of some work takes, the first one left out."""
    await work()
    found = []
    for _ in range(count):
        begin = time.perf_counter()
        await work()
        found.append(time.perf_counter() - begin)
    return found


async def _jetstream(url: str, count: int) -> tuple[float, float]:
    """Return publishes, acknowledged by the server, and pulls, acknowledged by us, per second."""
    client = await jetstream.connect(url)
    try:
        await jetstream.create_stream(client, STREAM, SUBJECT)
        publisher = await jetstream.Publisher(client).start()
        begin = time.perf_counter()
        for first in range(0, count, PUBLISH_AT_ONCE):
            at_once = min(PUBLISH_AT_ONCE, count - first)
            await publisher.store([(SUBJECT, MESSAGE)] * at_once)
        published = time.perf_counter()
        pull = await jetstream.Pull(client, STREAM, PULL).start()
        left = count
        while left:
            messages = await pull.take(PULL)
            await pull.ack(messages)
            left -= len(messages)
        await client.flush()
        pulled = time.perf_counter()
        await jetstream.delete_stream(client, STREAM)
    finally:
        await client.close()
    return count / (published - begin), count / (pulled - published)
