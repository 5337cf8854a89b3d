"""Reading the inbox: a message becomes an entry for the loop, is refused, or becomes a dead letter.

Workers may only report; what comes in at their door is never read as a command.
"""

from collections.abc import Awaitable, Callable
from typing import Final, assert_never

import msgspec
import structlog

from bus.message import Message
from contracts import messages, subjects
from contracts.failures import Failure, FailureKind
from contracts.messages import (
    CancelExecution,
    Checkpoint,
    Command,
    CommandAnswer,
    EndChild,
    EndWait,
    HealExecution,
    PauseExecution,
    Report,
    Respond,
    Result,
    Returned,
    SendSignal,
    StartExecution,
    Starting,
    UnpauseExecution,
    UnreadableTask,
    encode,
)
from scheduler.core.decision import (
    Admitted,
    AnswerGiven,
    AttemptLost,
    CallFinished,
    CancelAsked,
    ChildEnded,
    EndWaitAsked,
    HandlerStarts,
    Input,
    PauseAsked,
    Reported,
    SignalSent,
    TaskReturned,
    UnpauseAsked,
)
from scheduler.dead_letters import Letters, letter_of, letter_of_task
from scheduler.entries import Entry
from scheduler.intake import Intake
from scheduler.tokens import Tokens

log: Final = structlog.get_logger()

Attested = Result | Starting | Checkpoint | Returned
"""What a worker says of an attempt, with the token that its task held."""

Tell = Callable[[str, bytes], Awaitable[None]]
"""Sends a core message."""


class Inbox:
    """Turns messages of the inbox into entries. `refused` counts results whose token does not fit."""

    def __init__(self, intake: Intake, tokens: Tokens, letters: Letters, tell: Tell) -> None:
        self._intake = intake
        self._tell = tell
        self._tokens = tokens
        self._letters = letters
        self.refused = 0

    async def receive(self, message: Message) -> None:
        """Take one message. Never raises: what cannot be read becomes a dead letter."""
        is_result = subjects.is_result(message.subject)
        try:
            if is_result:
                await self._report(message, messages.decode_report(message.data))
            else:
                self._command(message, messages.decode_command(message.data))
        except msgspec.DecodeError as error:
            source = "RESULT" if is_result else "COMMAND"
            self._letters.add(letter_of(message, source, "UNREADABLE", str(error)), message)

    async def _report(self, message: Message, report: Report) -> None:
        if isinstance(report, UnreadableTask):
            self._unreadable(message, report)
            return
        if not self._is_proven(report):
            await self._refuse(message, report)
            return
        reply_to = None if isinstance(report, Result) else report.reply_to
        self._put(message, report.execution_id, _reported(report), reply_to)

    def _is_proven(self, report: Attested) -> bool:
        """Whether a report holds the token of its attempt, or of the one that its segment began with."""
        head = report.head if isinstance(report, Result | Checkpoint) else None
        node_id, attempt = (
            (report.node_id, report.attempt) if head is None else (head.node_id, head.attempt)
        )
        return self._tokens.fits(
            report.token, report.execution_id, (node_id, report.iteration), attempt
        )

    async def _refuse(self, message: Message, report: Attested) -> None:
        self.refused += 1
        log.warning(
            "result_refused",
            reason="token",
            execution_id=report.execution_id,
            node_id=report.node_id,
            subject=message.subject,
        )
        if not isinstance(report, Result) and report.reply_to is not None:
            refusal = CommandAnswer(report.execution_id, code="token_refused")
            await self._tell(report.reply_to, encode(refusal))
        await message.ack()

    def _put(
        self, message: Message, execution_id: str, given: Input, reply_to: str | None = None
    ) -> None:
        entry = Entry(execution_id=execution_id, given=given, message=message, reply_to=reply_to)
        self._intake.put(entry)

    def _unreadable(self, message: Message, report: UnreadableTask) -> None:
        """Keep the task as a dead letter, and fail the attempt that its subject names.

        There is no token to check, for nobody could read it. So a worker is believed only of the attempt on
        whose own subject it reports: which those are is a matter of its permissions.
        """
        named = report.subject.removeprefix(f"{subjects.TASK_PREFIX}.")
        is_own = message.subject.partition(".result.")[2] == named
        address = subjects.read_task(report.subject) if is_own else None
        self._letters.add(letter_of_task(message, report, address), message)
        if address is None:
            return
        failure = Failure(
            FailureKind.ERROR,
            "unreadable_task",
            f"worker {report.worker_id} could not read the task: {report.error}; "
            "bring gateway, scheduler and workers to the same release",
        )
        lost = AttemptLost(address.node_id, address.iteration, address.attempt, failure)
        self._intake.put(Entry(execution_id=address.execution_id, given=lost))

    def _command(self, message: Message, command: Command) -> None:
        if isinstance(command, StartExecution):
            entry = Entry(
                execution_id=command.execution_id,
                given=Admitted(),
                created=command.created,
                created_at=command.created_at,
                message=message,
            )
            self._intake.put(entry)
        elif isinstance(command, HealExecution):
            entry = Entry(
                execution_id=command.execution_id, version=command.version, message=message
            )
            self._intake.put(entry)
        elif isinstance(command, EndChild):
            self._put(message, command.execution_id, child_ended(command))
        else:
            self._put(message, command.execution_id, _asked(command), command.reply_to)


def _reported(report: Attested) -> Input:
    """Return what a worker says of an attempt."""
    match report:
        case Result():
            return Reported(report)
        case Starting():
            return HandlerStarts(
                report.node_id,
                report.iteration,
                report.attempt,
                report.worker_id,
                report.delivery,
            )
        case Checkpoint():
            return CallFinished(
                report.node_id,
                report.iteration,
                report.attempt,
                report.key,
                report.value,
                report.usage,
                report.head,
            )
        case Returned():
            return TaskReturned(
                report.node_id, report.iteration, report.attempt, report.worker_id, report.serves
            )
        case _:
            assert_never(report)


def child_ended(command: EndChild) -> ChildEnded:
    """Return how the child ended that a parent is told of."""
    return ChildEnded(
        node_id=command.node_id,
        iteration=command.iteration,
        child_execution_id=command.child_execution_id,
        status=command.status,
        output=command.output,
        failure=command.failure,
    )


def _asked(
    command: CancelExecution | PauseExecution | UnpauseExecution | SendSignal | EndWait | Respond,
) -> Input:
    """Return what somebody wants of an execution."""
    match command:
        case CancelExecution():
            return CancelAsked(command.by, command.reason)
        case PauseExecution():
            return PauseAsked(command.by, command.reason)
        case UnpauseExecution():
            return UnpauseAsked(command.by, command.reason)
        case SendSignal():
            return SignalSent(
                signal_id=command.signal_id, name=command.name, data=command.data, by=command.by
            )
        case EndWait():
            return EndWaitAsked(
                signal_id=command.signal_id,
                interaction_id=command.interaction_id,
                node_id=command.node_id,
                iteration=command.iteration,
                signal=command.signal,
                data=command.data,
                port=command.port,
                by=command.by,
            )
        case Respond():
            return AnswerGiven(
                signal_id=command.signal_id,
                interaction_id=command.interaction_id,
                answer=command.answer,
                rules=command.rules,
                by=command.by,
            )
        case _:
            assert_never(command)
