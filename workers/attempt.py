"""One attempt, from the bytes of its task to its result.

A pipeline of short steps: read the task, set the node up (kept per node, since its bytes are the same
for every attempt), assemble the input, render and convert the parameters, call the handler, check what
it answers. Whatever goes wrong on the way is a Failure in the result; only a cancel comes out as an
exception, and an unreadable task, which no result could be attributed to.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import structlog
from msgspec import UNSET

from contracts.expressions import templates
from contracts.expressions.errors import ExpressionError, MappingError
from contracts.failures import Failure, FailureKind
from contracts.inputs import arrivals, merge, refusal, scope_of
from contracts.messages import (
    LoopOrder,
    Onward,
    Result,
    Task,
    TaskExecution,
    TaskNode,
    WaitOrder,
    decode_onward,
    decode_task,
    decode_task_execution,
    decode_task_node,
    encode,
)
from contracts.model import Delivery
from contracts.payloads import KEY, holds_reserved_key, may_refer
from contracts.specs import ERROR_PORT
from contracts.times import rfc3339
from nodes.answers import Failed, Loop, Outputs, Wait
from nodes.checkpoints import Save
from nodes.context import Context, Progress, Services
from nodes.json_values import NotJson, clean
from nodes.masking import Masker
from nodes.parameters import InvalidParameter
from nodes.registry import Handler
from workers import orders

MAX_FAILURE_BYTES: Final = 64 * 1024
SETUPS_KEPT: Final = 1024
"""Nodes whose setup a worker remembers; and so many executions."""

_log: Final = structlog.get_logger("flotilla.workers")

_DIGITS_AS_ZERO: Final = bytes(48 if 48 <= each <= 57 else each for each in range(256))
_LONG_NUMBER: Final = b"0" * 16
_NUL: Final = b"\\u0000"


Keep = Callable[[str, msgspec.Raw], Awaitable[Failure | None]]
"""Stores a finished call of an attempt; returns the failure that a refusal is."""


class Tracer(Protocol):
    """What makes spans; the composition root has one if traces are wanted."""

    def attempt(
        self, traceparent: str | None, name: str, attributes: Mapping[str, str | int]
    ) -> AbstractContextManager[str | None]:
        """Span one attempt; gives the trace context that its calls carry on."""


class UnreadableTask(Exception):
    """A task that cannot be understood; its text says why."""


class Setup(msgspec.Struct, frozen=True):
    """What one worker made of a node.

    `parameters` are ready if nothing has to be rendered; else `rendered` names the values with
    templates in them. `failure` stands in for a setup that did not succeed.
    """

    node: TaskNode
    handler: Handler | None = None
    parameters: Any = None
    rendered: tuple[str, ...] = ()
    output_ports: frozenset[str] = frozenset()
    failure: Failure | None = None


class Following(msgspec.Struct, frozen=True):
    """A node that a worker may go on with, set up."""

    onward: Onward
    setup: Setup


class Segment(msgspec.Struct, frozen=True):
    """What may follow whom, by the node before and the port that it yielded on; `named` nodes are asked for by later ones."""

    steps: dict[tuple[str, str], Following]
    named: frozenset[str]


class Prepared(msgspec.Struct, frozen=True):
    """A task that was understood. `may_refer` until its large values are in place, if it has any.

    `segment` is what its worker may go on with.
    """

    task: Task
    execution: TaskExecution
    setup: Setup
    may_refer: bool = False
    segment: Segment | None = None

    @property
    def node(self) -> TaskNode:
        """The node of the task."""
        return self.setup.node


class Attempts:
    """Carries attempts out: the handlers of a worker and what they share.

    Args:
        value_bytes: What the outputs of one attempt may take together.
        threads: Where handlers run that are no coroutines.
    """

    def __init__(
        self,
        handlers: Iterable[Handler],
        services: Services,
        *,
        worker_id: str,
        value_bytes: int,
        threads: Executor | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._handlers = {(each.spec.type, each.spec.major): each for each in handlers}
        self._services = services
        self._worker_id = worker_id
        self._value_bytes = value_bytes
        self._threads = threads
        self._tracer = tracer
        self._setup_of = lru_cache(SETUPS_KEPT)(self._set_up)
        self._execution_of = lru_cache(SETUPS_KEPT)(decode_task_execution)
        self._segment_of = lru_cache(SETUPS_KEPT)(self._read_segment)

    def read(self, body: bytes) -> Prepared:
        """Return what the bytes of a task mean. Raises UnreadableTask."""
        try:
            task = decode_task(body)
            return Prepared(
                task,
                self._execution_of(bytes(task.execution)),
                self._setup_of(bytes(task.node)),
                may_refer(body),
                None if task.onward is UNSET else self._segment_of(bytes(task.onward)),
            )
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnreadableTask(str(error)) from error

    async def run(self, prepared: Prepared, progress: Progress, keep: Keep) -> Result:
        """Carry an attempt out and return its result; a cancel alone comes out as CancelledError.

        `keep` stores checkpoints.
        """
        started_at = self._services.clock.now()
        context = None
        with self._span(prepared) as traceparent:
            try:
                context, answer = await self._answer(
                    prepared, started_at, progress, self._saving(prepared, keep), traceparent
                )
            except Exception:  # noqa: BLE001  # logged by `crashed`
                # Only a bug of ours gets here; the attempt fails, and the worker goes on.
                answer = crashed(prepared.node, prepared.execution, prepared.task.attempt)
        return self.result(prepared, started_at, answer, context)

    def result(
        self,
        prepared: Prepared,
        started_at: datetime,
        answer: Any,
        context: Context | None = None,
    ) -> Result:
        """Return the result that an answer makes, checked: anything it must not hold is a failure."""
        ending = checked(prepared.setup, answer, self._value_bytes)
        if context is not None and context.masker is not None:
            ending = Ending(*map(context.masker.answer, ending))
        task = prepared.task
        return Result(
            execution_id=prepared.execution.id,
            node_id=prepared.node.id,
            iteration=task.iteration,
            attempt=task.attempt,
            token=task.token,
            worker_id=self._worker_id,
            started_at=rfc3339(started_at),
            finished_at=rfc3339(self._services.clock.now()),
            ports=ending.ports,
            failure=ending.failure,
            wait=ending.wait,
            loop=ending.loop,
            logs=UNSET if context is None else context.logs,
            head=task.head,
        )

    def _read_segment(self, raw: bytes) -> Segment:
        """Return the nodes of a segment that this worker serves."""
        nodes = decode_onward(raw)
        steps = {
            (each.source, each.from_port): Following(each, setup)
            for each in nodes
            if (setup := self._setup_of(bytes(each.node))).handler is not None
        }
        return Segment(steps, frozenset(name for each in nodes for name in each.references))

    def _set_up(self, raw: bytes) -> Setup:
        node = decode_task_node(raw)
        handler = self._handlers.get((node.type, node.type_version))
        return set_up(node, handler)

    def _saving(self, prepared: Prepared, keep: Keep) -> Save:
        """Return what stores checkpoints of an attempt."""

        async def save(key: str, value: Any) -> msgspec.Raw:
            written = Writer(prepared.node, self._value_bytes).write(f"the checkpoint {key}", value)
            refused = await keep(key, written)
            if refused is not None:
                raise Failed(refused)
            return written

        return save

    def _span(self, prepared: Prepared) -> AbstractContextManager[str | None]:
        traceparent = prepared.execution.traceparent
        if self._tracer is None:
            return nullcontext(traceparent)
        attributes: dict[str, str | int] = {
            "flotilla.execution_id": prepared.execution.id,
            "flotilla.node_id": prepared.node.id,
            "flotilla.attempt": prepared.task.attempt,
        }
        return self._tracer.attempt(traceparent, prepared.node.type, attributes)

    async def _answer(
        self,
        prepared: Prepared,
        started_at: datetime,
        progress: Progress,
        save: Save,
        traceparent: str | None,
    ) -> tuple[Context | None, Any]:
        setup = prepared.setup
        if setup.failure is not None:
            return None, setup.failure
        context = contextualised(
            self._services,
            prepared,
            started_at,
            progress=progress,
            save=save,
            traceparent=traceparent,
        )
        if isinstance(context, Failure):
            return None, context
        parameters = parameters_of(setup, context)
        if isinstance(parameters, Failure):
            return context, parameters
        assert setup.handler is not None
        return context, await call(setup.handler, context, parameters, self._threads)


def set_up(node: TaskNode, handler: Handler | None) -> Setup:
    """Return what can be made of a node before any task: mostly everything."""
    if handler is None:
        return Setup(node, failure=_no_handler(node))
    ports = frozenset(handler.spec.output_ports(node.parameters)) - {ERROR_PORT}
    rendered = tuple(
        name
        for name, value in node.parameters.items()
        if _is_template(handler, name) and templates.contains_template(value)
    )
    if rendered:
        return Setup(node, handler, None, rendered, ports)
    parameters = converted(handler, node.parameters)
    if isinstance(parameters, Failure):
        return Setup(node, handler, failure=parameters)
    return Setup(node, handler, parameters, (), ports)


def contextualised(
    services: Services,
    prepared: Prepared,
    started_at: datetime,
    *,
    progress: Progress,
    save: Save,
    traceparent: str | None,
) -> Context | Failure:
    """Return the context of an attempt, its input assembled, or the failure of a mapping."""
    task = prepared.task
    scope = scope_of(prepared.node, prepared.execution, task)
    try:
        arrived = arrivals(task.deliveries, scope, services.limits, services.regex)
    except (ExpressionError, MappingError) as error:
        return refusal(error)
    return Context(
        services,
        prepared.node,
        prepared.execution,
        task,
        scope=scope,
        arrived=arrived,
        value=merge(arrived, task.trigger),
        started_at=started_at,
        progress=progress,
        save=save,
        traceparent=traceparent,
    )


def parameters_of(setup: Setup, context: Context) -> Any:
    """Return the parameters for the handler, or the failure of one that cannot be rendered or read."""
    if not setup.rendered:
        return setup.parameters
    assert setup.handler is not None
    values = dict(setup.node.parameters)
    for name in setup.rendered:
        try:
            values[name] = context.render(values[name])
        except ExpressionError as error:
            return refusal(error, parameter=name)
    return converted(setup.handler, values)


def converted(handler: Handler, values: Mapping[str, Any]) -> Any:
    """Return the values as the handler's parameters, or the failure that names the one that does not fit."""
    try:
        return handler.reader.read(values)
    except InvalidParameter as error:
        details = {"parameter": error.parameter} if error.parameter else {}
        return Failure(FailureKind.INVALID_INPUT, "invalid_parameter", str(error), details)


