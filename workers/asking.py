"""Asking the scheduler something that must be committed before the work goes on.

A question goes to the inbox like a result, so it is stored, and names a core subject of this worker for the
answer. An answer can be lost, so the question is put again until there is one: the scheduler knows a
repeated one, and gives the same answer.
"""

import asyncio
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import msgspec
import structlog

from bus.client import Bus, CoreMessage, Subscription
from bus.payloads import PayloadRefused
from contracts import subjects
from contracts.failures import Failure, FailureKind
from contracts.messages import (
    Checkpoint,
    CommandAnswer,
    Head,
    Returned,
    Starting,
    decode_answer,
    encode,
)
from workers.attempt import Prepared
from workers.held import Held
from workers.payloads import Payloads
from workers.reports import Reporter

ASK_AGAIN_SECONDS: Final = 5.0
GIVE_UP_SECONDS: Final = 300.0
"""How long a task is held for an answer; after that, or once its lease is lost, it may come again."""

_log: Final = structlog.get_logger("flotilla.workers")


class Asker:
    """Puts questions about the attempts of a worker. Use it as an async context manager."""

    def __init__(self, bus: Bus, reporter: Reporter, payloads: Payloads, worker_id: str) -> None:
        self._bus = bus
        self._reporter = reporter
        self._payloads = payloads
        self._worker_id = worker_id
        self._prefix = f"{bus.new_inbox()}."
        self._number = 0
        self._open: dict[str, asyncio.Future[CommandAnswer]] = {}  # by the subject of the answer
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._subscription = await self._bus.subscribe(f"{self._prefix}*", self._receive)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._subscription is not None
        await self._subscription.unsubscribe()

    async def may_start(self, held: Held, prepared: Prepared) -> bool | None:
        """Whether the handler of an at-most-once attempt may be called; None without an answer.

        Only the delivery that history names may call it, and each delivery has a name of its own. So
        whatever is lost or repeated, no two deliveries of an attempt are both told yes.
        """
        task, delivery = prepared.task, secrets.token_hex(8)

        def question(reply_to: str) -> Starting:
            return Starting(
                execution_id=prepared.execution.id,
                node_id=prepared.node.id,
                iteration=task.iteration,
                attempt=task.attempt,
                token=task.token,
                worker_id=self._worker_id,
                delivery=delivery,
                reply_to=reply_to,
            )

        answer = await self._ask(held, question)
        if answer is not None and answer.code is not None:
            _log.info(
                "start_refused",
                code=answer.code,
                execution_id=prepared.execution.id,
                node_id=prepared.node.id,
                attempt=task.attempt,
            )
        return None if answer is None else answer.code is None

    async def found(
        self, held: Held, prepared: Prepared, serves: tuple[str, ...]
    ) -> CommandAnswer | None:
        """Ask how far a segment came whose worker was lost, as one that serves these types; None without an answer."""
        task = prepared.task
        head = task.head or Head(prepared.node.id, task.attempt)

        def question(reply_to: str) -> Returned:
            return Returned(
                execution_id=prepared.execution.id,
                node_id=head.node_id,
                iteration=task.iteration,
                attempt=head.attempt,
                token=task.token,
                worker_id=self._worker_id,
                serves=serves,
                reply_to=reply_to,
            )

        return await self._ask(held, question)

    async def keep(
        self, held: Held, prepared: Prepared, key: str, value: msgspec.Raw
    ) -> Failure | None:
        """Have a finished call recorded; return the failure of one that is not."""
        task = prepared.task
        try:
            value = await self._payloads.stored(prepared, value)
        except PayloadRefused as refused:
            return _not_kept(key, str(refused))

        def question(reply_to: str) -> Checkpoint:
            return Checkpoint(
                execution_id=prepared.execution.id,
                node_id=prepared.node.id,
                iteration=task.iteration,
                attempt=task.attempt,
                token=task.token,
                worker_id=self._worker_id,
                key=key,
                value=value,
                head=task.head,
                reply_to=reply_to,
            )

        answer = await self._ask(held, question)
        if answer is None:
            return _not_kept(key, "the scheduler gave no answer")
        if answer.code is not None:
            return _not_kept(key, answer.detail or answer.code)
        return None

    async def _ask(
        self, held: Held, question: Callable[[str], Starting | Checkpoint | Returned]
    ) -> CommandAnswer | None:
        """Put a question until it is answered; None once that takes too long or the lease is lost."""
        self._number += 1
        reply_to = f"{self._prefix}{self._number}"
        answered: asyncio.Future[CommandAnswer] = asyncio.get_running_loop().create_future()
        self._open[reply_to] = answered
        data = encode(question(reply_to))
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                while await self._reporter.store(subjects.result(held.address), data, held):
                    done, _ = await asyncio.wait((answered,), timeout=ASK_AGAIN_SECONDS)
                    if done:
                        return await answered
        except TimeoutError:
            pass
        finally:
            del self._open[reply_to]
        _log.warning(
            "not_answered", execution_id=held.address.execution_id, node_id=held.address.node_id
        )
        return None

    async def _receive(self, message: CoreMessage) -> None:
        answered = self._open.get(message.subject)
        if answered is not None and not answered.done():
            answered.set_result(decode_answer(message.data))


def _not_kept(key: str, why: str) -> Failure:
    message = f"the checkpoint {key} was not recorded: {why}"
    return Failure(FailureKind.ERROR, "checkpoint_refused", message)
