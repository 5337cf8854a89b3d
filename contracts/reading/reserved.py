"""Values that users may not write: what the engine itself puts in place of large ones."""

from typing import Any, Final

from contracts.problems import pointer

REFERENCE: Final = "$payload"


def payload_references(value: Any, at: str) -> list[str]:
    """Return the pointers of all objects in `value` whose lone key is `$payload`."""
    found, pending = [], [(at, value)]
    while pending:
        place, inner = pending.pop()
        if isinstance(inner, dict):
            if set(inner) == {REFERENCE}:
                found.append(place)
            pending += [(place + pointer(key), item) for key, item in inner.items()]
        elif isinstance(inner, list):
            pending += [(place + pointer(index), item) for index, item in enumerate(inner)]
    return found
