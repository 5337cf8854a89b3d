"""Reading instants, durations and time zones from text."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from contracts.expressions.errors import ExpressionError

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}"
    r"(?:\.[0-9]{1,9})?(?:[Zz]|[-+][0-9]{2}:[0-9]{2})"
)
_CLOCK: Final = re.compile(
    r"(-?)(?=[0-9])()(?:([0-9]{1,15}(?:\.[0-9]{1,9})?)d)?(?:([0-9]{1,15}(?:\.[0-9]{1,9})?)h)?"
    r"(?:([0-9]{1,15}(?:\.[0-9]{1,9})?)m)?(?:([0-9]{1,15}(?:\.[0-9]{1,9})?)s)?"
    r"(?:([0-9]{1,15}(?:\.[0-9]{1,9})?)ms)?"
)
_ISO_8601: Final = re.compile(
    r"(-?)P(?=.)(?:([0-9]{1,15})W)?(?:([0-9]{1,15})D)?"
    r"(?:T(?=.)(?:([0-9]{1,15})H)?(?:([0-9]{1,15})M)?(?:([0-9]{1,15}(?:\.[0-9]{1,9})?)S)?)?()"
)
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,3}")


def parse(text: str, zone: tzinfo) -> datetime:
    """Return the instant that RFC 3339 text names; a date alone is its midnight in the zone."""
    try:
        if _RFC_3339.fullmatch(text):
            return utc(datetime.fromisoformat(text.replace(" ", "T").upper()))
        if _DATE.fullmatch(text):
            return utc(datetime.fromisoformat(text).replace(tzinfo=zone))
    except ValueError:
        pass
    raise ExpressionError(
        "value", f"{text[:40]!r} is no RFC 3339 instant or date", hint="'2026-03-28T22:30:00Z'"
    )


def utc(instant: datetime) -> datetime:
    """Return the same instant in UTC."""
    if instant.tzinfo is UTC:
        return instant
    try:
        return instant.astimezone(UTC)
    except (OverflowError, ValueError):
        raise out_of_range() from None


def local(instant: datetime, zone: tzinfo) -> datetime:
    """Return the same instant on the clocks of a zone."""
    try:
        return instant.astimezone(zone)
    except (OverflowError, ValueError):
        raise out_of_range() from None


def out_of_range() -> ExpressionError:
    """Return the error for an instant or duration that Python's calendar does not reach."""
    return ExpressionError("overflow", "an instant or duration out of range")


def parse_duration(text: str) -> timedelta:
    """Return the duration that `1h30m` or `PT1H30M` names, its units in falling order."""
    found = _CLOCK.fullmatch(text) or _ISO_8601.fullmatch(text)
    if found is None:
        raise ExpressionError("value", f"{text[:40]!r} is no duration", hint="'1h30m' or 'PT1H30M'")
    sign, *parts = found.groups(default="")
    weeks, days, hours, minutes, seconds, milliseconds = map(_amount, parts)
    try:
        whole = timedelta(days, seconds, 0, milliseconds, minutes, hours, weeks)
        return -whole if sign else whole
    except OverflowError:
        raise out_of_range() from None


def _amount(digits: str) -> int | float:
    if not digits:
        return 0
    return float(digits) if "." in digits else int(digits)


@lru_cache(maxsize=1024)
def zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name."""
    if name == "UTC":
        return UTC
    try:
        if _ZONE.fullmatch(name):
            return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        pass
    raise ExpressionError("value", f"{name[:40]!r} is no time zone", hint="'Europe/Berlin'")
