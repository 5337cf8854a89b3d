"""Which occurrences of a schedule are started when it is looked at, and when it is looked at next."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from contracts.schedules import RESOLUTION, Calendar, Policy, Series, Timing, latest

ON_TIME: Final = timedelta(seconds=10)
"""How late an occurrence may be looked at without being missed: a pause between two looks, or a change of scheduler."""


class Due(msgspec.Struct, frozen=True):
    """Occurrences to start, earliest first, and the next one to wait for; None: there is none."""

    starts: Sequence[datetime]
    next_at: datetime | None


def due(
    calendar: Calendar, timing: Timing, policy: Policy, *, next_at: datetime, now: datetime
) -> Due:
    """Decide on the occurrences from `next_at` up to `now`. Raises BadCron.

    Those on time are all started, of those that were missed as many of the last as the policy catches up, on-time
    ones included. Under SKIP it is the last one alone, because the others would still be under way.
    """
    series = calendar.series(timing, since=next_at)
    first = series.after(next_at - RESOLUTION)
    if first is None or first > now:
        return Due((), first)
    starts = _last(series, first, now, policy.caught_up)
    return Due(starts[-1:] if policy.overlap == "SKIP" else starts, series.after(now))


def _last(series: Series, first: datetime, now: datetime, count: int) -> list[datetime]:
    """Return the last occurrences, so many of them, and more if they are on time."""
    found: list[datetime] = []
    at = latest(series, first, now)
    while len(found) < count or now - at <= ON_TIME:
        found.append(at)
        if at <= first:
            break
        at = latest(series, first, at - RESOLUTION)
    return found[::-1]
