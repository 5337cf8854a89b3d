"""Reading the inbox: a message becomes an entry for the loop, is refused, or becomes a dead letter.

Workers may only report; what comes in at their door is never read as a command.
"""

from typing import Final, assert_never

import msgspec
import structlog

from bus.message import Message
from contracts import messages, subjects
from contracts.failures import Failure, FailureKind
from contracts.messages import CancelExecution, Result, StartExecution, UnreadableTask
from scheduler.core.decision import Admitted, AttemptLost, CancelAsked, Reported
from scheduler.dead_letters import Letters, letter_of, letter_of_task
from scheduler.entries import Entry
from scheduler.intake import Intake
from scheduler.tokens import Tokens

log: Final = structlog.get_logger()


class Inbox:
    """Turns messages of the inbox into entries. `refused` counts results whose token does not fit."""

    def __init__(self, intake: Intake, tokens: Tokens, letters: Letters) -> None:
        self._intake = intake
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

    async def _report(self, message: Message, report: Result | UnreadableTask) -> None:
        match report:
            case Result():
                await self._result(message, report)
            case UnreadableTask():
                self._unreadable(message, report)
            case _:
                assert_never(report)

    async def _result(self, message: Message, result: Result) -> None:
        key = (result.node_id, result.iteration)
        if not self._tokens.fits(result.token, result.execution_id, key, result.attempt):
            self.refused += 1
            log.warning(
                "result_refused",
                reason="token",
                execution_id=result.execution_id,
                node_id=result.node_id,
                subject=message.subject,
            )
            await message.ack()
            return
        self._intake.put(
            Entry(execution_id=result.execution_id, given=Reported(result), message=message)
        )

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

    def _command(self, message: Message, command: StartExecution | CancelExecution) -> None:
        match command:
            case StartExecution():
                entry = Entry(
                    execution_id=command.execution_id,
                    given=Admitted(),
                    created=command.created,
                    created_at=command.created_at,
                    message=message,
                )
            case CancelExecution():
                entry = Entry(
                    execution_id=command.execution_id,
                    given=CancelAsked(command.by, command.reason),
                    message=message,
                    reply_to=command.reply_to,
                )
            case _:
                assert_never(command)
        self._intake.put(entry)
