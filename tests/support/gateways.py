"""A gateway behind a real port, and a stand-in for the scheduler that commits what a test tells it to."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Self, assert_never

import httpx
import msgspec

from bus.client import Bus, CoreMessage
from contracts import messages, subjects
from contracts.history import (
    KIND_OF,
    By,
    EventData,
    EventMessage,
    ExecutionCanceled,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSucceeded,
    NodeRunRef,
    NodeSucceeded,
    SignalReceived,
    encode_data,
)
from contracts.interactions import Answer, decided
from contracts.messages import (
    CancelExecution,
    CommandAnswer,
    EndChild,
    EndWait,
    LinesTold,
    PauseExecution,
    Respond,
    SendSignal,
    StartExecution,
    TaskInLine,
    UnpauseExecution,
)
from contracts.schedules import Calendar
from contracts.statuses import ExecutionStatus
from db.advances import Advance, AdvanceSession
from db.sealing import Keyring
from db.store import Store
from flotilla.cron import read_cron
from gateway.app import GatewayApp
from gateway.server import serve
from gateway.settings import GatewaySettings

TOKEN = "dev-token-of-these-tests"
KEYRING = Keyring([("test", b"k" * 32)])
USER = "019a0000-0000-7000-8000-0000000000aa"
SCHEDULER = "scheduler-1"
STRANGER = "019a0000-0000-7000-8000-0000000000bb"

CALENDAR = Calendar(read_cron)

HELLO: dict[str, Any] = {
    "name": "Hello",
    "nodes": [
        {"id": "start", "type": "TRIGGER.MANUAL"},
        {"id": "hello", "type": "FLOW.NOOP", "parameters": {"data": "{{ input.name }}"}},
    ],
    "connections": [{"from": "start", "to": "hello"}],
}

Wish = PauseExecution | UnpauseExecution | SendSignal | EndWait | Respond
"""What the gateway may ask of a scheduler, besides starting and canceling."""

_STATUS_AFTER = {
    "execution_succeeded": ExecutionStatus.SUCCESS,
    "execution_failed": ExecutionStatus.ERROR,
    "execution_canceled": ExecutionStatus.CANCELED,
}


def settings(**fields: Any) -> GatewaySettings:
    """Return settings of a gateway on any free port, with a dev token."""
    given: dict[str, Any] = {
        "port": 0,
        "dev_token": TOKEN,
        "dev_user_id": USER,
        "notice_seconds": 0,
        "drain_seconds": 5,
        "heartbeat_seconds": 0.2,
        "keyring": KEYRING,
        **fields,
    }
    return GatewaySettings(**given)


@contextlib.asynccontextmanager
async def served(app: GatewayApp, stop: asyncio.Event) -> AsyncIterator[str]:
    """The address of an application that is served until the block ends or `stop` is set."""
    ports: asyncio.Queue[int] = asyncio.Queue()
    serving = asyncio.create_task(
        serve(app, app.gateway.settings, stop, listening=ports.put_nowait)
    )
    try:
        async with asyncio.timeout(10):
            port = await ports.get()
        yield f"http://127.0.0.1:{port}"
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await serving


def client(address: str, token: str | None = TOKEN) -> httpx.AsyncClient:
    """Return a client that has waited long enough after 20 s."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=address, headers=headers, timeout=20, trust_env=False)


async def make_workflow(
    api: httpx.AsyncClient, document: dict[str, Any] | None = None, *, publish: bool = False
) -> str:
    """Create a workflow, HELLO if none is given, and return its address."""
    made = await api.post("/v1/workflows", json=document or HELLO)
    assert made.status_code == 201, made.text
    location: str = made.headers["location"]
    if publish:
        published = await api.post(f"{location}/publish")
        assert published.status_code == 201, published.text
    return location


async def make_credential(
    api: httpx.AsyncClient, name: str = "shop", type: str = "webhook", **fields: Any
) -> str:
    """Store a credential, a secret of webhooks if no `data` is given, and return its address."""
    body = {"name": name, "type": type, "data": {"secret": "s3cret-of-the-shop"}, **fields}
    made = await api.post("/v1/credentials", json=body)
    assert made.status_code == 201, made.text
    location: str = made.headers["location"]
    return location


async def make_execution(api: httpx.AsyncClient, workflow: str, **body: Any) -> str:
    """Start an execution of the workflow at an address, and return its id."""
    accepted = await api.post(f"{workflow}/execute", json=body)
    assert accepted.status_code == 202, accepted.text
    execution_id: str = accepted.json()["id"]
    return execution_id


