"""Checkpoints: what is finished is not repeated."""

import asyncio
from typing import Any

import msgspec
import pytest

from contracts.failures import Failure, FailureKind
from nodes.answers import Failed
from nodes.checkpoints import Checkpoints, current_key
from nodes.http_client import Call, HttpClient
from tests.support.http_server import Reply, serving
from tests.support.tasks import EXECUTION_ID, context, raw


class Counted:
    """A call that counts how often it is made."""

    def __init__(self, value: Any = "done") -> None:
        self.value = value
        self.times = 0
        self.keys: list[str] = []

    async def __call__(self) -> Any:
        self.times += 1
        self.keys.append(current_key())
        await asyncio.sleep(0)
        return self.value


async def test_a_call_is_made_once_and_kept() -> None:
    kept: dict[str, Any] = {}
    at, call = context(kept=kept), Counted({"a": (1, 2)})

    first = await at.checkpoints.once("step", call)
    second = await at.checkpoints.once("step", call)

    assert first == second == {"a": [1, 2]}
    assert call.times == 1
    assert list(kept) == ["step"]


async def test_what_an_earlier_attempt_finished_is_found() -> None:
    call = Counted()
    at = context(checkpoints={"step": raw({"paid": True})})

    assert await at.checkpoints.once("step", call) == {"paid": True}
    assert call.times == 0


async def test_a_call_that_fails_is_not_kept() -> None:
    kept: dict[str, Any] = {}
    at = context(kept=kept)

    async def fail() -> None:
        raise Failed(Failure(FailureKind.ERROR, "broken", "it broke"))

    with pytest.raises(Failed):
        await at.checkpoints.once("step", fail)

    assert kept == {}
    assert await at.checkpoints.once("step", Counted()) == "done"


async def test_a_value_that_is_not_kept_is_no_value() -> None:
    async def refuse(key: str, value: Any) -> msgspec.Raw:
        raise Failed(Failure(FailureKind.ERROR, "checkpoint_refused", "no"))

    checkpoints, call = Checkpoints({}, refuse), Counted()

    for _ in range(2):
        with pytest.raises(Failed, match="checkpoint_refused"):
            await checkpoints.once("step", call)

    assert call.times == 2


async def test_two_who_want_the_same_at_once_share_one_call() -> None:
    at, call = context(), Counted()

    found = await asyncio.gather(*(at.checkpoints.once("step", call) for _ in range(3)))

    assert found == ["done"] * 3
    assert call.times == 1


async def test_a_call_knows_its_checkpoint() -> None:
    at, inner, outer = context(), Counted(), Counted()

    async def nested() -> Any:
        await at.checkpoints.once("inner", inner)
        return await outer()

    await asyncio.gather(
        at.checkpoints.once("outer", nested), at.checkpoints.once("other", other := Counted())
    )

    assert (inner.keys, outer.keys, other.keys) == (["inner"], ["outer"], ["other"])
    assert current_key() == ""


@pytest.mark.parametrize("key", ["", "two words", "line\n", "ä", "x" * 201])
async def test_a_key_is_what_a_header_can_carry(key: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        await context().checkpoints.once(key, Counted())


async def test_calls_of_a_checkpoint_have_idempotency_keys_of_their_own(http: HttpClient) -> None:
    async with serving(Reply(body=b"ok")) as server:
        at = context(http=http)

        async def post() -> None:
            await at.http.call(Call(method="POST", url=server.url()))

        async def twice() -> None:
            await post()
            await post()

        await post()
        await at.checkpoints.once("pay", twice)
        await post()

        sent = [each.headers["idempotency-key"] for each in server.received]

    key = f"{EXECUTION_ID}:n1:_"
    assert sent == [key, f"{key}:pay", f"{key}:pay:2", f"{key}:2"]
