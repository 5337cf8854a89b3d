"""Instants and durations; local time is that of the workflow unless a zone is named."""

import calendar
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from contracts.expressions import instants
from contracts.expressions.budget import text_bytes
from contracts.expressions.errors import ExpressionError
from contracts.expressions.evaluation import Evaluation
from contracts.expressions.functions import arguments
from contracts.expressions.functions.signature import Function, Table
from contracts.expressions.operators import is_number
from contracts.expressions.values import Value, type_error

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_CLOCK_UNITS: Final = {
    "hours": timedelta(hours=1),
    "minutes": timedelta(minutes=1),
    "seconds": timedelta(seconds=1),
}
_CALENDAR_UNITS: Final = ("years", "months", "weeks", "days")
_FORMAT_CHARS: Final = 1_000


def timestamp(evaluation: Evaluation, value: Value) -> datetime:
    """Return the instant that a text or a number of epoch seconds names."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, str):
        return instants.parse(value, evaluation.zone() if len(value) == 10 else UTC)
    if is_number(value):
        return _sum(_EPOCH, _seconds(value))
    raise type_error("RFC 3339 text, a date or epoch seconds", value)


def duration(evaluation: Evaluation, value: Value) -> timedelta:
    """Return the duration that a text or a number of seconds names."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        return instants.parse_duration(value)
    if is_number(value):
        return _seconds(value)
    raise type_error("a text such as '1h30m', or seconds", value)


def _seconds(value: int | float) -> timedelta:
    try:
        return timedelta(seconds=value)
    except (OverflowError, ValueError):
        raise instants.out_of_range() from None


def _sum(instant: datetime, distance: timedelta) -> datetime:
    try:
        return instant + distance
    except OverflowError:
        raise instants.out_of_range() from None


def _local(evaluation: Evaluation, value: Value, zone: Value) -> datetime:
    instant = arguments.instant(value)
    name = None if zone is None else arguments.text(zone)
    return instants.local(instant, evaluation.zone(name))


def date_format(evaluation: Evaluation, value: Value, form: Value, zone: Value = None) -> str:
    """Return an instant as text, by directives such as `%Y-%m-%d`."""
    local, pattern = _local(evaluation, value, zone), arguments.text(form)
    if len(pattern) > _FORMAT_CHARS:
        raise ExpressionError("value", f"a format of more than {_FORMAT_CHARS} characters")
    parts = _format_parts(pattern)
    evaluation.spend(len(parts))
    written = "".join([part if isinstance(part, str) else part(local) for part in parts])
    evaluation.room_for_text(text_bytes(written))
    return written


@lru_cache(maxsize=256)
def _format_parts(form: str) -> tuple[str | Callable[[datetime], str], ...]:
    first, *rest = form.replace("%%", "%\0").split("%")
    parts: list[str | Callable[[datetime], str]] = [first]
    for piece in rest:
        directive, literal = piece[:1], piece[1:]
        if directive not in _DIRECTIVES:
            known = " ".join(f"%{name}" for name in _DIRECTIVES if name != "\0")
            message = f"unknown directive %{directive} in a date format"
            raise ExpressionError("value", message, hint=f"{known} %%")
        parts += (_DIRECTIVES[directive], literal)
    return tuple(part for part in parts if part)


def _offset(local: datetime) -> str:
    return local.strftime("%z")


_DIRECTIVES: Final[dict[str, Callable[[datetime], str]]] = {
    "Y": lambda local: f"{local.year:04}",
    "y": lambda local: f"{local.year % 100:02}",
    "m": lambda local: f"{local.month:02}",
    "d": lambda local: f"{local.day:02}",
    "e": lambda local: f"{local.day:2}",
    "H": lambda local: f"{local.hour:02}",
    "I": lambda local: f"{(local.hour - 1) % 12 + 1:02}",
    "M": lambda local: f"{local.minute:02}",
    "S": lambda local: f"{local.second:02}",
    "f": lambda local: f"{local.microsecond:06}",
    "p": lambda local: "AM" if local.hour < 12 else "PM",
    "j": lambda local: f"{local.timetuple().tm_yday:03}",
    "a": lambda local: _DAYS[local.weekday()][:3],
    "A": lambda local: _DAYS[local.weekday()],
    "b": lambda local: _MONTHS[local.month - 1][:3],
    "B": lambda local: _MONTHS[local.month - 1],
    "u": lambda local: str(local.isoweekday()),
    "G": lambda local: f"{local.isocalendar().year:04}",
    "V": lambda local: f"{local.isocalendar().week:02}",
    "z": _offset,
    "Z": lambda local: local.tzname() or "",
    "\0": lambda local: "%",
}


def date_add(
    evaluation: Evaluation, value: Value, count: Value, unit: Value, zone: Value = None
) -> datetime:
    """Return an instant moved by calendar units in local time, or by units of the clock."""
    name = arguments.text(unit)
    if name in _CLOCK_UNITS:
        return _sum(arguments.instant(value), _clock_distance(_CLOCK_UNITS[name], count))
    if name not in _CALENDAR_UNITS:
        hint = " ".join((*_CALENDAR_UNITS, *_CLOCK_UNITS))
        raise ExpressionError("value", f"unknown unit {name[:40]!r}", hint=hint)
    local = _local(evaluation, value, zone)
    return instants.utc(_moved(local, name, arguments.whole(count)))


def _clock_distance(unit: timedelta, count: Value) -> timedelta:
    try:
        return unit * arguments.numeric(count)
    except (OverflowError, ValueError):
        raise instants.out_of_range() from None


def _moved(local: datetime, unit: str, count: int) -> datetime:
    try:
        match unit:
            case "days":
                return (local + timedelta(days=count)).replace(fold=local.fold)
            case "weeks":
                return (local + timedelta(weeks=count)).replace(fold=local.fold)
            case "months":
                return _months_later(local, count)
            case _:
                return _months_later(local, 12 * count)
    except (OverflowError, ValueError):
        raise instants.out_of_range() from None


def _months_later(local: datetime, count: int) -> datetime:
    years, month = divmod(local.month - 1 + count, 12)
    year = local.year + years
    if not 1 <= year <= 9999:
        raise OverflowError
    last = calendar.monthrange(year, month + 1)[1]
    return local.replace(year=year, month=month + 1, day=min(local.day, last))


def _getter(field: Callable[[datetime], int]) -> Callable[..., Value]:
    def get(evaluation: Evaluation, value: Value, zone: Value = None) -> int:
        return field(_local(evaluation, value, zone))

    return get


_GETTERS: Final[dict[str, Callable[[datetime], int]]] = {
    "getFullYear": lambda local: local.year,
    "getMonth": lambda local: local.month - 1,
    "getDate": lambda local: local.day,
    "getDayOfMonth": lambda local: local.day - 1,
    "getDayOfWeek": lambda local: local.isoweekday() % 7,
    "getDayOfYear": lambda local: local.timetuple().tm_yday - 1,
    "getHours": lambda local: local.hour,
    "getMinutes": lambda local: local.minute,
    "getSeconds": lambda local: local.second,
    "getMilliseconds": lambda local: local.microsecond // 1000,
}

FUNCTIONS: Final[Table] = {
    "timestamp": Function(timestamp, 1, 1, steps=3),
    "duration": Function(duration, 1, 1, steps=3),
    "dateFormat": Function(date_format, 2, 3, steps=3),
    "dateAdd": Function(date_add, 3, 4, steps=9),
    **{name: Function(_getter(field), 1, 2, steps=2) for name, field in _GETTERS.items()},
}
