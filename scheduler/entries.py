"""What waits to be handled by the loop: an input for an execution, with what it takes to answer it."""

from datetime import datetime
from typing import Protocol

import msgspec
from msgspec import UNSET

from contracts.history import MaybeRaw
from contracts.ids import RunKey
from scheduler.core.decision import Input, Reported


class Handed(Protocol):
    """A message of the bus that must be acknowledged once its effect is committed."""

    @property
    def num_delivered(self) -> int:
        """How often it was delivered, this time included."""

    async def ack(self) -> None:
        """Take it off the stream."""


class Entry(msgspec.Struct, kw_only=True):
    """One input for one execution.

    Without `given` the execution is healed: started if it has not been, else its outstanding tasks
    are published again. `created` lets a new execution be folded without a read. `reply_to` is the
    core subject that waits for the outcome. `in_doubt` says that this process tried before and does
    not know how far it came. `admitted` are node runs whose tasks waited for their turn, and have it now.
    `version` is what was stored when the entry was made: a state in memory below it is behind.
    """

    execution_id: str
    given: Input | None = None
    created: MaybeRaw = UNSET
    created_at: datetime | None = None
    message: Handed | None = None
    reply_to: str | None = None
    retries: int = 0
    in_doubt: bool = False
    admitted: tuple[RunKey, ...] = ()
    version: int = 0

    @property
    def can_wait(self) -> bool:
        """Whether nobody waits for what it brings: its worker has gone on by itself."""
        return type(self.given) is Reported and self.given.result.goes_on is not None

    @property
    def is_repeat(self) -> bool:
        """Whether it may have been committed before without its tasks being published."""
        return self.in_doubt or (self.message is not None and self.message.num_delivered > 1)
