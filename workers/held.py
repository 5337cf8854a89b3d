"""A task that a worker holds: from its delivery until it is acknowledged, handed back or given up."""

import asyncio
from enum import Enum

from bus.message import Message
from contracts.subjects import TaskAddress
from workers.attempt import Prepared


class Stop(Enum):
    """Why an attempt was told to stop."""

    CANCELED = "canceled"  # its execution ended: nobody wants the result
    DRAINED = "drained"  # the worker goes down: somebody else is to have the task


class Held:
    """One held task. Times are of the event loop's clock, in seconds.

    `address` is that of the attempt under way: in a segment its task may be that of another node. `kept_at` is when the lease was last renewed. `has_begun` once its `task` has taken its first step: cancelled
    before, it would never take any. `prepared` is there while the handler runs, `asking` while
    the scheduler is asked whether it may be called. `is_settled` once what becomes of the task is decided
    without the handler: whatever it answers later is dropped.
    """

    __slots__ = (
        "address", "asking", "has_begun", "is_settled", "is_shown", "kept_at", "message", "prepared",
        "progress", "progress_at", "started_at", "stop", "task",
    )  # fmt: skip

    def __init__(self, message: Message, address: TaskAddress, now: float) -> None:
        self.message = message
        self.address = address
        self.kept_at = now
        self.started_at: float | None = None
        self.prepared: Prepared | None = None
        self.asking: Prepared | None = None
        self.task: asyncio.Task[None] | None = None
        self.has_begun = False
        self.stop: Stop | None = None
        self.is_settled = False
        self.is_shown = False
        self.progress: tuple[str, float | None] | None = None
        self.progress_at = 0.0

    def go_on(self, address: TaskAddress) -> None:
        """Take it that the attempt is over and the next one of the segment begins."""
        self.address = address
        self.prepared = None
        self.is_shown = False
        self.progress = None

    def note_progress(self, message: str, percent: float | None) -> None:
        """Keep the latest progress, for the next time that any is shown."""
        self.progress = (message, percent)

    def end(self, reason: Stop) -> None:
        """Tell the handler to stop; the first reason counts."""
        if self.stop is None:
            self.stop = reason
            if self.task is not None and self.has_begun:
                self.task.cancel()
