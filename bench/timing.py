"""Where the time of tasks goes, read from history: queue time, run time, and the time until the result is recorded."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from bench.figures import Times, spread
from bench.installation import Installation
from contracts.history import Timing
from db.executions import HistoryRow

_SUCCEEDED = "node_succeeded"
_EVENTS = 1_000


class _Timed(msgspec.Struct):
    timing: Timing | None = None


class _Attempt(msgspec.Struct, frozen=True):
    """The seconds of one attempt."""

    queue: float
    run: float
    record: float


_decode = msgspec.json.Decoder(_Timed).decode


async def times_of(installation: Installation, execution_ids: Sequence[str]) -> Times | None:
    """Return the times of the attempts of these executions; None if history tells none."""
    attempts = [
        attempt
        for execution_id in execution_ids
        for row in await installation.history(execution_id, limit=_EVENTS, kind=_SUCCEEDED)
        for attempt in _attempt(row)
    ]
    if not attempts:
        return None
    return Times(
        queue_ms=spread(each.queue for each in attempts),
        run_ms=spread(each.run for each in attempts),
        record_ms=spread(each.record for each in attempts),
    )


def _attempt(row: HistoryRow) -> Iterator[_Attempt]:
    """Yield the attempt whose end an event tells, unless no worker was asked."""
    timing = _decode(row.data).timing
    if timing is None or timing.started_at is None or timing.finished_at is None:
        return
    started, finished = _instant(timing.started_at), _instant(timing.finished_at)
    # Nodes that follow in one segment are not dispatched: they begin when the one before has ended.
    dispatched = started if timing.dispatched_at is None else _instant(timing.dispatched_at)
    yield _Attempt(
        (started - dispatched).total_seconds(),
        (finished - started).total_seconds(),
        (row.at - finished).total_seconds(),
    )


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
