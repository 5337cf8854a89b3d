"""Canceling: the scheduler decides and commits, and says so; without its word there is no answer."""

import asyncio

from bus.client import Bus, CoreMessage
from bus.publisher import Publisher
from contracts import messages, subjects
from contracts.history import By
from contracts.messages import CancelExecution, CommandAnswer


async def cancel(
    bus: Bus,
    publisher: Publisher,
    execution_id: str,
    *,
    by: By,
    reason: str | None,
    seconds: float,
) -> CommandAnswer | None:
    """Ask the scheduler to end an execution, and return its answer, or None if none came in time.

    Repeating is safe: an execution ends once. Raises BusError if the command cannot be stored.
    """
    inbox = bus.new_inbox()
    answered: asyncio.Future[CommandAnswer] = asyncio.get_running_loop().create_future()

    async def receive(message: CoreMessage) -> None:
        answer = messages.decode_answer(message.data)
        if answer.execution_id == execution_id and not answered.done():
            answered.set_result(answer)

    subscription = await bus.subscribe(inbox, receive)
    try:
        async with asyncio.timeout(seconds):
            command = CancelExecution(
                execution_id=execution_id, by=by, reason=reason, reply_to=inbox
            )
            await publisher.store(
                subjects.command("cancel", execution_id), messages.encode(command)
            )
            return await answered
    except TimeoutError:
        return None
    finally:
        await subscription.unsubscribe()
