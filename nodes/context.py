"""What a handler sees of the world: its Context; and what it answers: Outputs, a Wait, a Loop or a Failure."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET

from contracts.credentials import Credential
from contracts.expressions import interpreter, templates
from contracts.expressions.budget import Limits
from contracts.expressions.regex import Regex
from contracts.failures import Failure, FailureKind
from contracts.history import By, MaybeRaw
from contracts.ids import Iteration, idempotency_key
from contracts.inputs import Arrival, Named, Scope, loop_value
from contracts.limits import NodeLimits
from contracts.messages import Resumed, Task, TaskExecution, TaskNode, encode
from contracts.payloads import Claim
from contracts.statuses import WaitKind
from nodes import http_auth
from nodes.answers import Answer, Child, Failed, Loop, Outputs, Question, Wait
from nodes.attempt_log import LOG_BYTES, AttemptLog
from nodes.checkpoints import Checkpoints, Save
from nodes.credentials import Credentials, CredentialSource, NoSource, OperatorEnvironment
from nodes.http_client import Call, HttpCalls, HttpClient
from nodes.masking import Masker

__all__ = [
    "Answer", "Arrival", "Checkpoints", "Child", "Clock", "Context", "Failed", "Failure", "FailureKind",
    "Loop", "Outputs", "Question", "Resumption", "Wait", "WaitKind",
]  # fmt: skip


class Clock:
    """Real time, for measuring and pausing only: what must be the same on every attempt is `context.now`."""

    def now(self) -> datetime:
        """Return the instant, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that only ever grow."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Pause; a cancel or the deadline interrupts."""
        await asyncio.sleep(seconds)


class Services(msgspec.Struct, frozen=True):
    """What all attempts of a worker share."""

    http: HttpClient
    limits: Limits
    regex: Regex
    clock: Clock
    log_bytes: int = LOG_BYTES
    node_limits: NodeLimits = NodeLimits()
    credentials: CredentialSource = msgspec.field(default_factory=NoSource)
    environment: OperatorEnvironment = OperatorEnvironment()
    tokens: http_auth.Tokens = msgspec.field(
        default_factory=lambda: http_auth.Tokens(time.monotonic)
    )


Progress = Callable[[str, float | None], None]
"""Takes a message and perhaps a percentage of 0 to 100."""


class Resumption(msgspec.Struct, frozen=True, kw_only=True):
    """Why a node run that waited goes on: what came, and the `state` that was saved, null without one.

    `by` is the wait's own timer (WAIT, CHECK, REMINDER or DUE), SIGNAL, INTERACTION, or RESUME: somebody ended
    it early. `answers` are what people said to a question that is not decided.
    """

    by: str
    at: datetime
    waited_since: datetime
    state: Any = None
    signal: str | None = None
    interaction_id: str | None = None
    answers: tuple[dict[str, Any], ...] = ()
    data: Any = None
    port: str | None = None
    answered_by: By | None = None


