"""Asking a scheduler for what belongs to an attempt, by the token of its task, until somebody answers."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

import structlog

from bus.client import Bus, CoreMessage
from bus.errors import BusError, BusUnavailable

T = TypeVar("T")

ANSWER_TIMEOUT: Final = timedelta(seconds=15)
FIRST_PAUSE_SECONDS: Final = 0.05
LAST_PAUSE_SECONDS: Final = 5.0

REFUSED_FOR_GOOD: Final = frozenset({"400", "403", "404", "413", "422"})

log: Final = structlog.get_logger()


class ClaimRefused(BusError):
    """The scheduler does not do it, and will not: `code` says why, as in HTTP."""

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{reason} ({code})")


async def ask(
    bus: Bus, subject: str, data: bytes, headers: dict[str, str] | None = None
) -> CoreMessage:
    """Ask once. Raises ClaimRefused, and BusUnavailable if it has to be asked again."""
    answer = await bus.request(subject, data, headers or {}, within=ANSWER_TIMEOUT)
    code = answer.headers.get("Nats-Service-Error-Code")
    if code is None:
        return answer
    reason = answer.headers.get("Nats-Service-Error", "")
    if code in REFUSED_FOR_GOOD:
        raise ClaimRefused(code, reason)
    raise BusUnavailable(f"the scheduler cannot do it now: {reason} ({code})")


async def until_answered(work: Callable[[], Awaitable[T]], *, event: str) -> T:
    """Do something again and again as long as BusUnavailable comes of it, each time logged as `event`."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return await work()
        except BusUnavailable as error:
            log.warning(event, error=str(error))
        await asyncio.sleep(pause)
        pause = min(pause * 2, LAST_PAUSE_SECONDS)