async def call(
    handler: Handler, context: Context, parameters: Any, threads: Executor | None = None
) -> Any:
    """Return what the handler answers within the node's timeout; what it raises is a failure."""
    deadline = None if handler.is_brief else asyncio.timeout(context.node.timeout)
    try:
        if deadline is None:
            return handler.handle(context, parameters)
        async with deadline:
            if handler.is_blocking:
                return await _in_thread(handler, context, parameters, threads)
            return await handler.handle(context, parameters)
    except Failed as failed:
        return failed.failure
    except ExpressionError as error:
        return refusal(error, parameter=_parameter_with(error.source, context.node.parameters))
    except asyncio.CancelledError:
        if _is_cancelled():
            raise
        return _crashed_in(context)
    except TimeoutError:
        is_overdue = deadline is not None and deadline.expired()
        return timed_out(context.node) if is_overdue else _crashed_in(context)
    except (Exception, SystemExit):  # noqa: BLE001  # the edge to code that the engine does not know
        return _crashed_in(context)


class Ending(NamedTuple):
    """What an attempt reports: one of these."""

    ports: dict[str, msgspec.Raw] | None = None
    failure: Failure | None = None
    wait: WaitOrder | None = None
    loop: LoopOrder | None = None


def checked(setup: Setup, answer: Any, value_bytes: int) -> Ending:
    """Return an answer in the form that travels, or the failure that it is."""
    writer = Writer(setup.node, value_bytes)
    try:
        match answer:
            case Outputs():
                return Ending(ports=_ports(setup, answer, writer))
            case Failure():
                return Ending(failure=checked_failure(answer))
            case Wait():
                return Ending(wait=orders.wait_order(answer, writer.write))
            case Loop():
                return Ending(loop=orders.loop_order(answer, writer.write))
            case _:
                kind = type(answer).__name__
                failure = _invalid_output(setup.node, f"answered with {kind}, not with Outputs")
                return Ending(failure=failure)
    except Failed as failed:
        return Ending(failure=failed.failure)


