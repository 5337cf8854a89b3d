"""Single messages and whole queues: what a cancel, the reader of advisories and metrics need."""

from datetime import datetime
from typing import Any

import msgspec

from bus import api
from bus.client import Bus
from bus.errors import ApiError
from bus.provision import NODE_TYPE_KEY
from bus.wire import Headers
from contracts import subjects


class Stored(msgspec.Struct, frozen=True):
    """A message as the stream holds it."""

    subject: str
    seq: int
    timestamp: datetime
    data: bytes
    headers: Headers


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a consumer. `pending + in_flight` is what a fleet has before it.

    `waiting` counts the open requests of workers: with none and something pending, nobody works on it.
    """

    pending: int
    in_flight: int
    redelivered: int
    waiting: int


class _Purged(msgspec.Struct):
    purged: int


class _Deleted(msgspec.Struct):
    success: bool


class _State(msgspec.Struct):
    last_seq: int = 0


class _StreamInfo(msgspec.Struct):
    state: _State


class _Info(msgspec.Struct):
    name: str
    config: dict[str, Any]
    num_pending: int = 0
    num_ack_pending: int = 0
    num_redelivered: int = 0
    num_waiting: int = 0


class _Page(msgspec.Struct):
    total: int
    consumers: list[_Info] | None = None


async def purge_execution(bus: Bus, namespace: str, execution_id: str) -> int:
    """Delete all tasks of an execution, delivered ones too, and return how many. Raises like `api.ask`."""
    request = {"filter": subjects.tasks_of_execution(namespace, execution_id)}
    return (await api.ask(bus, f"STREAM.PURGE.{subjects.TASKS}", request, answer=_Purged)).purged


async def get_message(bus: Bus, stream: str, seq: int) -> Stored | None:
    """Return a message of a stream, None if it is gone. Raises NoResponders if the stream is, or like `api.ask`."""
    answer = await api.ask_raw(bus, f"DIRECT.GET.{stream}", {"seq": seq})
    headers = dict(answer.headers)
    if "Status" in headers and "Nats-Sequence" not in headers:
        return None
    own = {name: headers.pop(name) for name in tuple(headers) if name in _OWN_HEADERS}
    return Stored(
        subject=own["Nats-Subject"],
        seq=int(own["Nats-Sequence"]),
        timestamp=datetime.fromisoformat(own["Nats-Time-Stamp"]),
        data=answer.data,
        headers=headers,
    )


_OWN_HEADERS = frozenset({"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"})


async def delete_message(bus: Bus, stream: str, seq: int) -> bool:
    """Delete a message of a stream; False if it was gone. Raises like `api.ask`."""
    request = {"seq": seq, "no_erase": True}
    try:
        answer = await api.ask(bus, f"STREAM.MSG.DELETE.{stream}", request, answer=_Deleted)
    except ApiError as error:
        if error.code in api.MESSAGE_NOT_FOUND:
            return False
        raise
    return answer.success


async def last_sequence(bus: Bus, stream: str) -> int:
    """Return the sequence of the last message that a stream stored, 0 if none. Raises like `api.ask`."""
    return (await api.ask(bus, f"STREAM.INFO.{stream}", answer=_StreamInfo)).state.last_seq


async def queue_lengths(bus: Bus) -> dict[str, Queue]:
    """Return the queue of every node type. Raises like `api.ask`: ApiError 10059 without the stream."""
    return {
        each.config["metadata"][NODE_TYPE_KEY]: _queue(each)
        for each in await _consumers(bus, subjects.TASKS)
        if NODE_TYPE_KEY in each.config.get("metadata", {})
    }


async def inbox_lengths(bus: Bus) -> dict[str, Queue]:
    """Return the queue of every partition of the inbox, by the consumer's name (`p00`)."""
    return {each.name: _queue(each) for each in await _consumers(bus, subjects.INBOX)}


async def _consumers(bus: Bus, stream: str) -> list[_Info]:
    found: list[_Info] = []
    while True:
        request = {"offset": len(found)}
        page = await api.ask(bus, f"CONSUMER.LIST.{stream}", request, answer=_Page)
        found += page.consumers or ()
        if not page.consumers or len(found) >= page.total:
            return found


def _queue(info: _Info) -> Queue:
    return Queue(
        pending=info.num_pending,
        in_flight=info.num_ack_pending,
        redelivered=info.num_redelivered,
        waiting=info.num_waiting,
    )
