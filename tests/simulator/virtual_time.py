"""An event loop without a clock: when nothing is ready, time jumps to whatever is due next.

A world runs many thousands of callbacks and does little in each, so the way to a callback is kept short: what asyncio's own
handles and loop do for debugging, threads and sockets is left out.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from heapq import heappop, heappush
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class NothingLeft(Exception):
    """Somebody waits, and nothing can ever happen any more."""


class Call(asyncio.TimerHandle):
    """A callback to be, in the place of asyncio's handles."""

    __slots__ = ("arguments", "callback", "context", "is_canceled")

    def __init__(
        self, callback: Callable[..., object], arguments: tuple[Any, ...], context: Context | None
    ) -> None:
        self.callback = callback
        self.arguments = arguments
        self.context = contextvars.copy_context() if context is None else context
        self.is_canceled = False

    def cancel(self) -> None:
        """Let it not happen."""
        self.is_canceled = True
        self.arguments = ()

    def cancelled(self) -> bool:
        """Whether it is not to happen."""
        return self.is_canceled


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs coroutines and callbacks in the order that asyncio gives them, on seconds that pass at once.

    Callbacks of one instant run in the order they were asked for: nothing depends on the machine, on hashes or on chance.
    What a callback raises is kept in `failures`. Every task is kept, so that `end_tasks` can end those nobody waits for.
    """

    _ready: "deque[Call]"  # of BaseEventLoop
    _stopping: bool  # of BaseEventLoop

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._number = 0
        self._due: list[tuple[float, int, Call]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self.failures: list[BaseException | str] = []

    def time(self) -> float:
        """Return the seconds since this world began."""
        return self._now

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Call back at this instant, after what is ready."""
        call = Call(callback, args, context)
        self._ready.append(call)
        return call

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back so many seconds from now."""
        call = Call(callback, args, context)
        self._number += 1
        heappush(self._due, (self._now + delay, self._number, call))
        return call

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back at an instant, after those that asked for it before."""
        call = Call(callback, args, context)
        self._number += 1
        heappush(self._due, (when, self._number, call))
        return call

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Let a coroutine run, and remember its task."""
        called = None if name is None else str(name)
        task: asyncio.Task[T] = asyncio.Task(coro, loop=self, name=called, context=context)
        self._tasks.append(task)
        return task

    def passing(self, seconds: float) -> asyncio.Future[None]:
        """Return what is done once so many seconds have passed."""
        passed: asyncio.Future[None] = asyncio.Future(loop=self)
        self.call_later(seconds, _done, passed)
        return passed

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
        while not self._stopping:
            if not ready:
                while due and due[0][2].is_canceled:
                    heappop(due)
                if not due:
                    raise NothingLeft
                self._now = max(self._now, due[0][0])
            while due and due[0][0] <= self._now:
                ready.append(heappop(due)[2])
            for _ in range(len(ready)):
                call = ready.popleft()
                if call.is_canceled:
                    continue
                try:
                    call.context.run(call.callback, *call.arguments)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001  # a callback must not stop the others
                    self.failures.append(error)


def _done(passed: asyncio.Future[None]) -> None:
    if not passed.done():
        passed.set_result(None)
