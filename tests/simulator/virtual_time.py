"""An event loop without a clock: when nothing is ready, time jumps to whatever is due next."""

import asyncio
from asyncio.events import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from heapq import heappop, heappush
from typing import Any, TypeVarTuple

Ts = TypeVarTuple("Ts")


class NothingLeft(Exception):
    """Somebody waits, and nothing can ever happen any more."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs coroutines and callbacks in the order that asyncio gives them, on seconds that pass at once.

    Callbacks of one instant run in the order they were asked for: nothing depends on the machine, on hashes or on chance.
    What a callback raises is kept in `failures`. Every task is kept, so that `end_tasks` can end those nobody waits for.
    """

    _ready: "deque[asyncio.Handle]"  # of BaseEventLoop

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._number = 0
        self._due: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self.failures: list[BaseException | str] = []
        self.set_task_factory(_kept)

    def time(self) -> float:
        """Return the seconds since this world began."""
        return self._now

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back so many seconds from now."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back at an instant, after those that asked for it before."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._number += 1
        heappush(self._due, (when, self._number, timer))
        return timer

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Remember a task."""
        self._tasks.append(task)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody caught."""
        self.failures.append(context.get("exception") or str(context.get("message")))

    def end_tasks(self) -> None:
        """Cancel what is left, and wait for its end."""
        left = [task for task in self._tasks if not task.done()]
        for task in left:
            task.cancel()
        if left:
            self.run_until_complete(asyncio.wait(left))
        for task in left:
            if not task.cancelled():
                task.exception()  # nobody is left to hear of it
        self._tasks.clear()
        self._due.clear()

    def _run_once(self) -> None:
        """Run what is ready; if nothing is, let time pass until something is due. Called by `run_forever`."""
        ready, due = self._ready, self._due
        if not ready:
            while due and due[0][2].cancelled():
                heappop(due)
            if not due:
                raise NothingLeft
            self._now = max(self._now, due[0][0])
        while due and due[0][0] <= self._now:
            ready.append(heappop(due)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()


def _kept(
    loop: AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    **options: Any,
) -> asyncio.Task[Any]:
    assert isinstance(loop, VirtualLoop)
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    loop.keep(task)
    return task
