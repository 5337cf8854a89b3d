"""Large values from worker to worker: stored once, by whoever may, and there whatever is lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest

import scheduler.payloads
from bus.client import Bus, CoreMessage
from bus.payloads import PayloadClient, PayloadRefused
from bus.publisher import Publisher
from bus.services import Call, CallRefused, Endpoint, Service
from contracts import subjects
from contracts.failures import Failure, FailureKind
from contracts.history import LoopRules
from contracts.messages import Task, encode
from contracts.model import Concurrency, OnError, RetryPolicy, Settings
from contracts.payloads import (
    PART_BYTES,
    Claim,
    PayloadCall,
    PayloadLimits,
    PayloadTaken,
    Reference,
    raw_of,
    reference_to,
)
from contracts.specs import NodeSpec, Port
from contracts.statuses import WaitKind
from db import dead_letters, executions, node_types, payloads, users
from db.dead_letters import DeadLetterFilters
from db.executions import ExecutionFilters
from db.payloads import Payload
from db.store import Store
from db.triggers import EventTrigger
from flotilla.embedded import nats as embedded
from flotilla.embedded.nats import NatsServer
from nodes.answers import Answer, Child, Failed, Loop, Outputs, Wait
from nodes.context import Context
from nodes.registry import node as node_type
from scheduler.payloads import PayloadDesk
from scheduler.tokens import Tokens
from tests.component.scheduler.conftest import Processes
from tests.support.engine import document, node, wire
from tests.support.installation import Installation, new_id
from tests.support.plain_worker import Outcome, PlainWorker
from workers.worker import WorkerSettings, run_worker

pytestmark = pytest.mark.component

LARGE = "CUSTOM.LARGE"
EACH_OUTPUTS: dict[str, None] = {"iteration": None, "complete": None}
EACH = NodeSpec(
    type="CUSTOM.EACH",
    title="Each",
    inputs=(Port("main"), Port("loop_body")),
    outputs=tuple(map(Port, EACH_OUTPUTS)),
    pass_through="complete",
)
MIB = 1024 * 1024
KIB = 1024

Behaviour = Callable[[Context], Any]


def large(node_id: str, **fields: Any) -> Any:
    """Return a node that does what a test says."""
    return node(node_id, LARGE, **fields)


def text(size: int, letter: str = "x") -> str:
    """Return a text whose JSON has so many bytes."""
    return letter * (size - 2)


def gives(value: Any) -> Behaviour:
    """Return the behaviour of a node that answers with a value."""
    return lambda _: value


class NoParameters(msgspec.Struct, frozen=True):
    """LARGE takes none."""


@asynccontextmanager
async def working(
    url: str, limits: PayloadLimits | None = None, /, **does: Behaviour
) -> AsyncIterator[dict[str, list[Any]]]:
    """Run a worker whose nodes do what their id says; gives the inputs they have seen, by id."""
    seen: dict[str, list[Any]] = {}

    async def handle(context: Context, _: NoParameters) -> Answer:
        """Do what the test says."""
        seen.setdefault(context.node.id, []).append(context.input)
        answer = does[context.node.id](context)
        return answer if isinstance(answer, Wait) else Outputs(main=answer)

    async def iterate(context: Context, _: NoParameters) -> Answer:
        """Do something for each of what the test says."""
        return Loop(items=does[context.node.id](context), rules=LoopRules(max_parallel=8))

    handlers = [
        node_type(LARGE)(handle),
        node_type(EACH.type, inputs=EACH.inputs, outputs=EACH_OUTPUTS, through="complete")(iterate),
    ]
    stop = asyncio.Event()
    settings = WorkerSettings(nats_url=url, payloads=limits or PayloadLimits())
    async with asyncio.TaskGroup() as group:
        group.create_task(run_worker(settings, handlers, stop))
        try:
            yield seen
        finally:
            stop.set()


async def stored(installation: Installation) -> list[int]:
    """Return the sizes of all large values that are stored."""
    rows = await installation.store.fetch("select size from payloads order by size")
    return [row["size"] for row in rows]


async def ran(installation: Installation, *started: str) -> None:
    """Wait until executions have succeeded."""
    rows = await installation.finished(started)
    assert [row.status for row in rows] == ["SUCCESS"] * len(rows), [row.failure for row in rows]


async def test_a_value_of_5_mib_goes_from_node_to_node_as_a_reference(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    value = {"text": text(5 * MIB)}
    ids = await installation.add(document([large("make"), large("use")], [wire("make -> use")]))
    async with (
        processes.scheduler(),
        working(nats_alone.url, make=gives(value), use=lambda at: len(at.input["text"])) as seen,
    ):
        (execution_id,) = await installation.start(ids)
        await ran(installation, execution_id)

    assert seen["use"] == [value]
    history = await installation.history(execution_id)
    reference = reference_to(encode(value))
    (made,) = [row for row in history if row.node_id == "make"]
    assert msgspec.json.decode(made.data)["ports"]["main"] == {
        "$payload": {"id": reference.id, "size": reference.size}
    }
    assert msgspec.json.decode(history[-1].data)["output"] == {"use": 5 * MIB - 2}
    assert sum(len(row.data) for row in history) < 4 * KIB
    kept = await payloads.get(installation.store, installation.user_id, reference.digest)
    assert kept == encode(value)


async def test_a_value_is_stored_once_for_all_tries_and_executions(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    value = text(MIB)
    tries = iter([Failed(Failure(FailureKind.ERROR, "busy", "m", retryable=True)), None, None])

    def again(at: Context) -> Any:
        if (failed := next(tries)) is not None:
            raise failed
        return at.input

    retry = RetryPolicy(wait_between_tries=0, jitter=False)
    nodes = [large("make"), large("again", retry_policy=retry), large("use")]
    ids = await installation.add(document(nodes, [wire("make -> again"), wire("again -> use")]))
    async with (
        processes.scheduler(),
        working(nats_alone.url, make=gives(value), again=again, use=lambda at: None) as seen,
    ):
        for _ in range(2):
            (execution_id,) = await installation.start(ids)
            await ran(installation, execution_id)

    assert seen["again"] == [value] * 3
    assert seen["use"] == [value] * 2
    assert await stored(installation) == [MIB]


async def test_large_values_outlive_the_store_of_nats(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    value = text(2 * MIB)
    nodes = [large("make"), node("between"), large("use")]
    wires = [wire("make -> between"), wire("make -> use"), wire("between -> use")]
    ids = await installation.add(document(nodes, wires))
    async with (
        processes.scheduler(),
        working(nats_alone.url, make=gives(value), use=gives(None)) as seen,
    ):
        (execution_id,) = await installation.start(ids)
        await installation.until([execution_id], lambda row: row.version >= 3)
        client = await nats.connect(nats_alone.url)
        for stream in (subjects.TASKS, subjects.INBOX):
            await client.jetstream().delete_stream(stream)
        await client.close()
        async with PlainWorker(nats_alone.url, "CUSTOM.ANY", answers_done):
            await ran(installation, execution_id)

    assert seen["use"] == [{"make": value, "between": "done"}]
    assert len(seen["make"]) == 1


def answers_done(_node_id: str, _: Task) -> Outcome:
    """Answer on `main`."""
    return {"ports": {"main": "done"}}


async def test_many_values_that_fit_alone_leave_a_task_that_is_too_large_with_all_of_them(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    names = [f"m{n}" for n in range(6)]
    nodes = [large("start"), *map(large, names), large("use")]
    wires = [wire(f"start -> {name}") for name in names] + [
        wire(f"{name} -> use") for name in names
    ]
    ids = await installation.add(document(nodes, wires))
    values = {name: text(200 * KIB - n, name[1]) for n, name in enumerate(names)}
    makes = {name: gives(value) for name, value in values.items()}
    async with (
        processes.scheduler(),
        working(nats_alone.url, **makes, start=gives(1), use=gives(2)) as seen,
        watched_tasks(installation) as sizes,
    ):
        (execution_id,) = await installation.start(ids)
        await ran(installation, execution_id)

    assert seen["use"] == [values]
    assert len(await stored(installation)) == 4
    assert max(sizes) <= 512 * KIB


@asynccontextmanager
async def watched_tasks(installation: Installation) -> AsyncIterator[list[int]]:
    """Give the sizes of the messages of all tasks."""
    sizes: list[int] = []

    async def on_task(message: CoreMessage) -> None:
        sizes.append(len(message.data))

    watching = await installation.bus.subscribe(f"{subjects.TASK_PREFIX}.>", on_task)
    yield sizes
    await installation.bus.flush()
    await watching.unsubscribe()


async def test_an_execution_goes_on_after_a_failure_with_its_large_input(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    value = {"text": text(MIB), "n": 1}

    def fails(_: Context) -> Any:
        raise Failed(Failure(FailureKind.ERROR, "broken", "m"))

    nodes = [
        large("make"),
        large("fail", on_error=OnError.CONTINUE_REGULAR, retry_policy=None),
        large("use"),
    ]
    ids = await installation.add(document(nodes, [wire("make -> fail"), wire("fail -> use")]))
    async with (
        processes.scheduler(),
        working(nats_alone.url, make=gives(value), fail=fails, use=gives(None)) as seen,
    ):
        started = await installation.start(ids, 3)
        await ran(installation, *started)

    for given in seen["use"]:
        assert given.pop("error")["code"] == "broken"
        assert given == value
    assert len(seen["use"]) == 3
    for execution_id in started:
        assert max(await sizes_of_events(installation, execution_id)) < 4 * KIB


async def sizes_of_events(installation: Installation, execution_id: str) -> list[int]:
    """Return how large the events of an execution are."""
    return [len(row.data) for row in await installation.history(execution_id)]


async def test_a_loop_hands_out_a_large_list_and_large_items(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    items = [text(MIB, "a"), text(MIB, "b"), *(text(20 * KIB, str(n % 10)) for n in range(40))]
    nodes = [node("each", EACH.type), large("body"), large("use")]
    wires = [wire("each.iteration -> body"), wire("body -> each.loop_body")]
    await node_types.store(installation.store, (EACH,))
    ids = await installation.add(document(nodes, [*wires, wire("each.complete -> use")]))
    async with (
        processes.scheduler(),
        working(
            nats_alone.url,
            each=gives(items),
            body=lambda at: at.input["item"],
            use=gives(None),
        ) as seen,
    ):
        (execution_id,) = await installation.start(ids)
        await ran(installation, execution_id)

    assert seen["use"][0]["results"] == items
    assert sorted(at["index"] for at in seen["body"]) == [*range(42)]
    history = await installation.history(execution_id)
    assert all(len(row.data) < 256 * KIB for row in history if row.kind != "loop_started")
    assert [size for size in await stored(installation) if size >= MIB] == [MIB, MIB]


async def test_a_child_takes_a_large_input_and_gives_it_back(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    value = {"name": "ada", "text": text(MIB)}
    settings = Settings(concurrency=Concurrency(limit=1, key="input.name"))
    child, _ = await installation.publish(document([large("only")], [], settings))
    ids = await installation.add(document([large("call"), large("use")], [wire("call -> use")]))
    wait = Wait(WaitKind.CHILD, child=Child(workflow=child, input=value))
    async with (
        processes.scheduler(),
        working(
            nats_alone.url, call=gives(wait), only=lambda at: at.input, use=gives(None)
        ) as seen,
    ):
        (execution_id,) = await installation.start(ids)
        await ran(installation, execution_id)

    assert seen["only"] == seen["use"] == [value]
    assert len(await stored(installation)) == 1


async def test_a_mapping_before_a_disabled_node_sees_the_large_value(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    mapping = {"type": "TRANSFORM", "expression": "size(input.text)"}
    nodes = [large("make"), large("off", disabled=True), large("use")]
    wires = [wire("make -> off", mapping=mapping), wire("off -> use")]
    ids = await installation.add(document(nodes, wires))
    async with (
        processes.scheduler(),
        working(nats_alone.url, make=gives({"text": text(MIB)}), use=gives(None)) as seen,
    ):
        (execution_id,) = await installation.start(ids)
        await ran(installation, execution_id)

    assert seen["use"] == [MIB - 2]


async def test_outputs_beyond_the_limit_fail_naming_node_and_port_without_another_try(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(document([large("make")], []))
    limits = PayloadLimits(value=MIB)
    async with (
        processes.scheduler(),
        working(nats_alone.url, limits, make=gives(text(MIB + 1))) as seen,
    ):
        (execution_id,) = await installation.start(ids)
        (row,) = await installation.finished([execution_id])

    assert row.failure is not None
    failure = msgspec.json.decode(row.failure, type=Failure)
    assert (failure.kind, failure.code) == (FailureKind.PAYLOAD_TOO_LARGE, "output_too_large")
    assert (failure.details["node_id"], failure.details["place"]) == ("make", "main")
    assert len(seen["make"]) == 1
    assert await stored(installation) == []


async def test_a_value_that_is_not_there_fails_the_node_that_it_should_have_reached(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.add(document([large("use")], []))
    async with processes.scheduler(), working(nats_alone.url, use=gives(None)) as seen:
        lost = Reference(f"sha256:{'0' * 64}", MIB)
        (execution_id,) = await installation.start(ids, value=raw_of(lost))
        (row,) = await installation.finished([execution_id])

    assert row.failure is not None
    failure = msgspec.json.decode(row.failure, type=Failure)
    assert (failure.code, failure.node_id, failure.retryable) == ("payload_missing", "use", False)
    assert seen == {}


async def test_a_large_event_starts_with_a_reference_and_a_forged_one_not_at_all(
    installation: Installation, processes: Processes, nats_alone: NatsServer
) -> None:
    ids = await installation.publish(
        document([node("hear", "TRIGGER.EVENT"), large("use")], [wire("hear -> use")]),
        EventTrigger(node_id="hear", subject="orders", filter=None),
    )
    forged = {"a": {"$payload": {"id": f"sha256:{'0' * 64}", "size": 1}}}
    async with processes.scheduler(), working(nats_alone.url, use=gives(None)) as seen:
        for body in (forged, {"text": text(MIB)}):
            headers = {subjects.NAMESPACE_HEADER: installation.user_id}
            await installation.publisher.store("flotilla.trigger.orders", encode(body), headers)
        await installation_ran(installation, ids[0])

    assert [each["data"] for each in seen["use"]] == [{"text": text(MIB)}]
    letters, _ = await dead_letters.page(installation.store, None, DeadLetterFilters(), 5, None)
    assert ["$payload" in each.error for each in letters] == [True]


async def installation_ran(installation: Installation, workflow_id: str) -> None:
    """Wait until an execution of a workflow has been started by itself, and has succeeded."""
    filters = ExecutionFilters(workflow_id=(workflow_id,))
    async with asyncio.timeout(30):
        while True:
            rows, _ = await executions.page(
                installation.store, installation.user_id, filters, 5, None
            )
            if rows:
                return await ran(installation, *(row.id for row in rows))
            await installation.next_event()


async def test_large_values_fit_through_a_server_that_takes_small_messages(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(embedded, "PAYLOAD_BYTES", 64 * KIB)
    nodes = [large("one"), large("two"), large("use")]
    wires = [wire("one -> use"), wire("two -> use")]
    values = {"one": text(100 * KIB, "1"), "two": text(40 * KIB, "2")}
    async with NatsServer(tmp_path / "nats") as server, installed(database_url, server) as there:
        ids = await there.add(document(nodes, wires))
        processes = Processes(database_url, server.url, there.user_id)
        makes = {name: gives(value) for name, value in values.items()}
        async with (
            processes.scheduler(),
            working(server.url, **makes, use=gives(None)) as seen,
        ):
            (execution_id,) = await there.start(ids)
            await ran(there, execution_id)

    assert seen["use"] == [values]


@asynccontextmanager
async def installed(database_url: str, server: NatsServer) -> AsyncIterator[Installation]:
    """Give a user with nothing yet, on a NATS server of the test."""
    store = await Store.open(database_url)
    async with await Bus.connect(server.url, name="test") as bus, Publisher(bus) as publisher:
        yield await Installation(store, bus, publisher).prepare()
    await store.close()


# --- the desk ------------------------------------------------------------------------------------


class Desk:
    """An attempt of an execution, and a client that speaks for it at the desk of a scheduler."""

    def __init__(self, installation: Installation, tokens: Tokens, claim: Claim) -> None:
        self.installation = installation
        self.tokens = tokens
        self.claim = claim
        self.client = PayloadClient(installation.bus)

    def new(self, **limits: int) -> PayloadDesk:
        """Return a desk that nobody has asked yet."""
        return PayloadDesk(self.installation.store, self.tokens, PayloadLimits(**limits))

    def call(self, subject: str, data: bytes, of: bytes, **fields: Any) -> Call:
        """Return a call with a part of a value."""
        asked = PayloadCall(claim=self.claim, reference=reference_to(of), **fields)
        return Call(subject, data, {subjects.PAYLOAD_HEADER: encode(asked).decode()})


@pytest.fixture
async def desk(installation: Installation) -> Desk:
    """The first attempt of the node `a` of an execution."""
    (execution_id,) = await installation.start(
        await installation.add(document([node("a")], [])), say=False
    )
    tokens = Tokens(bytes(32))
    token = tokens.make(execution_id, ("a", ()), 1)
    claim = Claim(execution_id=execution_id, node_id="a", attempt=1, token=token)
    return Desk(installation, tokens, claim)


def serving(desk: Desk, made: PayloadDesk) -> Service:
    """Return a service with one desk."""
    return Service(
        desk.installation.bus, name="t", version="1.0.0", description="", endpoints=made.endpoints
    )


VALUE = encode(text(3 * PART_BYTES))


async def test_a_value_comes_back_as_it_was_stored(desk: Desk) -> None:
    async with serving(desk, desk.new()):
        for value in (VALUE, encode(text(300 * KIB)), encode(text(PART_BYTES))):
            await desk.client.put(desk.claim, reference_to(value), value)
            assert await desk.client.get(desk.claim, reference_to(value)) == value


async def test_a_forged_token_neither_stores_nor_reads(desk: Desk) -> None:
    reference = reference_to(VALUE)
    forged = [
        msgspec.structs.replace(desk.claim, token="0" * 24),
        msgspec.structs.replace(desk.claim, attempt=2),
        msgspec.structs.replace(desk.claim, node_id="b"),
    ]
    async with serving(desk, desk.new()):
        await desk.client.put(desk.claim, reference, VALUE)
        for claim in forged:
            with pytest.raises(PayloadRefused, match="403"):
                await desk.client.get(claim, reference)
            with pytest.raises(PayloadRefused, match="403"):
                await desk.client.put(claim, reference_to(b'"other"'), b'"other"')

    assert await stored(desk.installation) == [len(VALUE)]


async def test_a_value_of_another_namespace_is_not_there(desk: Desk) -> None:
    stranger = (await users.ensure(desk.installation.store, new_id(), "eve@example.org", "Eve")).id
    reference = reference_to(VALUE)
    theirs = Payload(stranger, reference.digest, VALUE)
    await payloads.put(desk.installation.store, [theirs])
    async with serving(desk, desk.new()):
        with pytest.raises(PayloadRefused, match="404"):
            await desk.client.get(desk.claim, reference)


async def test_a_value_beyond_the_limit_is_refused_before_it_is_sent(desk: Desk) -> None:
    async with serving(desk, desk.new(value=len(VALUE) - 1)):
        with pytest.raises(PayloadRefused, match="413"):
            await desk.client.put(desk.claim, reference_to(VALUE), VALUE)


async def test_a_value_that_a_scheduler_took_with_it_is_sent_anew(desk: Desk) -> None:
    first, second = desk.new(), desk.new()
    begun = asyncio.Event()

    async def put_and_stop(call: Call) -> bytes:
        answer = await first.put(call)
        begun.set()
        return answer

    endpoints = (Endpoint("put", subjects.PAYLOAD_PUT, put_and_stop),)
    going = Service(
        desk.installation.bus, name="t", version="1.0.0", description="", endpoints=endpoints
    )
    async with going:
        sending = asyncio.create_task(desk.client.put(desk.claim, reference_to(VALUE), VALUE))
        async with asyncio.timeout(10):
            await begun.wait()
    async with serving(desk, second), asyncio.timeout(10):
        await sending

    assert await stored(desk.installation) == [len(VALUE)]


async def test_what_is_stored_is_not_sent_again(desk: Desk) -> None:
    made = desk.new()
    reference = reference_to(VALUE)
    owner = desk.installation.user_id
    await payloads.put(desk.installation.store, [Payload(owner, reference.digest, VALUE)])

    answer = await made.put(desk.call(subjects.PAYLOAD_PUT, VALUE[:PART_BYTES], VALUE))

    assert answer == encode(PayloadTaken())


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        pytest.param([(PART_BYTES, b"y" * 100)], "422", id="other bytes"),
        pytest.param([(PART_BYTES + 1, b"x")], "409", id="a gap"),
        pytest.param([(PART_BYTES, b"")], "409", id="nothing"),
        pytest.param([(PART_BYTES, b"x"), (PART_BYTES, b"x")], "409", id="twice"),
    ],
)
async def test_a_value_that_is_not_what_its_reference_says_is_not_stored(
    desk: Desk, parts: list[tuple[int, bytes]], code: str
) -> None:
    made, value = desk.new(), VALUE[: PART_BYTES + 100]
    answer = await made.put(desk.call(subjects.PAYLOAD_PUT, value[:PART_BYTES], value))
    subject = msgspec.json.decode(answer, type=PayloadTaken).more_to
    assert subject is not None

    async def send(parts: list[tuple[int, bytes]]) -> None:
        for offset, part in parts:
            await made.take_part(desk.call(subject, part, value, offset=offset))

    with pytest.raises(CallRefused) as caught:
        await send(parts)
    with pytest.raises(CallRefused) as again:
        await made.take_part(desk.call(subject, value[PART_BYTES:], value, offset=PART_BYTES))

    assert (caught.value.code, again.value.code) == (code, "409")
    assert await stored(desk.installation) == []


async def test_values_that_are_being_sent_take_so_much_memory_and_no_more(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler.payloads, "MOST_UPLOADED", 2 * len(VALUE) - 1)
    made, other = desk.new(value=len(VALUE)), encode(text(3 * PART_BYTES, "y"))
    await made.put(desk.call(subjects.PAYLOAD_PUT, VALUE[:PART_BYTES], VALUE))
    second = desk.call(subjects.PAYLOAD_PUT, other[:PART_BYTES], other)

    with pytest.raises(CallRefused) as caught:
        await made.put(second)
    monkeypatch.setattr(scheduler.payloads, "UPLOAD_SECONDS", -1.0)
    answer = await made.put(second)

    assert caught.value.code == "503"
    assert msgspec.json.decode(answer, type=PayloadTaken).more_to is not None


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="none"),
        pytest.param("{", id="no JSON"),
        pytest.param('{"claim": {}}', id="something else"),
    ],
)
async def test_a_call_that_cannot_be_read_is_refused(desk: Desk, header: str) -> None:
    with pytest.raises(CallRefused) as caught:
        await desk.new().get(Call(subjects.PAYLOAD_GET, b"", {subjects.PAYLOAD_HEADER: header}))

    assert caught.value.code == "400"
