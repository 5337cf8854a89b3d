"""Where single tasks are: whether a worker was given one, whether it waits in the queue of its node type, or neither."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from bus import api
from bus.client import Bus
from bus.errors import ApiError, NoResponders
from contracts import subjects
from contracts.subjects import TaskAddress

PARALLEL_REQUESTS: Final = 64


class Queued(msgspec.Struct, frozen=True):
    """The queue of a node type: how many tasks wait in it, and the last one that a worker was given."""

    pending: int = 0
    delivered_seq: int = 0


class _Delivered(msgspec.Struct):
    stream_seq: int = 0


class _Info(msgspec.Struct):
    num_pending: int = 0
    delivered: _Delivered = msgspec.field(default_factory=_Delivered)


async def queue_of(bus: Bus, node_type: str) -> Queued:
    """Return the queue of a node type; one that nobody ever served is empty.

    Raises NoResponders, BusUnavailable, BusClosed, and ApiError for what is none of these.
    """
    request = f"CONSUMER.INFO.{subjects.TASKS}.{subjects.task_consumer(node_type)}"
    try:
        info = await api.ask(bus, request, answer=_Info)
    except ApiError as error:
        if error.code in (api.STREAM_NOT_FOUND, api.CONSUMER_NOT_FOUND):
            return Queued()
        raise
    return Queued(info.num_pending, info.delivered.stream_seq)


async def places(bus: Bus, addresses: Iterable[TaskAddress]) -> dict[TaskAddress, int]:
    """Return where in the stream these tasks are; left out are those that are not there. Raises like `queue_of`."""
    found = {}
    for address in addresses:
        seq = await _seq(bus, subjects.TASKS, subjects.task(address))
        if seq is not None:
            found[address] = seq
    return found


async def stored(bus: Bus, stream: str, wanted: Iterable[str]) -> frozenset[str]:
    """Return those of the subjects that have a message in a stream; none if there is no such stream. Raises like `queue_of`."""
    room = asyncio.Semaphore(PARALLEL_REQUESTS)

    async def is_stored(subject: str) -> bool:
        async with room:
            try:
                return await _seq(bus, stream, subject) is not None
            except NoResponders:
                return False

    asked = list(dict.fromkeys(wanted))
    answers = await asyncio.gather(*map(is_stored, asked))
    return frozenset(subject for subject, there in zip(asked, answers, strict=True) if there)


async def tasks_after(bus: Bus, node_type: str, seq: int) -> int | None:
    """Return how many tasks of a node type come after the one at a place of the stream, or None if it has gone.

    Raises like `queue_of`.
    """
    request: dict[str, Any] = {
        "batch": 1, "seq": seq, "next_by_subj": subjects.tasks_of_type(node_type)
    }  # fmt: skip
    answer = await api.ask_raw(bus, f"DIRECT.GET.{subjects.TASKS}", request)
    if answer.headers.get("Nats-Sequence") != str(seq):
        return None
    pending = answer.headers.get("Nats-Num-Pending")
    return None if pending is None else int(pending)


async def _seq(bus: Bus, stream: str, subject: str) -> int | None:
    request: dict[str, Any] = {"last_by_subj": subject}
    answer = await api.ask_raw(bus, f"DIRECT.GET.{stream}", request)
    seq = answer.headers.get("Nats-Sequence")
    return None if seq is None else int(seq)
