"""A process of the engine with a tally, and perhaps with a point at which it dies, or without one of its safeguards.

    python -m tests.faults.patched scheduler

Told by the environment: FAULTS_TALLY (a file), FAULTS_CRASH (a name of CRASHES) with FAULTS_CRASH_AFTER (passes), and
FAULTS_WITHOUT (names of SAFEGUARDS, with commas). Everything here replaces attributes of classes before anything runs.
"""

import os
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from db.errors import CommitInDoubt, StoreUnavailable
from tests.faults import tallies

WRITE_S: Final = 0.1
CRASHED: Final = 86

counted: Counter[str] = Counter()
_loops: list[Any] = []


# --- the tally -----------------------------------------------------------------------------------


def keep_tally(file: Path) -> None:
    """Count what shows that a fault has bitten, and write it down all the time."""
    _count_scheduler()
    _count_worker()

    def write() -> None:
        while not done.wait(WRITE_S):
            tallies.write(file, tally())

    done = threading.Event()
    threading.Thread(target=write, daemon=True).start()


def tally() -> tallies.Tally:
    """Return what was counted so far, the loop's own counters included."""
    found = Counter(counted)
    for loop in _loops:
        counters = loop.counters
        found["events"] += counters.events
        found["tasks"] += counters.tasks
        found["conflicts"] += counters.conflicts
        found["republished"] += counters.republished
        found["poisonous"] += counters.poisonous
        found["refused"] += sum(counters.refused.values())
    return dict(found)


def _count_scheduler() -> None:
    from db.advances import AdvanceSession
    from scheduler.inbox import Inbox
    from scheduler.loop import Loop

    _around(Loop, "__init__", lambda loop, *_: _loops.append(loop))
    receive, commit, refuse = Inbox.receive, AdvanceSession.commit, Inbox._refuse

    async def counted_receive(self: Inbox, message: Any) -> None:
        counted["inputs_again"] += message.num_delivered > 1
        await receive(self, message)

    async def counted_commit(self: AdvanceSession, batch: Any) -> frozenset[str]:
        try:
            return await commit(self, batch)
        except CommitInDoubt:
            counted["commits_in_doubt"] += 1
            raise
        except StoreUnavailable:
            counted["commits_failed"] += 1
            raise

    async def counted_refuse(self: Inbox, *arguments: Any) -> None:
        counted["tokens_refused"] += 1
        await refuse(self, *arguments)

    Inbox.receive = counted_receive  # type: ignore[method-assign]
    Inbox._refuse = counted_refuse  # type: ignore[assignment, method-assign]
    AdvanceSession.commit = counted_commit  # type: ignore[method-assign]


def _count_worker() -> None:
    from bus.pull import Pull
    from workers.reports import Reporter

    store = Reporter.store

    async def counted_store(self: Reporter, subject: str, data: bytes, held: Any) -> bool:
        counted["tasks_again"] += held.message.num_delivered > 1
        return await store(self, subject, data, held)

    Reporter.store = counted_store  # type: ignore[method-assign]
    _around(Pull, "reconnected", lambda *_: counted.update(reconnects=1))


def _around(owner: type, name: str, after: Callable[..., object]) -> None:
    """Have something called after a method."""
    method = getattr(owner, name)

    def patched(self: Any, *arguments: Any, **named: Any) -> Any:
        result = method(self, *arguments, **named)
        after(self, *arguments)
        return result

    setattr(owner, name, patched)


# --- where a process dies ------------------------------------------------------------------------


def crash_at(point: str, passes: int) -> None:
    """Let the process die without a word when it comes by a point for the nth time."""
    module, owner, method, is_before = CRASHES[point]
    _crash(_class(module, owner), method, passes, is_before=is_before)


CRASHES: Final[dict[str, tuple[str, str, str, bool]]] = {
    "before_decide": ("scheduler.loop", "Loop", "_look_up", True),
    "before_commit": ("db.advances", "AdvanceSession", "commit", True),
    "after_commit": ("db.advances", "AdvanceSession", "commit", False),
    "before_publish": ("scheduler.loop", "Loop", "_follow", True),
    "after_publish": ("scheduler.loop", "Loop", "_acknowledge", True),
    "after_ack": ("scheduler.loop", "Loop", "_acknowledge", False),
    "before_report": ("workers.reports", "Reporter", "store", True),
    "after_report": ("workers.reports", "Reporter", "store", False),
}
"""Points of the scheduler's loop, and of a worker: before its result is stored, and before the task is acknowledged."""