class Context:
    """What one attempt knows and may use.

    `input` is the assembled input, `node` and `execution` tell where the attempt belongs, `now` is the
    instant at which the node run became ready: the same for all its attempts. `resumed` is set after a
    wait, `checkpoints` keep finished calls. `masker` knows the secrets that the attempt was given; what
    the attempt says goes through it. A loop `is_asked` once it iterates, whether it goes on.
    """

    __slots__ = (
        "_arrived", "_checkpoints", "_credentials", "_finished", "_http", "_log", "_names", "_next_loop",
        "_progress", "_save", "_scope", "_services", "_started_at", "_token", "attempt", "execution", "input",
        "is_asked", "iteration", "masker", "node", "now", "resumed", "traceparent",
    )  # fmt: skip

    def __init__(
        self,
        services: Services,
        node: TaskNode,
        execution: TaskExecution,
        task: Task,
        *,
        scope: Scope,
        arrived: Sequence[Arrival],
        value: Any,
        started_at: datetime,
        progress: Progress,
        save: Save,
        traceparent: str | None = None,
    ) -> None:
        self.node = node
        self.execution = execution
        self.iteration: Iteration = task.iteration
        self.attempt = task.attempt
        self.now = task.now
        self.input = value
        self.traceparent = traceparent
        self.is_asked = task.is_asked
        self.resumed = None if task.resumed is None else _resumption(task.resumed)
        self.masker: Masker | None = None
        self._token = task.token
        self._credentials: Credentials | None = None
        self._checkpoints: Checkpoints | None = None
        self._finished = task.checkpoints
        self._save = save
        self._next_loop = task.next_loop
        self._services = services
        self._scope = scope
        self._names: Named | None = None
        self._arrived = arrived
        self._started_at = started_at
        self._progress = progress
        self._http: HttpCalls | None = None
        self._log: AttemptLog | None = None

    @property
    def ports(self) -> dict[str, list[Arrival]]:
        """What arrived, per input port, in the order of the connections."""
        ports: dict[str, list[Arrival]] = {}
        for each in self._arrived:
            ports.setdefault(each.port, []).append(each)
        return ports

    @property
    def wired(self) -> frozenset[str]:
        """The output ports with a connection; told only to node types that have a port `timeout`."""
        return frozenset(self.node.wired)

    @property
    def next_loop(self) -> dict[str, Any] | None:
        """What a loop's condition sees as `loop`: the scope of its next iteration. None but for a loop."""
        return None if self._next_loop is None else loop_value(self._next_loop)

    @property
    def limits(self) -> NodeLimits:
        """What this node run may ask for."""
        return self._services.node_limits

    @property
    def deadline(self) -> datetime:
        """The instant at which this attempt times out."""
        return self._started_at + timedelta(seconds=self.node.timeout)

    @property
    def idempotency_key(self) -> str:
        """The key to hand on to whatever takes one: the same for all attempts of this node run."""
        return idempotency_key(self.execution.id, self.node.id, self.iteration)

    @property
    def clock(self) -> Clock:
        """Real time."""
        return self._services.clock

    @property
    def http(self) -> HttpCalls:
        """The guarded way out: see `nodes.http_client`."""
        if self._http is None:
            self._http = HttpCalls(self._services.http, self.idempotency_key, self.traceparent)
        return self._http

    @property
    def credentials(self) -> Credentials:
        """The credentials of this node, by slot; fetched for this task alone."""
        if self._credentials is None:
            claim = Claim(
                execution_id=self.execution.id,
                node_id=self.node.id,
                iteration=self.iteration,
                attempt=self.attempt,
                token=self._token,
            )
            self._credentials = Credentials(
                self._services.credentials,
                self._services.environment,
                claim,
                user_id=self.execution.namespace,
                named=self.node.credentials,
                masker=self._hiding(),
            )
        return self._credentials

    async def authorised(self, call: Call, credential: Credential, template: object) -> Call:
        """Return a call with a credential of the type `http` in it. Raises Failed where it may not go.

        `template` is the address as the document has it.
        """
        http_auth.check_host(credential, call.url, template)
        token = None
        if http_auth.needs_token(credential):
            token = await self._services.tokens.get(credential, self._services.http)
        authorised = http_auth.authorised(credential, call, token)
        # In the form in which it is sent: a short password is not found inside of base64.
        self._hiding().add(
            authorised.headers[name].rpartition(" ")[2] for name in authorised.credential_headers
        )
        return authorised

    def forget_token(self, credential: Credential) -> None:
        """Have another access token fetched the next time: this one was refused."""
        self._services.tokens.forget(credential)

    def masked(self, value: Any) -> Any:
        """Return a JSON value without the secrets that this attempt was given."""
        return value if self.masker is None else self.masker.value(value)

    @property
    def checkpoints(self) -> Checkpoints:
        """Finished calls, which no later attempt repeats."""
        if self._checkpoints is None:
            self._checkpoints = Checkpoints(self._finished, self._saved)
        return self._checkpoints

    @property
    def log(self) -> AttemptLog:
        """The log of this attempt."""
        if self._log is None:
            services = self._services
            self._log = AttemptLog(
                self._log_names(), services.clock.now, services.log_bytes, lambda: self.masker
            )
        return self._log

    @property
    def logs(self) -> MaybeRaw:
        """What was logged so far, for the result."""
        return UNSET if self._log is None else self._log.collected()

    def evaluate(self, source: str, **names: Any) -> Any:
        """Return the value of an `expr` parameter. Raises ExpressionError.

        It sees the node's scope and `names`; every call has a budget of its own.
        """
        services = self._services
        return interpreter.evaluate(source, self._seen(names), services.limits, services.regex)

    def evaluate_text(self, source: str, **names: Any) -> str:
        """Return the text of an expression's value. Raises ExpressionError."""
        services = self._services
        return interpreter.evaluate_text(source, self._seen(names), services.limits, services.regex)

    def condition(self, source: str, **names: Any) -> bool:
        """Return what a condition says; anything but true or false is an ExpressionError."""
        services = self._services
        return interpreter.condition(source, self._seen(names), services.limits, services.regex)

    def render(self, value: Any, **names: Any) -> Any:
        """Return a structure with its templates rendered, for those inside an `expr` parameter."""
        services = self._services
        return templates.render(value, self._seen(names), services.limits, services.regex)

    def progress(self, message: str, percent: float | None = None) -> None:
        """Show how far the work is, to whoever watches now; at most four a second get through."""
        self._progress(self.masked(message), percent)

    def _hiding(self) -> Masker:
        if self.masker is None:
            self.masker = Masker()
        return self.masker

    async def _saved(self, key: str, value: Any) -> msgspec.Raw:
        return await self._save(key, self.masked(value))

    def _seen(self, names: Mapping[str, Any]) -> Named:
        if self._names is None:
            self._names = Named(self._scope, {"input": self.input})
        return Named(self._names, names) if names else self._names

    def _log_names(self) -> dict[str, Any]:
        return {
            "execution_id": self.execution.id,
            "node_id": self.node.id,
            "node_type": self.node.type,
            "attempt": self.attempt,
        }


def _resumption(resumed: Resumed) -> Resumption:
    decode = msgspec.json.decode
    return Resumption(
        by=resumed.by,
        at=resumed.at,
        waited_since=resumed.waited_since,
        state=None if resumed.state is UNSET else decode(resumed.state),
        signal=resumed.signal,
        interaction_id=resumed.interaction_id,
        answers=tuple(decode(encode(resumed.answers))) if resumed.answers else (),
        data=decode(resumed.data),
        port=resumed.port,
        answered_by=resumed.answered_by,
    )
