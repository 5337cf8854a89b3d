"""Operations that steer an execution: cancel, pause, resume, signal. The answer is what the scheduler committed."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from contracts.execution import waits
from contracts.history import NULL, By
from contracts.ids import Iteration, RunKey, read_iteration
from contracts.messages import (
    CancelExecution,
    EndWait,
    PauseExecution,
    SendSignal,
    UnpauseExecution,
)
from contracts.specs import ERROR_PORT
from contracts.statuses import ExecutionStatus
from db.executions import ExecutionRow
from gateway import commands, interactions
from gateway.answers import Answer, ok
from gateway.calls import Call
from gateway.executing import raw_of
from gateway.execution_reading import Folded, folded, is_over, read_row
from gateway.executions import IterationText
from gateway.interactions import RespondBody
from gateway.parameters import Reason, Text, Uuid, wrong
from gateway.problems import Refused, invalid_request, not_found
from gateway.queries import NoQuery
from gateway.services import Gateway
from gateway.workflows import new_id

SignalName = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
SignalId = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=255, description="A signal of the same id is applied once"
    ),
]


class CancelBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why an execution is ended."""

    reason: Reason | None = None


class PauseBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why an execution is paused."""

    reason: Reason | None = None


class ResumeBody(RespondBody, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which wait is ended, and with what. Without any field but `reason`, a pause is ended."""

    interaction_id: Uuid | None = None
    node_id: Text | None = None
    iteration: IterationText | Iteration | None = None
    signal: SignalName | None = None

    @property
    def is_about_a_pause(self) -> bool:
        """Whether no wait is meant."""
        return self == ResumeBody(reason=self.reason)

    @property
    def path(self) -> Iteration | None:
        """The iteration path, in whichever form it came."""
        text = self.iteration
        return read_iteration(text) if isinstance(text, str) else text


class SignalBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named signal."""

    name: SignalName
    data: Any | UnsetType = UNSET
    signal_id: SignalId | None = None


async def cancel_execution(gateway: Gateway, call: Call[NoQuery, CancelBody]) -> Answer:
    """Have the scheduler end an execution, and answer with it as it was committed."""
    row = await _read(gateway, call)
    if not is_over(row):
        await commands.asked(
            gateway,
            row.user_id,
            CancelExecution(execution_id=row.id, by=_by(call), reason=call.body.reason),
        )
        row = await _read(gateway, call)
    if row.status != ExecutionStatus.CANCELED:
        raise _over(row)
    return ok((await folded(gateway, row)).view)


async def pause_execution(gateway: Gateway, call: Call[NoQuery, PauseBody]) -> Answer:
    """Have the scheduler dispatch nothing more, and answer with the execution as it was committed."""
    row = await _read_open(gateway, call)
    if not row.paused:
        wish = PauseExecution(execution_id=row.id, by=_by(call), reason=call.body.reason)
        await commands.carry_out(gateway, row.user_id, wish)
    return await _shown(gateway, call)


async def resume_execution(gateway: Gateway, call: Call[NoQuery, ResumeBody]) -> Answer:
    """End a pause, or the one wait that is meant, and answer with the execution as it was committed."""
    row = await _read_open(gateway, call)
    if call.body.is_about_a_pause:
        wish = UnpauseExecution(execution_id=row.id, by=_by(call), reason=call.body.reason)
        await commands.carry_out(gateway, row.user_id, wish)
    else:
        await _end_wait(gateway, call, row)
    return await _shown(gateway, call)


async def signal_execution(gateway: Gateway, call: Call[NoQuery, SignalBody]) -> Answer:
    """Hand a signal to the execution, and answer with it as it was committed."""
    row = await _read_open(gateway, call)
    wish = SendSignal(
        execution_id=row.id,
        signal_id=call.body.signal_id or new_id(),
        name=call.body.name,
        data=_data(gateway, call.body.data),
        by=_by(call),
    )
    await commands.carry_out(gateway, row.user_id, wish)
    return await _shown(gateway, call)


async def _end_wait(gateway: Gateway, call: Call[NoQuery, ResumeBody], row: ExecutionRow) -> None:
    """End the one wait that is meant. An interaction is answered, by all the rules of one."""
    body = call.body
    execution = await folded(gateway, row)
    if body.interaction_id in execution.state.questions:  # also while its handler looks at it
        await _respond(gateway, call, body.interaction_id)
        return
    key = _meant(execution, body)
    wait = waits.wait_of(execution.state, key)
    if wait.interaction_id is not None:
        await _respond(gateway, call, wait.interaction_id)
        return
    _refuse_an_answer(body)
    if body.port is not None:
        _check_port(execution, key, body.port)
    wish = EndWait(
        execution_id=row.id,
        signal_id=new_id(),
        node_id=key[0],
        iteration=key[1],
        signal=wait.signal,
        data=_data(gateway, body.data),
        port=body.port,
        by=_by(call),
    )
    await commands.carry_out(gateway, row.user_id, wish)


async def _respond(gateway: Gateway, call: Call[NoQuery, ResumeBody], interaction_id: str) -> None:
    question = await interactions.find(gateway, call.user_id, interaction_id)
    if question is None:
        raise not_found()
    await interactions.respond_as_user(gateway, call, question, interactions.given_in(call.body))


def _meant(execution: Folded, body: ResumeBody) -> RunKey:
    """Return the node run whose wait is meant. Raises Refused unless there is exactly one."""
    keys = waits.fitting(
        execution.state,
        interaction_id=body.interaction_id,
        node_id=body.node_id,
        iteration=body.path,
        signal=body.signal,
    )
    if not keys:
        raise Refused("not_waiting", "Nothing of the execution waits for this.")
    if len(keys) > 1:
        raise Refused("ambiguous_target", f"{waits.told(execution.state, keys)}.")
    return keys[0]


def _refuse_an_answer(body: ResumeBody) -> None:
    """Raise Refused for fields that only an interaction takes."""
    for name in ("approved", "choice", "value"):
        if getattr(body, name) not in (None, UNSET):
            message = f"Nobody is asked here: what waits takes `data` and `port`, no `{name}`."
            raise invalid_request(wrong(f"/{name}", message))


def _check_port(execution: Folded, key: RunKey, port: str) -> None:
    """Raise Refused for a port that the node cannot yield on."""
    ports = [each for each in execution.plan.nodes[key[0]].output_ports if each != ERROR_PORT]
    if port not in ports:
        message = f"Node {key[0]} has no output port {port:.100}; it has {', '.join(ports)}."
        raise invalid_request(wrong("/port", message))


def _data(gateway: Gateway, value: Any) -> msgspec.Raw:
    return NULL if value is UNSET else raw_of("data", value, gateway.settings.limits.payloads)


def _by(call: Call[Any, Any]) -> By:
    return By(source="API", user_id=call.user_id)


async def _read(gateway: Gateway, call: Call[Any, Any]) -> ExecutionRow:
    return await read_row(gateway.store, call.user_id, call.path["execution_id"])


async def _read_open(gateway: Gateway, call: Call[Any, Any]) -> ExecutionRow:
    """Return the execution's row. Raises Refused if it is over."""
    row = await _read(gateway, call)
    if is_over(row):
        raise _over(row)
    return row


async def _shown(gateway: Gateway, call: Call[Any, Any]) -> Answer:
    return ok((await folded(gateway, await _read(gateway, call))).view)


def _over(row: ExecutionRow) -> Refused:
    return Refused("already_finished", f"The execution ended in {row.status} before.")