def _class(module: str, name: str) -> type:
    import importlib

    found: type = getattr(importlib.import_module(module), name)
    return found


def _die() -> None:
    """End the process, its tally written down."""
    counted["crashes"] += 1
    tallies.write(Path(os.environ["FAULTS_TALLY"]), tally())
    os._exit(CRASHED)


def _crash(owner: type, name: str, passes: int, *, is_before: bool) -> None:
    method: Callable[..., Awaitable[Any]] = getattr(owner, name)
    left = passes

    async def patched(self: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if not left and is_before:
            _die()
        result = await method(self, *arguments, **named)
        if not left:
            _die()
        return result

    setattr(owner, name, patched)


# --- safeguards that are taken away --------------------------------------------------------------


def _without_cas() -> None:
    """Let a commit win whatever version it was decided on."""
    _rewrite("and execution.version = advance.was", "")


def _without_history_key() -> None:
    """Let events whose number is taken be dropped without a word, where the primary key would refuse them."""
    joined = "join winner on winner.id = event.execution_id\n)"
    _rewrite(joined, joined[:-1] + " on conflict do nothing\n)")


def _rewrite(old: str, new: str) -> None:
    """Change the statements that commit."""
    from db import advances

    found = [name for name, text in advances._SQL.items() if old in text]
    assert found, old
    for name in found:
        advances._SQL[name] = advances._SQL[name].replace(old, new)


def _without_leases() -> None:
    """Let every scheduler believe that it owns every partition."""
    from contracts.ids import PARTITIONS
    from scheduler.partitions import Partitions

    async def own(self: Partitions, _: frozenset[int]) -> None:
        everything = frozenset(range(PARTITIONS))
        if self.owned != everything:
            self.owned = everything
            await self._changed(everything)

    Partitions._own = own  # type: ignore[assignment, method-assign]


def _without_tokens() -> None:
    from scheduler.tokens import Tokens

    Tokens.fits = lambda *_: True  # type: ignore[method-assign]


def _without_sweeper() -> None:
    from scheduler.sweeper import Sweeper

    async def never(self: Sweeper) -> None:
        self._at_once.clear()

    Sweeper.sweep = never  # type: ignore[method-assign]


def _without_ack_after_store() -> None:
    """Let a worker acknowledge its task before the result is stored."""
    from workers.reports import Reporter

    store = Reporter.store

    async def acknowledged_first(self: Reporter, subject: str, data: bytes, held: Any) -> bool:
        await held.message.ack()
        return await store(self, subject, data, held)

    Reporter.store = acknowledged_first  # type: ignore[method-assign]


def _without_publish_after_commit() -> None:
    """Let a scheduler acknowledge its inputs before they are committed."""
    from bus.message import Message
    from scheduler.loop import Loop

    advance = Loop._advance

    async def acknowledged_first(self: Loop, batch: Any) -> Any:
        for entry in batch:
            if isinstance(entry.message, Message):
                await entry.message.ack()
        return await advance(self, batch)

    Loop._advance = acknowledged_first  # type: ignore[method-assign]


def _without_subject_deduplication() -> None:
    import msgspec

    from bus import provision

    tasks = provision._tasks

    def unlimited(limits: provision.Limits) -> provision.Stream:
        return msgspec.structs.replace(
            tasks(limits), max_msgs_per_subject=-1, discard_new_per_subject=False
        )

    provision._tasks = unlimited


SAFEGUARDS: Final[dict[str, Callable[[], None]]] = {
    "cas": _without_cas,
    "history_key": _without_history_key,
    "leases": _without_leases,
    "tokens": _without_tokens,
    "sweeper": _without_sweeper,
    "worker_ack_after_store": _without_ack_after_store,
    "scheduler_ack_after_commit": _without_publish_after_commit,
    "subject_deduplication": _without_subject_deduplication,
}


def main() -> None:
    """Patch, and be the process that the arguments name."""
    environ = os.environ
    keep_tally(Path(environ["FAULTS_TALLY"]))
    if point := environ.get("FAULTS_CRASH"):
        crash_at(point, int(environ["FAULTS_CRASH_AFTER"]))
    for name in filter(None, environ.get("FAULTS_WITHOUT", "").split(",")):
        SAFEGUARDS[name]()
    from flotilla.cli.main import main as flotilla

    sys.argv = ["flotilla", *sys.argv[1:]]
    flotilla()


if __name__ == "__main__":
    main()