class Writer:
    """Writes the values of one answer as JSON, as long as they are not too large together."""

    def __init__(self, node: TaskNode, value_bytes: int) -> None:
        self._node = node
        self._limit = self._left = value_bytes

    def write(self, place: str, value: Any) -> msgspec.Raw:
        """Return the value that stands at a place of the answer. Raises Failed."""
        try:
            encoded = encoded_value(value)
        except NotJson as error:
            message = f"answered with no JSON in {place}: {error}"
            raise Failed(_invalid_output(self._node, message)) from error
        if may_refer(encoded) and holds_reserved_key(msgspec.json.decode(encoded)):
            raise Failed(_reserved_key(self._node, place))
        self._left -= len(encoded)
        if self._left < 0:
            raise Failed(_too_large(self._node, place, len(encoded), self._limit))
        return msgspec.Raw(encoded)


def _ports(setup: Setup, outputs: Outputs, writer: Writer) -> dict[str, msgspec.Raw]:
    ports = {}
    for port, value in outputs.ports.items():
        if port not in setup.output_ports:
            raise Failed(
                _invalid_output(setup.node, f"answered on {port!r}, which is no port of it")
            )
        ports[port] = writer.write(port, value)
    return ports


def encoded_value(value: Any) -> bytes:
    """Return a value as JSON, with what JSON cannot carry replaced. Raises NotJson."""
    try:
        encoded = encode(value)
    except (TypeError, ValueError, RecursionError):
        return encode(clean(value))
    return encode(clean(value)) if _is_suspect(encoded) else encoded