def refused(answer: httpx.Response, status: int, code: str, pointer: str | None = None) -> None:
    """Assert that an answer is a problem of this code, and about what is at `pointer`."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert problem["trace_id"] == answer.headers["traceparent"].split("-")[1]
    if pointer is not None:
        assert pointer in [each["pointer"] for each in problem["errors"]], problem


class SchedulerStandIn:
    """Records the commands that the gateway sends, and commits and publishes events as the scheduler would."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._session: AdvanceSession | None = None
        self.starts: asyncio.Queue[StartExecution] = asyncio.Queue()
        self.cancels: asyncio.Queue[CancelExecution] = asyncio.Queue()
        self.on_start: Callable[[StartExecution], Awaitable[None]] | None = None
        self.on_cancel: Callable[[CancelExecution], Awaitable[None]] = self.cancel
        self.in_line: tuple[TaskInLine, ...] = ()
        self.wishes: asyncio.Queue[Wish] = asyncio.Queue()
        self.on_wish: Callable[[Wish], Awaitable[None]] = self.obey

    async def __aenter__(self) -> Self:
        self._session = await AdvanceSession.open(self._store)
        subject = f"{subjects.INBOX_PREFIX}.*.command.>"
        self._subscription = await self._bus.subscribe(subject, self._receive)
        self._asked = await self._bus.subscribe(subjects.lines(SCHEDULER), self._tell_lines)
        await self._bus.flush()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._subscription.unsubscribe()
        await self._asked.unsubscribe()
        assert self._session is not None
        await self._session.close()

    async def _tell_lines(self, message: CoreMessage) -> None:
        await message.respond(messages.encode(LinesTold(SCHEDULER, self.in_line)))

    async def _receive(self, message: CoreMessage) -> None:
        command = messages.decode_command(message.data)
        if isinstance(command, StartExecution):
            self.starts.put_nowait(command)
            if self.on_start is not None:
                await self.on_start(command)
            return
        if isinstance(command, CancelExecution):
            self.cancels.put_nowait(command)
            await self.on_cancel(command)
        elif not isinstance(command, EndChild):
            self.wishes.put_nowait(command)
            await self.on_wish(command)

    async def obey(self, wish: Wish) -> None:
        """Commit what a command asks for, about the one wait there is, and say so."""
        at = datetime.now(UTC)
        match wish:
            case PauseExecution():
                await self.record(wish.execution_id, ExecutionPaused(wish.by, wish.reason))
            case UnpauseExecution():
                await self.record(wish.execution_id, ExecutionResumed(wish.by, wish.reason))
            case SendSignal():
                signal = SignalReceived(
                    signal_id=wish.signal_id, name=wish.name, data=wish.data, by=wish.by
                )
                await self.record(wish.execution_id, signal)
            case EndWait():
                await self._end_wait(wish)
            case Respond():
                await self._count(wish, at)
            case _:
                assert_never(wish)
        await self.answer(wish)

    async def _end_wait(self, wish: EndWait) -> None:
        signal = SignalReceived(
            signal_id=wish.signal_id, name=wish.signal, data=wish.data, port=wish.port, by=wish.by
        )
        assert wish.node_id is not None
        await self.record(wish.execution_id, (wish.node_id, signal))

    async def _count(self, wish: Respond, at: datetime) -> None:
        """Record an answer; the question closes with the one that makes enough of them."""
        row = await self._store.fetch_row(
            "select * from interactions where id = $1", wish.interaction_id
        )
        assert row is not None
        assert wish.rules is not None
        before = msgspec.json.decode(row["answers"], type=tuple[Answer, ...])
        answers = (*before, wish.answer)
        outcome = decided(wish.interaction_id, answers, wish.rules.quorum, wish.rules.value)
        signal = SignalReceived(
            signal_id=wish.signal_id,
            interaction_id=wish.interaction_id,
            answer=wish.answer,
            stays_open=outcome is None,
            data=msgspec.Raw(messages.encode(outcome)),
            port=None if outcome is None else outcome.port,
            by=wish.by,
        )
        await self.record(wish.execution_id, (row["node_id"], signal))
        await self._store.execute(
            "update interactions set status = $2, closed_at = $3, answers = $4::json where id = $1",
            wish.interaction_id,
            "PENDING" if outcome is None else "ANSWERED",
            None if outcome is None else at,
            messages.encode(answers).decode(),
        )

    async def answer(self, wish: Wish, code: str | None = None, detail: str | None = None) -> None:
        """Answer a command."""
        said = CommandAnswer(wish.execution_id, ExecutionStatus.RUNNING, code=code, detail=detail)
        if wish.reply_to:
            await self._bus.publish(wish.reply_to, messages.encode(said))

    def refuse(self, code: str, detail: str | None = None) -> None:
        """Refuse every further command with a code."""

        async def refusing(wish: Wish) -> None:
            await self.answer(wish, code, detail)

        self.on_wish = refusing

    async def cancel(self, command: CancelExecution) -> None:
        """End an execution, and answer whoever asked for it."""
        canceled = ExecutionCanceled(by=command.by, reason=command.reason)
        await self.record(command.execution_id, canceled)
        await self._answer(command, CommandAnswer(command.execution_id, ExecutionStatus.CANCELED))

    async def finish_first(self, command: CancelExecution) -> None:
        """Let an execution succeed, and refuse to cancel it; to be set as `on_cancel`."""
        await self.succeed(command.execution_id)
        refusal = CommandAnswer(
            command.execution_id, ExecutionStatus.SUCCESS, code="already_finished"
        )
        await self._answer(command, refusal)

    async def cancel_silently(self, execution_id: str) -> None:
        """End an execution, and tell nobody."""
        await self.record(
            execution_id, ExecutionCanceled(by=By(source="SYSTEM")), is_published=False
        )

    async def _answer(self, command: CancelExecution, answer: CommandAnswer) -> None:
        if command.reply_to:
            await self._bus.publish(command.reply_to, messages.encode(answer))

    async def record(
        self,
        execution_id: str,
        *happened: EventData | tuple[str, EventData],
        is_published: bool = True,
        dispatched: tuple[str, ...] = (),
    ) -> None:
        """Commit events at the end of an execution's history, and publish them afterwards.

        An event of a node run comes with the node's id.
        """
        assert self._session is not None
        row = await self._store.fetch_row(
            "select workflow_id, user_id, version from workflow_executions where id = $1",
            execution_id,
        )
        assert row is not None
        now = datetime.now(UTC)
        events = [
            _event(execution_id, seq, now, each)
            for seq, each in zip(itertools.count(row["version"] + 1), happened)
        ]
        status = _STATUS_AFTER.get(events[-1].kind, ExecutionStatus.RUNNING)
        winners = await self._session.commit(
            [
                Advance(
                    execution_id=execution_id,
                    was=row["version"],
                    now=events[-1].seq,
                    status=status,
                    started_at=now if row["version"] == 1 else None,
                    finished_at=now if status.is_terminal else None,
                    events=[_row(each) for each in events],
                    paused=any(each.kind == "execution_paused" for each in events),
                )
            ]
        )
        assert winners == {execution_id}
        if is_published:
            refs = tuple(NodeRunRef(node_id) for node_id in dispatched)
            events[-1] = msgspec.structs.replace(events[-1], dispatched=refs)
            for each in events:
                await self.publish(each, str(row["user_id"]), str(row["workflow_id"]))

    async def publish(self, event: EventMessage, user_id: str, workflow_id: str) -> None:
        """Publish a recorded event."""
        subject = subjects.event(user_id, workflow_id, event.execution_id, event.kind)
        await self._bus.publish(subject, messages.encode(event))
        await self._bus.flush()

    async def succeed(self, execution_id: str, output: Any = None) -> None:
        """Commit and publish a whole successful run of the workflow HELLO."""
        value = msgspec.Raw(json.dumps(output).encode())
        await self.record(
            execution_id,
            ExecutionStarted(),
            ("start", NodeSucceeded(ports={"main": value})),
            ("hello", NodeSucceeded(ports={"main": value})),
            ExecutionSucceeded(output=msgspec.Raw(b'{"hello":%s}' % bytes(value))),
        )

    async def answer_starts(self, command: StartExecution) -> None:
        """Let every execution succeed as soon as it starts; to be set as `on_start`."""
        await self.succeed(command.execution_id, "hello")


def _event(
    execution_id: str, seq: int, at: datetime, happened: EventData | tuple[str, EventData]
) -> EventMessage:
    node_id, data = happened if isinstance(happened, tuple) else (None, happened)
    return EventMessage(
        execution_id=execution_id,
        seq=seq,
        at=at,
        kind=KIND_OF[type(data)],
        data=msgspec.Raw(encode_data(data)),
        node_id=node_id,
        iteration=None if node_id is None else (),
        attempt=None if node_id is None else 1,
    )


def _row(event: EventMessage) -> Any:
    return (
        event.seq,
        event.at,
        event.kind,
        event.node_id,
        event.iteration,
        event.attempt,
        bytes(event.data).decode(),
    )
