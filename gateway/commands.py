"""Commands on executions: the scheduler decides and commits, and says so; without its word there is no answer.

Repeating a command is safe: what is so already is left as it is.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec
import structlog

import db.payloads
from bus.client import CoreMessage
from bus.publisher import Outgoing
from contracts import messages, payloads, subjects
from contracts.messages import (
    CancelExecution,
    CommandAnswer,
    EndWait,
    PauseExecution,
    Respond,
    SendSignal,
    UnpauseExecution,
)
from contracts.payloads import digest_of
from db.payloads import Payload
from gateway.problems import Refused, unavailable
from gateway.services import Gateway

log = structlog.get_logger("gateway")

Wish: TypeAlias = (
    CancelExecution | PauseExecution | UnpauseExecution | SendSignal | EndWait | Respond
)

AS_WISHED: Final = frozenset({None, "repeated", "already_paused"})
"""Answers that say that all is as it was asked for."""

_TOLD: Final = {
    "already_finished": "The execution is over; nothing of it changes any more.",
    "not_paused": "The execution is not paused.",
    "not_waiting": "Nothing of the execution waits for this.",
    "already_answered": "It was answered before.",
    "ambiguous_target": "Several node runs wait; say which one is meant.",
    "limit_exceeded": "The execution keeps as many signals as it may.",
}
STATUSES: Final = {"limit_exceeded": 409}
"""Codes with another status than elsewhere: the request fits, the execution's state does not."""


async def carry_out(gateway: Gateway, user_id: str, wish: Wish) -> None:
    """Return once the scheduler has committed what a command asks for, about an execution of the user.

    Raises Refused with what the scheduler says, or if it says nothing in time.
    """
    answer = await asked(gateway, user_id, wish)
    if answer.code in AS_WISHED:
        return
    if answer.code not in _TOLD:
        raise Refused("internal", f"The scheduler refused this with {answer.code}.")
    detail = answer.detail or _TOLD[answer.code]
    raise Refused(answer.code, detail, status=STATUSES.get(answer.code))


async def asked(gateway: Gateway, user_id: str, wish: Wish) -> CommandAnswer:
    """Return what the scheduler says to a command. Raises Refused if it says nothing in time."""
    answers = await asked_all(gateway, user_id, (wish,), seconds=gateway.settings.command_seconds)
    if not answers:
        raise unavailable("The scheduler")
    return answers[wish.execution_id]


async def asked_all(
    gateway: Gateway, user_id: str, wishes: Sequence[Wish], *, seconds: float
) -> dict[str, CommandAnswer]:
    """Return what the scheduler says to commands, each about another execution, by the execution's id.

    Large values are stored before. What is not answered in time is left out: it may happen or not. Raises Refused
    without a connection to NATS.
    """
    if not gateway.bus.is_connected:
        raise unavailable("NATS")
    answers: dict[str, CommandAnswer] = {}
    complete = asyncio.Event()

    async def receive(message: CoreMessage) -> None:
        answer = messages.decode_answer(message.data)
        answers.setdefault(answer.execution_id, answer)
        if len(answers) == len(wishes):
            complete.set()

    inbox = gateway.bus.new_inbox()
    outgoing = [await _outgoing(gateway, user_id, wish, inbox) for wish in wishes]
    subscription = await gateway.bus.subscribe(inbox, receive)
    try:
        async with asyncio.timeout(seconds):
            await gateway.starter.publisher.publish_all(outgoing)
            await complete.wait()
    except TimeoutError:
        log.warning("commands_unanswered", unanswered=len(wishes) - len(answers))
    finally:
        await subscription.unsubscribe()
    return answers


async def _outgoing(gateway: Gateway, user_id: str, wish: Wish, inbox: str) -> Outgoing:
    """Return the message of a command, its large values stored apart."""
    light, large = payloads.moved(wish, gateway.settings.limits.payloads)
    stored = [Payload(user_id, digest_of(each), value) for each, value in large.items()]
    await db.payloads.put(gateway.store, stored)
    subject = subjects.command(str(wish.__struct_config__.tag), wish.execution_id)
    data = messages.encode(msgspec.structs.replace(light, reply_to=inbox))
    return Outgoing(subject, data)
