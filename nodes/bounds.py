"""Bounds that several node types share: of an attempt that only computes, of a wait, of names of ports."""

from typing import Annotated, Final

import msgspec

from contracts.failures import Failure, FailureKind
from contracts.limits import NodeLimits
from nodes.answers import Failed
from nodes.context import Context

TIMEOUT_SECONDS: Final = 30
PORT_PATTERN: Final = "^[a-z][a-z0-9_]*$"
LONGEST_WAIT_SECONDS: Final = NodeLimits().wait_s

PortName = Annotated[str, msgspec.Meta(pattern=PORT_PATTERN)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


def checked_wait(context: Context, seconds: float) -> float:
    """Return the seconds of a wait. Raises Failed for more than a year."""
    most = context.limits.wait_s
    if seconds > most:
        message = f"a wait of {seconds:g} s is too long; the limit is {most:g} s"
        details = {"seconds": seconds, "limit": most}
        raise Failed(Failure(FailureKind.INVALID_INPUT, "wait_too_long", message, details))
    return seconds
