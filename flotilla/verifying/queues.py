"""Where the tasks of outstanding attempts are: in the stream, reported already, held back for admission, or lost."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bus import underway
from bus.client import Bus
from bus.errors import ApiError
from bus.tasks import inbox_lengths, queue_lengths
from contracts import subjects
from contracts.ids import RunKey
from contracts.subjects import TaskAddress
from flotilla.verifying.looking import Looked
from scheduler.admission import LEAST_WINDOW
from scheduler.core.soundness import Sought, Suspicion, named


class _Wanted(NamedTuple):
    """An outstanding attempt, and the address of the task that stands for it: perhaps that of an earlier node."""

    looked: Looked
    key: RunKey
    sought: Sought

    @property
    def address(self) -> TaskAddress:
        return self.sought.address

    @property
    def results(self) -> tuple[str, str]:
        """Where its result may wait: by its own name, or by that of its task."""
        return subjects.result(self.address), subjects.result(self.sought.own)


async def add_lost_tasks(bus: Bus, looks: Iterable[Looked], silent_s: float) -> int:
    """Add a suspicion to each look for every task that is nowhere, and return how many were sought.

    Explained are executions in which something was committed in the last `silent_s` seconds: the sweeper has its turn first.
    """
    wanted = list(_wanted(looks))
    absent = [each for each in wanted if each.looked.row.silent_s >= silent_s]
    if absent:
        tasks = {subjects.task(each.address) for each in absent}
        there = await underway.stored(bus, subjects.TASKS, tasks)
        absent = [each for each in absent if subjects.task(each.address) not in there]
    if absent:
        results = {subject for each in absent for subject in each.results}
        there = await underway.stored(bus, subjects.INBOX, results)
        absent = [each for each in absent if there.isdisjoint(each.results)]
    if absent:
        full = await _full_fleets(bus)
        for each in absent:
            if each.address.node_type not in full:
                each.looked.suspicions.append(_lost(each))
    return len(wanted)


def _wanted(looks: Iterable[Looked]) -> Iterator[_Wanted]:
    for looked in looks:
        for key, sought in looked.sought.items():
            yield _Wanted(looked, key, sought)


async def _full_fleets(bus: Bus) -> frozenset[str]:
    """Return fleets of which a scheduler may hold tasks back: so many are queued, worked on, or just reported.

    A scheduler lets LEAST_WINDOW tasks of a fleet be queued before it holds any back.
    """
    try:
        queues = await queue_lengths(bus)
        inbox = await inbox_lengths(bus)
    except ApiError:
        return frozenset()  # a stream is missing, which is a finding of its own
    reported = sum(each.pending + each.in_flight for each in inbox.values())
    return frozenset(
        fleet
        for fleet, queue in queues.items()
        if queue.pending + queue.in_flight + reported >= LEAST_WINDOW
    )


def _lost(wanted: _Wanted) -> Suspicion:
    address = wanted.address
    message = (
        f"the task of node {named(wanted.key)}, attempt {wanted.sought.own.attempt}, is neither in the stream "
        f"{subjects.TASKS} ({subjects.task(address)}) nor reported"
    )
    return Suspicion("task", message, wanted.key, wanted.sought.own.attempt)
