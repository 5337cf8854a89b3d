"""Cron texts, read by cronsim.

It is asked for local times alone, without a zone: it follows Debian's cron, whose rules for clock changes do not hold
for schedules with seconds and differ from ours. Ours are in `contracts.cron`.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final

from cronsim import CronSim, CronSimError

from contracts.cron import BadCron

NICKNAMES: Final[Mapping[str, str]] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
LONGEST: Final = 200
HOURS: Final = 24

_FIELDS: Final = {
    "second": (-6, "0 to 59"),
    "minute": (-5, "0 to 59"),
    "hour": (-4, "0 to 23"),
    "day-of-month": (-3, "1 to 31 in a month that has it, L, LW"),
    "month": (-2, "1 to 12, JAN to DEC"),
    "day-of-week": (-1, "0 to 7 (0 and 7 are Sunday), SUN to SAT, MON#2, 5L"),
}
"""What the library calls a field: where it stands from the end, and what it may be."""

_ANY_TIME: Final = datetime(2000, 1, 1)  # noqa: DTZ001  # a local time


class Pattern:
    """Implements `contracts.cron.CronPattern`."""

    def __init__(self, text: str) -> None:
        self._text = NICKNAMES.get(text.strip().lower(), text)
        self.runs_every_hour = len(_read(self._text).hours) == HOURS

    def after(self, local: datetime) -> datetime | None:
        """Return the next local time after one, or None if there is none in 50 years."""
        return next(CronSim(self._text, local), None)


@lru_cache(maxsize=1_000)
def read_cron(text: str) -> Pattern:
    """Return what a cron text names. Raises BadCron."""
    return Pattern(text)


def _read(text: str) -> CronSim:
    if len(text) > LONGEST:
        raise BadCron(f"it has {len(text)} characters; at most {LONGEST} are read")
    if text.lstrip().startswith("@"):
        raise BadCron(f"of such names there are {', '.join(NICKNAMES)} alone")
    try:
        return CronSim(text, _ANY_TIME)
    except CronSimError as error:
        raise BadCron(_reason(text.split(), str(error).removeprefix("Bad "))) from None


def _reason(parts: list[str], field: str) -> str:
    """Return what is wrong with a text, by what the library names as the bad field of it."""
    if field not in _FIELDS:
        return (
            f"5 or 6 fields are needed, and it has {len(parts)}; give minute, hour, day of month, month and weekday, "
            "as 0 3 * * *, before them seconds if need be"
        )
    place, allowed = _FIELDS[field]
    name = field.replace("-", " ")
    return (
        f"the {name} {parts[place]!r:.40} cannot be read; it takes {allowed}, a list 1,5, a range 1-5, "
        "a step */5 or *"
    )
