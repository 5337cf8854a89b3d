"""Secrets of an attempt: whatever its handler does with them, nothing of it leaves the worker in clear."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from contracts.credentials import Credential, CredentialAnswer
from contracts.failures import Failure, FailureKind
from contracts.messages import Result, encode
from nodes.answers import Answer, Loop, Question, Wait
from nodes.context import Context, Outputs, WaitKind
from nodes.registry import node
from tests.nodes.test_credentials import Store
from tests.support.tasks import services, task, task_node
from workers.attempt import Attempts

SECRET = "canary-of-the-attempt"
GIVEN = Credential(type="http", data={"type": "BEARER", "token": SECRET}, id="c1", name="shop")


class NoParameters(msgspec.Struct, frozen=True):
    """The node here takes none."""


async def result_of(work: Callable[[str], Answer]) -> Result:
    """Return the result of an attempt whose handler does something with its secret."""

    async def handle(context: Context, parameters: NoParameters) -> Answer:
        """Do what the test says."""
        credential = await context.credentials.get("http")
        context.log.info("given", token=credential.data["token"])
        return work(credential.data["token"])

    runner = Attempts(
        [node("CUSTOM.SECRETIVE")(handle)],
        services(credentials=Store(CredentialAnswer(GIVEN))),
        worker_id="w1",
        value_bytes=10_000,
    )
    body = task(task_node(type="CUSTOM.SECRETIVE"))

    async def keep(key: str, value: msgspec.Raw) -> None:
        raise AssertionError("nothing is kept here")

    return await runner.run(runner.read(encode(body)), lambda message, percent: None, keep)


def crash(secret: str) -> Answer:
    raise RuntimeError(f"with {secret}")


def question(secret: str) -> Answer:
    asked = Question(kind="approval", title=secret, message=f"of {secret}", fields={}, value=secret)
    return Wait(WaitKind.INTERACTION, question=asked, state=[secret])


def chained(secret: str) -> Answer:
    try:
        crash(secret)
    except RuntimeError as error:
        raise ValueError("later") from error
    raise AssertionError


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda secret: Outputs(main={"a": [secret], secret: 1}), id="output"),
        pytest.param(lambda secret: Failure(FailureKind.ERROR, "x", secret, {"y": [secret]}), id="failure"),
        pytest.param(lambda secret: Loop(items=[secret]), id="loop"),
        pytest.param(question, id="question"),
        pytest.param(crash, id="exception"),
        pytest.param(chained, id="exception behind an exception"),
        pytest.param(lambda secret: Outputs(elsewhere=secret), id="no such port"),
        pytest.param(lambda secret: secret, id="no answer at all"),
    ],
)  # fmt: skip
async def test_a_secret_stays_in_the_worker(
    work: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    result = await result_of(work)

    assert SECRET not in encode(result).decode()
    assert SECRET not in capsys.readouterr().out
    assert b"***" in bytes(result.logs) if isinstance(result.logs, msgspec.Raw) else False


async def test_the_trace_of_a_crash_is_logged_without_the_secret() -> None:
    with capture_logs() as logs:
        result = await result_of(crash)

    (crashed,) = (each for each in logs if each["event"] == "handler_crashed")
    assert "RuntimeError: with ***" in crashed["exception"]
    assert "in crash" in crashed["exception"]
    assert "exc_info" not in crashed
    assert result.failure is not None
    assert result.failure.code == "handler_crashed"
