"""A worker of some forty lines over plain nats-py: what a worker in any language would have to do.

Tests use it to decide how each attempt ends, without the handlers of our own workers.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from bus.ending import end
from contracts import subjects
from contracts.messages import Task, decode_task

Outcome = dict[str, Any]
Behaviour = Callable[[str, Task], Awaitable[Outcome] | Outcome]
"""Called with node id and task; returns the outcome fields of a result, such as `{"ports": {...}}`."""

BATCH = 64


class PlainWorker:
    """Pulls the tasks of one node type one by one and reports what `behaviour` says."""

    def __init__(self, url: str, node_type: str, behaviour: Behaviour, *, reports: int = 1) -> None:
        self._reports = reports  # how often each result is sent
        self._url = url
        self._node_type = node_type
        self._behaviour = behaviour
        self._client: Client | None = None
        self.seen: list[tuple[str, str, int]] = []  # execution, node, attempt

    async def __aenter__(self) -> "PlainWorker":
        self._client = await nats.connect(self._url)
        self._running = asyncio.create_task(self._run(self._client))
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._running)
        assert self._client is not None
        await self._client.close()

    async def _run(self, client: Client) -> None:
        consumer = subjects.task_consumer(self._node_type)
        inbox = client.new_inbox()
        arrived: asyncio.Queue[Msg] = asyncio.Queue()
        await client.subscribe(inbox, cb=arrived.put)
        request = json.dumps({"batch": BATCH, "expires": 1_000_000_000}).encode()
        while True:
            await client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{subjects.TASKS}.{consumer}", request, reply=inbox
            )
            for _ in range(BATCH):  # a filled request ends without a word, another with a status
                message = await arrived.get()
                if not message.reply:
                    break
                await self.answer(message)

    async def answer(self, message: Msg) -> None:
        """Carry out one task: report it durably, then acknowledge it."""
        assert self._client is not None
        address = subjects.read_task(message.subject)
        assert address is not None
        task = decode_task(message.data)
        self.seen.append((address.execution_id, address.node_id, task.attempt))
        outcome = self._behaviour(address.node_id, task)
        if isinstance(outcome, Awaitable):
            outcome = await outcome
        result = {
            "type": "result",
            "execution_id": address.execution_id,
            "node_id": address.node_id,
            "iteration": list(address.iteration),
            "attempt": task.attempt,
            "token": task.token,
            "worker_id": "plain",
            "started_at": "2026-01-01T00:00:00Z",
            "finished_at": "2026-01-01T00:00:01Z",
            **outcome,
        }
        for _ in range(self._reports):
            await self._client.jetstream().publish(
                subjects.result(address), json.dumps(result).encode()
            )
        await message.ack()
