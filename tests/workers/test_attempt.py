"""The steps of one attempt, one by one."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import nan
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from contracts.failures import Failure, FailureKind
from contracts.history import LoopRules
from contracts.messages import (
    ChildOrder,
    LoopOrder,
    Result,
    Task,
    TaskNode,
    WaitOrder,
    encode,
)
from contracts.model import Delivery
from nodes.answers import Child, Failed, Loop, Question, Wait
from nodes.context import Context, Outputs, WaitKind
from nodes.flow.branching import if_, switch
from nodes.flow.plain import noop
from nodes.registry import Handler, node
from tests.support.tasks import (
    EXECUTION_ID,
    NOW,
    context,
    delivered,
    raw,
    services,
    task,
    task_node,
)
from workers.attempt import (
    Attempts,
    Ending,
    Setup,
    UnreadableTask,
    call,
    checked,
    checked_failure,
    encoded_value,
    parameters_of,
    set_up,
)


class Sample(msgspec.Struct, frozen=True):
    """Parameters of the handlers here."""

    count: int = 1
    text: str = ""


def handler(work: Callable[[Context, Sample], Any]) -> Handler:
    """Return a handler that does `work`, and then answers with it."""

    async def handle(context: Context, parameters: Sample) -> Outputs:
        """Do something."""
        answer: Outputs = work(context, parameters)
        return answer

    return node("CUSTOM.SAMPLE")(handle)


def echo(at: Context, parameters: Sample) -> Outputs:
    """Answer with the parameters."""
    return Outputs(main=[parameters.count, parameters.text])


def sample_node(**fields: Any) -> TaskNode:
    """Return a node of the type above."""
    return task_node(**{"type": "CUSTOM.SAMPLE", **fields})


def attempts(*handlers: Handler, value_bytes: int = 10_000, **options: Any) -> Attempts:
    """Return what carries attempts out."""
    return Attempts(handlers, services(), worker_id="w1", value_bytes=value_bytes, **options)


async def result_of(body: Task, *handlers: Handler, **options: Any) -> Result:
    """Return the result of an attempt, all steps in order."""
    runner = attempts(*handlers, **options)
    return await runner.run(runner.read(encode(body)), lambda message, percent: None, keep_nothing)


async def keep_nothing(key: str, value: msgspec.Raw) -> Failure | None:
    """Stand in for an engine that keeps every checkpoint."""
    return None


async def test_an_attempt_ends_in_a_result_with_its_identity() -> None:
    body = task(deliveries=[delivered({"a": 1})], iteration=(4, 17), attempt=3)

    result = await result_of(body, noop)

    assert (result.execution_id, result.node_id) == (EXECUTION_ID, "n1")
    assert (result.iteration, result.attempt) == ((4, 17), 3)
    assert (result.token, result.worker_id) == ("token-of-the-attempt", "w1")
    assert result.started_at <= result.finished_at
    assert result.started_at.endswith("Z")
    assert result.failure is None
    assert result.ports is not None
    assert bytes(result.ports["main"]) == b'{"a":1}'


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"v": 1}', b"\xff"])
def test_a_task_that_cannot_be_read_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableTask):
        attempts().read(body)


@pytest.mark.parametrize("field", ["node", "execution"])
def test_an_unreadable_part_makes_a_task_unreadable(field: str) -> None:
    body = msgspec.structs.replace(task(), **{field: msgspec.Raw(b'{"id": 5}')})

    with pytest.raises(UnreadableTask):
        attempts().read(encode(body))


def test_the_same_bytes_of_a_node_are_set_up_once() -> None:
    runner = attempts(noop)

    first, second = runner.read(encode(task())), runner.read(encode(task(attempt=2)))

    assert first.setup is second.setup
    assert first.execution is second.execution


def test_parameters_without_templates_are_ready_before_any_task() -> None:
    setup = set_up(sample_node(parameters={"count": "5"}), handler(echo))

    assert setup.rendered == ()
    assert setup.parameters == Sample(5)


def test_templates_are_rendered_for_each_attempt() -> None:
    at = sample_node(parameters={"count": "{{ input.n }}", "text": "plain"})

    setup = set_up(at, handler(echo))

    assert setup.rendered == ("count",)
    assert parameters_of(setup, context({"n": "7"}, node=at)) == Sample(7, "plain")


def test_an_expr_parameter_is_not_rendered() -> None:
    setup = set_up(task_node(type="FLOW.IF", parameters={"condition": "{{ input }}"}), if_)

    assert setup.rendered == ()


def test_ports_of_parameters_are_declared_ports() -> None:
    at = task_node(type="FLOW.SWITCH", parameters={"value": "1", "cases": {"1": "one"}})

    assert set_up(at, switch).output_ports == {"one", "default"}


@pytest.mark.parametrize(
    ("parameters", "kind", "code", "named"),
    [
        ({"count": "{{ input.no }}"}, FailureKind.INVALID_EXPRESSION, "missing", "count"),
        ({"count": "{{ 'x' }}"}, FailureKind.INVALID_INPUT, "invalid_parameter", "count"),
        ({"count": "x"}, FailureKind.INVALID_INPUT, "invalid_parameter", "count"),
        ({"wrong": 1}, FailureKind.INVALID_INPUT, "invalid_parameter", "wrong"),
    ],
)
async def test_a_bad_parameter_is_a_failure_that_names_it(
    parameters: dict[str, Any], kind: FailureKind, code: str, named: str
) -> None:
    body = task(sample_node(parameters=parameters), deliveries=[delivered({})])

    result = await result_of(body, handler(echo))

    assert result.ports is None
    assert result.failure is not None
    assert (result.failure.kind, result.failure.code) == (kind, code)
    assert result.failure.details["parameter"] == named
    assert not result.failure.retryable


async def test_a_failing_expression_of_the_handler_names_its_parameter() -> None:
    at = task_node(type="FLOW.IF", parameters={"condition": "input.missing > 1"})

    failure = (await result_of(task(at, deliveries=[delivered({})]), if_)).failure

    assert failure is not None
    assert failure.details["parameter"] == "condition"
    assert failure.details["source"] == "input.missing > 1"


async def test_a_failing_mapping_is_the_targets_failure() -> None:
    mapping = {"type": "TRANSFORM", "expression": "input.a"}

    result = await result_of(task(deliveries=[delivered({}, mapping=mapping)]), noop)

    assert result.failure is not None
    assert result.failure.kind is FailureKind.INVALID_EXPRESSION


async def test_a_node_type_without_handler_is_a_failure_worth_a_retry() -> None:
    result = await result_of(task(task_node(type_version=9)), noop)

    assert result.failure is not None
    assert (result.failure.code, result.failure.retryable) == ("no_handler", True)


async def failure_of(work: Callable[[Context, Sample], Any], **fields: Any) -> Failure:
    """Return the failure that such a handler ends with, its log kept quiet."""
    with capture_logs():
        result = await result_of(task(sample_node(**fields)), handler(work))
    assert result.failure is not None
    return result.failure


async def test_a_failure_may_be_returned_or_raised() -> None:
    known = Failure(FailureKind.ERROR, "not_found", "nothing there", {"a": 1})

    def raised(at: Context, parameters: Sample) -> Outputs:
        raise Failed(known)

    assert await failure_of(lambda at, parameters: known) == known
    assert await failure_of(raised) == known


@pytest.mark.parametrize(
    "error",
    [
        ValueError("secret text"),
        SystemExit(3),
        TimeoutError("own"),
        asyncio.CancelledError("own"),
        RecursionError(),
        ExceptionGroup("several", [ValueError("one")]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_is_raised_is_a_crash_of_the_handler(error: BaseException) -> None:
    def raising(at: Context, parameters: Sample) -> Outputs:
        raise error

    with capture_logs() as captured:
        result = await result_of(task(sample_node()), handler(raising))

    assert result.failure is not None
    assert (result.failure.kind, result.failure.code) == (FailureKind.ERROR, "handler_crashed")
    assert result.failure.retryable
    assert "secret" not in repr(result.failure)
    (logged,) = captured
    assert (logged["event"], logged["execution_id"]) == ("handler_crashed", EXECUTION_ID)
    assert logged["exc_info"]


@pytest.mark.parametrize(
    ("delivery", "is_retryable"),
    [(Delivery.AT_LEAST_ONCE, True), (Delivery.AT_MOST_ONCE, False)],
)
async def test_an_attempt_ends_with_its_timeout(delivery: Delivery, is_retryable: bool) -> None:
    async def wait(context: Context, parameters: Sample) -> Outputs:
        """Wait without end."""
        await asyncio.Event().wait()
        return Outputs()

    body = task(sample_node(timeout=0.01, delivery=delivery))
    result = await result_of(body, node("CUSTOM.SAMPLE")(wait))

    assert result.failure is not None
    assert (result.failure.kind, result.failure.code) == (FailureKind.TIMEOUT, "attempt_timeout")
    assert result.failure.retryable is is_retryable


async def test_a_cancel_comes_out() -> None:
    started = asyncio.Event()

    async def wait(context: Context, parameters: Sample) -> Outputs:
        """Wait without end."""
        started.set()
        await asyncio.Event().wait()
        return Outputs()

    running = asyncio.create_task(call(node("CUSTOM.SAMPLE")(wait), context(), Sample()))
    await started.wait()
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.fixture
async def threads() -> AsyncIterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, thread_name_prefix="handler") as executor:
        yield executor


async def test_a_blocking_handler_runs_in_a_thread(threads: ThreadPoolExecutor) -> None:
    def block(context: Context, parameters: Sample) -> Outputs:
        """Say where."""
        import threading

        return Outputs(main=threading.current_thread().name)

    result = await result_of(task(sample_node()), node("CUSTOM.SAMPLE")(block), threads=threads)

    assert result.ports is not None
    assert bytes(result.ports["main"]).startswith(b'"handler')


SETUP = Setup(task_node(), noop, None, (), frozenset({"main", "other"}))


def test_outputs_become_bytes_per_port() -> None:
    ports, failure, *_ = checked(SETUP, Outputs(main={"a": 1}, other=None), 100)

    assert failure is None
    assert ports is not None
    assert {port: bytes(value) for port, value in ports.items()} == {
        "main": b'{"a":1}',
        "other": b"null",
    }


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "NoneType"),
        ({"main": 1}, "dict"),
        (Outputs(elsewhere=1), "elsewhere"),
        (Outputs(error=1), "error"),
        (Outputs(main=object()), "no JSON"),
    ],
)
def test_an_answer_that_is_none_is_an_invalid_output(answer: Any, told: str) -> None:
    ports, failure, *_ = checked(SETUP, answer, 100)

    assert ports is None
    assert failure is not None
    assert (failure.code, failure.retryable) == ("invalid_output", False)
    assert told in failure.message


def test_outputs_past_their_limit_name_node_and_port() -> None:
    ports, failure, *_ = checked(SETUP, Outputs(main="x" * 50, other="y" * 60), 100)

    assert ports is None
    assert failure is not None
    assert (failure.kind, failure.code) == (FailureKind.PAYLOAD_TOO_LARGE, "output_too_large")
    assert failure.details == {"node_id": "n1", "place": "other", "size": 62, "limit": 100}
    assert not failure.retryable


@pytest.mark.parametrize(
    ("value", "is_refused"),
    [
        pytest.param({"a": [{"$payload": {"id": "sha256:0", "size": 1}}]}, True, id="alone"),
        pytest.param({"$payload": 1, "b": 2}, False, id="with another key"),
        pytest.param('{"$payload":1}', False, id="a text"),
    ],
)
def test_the_lone_key_of_references_is_refused(value: Any, *, is_refused: bool) -> None:
    setup = Setup(task_node(), output_ports=frozenset({"main"}))

    ending = checked(setup, Outputs(main=value), 1_000)

    assert (ending.ports is None) is is_refused
    if is_refused:
        failure = ending.failure
        assert failure is not None
        assert (failure.kind, failure.code) == (FailureKind.INVALID_INPUT, "reserved_key")
        assert failure.details == {"node_id": "n1", "place": "main"}


def test_a_wait_travels_with_its_state() -> None:
    answer = Wait(WaitKind.SIGNAL, seconds=5, check_seconds=1, signal="go", state={"n": (1, nan)})

    ended = checked(SETUP, answer, 100)

    assert ended == Ending(
        wait=WaitOrder(
            kind=WaitKind.SIGNAL,
            seconds=5,
            check_seconds=1,
            signal="go",
            state=msgspec.Raw(b'{"n":[1,null]}'),
        )
    )
    assert checked(SETUP, Wait(WaitKind.TIMER, due_at=NOW), 1).wait == WaitOrder(
        kind=WaitKind.TIMER, due_at=NOW
    )


def test_a_child_travels_with_its_input() -> None:
    ended = checked(SETUP, Wait(WaitKind.CHILD, child=Child(workflow="w", input=[1])), 100)

    assert ended.wait is not None
    assert ended.wait.child == ChildOrder(workflow="w", input=raw([1]))


def test_a_loop_travels_with_its_items() -> None:
    rules = LoopRules(max_parallel=3)

    assert checked(SETUP, Loop(items=[1, "a"], rules=rules), 100).loop == LoopOrder(
        items=msgspec.Raw(b'[1,"a"]'), rules=rules
    )
    assert checked(SETUP, Loop(goes_on=False), 100).loop == LoopOrder(goes_on=False)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Wait(WaitKind.SIGNAL, state="x" * 200), "output_too_large"),
        (Wait(WaitKind.SIGNAL, state=object()), "invalid_output"),
        (Wait(WaitKind.CHILD, child=Child(workflow="w", input="x" * 200)), "output_too_large"),
        (Loop(items=["x" * 60, "y" * 60]), "output_too_large"),
        (Loop(items=[object()]), "invalid_output"),
        (
            Wait(
                WaitKind.INTERACTION,
                question=Question(
                    kind="review", title="t", message="m", fields={"a": "x" * 60}, value="y" * 60
                ),
            ),
            "output_too_large",
        ),
    ],
)
def test_what_a_handler_asks_for_is_bounded_like_outputs(answer: Any, code: str) -> None:
    ended = checked(SETUP, answer, 100)

    assert ended.failure is not None
    assert ended.failure.code == code
    assert (ended.ports, ended.wait, ended.loop) == (None, None, None)


async def test_a_checkpoint_is_kept_as_it_travels() -> None:
    kept: dict[str, bytes] = {}

    async def keep(key: str, value: msgspec.Raw) -> Failure | None:
        kept[key] = bytes(value)
        return None

    async def work() -> Any:
        return {"a": (1, nan)}

    async def step(context: Context, parameters: Sample) -> Outputs:
        """Keep something."""
        return Outputs(main=await context.checkpoints.once("step", work))

    runner = attempts(node("CUSTOM.SAMPLE")(step))
    prepared = runner.read(encode(task(sample_node())))
    result = await runner.run(prepared, lambda message, percent: None, keep)

    assert kept == {"step": b'{"a":[1,null]}'}
    assert result.ports == {"main": msgspec.Raw(kept["step"])}


@pytest.mark.parametrize(
    ("value", "code"), [(object(), "invalid_output"), ("x" * 20_000, "output_too_large")]
)
async def test_a_checkpoint_that_cannot_travel_fails_the_attempt(value: Any, code: str) -> None:
    async def work() -> Any:
        return value

    async def step(context: Context, parameters: Sample) -> Outputs:
        """Keep something."""
        return Outputs(main=await context.checkpoints.once("step", work))

    result = await result_of(task(sample_node()), node("CUSTOM.SAMPLE")(step))

    assert result.failure is not None
    assert result.failure.code == code
    assert "step" in result.failure.message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (9007199254740993, '"9007199254740993"'),
        (0.30000000000000004, "0.30000000000000004"),
        ("a\0b", '"a\ufffdb"'),
        ("\ud800", '"\ufffd"'),
        (float("nan"), "null"),
        ({1: (2,)}, '{"1":[2]}'),
        ("C:\\u0000", '"C:\\\\u0000"'),
    ],
)
def test_values_are_written_as_everybody_reads_them(value: Any, expected: str) -> None:
    assert encoded_value(value).decode() == expected
    json.loads(encoded_value(value))


@pytest.mark.parametrize(
    "failure",
    [
        Failure("NO_KIND", "x", "y"),  # type: ignore[arg-type]  # as a careless handler may
        Failure(FailureKind.ERROR, "x", "\ud800"),
        Failure(FailureKind.ERROR, "x", "y", {"a": object()}),
        Failure(FailureKind.ERROR, 5, "y"),  # type: ignore[arg-type]
    ],
    ids=["kind", "surrogate", "object", "code"],
)
def test_a_failure_that_does_not_travel_is_told_as_such(failure: Failure) -> None:
    told = checked_failure(failure)

    assert (told.kind, told.code) == (FailureKind.ERROR, "invalid_failure")
    encode(told)


def test_a_huge_failure_is_cut() -> None:
    told = checked_failure(Failure(FailureKind.ERROR, "x", "y" * 5000, {"a": "z" * 100_000}))

    assert (len(told.message), told.details) == (1000, {})


async def test_what_the_handler_logged_is_in_the_result() -> None:
    def talk(at: Context, parameters: Sample) -> Outputs:
        at.log.info("said")
        return Outputs(main=1)

    with capture_logs():
        result = await result_of(task(sample_node()), handler(talk))

    assert json.loads(encode(result))["logs"][0]["event"] == "said"


class Spans:
    """Stands in for a tracer: gives its own trace context and notes what was traced."""

    def __init__(self) -> None:
        self.made: list[tuple[str | None, str, Mapping[str, str | int]]] = []

    @contextmanager
    def attempt(
        self, traceparent: str | None, name: str, attributes: Mapping[str, str | int]
    ) -> Iterator[str | None]:
        self.made.append((traceparent, name, attributes))
        yield "00-inner"


async def test_an_attempt_is_traced_and_its_calls_carry_the_trace() -> None:
    seen: list[str | None] = []
    spans = Spans()

    def look(at: Context, parameters: Sample) -> Outputs:
        seen.append(at.traceparent)
        return Outputs(main=1)

    await result_of(task(sample_node()), handler(look), tracer=spans)

    assert seen == ["00-inner"]
    ((traceparent, name, attributes),) = spans.made
    assert (traceparent, name) == (None, "CUSTOM.SAMPLE")
    assert attributes["flotilla.execution_id"] == EXECUTION_ID