def _is_suspect(encoded: bytes) -> bool:
    """Whether msgspec may have written what JSON values must not hold: see `nodes.json_values`.

    Ten times as fast as a regular expression, and every output goes through here.
    """
    return _LONG_NUMBER in encoded.translate(_DIGITS_AS_ZERO) or _NUL in encoded


def checked_failure(failure: Failure) -> Failure:
    """Return a failure that travels: handlers may have put anything into it."""
    try:
        encoded = encode(failure)
        travelled = msgspec.json.decode(encoded, type=Failure)
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError) as error:
        return Failure(FailureKind.ERROR, "invalid_failure", f"the failure cannot be told: {error}")
    if len(encoded) <= MAX_FAILURE_BYTES:
        return travelled
    return msgspec.structs.replace(travelled, message=travelled.message[:1000], details={})


def crashed(
    node: TaskNode, execution: TaskExecution, attempt: int, masker: Masker | None = None
) -> Failure:
    """Log the exception that is being handled, and return a failure that tells none of its text."""
    names = {
        "execution_id": execution.id,
        "node_id": node.id,
        "node_type": node.type,
        "attempt": attempt,
    }
    if masker is None:
        _log.exception("handler_crashed", **names)
    else:
        _log.error("handler_crashed", **names, exception=masker.text(traceback.format_exc()))
    message = f"the handler of {node.type} crashed; the worker's log has the trace"
    return Failure(FailureKind.ERROR, "handler_crashed", message, retryable=True)


def _crashed_in(context: Context) -> Failure:
    return crashed(context.node, context.execution, context.attempt, context.masker)


def timed_out(node: TaskNode) -> Failure:
    """Return the failure of an attempt that took longer than its node may."""
    is_retryable = node.delivery is Delivery.AT_LEAST_ONCE
    message = f"node {node.id} took longer than its timeout of {node.timeout:g} s"
    return Failure(FailureKind.TIMEOUT, "attempt_timeout", message, retryable=is_retryable)


def not_called(node: TaskNode) -> Failure:
    """Return the failure of an attempt whose worker went down before it called the handler."""
    message = f"the worker went down before it called the handler of node {node.id}"
    return Failure(FailureKind.ERROR, "worker_stopped", message, retryable=True)


def _is_template(handler: Handler, name: str) -> bool:
    parameter = handler.spec.parameter(name)
    return parameter is None or parameter.kind == "template"


async def _in_thread(
    handler: Handler, context: Context, parameters: Any, threads: Executor | None
) -> Any:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(threads, handler.handle, context, parameters)


def _is_cancelled() -> bool:
    """Whether somebody asked this task to stop; a handler can raise CancelledError by itself too."""
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0


def _parameter_with(source: str | None, parameters: Mapping[str, Any]) -> str | None:
    """Return the parameter in which an expression stands, as far as that can be told."""
    for name, value in parameters.items():
        pending = [value]
        while pending:
            each = pending.pop()
            if each == source:
                return name
            if isinstance(each, dict | list):
                pending.extend(each.values() if isinstance(each, dict) else each)
    return None


def _no_handler(node: TaskNode) -> Failure:
    message = f"this worker has no handler for {node.type} version {node.type_version}"
    return Failure(FailureKind.ERROR, "no_handler", message, retryable=True)


def _invalid_output(node: TaskNode, what: str) -> Failure:
    message = f"the handler of node {node.id} ({node.type}) {what}"
    return Failure(FailureKind.ERROR, "invalid_output", message)


def _reserved_key(node: TaskNode, place: str) -> Failure:
    message = (
        f"node {node.id}: an object in {place} of what it answers has the lone key {KEY}, "
        "which is the engine's; name it otherwise, or add another key"
    )
    details = {"node_id": node.id, "place": place}
    return Failure(FailureKind.INVALID_INPUT, "reserved_key", message, details)


def _too_large(node: TaskNode, place: str, size: int, limit: int) -> Failure:
    message = (
        f"node {node.id}: what it answers in {place} has {size} bytes, and the whole answer may "
        f"have {limit} (LIMIT_VALUE_BYTES)"
    )
    details = {"node_id": node.id, "place": place, "size": size, "limit": limit}
    return Failure(FailureKind.PAYLOAD_TOO_LARGE, "output_too_large", message, details)
