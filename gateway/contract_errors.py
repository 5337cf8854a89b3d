"""What msgspec says about a value that does not fit its contract, as an entry with a pointer.

msgspec names the place as a JSON path (`$.items[0].name`); the names of members come from our own
contracts. Members of free objects show as `[...]`, and the pointer ends at the object itself then.
"""

import re
from typing import Final

import msgspec

from contracts.problems import pointer
from gateway.problems import ErrorEntry

_PLACE: Final = re.compile(r" - at `(?P<what>key in )?(?:\$(?P<path>[^`]*))`$")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+)\]|(\[\.\.\.\])")
_UNKNOWN: Final = re.compile(r"^Object contains unknown field `(.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"^Object missing required field `(.*)`", re.DOTALL)
_WRONG_TYPE: Final = re.compile(r"^Expected `[^`]*`, got `[^`]*`")
_LONGEST: Final = 300


def entry_of(error: msgspec.ValidationError) -> ErrorEntry:
    """Return what is wrong, with a pointer into what was sent."""
    text = str(error)
    place = _PLACE.search(text)
    steps = _steps(place.group("path")) if place else ()
    message = (text[: place.start()] if place else text)[:_LONGEST]
    if unknown := _UNKNOWN.match(message):
        name = unknown.group(1)
        return ErrorEntry(pointer(*steps, name), "unknown_field", f"There is no field `{name}`.")
    if missing := _MISSING.match(message):
        name = missing.group(1)
        return ErrorEntry(pointer(*steps, name), "missing_field", f"The field `{name}` is needed.")
    code = "invalid_type" if _WRONG_TYPE.match(message) else "invalid_value"
    return ErrorEntry(pointer(*steps), code, f"{message}.")


def _steps(path: str) -> tuple[str | int, ...]:
    steps: list[str | int] = []
    for name, index, anything in _STEP.findall(path):
        if anything:
            break
        steps.append(name or int(index))
    return tuple(steps)
